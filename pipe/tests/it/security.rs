//! Hostile registries: nothing secret leaves, and the push fails or goes on without it.

use std::time::Duration;

use tokio::time::Instant;

use crate::daemon::{self, Daemon};
use crate::harness::{Outcome, Step};
use crate::image::{Image, Layout, noise};
use crate::registry::{Faults, Login, PASSWORD, Registry, TOKEN};

fn image() -> Image {
    Image::new("app:latest", Layout::Oci, &[&noise(200_000, 4)])
}

async fn push(registry: &Registry) -> Outcome {
    let daemon = Daemon::start(vec![image()]).await;
    Step::new(&daemon, registry).login().set("RETRIES", "1").run().await
}

/// A host that is not the registry's. `localhost` and `127.0.0.1` are two names, but the test
/// is about the port, which makes another origin too.
async fn stranger() -> (Registry, String) {
    let stranger = Registry::start(Login::Nobody).await;
    let url = format!("http://{}", stranger.address);
    (stranger, url)
}

fn assert_got_nothing_secret(stranger: &Registry) {
    for seen in &stranger.content().seen {
        assert_eq!(seen.authorization, None, "{seen:#?}");
        assert!(!seen.query.contains(TOKEN) && !seen.query.contains(PASSWORD), "{seen:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_upload_address_gets_the_blob_and_no_credentials() {
    for login in [Login::Basic, Login::Bearer] {
        let (stranger, url) = stranger().await;
        let faults = Faults { foreign_storage: Some(url), ..Faults::default() };
        let registry = Registry::with_faults(login, faults).await;
        // The storage takes the blobs, but the registry never hears of them.
        let outcome = push(&registry).await;
        outcome.fails(5, &["MANIFEST_BLOB_UNKNOWN"]);
        assert!(stranger.content().blobs.len() == 2, "the blobs were not sent there");
        assert_got_nothing_secret(&stranger);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_realm_on_another_site_is_not_asked() {
    // 192.0.2.0/24 is for documentation: nobody is there, and nobody may be asked.
    for realm in ["http://192.0.2.1/token", "https://evil.example/token", "ftp://127.0.0.1/"] {
        let faults = Faults { foreign_realm: Some(realm.to_owned()), ..Faults::default() };
        let registry = Registry::with_faults(Login::Bearer, faults).await;
        push(&registry).await.fails(5, &["not its own site"]);
        assert_got_nothing_secret(&registry);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_changes_its_challenge_does_not_move_the_password() {
    // A loopback realm would be trusted if it were asked for by the first challenge.
    let (stranger, url) = stranger().await;
    let faults = Faults { turncoat_realm: Some(format!("{url}/token")), ..Faults::default() };
    let registry = Registry::with_faults(Login::Basic, faults).await;
    push(&registry).await.references();
    assert!(stranger.content().seen.is_empty(), "{:#?}", stranger.content().seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_carry_no_credentials() {
    for login in [Login::Basic, Login::Bearer] {
        let (stranger, url) = stranger().await;
        let faults = Faults { redirect: Some(url), ..Faults::default() };
        let registry = Registry::with_faults(login, faults).await;
        let outcome = push(&registry).await;
        assert!(!outcome.status.success(), "{outcome:#?}");
        assert_got_nothing_secret(&stranger);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_stores_something_else_is_not_believed() {
    let wrong = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    let faults = Faults { wrong_digest: Some(wrong), ..Faults::default() };
    let registry = Registry::with_faults(Login::Nobody, faults).await;
    push(&registry).await.fails(5, &[wrong, "was pushed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_cannot_stand_in_a_header_is_refused() {
    for answer in [r#"{"token":"a\r\nX: y"}"#, r#"{"token":""}"#, "{}", "no json"] {
        let faults = Faults { token_answer: Some(answer.to_owned()), ..Faults::default() };
        let registry = Registry::with_faults(Login::Bearer, faults).await;
        push(&registry).await.fails(5, &["the token server gives no token"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_atlassian_is_not_sent_to_another_registry() {
    let daemon = Daemon::start(vec![image()]).await;
    let registry = Registry::start(Login::Basic).await;
    let step = Step::new(&daemon, &registry).set("BITBUCKET_PACKAGES_USERNAME", "bot");
    let step = step.set("BITBUCKET_PACKAGES_TOKEN", "ATATTexample");
    let outcome = step.run().await;
    outcome.fails(2, &["BITBUCKET_PACKAGES_TOKEN: looks like", "AUTH=basic"]);
    assert!(!outcome.log.contains("ATATTexample"), "{outcome:#?}");
    assert!(registry.content().seen.is_empty());

    let outcome = step.set("AUTH", "basic").run().await;
    outcome.fails(4, &["does not accept BITBUCKET_PACKAGES_USERNAME"]);
    assert!(registry.content().seen.iter().any(|seen| seen.authorization.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_that_is_stopped_leaves_nothing_behind() {
    let faults = daemon::Faults { hang: true, ..Default::default() };
    let big = Image::new("app:latest", Layout::Oci, &[&noise(5_000_000, 8)]);
    let daemon = Daemon::with_faults(vec![big], faults).await;
    let registry = Registry::start(Login::Nobody).await;
    let step = Step::new(&daemon, &registry);
    let child = step.spawn();
    let deadline = Instant::now() + Duration::from_secs(20);
    while step.spooled() == 0 {
        assert!(Instant::now() < deadline, "the pipe did not start");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let id = i32::try_from(child.id().unwrap()).unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(id).unwrap(),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    let outcome = step.finish(child).await;
    outcome.fails(1, &["stopped by SIGTERM"]);
}
