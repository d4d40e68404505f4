//! A backup takes a snapshot of the rows and then copies the objects one by one, while what it
//! copies is deleted, collected and pushed again, and the server crashes.

use super::check::{holds, refuted};
use super::properties::B1;
use super::rows::{BLOB, Doomed, FIRST, File, OTHER_BLOB, SECOND, Set};
use super::variant::Variant;
use super::world::{Content, Step, World};

const WORLD: World = {
    let mut world = World::EMPTY;
    world.contents[FIRST.index()] = Content::of(&[BLOB]);
    world.contents[SECOND.index()] = Content::of(&[OTHER_BLOB]);
    world.scripts = [&[Step::Push(BLOB), Step::Put { manifest: FIRST, tag: Some(0) }], &[]];
    world.disk = true;
    world.prepare = |world, state| {
        state.stored(BLOB);
        state.stored(OTHER_BLOB);
        for (tag, manifest) in [(0, FIRST), (1, SECOND)] {
            world.write_manifest(state, 0, manifest);
            world.point(state, 0, tag, manifest);
        }
    };
    world.budget.tag_deletes = 1;
    world.budget.retries = 1;
    world.budget.backups = 1;
    world.budget.crashes = 1;
    world.witnesses = &[
        ("a backup wants an object whose blob is forgotten", |_, state| {
            let wanted = state.backup.wanted.unwrap_or_default();
            (0u8..)
                .zip(&state.objects)
                .any(|(number, one)| wanted.has(number) && one.doomed == Some(Doomed::Collected))
        }),
        ("a server crashes under a backup", |_, state| {
            state.budget.crashes == 0 && state.backup.wanted.is_some_and(|one| one != Set(0))
        }),
        ("the object goes when the backup has ended", |_, state| {
            let over = state.budget.backups == 0 && !state.backup.pinned;
            let collected = state.packages[0].history.holds(FIRST) && state.blobs[0].is_none();
            over && collected && state.objects[0].file == File::Absent
        }),
    ];
    world
};

#[test]
fn what_a_snapshot_names_can_be_copied_while_the_pin_is_held() {
    holds("backup", WORLD);
}

#[test]
fn wrong_variants_of_a_backup_are_refuted() {
    refuted(WORLD, Variant::PurgeIgnoresPin, B1);
    refuted(WORLD, Variant::SnapshotBeforePin, B1);
    refuted(WORLD, Variant::PinEndsBeforeCopies, B1);
    refuted(WORLD, Variant::PinLostInCrash, B1);
}
