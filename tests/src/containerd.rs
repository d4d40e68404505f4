//! One private containerd for all tests of this process, for its client `ctr`.
//!
//! It touches nothing of the machine's own: own folders, own socket, no plugin that reaches out of them.
//! Each client has a namespace of its own in it, and content is not shared between namespaces, so what
//! one client has pushed another really fetches. The guardian stops it and removes its folders when the
//! test process ends.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::clients;
use crate::disk::temporary_directory;
use crate::environment;
use crate::guardian;
use crate::poll;
use crate::process::Program;

/// A running daemon.
#[derive(Debug)]
pub struct Containerd {
    folder: PathBuf,
}

impl Containerd {
    /// The daemon that all tests share, started on first use; `None` where it cannot run.
    ///
    /// # Panics
    /// On a build machine (`CI` is set) when it cannot run.
    pub async fn shared() -> Option<&'static Self> {
        static SHARED: OnceCell<Option<Containerd>> = OnceCell::const_new();
        let shared = SHARED.get_or_init(async || {
            if !rustix::process::geteuid().is_root() {
                clients::skip("containerd must be started by root");
                return None;
            }
            if !clients::is_installed("containerd") {
                clients::skip("containerd is not installed");
                return None;
            }
            Some(Self::start().await)
        });
        shared.await.as_ref()
    }

    /// Where `ctr` finds it.
    #[must_use]
    pub fn address(&self) -> String {
        self.folder.join(SOCKET).display().to_string()
    }

    async fn start() -> Self {
        let folder = temporary_directory("containerd").keep();
        fs::write(folder.join("config.toml"), configuration(&folder))
            .expect("our own folder is writable");
        let mut child = spawn(&folder);
        guardian::watch_process(child.id());
        let daemon = Self { folder };
        poll::until("ready containerd", START_LIMIT, async || {
            let ended = child.try_wait().expect("our own child can be waited for");
            let log = fs::read_to_string(daemon.folder.join("log")).unwrap_or_default();
            assert!(ended.is_none(), "containerd ended: {log}");
            let address = daemon.address();
            let asked = Program::new("ctr").args(["--address", &address, "version"]);
            if asked.finish().await.code == Some(0) { Ok(()) } else { Err(log) }
        })
        .await;
        daemon
    }
}

fn spawn(folder: &Path) -> Child {
    let log = File::create(folder.join("log")).expect("our own folder is writable");
    Command::new("containerd")
        .env_clear()
        .env("PATH", environment::search_path())
        .arg("--config")
        .arg(folder.join("config.toml"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log file can be shared"))
        .stderr(log)
        .spawn()
        .expect("containerd was found before")
}

/// Nothing of it is outside `folder`: the plugins left out would make folders and sockets elsewhere.
fn configuration(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"version = 2
root = "{folder}/root"
state = "{folder}/state"
temp = "{folder}/temp"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri"]

[grpc]
address = "{folder}/{SOCKET}"

[plugins."io.containerd.metadata.v1.bolt"]
content_sharing_policy = "isolated"
"#
    )
}

const SOCKET: &str = "socket";
const START_LIMIT: Duration = Duration::from_secs(180);
