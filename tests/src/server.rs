//! A real server process on a folder and a port of its own.
//!
//! Invariant: it is stopped by its process id when the value is dropped, and by the guardian when the
//! test process is killed.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::disk::{files_below, temporary_directory};
use crate::environment;
use crate::guardian;
use crate::poll;
use crate::process::{Finished, Program};
use crate::raw::Raw;
use crate::rest::Rest;

/// How a server is started; the default is what most tests want.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// Text of the configuration file; none is given without it.
    pub config: Option<String>,
    /// Data directory; a temporary one without it.
    pub data: Option<PathBuf>,
    /// Where it listens; a free port of the loopback address without it.
    pub listen: Option<String>,
    /// Environment beside the administrator's password.
    pub environment: Vec<(&'static str, String)>,
    /// Program and arguments before the server's command line, which they must `exec`.
    pub launcher: Vec<String>,
}

/// A running (or just killed) server.
#[derive(Debug)]
pub struct Server {
    options: ServerOptions,
    folder: TempDir,
    child: Option<Child>,
    authority: String,
    /// Whether it speaks TLS; then its certificate is the test's business.
    tls: bool,
}

impl Server {
    /// Starts one on a free port and a new data directory and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready; the message holds its log.
    pub async fn start() -> Self {
        Self::start_with(ServerOptions::default()).await
    }

    /// Starts one with these options and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready; the message holds its log.
    pub async fn start_with(options: ServerOptions) -> Self {
        let listen = options.listen.as_deref().unwrap_or("127.0.0.1:0");
        let mut server = Self {
            authority: listen.to_owned(),
            options,
            folder: temporary_directory("server"),
            child: None,
            tls: false,
        };
        server.start_again().await;
        server
    }

    /// Runs a server that is expected to refuse these options.
    ///
    /// # Panics
    /// When it still runs after [`REFUSAL_LIMIT`].
    pub async fn refused(data: &Path, config: Option<&Path>) -> Finished {
        let program = Program::new(environment::server_binary())
            .env("STANDPIPE_ADMIN_PASSWORD", ADMIN_PASSWORD)
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .args([data]);
        let program = match config {
            Some(path) => program.args(["--config".as_ref(), path.as_os_str()]),
            None => program,
        };
        program.limit(REFUSAL_LIMIT).finish().await
    }

    /// Starts the stopped server on its old folder and port; returns the time until it was ready.
    ///
    /// # Panics
    /// When it runs already or does not become ready; the message holds its log.
    pub async fn start_again(&mut self) -> Duration {
        assert!(self.child.is_none(), "the server runs already");
        let already_printed = self.stdout().len();
        let start = Instant::now();
        let child = self.spawn();
        guardian::watch_process(child.id());
        self.child = Some(child);
        let url = self.announced_address(already_printed).await;
        let (scheme, authority) = url.split_once("://").expect("a URL was announced");
        (self.tls, self.authority) = (scheme == "https", authority.to_owned());
        let probe = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build();
        let probe = probe.expect("a client");
        let ready = format!("{}/readyz", self.url());
        poll::until("ready server", START_LIMIT, async || {
            self.check_alive();
            match probe.get(&ready).send().await {
                Ok(response) if response.status() == 200 => Ok(()),
                Ok(response) => Err(response.status().to_string()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
        start.elapsed()
    }

    /// Ends the process as a power switch would, as far as a process can tell (SIGKILL).
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the server runs");
        child.kill().expect("our own child can be killed");
        child.wait().expect("our own child can be waited for");
        guardian::forget_process(child.id());
    }

    /// Asks the process to end (SIGTERM) and does not wait.
    ///
    /// # Panics
    /// When it does not run.
    pub fn ask_to_stop(&self) {
        send(self.child.as_ref().expect("the server runs"), Signal::TERM);
    }

    /// The process, as long as it runs.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// Asks the process to look at its certificate again (SIGHUP).
    ///
    /// # Panics
    /// When it does not run.
    pub fn hang_up(&self) {
        send(self.child.as_ref().expect("the server runs"), Signal::HUP);
    }

    /// Asks the process to end (SIGTERM) and waits for it.
    ///
    /// # Panics
    /// When it does not run or does not end in time.
    pub async fn stop(&mut self) -> ExitStatus {
        self.ask_to_stop();
        self.ended().await
    }

    /// Waits for the process, which was asked to end.
    ///
    /// # Panics
    /// When it does not run or does not end in time.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the server runs");
        let status = poll::until("end of the server", STOP_LIMIT, async || {
            let ended = child.try_wait().expect("our own child can be waited for");
            ended.ok_or("it still runs")
        })
        .await;
        guardian::forget_process(child.id());
        status
    }

    /// `127.0.0.1:PORT`, as image references name the registry.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// `http://127.0.0.1:PORT`, or `https://`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.authority)
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        match &self.options.data {
            Some(directory) => directory.clone(),
            None => self.folder.path().join("data"),
        }
    }

    /// REST calls as the instance administrator.
    #[must_use]
    pub fn admin(&self) -> Rest {
        Rest::new(&self.url(), ADMIN, ADMIN_PASSWORD)
    }

    /// Registry calls as the instance administrator.
    #[must_use]
    pub fn raw(&self) -> Raw {
        Raw::basic(&self.url(), ADMIN, ADMIN_PASSWORD)
    }

    /// Files that hold blobs: those in the two-digit folders of `blobs`.
    #[must_use]
    pub fn objects(&self) -> Vec<PathBuf> {
        let is_object = |path: &PathBuf| {
            let folder = path.parent().and_then(Path::file_name);
            folder.is_some_and(|name| name.len() == 2)
        };
        files_below(&self.data().join("blobs")).into_iter().filter(is_object).collect()
    }

    /// Files of uploads that are not finished.
    #[must_use]
    pub fn unfinished(&self) -> Vec<PathBuf> {
        files_below(&self.data().join("uploads"))
    }

    /// Files that a start found without a row.
    #[must_use]
    pub fn lost_and_found(&self) -> Vec<PathBuf> {
        files_below(&self.data().join("blobs").join("lost+found"))
    }

    /// The most memory that the running process ever had resident, in bytes.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn peak_memory(&self) -> u64 {
        peak_memory_of(self.pid()).expect("a running process has a peak")
    }

