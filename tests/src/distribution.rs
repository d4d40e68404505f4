//! Debian's `docker-registry` (CNCF distribution 2.8), for what must hold with a registry that is not ours.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::clients;
use crate::disk::temporary_directory;
use crate::dockerd::free_port;
use crate::environment;
use crate::guardian;
use crate::poll;

/// A running one, open to everybody; it ends when this is dropped.
#[derive(Debug)]
pub struct Distribution {
    child: Child,
    authority: String,
    _folder: TempDir,
}

impl Distribution {
    /// Starts one; `None` where it is not installed.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start() -> Option<Self> {
        if !clients::is_installed("docker-registry") {
            clients::skip("docker-registry is not installed (Debian: docker-registry)");
            return None;
        }
        let folder = temporary_directory("distribution");
        let authority = format!("127.0.0.1:{}", free_port());
        let data = folder.path().join("data");
        let config = format!(
            "version: 0.1\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp:\n  addr: {authority}\n",
            data.display()
        );
        let path = folder.path().join("config.yml");
        fs::write(&path, config).expect("our own folder is writable");
        let log = File::create(folder.path().join("log")).expect("our own folder is writable");
        let child = Command::new("docker-registry")
            .env_clear()
            .env("PATH", environment::search_path())
            .arg("serve")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file can be shared"))
            .stderr(log)
            .spawn()
            .expect("docker-registry was found before");
        guardian::watch_process(child.id());
        let url = format!("http://{authority}/v2/");
        poll::until("docker-registry", Duration::from_secs(60), async || {
            let answer = reqwest::get(&url).await.map_err(|error| error.to_string())?;
            if answer.status() == 200 { Ok(()) } else { Err(answer.status().to_string()) }
        })
        .await;
        Some(Self { child, authority, _folder: folder })
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

impl Drop for Distribution {
    fn drop(&mut self) {
        let pid = self.child.id();
        let _ = self.child.kill();
        let _ = self.child.wait();
        guardian::forget_process(pid);
    }
}
