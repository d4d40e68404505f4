//! Memory does not grow with the size of what is pushed or pulled.

use std::fmt;

use standpipe_tests::clients::{Client, Kind};
use standpipe_tests::dockerd::Dockerd;
use standpipe_tests::environment;
use standpipe_tests::images;
use standpipe_tests::payload::Payload;
use standpipe_tests::pipe::PipeRun;
use standpipe_tests::raw::{Raw, Style, answered};
use tokio::task::JoinSet;

use crate::world::{World, turn};

const MIB: u64 = 1024 * 1024;
const UPLOADS: u64 = 8;
const NORMAL: u64 = 256 * MIB;
const LARGE: u64 = 4096 * MIB;
const SERVER_LIMIT: u64 = 100 * MIB;
const SERVER_GROWTH: u64 = 10 * MIB;
const PIPE_LIMIT: u64 = 64 * MIB;

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_memory_does_not_follow_the_size_of_uploads_and_pulls() {
    let _turn = turn().await;
    let normal = Peaks::with_blobs_of(NORMAL).await;
    assert!(normal.after_pulls < SERVER_LIMIT, "{normal}");
    if environment::is_soak() {
        let large = Peaks::with_blobs_of(LARGE).await;
        assert!(large.after_pulls < SERVER_LIMIT, "{large}");
        let growth = large.after_pulls.abs_diff(normal.after_pulls);
        assert!(growth < SERVER_GROWTH, "{normal} for small blobs, {large} for large ones");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pipes_memory_does_not_follow_the_size_of_a_layer() {
    let Some(docker) = Client::find(Kind::Docker).await else { return };
    let Some(daemon) = Dockerd::shared().await else { return };
    let _turn = turn().await;
    let world = World::with_packages(&["large"]).await;
    let token = world.pipeline_token().await;
    let sizes: &[u64] = if environment::is_soak() { &[NORMAL, LARGE] } else { &[NORMAL] };
    for (size, seed) in sizes.iter().zip(1..) {
        let image = images::build(&docker, "large:1", seed, &[1000, 1000, *size]).await;
        let outcome =
            PipeRun::push(&daemon.host(), &world.server, &token, "large:1").finish().await;
        docker.forget_images(&image).await;
        let pushed = world.raw().head("/v2/acme/large/manifests/1").await.expect(200);
        assert_eq!(pushed.header("docker-content-digest"), outcome.digest());
        let peak = outcome.peak_memory;
        assert!(peak < PIPE_LIMIT, "{} MiB for a layer of {} MiB", peak / MIB, size / MIB);
    }
}

/// Peaks of the server's memory, in bytes.
struct Peaks {
    at_rest: u64,
    after_uploads: u64,
    after_pulls: u64,
}

impl Peaks {
    /// Of a new server that takes and gives back eight blobs of this size at once.
    async fn with_blobs_of(size: u64) -> Self {
        let world = World::with_packages(&["large"]).await;
        let token = world.pipeline_token().await;
        let at_rest = world.server.peak_memory();
        let styles = [Style::Put, Style::Single, Style::Streamed, Style::Chunked(32 * MIB)];
        let mut uploads = JoinSet::new();
        for (seed, style) in (0..UPLOADS).zip(styles.into_iter().cycle()) {
            uploads.spawn(upload(world.raw_as(&token), Payload::new(seed, size), style));
        }
        let digests = uploads.join_all().await;
        let after_uploads = world.server.peak_memory();
        let mut pulls = JoinSet::new();
        for digest in digests {
            let raw = world.raw_as(&token);
            pulls.spawn(async move {
                assert_eq!(raw.pull_blob("acme/large", &digest).await, digest);
            });
        }
        pulls.join_all().await;
        Self { at_rest, after_uploads, after_pulls: world.server.peak_memory() }
    }
}

impl fmt::Display for Peaks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [rest, uploads, pulls] =
            [self.at_rest, self.after_uploads, self.after_pulls].map(|bytes| bytes / MIB);
        write!(
            formatter,
            "{rest} MiB at rest, {uploads} MiB after uploads, {pulls} MiB after pulls"
        )
    }
}

async fn upload(raw: Raw, payload: Payload, style: Style) -> String {
    let answer = answered(raw.upload("acme/large", &payload, style).await).expect(201);
    answer.header("docker-content-digest")
}
