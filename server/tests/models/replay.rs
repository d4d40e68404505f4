//! Walks through the models, replayed on the real core.

mod clients;
mod collecting;
mod compare;
mod core;
mod deadlines;
mod operators;
mod seeded;
mod walk;

use crate::rows::Budget;
use crate::world::World;
use crate::{head_then_index, history, index, one_package, package, referrer, two_packages};
use seeded::{Seeded, rounds, say, seed};
use standpipe_server::domain::WorkspaceSettings;
use std::collections::BTreeMap;
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

fn replay(name: &str, world: World, walks: u64) {
    let world = longer(world);
    let seed = seed(name);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut met: BTreeMap<&str, u64> = world.witnesses.iter().map(|one| (one.0, 0)).collect();
    let (mut taken, mut steps) = (BTreeMap::<String, u64>::new(), 0);
    for number in 0..rounds(walks) {
        let mut random = Seeded::of(seed, number);
        let settings = settings(&mut random);
        let length = 8 + random.below(24);
        let mut walk = runtime.block_on(Walk::new(world, random, settings));
        let mut seen = std::collections::BTreeSet::new();
        let done = runtime.block_on(async {
            walk.prepare().await?;
            for _ in 0..length {
                walk.step().await?;
                let now = world.witnesses.iter().filter(|one| one.1(&world, &walk.state));
                seen.extend(now.map(|one| one.0));
            }
            walk.finish().await
        });
        if let Err(why) = done {
            let trace: String = walk.trace.iter().map(|(at, one)| format!("{at} {one:?}\n")).collect();
            let (state, clocks) = (&walk.state, &walk.core.settings);
            panic!(
                "{name}, STANDPIPE_SEED={seed}, walk {number}: {why}\n{clocks:?}\n{trace}{state:?}"
            );
        }
        for witness in seen {
            *met.entry(witness).or_default() += 1;
        }
        for (_, action) in &walk.trace {
            let name = format!("{action:?}");
            let name = name.split('(').next().unwrap_or_default().to_owned();
            *taken.entry(name).or_default() += 1;
        }
        steps += length;
    }
    say(&format!("{name}: {steps} moves; {taken:?}; {met:#?}"));
}

macro_rules! replays {
    ($($name:ident: $world:expr, $walks:expr;)*) => {$(
        #[test]
        fn $name() {
            replay(stringify!($name), $world, $walks);
        }
    )*};
}

replays! {
    the_core_does_what_one_package_does: one_package::CALM, 1500;
    the_core_does_what_one_package_does_through_crashes: one_package::CRASHING, 200;
    the_core_does_what_two_packages_do: two_packages::WORLD, 1500;
    the_core_does_what_indexes_do: index::INDEXES, 1500;
    the_core_does_what_an_image_of_two_blobs_does: index::LARGE, 1000;
    the_core_does_what_a_referrer_does: referrer::WORLD, 1500;
    the_core_does_what_history_does: history::WORLD, 1500;
    the_core_does_what_a_package_does: package::WORLD, 1500;
    the_core_does_what_a_head_before_an_index_does: head_then_index::WORLD, 1500;
}
