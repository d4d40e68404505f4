//! When the model's clocks are over, told from what was done and never from what the core says.

use crate::rows::{ITEMS, Item, OBJECTS, PACKAGES, State};
use crate::world::{Action, World};
use standpipe_server::domain::Timestamp;
use std::time::Duration;

/// When an entry of a deleted package is looked at again at the latest, if that is soon.
const LATER: Duration = Duration::from_secs(60);

/// What a tag let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kept {
    pub(super) manifest: Item,
    pub(super) tag: u8,
    pub(super) until: Timestamp,
}

#[derive(Clone, Debug, Default)]
pub(super) struct OfPackage {
    pub(super) lease: [Timestamp; ITEMS],
    /// What a writer was told about held items covers them until then (`PackageRow.confirmed`).
    pub(super) confirmed: Timestamp,
    pub(super) hidden: [Timestamp; ITEMS],
    pub(super) kept: Vec<Kept>,
    pub(super) removal: Timestamp,
    /// Until then its entries may have been put off, for a reason that is not theirs.
    pub(super) put_off: Timestamp,
    /// When a client was last told that an item is there.
    pub(super) told: [Option<Timestamp>; ITEMS],
}

#[derive(Clone, Debug)]
pub(super) struct Deadlines {
    pub(super) packages: [OfPackage; PACKAGES],
    /// From then on a doomed object may be removed.
    pub(super) purge: [Timestamp; OBJECTS],
    grant: Duration,
}

impl Deadlines {
    pub(super) fn new(grant: Duration) -> Self {
        Self { packages: Default::default(), purge: Default::default(), grant }
    }

    pub(super) fn of(&mut self, package: u8) -> &mut OfPackage {
        &mut self.packages[usize::from(package)]
    }

    /// Whether a step of the model's clock has happened.
    pub(super) fn is_over(&self, step: Action, now: Timestamp) -> bool {
        let of = |package: u8| &self.packages[usize::from(package)];
        match step {
            Action::LeaseEnds(package, item) => of(package).lease[item.index()] <= now,
            Action::HidingEnds(package, item) => of(package).hidden[item.index()] <= now,
            Action::KeptEnds(package, item) => {
                of(package).kept.iter().all(|kept| kept.manifest != item || kept.until <= now)
            }
            Action::PackageKeepEnds(package) => of(package).removal <= now,
            _ => false,
        }
    }

    /// A client pushed or mounted an item: it is there with a whole lease, no less than it had.
    pub(super) fn pushed(&mut self, before: &State, package: u8, item: Item, now: Timestamp) {
        let had = before.packages[usize::from(package)].row(item).is_some();
        let lease = now.plus(self.grant);
        let of = self.of(package);
        let at = item.index();
        of.lease[at] = if had { of.lease[at].max(lease) } else { lease };
        of.told[at] = Some(now);
    }

    /// A confirmation is written down, in the package if something holds the item.
    pub(super) fn renewed(&mut self, held: bool, package: u8, item: Item, now: Timestamp) {
        let lease = now.plus(self.grant);
        let of = self.of(package);
        let slot = if held { &mut of.confirmed } else { &mut of.lease[item.index()] };
        *slot = lease.max(*slot);
    }

    /// Something that held items let go of them: what nothing holds now is covered by what was
    /// confirmed of the package.
    pub(super) fn released(
        &mut self,
        world: &World,
        state: &State,
        package: u8,
        items: impl Iterator<Item = Item>,
    ) {
        let of = &mut self.packages[usize::from(package)];
        for item in items.filter(|item| !world.is_held(state, package, *item)) {
            of.lease[item.index()] = of.lease[item.index()].max(of.confirmed);
        }
    }

    /// Tags have moved: what they let go is kept.
    pub(super) fn moved(&mut self, before: &State, after: &State, package: u8, until: Timestamp) {
        let at = usize::from(package);
        let tags = before.packages[at].tags.iter().zip(after.packages[at].tags);
        for (tag, (was, is)) in (0u8..).zip(tags) {
            if let Some(manifest) = *was
                && is != *was
            {
                self.packages[at].kept.push(Kept { manifest, tag, until });
            }
        }
    }

    /// A deleted package came back, with entries that may have been put off meanwhile.
    pub(super) fn restored(&mut self, package: u8, now: Timestamp) {
        let of = self.of(package);
        of.put_off = of.put_off.max(of.removal).max(now.plus(LATER));
    }

    /// The moments to come at which something ends.
    pub(super) fn to_come(&self, state: &State, now: Timestamp) -> Vec<Timestamp> {
        let mut found = Vec::new();
        for (of, rows) in self.packages.iter().zip(&state.packages) {
            for item in Item::all() {
                let Some(row) = rows.row(item) else { continue };
                found.push(of.lease[item.index()]);
                if row.hidden.is_some() {
                    found.push(of.hidden[item.index()]);
                }
            }
            found.extend(of.kept.iter().map(|kept| kept.until));
            found.extend([of.removal, of.put_off, of.confirmed]);
        }
        let doomed = state.objects.iter().zip(self.purge).filter(|(one, _)| one.doomed.is_some());
        found.extend(doomed.map(|(_, purge)| purge));
        found.retain(|time| *time > now);
        found.sort_unstable();
        found
    }
}
