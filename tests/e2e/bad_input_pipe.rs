//! What the pipe says when it cannot push: the exit code and words that lead on. Against the real
//! server and a real Docker daemon.

use serde_json::json;
use standpipe_tests::clients::{Client, Kind};
use standpipe_tests::disk::files_below;
use standpipe_tests::dockerd::{Dockerd, free_port};
use standpipe_tests::images::{self, BuiltImage};
use standpipe_tests::pipe::PipeRun;
use standpipe_tests::rest::Credential;

use crate::world::World;

/// Variables are checked before anything is reached for.
const NO_DAEMON: &str = "tcp://127.0.0.1:1";

#[tokio::test]
async fn all_wrong_variables_are_told_at_once() {
    let outcome = PipeRun::new(NO_DAEMON)
        .set("TAGS", "good -bad")
        .set("INSECURE", "perhaps")
        .set("PARALLEL", "many")
        .finish()
        .await;
    outcome.failed(2, &["IMAGE_NAME", "TAGS", "INSECURE", "PARALLEL"]);
}

#[tokio::test]
async fn a_registry_host_in_the_image_name_is_refused_with_advice() {
    let outcome = PipeRun::new(NO_DAEMON)
        .set("IMAGE_NAME", "registry.example.com/acme/shop:1")
        .finish()
        .await;
    outcome.failed(2, &["IMAGE_NAME", "REGISTRY"]);
}

#[tokio::test]
async fn a_token_of_the_step_is_not_sent_to_a_foreign_registry() {
    let world = World::with_packages(&["shop-api"]).await;
    let token = "ATCTT3xFfGN0example";
    let credential = Credential { username: "x-token-auth".to_owned(), secret: token.to_owned() };
    let outcome =
        PipeRun::push(NO_DAEMON, &world.server, &credential, "shop-api").set("DEBUG", "true");
    let outcome = outcome.finish().await;
    outcome.failed(2, &["BITBUCKET_PACKAGES_TOKEN", "AUTH"]);
    assert!(!outcome.finished.output().contains(token), "{}", outcome.finished);
}

#[tokio::test]
async fn without_a_daemon_it_says_where_it_looked() {
    let world = World::with_packages(&["shop-api"]).await;
    let token = world.pipeline_token().await;
    let outcome = PipeRun::push(NO_DAEMON, &world.server, &token, "no-such-image:1").finish().await;
    // On a machine with a daemon of its own the pipe finds that one, and not the image.
    outcome.failed(3, &[]);
    let output = outcome.finished.output();
    assert!(output.contains("127.0.0.1:1") || output.contains("no-such-image"), "{output}");
}

#[tokio::test]
async fn a_missing_image_is_told_by_its_name() {
    let Some(step) = Step::new(&["shop-api"]).await else { return };
    let outcome = step.push("shop-apo:1").finish().await;
    outcome.failed(3, &["shop-apo", "shop-api"]);
}

#[tokio::test]
async fn a_wrong_password_ends_with_the_login_code_and_is_not_shown() {
    let Some(step) = Step::new(&["shop-api"]).await else { return };
    let wrong = Credential { secret: "wrong-password".to_owned(), ..step.token.clone() };
    let outcome = PipeRun::push(&step.host, &step.world.server, &wrong, &step.local("shop-api"));
    let outcome = outcome.set("DEBUG", "true").finish().await;
    outcome.failed(4, &["BITBUCKET_PACKAGES_TOKEN"]);
    assert!(!outcome.finished.output().contains("wrong-password"), "{}", outcome.finished);
}

#[tokio::test]
async fn a_package_that_was_not_created_ends_with_the_login_code_and_advice() {
    let Some(step) = Step::new(&["shop-api"]).await else { return };
    step.world.admin.settings("acme", json!({"create_on_push": "never"})).await;
    step.tag("shop-web").await;
    let outcome = step.push(&step.local("shop-web")).finish().await;
    outcome.failed(4, &["shop-web", "package"]);
}

