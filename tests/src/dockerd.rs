//! One private Docker daemon for all tests of this process, as the `docker` service of a step is.
//!
//! It touches nothing of the machine's own Docker: own folders, own port, no bridge, no firewall rules.
//! The guardian stops it and removes its folders when the test process ends.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::clients;
use crate::disk::temporary_directory;
use crate::environment;
use crate::guardian;
use crate::poll;

/// A running daemon.
#[derive(Debug)]
pub struct Dockerd {
    port: u16,
}

impl Dockerd {
    /// The daemon that all tests share, started on first use; `None` where it cannot run.
    ///
    /// # Panics
    /// On a build machine (`CI` is set) when it cannot run.
    pub async fn shared() -> Option<&'static Self> {
        static SHARED: OnceCell<Option<Dockerd>> = OnceCell::const_new();
        let shared = SHARED.get_or_init(async || {
            if !rustix::process::geteuid().is_root() {
                clients::skip("dockerd must be started by root");
                return None;
            }
            if !clients::is_installed("dockerd") {
                clients::skip("dockerd is not installed (Debian: docker.io)");
                return None;
            }
            let folder = temporary_directory("dockerd").keep();
            Some(Self::start(&folder, Command::new("dockerd")).await)
        });
        shared.await.as_ref()
    }

    /// A daemon of the caller's own, which has `etc` in the place of `/etc/docker`: there it looks for the
    /// authorities of registries (`certs.d/HOST:PORT/ca.crt`), each time that it asks one. `None` where
    /// it cannot run.
    ///
    /// # Panics
    /// On a build machine (`CI` is set) when it cannot run.
    pub async fn with_configuration(etc: &Path) -> Option<Self> {
        // The same demands as for the other one.
        let _ = Self::shared().await?;
        fs::create_dir_all("/etc/docker").expect("root may make it");
        let script = "mount --bind \"$0\" /etc/docker && exec dockerd \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script]).arg(etc);
        Some(Self::start(&temporary_directory("dockerd").keep(), command).await)
    }

    /// What `DOCKER_HOST` has to be.
    #[must_use]
    pub fn host(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    async fn start(folder: &Path, command: Command) -> Self {
        let port = free_port();
        let child = spawn(command, folder, port);
        guardian::watch_process(child.id());
        let mut child = child;
        let ping = format!("http://127.0.0.1:{port}/_ping");
        let client = reqwest::Client::new();
        poll::until("ready dockerd", START_LIMIT, async || {
            let ended = child.try_wait().expect("our own child can be waited for");
            let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
            assert!(ended.is_none(), "dockerd ended: {log}");
            match client.get(&ping).send().await {
                Ok(response) if response.status() == 200 => Ok(()),
                _ => Err(log),
            }
        })
        .await;
        Self { port }
    }
}

fn spawn(mut command: Command, folder: &Path, port: u16) -> Child {
    let log = File::create(folder.join("log")).expect("our own folder is writable");
    let option = |name: &str, below: &str| format!("--{name}={}", folder.join(below).display());
    command
        .env_clear()
        .env("PATH", environment::search_path())
        .arg(option("data-root", "data"))
        .arg(option("exec-root", "exec"))
        .arg(option("pidfile", "pid"))
        .arg(format!("--host=tcp://127.0.0.1:{port}"))
        .args(["--tls=false", "--bridge=none", "--iptables=false"])
        .args(["--ip-forward=false", "--ip-masq=false"])
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log file can be shared"))
        .stderr(log)
        .spawn()
        .expect("dockerd was found before")
}

/// A port that nobody listens on right now.
///
/// # Panics
/// When the machine has none.
#[must_use]
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .expect("the machine has a free port")
        .port()
}

const START_LIMIT: Duration = Duration::from_secs(180);
