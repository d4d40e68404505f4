//! A signature (a referrer) and its subject: pushed in either order, deleted, restored.

use super::check::{holds, refuted};
use super::properties::{L1, S4, S5};
use super::rows::{BLOB, Clock, FIRST, Package, SECOND};
use super::variant::Variant;
use super::world::{Content, Step, World};

pub(crate) const WORLD: World = {
    let mut world = World::EMPTY;
    world.contents[FIRST.index()] = Content::of(&[BLOB]);
    world.contents[SECOND.index()] = Content { subject: Some(FIRST), ..Content::of(&[BLOB]) };
    world.scripts = [
        &[Step::Push(BLOB), Step::Put { manifest: FIRST, tag: Some(0) }],
        &[
            Step::Head { manifest: SECOND, there: 3 },
            Step::Push(BLOB),
            Step::Put { manifest: SECOND, tag: None },
        ],
    ];
    world.budget.tag_deletes = 1;
    world.budget.manifest_deletes = 1;
    world.budget.restores = 1;
    world.budget.retries = 1;
    world.witnesses = &[
        ("the referrer is there before its subject", |_, state| {
            let package = &state.packages[0];
            package.row(SECOND).is_some() && package.history.is_empty() && !package.is_tagged(FIRST)
        }),
        ("a subject alone keeps its referrer", |_, state| {
            is_settled(&state.packages[0]) && state.packages[0].is_tagged(FIRST)
        }),
        ("a hidden subject keeps its referrer", |_, state| {
            let package = &state.packages[0];
            let hidden = package.row(FIRST).is_some_and(|row| row.hidden == Some(Clock::Running));
            is_settled(package) && hidden
        }),
        ("the referrer outlives its subject by its lease", |_, state| {
            let package = &state.packages[0];
            package.row(FIRST).is_none()
                && package.history.holds(FIRST)
                && package.row(SECOND).is_some_and(|row| row.lease == Clock::Running)
        }),
        ("a deleted referrer goes while its subject stays", |_, state| {
            let package = &state.packages[0];
            let deleted = state.budget.manifest_deletes == 0 && package.row(SECOND).is_none();
            deleted && package.is_tagged(FIRST) && package.history.is_empty()
        }),
        ("all is collected", |_, state| {
            state.packages[0].history.holds(FIRST) && state.packages[0].rows == [None; 5]
        }),
    ];
    world
};

/// The subject is large: its edges and then its referrers come in pages after its row.
const LARGE: World = {
    let mut world = WORLD;
    world.paged = true;
    world.budget.restores = 0;
    world.witnesses = &[("a referrer waits for the last page of its subject", |_, state| {
        let package = &state.packages[0];
        package.fans.holds(FIRST) && is_settled(package)
    })];
    world
};

fn is_settled(package: &Package) -> bool {
    package.row(SECOND).is_some_and(|row| row.lease == Clock::Over) && !package.due.holds(SECOND)
}

#[test]
fn a_referrer_lives_and_falls_with_its_subject() {
    holds("referrer", WORLD);
}

#[test]
fn referrers_of_a_large_subject_fall_with_its_last_page() {
    holds("referrer of a large subject", LARGE);
}

#[test]
fn wrong_variants_of_a_referrer_are_refuted() {
    refuted(WORLD, Variant::ReviewIgnoresSubject, S5);
    refuted(WORLD, Variant::ReferrerForgotten, L1);
    refuted(WORLD, Variant::SubjectHoldsDeletedReferrers, L1);
    refuted(WORLD, Variant::HiddenSubjectHoldsNothing, S4);
    refuted(WORLD, Variant::RestoreForgetsDue, L1);
    refuted(LARGE, Variant::GoingSubjectHoldsNothing, S4);
    refuted(LARGE, Variant::ReferrerForgotten, L1);
}
