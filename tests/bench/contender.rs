//! The registries that are compared: each is a process of its own on a free port and an empty folder.
//!
//! Invariant: both listen on loopback, keep their data on the same disk, and log to a file. Ours is
//! asked with a bearer token, whose rights it looks up at every request; the other is open to everybody.

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use standpipe_tests::disk::temporary_directory;
use standpipe_tests::poll;
use standpipe_tests::rest::Credential;
use standpipe_tests::server::{Server, peak_memory_of};
use tempfile::TempDir;

use crate::wire::Wire;

/// A registry under load.
pub(crate) trait Contender: Sync {
    fn name(&self) -> &'static str;
    fn authority(&self) -> &str;
    fn pid(&self) -> u32;
    /// The `Authorization` to send, valid for the next minutes.
    fn authorization(&self) -> Option<String>;
    /// Makes `tags` tags on a manifest that is there.
    fn fill_tags(
        &self,
        name: &str,
        tags: usize,
        manifest: &[u8],
        media_type: &str,
    ) -> io::Result<()>;

    /// Opens a connection.
    fn wire(&self) -> io::Result<Wire> {
        Wire::open(self.authority(), self.authorization().as_deref())
    }

    /// Processor seconds that the process has used.
    fn cpu(&self) -> f64 {
        cpu_of(self.pid())
    }

    /// The most memory that it ever had resident, in bytes.
    fn peak(&self) -> u64 {
        peak_memory_of(self.pid()).unwrap_or_default()
    }
}

/// Processor seconds of a process, all threads, user and kernel (`man 5 proc`, fields 14 and 15).
fn cpu_of(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field is a name that may hold anything; what follows its last parenthesis is numbers.
    let fields = text.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// Our server with one package and a pipeline token.
pub(crate) struct Standpipe {
    server: Server,
    credential: Credential,
}

impl Standpipe {
    pub(crate) async fn start() -> Self {
        let server = Server::start().await;
        let admin = server.admin();
        admin.workspace("acme").await;
        for package in ["bench", "tags", "large", "steady"] {
            admin.package("acme", package, "shop").await;
        }
        let credential = admin.pipeline_token("acme", "shop").await;
        Self { server, credential }
    }
}

impl Contender for Standpipe {
    fn name(&self) -> &'static str {
        "standpipe"
    }

    fn authority(&self) -> &str {
        self.server.authority()
    }

    fn pid(&self) -> u32 {
        self.server.pid()
    }

    fn authorization(&self) -> Option<String> {
        let pair = format!("{}:{}", self.credential.username, self.credential.secret);
        let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
        let mut wire = Wire::open(self.authority(), Some(&basic)).ok()?;
        let scopes: String = ["bench", "tags", "large", "steady"]
            .iter()
            .map(|package| format!("&scope=repository:acme/{package}:pull,push"))
            .collect();
        let answer = wire.ask("GET", &format!("/token?service=standpipe{scopes}"), "", b"").ok()?;
        let body: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
        Some(format!("Bearer {}", body["token"].as_str()?))
    }

    fn fill_tags(
        &self,
        name: &str,
        tags: usize,
        manifest: &[u8],
        media_type: &str,
    ) -> io::Result<()> {
        let mut wire = self.wire()?;
        let headers = format!("Content-Type: {media_type}\r\n");
        for tag in 0..tags {
            let answer =
                wire.ask("PUT", &format!("/v2/{name}/manifests/tag-{tag:06}"), &headers, manifest)?;
            if answer.status != 201 {
                return Err(io::Error::other(String::from_utf8_lossy(&answer.body).into_owned()));
            }
        }
        Ok(())
    }
}

/// Debian's `docker-registry`: CNCF distribution 2.8, as it is packaged, with deletion allowed.
pub(crate) struct Distribution {
    folder: TempDir,
    child: Child,
    authority: String,
}

impl Distribution {
    pub(crate) async fn start() -> io::Result<Self> {
        let folder = temporary_directory("distribution");
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let authority = format!("127.0.0.1:{port}");
        let data = folder.path().join("data");
        let config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage:\n  cache: {{blobdescriptor: inmemory}}\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\nhttp:\n  addr: {authority}\n  headers: {{X-Content-Type-Options: [nosniff]}}\n",
            data.display()
        );
        let path = folder.path().join("config.yml");
        fs::write(&path, config)?;
        let log = File::create(folder.path().join("log"))?;
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let registry = Self { folder, child, authority };
        poll::until("docker-registry", Duration::from_secs(20), async || {
            registry.wire().and_then(|mut wire| wire.ask("GET", "/v2/", "", b"")).map(drop)
        })
        .await;
        Ok(registry)
    }

    /// Its program's own words for its version.
    pub(crate) fn version() -> String {
        let said = Command::new("docker-registry").arg("--version").output();
        said.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned()).unwrap_or_default()
    }

    fn repository(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join("data/docker/registry/v2/repositories").join(name)
    }
}

impl Contender for Distribution {
    fn name(&self) -> &'static str {
        "docker-registry"
    }

    fn authority(&self) -> &str {
        &self.authority
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn authorization(&self) -> Option<String> {
        None
    }

    /// Writes the files that as many pushes would have written, because those would take minutes.
    fn fill_tags(
        &self,
        name: &str,
        tags: usize,
        manifest: &[u8],
        media_type: &str,
    ) -> io::Result<()> {
        let headers = format!("Content-Type: {media_type}\r\n");
        let first = format!("/v2/{name}/manifests/tag-000000");
        let answer = self.wire()?.ask("PUT", &first, &headers, manifest)?;
        if answer.status != 201 {
            return Err(io::Error::other(String::from_utf8_lossy(&answer.body).into_owned()));
        }
        let folder = self.repository(name).join("_manifests/tags");
        let link = fs::read(folder.join("tag-000000/current/link"))?;
        let digest = String::from_utf8_lossy(&link).replace("sha256:", "");
        for tag in 1..tags {
            let tag = folder.join(format!("tag-{tag:06}"));
            for place in [Path::new("current").to_owned(), Path::new("index/sha256").join(&digest)]
            {
                fs::create_dir_all(tag.join(&place))?;
                fs::write(tag.join(&place).join("link"), &link)?;
            }
        }
        Ok(())
    }
}

impl Drop for Distribution {
    fn drop(&mut self) {
        // Our own child; if it has ended already there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
