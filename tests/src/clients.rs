//! The container clients that people use, each with storage, configuration and credentials of its own.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::disk::temporary_directory;
use crate::dockerd::Dockerd;
use crate::environment;
use crate::images::BuiltImage;
use crate::payload::digest_of;
use crate::process::{Finished, Program};
use crate::rest::Credential;

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `buildah`
    Buildah,
    /// `docker`, through the shared daemon
    Docker,
    /// `podman`
    Podman,
    /// `skopeo`
    Skopeo,
}

/// One client with a home of its own.
#[derive(Debug)]
pub struct Client {
    kind: Kind,
    home: TempDir,
    docker_host: String,
}

impl Client {
    /// The client, or `None` where it is not installed or cannot run.
    ///
    /// # Panics
    /// On a build machine (`CI` is set) when it is missing.
    pub async fn find(kind: Kind) -> Option<Self> {
        if !is_installed(kind.program()) {
            skip(&format!("{} is not installed", kind.program()));
            return None;
        }
        let docker_host = match kind {
            Kind::Docker => Dockerd::shared().await?.host(),
            Kind::Buildah | Kind::Podman | Kind::Skopeo => String::new(),
        };
        Some(Self::with_home(kind, docker_host))
    }

    /// `docker` with a daemon of the caller's choice.
    #[must_use]
    pub fn docker_at(docker_host: &str) -> Self {
        Self::with_home(Kind::Docker, docker_host.to_owned())
    }

    fn with_home(kind: Kind, docker_host: String) -> Self {
        let client = Self { kind, home: temporary_directory(kind.program()), docker_host };
        // Some of them take a file that is named, but absent, for a mistake.
        fs::write(client.authfile(), "{}").expect("our own folder is writable");
        client
    }

