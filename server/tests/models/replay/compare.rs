//! Whether the core and the model are in the same state, as far as either can be seen.

use super::deadlines::Kept as Ending;
use super::walk::{Check, Entries, Walk, failed, same};
use crate::rows::{Item, OBJECTS, PACKAGES, Removal};
use standpipe_server::domain::{PackageId, Reference, Timestamp};
use standpipe_server::metadata::{DueEntry, DueKind, Holders, Kept, MetadataStore as _, Page};

impl Walk {
    /// Compares everything. Whatever is said here of the core is asked through the seam.
    pub(super) async fn compare(&mut self) -> Check {
        self.entries = self.read_entries().await?;
        // A HEAD is asked for one item at a time; what it looks at is compared for all.
        let asked = self.random.below(self.items.len() * PACKAGES);
        for package in 0..PACKAGES as u8 {
            if self.world.budget.package_deletes > 0 || self.trace.is_empty() {
                self.compare_name(package).await?;
            }
            let Some(id) = self.core.ids[usize::from(package)] else { continue };
            self.compare_package(package, id).await?;
            for (number, item) in self.items.iter().enumerate() {
                let mut done = self.compare_item(package, id, *item).await;
                if done.is_ok() && asked == number * PACKAGES + usize::from(package) {
                    done = self.compare_answer(package, *item).await;
                }
                done.map_err(|why| format!("{item:?} of {package}: {why}"))?;
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
        same("what history keeps", self.history(package, &self.entries).await?, kept)?;
        let entries = &self.entries[usize::from(package)];
        self.compare_history(package, entries)?;
        for item in &self.items {
            let there = rows.row(*item).is_some();
            if there && !self.world.is_held(&self.state, package, *item) {
                self.compare_entry(package, entries, *item)?;
            }
        }
        Ok(())
    }

    /// What the history of a package that is there keeps.
    pub(super) async fn history(&self, package: u8, entries: &Entries) -> Check<Vec<Ending>> {
        let mut history = Vec::new();
        let mut keeps = |tag, digest, until| {
            let (manifest, tag) = (self.core.item(digest), self.core.tag_number(tag));
            history.push(Ending { manifest, tag, until });
        };
        if self.deadlines.packages[usize::from(package)].put_off == Timestamp(0) {
            // No entry was put off, so each says when the keeping ends. That is quicker to read.
            for entry in &entries[usize::from(package)] {
                if let DueKind::History(tag, digest) = &entry.what {
                    keeps(tag, digest, entry.at);
                }
            }
        } else {
            let kept = self.core.store().kept(self.core.id(package), 99).await;
            for item in &kept.map_err(failed)? {
                if let Kept::Tag { tag, digest, .. } = &item.what {
                    keeps(tag, digest, item.until);
                }
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
        let wanted = if item.is_blob() { DueKind::Blob(digest) } else { DueKind::Manifest(digest) };
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
        if let Some(told) = self.deadlines.packages[usize::from(package)].told[item.index()] {
            // S4 by the core's own clock: what a client was told is there stays for a lease.
            let there = found.as_ref().is_some_and(|found| found.deleted_until.is_none());
            let over = told.plus(self.core.settings.lease) <= self.now();
            same("what was promised is there", there || over, true)?;
        }
        same("the row", found.is_some(), row.is_some())?;
        if let (Some(found), Some(row), false) = (found, row, rows.is_going()) {
            let of = &self.deadlines.packages[usize::from(package)];
            same("the lease", found.lease, Some(of.lease[item.index()]))?;
            let hidden = row.hidden.map(|_| of.hidden[item.index()]);
            same("the hiding", found.deleted_until, hidden)?;
            self.compare_holders(package, item, &found)?;
        }
        Ok(())
    }

    /// What somebody who may push is told.
    async fn compare_answer(&self, package: u8, item: Item) -> Check {
        let rows = &self.state.packages[usize::from(package)];
        let visible = rows.live && rows.visible(item);
        let seen = self.core.look(package, item).await.map_err(failed)?;
        let wanted = visible.then(|| self.is_wanted(package, item));
        same("a HEAD, and whether it must be written down", seen, wanted)
    }

    /// Whether a confirmation of an item must be written down.
    pub(super) fn is_wanted(&self, package: u8, item: Item) -> bool {
        let of = &self.deadlines.packages[usize::from(package)];
        let held = self.world.is_held(&self.state, package, item);
        let lease = if held { of.confirmed } else { of.lease[item.index()] };
        lease.since(self.now()) < self.core.settings.lease
    }

    fn compare_holders(&self, package: u8, item: Item, found: &Holders) -> Check {
        let rows = &self.state.packages[usize::from(package)];
        let tags: Vec<u8> = found.tags.iter().map(|tag| self.core.tag_number(tag)).collect();
        let expected = (0u8..).zip(rows.tags).filter(|(_, to)| *to == Some(item));
        same("the tags", tags, expected.map(|(tag, _)| tag).collect())?;
        let mut parents: Vec<Item> =
            found.parents.iter().map(|digest| self.core.item(digest)).collect();
        parents.sort_unstable();
        let expected = Item::all().filter(|one| rows.edges[one.index()].holds(item));
        same("the parents", parents, expected.collect())?;
        let kept = rows.kept[item.index()].is_some();
        same("the history", !found.history.is_empty(), kept)?;
        // A subject holds what refers to it, unless that was itself deleted.
        let shown = rows.row(item).is_some_and(|row| row.hidden.is_none());
        let subject = self.world.content(item).subject.filter(|one| rows.row(*one).is_some());
        let subject = subject.filter(|_| shown);
        let found = found.subject.map(|digest| self.core.item(&digest));
        same("the subject", found, subject)
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
        let (mut due, mut keys, mut named) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..OBJECTS {
            let Some(key) = self.objects[number] else { continue };
            let is_doomed = self.state.objects[number].doomed.is_some();
            keys.push(key);
            named.push(is_doomed || self.state.blobs.contains(&Some(number as u8)));
            if is_doomed && self.deadlines.purge[number] <= self.now() {
                due.push(key);
            }
        }
        let known = store.known_objects(&keys).await.map_err(failed)?;
        same("objects that have a row", known, named)?;
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
