//! Memory does not grow with the size of what is pushed or pulled, nor with strange requests.

use std::fmt;
use std::time::{Duration, Instant};

use reqwest::Method;
use standpipe_tests::clients::{self, Client, Kind};
use standpipe_tests::confinement::Confinement;
use standpipe_tests::dockerd::Dockerd;
use standpipe_tests::environment;
use standpipe_tests::images;
use standpipe_tests::manifest::Manifest;
use standpipe_tests::payload::{Payload, Random};
use standpipe_tests::pipe::PipeRun;
use standpipe_tests::raw::{Raw, Style, answered};
use standpipe_tests::server::ServerOptions;
use standpipe_tests::slow::SlowPull;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::world::{World, say, turn};

const MIB: u64 = 1024 * 1024;
const UPLOADS: u64 = 8;
const NORMAL: u64 = 256 * MIB;
const LARGE: u64 = 4096 * MIB;
const SERVER_LIMIT: u64 = 100 * MIB;
const SERVER_GROWTH: u64 = 10 * MIB;
const PIPE_LIMIT: u64 = 64 * MIB;
const READERS: u64 = 64;
const SLOWNESS: Duration = Duration::from_secs(15);
const CONFINED: u64 = 128 * MIB;
const CONFINED_PUSHES: u64 = 64;
/// One hundred answers that were begun; with one buffer for each range it would be a hundred times as much.
const RANGES_GROWTH: u64 = 16 * MIB;

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

#[tokio::test(flavor = "multi_thread")]
async fn in_128_mib_of_memory_64_pushes_at_once_are_done() {
    let _turn = turn().await;
    let confinement = Confinement::of(CONFINED);
    if confinement.is_none() {
        clients::skip("memory can be limited by root only; what the server has is still measured");
    }
    let launcher = confinement.as_ref().map(Confinement::launcher).unwrap_or_default();
    let options = ServerOptions { launcher, ..ServerOptions::default() };
    let world = World::with_options(options, &["large"]).await;
    let confined = confinement.as_ref().is_none_or(|group| group.holds(world.server.pid()));
    assert!(confined, "the server is not where its memory is limited");
    let token = world.pipeline_token().await;
    let styles = [Style::Put, Style::Single, Style::Streamed, Style::Chunked(MIB)];
    let mut pushes = JoinSet::new();
    for (seed, style) in (0..CONFINED_PUSHES).zip(styles.into_iter().cycle()) {
        let raw = world.raw_as(&token);
        pushes.spawn(async move {
            // All of them together are several times what the page cache may hold.
            let layers = [Payload::new(seed, 8 * MIB)];
            let config = Manifest::config(seed, &layers);
            let config = raw.push_bytes("acme/large", config.into());
            let _ = answered(config.await).expect(201);
            upload(raw.clone(), layers[0].clone(), style).await;
            let manifest = Manifest::image(seed, &layers);
            let tag = format!("push-{seed}");
            let put = raw.put_manifest("acme/large", &tag, &manifest).await;
            let _ = answered(put).expect(201);
            let pulled = raw.pull_blob("acme/large", &layers[0].digest()).await;
            assert_eq!(pulled, layers[0].digest());
        });
    }
    pushes.join_all().await;
    let peak = world.server.peak_memory();
    assert!(peak < CONFINED, "{} MiB at the peak", peak / MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_ranges_in_a_request_cost_no_memory() {
    let _turn = turn().await;
    let world = World::with_packages(&["large"]).await;
    let token = world.pipeline_token().await;
    let payload = Payload::new(1, 64 * MIB);
    upload(world.raw_as(&token), payload.clone(), Style::Put).await;
    let path = format!("/v2/acme/large/blobs/{}", payload.digest());
    let before = world.server.peak_memory();
    let ranges = format!("bytes={}", vec!["0-0,-1,5-"; 1000].join(","));
    let mut requests = JoinSet::new();
    for _ in 0..100 {
        let (raw, path, ranges) = (world.raw_as(&token), path.clone(), ranges.clone());
        requests.spawn(async move {
            let headers = [("range", ranges.as_str())];
            // One range at most is honoured; whoever asks for more is told the whole.
            let asked = answered(raw.send(Method::HEAD, &path, &headers, "").await).expect(200);
            assert_eq!(asked.header("content-length"), (64 * MIB).to_string());
            let started = raw.begin(Method::GET, &path, &headers).await;
            assert_eq!(started.status().as_u16(), 200);
            assert_eq!(started.content_length(), Some(64 * MIB));
        });
    }
    requests.join_all().await;
    let growth = world.server.peak_memory() - before;
    assert!(growth < RANGES_GROWTH, "{} MiB more", growth / MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_slow_readers_of_a_large_blob_cost_little_memory() {
    let seed = environment::seed();
    say(&format!("slow readers: repeat with STANDPIPE_SEED={seed}"));
    let turn = turn().await;
    let world = World::with_packages(&["large"]).await;
    let token = world.pipeline_token().await;
    let size = if environment::is_soak() { LARGE } else { NORMAL };
    let payload = Payload::new(seed, size);
    let digest = upload(world.raw_as(&token), payload.clone(), Style::Put).await;
    let after_upload = world.server.peak_memory();
    // From here on nothing is heavy.
    drop(turn);
    let mut readers = JoinSet::new();
    for number in 0..READERS {
        let authority = world.server.authority().to_owned();
        let (token, digest, payload) = (token.clone(), digest.clone(), payload.clone());
        readers.spawn(async move {
            let pull = SlowPull::begin(&authority, &token, "acme/large", &digest, payload);
            read_slowly(pull.await, number, Random::new(seed ^ number)).await;
        });
    }
    readers.join_all().await;
    let peak = world.server.peak_memory();
    let measured = format!(
        "{} MiB after the upload, {} MiB after {READERS} slow readers of {} MiB",
        after_upload / MIB,
        peak / MIB,
        size / MIB
    );
    assert!(peak < SERVER_LIMIT, "{measured}");
    say(&measured);
}

/// A few KiB now and then, as over a bad line; then some hang up, and some read on without a pause.
async fn read_slowly(mut pull: SlowPull, number: u64, mut random: Random) {
    let end = Instant::now() + SLOWNESS;
    while Instant::now() < end {
        pull.read(random.between(1, 32 * 1024)).await;
        // Not waiting for anything: this is what a slow reader does.
        sleep(Duration::from_millis(random.between(100, 500))).await;
    }
    if number.is_multiple_of(2) {
        for _ in 0..4 * 16 {
            pull.read(MIB / 16).await;
        }
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
