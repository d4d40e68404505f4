//! Two clients push one image to one package while its tag and its blob are deleted and everything
//! is collected; and while the machine crashes between writing, syncing and committing.

use super::check::{holds, refuted};
use super::properties::{L1, S1, S2, S4, S7};
use super::rows::{BLOB, Budget, Doomed, FIRST, File, Object, Stage, State};
use super::variant::Variant;
use super::world::{Content, Step, World};

const IMAGE: Content = Content::of(&[BLOB]);

const PUSH: &[Step] = &[Step::Push(BLOB), Step::Put { manifest: FIRST, tag: Some(0) }];

/// Somebody pushes again.
pub(crate) const CALM: World = World {
    budget: Budget { retries: 1, tag_deletes: 1, blob_deletes: 1, ..World::EMPTY.budget },
    ..WORLD
};

/// The power goes.
pub(crate) const CRASHING: World =
    World { budget: Budget { crashes: 1, tag_deletes: 1, ..World::EMPTY.budget }, ..WORLD };

const WORLD: World = {
    let mut world = World::EMPTY;
    world.contents[FIRST.index()] = IMAGE;
    world.scripts = [PUSH, PUSH];
    world.interchangeable = true;
    world.disk = true;
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
    holds("one package", CALM);
}

#[test]
fn a_crash_under_two_clients_loses_nothing() {
    holds("one package, crash", CRASHING);
}

#[test]
fn wrong_variants_on_one_package_are_refuted() {
    refuted(CALM, Variant::CollectorDecidesEarlier, S1);
    refuted(CALM, Variant::EntryDroppedLater, L1);
    refuted(CALM, Variant::ObjectNamedByDigest, S2);
    refuted(CALM, Variant::ObjectNamedByDigest, S7);
    refuted(CALM, Variant::PutChecksEarlier, S1);
    refuted(CALM, Variant::UnlinkBeforeCommit, S2);
    refuted(CRASHING, Variant::CommitBeforeSync, S2);
    refuted(CALM, Variant::HeadWithoutLease, S4);
    refuted(CALM, Variant::ReleaseForgetsDue, L1);
    refuted(CALM, Variant::UploadOntoLinkForgetsLease, S4);
    refuted(CALM, Variant::LastReferenceGivesNoLease, S4);
    refuted(CRASHING, Variant::SweepTakesUploads, S2);
    refuted(CALM, Variant::LoserForgotten, L1);
}
