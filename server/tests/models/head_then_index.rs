//! A client that is told that a child manifest is there can push the index within the lease.
//! HEAD looks in one transaction and renews in another, as the server does.

use super::check::{holds, refuted};
use super::properties::S4;
use super::rows::{BLOB, FIRST, SECOND, Stage};
use super::variant::Variant;
use super::world::{Content, Step, World};

pub(crate) const WORLD: World = {
    let mut world = World::EMPTY;
    world.contents[FIRST.index()] = Content::of(&[BLOB]);
    world.contents[SECOND.index()] = Content::of(&[FIRST]);
    world.scripts = [
        &[
            Step::Head { manifest: FIRST, there: 3 },
            Step::Push(BLOB),
            Step::Put { manifest: FIRST, tag: None },
            Step::Put { manifest: SECOND, tag: Some(0) },
        ],
        &[Step::Push(BLOB), Step::Put { manifest: FIRST, tag: Some(1) }],
    ];
    world.head_in_two = true;
    world.budget.tag_deletes = 2;
    world.budget.retries = 1;
    world.witnesses = &[
        ("an index is pushed onto a child that was only looked for", |_, state| {
            let package = &state.packages[0];
            package.is_tagged(SECOND)
                && state.clients[0].promised[0].holds(FIRST)
                && !state.clients[0].promised[0].holds(BLOB)
        }),
        ("the child goes between the look and the renewal", |_, state| {
            state.clients[0].stage == Stage::Looked
                && state.clients[0].step == 0
                && state.packages[0].row(FIRST).is_none()
        }),
        ("a client is too slow and begins again", |_, state| {
            state.clients[0].stage == Stage::Refused && state.budget.retries == 1
        }),
    ];
    world
};

#[test]
fn a_child_that_was_confirmed_is_there_for_its_index() {
    holds("HEAD, then index", WORLD);
}

#[test]
fn wrong_variants_of_head_are_refuted() {
    refuted(WORLD, Variant::ManifestHeadWithoutLease, S4);
    refuted(WORLD, Variant::HeadWithoutLease, S4);
    refuted(WORLD, Variant::HeadIgnoresFailedRenewal, S4);
    refuted(WORLD, Variant::PutOntoManifestForgetsLease, S4);
}
