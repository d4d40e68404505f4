//! Builds that log in with the OIDC token of their step: the pipe and the clients people use.

use serde_json::json;
use standpipe_tests::clients::{Client, Kind};
use standpipe_tests::disk::temporary_directory;
use standpipe_tests::images;
use standpipe_tests::issuer::Issuer;
use standpipe_tests::pipe::PipeRun;
use standpipe_tests::rest::{Credential, text_of};
use standpipe_tests::server::ServerOptions;

use crate::world::World;

/// The source repository.
const SOURCE: &str = "{6b1c3b9e-35a7-4d0f-9d25-0d6ff2b1a004}";
/// For whom tokens are.
const AUDIENCE: &str = "https://registry.example.com";
/// Reading a layout needs none.
const NO_DAEMON: &str = "tcp://127.0.0.1:1";

/// An issuer, and a server that trusts it and lets only `main` move `latest`.
async fn bound() -> (Issuer, World) {
    let issuer = Issuer::start().await;
    let config = format!(
        "oidc:\n  issuers:\n    - issuer: {}\n      audiences: [{AUDIENCE}]\nlog:\n  filter: trace\n",
        issuer.url()
    );
    let options = ServerOptions { config: Some(config), ..ServerOptions::default() };
    let world = World::with_options(options, &["shop-api"]).await;
    let binding = json!({
        "issuer": issuer.url(),
        "source_repository": SOURCE,
        "tag_rules": [{"tags": ["latest"], "branches": ["main"]}, {"tags": ["*"]}],
    });
    let _ = world.admin.create("/workspaces/acme/repositories/shop/oidc-bindings", binding).await;
    (issuer, world)
}

fn assert_not_told(what: &str, text: &str, token: &str) {
    for part in token.split('.').skip(1) {
        assert!(!text.contains(part), "a part of the token is in {what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pipe_pushes_with_the_steps_token_and_without_a_secret() {
    let (issuer, world) = bound().await;
    let folder = temporary_directory("layout");
    let layout = folder.path().join("image");
    let digest = images::oci_layout(&layout, 1, &["amd64"]);
    let run = |auth: &str, token: &str, tag: &str| {
        PipeRun::new(NO_DAEMON)
            .set("REGISTRY", world.server.authority())
            .set("INSECURE", "true")
            .set("IMAGE_NAME", "shop-api")
            .set("SOURCE", &format!("oci:{}", layout.display()))
            .set("TAGS", tag)
            .set("RETRIES", "0")
            .set("AUTH", auth)
            .set("BITBUCKET_STEP_OIDC_TOKEN", token)
            .finish()
    };
    let main = issuer.token(AUDIENCE, SOURCE, "main");
    let feature = issuer.token(AUDIENCE, SOURCE, "feature/x");
    for (auth, token, tag) in [("oidc", &main, "latest"), ("auto", &feature, "try")] {
        let outcome = run(auth, token, tag).await;
        assert_eq!(outcome.digest(), digest);
        assert_not_told("the pipe's log", &outcome.finished.output(), token);
    }
    let refused = run("oidc", &feature, "latest").await;
    refused.failed(4, &["tag latest of acme/shop-api is not for this build", "branch main"]);
    let stranger = issuer.token(AUDIENCE, "{another}", "main");
    run("oidc", &stranger, "try").await.failed(4, &["no repository is bound to another"]);
    let elsewhere = issuer.token("somebody", SOURCE, "main");
    run("oidc", &elsewhere, "try").await.failed(4, &["for another audience", AUDIENCE]);
    run("oidc", "", "try").await.failed(2, &["add \"oidc: true\" to the step"]);

    let packages = world.admin.fetch("/workspaces/acme/packages?name=shop-api").await;
    let path = format!("/workspaces/acme/packages/{}/history", packages["items"][0]["id"]);
    let events = world.admin.fetch(&path).await;
    let newest = &events["items"][0];
    assert_eq!(text_of(newest, "tag"), "try");
    assert_eq!(text_of(newest, "branch"), "feature/x");
    assert_eq!(text_of(newest, "pipeline"), "{the-pipeline}");
    assert!(text_of(newest, "by").starts_with(&format!("oidc:{}:", issuer.url())));
    for token in [main, feature, stranger, elsewhere] {
        assert_not_told("the server's log", &world.server.stderr(), &token);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_and_its_kind_log_in_as_oidc() {
    let (issuer, world) = bound().await;
    let secret = issuer.token(AUDIENCE, SOURCE, "main");
    let token = Credential { username: "oidc".to_owned(), secret };
    let wrong = issuer.token("somebody", SOURCE, "main");
    let wrong = Credential { username: "oidc".to_owned(), secret: wrong };
    // `ctr` keeps no login: it takes the credential with each call.
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Ctr) {
        let Some(client) = Client::find(kind).await else { continue };
        let refused = client.login(world.server.authority(), &wrong).await;
        assert_ne!(refused.code, Some(0), "{refused}");
        let _ = client.login(world.server.authority(), &token).await.succeeded();
    }
    let Some(docker) = Client::find(Kind::Docker).await else { return };
    let _ = docker.login(world.server.authority(), &token).await.succeeded();
    let image = images::build(&docker, "oidc-test:1", 7, &[100_000]).await;
    let digest = docker.push(&image, &world.reference("shop-api", "latest")).await;
    assert_eq!(docker.pull(&world.reference("shop-api", "latest")).await, digest);
}
