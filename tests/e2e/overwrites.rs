//! One tag overwritten again and again under load: what is kept for undo is on the disk and in the
//! totals, it can be put back, and after its time one image is left.
//!
//! Long form: a thousand images of 10 MB.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use standpipe_tests::environment;
use standpipe_tests::payload::digest_of;
use standpipe_tests::poll;
use standpipe_tests::raw::Raw;
use tokio::sync::RwLock;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::artifacts::{Blob, Image};
use crate::space::{Clocks, Live, ShortWorld, Usage, disk_bytes, usage, wait_for_rest};
use crate::world::{say, turn};

#[tokio::test(flavor = "multi_thread")]
async fn what_overwriting_a_tag_releases_is_held_for_keep_and_then_gone() {
    let soak = environment::is_soak();
    let _turn = if soak { Some(turn().await) } else { None };
    let clocks = Clocks { lease: 3, keep: if soak { 45 } else { 15 }, purge: 1 };
    let tag = Tag::new(clocks).await;
    let load = Load::start(&tag.world, clocks, Releases::Images);
    let mut replaced: Vec<(Image, Instant)> = Vec::new();
    let mut current = image(0, MB);
    tag.push(&current).await;
    for number in 1..=(if soak { 1000 } else { 65 }) {
        let next = image(number, if soak || number % 13 == 0 { 10 * MB } else { MB });
        let moment = Instant::now();
        tag.push(&next).await;
        replaced.push((std::mem::replace(&mut current, next), moment));
        if number % 13 == 0 {
            tag.check(&load, &current, &replaced).await;
        }
    }
    tag.undo(&mut current, &mut replaced).await;
    tag.check(&load, &current, &replaced).await;
    let mut live = load.stop().await;
    live.add_manifest(NAME, &current.manifest);
    let begin = Instant::now();
    let limit = tag.keep + REST_LIMIT;
    wait_for_rest(&tag.world.world, &live, limit).await;
    current.is_pulled(&tag.world.reader(), NAME, TAG).await;
    say(&format!("overwrites: one image left after {:?}", begin.elapsed()));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_cap_reached_the_newest_are_held_and_the_cap_is_not_exceeded() {
    let soak = environment::is_soak();
    let _turn = if soak { Some(turn().await) } else { None };
    let clocks = Clocks { lease: 3, keep: 3600, purge: 1 };
    let tag = Tag::new(clocks).await;
    let size = if soak { 10 * MB } else { MB };
    let one = image(0, size).bytes();
    let cap = HELD * one + one / 2;
    tag.world.world.admin.settings("acme", json!({"keep_bytes": cap})).await;
    // With a cap nothing is sure to stay after it was replaced.
    let load = Load::start(&tag.world, Clocks { keep: 0, ..clocks }, Releases::Nothing);
    let mut replaced: Vec<(Image, Instant)> = Vec::new();
    let mut current = image(0, size);
    tag.push(&current).await;
    for number in 1..=(if soak { 300 } else { 30 }) {
        let next = image(number, size);
        let moment = Instant::now();
        tag.push(&next).await;
        replaced.push((std::mem::replace(&mut current, next), moment));
        if number % 10 == 0 {
            let sample = tag.sample(&load).await;
            let recent = |(_, moment): &&(Image, Instant)| moment.elapsed() < TRANSIENT;
            let transient: u64 = replaced.iter().filter(recent).map(|(old, _)| old.bytes()).sum();
            let kept = sample.usage.blob_bytes + sample.usage.manifest_bytes
                - current.bytes()
                - sample.load.bytes();
            assert!(kept <= cap + transient + sample.load_released, "{kept} bytes, cap {cap}");
        }
    }
    let mut live = load.stop().await;
    live.add_manifest(NAME, &current.manifest);
    for (old, _) in replaced.iter().rev().take(HELD as usize) {
        live.add_manifest(NAME, &old.manifest);
    }
    settle_at(&tag, &live, HELD * one).await;
    let beyond = &replaced[replaced.len() - 1 - HELD as usize].0;
    let gone = tag.world.reader().manifest(NAME, &beyond.manifest.digest()).await;
    assert_eq!(gone.status, 404, "the oldest go first");
    tag.undo(&mut current, &mut replaced).await;
}

/// Waits until the newest that fit under the cap are all that is kept.
async fn settle_at(tag: &Tag, live: &Live, held: u64) {
    let world = &tag.world.world;
    poll::until("what fits under the cap", REST_LIMIT, async || {
        let (found, disk) = (usage(&world.admin, "acme").await, disk_bytes(&world.server));
        let wanted = Usage {
            blob_bytes: live.blob_bytes(),
            manifest_bytes: live.manifest_bytes(),
            doomed_bytes: 0,
            held_bytes: found.held_bytes.map(|_| held),
        };
        if found == wanted && disk == live.blob_bytes() {
            return Ok(());
        }
        sleep(Duration::from_millis(100)).await;
        Err(format!("{disk} bytes on the disk, {found:?}, not {wanted:?}"))
    })
    .await;
}

/// The tag that is overwritten.
struct Tag {
    world: ShortWorld,
    writer: Raw,
    lease: Duration,
    keep: Duration,
}

/// One look with nobody pushing.
struct Sample {
    usage: Usage,
    load: Live,
    /// Bytes of the load's images that were replaced, at most.
    load_released: u64,
    ended: Instant,
}

impl Tag {
    async fn new(clocks: Clocks) -> Self {
        let world = ShortWorld::new(clocks, &["shop", "load"]).await;
        let writer = world.writer();
        let [lease, keep] = [clocks.lease, clocks.keep].map(Duration::from_secs);
        Self { world, writer, lease, keep }
    }

    async fn push(&self, image: &Image) {
        image.push(&self.writer, NAME, TAG, self.lease).await;
    }

    /// Takes the last overwrite back, then that, and so on; the image before the last one is current
    /// in the end.
    async fn undo(&self, current: &mut Image, replaced: &mut [(Image, Instant)]) {
        let path = format!("/workspaces/acme/packages/{}/restore", self.world.ids["shop"]);
        let (last, moment) = replaced.last_mut().expect("there were overwrites");
        for _ in 0..3 {
            let (begin, body) = (Instant::now(), Some(json!({"tag": TAG})));
            let answer = self.world.world.admin.call(Method::POST, &path, body).await;
            if answer.status == 404 && moment.elapsed() > self.keep {
                return;
            }
            let _ = answer.expect(204);
            std::mem::swap(current, last);
            *moment = begin;
            current.is_pulled(&self.world.reader(), NAME, TAG).await;
        }
    }

    /// A look at the disk and the totals that agree.
    async fn sample(&self, load: &Load) -> Sample {
        let _quiet = load.gate.write().await;
        let world = &self.world.world;
        let usage = poll::until("a disk as reported", SAMPLE_LIMIT, async || {
            // The collector goes on meanwhile; its steps are not long.
            let before = usage(&world.admin, "acme").await;
            let disk = disk_bytes(&world.server);
            let after = usage(&world.admin, "acme").await;
            let as_reported = before == after && disk == before.blob_bytes + before.doomed_bytes;
            as_reported
                .then_some(before)
                .ok_or_else(|| format!("{disk} bytes, {before:?}, {after:?}"))
        })
        .await;
        let pushed = load.pushed.read().await;
        let mut live = Live::default();
        pushed.current.values().for_each(|image| live.add_manifest(LOAD, &image.manifest));
        Sample { usage, load: live, load_released: pushed.released, ended: Instant::now() }
    }

    /// The disk holds what is reported: the current image, and at least what is inside keep.
    async fn check(&self, load: &Load, current: &Image, replaced: &[(Image, Instant)]) {
        let sample = self.sample(load).await;
        let Usage { blob_bytes, manifest_bytes, held_bytes, .. } = sample.usage;
        let alive = current.bytes() + sample.load.bytes();
        if let Some(held) = held_bytes {
            assert_eq!(blob_bytes + manifest_bytes, alive + held, "{:?}", sample.usage);
        }
        let inside = |(_, moment): &&(Image, Instant)| *moment + self.keep > sample.ended;
        let kept: u64 = replaced.iter().filter(inside).map(|(old, _)| old.blob_bytes()).sum();
        let wanted = kept + current.blob_bytes() + sample.load.blob_bytes();
        assert!(blob_bytes >= wanted, "{blob_bytes} bytes, but {wanted} are inside keep");
        if replaced.iter().all(|entry| inside(&entry)) {
            let most = wanted + sample.load_released;
            assert!(blob_bytes <= most, "{blob_bytes} bytes, {most} were ever pushed");
        }
    }
}

/// Others who push and pull meanwhile.
struct Load {
    clients: Vec<JoinHandle<()>>,
    pushed: Arc<RwLock<Pushed>>,
    /// Held for reading during a push, for writing during a look.
    gate: Arc<RwLock<()>>,
}

/// Whether the load releases what it pushed before, or pushes the same again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Releases {
    Images,
    Nothing,
}