    /// The program's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.kind.program()
    }

    /// A call of the program with its own storage and configuration.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Program {
        let program = self.run_by(self.name());
        let program = match self.kind {
            Kind::Buildah | Kind::Podman => program
                .args(["--root".as_ref(), self.home.path().join("root").as_os_str()])
                .args(["--runroot".as_ref(), self.home.path().join("run").as_os_str()])
                // Works on every file system, also inside another container.
                .args(["--storage-driver", "vfs"]),
            Kind::Docker | Kind::Skopeo => program,
        };
        program.args(arguments)
    }

    /// A program that calls the client, such as a shell: with the client's own configuration.
    #[must_use]
    pub fn run_by(&self, program: &str) -> Program {
        let program = Program::new(program)
            .env("HOME", self.home.path())
            .env("TMPDIR", self.home.path())
            .env("XDG_RUNTIME_DIR", self.home.path().join("run"))
            .env("REGISTRY_AUTH_FILE", self.authfile());
        match self.kind {
            Kind::Docker => program
                .env("DOCKER_HOST", &self.docker_host)
                .env("DOCKER_CONFIG", self.home.path().join("docker"))
                // The classic builder needs no plug-in, and a step may have none.
                .env("DOCKER_BUILDKIT", "0"),
            Kind::Buildah | Kind::Podman | Kind::Skopeo => program,
        }
    }

    /// Logs in, whatever comes of it.
    pub async fn login(&self, authority: &str, credential: &Credential) -> Finished {
        let mut arguments = vec!["login"];
        if self.kind != Kind::Docker {
            // The daemon trusts loopback registries without TLS by itself.
            arguments.push("--tls-verify=false");
        }
        arguments.extend(["--username", &credential.username, "--password-stdin", authority]);
        self.command(&arguments).input(&credential.secret).finish().await
    }

    /// Pushes an image to `target`; returns the digest that the client reports.
    ///
    /// # Panics
    /// When the client fails or reports none.
    pub async fn push(&self, image: &BuiltImage, target: &str) -> String {
        let digest_file = self.home.path().join("digest");
        let option = format!("--digestfile={}", digest_file.display());
        let archive = format!("docker-archive:{}", image.archive.display());
        let remote = format!("docker://{target}");
        match self.kind {
            Kind::Docker => {
                let _ = self.run(&["tag", &image.reference, target]).await;
                let finished = self.run(&["push", target]).await;
                return value_after(&finished, "digest: ");
            }
            Kind::Buildah | Kind::Podman => {
                let _ = self.run(&["pull", "--quiet", &archive]).await;
                let source = &image.reference;
                let _ = self.run(&["push", "--tls-verify=false", &option, source, &remote]).await;
            }
            Kind::Skopeo => {
                let _ = self
                    .run(&["copy", "--dest-tls-verify=false", &option, &archive, &remote])
                    .await;
            }
        }
        let digest = fs::read_to_string(&digest_file).expect("the client wrote its digest file");
        digest.trim().to_owned()
    }

    /// Pulls `source` into an empty store; returns the digest that arrived.
    ///
    /// # Panics
    /// When the client fails.
    pub async fn pull(&self, source: &str) -> String {
        let tls = "--tls-verify=false";
        match self.kind {
            Kind::Docker => {
                let finished = self.run(&["pull", source]).await;
                let _ = self.run(&["rmi", "--force", source]).await;
                value_after(&finished, "Digest: ")
            }
            Kind::Podman => {
                let _ = self.run(&["pull", "--quiet", tls, source]).await;
                let format = "--format={{.Digest}}";
                let digest = self.run(&["image", "inspect", format, source]).await;
                let _ = self.run(&["rmi", "--all", "--force"]).await;
                digest.stdout.trim().to_owned()
            }
            Kind::Buildah => {
                let _ = self.run(&["pull", "--quiet", tls, source]).await;
                let format = "--format={{.FromImageDigest}}";
                let digest = self.run(&["inspect", "--type=image", format, source]).await;
                let _ = self.run(&["rmi", "--all", "--force"]).await;
                digest.stdout.trim().to_owned()
            }
            Kind::Skopeo => {
                let folder = self.fresh_folder("pulled");
                let (remote, local) = (format!("docker://{source}"), directory_name(&folder));
                let _ = self
                    .run(&["copy", "--preserve-digests", "--src-tls-verify=false", &remote, &local])
                    .await;
                let manifest = fs::read(folder.join("manifest.json")).expect("skopeo wrote one");
                fs::remove_dir_all(&folder).expect("our own folder can be removed");
                digest_of(&manifest)
            }
        }
    }

    /// Forgets every local image, so that the next pull fetches every layer.
    pub async fn forget_images(&self, image: &BuiltImage) {
        match self.kind {
            Kind::Buildah | Kind::Podman => {
                let _ = self.run(&["rmi", "--all", "--force"]).await;
            }
            Kind::Docker => {
                // By its id, with every name it was given for a push.
                let _ = self.run(&["rmi", "--force", &image.id]).await;
            }
            Kind::Skopeo => {}
        }
    }

    /// A call that must end with exit code 0.
    pub async fn run(&self, arguments: &[&str]) -> Finished {
        self.command(arguments).finish().await.succeeded()
    }

    /// A call of docker from a destructor, whatever comes of it; returns both outputs.
    #[must_use]
    pub fn blocking(&self, arguments: &[&str]) -> String {
        let output = std::process::Command::new(self.name())
            .env_clear()
            .env("PATH", environment::search_path())
            .env("HOME", self.home.path())
            .env("DOCKER_HOST", &self.docker_host)
            .args(arguments)
            .output();
        output.map_or_else(
            |error| error.to_string(),
            |output| {
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                text(&output.stdout) + &text(&output.stderr)
            },
        )
    }

    /// A folder below the client's home that does not exist yet.
    #[must_use]
    pub fn fresh_folder(&self, name: &str) -> PathBuf {
        let path = self.home.path().join(name);
        assert!(!path.exists(), "{} is in use", path.display());
        path
    }

    fn authfile(&self) -> PathBuf {
        self.home.path().join("auth.json")
    }
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Docker, Self::Podman, Self::Buildah, Self::Skopeo];

    fn program(self) -> &'static str {
        match self {
            Self::Buildah => "buildah",
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Skopeo => "skopeo",
        }
    }
}

/// True when a program of this name is on the search path.
#[must_use]
pub fn is_installed(program: &str) -> bool {
    environment::search_path()
        .split(':')
        .any(|directory| Path::new(directory).join(program).is_file())
}

/// Says loudly that a test is not run; on a build machine that is a failure.
///
/// # Panics
/// When `CI` is set.
pub fn skip(reason: &str) {
    assert!(!environment::is_ci(), "not skipped when CI is set: {reason}");
    // Around the test runner's capture, which would hide it: a skipped test counts as passed.
    let _ = writeln!(std::io::stderr(), "\n######## SKIPPED: {reason} ########\n");
}

fn value_after(finished: &Finished, label: &str) -> String {
    finished
        .stdout
        .lines()
        .find_map(|line| line.split_once(label))
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .unwrap_or_else(|| panic!("no {label:?} in {finished}"))
        .to_owned()
}

fn directory_name(folder: &Path) -> String {
    format!("dir:{}", folder.display())
}
