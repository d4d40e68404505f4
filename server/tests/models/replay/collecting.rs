//! The core reviews the entry that is due first; the model reviews what the core did.

use super::walk::{Check, Entries, Walk, failed, same};
use crate::rows::{Item, PACKAGES, Removal};
use crate::world::Action;
use standpipe_server::metadata::{DueEntry, DueKind, MetadataStore as _};

impl Walk {
    /// One review. `false` if nothing was due.
    pub(super) async fn collect(&mut self) -> Check<bool> {
        let before = std::mem::take(&mut self.entries);
        let done = self.core.store().collect(1, 400).await.map_err(failed)?;
        if done.reviewed == 0 {
            let now = self.now();
            let late = before.iter().flatten().find(|entry| entry.at <= now);
            same("an entry that is due and not looked at", late, None)?;
            self.entries = before;
            return Ok(false);
        }
        let after = self.read_entries().await?;
        for package in 0..PACKAGES as u8 {
            let at = usize::from(package);
            if self.core.ids[at].is_none() {
                continue;
            }
            let rows = &self.state.packages[at];
            if !rows.live && rows.removal.is_some() {
                self.removal(package, &after[at]).await?;
                continue;
            }
            let ended: Vec<Item> = self.ended(&before[at], &after[at]).collect();
            if !ended.is_empty() {
                self.gone(package).await?;
            }
            self.let_go(package, &after).await?;
            self.dropped(package, &ended)?;
        }
        self.entries = after;
        Ok(true)
    }

    /// Items whose entries are not there any more: nothing goes without its own review.
    fn ended(&self, before: &[DueEntry], after: &[DueEntry]) -> impl Iterator<Item = Item> {
        let gone = before.iter().filter(|one| !after.iter().any(|two| two.what == one.what));
        gone.filter_map(|entry| match &entry.what {
            DueKind::Blob(digest) | DueKind::Manifest(digest) => Some(self.core.item(digest)),
            _ => None,
        })
    }

    /// What is due of each package that was created.
    pub(super) async fn read_entries(&self) -> Check<Entries> {
        let mut found = Vec::new();
        for id in self.core.ids {
            found.push(match id {
                Some(id) => self.core.store().pending(id, 99).await.map_err(failed)?,
                None => Vec::new(),
            });
        }
        Ok(found)
    }

    /// Items of which the core has no row any more, and the model has.
    async fn missing(&self, package: u8) -> Check<Vec<Item>> {
        let rows = &self.state.packages[usize::from(package)];
        let id = self.core.id(package);
        let mut missing = Vec::new();
        for item in self.items.iter().filter(|item| rows.row(**item).is_some()) {
            let found = self.core.store().holders(id, self.core.digest(*item), 1).await;
            if found.map_err(failed)?.is_none() {
                missing.push(*item);
            }
        }
        Ok(missing)
    }

    /// What a review has removed goes in the model, which must allow it.
    async fn gone(&mut self, package: u8) -> Check {
        for item in self.missing(package).await? {
            let rows = &self.state.packages[usize::from(package)];
            if self.world.is_held(&self.state, package, item) {
                return Err(format!("the core removed {item:?} of {package}, which is held"));
            }
            let content = self.world.content(item);
            let of = &self.deadlines.packages[usize::from(package)];
            let hidden = rows.row(item).is_some_and(|row| row.hidden.is_some());
            if of.lease[item.index()] > self.now() || hidden && of.hidden[item.index()] > self.now()
            {
                return Err(format!("the core removed {item:?} of {package} before its time"));
            }
            let review = Action::Review(package, item);
            let after = self.after(review)?;
            if !item.is_blob() {
                let referrers: Vec<Item> = Item::manifests()
                    .filter(|one| self.world.content(*one).subject == Some(item))
                    .collect();
                let children = Item::all().filter(|one| content.needs.holds(*one));
                let released = children.chain(referrers);
                self.deadlines.released(&self.world, &after, package, released);
            }
            self.take(review)?;
        }
        Ok(())
    }

    /// Kept rows whose time is over.
    async fn let_go(&mut self, package: u8, after: &Entries) -> Check {
        let mut found = self.history(package, after).await?;
        for ended in self.deadlines.of(package).kept.clone() {
            if let Some(at) = found.iter().position(|one| *one == ended) {
                found.swap_remove(at);
                continue;
            }
            if ended.until > self.now() {
                return Err(format!("the core let {ended:?} of {package} go before its time"));
            }
            let of = self.deadlines.of(package);
            let at = of.kept.iter().position(|one| *one == ended).expect("read above");
            of.kept.swap_remove(at);
            if of.kept.iter().any(|one| one.manifest == ended.manifest) {
                continue;
            }
            let review = Action::ReviewKept(package, ended.manifest);
            let after = self.after(review)?;
            let released = std::iter::once(ended.manifest);
            self.deadlines.released(&self.world, &after, package, released);
            self.take(review)?;
        }
        Ok(())
    }

    /// Entries that were dropped because something holds the item.
    fn dropped(&mut self, package: u8, ended: &[Item]) -> Check {
        for item in ended.iter().copied() {
            let rows = &self.state.packages[usize::from(package)];
            if rows.row(item).is_none() {
                continue;
            }
            if !self.world.is_held(&self.state, package, item) {
                return Err(format!("the core forgot that {item:?} of {package} is due"));
            }
            if rows.due.holds(item) {
                self.take(Action::Review(package, item))?;
            }
        }
        Ok(())
    }

    /// A page of a deleted package. The core's pages are larger; the model catches up.
    async fn removal(&mut self, package: u8, after: &[DueEntry]) -> Check {
        let id = self.core.id(package);
        let restorable = self.core.store().deleted_package(id).await.map_err(failed)?.is_some();
        if restorable {
            return Ok(());
        }
        let done = !after.iter().any(|entry| entry.what == DueKind::Package);
        loop {
            let missing = self.missing(package).await?;
            let removal = self.state.packages[usize::from(package)].removal;
            let behind = match removal {
                Some(Removal::Done) => false,
                Some(Removal::Begun) => done || !missing.is_empty(),
                _ => true,
            };
            if !behind {
                return Ok(());
            }
            self.take(Action::RemovalPage(package))?;
            self.deadlines.of(package).told = Default::default();
            self.deadlines.of(package).kept = Vec::new();
        }
    }
}
