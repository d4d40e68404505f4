//! The core reviews the entry that is due first; the model reviews what the core did.

use super::walk::{Check, Walk, failed, same};
use crate::rows::{Item, PACKAGES, Removal};
use crate::world::Action;
use standpipe_server::metadata::{DueEntry, DueKind, MetadataStore as _};

/// What a package's entries are, by package; none if it was never created.
type Entries = Vec<Vec<DueEntry>>;

impl Walk {
    /// One review. `false` if nothing was due.
    pub(super) async fn collect(&mut self) -> Check<bool> {
        let before = self.entries().await?;
        let done = self.core.store().collect(1, 400).await.map_err(failed)?;
        if done.reviewed == 0 {
            let now = self.now();
            let late = before.iter().flatten().find(|entry| entry.at <= now);
            same("an entry that is due and not looked at", late, None)?;
            return Ok(false);
        }
        let after = self.entries().await?;
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
            self.gone(package).await?;
            self.let_go(package).await?;
            self.dropped(package, &before[at], &after[at])?;
        }
        Ok(true)
    }

    async fn entries(&self) -> Check<Entries> {
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
            if of.lease[item.index()] > self.now()
                || hidden && of.hidden[item.index()] > self.now()
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
    async fn let_go(&mut self, package: u8) -> Check {
        let mut found = self.history(package).await?;
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
    fn dropped(&mut self, package: u8, before: &[DueEntry], after: &[DueEntry]) -> Check {
        for entry in before.iter().filter(|one| !after.iter().any(|two| two.what == one.what)) {
            let (DueKind::Blob(digest) | DueKind::Manifest(digest)) = &entry.what else { continue };
            let item = self.core.item(digest);
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
