//! Random walks through the models, replayed on the real core.
//!
//! The models prove that the rules of collection are right; here the core is held to them. A walk
//! chooses what comes next. What clients, operators and the machine do is done in the model and asked
//! of the core; when time passes the core's clock is moved and the model's clocks follow; when the
//! core reviews an entry (`collect(1, …)`) the model reviews what the core did, and must allow it.
//! After every move rows, holders, leases, what is hidden, kept, due and doomed, and what a HEAD
//! answers, are the same in both, and each answer to a client is the model's.
//!
//! Invariant: the core is only asked through `MetadataStore`, and when a clock ends is told from what
//! was done ([`deadlines`]), never from what the core says of itself.
//!
//! Where the core differs on purpose:
//! - A grant lasts 9/8 of a lease, and a HEAD writes only when less than a lease is left. What a client
//!   was told is held to a whole lease, by itself.
//! - What loses its last holder is leased until what was confirmed of its package, and not afresh: if
//!   nobody was told anything its lease ends at once. The model allows that, since a lease may end at
//!   any moment; that no promise is broken is compared by time.
//! - What is held has a lease that runs on; the model takes it as over.
//! - Tags keep a manifest row by row; the model's one kept row ends with the last of them.
//! - "Reclaim now" of a digest also ends its hiding; in the model that is a step of its own.
//! - A deleted package goes in pages of many rows, and no entry of it is looked at before; the model
//!   catches up.
//! - After a start nothing is collected for an hour or a lease.
//!
//! Left out: backups (a pin cannot be ended through the seam), pages of large manifests (the core lets
//! 64 edges go at once), and files: syncing is nothing to the core, unlinking is `forget_doomed`. A
//! crash is a store that is closed and opened again; `metadata/redb/powerloss.rs` loses what was not
//! synced.

#![expect(clippy::unwrap_used, reason = "a store that cannot be set up ends the test")]

mod clients;
mod collecting;
mod compare;
mod core;
mod deadlines;
mod operators;
mod seeded;
mod walk;

use crate::rows::Budget;
use crate::variant::Variant;
use crate::world::World;
use crate::{head_then_index, history, index, one_package, package, referrer, two_packages};
use seeded::{Seeded, rounds, say, seed};
use standpipe_server::domain::WorkspaceSettings;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use walk::Walk;

/// Leases and keeps of walks, in minutes: what ends first differs.
const CLOCKS: [(u64, u64); 4] = [(24 * 60, 7 * 24 * 60), (24 * 60, 60), (60, 24 * 60), (30, 30)];

fn settings(random: &mut Seeded) -> WorkspaceSettings {
    let (lease, keep) = random.pick(&CLOCKS);
    let minutes = |minutes| Duration::from_secs(minutes * 60);
    WorkspaceSettings {
        lease: minutes(lease),
        keep: minutes(keep),
        purge: minutes(20),
        ..WorkspaceSettings::default()
    }
}

/// More may happen in a walk than in a model that is visited whole.
fn longer(world: World) -> World {
    let was = world.budget;
    let budget = Budget {
        retries: was.retries + 2,
        tag_deletes: was.tag_deletes * 2,
        manifest_deletes: was.manifest_deletes * 2,
        blob_deletes: was.blob_deletes * 2,
        undos: was.undos * 2,
        restores: was.restores * 2,
        caps: was.caps * 2,
        package_restores: was.package_restores * 2,
        package_deletes: was.package_deletes * 2,
        ..was
    };
    // Who is who must not change, and what the core lets go in one page it lets go at once.
    World { budget, interchangeable: false, paged: false, ..world }
}

/// What walks have come through.
#[derive(Debug, Default)]
struct Seen {
    moves: usize,
    steps: BTreeMap<String, u64>,
    /// In how many walks each of the model's situations was met.
    met: BTreeMap<&'static str, u64>,
}

/// Takes one walk; what is wrong, if anything.
fn walk(world: World, mut random: Seeded, seen: &mut Seen) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let settings = settings(&mut random);
        let length = 8 + random.below(6);
        let mut walk = Walk::new(world, random, settings).await;
        let mut met = BTreeSet::new();
        let done = async {
            walk.prepare().await?;
            for _ in 0..length {
                walk.step().await?;
                let now = world.witnesses.iter().filter(|one| one.1(&world, &walk.state));
                met.extend(now.map(|one| one.0));
            }
            walk.finish().await
        }
        .await;
        seen.moves += length;
        for witness in met {
            *seen.met.entry(witness).or_default() += 1;
        }
        for (_, step) in &walk.trace {
            let name = format!("{step:?}");
            let name = name.split('(').next().unwrap_or_default().to_owned();
            *seen.steps.entry(name).or_default() += 1;
        }
        done.map_err(|why: String| {
            let trace: String =
                walk.trace.iter().map(|(at, one)| format!("{at} {one:?}\n")).collect();
            format!("{why}\n{:?}\n{trace}{:?}", walk.core.settings, walk.state)
        })
    })
}

