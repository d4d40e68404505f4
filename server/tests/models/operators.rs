//! What people do besides pushing: deleting, undoing, restoring.

use super::rows::{Clock, ITEMS, Item, Package, Removal, Set, State, TAGS};
use super::variant::Variant;
use super::world::{Action, World};

impl World {
    pub(crate) fn operators(&self, state: &State, package: u8, actions: &mut Vec<Action>) {
        let rows = &state.packages[usize::from(package)];
        if rows.live {
            self.on_content(state, package, actions);
        }
        let budget = &state.budget;
        if rows.live && budget.package_deletes > 0 {
            actions.push(Action::DeletePackage(package));
        }
        let free = !self.name_is_taken(state, package);
        let restorable = match rows.removal {
            None => false,
            Some(Removal::Waiting(_)) => true,
            Some(Removal::Begun) => self.is(Variant::RestoreAfterRemovalBegan),
            Some(Removal::Done) => false,
        };
        let nameable = free || self.is(Variant::RestoreTakesTheName);
        if budget.package_restores > 0 && !rows.live && nameable && restorable {
            actions.push(Action::RestorePackage(package));
        }
        // A new id is one that was never used; the wrong variant takes the old one.
        let new = *rows == Package::default();
        let usable = if self.is(Variant::PackageIdUsedAgain) { restorable } else { new };
        if budget.package_creates > 0 && free && usable {
            actions.push(Action::CreatePackage(package));
        }
    }

    fn on_content(&self, state: &State, package: u8, actions: &mut Vec<Action>) {
        let rows = &state.packages[usize::from(package)];
        let budget = &state.budget;
        for tag in 0..TAGS as u8 {
            if budget.tag_deletes > 0 && rows.tags[usize::from(tag)].is_some() {
                actions.push(Action::DeleteTag(package, tag));
            }
        }
        for item in Item::all() {
            if item.is_blob() {
                if budget.blob_deletes > 0 && rows.visible(item) {
                    actions.push(Action::DeleteBlob(package, item));
                }
                continue;
            }
            if budget.manifest_deletes > 0 && rows.visible(item) {
                actions.push(Action::DeleteManifest(package, item));
            }
            let there = rows.row(item).is_some() || self.is(Variant::UndoTrustsHistory);
            if budget.undos > 0 && rows.history.holds(item) && there && !rows.is_tagged(item) {
                actions.push(Action::PutTagBack(package, item));
            }
            let hidden = rows.row(item).is_some_and(|row| row.hidden.is_some());
            if budget.restores > 0 && hidden {
                actions.push(Action::Restore(package, item));
            }
            if budget.caps > 0 && rows.kept[item.index()] == Some(Clock::Running) {
                actions.push(Action::LetGoEarly(package, item));
            }
        }
    }

    fn name_is_taken(&self, state: &State, package: u8) -> bool {
        let name = self.names[usize::from(package)];
        state.packages.iter().zip(self.names).any(|(other, named)| named == name && other.live)
    }

    pub(crate) fn delete_tag(&self, state: &mut State, package: u8, tag: u8) {
        state.budget.tag_deletes -= 1;
        self.untag(state, package, tag);
    }

    fn untag(&self, state: &mut State, package: u8, tag: u8) {
        let rows = &mut state.packages[usize::from(package)];
        rows.remembered.0 &= !(1 << tag);
        let before = rows.tags[usize::from(tag)].take();
        if let Some(before) = before {
            self.keep(state, package, before);
        }
    }

    /// A client deletes a manifest or a blob by its digest: hidden, its tags removed.
    pub(crate) fn hide(&self, state: &mut State, package: u8, item: Item) {
        if item.is_blob() {
            state.budget.blob_deletes -= 1;
        } else {
            state.budget.manifest_deletes -= 1;
        }
        for tag in 0..TAGS as u8 {
            if state.packages[usize::from(package)].tags[usize::from(tag)] == Some(item) {
                self.untag(state, package, tag);
            }
        }
        let rows = &mut state.packages[usize::from(package)];
        if let Some(row) = &mut rows.rows[item.index()] {
            row.hidden = Some(Clock::Running);
        }
        rows.due.add(item);
        state.forget_promises(package, item);
    }

    /// Undo: the first tag points again to what a tag pointed to once.
    pub(crate) fn put_tag_back(&self, state: &mut State, package: u8, item: Item) {
        state.budget.undos -= 1;
        self.point(state, package, 0, item);
        let row = &mut state.packages[usize::from(package)].rows[item.index()];
        if let Some(row) = row
            && !self.is(Variant::UndoLeavesHidden)
        {
            row.hidden = None;
        }
    }

    /// A deleted manifest is shown again, and counts as confirmed from now on.
    pub(crate) fn restore(&self, state: &mut State, package: u8, item: Item) {
        state.budget.restores -= 1;
        let rows = &mut state.packages[usize::from(package)];
        if let Some(row) = &mut rows.rows[item.index()] {
            row.hidden = None;
        }
        if self.is(Variant::RestoreForgetsDue) {
            rows.due.remove(item);
        } else {
            rows.lease(item);
        }
    }

    /// The byte cap or "reclaim now" ends a kept row before its time.
    pub(crate) fn let_go_early(&self, state: &mut State, package: u8, item: Item) {
        state.budget.caps -= 1;
        self.end_kept(state, package, item);
    }

    pub(crate) fn delete_package(&self, state: &mut State, package: u8) {
        state.budget.package_deletes -= 1;
        let rows = &mut state.packages[usize::from(package)];
        rows.live = false;
        rows.removal = Some(Removal::Waiting(Clock::Running));
        rows.remembered = Set(0);
        for (number, _) in (0u8..).zip(rows.tags).filter(|(_, tag)| tag.is_some()) {
            rows.remembered.0 |= 1 << number;
        }
        if self.is(Variant::PackageFreedAtOnce) {
            (0..=ITEMS).for_each(|_| self.take_page(state, package));
        }
    }

    pub(crate) fn restore_package(&self, state: &mut State, package: u8) {
        state.budget.package_restores -= 1;
        let rows = &mut state.packages[usize::from(package)];
        rows.live = true;
        rows.removal = None;
    }

    pub(crate) fn create_package(&self, state: &mut State, package: u8) {
        state.budget.package_creates -= 1;
        state.packages[usize::from(package)].live = true;
    }
}
