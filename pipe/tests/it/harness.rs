//! Runs the pipe as Bitbucket does: nothing but variables, no terminal.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::daemon::Daemon;
use crate::registry::Registry;

/// The environment of one run.
#[derive(Debug)]
pub(crate) struct Step {
    variables: BTreeMap<String, String>,
    temporary: TempDir,
    files: TempDir,
    one_core: bool,
}

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) log: String,
}

impl Step {
    /// A step whose daemon and registry are these.
    pub(crate) fn new(daemon: &Daemon, registry: &Registry) -> Self {
        Self::bare().set("DOCKER_HOST", &daemon.host).set("REGISTRY", &registry.address)
    }

    /// A step that knows only its workspace and the name of the image.
    pub(crate) fn bare() -> Self {
        let step = Self {
            variables: BTreeMap::new(),
            temporary: TempDir::new().unwrap(),
            files: TempDir::new().unwrap(),
            one_core: false,
        };
        let place = step.temporary.path().to_str().unwrap().to_owned();
        step.set("TMPDIR", &place)
            .set("BITBUCKET_WORKSPACE", "acme")
            .set("IMAGE_NAME", "app")
            .set("NO_COLOR", "1")
            .set("DEBUG", "true")
    }

    /// Logs in as the user that every registry here knows.
    pub(crate) fn login(self) -> Self {
        self.set("USERNAME", crate::registry::USER).set("PASSWORD", crate::registry::PASSWORD)
    }

    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Lets the pipe see a single processor.
    pub(crate) fn on_one_core(self) -> Self {
        Self { one_core: true, ..self }
    }

    /// A step that reads no daemon.
    pub(crate) fn without_daemon(registry: &Registry) -> Self {
        Self::bare().set("REGISTRY", &registry.address)
    }

    /// Puts a file into the folder in which the step runs.
    pub(crate) fn file(self, name: &str, content: &[u8]) -> Self {
        std::fs::write(self.files.path().join(name), content).unwrap();
        self
    }

    /// Where layers are kept while they are sent.
    pub(crate) fn spool(&self) -> &Path {
        self.temporary.path()
    }

    /// A folder of this step alone, in which it runs.
    pub(crate) fn folder(&self) -> &Path {
        self.files.path()
    }

    pub(crate) fn spawn(&self) -> Child {
        let pipe = env!("CARGO_BIN_EXE_standpipe-pipe");
        let mut command = match self.one_core {
            true => Command::new("/usr/bin/taskset"),
            false => Command::new(pipe),
        };
        if self.one_core {
            command.args(["--cpu-list", "0", pipe]);
        }
        command
            .env_clear()
            .envs(&self.variables)
            .current_dir(&self.files)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// Runs the pipe to its end and checks what holds for every run: no secret in the output,
    /// one mark as the last line, nothing left on disk.
    pub(crate) async fn run(&self) -> Outcome {
        let outcome = self.finish(self.spawn()).await;
        let mark = if outcome.status.success() { "✔ " } else { "✖ " };
        let last = outcome.out.lines().last().unwrap_or_default();
        assert!(last.starts_with(mark), "{outcome:#?}");
        outcome
    }

    pub(crate) async fn finish(&self, child: Child) -> Outcome {
        let output = child.wait_with_output().await.unwrap();
        let outcome = Outcome {
            status: output.status,
            out: String::from_utf8(output.stdout).unwrap(),
            log: String::from_utf8(output.stderr).unwrap(),
        };
        for secret in [crate::registry::PASSWORD, crate::registry::TOKEN, "Authorization"] {
            assert!(!outcome.out.contains(secret), "{outcome:#?}");
            assert!(!outcome.log.contains(secret), "{outcome:#?}");
        }
        assert!(!outcome.log.contains('\r'));
        assert_eq!(self.spooled(), 0, "the spool was left behind");
        outcome
    }

    /// Bytes of the files that lie in the spool now.
    pub(crate) fn spooled_bytes(&self) -> u64 {
        let spools = std::fs::read_dir(self.temporary.path()).unwrap().flatten();
        let files = spools.flat_map(|spool| std::fs::read_dir(spool.path()).into_iter().flatten());
        files.flatten().filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum()
    }

    /// How many entries the directory for layers has.
    pub(crate) fn spooled(&self) -> usize {
        std::fs::read_dir(self.temporary.path()).unwrap().count()
    }
}

impl Outcome {
    /// The run succeeded; the references it printed.
    pub(crate) fn references(&self) -> Vec<&str> {
        assert!(self.status.success(), "{self:#?}");
        let mut lines: Vec<&str> = self.out.lines().collect();
        lines.pop();
        lines
    }

    /// The run failed with this code, and the log says all of this.
    pub(crate) fn fails(&self, code: i32, words: &[&str]) {
        assert_eq!(self.status.code(), Some(code), "{self:#?}");
        for word in words {
            assert!(self.log.contains(word), "no {word:?} in {self:#?}");
        }
    }

    /// Lines of the log that contain `word`.
    pub(crate) fn count(&self, word: &str) -> usize {
        self.log.lines().filter(|line| line.contains(word)).count()
    }
}
