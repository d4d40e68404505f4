//! Whether the core and the model are in the same state, as far as either can be seen.

use super::deadlines::Kept as Ending;
use super::walk::{Check, Walk, failed, same};
use crate::rows::{Item, OBJECTS, PACKAGES, Removal};
use standpipe_server::domain::{PackageId, Reference};
use standpipe_server::metadata::{DueEntry, DueKind, Holders, Kept, MetadataStore as _, Page};

impl Walk {
    /// Compares everything. Whatever is said here of the core is asked through the seam.
    pub(super) async fn compare(&self) -> Check {
        for package in 0..PACKAGES as u8 {
            self.compare_name(package).await?;
            let Some(id) = self.core.ids[usize::from(package)] else { continue };
            self.compare_package(package, id).await?;
            for item in &self.items {
                self.compare_item(package, id, *item).await?;
            }
        }
        self.compare_objects().await
    }

    async fn compare_name(&self, package: u8) -> Check {
        let names = self.world.names;
        let live = (0..PACKAGES as u8).find(|other| {
            names[usize::from(*other)] == names[usize::from(package)]
                && self.state.packages[usize::from(*other)].live
        });
        let live = live.map(|live| self.core.id(live));
        same("the package of a name", self.core.resolve(package).await.map_err(failed)?, live)
    }

    async fn compare_package(&self, package: u8, id: PackageId) -> Check {
        let rows = &self.state.packages[usize::from(package)];
        let of = &self.deadlines.packages[usize::from(package)];
        let store = self.core.store();
        let deleted = store.deleted_package(id).await.map_err(failed)?;
        let waits = matches!(rows.removal, Some(Removal::Waiting(_))) && !rows.live;
        same("restorable until", deleted.map(|one| one.until), waits.then_some(of.removal))?;

        let page = Page { after: None, limit: 9 };
        let tags = store.tags(id, page).await.map_err(failed)?;
        let tags = tags.iter().map(|row| (self.core.tag_number(&row.tag), row.digest));
        let expected = (0u8..).zip(rows.tags).filter_map(|(tag, to)| Some((tag, to?)));
        let expected = expected.map(|(tag, to)| (tag, *self.core.digest(to)));
        let expected: Vec<_> = expected.filter(|_| rows.live).collect();
        same("tags", tags.collect(), expected)?;

        if rows.is_going() {
            return Ok(());
        }
        if !rows.live {
            return Ok(());
        }
        let mut kept = of.kept.clone();
        kept.sort_unstable();
        same("what history keeps", self.history(package).await?, kept)?;
        let entries = store.pending(id, 99).await.map_err(failed)?;
        self.compare_history(package, &entries)?;
        for item in &self.items {
            let there = rows.row(*item).is_some();
            if there && !self.world.is_held(&self.state, package, *item) {
                self.compare_entry(package, &entries, *item)?;
            }
        }
        Ok(())
    }

    /// What the history of a package that is there keeps.
    pub(super) async fn history(&self, package: u8) -> Check<Vec<Ending>> {
        let found = self.core.store().kept(self.core.id(package), 99).await.map_err(failed)?;
        let mut history = Vec::new();
        for item in found {
            if let Kept::Tag { tag, digest, .. } = &item.what {
                let (manifest, tag) = (self.core.item(digest), self.core.tag_number(tag));
                history.push(Ending { manifest, tag, until: item.until });
            }
        }
        history.sort_unstable();
        Ok(history)
    }

    /// Each row of history that keeps something is due, not later than it ends.
    fn compare_history(&self, package: u8, entries: &[DueEntry]) -> Check {
        let of = &self.deadlines.packages[usize::from(package)];
        let last = of.kept.iter().map(|kept| kept.until).max().unwrap_or_default().max(of.put_off);
        let due = entries.iter().filter(|one| matches!(one.what, DueKind::History(..)));
        let in_time = due.filter(|one| one.at <= last).count();
        same("kept rows that are due in time", in_time, of.kept.len())
    }

    /// What nothing holds is due, not later than it may go.
    fn compare_entry(&self, package: u8, entries: &[DueEntry], item: Item) -> Check {
        let of = &self.deadlines.packages[usize::from(package)];
        let digest = *self.core.digest(item);
        let wanted =
            if item.is_blob() { DueKind::Blob(digest) } else { DueKind::Manifest(digest) };
        let Some(entry) = entries.iter().find(|entry| entry.what == wanted) else {
            return Err(format!("nothing holds {item:?} of {package}, and it is not due"));
        };
        let row = self.state.packages[usize::from(package)].row(item);
        let hidden = row.and_then(|row| row.hidden).map(|_| of.hidden[item.index()]);
        let last = of.lease[item.index()].max(of.put_off).max(hidden.unwrap_or_default());
        if entry.at > last {
            return Err(format!("{item:?} of {package} is due {:?}, not {last:?}", entry.at));
        }
        Ok(())
    }