#[derive(Default)]
struct Pushed {
    current: BTreeMap<String, Image>,
    released: u64,
    over: bool,
}

impl Load {
    fn start(world: &ShortWorld, clocks: Clocks, releases: Releases) -> Self {
        let (pushed, gate) = (Arc::new(RwLock::new(Pushed::default())), Arc::new(RwLock::new(())));
        let lease = Duration::from_secs(clocks.lease);
        let pusher =
            push_load(world.writer(), Arc::clone(&pushed), Arc::clone(&gate), lease, releases);
        let mut clients = vec![tokio::spawn(pusher)];
        let keep = Duration::from_secs(clocks.keep);
        for _ in 0..2 {
            clients.push(tokio::spawn(pull(world.reader(), Arc::clone(&pushed), keep)));
        }
        Self { clients, pushed, gate }
    }

    /// Ends it; returns what its tags lead to.
    async fn stop(self) -> Live {
        self.pushed.write().await.over = true;
        for client in self.clients {
            client.await.expect("a client ends without a panic");
        }
        let mut live = Live::default();
        let pushed = self.pushed.read().await;
        pushed.current.values().for_each(|image| live.add_manifest(LOAD, &image.manifest));
        live
    }
}

/// Pushes to a few tags of another package.
async fn push_load(
    raw: Raw,
    pushed: Arc<RwLock<Pushed>>,
    gate: Arc<RwLock<()>>,
    lease: Duration,
    releases: Releases,
) {
    for number in 0.. {
        if pushed.read().await.over {
            return;
        }
        let tag = format!("load-{}", number % 4);
        let seed = LOAD_SEED + if releases == Releases::Images { number } else { number % 4 };
        let image = image(seed, 40_000);
        let _open = gate.read().await;
        image.push(&raw, LOAD, &tag, lease).await;
        let mut pushed = pushed.write().await;
        let bytes = image.bytes();
        if pushed.current.insert(tag, image).is_some() && releases == Releases::Images {
            pushed.released += bytes;
        }
    }
}

