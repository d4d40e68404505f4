//! The server is killed, or told to stop and not waited for, at random moments while several clients
//! push; nothing acknowledged may be lost.
//!
//! Each client sends one request at a time and tells the ledger before and after it. After a kill no
//! client goes on until the server is back and everything in the ledger has been looked at.

mod ledger;
mod pusher;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use standpipe_tests::environment;
use standpipe_tests::payload::Random;
use standpipe_tests::poll;
use standpipe_tests::raw::Raw;
use standpipe_tests::server::{Server, ServerOptions};
use tokio::sync::RwLock;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::world::{World, say, turn};
use ledger::Ledger;
use pusher::Pusher;

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_the_server_loses_nothing_it_acknowledged() {
    let _turn = turn().await;
    let seed = environment::seed();
    let pushes = if environment::is_soak() { 2000 } else { 200 };
    say(&format!("crash test: {pushes} pushes, repeat with STANDPIPE_SEED={seed}"));
    let mut world = World::with_packages(&PACKAGES).await;
    let shared = Arc::new(Shared::new(world.raw(), pushes, seed));
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(Pusher::new(number, world.raw(), Arc::clone(&shared)).run());
    }
    let kill = async |server: &mut Server, _: &mut Random| server.kill();
    let kills = end_until_done(&mut world.server, &shared, &mut clients, kill).await;
    assert!(kills >= LEAST_ENDS, "only {kills} kills prove nothing");
    at_rest(&mut world, &shared).await;
    say(&format!("crash test: {kills} kills, {}", shared.ledger.summary()));
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_in_haste_at_random_moments_the_server_loses_nothing_it_acknowledged() {
    let _turn = turn().await;
    let seed = environment::seed();
    let pushes = if environment::is_soak() { 900 } else { 180 };
    say(&format!("haste test: {pushes} pushes, repeat with STANDPIPE_SEED={seed}"));
    let config = Some("http:\n  notice_seconds: 0\n".to_owned());
    let options = ServerOptions { config, ..ServerOptions::default() };
    let mut world = World::with_options(options, &PACKAGES).await;
    let shared = Arc::new(Shared::new(world.raw(), pushes, seed));
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(Pusher::new(number, world.raw(), Arc::clone(&shared)).run());
    }
    let stops = end_until_done(&mut world.server, &shared, &mut clients, end_in_haste).await;
    assert!(stops >= LEAST_ENDS, "only {stops} stops prove nothing");
    at_rest(&mut world, &shared).await;
    say(&format!("haste test: {stops} stops, {}", shared.ledger.summary()));
}

/// SIGTERM, and a moment later, whatever the server is at, SIGTERM again or SIGKILL.
async fn end_in_haste(server: &mut Server, random: &mut Random) {
    server.ask_to_stop();
    // This sleep is the random moment itself; nothing waits for it to have an effect.
    sleep(Duration::from_micros(random.between(1, 30_000))).await;
    if random.chance(50) {
        server.kill();
    } else {
        let status = server.stop().await;
        // Done in time, or stopped at once.
        assert!(matches!(status.code(), Some(0 | 1)), "{status}");
    }
}

#[tokio::test]
async fn the_ledger_notices_what_is_lost() {
    let mut world = World::with_packages(&PACKAGES).await;
    let shared = Arc::new(Shared::new(world.raw(), 3, 1));
    // Nobody ends the server while these are made.
    shared.ends.store(LEAST_ENDS, Ordering::Relaxed);
    Pusher::new(0, world.raw(), Arc::clone(&shared)).run().await;
    assert_eq!(shared.ledger.check_everything().await, NOTHING);
    world.server.kill();
    // All of them, since some may be waiting for their removal.
    for object in world.server.objects() {
        fs::write(object, "something else").expect("our own file can be damaged");
    }
    world.server.start_again().await;
    assert_ne!(shared.ledger.check_everything().await, NOTHING);
}

/// What the clients and the one that kills share.
struct Shared {
    ledger: Ledger,
    /// Held for reading during each request, for writing from the kill to the end of the checks.
    gate: RwLock<()>,
    started: AtomicUsize,
    /// How often the server was ended.
    ends: AtomicUsize,
    pushes: usize,
    seed: u64,
}

