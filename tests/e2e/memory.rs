//! Memory does not grow with the size of what is pushed or pulled.

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
    let normal = peak_with_uploads_of(NORMAL).await;
    assert!(normal < SERVER_LIMIT, "{} MiB", normal / MIB);
    if environment::is_soak() {
        let large = peak_with_uploads_of(LARGE).await;
        assert!(large < SERVER_LIMIT, "{} MiB", large / MIB);
        let growth = large.abs_diff(normal);
        assert!(growth < SERVER_GROWTH, "{} MiB, then {} MiB", normal / MIB, large / MIB);
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

/// Peak of a new server that takes and gives back eight blobs of this size at once.
async fn peak_with_uploads_of(size: u64) -> u64 {
    let world = World::with_packages(&["large"]).await;
    let styles = [Style::Put, Style::Single, Style::Streamed, Style::Chunked(32 * MIB)];
    let mut uploads = JoinSet::new();
    for (seed, style) in (0..UPLOADS).zip(styles.into_iter().cycle()) {
        uploads.spawn(upload(world.raw(), Payload::new(seed, size), style));
    }
    let digests = uploads.join_all().await;
    let mut pulls = JoinSet::new();
    for digest in digests {
        let raw = world.raw();
        pulls.spawn(async move {
            assert_eq!(raw.pull_blob("acme/large", &digest).await, digest);
        });
    }
    pulls.join_all().await;
    world.server.peak_memory()
}

async fn upload(raw: Raw, payload: Payload, style: Style) -> String {
    let answer = answered(raw.upload("acme/large", &payload, style).await).expect(201);
    answer.header("docker-content-digest")
}