/// Pulls the tag that is overwritten; what it led to when it was asked for stays for `keep`.
async fn pull(raw: Raw, pushed: Arc<RwLock<Pushed>>, keep: Duration) {
    while !pushed.read().await.over {
        // So that the readers leave something of the machine to the others.
        sleep(Duration::from_millis(20)).await;
        let begin = Instant::now();
        let answer = raw.manifest(NAME, TAG).await;
        if answer.status == 404 {
            // Before the first push.
            continue;
        }
        for layer in answer.expect(200).json()["layers"].as_array().into_iter().flatten() {
            let digest = layer["digest"].as_str().expect("a digest");
            let pulled = raw.get(&format!("/v2/{NAME}/blobs/{digest}")).await;
            if pulled.status == 404 && begin.elapsed() > keep {
                break;
            }
            let pulled = pulled.expect(200);
            assert_eq!(digest_of(&pulled.body), digest);
        }
    }
}

fn image(number: u64, size: u64) -> Image {
    Image::new(Blob::new(number << 8, 500), vec![Blob::new(number << 8 | 1, size)], None)
}

const NAME: &str = "acme/shop";
const LOAD: &str = "acme/load";
const TAG: &str = "v1";
const MB: u64 = 1_000_000;
const LOAD_SEED: u64 = 1 << 32;
/// Images that fit under the cap.
const HELD: u64 = 5;
/// From going over the cap to the last byte: the look at the cap, the lease and the purge, and a slow
/// machine.
const TRANSIENT: Duration = Duration::from_secs(30);
const SAMPLE_LIMIT: Duration = Duration::from_secs(180);
const REST_LIMIT: Duration = Duration::from_secs(300);