    async fn compare_item(&self, package: u8, id: PackageId, item: Item) -> Check {
        let rows = &self.state.packages[usize::from(package)];
        let store = self.core.store();
        let found = store.holders(id, self.core.digest(item), 9).await.map_err(failed)?;
        let row = rows.row(item);
        let what = |what: &str| format!("{what} of {item:?} in {package}");
        same(&what("the row"), found.is_some(), row.is_some())?;
        if let (Some(found), Some(row), false) = (found, row, rows.is_going()) {
            let of = &self.deadlines.packages[usize::from(package)];
            same(&what("the lease"), found.lease, Some(of.lease[item.index()]))?;
            let hidden = row.hidden.map(|_| of.hidden[item.index()]);
            same(&what("the hiding"), found.deleted_until, hidden)?;
            self.compare_holders(package, item, &found)?;
        }
        let visible = rows.live && rows.visible(item);
        let seen = self.core.look(package, item).await.map_err(failed)?;
        same(&what("the answer to a HEAD"), seen.is_some(), visible)?;
        if let Some(wanted) = seen {
            same(&what("the confirmation"), wanted, self.is_wanted(package, item))?;
        }
        self.compare_promise(package, item, visible)
    }

    /// Whether a confirmation of an item must be written down.
    pub(super) fn is_wanted(&self, package: u8, item: Item) -> bool {
        let of = &self.deadlines.packages[usize::from(package)];
        let held = self.world.is_held(&self.state, package, item);
        let lease = if held { of.confirmed } else { of.lease[item.index()] };
        lease.since(self.now()) < self.core.settings.lease
    }

    /// S4 by the core's own clock: what a client was told is there stays for a lease.
    fn compare_promise(&self, package: u8, item: Item, visible: bool) -> Check {
        let told = self.deadlines.packages[usize::from(package)].told[item.index()];
        let Some(told) = told else { return Ok(()) };
        let live = self.state.packages[usize::from(package)].live;
        if live && !visible && self.now() < told.plus(self.core.settings.lease) {
            return Err(format!("{item:?} of {package} was promised at {told:?} and is not there"));
        }
        Ok(())
    }

    fn compare_holders(&self, package: u8, item: Item, found: &Holders) -> Check {
        let rows = &self.state.packages[usize::from(package)];
        let what = |what: &str| format!("{what} of {item:?} in {package}");
        let tags: Vec<u8> = found.tags.iter().map(|tag| self.core.tag_number(tag)).collect();
        let expected = (0u8..).zip(rows.tags).filter(|(_, to)| *to == Some(item));
        same(&what("the tags"), tags, expected.map(|(tag, _)| tag).collect())?;
        let mut parents: Vec<Item> =
            found.parents.iter().map(|digest| self.core.item(digest)).collect();
        parents.sort_unstable();
        let expected = Item::all().filter(|one| rows.edges[one.index()].holds(item));
        same(&what("the parents"), parents, expected.collect())?;
        let kept = rows.kept[item.index()].is_some();
        same(&what("the history"), !found.history.is_empty(), kept)?;
        let subject = self.world.content(item).subject.filter(|one| rows.row(*one).is_some());
        let found = found.subject.map(|digest| self.core.item(&digest));
        same(&what("the subject"), found, subject)
    }

    async fn compare_objects(&self) -> Check {
        if !self.world.disk {
            return Ok(());
        }
        let store = self.core.store();
        for (blob, object) in (0u8..).zip(self.state.blobs) {
            let Some(key) = object.and_then(|object| self.objects[usize::from(object)]) else {
                continue;
            };
            let rows = (0u8..).zip(&self.state.packages);
            let sees = rows.filter(|(_, rows)| rows.live && rows.visible(Item(blob)));
            for (package, _) in sees {
                let id = self.core.id(package);
                let found = store.blob(id, self.core.digest(Item(blob))).await.map_err(failed)?;
                same("the object of a blob", found.map(|facts| facts.object), Some(key))?;
            }
        }
        let mut due = Vec::new();
        for number in 0..OBJECTS {
            let Some(key) = self.objects[number] else { continue };
            let is_doomed = self.state.objects[number].doomed.is_some();
            let known = store.known_objects(&[key]).await.map_err(failed)?;
            let named = is_doomed || self.state.blobs.contains(&Some(number as u8));
            same(&format!("object {number} is named"), known, vec![named])?;
            if is_doomed && self.deadlines.purge[number] <= self.now() {
                due.push(key);
            }
        }
        due.sort_unstable();
        let mut found = store.doomed(99).await.map_err(failed)?;
        found.sort_unstable();
        same("objects to be removed", found, due)
    }

    /// What can be put back, as people are shown it.
    pub(super) async fn compare_restorable(&self) -> Check {
        for package in 0..PACKAGES as u8 {
            let rows = &self.state.packages[usize::from(package)];
            if !rows.live {
                continue;
            }
            let store = self.core.store();
            let id = self.core.id(package);
            let found = store.kept(id, 99).await.map_err(failed)?;
            for one in &found {
                let (Kept::Manifest(digest) | Kept::Blob(digest)) = &one.what else { continue };
                let row = rows.row(self.core.item(digest));
                let hidden = row.is_some_and(|row| row.hidden.is_some());
                same("what can be put back is deleted", hidden, true)?;
            }
            for (tag, to) in (0u8..).zip(rows.tags) {
                let Some(to) = to else { continue };
                let tag = self.core.tag(tag).clone();
                let reference = Reference::Tag(tag);
                let found = store.manifest(id, &reference).await.map_err(failed)?;
                let found = found.map(|manifest| manifest.facts.digest);
                same("the manifest of a tag", found, Some(*self.core.digest(to)))?;
            }
        }
        Ok(())
    }
}
