//! What a large package costs: to have, to start with, to list, and to delete while others push.
//!
//! The long form (`--soak`) has 100,000 images and holds the times and the memory against what is
//! promised. The short one does the same with few images and judges only what does not depend on speed.

use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::Method;
use serde_json::json;
use standpipe_tests::disk::temporary_directory;
use standpipe_tests::environment;
use standpipe_tests::guardian;
use standpipe_tests::manifest::Manifest;
use standpipe_tests::payload::{Payload, digest_of};
use standpipe_tests::poll;
use standpipe_tests::process::Program;
use standpipe_tests::raw::{Raw, Style, answered, with_query};
use standpipe_tests::rest::Rest;
use standpipe_tests::server::{Server, ServerOptions};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::world::{World, turn};

const MIB: u64 = 1024 * 1024;
const FILLERS: u64 = 48;
const PUSHERS: u64 = 4;
const PAGE: usize = 100;
const READY_LIMIT: Duration = Duration::from_secs(2);
const MEMORY_LIMIT: u64 = 300 * MIB;
const PAGE_LIMIT: Duration = Duration::from_millis(10);
/// A busy disk removes a hundred files a second, and collection rests most of the time.
const REMOVAL_LIMIT: Duration = Duration::from_secs(3600);
const MOST_TIMES_SLOWER: f64 = 2.0;

#[tokio::test(flavor = "multi_thread")]
async fn many_images_are_cheap_to_have_and_their_deletion_does_not_hold_up_pushes() {
    let _turn = turn().await;
    let soak = environment::is_soak();
    let images =
        environment::number("STANDPIPE_IMAGES").unwrap_or(if soak { 100_000 } else { 600 });
    let (mut world, _folder, filled) = World::filled(images).await;

    world.server.kill();
    let ready = world.server.start_again().await;
    let raw = world.raw_as(&world.pipeline_token().await);
    let id = id_of_large(&world.admin).await;
    let pages = Pages::measured(&world, &raw, &id, images).await;
    let resident = world.server.peak_memory();
    say(&format!("ready after {ready:.1?}; {pages}"));
    say(&format!("resident: {} MiB, restarted {} MiB", filled / MIB, resident / MIB));

    let pushes = delete_while_others_push(&world, &id, if soak { 20 } else { 1 }).await;
    let deleted = world.server.peak_memory();
    say(&format!("{pushes}; {} MiB resident", deleted / MIB));
    assert_eq!(world.server.unfinished(), Vec::<PathBuf>::new());
    if soak {
        assert!(ready < READY_LIMIT, "ready after {ready:?}");
        assert!(filled.max(resident).max(deleted) < MEMORY_LIMIT, "too much memory");
        assert!(pages.oci.p50.max(pages.rest.p50) < PAGE_LIMIT, "{pages}");
        assert!(pushes.ratio() <= MOST_TIMES_SLOWER, "{pushes}");
    }
}

fn base() -> Payload {
    Payload::new(7, 100_000)
}

impl World {
    /// With these images in `acme/large`, on a disk. They are pushed in memory where there is room,
    /// because waiting for a disk a million times takes longer than all that is measured. Also
    /// returns the folder and the most memory that the server had resident meanwhile.
    async fn filled(images: u64) -> (Self, TempDir, u64) {
        let folder = temporary_directory("large");
        let memory = Path::new("/dev/shm");
        let first = if environment::is_soak() && memory.is_dir() {
            let folder = tempfile::tempdir_in(memory).expect("a folder in memory");
            guardian::watch_directory(folder.path());
            folder
        } else {
            temporary_directory("filled")
        };
        let options = |data: PathBuf| ServerOptions {
            config: Some("unsafe_short_delays: true\nlog:\n  filter: warn\n".to_owned()),
            data: Some(data),
            ..ServerOptions::default()
        };
        let mut world = Self::with_options(options(first.path().join("data")), &["large"]).await;
        let watch = Instant::now();
        fill(&world.raw_as(&world.pipeline_token().await), images).await;
        let peak = world.server.peak_memory();
        say(&format!("{images} images pushed in {:.1?}", watch.elapsed()));
        world.server.kill();
        let copy = Program::new("cp").args([
            "-a".as_ref(),
            first.path().join("data").as_os_str(),
            folder.path().as_os_str(),
        ]);
        let _ = copy.limit(Duration::from_secs(300)).finish().await.succeeded();
        let server = Server::start_with(options(folder.path().join("data"))).await;
        let admin = server.admin();
        (Self { server, admin }, folder, peak)
    }
}