    /// What the server printed on standard output since the first start.
    #[must_use]
    pub fn stdout(&self) -> String {
        fs::read_to_string(self.folder.path().join("stdout")).unwrap_or_default()
    }

    /// What the server logged on standard error since the first start.
    #[must_use]
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }

    fn spawn(&self) -> Child {
        let server = environment::server_binary();
        let mut command = match self.options.launcher.split_first() {
            Some((launcher, arguments)) => {
                let mut command = Command::new(launcher);
                command.args(arguments).arg(server);
                command
            }
            None => Command::new(server),
        };
        command
            .env_clear()
            .env("PATH", environment::search_path())
            .env("STANDPIPE_ADMIN_PASSWORD", ADMIN_PASSWORD)
            .envs(self.options.environment.iter().cloned())
            .args(["serve", "--listen", &self.authority, "--data-dir"])
            .arg(self.data())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(self.log("stdout"))
            .stderr(self.log("stderr"));
        if let Some(text) = &self.options.config {
            let path = self.folder.path().join("server.yaml");
            fs::write(&path, text).expect("our own folder is writable");
            command.arg("--config").arg(path);
        }
        command.spawn().expect("the server binary can be started")
    }

    fn log(&self, name: &str) -> File {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join(name))
            .expect("our own folder is writable")
    }

    async fn announced_address(&mut self, already_printed: usize) -> String {
        poll::until("announced address", START_LIMIT, async || {
            self.check_alive();
            self.stdout()[already_printed..]
                .lines()
                .find_map(|line| line.strip_prefix("listening on "))
                .map(str::to_owned)
                .ok_or("nothing announced yet")
        })
        .await
    }

    fn check_alive(&mut self) {
        let child = self.child.as_mut().expect("the server was started");
        if let Ok(Some(status)) = child.try_wait() {
            panic!("the server ended with {status} while starting");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
        if thread::panicking() {
            report_log(&self.stderr());
        }
    }
}

/// The most memory that a process ever had resident, in bytes; `None` once it has ended.
#[must_use]
pub fn peak_memory_of(pid: u32) -> Option<u64> {
    let status =
        fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Sends our own child a signal.
fn send(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.expect("the kernel gave a valid process id");
    // It may have ended by itself in this moment; waiting for it tells.
    let _ = rustix::process::kill_process(pid, signal);
}

#[expect(
    clippy::print_stdout,
    reason = "goes through the test runner's capture, so that it appears with the failure it explains"
)]
fn report_log(log: &str) {
    let lines: Vec<&str> = log.lines().collect();
    let from = lines.len().saturating_sub(SHOWN_LINES);
    let shown = lines[from..].join("\n");
    print!("--- end of the server's log ---\n{shown}\n--- ---\n");
}

/// The first user.
pub const ADMIN: &str = "admin";

/// Password that every server under test gives its first user.
pub const ADMIN_PASSWORD: &str = "only-for-tests-on-loopback";

/// A refusal needs no work, but the machine may be busy with other tests.
pub const REFUSAL_LIMIT: Duration = Duration::from_secs(60);

const START_LIMIT: Duration = Duration::from_secs(60);
/// Longer than the minute that requests in flight are given.
const STOP_LIMIT: Duration = Duration::from_secs(120);
const SHOWN_LINES: usize = 60;
