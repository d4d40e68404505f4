//! Pushes over a line whose connections are cut after random bytes, into our server and into Debian's
//! `docker-registry`: each arrives whole, or ends in time with the exit code for networks.

use std::fs;

use futures_util::{StreamExt as _, stream};
use standpipe_tests::cutter::Cutter;
use standpipe_tests::disk::temporary_directory;
use standpipe_tests::distribution::Distribution;
use standpipe_tests::environment;
use standpipe_tests::payload::{Random, digest_of};
use standpipe_tests::pipe::PipeRun;
use standpipe_tests::raw::Raw;
use standpipe_tests::server::ServerOptions;

use crate::pushing::{NO_DAEMON, layout};
use crate::world::{World, say, turn};

#[tokio::test(flavor = "multi_thread")]
async fn random_cuts_on_the_way_to_our_server() {
    let _turn = turn().await;
    let (line, lead) = Cutter::open().await;
    let address = ("STANDPIPE_PUBLIC_URL", format!("http://{}", line.authority()));
    let options = ServerOptions { environment: vec![address], ..Default::default() };
    let world = World::with_options(options, &["app"]).await;
    lead.to(world.server.authority());
    let token = world.pipeline_token().await;
    let login = [("USERNAME", token.username.as_str()), ("PASSWORD", token.secret.as_str())];
    push_often(&line, &world.raw(), &login).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_cuts_on_the_way_to_docker_registry() {
    let _turn = turn().await;
    let Some(registry) = Distribution::start().await else { return };
    let (line, lead) = Cutter::open().await;
    lead.to(registry.authority());
    let raw = Raw::anonymous(&format!("http://{}", registry.authority()));
    push_often(&line, &raw, &[("AUTH", "none")]).await;
}

/// Pushes side by side, because a push that is cut mostly waits before its next attempt.
async fn push_often(line: &Cutter, raw: &Raw, login: &[(&str, &str)]) {
    let (runs, seed) = (if environment::is_soak() { 200 } else { 10 }, environment::seed());
    say(&format!("cuts by STANDPIPE_SEED={seed}"));
    line.cut_at_random(seed);
    let pushes = stream::iter(0..runs).map(|run| push(line, raw, login, seed, run));
    let arrived: Vec<bool> = pushes.buffer_unordered(AT_ONCE).collect().await;
    let whole = arrived.iter().filter(|arrived| **arrived).count();
    say(&format!("{whole} of {runs} pushes arrived, the others ended in time"));
    // Five further attempts, none of which counts if it got further, are enough for most.
    assert!(whole * 2 > arrived.len(), "{whole} of {runs} pushes arrived");
}

/// One push under a tag of its own; whether it arrived.
async fn push(line: &Cutter, raw: &Raw, login: &[(&str, &str)], seed: u64, run: u64) -> bool {
    let mut random = Random::new(seed.wrapping_add(run));
    let folder = temporary_directory("cut");
    let place = folder.path().join("layout");
    let layer = layout(&place, random.next_u64(), random.between(1, 1_500_000));
    let index = fs::read(place.join("index.json")).expect("it was written");
    let index: serde_json::Value = serde_json::from_slice(&index).expect("it is JSON");
    let manifest = index["manifests"][0]["digest"].as_str().expect("a digest").to_owned();
    let piece = ["64K", "256K", "64M"][usize::try_from(random.between(0, 3)).expect("small")];
    let tag = format!("run-{run}");
    let variables = [
        ("REGISTRY", line.authority()),
        ("IMAGE_NAME", "app".to_owned()),
        ("TAGS", tag.clone()),
        ("SOURCE", format!("oci:{}", place.display())),
        ("CHUNK_SIZE", piece.to_owned()),
        ("BITBUCKET_PIPE_STORAGE_DIR", folder.path().display().to_string()),
    ];
    let push = PipeRun::new(NO_DAEMON);
    let push = variables.iter().fold(push, |push, (name, value)| push.set(name, value));
    let push = login.iter().fold(push, |push, (name, value)| push.set(name, value));
    let outcome = push.finish().await;
    if outcome.finished.code != Some(0) {
        outcome.failed(5, &["ERROR: "]);
        return false;
    }
    assert_eq!(outcome.digest(), manifest, "run {run}: {}", outcome.finished);
    assert_eq!(raw.pull_blob("acme/app", &layer).await, layer, "run {run}");
    let stored = raw.manifest("acme/app", &tag).await.expect(200);
    assert_eq!(digest_of(&stored.body), manifest, "run {run}");
    true
}

/// Pushes at the same time.
const AT_ONCE: usize = 10;
