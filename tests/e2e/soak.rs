//! Many clients at once on short clocks: what the registry confirmed stays for a lease, what a tag leads
//! to stays whole, and when all is quiet nothing else is left.
//!
//! Pushers with shared layers wait up to nine tenths of the lease between what was confirmed to them and
//! the manifest that relies on it; others delete, overwrite and read meanwhile. Each remembers what was
//! acknowledged. Long form: ten minutes, with a kill in the middle.

pub(crate) mod client;
mod memory;
pub(crate) mod others;
mod pusher;
mod request;

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use standpipe_tests::environment;
use standpipe_tests::raw::Raw;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::artifacts::Blob;
use crate::space::{Clocks, ShortWorld, wait_for_rest};
use crate::world::{say, turn};
use client::Client;
use memory::{Key, Memory};
use others::pull_whole;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_confirmed_stays_for_a_lease_and_nothing_else_is_left_at_rest() {
    let soak = environment::is_soak();
    let _turn = if soak { Some(turn().await) } else { None };
    let duration = Duration::from_secs(if soak { 600 } else { 20 });
    let mut world = ShortWorld::new(CLOCKS, &PACKAGES).await;
    let shared = Arc::new(Shared::new(CLOCKS));
    say(&format!("soak: {duration:?}, repeat with STANDPIPE_SEED={}", shared.seed));
    let mut clients = start(&world, &shared);
    let mut kill = soak.then_some(duration / 2);
    while shared.start.elapsed() < duration || !shared.has_seen_enough() {
        if let Some(Err(failure)) = clients.try_join_next() {
            resume_unwind(failure.into_panic());
        }
        assert!(shared.start.elapsed() < duration + SLOWEST, "too slow: {}", shared.summary());
        if kill.is_some_and(|moment| shared.start.elapsed() > moment) {
            kill = None;
            shared.killed.store(true, Ordering::Relaxed);
            world.world.server.kill();
            let _ = world.world.server.start_again().await;
        }
        sleep(Duration::from_millis(50)).await;
    }
    shared.end();
    while let Some(ended) = clients.join_next().await {
        ended.unwrap_or_else(|failure| resume_unwind(failure.into_panic()));
    }
    let (roots, begin) = (roots(&world.reader(), &shared).await, Instant::now());
    let live = shared.memory.live(&roots);
    wait_for_rest(&world.world, &live, REST_LIMIT).await;
    say(&format!("soak: {}; at rest after {:?}", shared.summary(), begin.elapsed()));
    for (name, digest) in &roots {
        assert_eq!(pull_whole(&world.reader(), name, digest).await, *digest);
    }
}

/// What the clients share.
pub(crate) struct Shared {
    pub(crate) memory: Memory,
    pub(crate) layers: Vec<Blob>,
    pub(crate) lease: Duration,
    pub(crate) keep: Duration,
    pub(crate) start: Instant,
    pub(crate) seed: u64,
    /// From the kill on a request may get no answer.
    pub(crate) killed: AtomicBool,
    over: AtomicBool,
}

impl Shared {
    pub(crate) fn new(clocks: Clocks) -> Self {
        let layers = (0..LAYERS).map(|number| Blob::new(number, 2_000 + number * 1_000)).collect();
        Self {
            memory: Memory::default(),
            layers,
            lease: Duration::from_secs(clocks.lease),
            keep: Duration::from_secs(clocks.keep),
            start: Instant::now(),
            seed: environment::seed(),
            killed: AtomicBool::new(false),
            over: AtomicBool::new(false),
        }
    }

    /// Tells the clients to end.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub(crate) fn package(&self, number: u64) -> String {
        format!("acme/{}", PACKAGES[(number % PACKAGES.len() as u64) as usize])
    }

    fn has_seen_enough(&self) -> bool {
        ENOUGH.iter().all(|(what, count)| self.memory.counted(what) >= *count)
    }

    fn summary(&self) -> String {
        self.memory.summary()
    }
}

fn start(world: &ShortWorld, shared: &Arc<Shared>) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    let client = |number: u64, raw: Raw| Client::new(number, raw, Arc::clone(shared));
    for number in 0..PUSHERS {
        clients.spawn(pusher::push(number, client(number, world.writer())));
    }
    for number in 100..100 + OVERWRITERS {
        clients.spawn(pusher::overwrite(number, client(number, world.writer())));
    }
    for number in 200..200 + DELETERS {
        clients.spawn(others::delete(client(number, world.writer())));
    }
    for number in 300..300 + READERS {
        clients.spawn(others::read(client(number, world.reader())));
    }
    clients
}

/// What the tags lead to now, held against what the clients were told.
async fn roots(raw: &Raw, shared: &Shared) -> Vec<Key> {
    let mut roots = Vec::new();
    for tag in shared.memory.tags() {
        let start = Instant::now();
        let answer = raw.manifest(&tag.0, &tag.1).await;
        let seen = (answer.status == 200).then(|| answer.header("docker-content-digest"));
        assert!(
            shared.memory.allows(&tag, seen.as_deref(), start, Instant::now()),
            "{tag:?} is {seen:?} in the end: nobody was told so"
        );
        roots.extend(seen.map(|digest| (tag.0, digest)));
    }
    roots
}

const CLOCKS: Clocks = Clocks { lease: 3, keep: 2, purge: 1 };
const PACKAGES: [&str; 3] = ["api", "web", "tools/migrate"];
const LAYERS: u64 = 40;
const PUSHERS: u64 = 10;
const OVERWRITERS: u64 = 3;
const DELETERS: u64 = 2;
const READERS: u64 = 3;
/// What a run must have seen to prove something.
const ENOUGH: [(&str, u64); 10] = [
    ("pushes", 60),
    ("pushes after half a lease", 20),
    ("uploads skipped", 40),
    ("mounts", 2),
    ("blobs collected and sent again", 1),
    ("manifests pushed again without blobs", 2),
    ("children not sent again", 1),
    ("tags deleted", 5),
    ("manifests deleted", 3),
    ("images pulled whole", 20),
];
/// How much longer a very slow machine may take for that.
const SLOWEST: Duration = Duration::from_secs(300);
const REST_LIMIT: Duration = Duration::from_secs(300);
