//! Layers without an export, where the engine does not do as it should: then there is an export.
//!
//! What a real engine does is in `tests/e2e/relayed.rs`.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use crate::daemon::{Daemon, Faults};
use crate::harness::Step;
use crate::image::{Image, Layout, noise};
use crate::registry::{Login, Registry};

fn image(top: &[u8]) -> Image {
    let layers: Vec<Vec<u8>> = (0..4).map(|index| noise(90_000, 61 + 2 * index)).collect();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).chain([top]).collect();
    Image::new("app:latest", Layout::Legacy, &layers)
}

/// The same layers, and another configuration.
fn relabelled() -> Image {
    let mut image = image(b"top");
    let config = String::from_utf8(image.config).unwrap().replace("/app", "/other");
    image.config = config.into_bytes();
    image
}

/// A registry that has the image.
async fn registry() -> Registry {
    let registry = Registry::start(Login::Nobody).await;
    let daemon = Daemon::start(vec![image(b"top")]).await;
    let _ = Step::new(&daemon, &registry).run().await.references();
    registry
}

/// The reference that a push of the image into an empty registry gives, without the host.
async fn digest_of(image: &Image) -> String {
    let registry = Registry::start(Login::Nobody).await;
    let daemon = Daemon::start(vec![image.clone()]).await;
    let outcome = Step::new(&daemon, &registry).run().await;
    outcome.references()[0].rsplit_once('@').unwrap().1.to_owned()
}

/// Names that were given, and names that were taken back.
fn names(daemon: &Daemon) -> (Vec<String>, Vec<String>) {
    let (mut given, mut back) = (Vec::new(), Vec::new());
    for call in daemon.calls() {
        if let Some((_, query)) = call.split_once("/tag?repo=") {
            given.push(query.replace("&tag=", ":").replace("%2F", "/").replace("%3A", ":"));
        } else if let Some(path) = call.strip_prefix("DELETE /images/") {
            back.push(path.split('?').next().unwrap().to_owned());
        }
    }
    (given, back)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_without_a_builder_exports_and_keeps_no_name() {
    let (registry, image) = (registry().await, relabelled());
    let daemon = Daemon::start(vec![image.clone()]).await;
    let outcome = Step::new(&daemon, &registry).run().await;
    assert!(outcome.references()[0].ends_with(&digest_of(&image).await), "{outcome:#?}");
    assert_eq!(outcome.count("no relay, so the image is exported"), 1, "{outcome:#?}");
    assert_eq!(daemon.exported().0, 1);
    let (given, back) = names(&daemon);
    assert_eq!(given.len(), 1, "{:?}", daemon.calls());
    assert_eq!(given, back);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_does_not_come_to_a_relay_exports_and_is_told_to_push_nothing() {
    let (registry, image) = (registry().await, image(b"another top"));
    let faults = Faults { history: Some(40 << 20), ..Default::default() };
    let daemon = Daemon::with_faults(vec![image.clone()], faults).await;
    let outcome = Step::new(&daemon, &registry).run().await;
    assert!(outcome.references()[0].ends_with(&digest_of(&image).await), "{outcome:#?}");
    let reason = "no relay, so the image is exported: it did not come to";
    assert_eq!(outcome.count(reason), 1, "{outcome:#?}");
    assert_eq!(daemon.exported().0, 1);
    let calls = daemon.calls();
    assert!(calls.iter().any(|call| call.starts_with("POST /auth")), "{calls:?}");
    assert!(
        calls.iter().all(|call| !call.contains("/push") && !call.contains("/tag")),
        "{calls:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_that_is_stopped_takes_the_name_back() {
    let registry = registry().await;
    let faults = Faults { builder_hangs: true, ..Default::default() };
    let daemon = Daemon::with_faults(vec![relabelled()], faults).await;
    let step = Step::new(&daemon, &registry);
    let child = step.spawn();
    let deadline = Instant::now() + Duration::from_secs(30);
    while names(&daemon).0.is_empty() {
        assert!(Instant::now() < deadline, "no name was given");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    // It may have gone on to an export meanwhile, if this took very long.
    let outcome = step.finish(child).await;
    let (given, back) = names(&daemon);
    assert_eq!(given, back, "{outcome:#?}");
}
