//! The collector: reviews of what is due, fans, and the removal of deleted packages.

use super::rows::{Clock, Doomed, File, Item, Removal, Set, State, TAGS};
use super::variant::Variant;
use super::world::{Action, World};

impl World {
    pub(crate) fn collector(&self, state: &State, package: u8, actions: &mut Vec<Action>) {
        let rows = &state.packages[usize::from(package)];
        for item in Item::all() {
            // What would only be put off until later is no step.
            let waits = rows.row(item).is_some_and(|row| {
                row.lease == Clock::Running || row.hidden == Some(Clock::Running)
            });
            let held = self.review_sees_holder(state, package, item);
            if rows.due.holds(item) && (held || !waits) && state.decided.is_none() {
                actions.push(Action::Review(package, item));
            }
            if rows.due_kept.holds(item) && rows.kept[item.index()] == Some(Clock::Over) {
                actions.push(Action::ReviewKept(package, item));
            }
            if rows.fans.holds(item) {
                actions.push(Action::FanPage(package, item));
            }
        }
        if matches!(rows.removal, Some(Removal::Waiting(Clock::Over) | Removal::Begun)) {
            actions.push(Action::RemovalPage(package));
        }
    }

    fn review_sees_holder(&self, state: &State, package: u8, item: Item) -> bool {
        let rows = &state.packages[usize::from(package)];
        let looks_for_parents = item.is_blob() || !self.is(Variant::ReviewIgnoresParents);
        (looks_for_parents && rows.has_edge_to(item))
            || rows.is_tagged(item)
            || (rows.kept[item.index()].is_some() && !self.is(Variant::ReviewIgnoresKept))
            || (self.has_subject(state, package, item) && !self.is(Variant::ReviewIgnoresSubject))
    }

    /// Looks at an item again: its entry goes if something holds it, it goes if nothing does.
    pub(crate) fn review(&self, state: &mut State, package: u8, item: Item) {
        let held = self.review_sees_holder(state, package, item);
        let rows = &mut state.packages[usize::from(package)];
        if held && self.is(Variant::EntryDroppedLater) {
            state.decided = Some((package, item));
            return;
        }
        if held || rows.row(item).is_none() {
            rows.due.remove(item);
            return;
        }
        if self.is(Variant::CollectorDecidesEarlier) {
            state.decided = Some((package, item));
        } else if self.is(Variant::UnlinkBeforeCommit)
            && item.is_blob()
            && !state.linked_elsewhere(package, item)
            && let Some(object) = state.blobs[item.index()]
        {
            state.objects[usize::from(object)].file = File::Absent;
            state.decided = Some((package, item));
        } else {
            self.take(state, package, item);
        }
    }

    pub(crate) fn carry(&self, state: &mut State) {
        let Some((package, item)) = state.decided.take() else { return };
        if self.is(Variant::EntryDroppedLater) {
            state.packages[usize::from(package)].due.remove(item);
        } else {
            self.take(state, package, item);
        }
    }

    fn take(&self, state: &mut State, package: u8, item: Item) {
        if item.is_blob() {
            self.take_link(state, package, item);
        } else if self.is(Variant::EdgesBeforeRow) && self.take_edge(state, package, item) {
            // The entry stays, for the next page.
        } else {
            state.took_live |= self.is_needed(state, package, item);
            self.take_manifest(state, package, item);
        }
    }

    fn take_link(&self, state: &mut State, package: u8, blob: Item) {
        let rows = &mut state.packages[usize::from(package)];
        rows.rows[blob.index()] = None;
        rows.due.remove(blob);
        if state.linked_elsewhere(package, blob) && !self.is(Variant::BlobGoesWithAnyLink) {
            return;
        }
        if let Some(object) = state.blobs[blob.index()].take()
            && self.disk
        {
            state.objects[usize::from(object)].doomed = Some(Doomed::Collected);
        }
    }

    /// What really needs a manifest, read from contents and not from the rows that reviews read.
    fn is_needed(&self, state: &State, package: u8, manifest: Item) -> bool {
        let rows = &state.packages[usize::from(package)];
        let child = Item::manifests()
            .any(|parent| rows.row(parent).is_some() && self.content(parent).needs.holds(manifest));
        let subject = self.content(manifest).subject.is_some_and(|one| rows.row(one).is_some());
        child
            || rows.is_tagged(manifest)
            || rows.kept[manifest.index()] == Some(Clock::Running)
            || (subject && rows.visible(manifest))
    }

