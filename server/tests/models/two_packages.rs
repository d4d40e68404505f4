//! Two clients push one image to two packages that share its blob; one of them mounts it.

use super::check::{holds, refuted};
use super::properties::{L1, S2, S4};
use super::rows::{BLOB, FIRST, File, Stage};
use super::variant::Variant;
use super::world::{Content, Step, World};

const PUSH: &[Step] = &[Step::Push(BLOB), Step::Put { manifest: FIRST, tag: Some(0) }];
const MOUNT: &[Step] = &[
    Step::Mount { from: 0, blob: BLOB },
    Step::Push(BLOB),
    Step::Put { manifest: FIRST, tag: Some(0) },
];

pub(crate) const WORLD: World = {
    let mut world = World::EMPTY;
    world.contents[FIRST.index()] = Content::of(&[BLOB]);
    world.scripts = [PUSH, MOUNT];
    world.pushes_to = [0, 1];
    world.disk = true;
    world.prepare = |_, state| state.packages[1].live = true;
    world.budget.tag_deletes = 2;
    world.budget.blob_deletes = 1;
    world.witnesses = &[
        ("a mount needs no upload", |_, state| {
            state.clients[1].stage == Stage::Done && state.next_object == 1
        }),
        ("one package lets the blob go, the other has it", |_, state| {
            let [first, second] = &state.packages;
            let gone = first.row(BLOB).is_none() && first.history.holds(FIRST);
            gone && second.is_tagged(FIRST)
        }),
        ("the blob goes with its last link", |_, state| {
            let told = state.packages.iter().all(|one| one.history.holds(FIRST));
            told && state.objects.iter().all(|one| one.file == File::Absent)
        }),
    ];
    world
};

#[test]
fn two_packages_that_share_a_blob_lose_nothing() {
    holds("two packages", WORLD);
}

#[test]
fn wrong_variants_on_two_packages_are_refuted() {
    refuted(WORLD, Variant::MountInTwoTransactions, S2);
    refuted(WORLD, Variant::MountForgetsDue, L1);
    refuted(WORLD, Variant::BlobGoesWithAnyLink, S2);
    refuted(WORLD, Variant::HeadWithoutLease, S4);
}