/// Takes walks through the protocol as it is; the core does the same in all of them, and each of
/// `steps` is taken somewhere.
fn agrees(name: &str, world: World, walks: u64, steps: &[&str]) {
    assert_eq!(world.variant, Variant::Correct);
    let (seed, mut seen) = (seed(name), Seen::default());
    for number in 0..rounds(walks) {
        let done = walk(longer(world), Seeded::of(seed, number), &mut seen);
        if let Err(why) = done {
            panic!("{name}, STANDPIPE_SEED={seed}, walk {number}: {why}");
        }
    }
    say(&format!("{name}: {seen:?}"));
    for step in steps {
        assert!(seen.steps.contains_key(*step), "{name} never takes {step}");
    }
}

/// Takes walks through a wrong variant until one shows that the core does otherwise.
fn differs(world: World, variant: Variant) {
    let (seed, mut seen) = (seed(&format!("{variant:?}")), Seen::default());
    let world = World { variant, ..longer(world) };
    let found = (0..5000).find_map(|number| {
        walk(world, Seeded::of(seed, number), &mut seen).err().map(|why| (number, why))
    });
    let (number, why) = found.unwrap_or_else(|| panic!("the core passes for {variant:?}"));
    let why = why.lines().next().unwrap_or_default();
    say(&format!("{variant:?} is not the core, as walk {number} shows: {why}"));
}

macro_rules! replays {
    ($($name:ident: $world:expr, $walks:expr, $steps:expr;)*) => {$(
        #[test]
        fn $name() {
            agrees(stringify!($name), $world, $walks, &$steps);
        }
    )*};
}

replays! {
    the_core_does_what_one_package_does: one_package::CALM, 1400,
        ["DeleteTag", "DeleteBlob", "LeaseEnds", "KeptEnds", "Review", "ReviewKept", "Unlink"];
    the_core_does_what_one_package_does_through_crashes: one_package::CRASHING, 100,
        ["Crash", "Sweep", "Review"];
    the_core_does_what_two_packages_do: two_packages::WORLD, 1400,
        ["DeleteTag", "DeleteBlob", "Review", "ReviewKept", "Unlink"];
    the_core_does_what_indexes_do: index::INDEXES, 1400,
        ["DeleteTag", "DeleteManifest", "Review", "ReviewKept"];
    the_core_does_what_an_image_of_two_blobs_does: index::LARGE, 900,
        ["DeleteTag", "Review", "ReviewKept"];
    the_core_does_what_a_referrer_does: referrer::WORLD, 1400,
        ["DeleteTag", "DeleteManifest", "Restore", "Review", "ReviewKept"];
    the_core_does_what_history_does: history::WORLD, 1400,
        ["DeleteTag", "DeleteManifest", "PutTagBack", "LetGoEarly", "Review", "ReviewKept"];
    the_core_does_what_a_package_does: package::WORLD, 1400,
        ["DeletePackage", "RestorePackage", "CreatePackage", "RemovalPage", "Review"];
    the_core_does_what_a_head_before_an_index_does: head_then_index::WORLD, 1000,
        ["DeleteTag", "Review", "ReviewKept"];
}

#[test]
fn wrong_variants_are_told_from_the_core() {
    differs(one_package::CALM, Variant::LoserForgotten);
    differs(two_packages::WORLD, Variant::BlobGoesWithAnyLink);
    differs(index::INDEXES, Variant::PutIgnoresChildren);
    differs(index::INDEXES, Variant::ChildGoesWithAnyParent);
    differs(referrer::WORLD, Variant::HiddenSubjectHoldsNothing);
    differs(referrer::WORLD, Variant::SubjectHoldsDeletedReferrers);
    differs(history::WORLD, Variant::UndoLeavesHidden);
    differs(package::WORLD, Variant::UploadIgnoresDeletion);
    differs(package::WORLD, Variant::RestoreAfterRemovalBegan);
}