    fn take_manifest(&self, state: &mut State, package: u8, manifest: Item) {
        let rows = &mut state.packages[usize::from(package)];
        rows.rows[manifest.index()] = None;
        rows.due.remove(manifest);
        if !self.paged {
            while self.take_edge(state, package, manifest) {}
            self.leave_referrers(state, package, manifest);
        } else if !self.is(Variant::FanForgotten) {
            rows.fans.add(manifest);
        }
    }

    fn leave_referrers(&self, state: &mut State, package: u8, subject: Item) {
        for referrer in Item::manifests() {
            if self.content(referrer).subject == Some(subject)
                && !self.is(Variant::ReferrerForgotten)
            {
                self.lost_holder(state, package, referrer);
            }
        }
    }

    /// Removes one edge of a manifest, if there is one.
    fn take_edge(&self, state: &mut State, package: u8, manifest: Item) -> bool {
        let rows = &mut state.packages[usize::from(package)];
        let edges = &mut rows.edges[manifest.index()];
        let Some(child) = edges.first() else { return false };
        edges.remove(child);
        if self.is(Variant::ChildGoesWithAnyParent) && !child.is_blob() {
            for edges in &mut rows.edges {
                edges.remove(child);
            }
        }
        if child.is_blob() || !self.is(Variant::ChildForgotten) {
            self.lost_holder(state, package, child);
        }
        true
    }

    /// Gives what has lost a holder a fresh lease and a due entry, unless something else holds it.
    fn lost_holder(&self, state: &mut State, package: u8, item: Item) {
        if self.is_held(state, package, item) {
            return;
        }
        let rows = &mut state.packages[usize::from(package)];
        rows.lease(item);
        if self.is(Variant::LastReferenceGivesNoLease)
            && let Some(row) = &mut rows.rows[item.index()]
        {
            row.lease = Clock::Over;
        }
    }

    pub(crate) fn end_kept(&self, state: &mut State, package: u8, item: Item) {
        let rows = &mut state.packages[usize::from(package)];
        let early = rows.kept[item.index()] == Some(Clock::Running);
        rows.kept[item.index()] = None;
        rows.due_kept.remove(item);
        if self.is(Variant::KeptEndsWithoutDue) {
            return;
        }
        self.lost_holder(state, package, item);
        let held = self.is_held(state, package, item);
        if early
            && !held
            && self.is(Variant::CapGivesNoLease)
            && let Some(row) = &mut state.packages[usize::from(package)].rows[item.index()]
        {
            row.lease = Clock::Over;
        }
    }

    /// One page of a manifest whose row is gone: an edge, and with the last page its referrers.
    pub(crate) fn fan_page(&self, state: &mut State, package: u8, manifest: Item) {
        if !self.take_edge(state, package, manifest) {
            state.packages[usize::from(package)].fans.remove(manifest);
            self.leave_referrers(state, package, manifest);
        }
    }

    pub(crate) fn removal_page(&self, state: &mut State, package: u8) {
        let rows = &mut state.packages[usize::from(package)];
        rows.removal = Some(Removal::Begun);
        if rows.is_going() {
            Item::all().for_each(|item| state.forget_promises(package, item));
        }
        self.take_page(state, package);
    }

    /// One page of a package that goes: tags and history, then manifests, then links, then itself.
    pub(crate) fn take_page(&self, state: &mut State, package: u8) {
        let rows = &mut state.packages[usize::from(package)];
        let has_names = rows.tags.iter().any(Option::is_some) || !rows.history.is_empty();
        if has_names {
            rows.tags = [None; TAGS];
            rows.history = Set::default();
            rows.kept = Default::default();
            rows.due_kept = Set::default();
            return;
        }
        let manifest = Item::manifests()
            .find(|one| rows.row(*one).is_some() || !rows.edges[one.index()].is_empty());
        if let Some(manifest) = manifest {
            rows.rows[manifest.index()] = None;
            rows.edges[manifest.index()] = Set::default();
            rows.fans.remove(manifest);
            rows.due.remove(manifest);
            return;
        }
        if let Some(blob) = Item::all().find(|one| rows.row(*one).is_some()) {
            self.take_link(state, package, blob);
            return;
        }
        if rows.removal == Some(Removal::Begun) {
            rows.removal = Some(Removal::Done);
        }
    }
}