#[tokio::test]
async fn a_role_that_is_too_small_ends_with_the_login_code_and_names_the_role() {
    let Some(step) = Step::new(&["shop-api"]).await else { return };
    let rita = step.world.admin.user("rita", "a long enough password").await;
    step.world.admin.permit("acme", "shop", "rita", "read").await;
    let run =
        PipeRun::push(&step.host, &step.world.server, &rita.credential(), &step.local("shop-api"));
    let outcome = run.finish().await;
    outcome.failed(4, &["write"]);
}

#[tokio::test]
async fn a_registry_that_is_not_there_ends_with_the_network_code() {
    let Some(step) = Step::new(&["shop-api"]).await else { return };
    let nowhere = format!("127.0.0.1:{}", free_port());
    let run = step.push(&step.local("shop-api")).set("REGISTRY", &nowhere).set("RETRIES", "1");
    let outcome = run.finish().await;
    outcome.failed(5, &[&nowhere]);
}

#[tokio::test]
async fn something_that_is_no_registry_ends_with_the_network_code() {
    let Some(step) = Step::new(&["shop-api"]).await else { return };
    // The Docker daemon speaks HTTP, but not the registry's.
    let daemon = step.host.trim_start_matches("tcp://").to_owned();
    let run = step.push(&step.local("shop-api")).set("REGISTRY", &daemon).set("RETRIES", "0");
    let outcome = run.finish().await;
    outcome.failed(5, &[&daemon]);
}

#[tokio::test]
async fn the_pipe_pushes_every_tag_and_hides_the_token() {
    let Some(step) = Step::new(&["shop-api"]).await else { return };
    let run =
        step.push(&step.local("shop-api")).set("TAGS", "latest 1.2, stable").set("DEBUG", "true");
    let outcome = run.finish().await;
    let digest = outcome.digest();
    assert_eq!(outcome.digests().len(), 3, "{}", outcome.finished);
    for tag in ["latest", "1.2", "stable"] {
        let stored = step.world.raw().head(&format!("/v2/acme/shop-api/manifests/{tag}")).await;
        assert_eq!(stored.expect(200).header("docker-content-digest"), digest, "{tag}");
    }
    assert!(!outcome.finished.output().contains(&step.token.secret), "{}", outcome.finished);
    assert!(
        outcome.finished.stdout.trim_end().lines().last().is_some_and(|line| line.contains('✔'))
    );
    let left = files_below(&outcome.clone_directory());
    assert!(left.is_empty(), "left in the clone folder: {left:?}");

    let again = step.push(&step.local("shop-api")).finish().await;
    assert_eq!(again.digest(), digest, "the same image has the same digest every time");
}

/// A step that has built an image, and a server to push it to.
struct Step {
    world: World,
    docker: Client,
    host: String,
    image: BuiltImage,
    token: Credential,
    unique: u64,
}

impl Step {
    /// With the packages named; the image stands ready under the name of the first.
    async fn new(packages: &[&str]) -> Option<Self> {
        let docker = Client::find(Kind::Docker).await?;
        let host = Dockerd::shared().await?.host();
        let world = World::with_packages(packages).await;
        let token = world.pipeline_token().await;
        // The daemon is shared with other tests; a port that was free just now tells their images apart.
        let unique = u64::from(free_port());
        let reference = format!("{}:step-{unique}", packages[0]);
        let image = images::build(&docker, &reference, unique, &[2000, 3000, 40_000]).await;
        Some(Self { world, docker, host, image, token, unique })
    }

    /// The image's local name for pushing it to a package.
    fn local(&self, package: &str) -> String {
        format!("{package}:step-{}", self.unique)
    }

    async fn tag(&self, package: &str) {
        let _ = self.docker.run(&["tag", &self.image.reference, &self.local(package)]).await;
    }

    fn push(&self, image: &str) -> PipeRun {
        PipeRun::push(&self.host, &self.world.server, &self.token, image)
    }
}
