//! The two images, built once for all tests, and the server's running as a container.

use std::time::Duration;

use serde_json::Value;
use standpipe_tests::clients::Client;
use standpipe_tests::environment;
use standpipe_tests::pipeline::yaml;
use standpipe_tests::poll;
use standpipe_tests::process::{Finished, Program};
use standpipe_tests::rest::{Credential, text_of};
use standpipe_tests::server::ADMIN_PASSWORD;
use standpipe_tests::step::{Named, Step};
use tokio::sync::{OnceCell, RwLock};

use crate::world::say;

/// A step's docker service that has both images.
pub(crate) struct Images {
    pub(crate) step: &'static Step,
    /// The pipe's, under the name that `pipe.yml` says.
    pub(crate) pipe: String,
    /// The server's, under the name that `examples/compose.yaml` says.
    pub(crate) server: String,
}

impl Images {
    /// Built from `dist/` on first use; `None` where there can be no step.
    pub(crate) async fn built() -> Option<&'static Self> {
        static BUILT: OnceCell<Option<Images>> = OnceCell::const_new();
        let built = BUILT.get_or_init(async || {
            let step = Step::shared().await?;
            let root = environment::repository_root();
            assert!(root.join("dist/server").is_dir(), "no dist/: run packaging/build.sh first");
            let pipe = text_of(&yaml(&root.join("pipe.yml")), "image");
            let compose = yaml(&root.join("examples/compose.yaml"));
            let server = text_of(&compose["services"]["standpipe"], "image");
            let docker = step.docker();
            for (file, image) in [("Dockerfile.pipe", &pipe), ("Dockerfile.server", &server)] {
                let options = ["--target=prebuilt", &format!("--build-arg=REVISION={REVISION}")];
                let _ = build(&docker, file, image, &options).await.succeeded();
            }
            Some(Self { step, pipe, server })
        });
        built.await.as_ref()
    }
}

/// Held for writing by who removes images, and for reading by who builds some: Docker's old builder fails
/// when an image goes that it has just looked at for its cache.
pub(crate) fn removal() -> &'static RwLock<()> {
    static REMOVAL: RwLock<()> = RwLock::const_new(());
    &REMOVAL
}

/// Builds an image of the repository.
pub(crate) async fn build(docker: &Client, file: &str, image: &str, options: &[&str]) -> Finished {
    let _nothing_is_removed = removal().read().await;
    let root = environment::repository_root();
    let command = docker.command(&["build", "--file", file, "--tag", image]);
    command.args(options).args(["."]).current_dir(&root).finish().await
}

/// A container that goes with the value.
pub(crate) struct Container {
    pub(crate) docker: Client,
    pub(crate) name: String,
}

impl Container {
    /// Starts one in the background.
    pub(crate) async fn start(step: &Step, name: &str, arguments: &[&str]) -> Self {
        let container = Self { docker: step.docker(), name: name.to_owned() };
        let run = ["run", "--detach", "--name", name];
        let _ = container.docker.run(&[&run[..], arguments].concat()).await;
        container
    }

    /// One property, as `docker inspect --format` writes it.
    pub(crate) async fn inspect(&self, format: &str) -> String {
        let shown = self.docker.run(&["inspect", "--format", format, &self.name]).await;
        shown.stdout.trim().to_owned()
    }

    /// Waits until Docker's own health check is content; returns the last line of it.
    pub(crate) async fn healthy(&self) -> String {
        poll::until("healthy container", HEALTHY_LIMIT, async || {
            let health = self.inspect("{{.State.Health.Status}}").await;
            if health == "healthy" { Ok(()) } else { Err(format!("it is {health}")) }
        })
        .await;
        self.inspect("{{(index .State.Health.Log 0).Output}}").await
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.docker.blocking(&["logs", "--tail=40", &self.name]);
            say(&format!("--- end of the log of {} ---\n{log}", self.name));
        }
        let _ = self.docker.blocking(&["rm", "--force", "--volumes", &self.name]);
    }
}

/// The server's image as a registry of the step.
pub(crate) struct Registry {
    pub(crate) container: Container,
    pub(crate) host: &'static str,
}

impl Registry {
    /// Starts one at an address of the step and waits until it is ready.
    pub(crate) async fn start(images: &Images, named: Named) -> Self {
        let publish = format!("--publish={}:80:5000", named.address);
        let url = format!("--env=STANDPIPE_PUBLIC_URL=http://{}", named.host);
        let password = format!("--env=STANDPIPE_ADMIN_PASSWORD={ADMIN_PASSWORD}");
        let arguments = [publish.as_str(), &url, &password, &images.server];
        let container = Container::start(images.step, named.host, &arguments).await;
        let registry = Self { container, host: named.host };
        registry.ready().await;
        registry
    }

    /// Waits until the server says that it is ready, without Docker's pauses between two checks.
    pub(crate) async fn ready(&self) {
        poll::until("ready server", HEALTHY_LIMIT, async || {
            let health = self.execute(&["health"]).finish().await;
            if health.code == Some(0) { Ok(()) } else { Err(health.to_string()) }
        })
        .await;
    }

    /// `standpipe-server admin …` in the container, as its documentation says.
    pub(crate) async fn admin(&self, arguments: &[&str]) -> Finished {
        self.execute(&[&["admin"], arguments].concat()).finish().await.succeeded()
    }

    /// A workspace with project `WEB` and repository `shop`.
    pub(crate) async fn workspace(&self, slug: &str) {
        let _ = self.admin(&["workspace", "create", slug]).await;
        let _ = self.admin(&["project", "create", slug, "WEB"]).await;
        let _ = self.admin(&["repository", "create", slug, "shop", "--project", "WEB"]).await;
    }

    /// A package of repository `shop` and a pipeline token for it.
    pub(crate) async fn package(&self, workspace: &str, name: &str) -> Credential {
        let _ = self.admin(&["package", "create", workspace, name, "--repository", "shop"]).await;
        let made = self.admin(&["--json", "token", "create", workspace, "shop", "ci"]).await;
        let made: Value = serde_json::from_str(&made.stdout).expect("--json prints JSON");
        Credential { username: text_of(&made, "username"), secret: text_of(&made, "token") }
    }

    fn execute(&self, arguments: &[&str]) -> Program {
        let password = format!("--env=STANDPIPE_PASSWORD={ADMIN_PASSWORD}");
        let program = ["exec", &password, &self.container.name, "standpipe-server"];
        self.container.docker.command(&[&program[..], arguments].concat())
    }
}

/// What the images under test say they were built from.
pub(crate) const REVISION: &str = "0f3c1d2e4b5a69788796a5b4c3d2e1f00f1e2d3c";
/// Longer than the pause between two health checks, and the machine may be busy.
const HEALTHY_LIMIT: Duration = Duration::from_secs(180);
