//! Pushes that succeed although something broke on the way.

use std::collections::VecDeque;

use axum::http::Method;
use tokio::time::Instant;

use crate::daemon::Daemon;
use crate::harness::{Outcome, Step};
use crate::image::{Image, Layout, noise};
use crate::registry::{Faults, Login, Registry};

const SIZE: usize = 1_000_000;

struct Setting {
    _daemon: Daemon,
    registry: Registry,
    step: Step,
}

async fn setting(login: Login, faults: Faults) -> Setting {
    let image = Image::new("app:latest", Layout::Oci, &[&noise(SIZE, 9)]);
    let daemon = Daemon::start(vec![image]).await;
    let registry = Registry::with_faults(login, faults).await;
    let step = Step::new(&daemon, &registry).login();
    Setting { _daemon: daemon, registry, step }
}

/// The same, with a layer that is larger than a piece.
async fn in_pieces(login: Login, faults: Faults) -> Setting {
    let setting = setting(login, faults).await;
    Setting { step: setting.step.set("CHUNK_SIZE", "256K"), ..setting }
}

impl Setting {
    /// Runs the step; the layer must have arrived whole.
    async fn run(&self) -> Outcome {
        let outcome = self.step.run().await;
        outcome.references();
        let content = self.registry.content();
        assert!(content.blobs.values().any(|blob| blob.len() > SIZE), "the layer is not there");
        drop(content);
        outcome
    }