/// Pushes images that share their base layer and have a config and a tag each.
async fn fill(raw: &Raw, images: u64) {
    let _ = answered(raw.upload("acme/large", &base(), Style::Put).await).expect(201);
    let next = Arc::new(AtomicU64::new(0));
    let mut fillers = JoinSet::new();
    for _ in 0..FILLERS {
        let (raw, next) = (raw.clone(), Arc::clone(&next));
        fillers.spawn(async move {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= images {
                    return;
                }
                push(&raw, "acme/large", seed, &base()).await;
            }
        });
    }
    fillers.join_all().await;
}

/// Pushes config and manifest of an image whose layer is there.
async fn push(raw: &Raw, name: &str, seed: u64, layer: &Payload) {
    let layers = [layer.clone()];
    let config = Bytes::from(Manifest::config(seed, &layers));
    let path = format!("/v2/{name}/blobs/uploads/");
    let path = with_query(&path, "digest", &digest_of(&config));
    let headers = [("content-type", "application/octet-stream")];
    let _ = answered(raw.send(Method::POST, &path, &headers, config).await).expect(201);
    let manifest = Manifest::image(seed, &layers);
    let tag = format!("build-{seed:06}");
    let _ = answered(raw.put_manifest(name, &tag, &manifest).await).expect(201);
}

async fn id_of_large(admin: &Rest) -> String {
    let packages = admin.fetch("/workspaces/acme/packages").await;
    packages["items"][0]["id"].to_string()
}

/// How long pages of tags take.
struct Pages {
    oci: Times,
    rest: Times,
}

impl Pages {
    /// From the beginning, the middle and the end of the list.
    async fn measured(world: &World, raw: &Raw, id: &str, images: u64) -> Self {
        let (mut oci, mut rest) = (Vec::new(), Vec::new());
        let token = world.pipeline_token().await;
        let caller = Rest::new(&world.server.url(), &token.username, &token.secret);
        for round in 0..60 {
            let from = (images - 1 - PAGE as u64) * (round % 3) / 2;
            let last = format!("build-{from:06}");
            let watch = Instant::now();
            let path = format!("/v2/acme/large/tags/list?n={PAGE}&last={last}");
            let page = raw.get(&path).await.expect(200).json();
            oci.push(watch.elapsed());
            assert_eq!(page["tags"].as_array().map(Vec::len), Some(PAGE));
            assert_eq!(page["tags"][0], format!("build-{:06}", from + 1));
            let watch = Instant::now();
            let path = format!("/workspaces/acme/packages/{id}/tags?limit={PAGE}");
            let page = caller.fetch(&path).await;
            rest.push(watch.elapsed());
            assert_eq!(page["items"].as_array().map(Vec::len), Some(PAGE));
        }
        Self { oci: Times::of(oci), rest: Times::of(rest) }
    }
}

impl fmt::Display for Pages {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "page of {PAGE} tags: {}, by REST: {}", self.oci, self.rest)
    }
}

/// How long pushes took before, during and after a deletion.
struct Pushes {
    before: Times,
    during: Times,
    after: Times,
    /// Both before and after.
    without: Times,
    deletion: Duration,
}

impl Pushes {
    /// The p99 during the deletion, in terms of that without.
    fn ratio(&self) -> f64 {
        self.during.p99.as_secs_f64() / self.without.p99.as_secs_f64()
    }
}

