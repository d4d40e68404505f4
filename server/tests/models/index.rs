//! An index and its child, which a tag or a second index may hold too; and large manifests, whose
//! edges go in pages while they are pushed again.

use super::check::{holds, refuted};
use super::properties::{L1, S1, S4, S5};
use super::rows::{BLOB, FIRST, OTHER_BLOB, SECOND, Stage, State, THIRD};
use super::variant::Variant;
use super::world::{Content, Step, World};

/// Two indexes of one image are pushed. The first is there already, with the image.
pub(crate) const INDEXES: World = {
    let mut world = World::EMPTY;
    world.contents[FIRST.index()] = Content::of(&[BLOB]);
    world.contents[SECOND.index()] = Content::of(&[FIRST]);
    world.contents[THIRD.index()] = Content::of(&[FIRST]);
    world.scripts = [
        &[
            Step::Push(BLOB),
            Step::Put { manifest: FIRST, tag: None },
            Step::Put { manifest: THIRD, tag: Some(1) },
        ],
        &[Step::Head { manifest: FIRST, there: 1 }, Step::Put { manifest: FIRST, tag: Some(0) }],
    ];
    world.prepare = |world, state| {
        state.stored(BLOB);
        world.write_manifest(state, 0, FIRST);
        world.write_manifest(state, 0, SECOND);
        world.point(state, 0, 0, SECOND);
    };
    world.budget.tag_deletes = 2;
    world.budget.manifest_deletes = 1;
    world.witnesses = &[
        ("the first index goes, the second keeps the child", |_, state| {
            let package = &state.packages[0];
            package.row(SECOND).is_none()
                && package.is_tagged(THIRD)
                && package.row(FIRST).is_some()
        }),
        ("a tag keeps the child when its index has gone", |_, state| {
            let package = &state.packages[0];
            package.row(SECOND).is_none()
                && package.row(THIRD).is_none()
                && package.is_tagged(FIRST)
        }),
        ("a deleted child stays while an index needs it", |_, state| {
            let package = &state.packages[0];
            package.row(FIRST).is_some_and(|row| row.hidden == Some(super::rows::Clock::Over))
                && !package.due.holds(FIRST)
        }),
        ("all is collected", |_, state| is_empty(state)),
    ];
    world
};

/// A manifest of two blobs is removed in pages while it is pushed again.
pub(crate) const LARGE: World = {
    let mut world = World::EMPTY;
    world.contents[FIRST.index()] = Content::of(&[BLOB, OTHER_BLOB]);
    world.contents[SECOND.index()] = Content::of(&[FIRST]);
    world.scripts = [
        &[
            Step::Push(BLOB),
            Step::Push(OTHER_BLOB),
            Step::Put { manifest: FIRST, tag: None },
            Step::Put { manifest: SECOND, tag: Some(0) },
        ],
        &[],
    ];
    world.paged = true;
    world.budget.tag_deletes = 2;
    world.budget.retries = 1;
    world.witnesses = &[
        ("a push finds the edges of its manifest half removed", |_, state| {
            let package = &state.packages[0];
            package.fans.holds(FIRST)
                && package.edges[FIRST.index()] == super::rows::Set::of(&[OTHER_BLOB])
                && state.budget.retries == 0
        }),
        ("what was being removed is there again", |_, state| {
            state.packages[0].is_tagged(SECOND) && state.budget.retries == 0
        }),
        ("all is collected", |_, state| is_empty(state)),
    ];
    world
};

fn is_empty(state: &State) -> bool {
    let package = &state.packages[0];
    package.rows.iter().all(Option::is_none)
        && package.due.is_empty()
        && package.fans.is_empty()
        && package.edges.iter().all(|edges| edges.is_empty())
        && state.clients[0].stage == Stage::Done
}

#[test]
fn an_index_keeps_its_children_and_lets_them_go() {
    holds("index", INDEXES);
}

#[test]
fn large_manifests_are_removed_in_pages_and_may_come_back_meanwhile() {
    holds("large manifest", LARGE);
}

#[test]
fn wrong_variants_of_an_index_are_refuted() {
    refuted(INDEXES, Variant::ReviewIgnoresParents, S5);
    refuted(INDEXES, Variant::ReviewIgnoresParents, S1);
    refuted(INDEXES, Variant::ChildGoesWithAnyParent, S5);
    refuted(INDEXES, Variant::PutIgnoresChildren, S1);
    refuted(INDEXES, Variant::ChildForgotten, L1);
    refuted(INDEXES, Variant::LastReferenceGivesNoLease, S4);
}

#[test]
fn wrong_variants_of_a_large_manifest_are_refuted() {
    refuted(LARGE, Variant::PutLeavesFan, S1);
    refuted(LARGE, Variant::FanForgotten, L1);
    refuted(LARGE, Variant::EdgesBeforeRow, S1);
}
