//! The pipe, run with the environment that a Bitbucket step gives its pipes.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::disk::temporary_directory;
use crate::environment;
use crate::guardian;
use crate::poll;
use crate::process::Finished;
use crate::rest::Credential;
use crate::server::{Server, peak_memory_of};

/// One run of the pipe: first the step's environment, then what the pipe's `variables:` say.
#[derive(Debug)]
pub struct PipeRun {
    folder: TempDir,
    variables: Vec<(String, String)>,
}

/// What a run left behind.
#[derive(Debug)]
pub struct PipeOutcome {
    /// Exit code and both outputs.
    pub finished: Finished,
    /// The most memory that it ever had resident, in bytes.
    pub peak_memory: u64,
    folder: TempDir,
}

impl PipeRun {
    /// A run in a step of workspace `acme` and repository `shop`, with a Docker daemon at `docker_host`.
    #[must_use]
    pub fn new(docker_host: &str) -> Self {
        let folder = temporary_directory("step");
        let clone = folder.path().join("build");
        fs::create_dir(&clone).expect("our own folder is writable");
        let mut run = Self { folder, variables: Vec::new() };
        for (name, value) in STEP {
            run = run.set(name, value);
        }
        run.set("BITBUCKET_CLONE_DIR", &clone.to_string_lossy()).set("DOCKER_HOST", docker_host)
    }

    /// A run that pushes local `image` to `server` with the step's own credential pair.
    #[must_use]
    pub fn push(docker_host: &str, server: &Server, credential: &Credential, image: &str) -> Self {
        Self::new(docker_host)
            .set("REGISTRY", server.authority())
            .set("BITBUCKET_PACKAGES_USERNAME", &credential.username)
            .set("BITBUCKET_PACKAGES_TOKEN", &credential.secret)
            .set("INSECURE", "true")
            .set("IMAGE_NAME", image)
    }

    /// Sets a variable; a later value wins, as a pipe's `variables:` win over the step's.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs the pipe to its end.
    ///
    /// # Panics
    /// When it cannot be started or does not end within twenty minutes.
    pub async fn finish(self) -> PipeOutcome {
        let folder = self.folder;
        let output = |name: &str| {
            File::create(folder.path().join(name)).expect("our own folder is writable")
        };
        let mut child = Command::new(environment::pipe_binary())
            .env_clear()
            .env("PATH", environment::search_path())
            .envs(self.variables)
            .current_dir(folder.path().join("build"))
            .stdin(Stdio::null())
            .stdout(output("stdout"))
            .stderr(output("stderr"))
            .spawn()
            .expect("the pipe binary can be started");
        guardian::watch_process(child.id());
        let pid = child.id();
        let mut peak_memory = 0;
        let status = poll::until("end of the pipe", LIMIT, async || {
            // The last look before the end is at most one poll old, and the mark never falls.
            peak_memory = peak_memory_of(pid).unwrap_or(peak_memory);
            let ended = child.try_wait().expect("our own child can be waited for");
            ended.ok_or("it still runs")
        })
        .await;
        guardian::forget_process(pid);
        let text = |name: &str| {
            let bytes = fs::read(folder.path().join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        PipeOutcome {
            finished: Finished {
                command: "standpipe-pipe".to_owned(),
                code: status.code(),
                stdout: text("stdout"),
                stderr: text("stderr"),
            },
            peak_memory,
            folder,
        }
    }
}

impl PipeOutcome {
    /// Digests of the `REGISTRY/WORKSPACE/NAME:TAG@sha256:…` lines that the run printed.
    #[must_use]
    pub fn digests(&self) -> Vec<String> {
        self.finished
            .output()
            .split_whitespace()
            .filter_map(|word| word.split_once("@sha256:"))
            .map(|(_, hash)| format!("sha256:{}", &hash[..hash.len().min(64)]))
            .collect()
    }

    /// The one digest that the run reports.
    ///
    /// # Panics
    /// When it failed, or reports none or different ones.
    #[must_use]
    #[track_caller]
    pub fn digest(&self) -> String {
        assert_eq!(self.finished.code, Some(0), "{}", self.finished);
        let digests = self.digests();
        let first = digests.first().cloned();
        let first = first.unwrap_or_else(|| panic!("no digest in {}", self.finished));
        assert!(digests.iter().all(|digest| *digest == first), "{digests:?}: {}", self.finished);
        first
    }

    /// The step's clone folder, as the run left it.
    #[must_use]
    pub fn clone_directory(&self) -> PathBuf {
        self.folder.path().join("build")
    }

    /// Checks the exit code and that the output mentions `words`.
    ///
    /// # Panics
    /// When either differs.
    #[track_caller]
    pub fn failed(&self, code: i32, words: &[&str]) {
        assert_eq!(self.finished.code, Some(code), "{}", self.finished);
        let output = self.finished.output();
        for word in words {
            assert!(output.contains(word), "no {word:?} in {}", self.finished);
        }
    }
}

/// The fixed list that the platform passes to every pipe. What is unset arrives empty, not absent.
pub const STEP: [(&str, &str); 24] = [
    ("BITBUCKET_STEP_TRIGGERER_UUID", "{6b1c3b9e-35a7-4d0f-9d25-0d6ff2b1a001}"),
    ("BITBUCKET_REPO_FULL_NAME", "acme/shop"),
    ("BITBUCKET_GIT_HTTP_ORIGIN", "http://bitbucket.org/acme/shop"),
    ("BITBUCKET_REPO_SLUG", "shop"),
    ("BITBUCKET_PROJECT_UUID", "{6b1c3b9e-35a7-4d0f-9d25-0d6ff2b1a002}"),
    ("BITBUCKET_PROJECT_KEY", "WEB"),
    ("CI", "true"),
    ("BITBUCKET_REPO_OWNER", "acme"),
    ("BITBUCKET_REPO_OWNER_UUID", "{6b1c3b9e-35a7-4d0f-9d25-0d6ff2b1a003}"),
    ("BITBUCKET_REPO_IS_PRIVATE", "true"),
    ("BITBUCKET_REPO_UUID", "{6b1c3b9e-35a7-4d0f-9d25-0d6ff2b1a004}"),
    ("BITBUCKET_WORKSPACE", "acme"),
    ("BITBUCKET_SSH_KEY_FILE", "/opt/atlassian/pipelines/agent/ssh/id_rsa"),
    ("BITBUCKET_STEP_RUN_NUMBER", "1"),
    ("BITBUCKET_STEP_UUID", "{6b1c3b9e-35a7-4d0f-9d25-0d6ff2b1a005}"),
    ("BITBUCKET_BUILD_NUMBER", "42"),
    ("BITBUCKET_BRANCH", "main"),
    ("BITBUCKET_GIT_SSH_ORIGIN", "git@bitbucket.org:acme/shop.git"),
    ("BITBUCKET_PIPELINE_UUID", "{6b1c3b9e-35a7-4d0f-9d25-0d6ff2b1a006}"),
    ("BITBUCKET_PIPELINES_VARIABLES_PATH", ""),
    ("BITBUCKET_COMMIT", "0f3c1d2e4b5a69788796a5b4c3d2e1f00f1e2d3c"),
    ("PIPELINES_JWT_TOKEN", ""),
    ("BITBUCKET_DOCKER_HOST_INTERNAL", ""),
    ("BITBUCKET_STEP_OIDC_TOKEN", ""),
];

/// No run of these tests is meant to take longer, also with `--soak`.
const LIMIT: Duration = Duration::from_secs(20 * 60);
