//! Random registries: whatever they do, a push ends in time, either with the right digest in the
//! registry or with an exit code and words that fit, and nothing secret reaches anybody else.
//!
//! A failure names its seed; `SEED..SEED + 1` in place of the range repeats it.

use std::time::Duration;

use axum::http::Method;
use futures_util::{StreamExt as _, stream};
use serde_json::Value;

use crate::daemon::Daemon;
use crate::harness::{Outcome, Step};
use crate::image::{Image, Layout, digest, noise};
use crate::registry::{Faults, Login, PASSWORD, Registry, TOKEN};

const RUNS: u64 = 200;
/// Pushes mostly wait; more at a time would only be slower.
const AT_A_TIME: usize = 24;
const LIMIT: Duration = Duration::from_secs(180);

/// Numbers that a seed gives.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }

    fn size(&mut self, most: u64) -> usize {
        usize::try_from(self.roll(most)).unwrap()
    }
}

/// What a registry of this run does wrong; `stranger` is another host.
fn faults(dice: &mut Dice, seed: u64, stranger: &str) -> Faults {
    let mut faults = Faults::default();
    for _ in 0..dice.roll(5) {
        faults.cuts.push_back(dice.size(600_000));
    }
    if dice.one_in(2) {
        faults.flaky = Some((seed, 4 + dice.roll(12)));
    }
    if dice.one_in(4) {
        faults.largest_body = Some(66_000 + dice.roll(400_000));
    }
    if dice.one_in(4) {
        faults.token_uses = Some(dice.size(12) + 1);
    }
    faults.no_pieces = dice.one_in(6);
    faults.no_cancelling = dice.one_in(4);
    if dice.one_in(8) {
        faults.least_piece = Some(dice.roll(300_000));
    }
    if dice.one_in(6) {
        faults.losing = dice.size(3);
    }
    if dice.one_in(8) {
        faults.stall_after = Some(dice.size(300_000));
    }
    faults.garbles = dice.one_in(10);
    match dice.roll(20) {
        0 => faults.foreign_storage = Some(stranger.to_owned()),
        1 => faults.redirect = Some(stranger.to_owned()),
        2 => faults.foreign_realm = Some("http://192.0.2.1/token".to_owned()),
        _ => {}
    }
    faults
}

fn image(dice: &mut Dice) -> Image {
    let layout = [Layout::Oci, Layout::Legacy, Layout::Containerd][dice.size(3)];
    let layers: Vec<Vec<u8>> =
        (0..1 + dice.roll(3)).map(|_| noise(dice.size(700_000) + 1, dice.0)).collect();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    Image::new("app:latest", layout, &layers)
}

async fn run(seed: u64) {
    let mut dice = Dice(seed);
    let stranger = Registry::start(Login::Nobody).await;
    let faults = faults(&mut dice, seed, &format!("http://{}", stranger.address));
    let login = [Login::Nobody, Login::Basic, Login::Bearer][dice.size(3)];
    let registry = Registry::with_faults(login, faults.clone()).await;
    let image = image(&mut dice);
    let daemon = Daemon::start(vec![image.clone()]).await;
    let step = Step::new(&daemon, &registry)
        .login()
        .set("RETRIES", "2")
        .set("TIMEOUT", "2")
        .set("PARALLEL", &(1 + dice.roll(4)).to_string())
        .set("CHUNK_SIZE", ["64K", "200K", "64M"][dice.size(3)]);
    // The second run meets what the first one left, and half of them another image.
    let storage = tempfile::tempdir().unwrap();
    let step = step.set("BITBUCKET_PIPE_STORAGE_DIR", storage.path().to_str().unwrap());
    for round in ["first", "second"] {
        let outcome = tokio::time::timeout(LIMIT, step.run()).await;
        let outcome = outcome.unwrap_or_else(|_| panic!("seed {seed}: no end of the {round} run"));
        judge(seed, &outcome, &registry, &image, &faults);
    }
    for seen in &stranger.content().seen {
        assert_eq!(seen.authorization, None, "seed {seed}: {seen:#?}");
        assert!(!seen.query.contains(TOKEN) && !seen.query.contains(PASSWORD), "seed {seed}");
        assert!(seen.method != Method::POST || seen.path != "/token", "seed {seed}: {seen:#?}");
    }
}

fn judge(seed: u64, outcome: &Outcome, registry: &Registry, image: &Image, faults: &Faults) {
    match outcome.status.code() {
        Some(0) => {
            let printed = outcome.references()[0].rsplit_once('@').unwrap().1.to_owned();
            let content = registry.content();
            let stored = &content.manifests["latest"].1;
            assert_eq!(digest(stored), printed, "seed {seed}: {faults:#?}");
            let manifest: Value = serde_json::from_slice(stored).unwrap();
            let config = &manifest["config"]["digest"];
            assert_eq!(config, &digest(&image.config), "seed {seed}");
            let layers = manifest["layers"].as_array().unwrap();
            assert_eq!(layers.len(), image.layers.len(), "seed {seed}");
            for blob in layers.iter().chain([&manifest["config"]]) {
                let name = blob["digest"].as_str().unwrap();
                // A registry that loses blobs may do so after the push.
                if let Some(bytes) = content.blobs.get(name) {
                    assert_eq!(digest(bytes), name, "seed {seed}");
                    assert_eq!(bytes.len() as u64, blob["size"], "seed {seed}");
                } else {
                    assert!(faults.losing > 0, "seed {seed}: {name} is not there");
                }
            }
        }
        Some(code @ (4 | 5)) => {
            assert!(outcome.log.contains("ERROR: "), "seed {seed}: {outcome:#?}");
            if faults.foreign_realm.is_some() && outcome.log.contains("not its own site") {
                assert_eq!(code, 5, "seed {seed}");
            }
            // Nobody is told of a missing permission who has one.
            let may_be_denied = faults.token_uses.is_some();
            assert!(code == 5 || may_be_denied, "seed {seed}: {faults:#?} {outcome:#?}");
        }
        other => panic!("seed {seed}: exit code {other:?}: {faults:#?} {outcome:#?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_push_ends_with_the_right_digest_or_the_right_words() {
    let runs = stream::iter(0..RUNS).map(|seed| tokio::spawn(run(seed)));
    let mut runs = runs.buffer_unordered(AT_A_TIME);
    while let Some(done) = runs.next().await {
        done.unwrap();
    }
}
