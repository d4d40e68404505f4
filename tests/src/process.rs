//! Running a program to its end with an environment that the test chose whole.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::environment;

/// A program about to run. Its environment is empty but for `PATH` and what is added here.
#[derive(Debug)]
pub struct Program {
    command: Command,
    input: Option<String>,
    limit: Duration,
    shown: String,
}

impl Program {
    /// Prepares `program`, found through the search path unless it is a path.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program.as_ref());
        command
            .env_clear()
            .env("PATH", environment::search_path())
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Self {
            command,
            input: None,
            limit: LIMIT,
            shown: program.as_ref().to_string_lossy().into_owned(),
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        for argument in arguments {
            self.shown.push(' ');
            self.shown.push_str(&argument.as_ref().to_string_lossy());
            self.command.arg(argument);
        }
        self
    }

    /// Sets one environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts the program in `directory`.
    #[must_use]
    pub fn current_dir(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Gives the program this text on its standard input; without it the input is empty.
    #[must_use]
    pub fn input(mut self, text: &str) -> Self {
        self.command.stdin(Stdio::piped());
        self.input = Some(text.to_owned());
        self
    }

    /// Gives the program less time than [`LIMIT`].
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs the program to its end.
    ///
    /// # Panics
    /// When it cannot be started or runs longer than its limit.
    pub async fn finish(mut self) -> Finished {
        let mut child = self
            .command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start `{}`: {error}", self.shown));
        if let (Some(text), Some(mut pipe)) = (self.input.take(), child.stdin.take()) {
            // A program that ends without reading all of it tells its own story by its exit code.
            let _ = pipe.write_all(text.as_bytes()).await;
        }
        let output = timeout(self.limit, child.wait_with_output())
            .await
            .unwrap_or_else(|_| panic!("`{}` ran longer than {:?}", self.shown, self.limit))
            .unwrap_or_else(|error| panic!("cannot wait for `{}`: {error}", self.shown));
        Finished {
            command: self.shown,
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    /// What was run, for messages.
    pub command: String,
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
}

impl Finished {
    /// The same, once it is known to have ended with exit code 0.
    ///
    /// # Panics
    /// When it did not; the message holds the whole output.
    #[must_use]
    #[track_caller]
    pub fn succeeded(self) -> Self {
        self.ended_with(0)
    }

    /// The same, once it is known to have ended with this exit code.
    ///
    /// # Panics
    /// When it did not; the message holds the whole output.
    #[must_use]
    #[track_caller]
    pub fn ended_with(self, code: i32) -> Self {
        assert!(self.code == Some(code), "expected exit code {code} from {self}");
        self
    }

    /// Both outputs as one text, for searching messages.
    #[must_use]
    pub fn output(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "`{}`, code {:?}", self.command, self.code)?;
        writeln!(formatter, "--- stdout ---\n{}", self.stdout.trim_end())?;
        writeln!(formatter, "--- stderr ---\n{}", self.stderr.trim_end())
    }
}

/// No single command of these tests is meant to take longer, also with `--soak`.
pub const LIMIT: Duration = Duration::from_secs(20 * 60);
