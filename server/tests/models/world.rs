//! What a model consists of, and everything that can happen in it.

use super::properties;
use super::rows::{
    Budget, CLIENTS, Clock, Doomed, File, ITEMS, Item, OBJECTS, PACKAGES, Removal, Set, Stage,
    State,
};
use super::variant::Variant;
use stateright::{Model, Property};

/// What a manifest names.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Content {
    /// Blobs and child manifests.
    pub(crate) needs: Set,
    pub(crate) subject: Option<Item>,
}

impl Content {
    pub(crate) const fn of(items: &[Item]) -> Self {
        Self { needs: Set::of(items), subject: None }
    }
}

/// One request of a client, or a few that belong together.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// HEAD a blob; upload it if it is not there.
    Push(Item),
    /// Mount a blob from a package; go on whether or not that works.
    Mount { from: u8, blob: Item },
    /// HEAD a manifest; if it is there go to another step.
    Head { manifest: Item, there: u8 },
    /// PUT a manifest, with a tag or by its digest only.
    Put { manifest: Item, tag: Option<u8> },
}

/// A model: the protocol, the clients, what there is at the beginning and how much may happen.
#[derive(Clone, Copy)]
pub(crate) struct World {
    pub(crate) variant: Variant,
    /// By item; what blobs have here is not used.
    pub(crate) contents: [Content; ITEMS],
    pub(crate) scripts: [&'static [Step]; CLIENTS],
    /// The name that each client pushes to, and the name of each package id.
    pub(crate) pushes_to: [u8; CLIENTS],
    pub(crate) names: [u8; PACKAGES],
    /// The clients do the same, so that it does not matter which is which.
    pub(crate) interchangeable: bool,
    /// Follow the disk: syncing, objects, purge.
    pub(crate) disk: bool,
    /// HEAD looks and renews the lease in two transactions.
    pub(crate) head_in_two: bool,
    /// Manifests are removed row first, then edges in pages.
    pub(crate) paged: bool,
    pub(crate) budget: Budget,
    /// Changes the empty state into the one to begin with.
    pub(crate) prepare: fn(&Self, &mut State),
    pub(crate) witnesses: &'static [Witness],
    /// Look for this property only; the first state that breaks it is then the nearest one.
    pub(crate) only: Option<&'static str>,
}

/// A situation that a model must reach to be worth anything.
pub(crate) type Witness = (&'static str, fn(&World, &State) -> bool);

impl World {
    /// One package, no clients, nothing that may happen.
    pub(crate) const EMPTY: Self = Self {
        variant: Variant::Correct,
        contents: [Content { needs: Set(0), subject: None }; ITEMS],
        scripts: [&[]; CLIENTS],
        pushes_to: [0; CLIENTS],
        names: [0, 1],
        interchangeable: false,
        disk: false,
        head_in_two: false,
        paged: false,
        budget: Budget {
            retries: 0,
            tag_deletes: 0,
            manifest_deletes: 0,
            blob_deletes: 0,
            undos: 0,
            restores: 0,
            caps: 0,
            package_deletes: 0,
            package_restores: 0,
            package_creates: 0,
            crashes: 0,
            backups: 0,
        },
        prepare: |_, _| {},
        witnesses: &[],
        only: None,
    };

    pub(crate) fn is(&self, variant: Variant) -> bool {
        self.variant == variant
    }

    pub(crate) const fn content(&self, manifest: Item) -> Content {
        self.contents[manifest.index()]
    }

    /// Whether rows hold an item: an edge, and for manifests a tag, a kept row or a subject.
    pub(crate) fn is_held(&self, state: &State, package: u8, item: Item) -> bool {
        let rows = &state.packages[usize::from(package)];
        rows.has_edge_to(item)
            || rows.is_tagged(item)
            || rows.kept[item.index()].is_some()
            || self.has_subject(state, package, item)
    }

    /// Whether a referrer's subject holds it: it is there, hidden or not, or its last pages are
    /// still to come. A referrer that a client has deleted is not held.
    pub(crate) fn has_subject(&self, state: &State, package: u8, item: Item) -> bool {
        let rows = &state.packages[usize::from(package)];
        let Some(subject) = self.content(item).subject else { return false };
        let there = if self.is(Variant::HiddenSubjectHoldsNothing) {
            rows.visible(subject)
        } else {
            rows.row(subject).is_some()
        };
        let going = rows.fans.holds(subject) && !self.is(Variant::GoingSubjectHoldsNothing);
        (there || going) && (rows.visible(item) || self.is(Variant::SubjectHoldsDeletedReferrers))
    }
}

/// Everything that can happen. A number is a package's id unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// A client, by its place, does what comes next for it.
    Client(u8),

    // Time.
    LeaseEnds(u8, Item),
    HidingEnds(u8, Item),
    KeptEnds(u8, Item),
    PackageKeepEnds(u8),

    // Others who have the right to.
    DeleteTag(u8, u8),
    DeleteManifest(u8, Item),
    DeleteBlob(u8, Item),
    PutTagBack(u8, Item),
    Restore(u8, Item),
    LetGoEarly(u8, Item),
    DeletePackage(u8),
    RestorePackage(u8),
    CreatePackage(u8),

    // The collector.
    Review(u8, Item),
    ReviewKept(u8, Item),
    /// Does what was decided; wrong variants only.
    Carry,
    FanPage(u8, Item),
    RemovalPage(u8),
    /// Of an object.
    Unlink(u8),
    Forget(u8),

    // The machine.
    Crash,
    Sweep,
    Backup,
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut state = State { budget: self.budget, ..State::default() };
        for (client, script) in state.clients.iter_mut().zip(self.scripts) {
            if script.is_empty() {
                client.stage = Stage::Done;
            }
        }
        state.packages[0].live = true;
        (self.prepare)(self, &mut state);
        self.settle(&mut state);
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        (0..CLIENTS as u8).filter(|one| self.can_go_on(state, *one)).for_each(|one| {
            actions.push(Action::Client(one));
        });
        for package in 0..PACKAGES as u8 {
            time(state, package, actions);
            self.operators(state, package, actions);
            self.collector(state, package, actions);
        }
        if state.decided.is_some() {
            actions.push(Action::Carry);
        }
        self.machine(state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = *last;
        match action {
            Action::Client(one) => self.client(&mut state, one),
            Action::LeaseEnds(..)
            | Action::HidingEnds(..)
            | Action::KeptEnds(..)
            | Action::PackageKeepEnds(_) => pass(&mut state, action),
            Action::DeleteTag(package, tag) => self.delete_tag(&mut state, package, tag),
            Action::DeleteManifest(package, item) => self.hide(&mut state, package, item),
            Action::DeleteBlob(package, item) => self.hide(&mut state, package, item),
            Action::PutTagBack(package, item) => self.put_tag_back(&mut state, package, item),
            Action::Restore(package, item) => self.restore(&mut state, package, item),
            Action::LetGoEarly(package, item) => self.let_go_early(&mut state, package, item),
            Action::DeletePackage(package) => self.delete_package(&mut state, package),
            Action::RestorePackage(package) => self.restore_package(&mut state, package),
            Action::CreatePackage(package) => self.create_package(&mut state, package),
            Action::Review(package, item) => self.review(&mut state, package, item),
            Action::ReviewKept(package, item) => self.end_kept(&mut state, package, item),
            Action::Carry => self.carry(&mut state),
            Action::FanPage(package, item) => self.fan_page(&mut state, package, item),
            Action::RemovalPage(package) => self.removal_page(&mut state, package),
            Action::Unlink(object) => unlink(&mut state, object),
            Action::Forget(object) => state.objects[usize::from(object)].doomed = None,
            Action::Crash => self.crash(&mut state),
            Action::Sweep => self.sweep(&mut state),
            Action::Backup => self.backup(&mut state),
        }
        self.settle(&mut state);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = properties::always();
        if let Some(only) = self.only {
            all.retain(|one| one.name == only);
            return all;
        }
        all.extend(self.witnesses.iter().map(|(name, met)| Property::sometimes(name, *met)));
        all
    }
}

/// What the clock can do to the rows of a package.
fn time(state: &State, package: u8, actions: &mut Vec<Action>) {
    let rows = &state.packages[usize::from(package)];
    for item in Item::all() {
        if let Some(row) = rows.row(item) {
            if row.lease == Clock::Running {
                actions.push(Action::LeaseEnds(package, item));
            }
            if row.hidden == Some(Clock::Running) {
                actions.push(Action::HidingEnds(package, item));
            }
        }
        if rows.kept[item.index()] == Some(Clock::Running) {
            actions.push(Action::KeptEnds(package, item));
        }
    }
    if rows.removal == Some(Removal::Waiting(Clock::Running)) {
        actions.push(Action::PackageKeepEnds(package));
    }
}

fn pass(state: &mut State, action: Action) {
    match action {
        Action::LeaseEnds(package, item) => {
            if let Some(row) = &mut state.packages[usize::from(package)].rows[item.index()] {
                row.lease = Clock::Over;
            }
            // A promise lasts as long as a lease and began no later than it.
            state.forget_promises(package, item);
        }
        Action::HidingEnds(package, item) => {
            if let Some(row) = &mut state.packages[usize::from(package)].rows[item.index()] {
                row.hidden = Some(Clock::Over);
            }
        }
        Action::KeptEnds(package, item) => {
            state.packages[usize::from(package)].kept[item.index()] = Some(Clock::Over);
        }
        Action::PackageKeepEnds(package) => {
            state.packages[usize::from(package)].removal = Some(Removal::Waiting(Clock::Over));
        }
        _ => unreachable!("only time passes"),
    }
}

fn unlink(state: &mut State, object: u8) {
    state.misused |= state.blobs.contains(&Some(object));
    let safe = state.is_safe_from_crashes();
    let freed = &mut state.objects[usize::from(object)];
    freed.file = File::Absent;
    if safe {
        // Nobody can tell when its row went.
        freed.doomed = None;
    }
}

impl World {
    /// Makes one state of those that differ in nothing that matters.
    fn settle(&self, state: &mut State) {
        let last = *state;
        // A lease under a holder is not followed. Whoever loses the last holder gets a fresh one,
        // and until then the worst is assumed: it has ended long ago, and a client has just been
        // told again that the item is there.
        for (id, package) in (0u8..).zip(last.packages) {
            for item in Item::all().filter(|one| package.row(*one).is_some()) {
                let rows = &mut state.packages[usize::from(id)].rows;
                if let Some(row) = &mut rows[item.index()]
                    && self.is_held(&last, id, item)
                {
                    row.lease = Clock::Over;
                }
            }
        }
        if self.interchangeable {
            state.clients.sort_unstable();
        }
    }

    fn machine(&self, state: &State, actions: &mut Vec<Action>) {
        let pinned = state.backup.pinned && !self.is(Variant::PurgeIgnoresPin);
        for (number, object) in (0..OBJECTS as u8).zip(&state.objects) {
            match object.doomed {
                Some(_) if object.file == File::Absent => actions.push(Action::Forget(number)),
                Some(Doomed::Loser) => actions.push(Action::Unlink(number)),
                Some(Doomed::Collected) if !pinned => actions.push(Action::Unlink(number)),
                _ => {}
            }
        }
        if state.budget.crashes > 0 {
            actions.push(Action::Crash);
        }
        if state.unswept {
            actions.push(Action::Sweep);
        }
        let begun = state.backup.pinned || state.backup.wanted.is_some();
        if begun || state.budget.backups > 0 {
            actions.push(Action::Backup);
        }
    }
}