impl fmt::Display for Pushes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before, during, after, deletion, .. } = self;
        write!(
            formatter,
            "a push before the deletion: {before}; during its {deletion:.1?}: {during}; after it: {after}; {:.2} times",
            self.ratio()
        )
    }
}

async fn delete_while_others_push(world: &World, id: &str, seconds: u64) -> Pushes {
    world.admin.workspace("other").await;
    world.admin.package("other", "busy", "shop").await;
    let token = world.admin.pipeline_token("other", "shop").await;
    let raw = world.raw_as(&token);
    let _ = answered(raw.upload("other/busy", &base(), Style::Put).await).expect(201);
    let seeds = Arc::new(AtomicU64::new(0));
    let pause = Duration::from_secs(seconds);
    let before = push_meanwhile(&raw, &seeds, sleep(pause)).await;
    let short = json!({"lease_seconds": 1, "keep_seconds": 0, "purge_seconds": 0});
    world.admin.settings("acme", short).await;
    let watch = Instant::now();
    let path = format!("/workspaces/acme/packages/{id}");
    let _ = world.admin.call(Method::DELETE, &path, None).await.expect(204);
    let gone = async {
        poll::until("removal of the package", REMOVAL_LIMIT, async || {
            // Often enough for a deletion of minutes, and not a load by itself.
            sleep(Duration::from_millis(environment::number("STANDPIPE_POLL").unwrap_or(200)))
                .await;
            let usage = world.admin.fetch("/workspaces/acme").await["usage"].clone();
            let bytes = ["manifest_bytes", "blob_bytes", "doomed_bytes"].map(|kind| &usage[kind]);
            if bytes.iter().all(|bytes| **bytes == json!(0)) { Ok(()) } else { Err(usage) }
        })
        .await;
    };
    let during = push_meanwhile(&raw, &seeds, gone).await;
    let deletion = watch.elapsed();
    // The base layer and the configs of this workspace.
    assert_eq!(world.server.objects().len() as u64, seeds.load(Ordering::Relaxed) + 1);
    let after = push_meanwhile(&raw, &seeds, sleep(pause)).await;
    let without = Times::of([&before[..], &after[..]].concat());
    let [before, during, after] = [before, during, after].map(Times::of);
    Pushes { before, during, after, without, deletion }
}

/// Pushes by several clients, one image after the other each, until something has happened.
async fn push_meanwhile(
    raw: &Raw,
    seeds: &Arc<AtomicU64>,
    until: impl Future<Output = ()>,
) -> Vec<Duration> {
    let over = Arc::new(AtomicBool::new(false));
    let mut pushers = JoinSet::new();
    for _ in 0..PUSHERS {
        let (raw, seeds, over) = (raw.clone(), Arc::clone(seeds), Arc::clone(&over));
        pushers.spawn(async move {
            let mut times = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let watch = Instant::now();
                push(&raw, "other/busy", seeds.fetch_add(1, Ordering::Relaxed), &base()).await;
                times.push(watch.elapsed());
            }
            times
        });
    }
    until.await;
    over.store(true, Ordering::Relaxed);
    pushers.join_all().await.concat()
}

/// What is said about many durations.
struct Times {
    number: usize,
    p50: Duration,
    p99: Duration,
    most: Duration,
}

impl Times {
    fn of(mut all: Vec<Duration>) -> Self {
        assert!(!all.is_empty(), "nothing was measured");
        all.sort_unstable();
        let number = all.len();
        let at = |percent: usize| all[(number * percent / 100).min(number - 1)];
        Self { number, p50: at(50), p99: at(99), most: at(100) }
    }
}

impl fmt::Display for Times {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, p50, p99, most } = self;
        write!(formatter, "p50 {p50:.1?}, p99 {p99:.1?}, most {most:.1?} ({number})")
    }
}

fn say(line: &str) {
    // Past the test runner's capture: these numbers are what the long form is run for.
    let _ = writeln!(std::io::stderr(), "cost: {line}");
}
