//! The container clients that people use, each with storage, configuration and credentials of its own.
//! `oras`, which is a Python library, is in `oras.rs`; `umoci` talks to no registry.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::containerd::Containerd;
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
    /// containerd's `ctr`, in a namespace of its own
    Ctr,
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
    /// Where its daemon is; empty without one.
    daemon: String,
    /// What to pass with every call, for a client that cannot log in.
    credential: OnceLock<Credential>,
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
        let daemon = match kind {
            Kind::Docker => Dockerd::shared().await?.host(),
            Kind::Ctr => Containerd::shared().await?.address(),
            Kind::Buildah | Kind::Podman | Kind::Skopeo => String::new(),
        };
        Some(Self::with_home(kind, daemon))
    }

    /// `docker` with a daemon of the caller's choice.
    #[must_use]
    pub fn docker_at(docker_host: &str) -> Self {
        Self::with_home(Kind::Docker, docker_host.to_owned())
    }

    fn with_home(kind: Kind, daemon: String) -> Self {
        let home = temporary_directory(kind.program());
        let client = Self { kind, home, daemon, credential: OnceLock::new() };
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
            Kind::Ctr => program.args(["--address", &self.daemon, "--namespace", self.namespace()]),
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
                .env("DOCKER_HOST", &self.daemon)
                .env("DOCKER_CONFIG", self.home.path().join("docker"))
                // The classic builder needs no plug-in, and a step may have none.
                .env("DOCKER_BUILDKIT", "0"),
            Kind::Buildah | Kind::Ctr | Kind::Podman | Kind::Skopeo => program,
        }
    }

    /// Makes the client use a credential: by its login, or with each call if it has none.
    ///
    /// # Panics
    /// When the login fails.
    pub async fn sign_in(&self, authority: &str, credential: &Credential) {
        match self.kind {
            Kind::Ctr => {
                let kept = self.credential.set(credential.clone());
                kept.expect("a client signs in once");
            }
            Kind::Buildah | Kind::Docker | Kind::Podman | Kind::Skopeo => {
                let _ = self.login(authority, credential).await.succeeded();
            }
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
            Kind::Ctr => {
                self.take_in(image).await;
                let pushing = self.remote(&["images", "push"], &[target, &image.reference]);
                let _ = pushing.finish().await.succeeded();
                return self.listed(&image.reference).await;
            }
            Kind::Buildah | Kind::Podman => {
                self.take_in(image).await;
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

    /// Takes a built image into the client's own store, if it has one and does not have it there.
    ///
    /// # Panics
    /// When the client fails.
    pub async fn take_in(&self, image: &BuiltImage) {
        let archive = image.archive.to_string_lossy();
        let _ = match self.kind {
            Kind::Buildah | Kind::Podman => {
                self.run(&["pull", "--quiet", &format!("docker-archive:{archive}")]).await
            }
            Kind::Ctr => self.run(&["images", "import", "--no-unpack", &archive]).await,
            Kind::Docker | Kind::Skopeo => return,
        };
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
            Kind::Ctr => {
                // The snapshotter that works on every file system, also inside another container.
                let pulling = self.remote(&["images", "pull", "--snapshotter=native"], &[source]);
                let _ = pulling.finish().await.succeeded();
                let digest = self.listed(source).await;
                let _ = self.run(&["images", "rm", "--sync", source]).await;
                digest
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
            Kind::Ctr => self.forget_all_images().await,
            Kind::Skopeo => {}
        }
    }

    /// Makes `ctr` forget every image with all its content.
    pub async fn forget_all_images(&self) {
        let names = self.run(&["images", "ls", "--quiet"]).await.stdout;
        for name in names.lines() {
            let _ = self.run(&["images", "rm", "--sync", name]).await;
        }
    }

    /// A call of `ctr` that asks a registry: the command, then what it is about, with the credential
    /// that the client signed in with.
    #[must_use]
    pub fn remote(&self, command: &[&str], arguments: &[&str]) -> Program {
        assert_eq!(self.kind, Kind::Ctr, "others have their options for that");
        let program = self.command(command).args(["--plain-http"]);
        let program = match self.credential.get() {
            Some(Credential { username, secret }) => {
                program.args(["--user".to_owned(), format!("{username}:{secret}")])
            }
            None => program,
        };
        program.args(arguments)
    }

    /// The digest under which `ctr` has an image.
    ///
    /// # Panics
    /// When it has none.
    pub async fn listed(&self, reference: &str) -> String {
        let filter = format!("name=={reference}");
        let listed = self.run(&["images", "ls", &filter]).await;
        let row = listed.stdout.lines().find(|line| line.starts_with(reference));
        let digest = row.and_then(|row| row.split_whitespace().nth(2));
        digest.unwrap_or_else(|| panic!("no {reference} in {listed}")).to_owned()
    }

    /// Its own part of what its daemon keeps: named as its home is.
    fn namespace(&self) -> &str {
        let name = self.home.path().file_name().and_then(OsStr::to_str);
        name.expect("a temporary folder has a plain name")
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
            .env("DOCKER_HOST", &self.daemon)
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
    pub const ALL: [Self; 5] = [Self::Docker, Self::Podman, Self::Buildah, Self::Skopeo, Self::Ctr];

    fn program(self) -> &'static str {
        match self {
            Self::Buildah => "buildah",
            Self::Ctr => "ctr",
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