    /// The offsets at which pieces began.
    fn pieces(&self) -> Vec<u64> {
        let content = self.registry.content();
        let ranges = content.seen.iter().filter_map(|seen| seen.content_range.as_ref());
        ranges.map(|range| range.split('-').next().unwrap().parse().unwrap()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_registry_sees_one_request_for_a_layer() {
    let setting = setting(Login::Bearer, Faults::default()).await;
    setting.run().await;
    assert_eq!(setting.registry.count(&Method::PATCH, ""), 0);
    assert_eq!(setting.registry.count(&Method::PUT, "/blobs/uploads/"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_upload_goes_on_in_pieces() {
    let faults = Faults { cuts: VecDeque::from([300_000]), ..Faults::default() };
    let setting = setting(Login::Bearer, faults).await;
    let outcome = setting.run().await;
    assert_eq!(setting.pieces(), [0]);
    assert_eq!(outcome.count("attempt 2 of 6"), 1, "{outcome:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_is_larger_than_a_piece_goes_in_pieces() {
    let setting = in_pieces(Login::Bearer, Faults::default()).await;
    let outcome = setting.run().await;
    assert_eq!(setting.pieces(), [0, 262_144, 524_288, 786_432]);
    assert_eq!(outcome.count("attempt"), 0, "{outcome:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_piece_goes_on_from_the_byte_that_arrived() {
    let cuts = VecDeque::from([usize::MAX, 100_000]);
    let setting = in_pieces(Login::Basic, Faults { cuts, ..Faults::default() }).await;
    setting.run().await;
    let pieces = setting.pieces();
    assert_eq!(pieces[..3], [0, 262_144, 362_144], "{pieces:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_that_get_further_do_not_use_up_the_retries() {
    let cuts = VecDeque::from([1000, 100_000, 50_000, 50_000, 20_000]);
    let setting = in_pieces(Login::Nobody, Faults { cuts, ..Faults::default() }).await;
    let setting = Setting { step: setting.step.set("RETRIES", "1"), ..setting };
    setting.run().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_busy_registry_asks_for_is_waited() {
    // The first 503 is seen by the OCI client, which does not pass the header on.
    let faults = Faults { busy: 2, retry_after: Some("3"), ..Faults::default() };
    let setting = setting(Login::Nobody, faults).await;
    let started = Instant::now();
    let outcome = setting.run().await;
    assert!(started.elapsed().as_secs() >= 3);
    assert_eq!(outcome.count("in 3.0 s"), 1, "{outcome:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_pieces_gets_the_whole_again() {
    let cuts = VecDeque::from([300_000]);
    let faults = Faults { cuts, no_pieces: true, ..Faults::default() };
    let setting = setting(Login::Bearer, faults).await;
    setting.run().await;
    // More than one if the connection ended before the refusal was read.
    assert!(setting.registry.count(&Method::PATCH, "") >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_limits_requests_is_served_in_pieces() {
    let faults = Faults { largest_body: Some(300_000), ..Faults::default() };
    let setting = in_pieces(Login::Bearer, faults).await;
    setting.run().await;
    assert_eq!(setting.pieces(), [0, 262_144, 524_288, 786_432]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_a_proxy_is_found_out_and_kept_to() {
    let faults = Faults { largest_body: Some(300_000), ..Faults::default() };
    let setting = setting(Login::Bearer, faults).await;
    let outcome = setting.run().await;
    // The whole, a half and a quarter; from then on nothing is refused.
    let content = setting.registry.content();
    let patches = content.seen.iter().filter(|seen| seen.method == Method::PATCH);
    assert!(patches.count() <= 7, "{:#?}", content.seen);
    assert_eq!(outcome.count("smaller pieces"), 1, "{outcome:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_on_where_the_run_before_it_ended() {
    let faults = Faults { cuts: VecDeque::from([usize::MAX, usize::MAX, 10]), ..Faults::default() };
    let setting = in_pieces(Login::Bearer, faults).await;
    let folder = tempfile::tempdir().unwrap();
    let storage = folder.path().to_str().unwrap();
    let step = setting.step.set("RETRIES", "0").set("BITBUCKET_PIPE_STORAGE_DIR", storage);
    let setting = Setting { step, ..setting };
    setting.step.run().await.fails(5, &[]);
    assert_eq!(setting.pieces(), [0, 262_144, 524_288]);
    setting.registry.content().seen.clear();
    let outcome = setting.run().await;
    assert_eq!(setting.pieces(), [524_298, 786_442]);
    assert_eq!(outcome.count("524.2 kB of it by an earlier run"), 1, "{outcome:#?}");
    let left = std::fs::read_to_string(folder.path().join("standpipe-uploads.json")).unwrap();
    assert_eq!(left, "{}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_the_registry_has_forgotten_is_begun_anew() {
    let faults = Faults { cuts: VecDeque::from([usize::MAX, 10]), ..Faults::default() };
    let setting = in_pieces(Login::Nobody, faults).await;
    let folder = tempfile::tempdir().unwrap();
    let storage = folder.path().to_str().unwrap();
    let step = setting.step.set("RETRIES", "0").set("BITBUCKET_PIPE_STORAGE_DIR", storage);
    let setting = Setting { step, ..setting };
    setting.step.run().await.fails(5, &[]);
    setting.registry.content().forget_uploads();
    setting.registry.content().seen.clear();
    setting.run().await;
    assert_eq!(setting.pieces(), [0, 262_144, 524_288, 786_432]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ends_on_the_way_is_renewed() {
    for uses in 1..12 {
        let faults = Faults { token_uses: Some(uses), ..Faults::default() };
        let setting = setting(Login::Bearer, faults).await;
        let outcome = setting.step.run().await;
        if uses > 3 {
            outcome.references();
        }
        // Too short a life is an error, never a loop.
        assert!(matches!(outcome.status.code(), Some(0 | 4)), "{uses}: {outcome:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_stands_still_is_begun_again() {
    let faults = Faults { stall_after: Some(300_000), ..Faults::default() };
    let setting = setting(Login::Nobody, faults).await;
    let setting = Setting { step: setting.step.set("TIMEOUT", "1"), ..setting };
    let outcome = setting.run().await;
    assert_eq!(outcome.count("nothing moved for 1 s"), 1, "{outcome:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_a_mount_opened_is_cancelled_and_a_refusal_of_that_is_of_no_consequence() {
    for no_cancelling in [false, true] {
        let faults = Faults { no_cancelling, ..Faults::default() };
        let setting = setting(Login::Bearer, faults).await;
        let setting = Setting { step: setting.step.set("MOUNT_FROM", "base"), ..setting };
        setting.run().await;
        // The configuration and the layer.
        assert_eq!(setting.registry.count(&Method::DELETE, "/blobs/uploads/"), 2);
        assert_eq!(setting.registry.count(&Method::POST, "/blobs/uploads/"), 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_are_as_large_as_the_registry_wants_them() {
    let faults = Faults { least_piece: Some(400_000), ..Faults::default() };
    let setting = in_pieces(Login::Bearer, faults).await;
    setting.run().await;
    assert_eq!(setting.pieces(), [0, 400_000, 800_000]);
}
