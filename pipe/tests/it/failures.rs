//! What goes wrong, and what the reader of the log is told.

use axum::http::Method;

use crate::daemon::{self, Daemon};
use crate::harness::Step;
use crate::image::{Image, Layout, noise};
use crate::registry::{Faults, Login, Registry};

fn image() -> Image {
    Image::new("app:latest", Layout::Oci, &[&noise(200_000, 3), b"small"])
}

async fn push(login: Login, faults: Faults) -> crate::harness::Outcome {
    let daemon = Daemon::start(vec![image()]).await;
    let registry = Registry::with_faults(login, faults).await;
    Step::new(&daemon, &registry).login().set("RETRIES", "0").run().await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_variable_is_named_at_once() {
    let step = Step::bare().set("IMAGE_NAME", "reg.example/acme/app").set("TAGS", "-x y/z");
    let outcome = step.set("PARALLEL", "many").set("USERNAME", "ann").run().await;
    outcome.fails(2, &["IMAGE_NAME: ", "\"-x\"", "\"y/z\"", "PARALLEL: ", "PASSWORD: is needed"]);
    assert_eq!(outcome.out.trim_end(), "✖ 5 variables are not usable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_daemon_is_named_with_the_way_to_get_one() {
    let step = Step::bare().set("DOCKER_HOST", "unix:///none/docker.sock");
    step.run().await.fails(3, &["unix:///none/docker.sock", "services: [docker]"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_image_lists_what_is_there() {
    let registry = Registry::start(Login::Nobody).await;
    let local = [&registry.address, "127.0.0.1"].map(|host| format!("{host}/acme/app:latest"));
    let images = [local[0].as_str(), "apt:1", "unrelated:1"];
    let images = images.map(|name| Image::new(name, Layout::Oci, &[b"layer"]));
    let daemon = Daemon::start(images.to_vec()).await;
    let outcome = Step::new(&daemon, &registry).run().await;
    let advice = format!("docker tag {} app:latest", local[0]);
    outcome.fails(3, &["there is no local image app:latest", &advice, "apt:1"]);
    assert!(!outcome.log.contains("unrelated"), "{outcome:#?}");
    assert!(registry.content().seen.is_empty(), "nobody was asked before the image was found");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_breaks_off_is_never_pushed() {
    let faults = daemon::Faults { cut_export: Some(150_000), ..Default::default() };
    let daemon = Daemon::with_faults(vec![image()], faults).await;
    let registry = Registry::start(Login::Nobody).await;
    let outcome = Step::new(&daemon, &registry).run().await;
    outcome.fails(3, &["the Docker daemon", "was lost"]);
    assert_eq!(registry.count(&Method::POST, "/uploads/"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_is_not_what_the_daemon_said_is_refused() {
    let mut wrong = Image::new("app:latest", Layout::Legacy, &[b"right"]);
    wrong.config = String::from_utf8(wrong.config).unwrap().into_bytes();
    let mut exported = wrong.clone();
    exported.layers = vec![b"wrong".to_vec()];
    // The daemon inspects one image and exports another under the same ID.
    let daemon = Daemon::start(vec![Image { names: vec!["app:latest".into()], ..exported }]).await;
    let registry = Registry::start(Login::Nobody).await;
    let outcome = Step::new(&daemon, &registry).run().await;
    outcome.fails(3, &["cannot be used"]);
    assert_eq!(registry.count(&Method::POST, "/uploads/"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_larger_than_the_disk_is_refused_before_it_is_read() {
    let faults = daemon::Faults { claimed_size: Some(u64::MAX / 2), ..Default::default() };
    let daemon = Daemon::with_faults(vec![image()], faults).await;
    let registry = Registry::start(Login::Nobody).await;
    let outcome = Step::new(&daemon, &registry).run().await;
    outcome.fails(1, &["not enough disk space", "TMPDIR"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_before_the_image_is_read() {
    for login in [Login::Basic, Login::Bearer] {
        let daemon = Daemon::start(vec![image()]).await;
        let registry = Registry::start(login).await;
        let step = Step::new(&daemon, &registry).set("USERNAME", "ann").set("PASSWORD", "wrong!");
        let outcome = step.run().await;
        outcome.fails(4, &["does not accept USERNAME and PASSWORD"]);
        assert_eq!(outcome.count(" read: "), 0, "{outcome:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_wants_a_login_says_which_variables_are_missing() {
    let daemon = Daemon::start(vec![image()]).await;
    for login in [Login::Basic, Login::Bearer] {
        let registry = Registry::start(login).await;
        let outcome = Step::new(&daemon, &registry).run().await;
        outcome.fails(4, &["no credentials are set", "USERNAME and PASSWORD"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_does_not_exist_is_explained() {
    for body in [r#"{"errors":[{"code":"NAME_UNKNOWN","message":"no such package"}]}"#, "<html>"] {
        let faults = Faults { refuse_upload: Some((404, body)), ..Faults::default() };
        let outcome = push(Login::Bearer, faults).await;
        outcome.fails(4, &["package app does not exist in workspace acme", "role Admin"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_too_small_is_explained() {
    let body = r#"{"errors":[{"code":"DENIED","message":"requested access is denied"}]}"#;
    let faults = Faults { refuse_upload: Some((403, body)), ..Faults::default() };
    push(Login::Bearer, faults).await.fails(4, &["no permission to push acme/app", "role Write"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_immutable_tag_has_an_exit_code_of_its_own() {
    let body = r#"{"errors":[{"code":"DENIED","message":"tag latest is immutable"}]}"#;
    let faults = Faults { refuse_manifest: Some((403, body)), ..Faults::default() };
    push(Login::Bearer, faults).await.fails(6, &["tag latest of acme/app exists"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_registry_is_told_apart_from_a_missing_permission() {
    let body = r#"{"errors":[{"code":"DENIED","message":"quota of the workspace exceeded"}]}"#;
    let faults = Faults { refuse_upload: Some((403, body)), ..Faults::default() };
    push(Login::Nobody, faults).await.fails(5, &["no space left"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_registry_is_recognised() {
    let faults = Faults { page: true, ..Faults::default() };
    push(Login::Nobody, faults).await.fails(5, &["this is not a container registry", "REGISTRY"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_not_there_is_named() {
    let daemon = Daemon::start(vec![image()]).await;
    let registry = Registry::start(Login::Nobody).await;
    let step = Step::new(&daemon, &registry).set("RETRIES", "1");
    let address = registry.address.clone();
    drop(registry);
    let outcome = step.run().await;
    outcome.fails(5, &[&format!("registry {address} cannot be reached"), "refused"]);
    assert_eq!(outcome.count("attempt 2 of 2"), 1, "{outcome:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_stays_busy_is_given_up() {
    let faults = Faults { busy: usize::MAX, ..Faults::default() };
    push(Login::Nobody, faults).await.fails(5, &["503", "running the step again"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_too_large_for_every_size_gets_advice() {
    let faults = Faults { largest_body: Some(1000), ..Faults::default() };
    push(Login::Nobody, faults).await.fails(5, &["413", "CHUNK_SIZE"]);
}