impl Shared {
    fn new(raw: Raw, pushes: usize, seed: u64) -> Self {
        let (gate, started, ends) = (RwLock::new(()), AtomicUsize::new(0), AtomicUsize::new(0));
        Self { ledger: Ledger::new(raw), gate, started, ends, pushes, seed }
    }

    /// The number of the next push to make, until there are enough. However fast the machine is, they
    /// go on until the server was ended often enough to prove something.
    fn next_push(&self) -> Option<usize> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let enough = number >= self.pushes && self.ends.load(Ordering::Relaxed) >= LEAST_ENDS;
        (!enough).then_some(number)
    }
}

async fn end_until_done(
    server: &mut Server,
    shared: &Shared,
    clients: &mut JoinSet<()>,
    end: impl AsyncFn(&mut Server, &mut Random),
) -> usize {
    let mut random = Random::new(shared.seed ^ 0x4B11);
    let mut kills = 0;
    loop {
        let moment = Duration::from_micros(random.between(1_000, LONGEST_LIFE_MICROS));
        tokio::select! {
            // This sleep is the random moment itself; nothing waits for it to have an effect.
            () = sleep(moment) => {
                end(server, &mut random).await;
                let _closed = shared.gate.write().await;
                let took = server.start_again().await;
                assert!(took < READY_LIMIT, "ready only after {took:?}");
                assert_eq!(shared.ledger.check_recent().await, NOTHING, "after kill {kills}");
                kills += 1;
                shared.ends.store(kills, Ordering::Relaxed);
            }
            ended = clients.join_next() => match ended {
                Some(result) => result.expect("a client ends without a panic"),
                None => return kills,
            },
        }
    }
}

/// With nothing in flight, the disk holds what the ledger knows and nothing else.
async fn at_rest(world: &mut World, shared: &Shared) {
    let ledger = &shared.ledger;
    assert_eq!(ledger.check_everything().await, NOTHING, "after the last push");
    ledger.cancel_open_uploads().await;
    world.server.kill();
    world.server.start_again().await;
    assert_eq!(ledger.check_everything().await, NOTHING, "at rest");
    let names = upload_names(&world.server);
    assert!(
        names.len() <= ledger.nameless_uploads(),
        "{names:?} for {} requests without an answer",
        ledger.nameless_uploads()
    );
    for name in names {
        assert!(
            is_known_upload(&world.raw(), &name).await,
            "the files of {name} belong to no upload"
        );
    }
    poll::until("one file for each blob", SWEEP_LIMIT, async || {
        let (files, blobs) = (world.server.objects().len(), ledger.objects());
        let set_aside = world.server.lost_and_found().len();
        (files == blobs)
            .then_some(())
            .ok_or_else(|| format!("{files} files, {blobs} blobs, {set_aside} in lost+found"))
    })
    .await;
}

/// Names of the uploads that have files, whatever else a file's name says.
fn upload_names(server: &Server) -> BTreeSet<String> {
    let name = |path: &PathBuf| {
        let file = path.file_name()?.to_str()?;
        Some(file.split('.').next().unwrap_or(file).to_owned())
    };
    server.unfinished().iter().filter_map(name).collect()
}

async fn is_known_upload(raw: &Raw, name: &str) -> bool {
    for package in PACKAGES {
        let status = raw.get(&format!("/v2/acme/{package}/blobs/uploads/{name}")).await;
        if status.status == 204 {
            return true;
        }
    }
    false
}

const PACKAGES: [&str; 4] = ["api", "web", "worker", "tools/migrate"];
const CLIENTS: usize = 5;
/// How often the server is ended at least.
const LEAST_ENDS: usize = 5;
const LONGEST_LIFE_MICROS: u64 = 900_000;
/// Far from the fraction of a second that it takes, because the machine may be busy with other tests.
const READY_LIMIT: Duration = Duration::from_secs(20);
const SWEEP_LIMIT: Duration = Duration::from_secs(120);
/// No violation.
const NOTHING: Vec<String> = Vec::new();
