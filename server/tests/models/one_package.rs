//! Two clients push one image to one package while its tag is deleted, everything is collected,
//! and the machine crashes. The only model that follows syncing and the start-up sweep.

use super::check::{holds, refuted};
use super::properties::{L1, S1, S2, S4, S7};
use super::rows::{BLOB, Doomed, FIRST, File, Object, Stage, State};
use super::variant::Variant;
use super::world::{Content, Step, World};

const IMAGE: Content = Content::of(&[BLOB]);

const PUSH: &[Step] = &[Step::Push(BLOB), Step::Put { manifest: FIRST, tag: Some(0) }];

const WORLD: World = {
    let mut world = World::EMPTY;
    world.contents[FIRST.index()] = IMAGE;
    world.scripts = [PUSH, PUSH];
    world.interchangeable = true;
    world.budget.retries = 1;
    world.disk = true;
    world.budget.tag_deletes = 1;
    world.budget.crashes = 1;
    world.witnesses = &[
        ("both clients have pushed", |_, state| {
            state.clients.iter().all(|one| one.stage == Stage::Done)
        }),
        ("all is collected after a push", |_, state| state.next_object > 0 && is_empty(state)),
        ("a blob comes back while its old object waits", |_, state| {
            let waits =
                |one: &Object| one.doomed == Some(Doomed::Collected) && one.file != File::Absent;
            state.objects.iter().any(waits) && state.blobs[0].is_some()
        }),
    ];
    world
};

fn is_empty(state: &State) -> bool {
    let package = &state.packages[0];
    package.rows.iter().all(Option::is_none)
        && package.due.is_empty()
        && state.objects.iter().all(|one| one.file == File::Absent && one.doomed.is_none())
        && state.clients.iter().all(|one| one.stage == Stage::Done)
}

#[test]
fn two_clients_on_one_package_lose_nothing() {
    holds("one package", WORLD);
}

#[test]
fn wrong_variants_on_one_package_are_refuted() {
    refuted(WORLD, Variant::CollectorDecidesEarlier, S1);
    refuted(WORLD, Variant::ObjectNamedByDigest, S2);
    refuted(WORLD, Variant::ObjectNamedByDigest, S7);
    refuted(WORLD, Variant::PutChecksEarlier, S1);
    refuted(WORLD, Variant::UnlinkBeforeCommit, S2);
    refuted(WORLD, Variant::CommitBeforeSync, S2);
    refuted(WORLD, Variant::HeadWithoutLease, S4);
    refuted(WORLD, Variant::ReleaseForgetsDue, L1);
    refuted(WORLD, Variant::UploadOntoLinkForgetsLease, S4);
    refuted(WORLD, Variant::LastReferenceGivesNoLease, S4);
    refuted(WORLD, Variant::SweepTakesUploads, S2);
    refuted(WORLD, Variant::LoserForgotten, L1);
}
