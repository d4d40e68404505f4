//! The steps of a history, and how they are drawn.

use super::operation::{Operation, operation, tag, thing};
use super::universe::{MANIFESTS, Thing};
use proptest::prelude::*;

/// One step.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Work(Work),
    /// A whole push: what is missing, then the manifest with a tag.
    Push {
        name: u8,
        manifest: u8,
        tag: u8,
    },
    /// The n-th call to the disk fails while it is done.
    Faulty {
        work: Work,
        fault: Fault,
        call: u64,
        seed: u64,
    },
    Reclaim {
        name: u8,
        what: Reclaimed,
    },
    ReclaimDeleted(u8),
    /// Seconds.
    Advance(u64),
    Restart(Wall),
    PowerLoss {
        seed: u64,
        wall: Wall,
    },
    /// Everything runs out.
    Settle,
    /// Everything runs out, something is deleted, and everything runs out again.
    Preview {
        name: u8,
        what: Selected,
    },
}

/// What the storage may fail at.
#[derive(Clone, Debug)]
pub(super) enum Work {
    Do(Operation),
    Collect { entries: usize, rows: u64 },
    Round,
}

/// How it fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    /// The disk is dead from then on, and then the power is lost.
    Crash,
    /// No space, once.
    Full,
}

/// What is reclaimed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Reclaimed {
    All,
    Tag(u8),
    Thing(Thing),
}

/// What the wall clock says when the server starts again, in hours from what it was.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wall {
    Right,
    Back(u8),
    Ahead(u8),
}

/// What is deleted after a preview.
#[derive(Clone, Debug)]
pub(super) enum Selected {
    Tags(Vec<u8>),
    Manifest(u8),
    Package,
}

fn work() -> impl Strategy<Value = Work> {
    prop_oneof![
        5 => operation().prop_map(Work::Do),
        2 => (1..12usize, 1..100u64).prop_map(|(entries, rows)| Work::Collect { entries, rows }),
        1 => Just(Work::Round),
    ]
}

fn wall() -> impl Strategy<Value = Wall> {
    prop_oneof![
        2 => Just(Wall::Right),
        1 => any::<u8>().prop_map(Wall::Back),
        1 => any::<u8>().prop_map(Wall::Ahead),
    ]
}

fn time() -> impl Strategy<Value = Step> {
    let seconds = prop_oneof![1..3600u64, 3600..30 * 3600u64, 86_400..9 * 86_400u64];
    seconds.prop_map(Step::Advance)
}

fn reclaim() -> impl Strategy<Value = Step> {
    let what = prop_oneof![
        Just(Reclaimed::All),
        tag().prop_map(Reclaimed::Tag),
        thing().prop_map(Reclaimed::Thing),
    ];
    prop_oneof![
        3 => (0..3u8, what).prop_map(|(name, what)| Step::Reclaim { name, what }),
        1 => any::<u8>().prop_map(Step::ReclaimDeleted),
    ]
}

fn preview() -> impl Strategy<Value = Step> {
    let what = prop_oneof![
        3 => prop::collection::btree_set(tag(), 1..3)
            .prop_map(|tags| Selected::Tags(tags.into_iter().collect())),
        2 => (0..MANIFESTS).prop_map(Selected::Manifest),
        1 => Just(Selected::Package),
    ];
    (0..2u8, what).prop_map(|(name, what)| Step::Preview { name, what })
}

fn faulty() -> impl Strategy<Value = Step> {
    let fault = prop_oneof![Just(Fault::Crash), Just(Fault::Full)];
    (work(), fault, 1..40u64, any::<u64>()).prop_map(|(work, fault, call, seed)| Step::Faulty {
        work,
        fault,
        call,
        seed,
    })
}

fn push() -> impl Strategy<Value = Step> {
    (0..2u8, 0..MANIFESTS, tag()).prop_map(|(name, manifest, tag)| Step::Push {
        name,
        manifest,
        tag,
    })
}

/// Steps of a server that nothing befalls but restarts.
pub(super) fn calm() -> impl Strategy<Value = Step> {
    prop_oneof![
        40 => work().prop_map(Step::Work),
        12 => push(),
        8 => time(),
        3 => reclaim(),
        2 => wall().prop_map(Step::Restart),
        1 => Just(Step::Settle),
        2 => preview(),
    ]
}

/// The same with storage that fails and power that goes.
pub(super) fn stormy() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => calm(),
        5 => faulty(),
        1 => (any::<u64>(), wall()).prop_map(|(seed, wall)| Step::PowerLoss { seed, wall }),
    ]
}
