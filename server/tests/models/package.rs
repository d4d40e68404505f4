//! A package is deleted, restored, or created again under its name while a client pushes to it.

use super::check::{holds, refuted};
use super::properties::{K, L1, N, S4};
use super::rows::{BLOB, FIRST, Removal, Stage};
use super::variant::Variant;
use super::world::{Content, Step, World};

pub(crate) const WORLD: World = {
    let mut world = World::EMPTY;
    world.contents[FIRST.index()] = Content::of(&[BLOB]);
    let push: &[Step] = &[Step::Push(BLOB), Step::Put { manifest: FIRST, tag: Some(0) }];
    world.scripts = [push, push];
    world.interchangeable = true;
    world.names = [0, 0];
    world.disk = true;
    world.budget.tag_deletes = 1;
    world.budget.package_deletes = 1;
    world.budget.package_restores = 1;
    world.budget.package_creates = 1;
    world.witnesses = &[
        ("a deleted package comes back with its tag", |_, state| {
            let package = &state.packages[0];
            package.live && package.remembered.has(0) && package.is_tagged(FIRST)
        }),
        ("an upload ends after its package was deleted", |_, state| {
            state.packages[0].removal.is_some()
                && state.clients.iter().any(|one| one.stage == Stage::Refused)
        }),
        ("a new package under the name has the image while the old one waits", |_, state| {
            let [old, new] = &state.packages;
            matches!(old.removal, Some(Removal::Waiting(_)))
                && old.is_tagged(FIRST)
                && new.is_tagged(FIRST)
        }),
        ("the old package is removed, the new one has the image", |_, state| {
            let [old, new] = &state.packages;
            old.removal == Some(Removal::Done) && new.is_tagged(FIRST)
        }),
    ];
    world
};

#[test]
fn a_deleted_package_is_whole_until_it_goes_and_never_takes_its_successor_along() {
    holds("package", WORLD);
}

#[test]
fn wrong_variants_of_packages_are_refuted() {
    refuted(WORLD, Variant::PackageFreedAtOnce, K);
    refuted(WORLD, Variant::PackageIdUsedAgain, S4);
    refuted(WORLD, Variant::RestoreAfterRemovalBegan, K);
    refuted(WORLD, Variant::RestoreTakesTheName, N);
    refuted(WORLD, Variant::UploadIgnoresDeletion, L1);
}
