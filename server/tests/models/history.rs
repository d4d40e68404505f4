//! What tags let go is kept: a tag is overwritten, deleted, put back, and the byte cap or "reclaim
//! now" ends a kept row before its time.

use super::check::{holds, refuted};
use super::properties::{K, L1, S3, S4, S5};
use super::rows::{BLOB, Clock, FIRST, SECOND, Stage};
use super::variant::Variant;
use super::world::{Content, Step, World};

pub(crate) const WORLD: World = {
    let mut world = World::EMPTY;
    world.contents[FIRST.index()] = Content::of(&[BLOB]);
    world.contents[SECOND.index()] = Content::of(&[BLOB]);
    world.scripts = [
        &[
            Step::Push(BLOB),
            Step::Put { manifest: FIRST, tag: Some(0) },
            Step::Push(BLOB),
            Step::Put { manifest: SECOND, tag: Some(0) },
        ],
        &[Step::Head { manifest: FIRST, there: 1 }],
    ];
    world.budget.tag_deletes = 1;
    world.budget.manifest_deletes = 1;
    world.budget.undos = 1;
    world.budget.caps = 1;
    world.witnesses = &[
        ("an overwritten tag is put back", |_, state| {
            state.packages[0].is_tagged(FIRST) && state.packages[0].history.holds(SECOND)
        }),
        ("a deleted manifest comes back with its tag", |_, state| {
            let package = &state.packages[0];
            let deleted = state.budget.manifest_deletes == 0 && state.budget.tag_deletes == 1;
            deleted && state.budget.undos == 0 && package.is_tagged(SECOND)
        }),
        ("the end of keep lets a manifest go", |_, state| {
            let package = &state.packages[0];
            package.history.holds(FIRST) && package.row(FIRST).is_none()
        }),
        ("the cap ends a kept row early", |_, state| {
            let package = &state.packages[0];
            let early = state.budget.caps == 0 && package.kept[FIRST.index()].is_none();
            early && package.row(FIRST).is_some_and(|row| row.lease == Clock::Running)
        }),
        ("all is collected", |_, state| {
            state.packages[0].rows == [None; 5] && state.clients[0].stage == Stage::Done
        }),
    ];
    world
};

#[test]
fn what_a_tag_let_go_can_be_had_again_inside_keep() {
    holds("history", WORLD);
}

#[test]
fn wrong_variants_of_history_are_refuted() {
    refuted(WORLD, Variant::ReviewIgnoresKept, K);
    refuted(WORLD, Variant::ReviewIgnoresKept, S5);
    refuted(WORLD, Variant::UndoTrustsHistory, S3);
    refuted(WORLD, Variant::UndoLeavesHidden, S3);
    refuted(WORLD, Variant::KeptEndsWithoutDue, L1);
    refuted(WORLD, Variant::CapGivesNoLease, S4);
}
