//! What people and the machine do besides pushing is done to the core.

use super::core::change;
use super::walk::{Check, Walk, failed, same};
use crate::rows::{CLIENTS, Doomed, Item, PACKAGES, Removal, State};
use crate::world::Action;
use standpipe_server::domain::Timestamp;
use standpipe_server::metadata::{
    Conflict, DueKind, GiveUp, MetadataError, MetadataStore as _, Restore,
};
use stateright::Model as _;
use std::time::Duration;

impl Walk {
    /// The state that a step leads to, without taking it.
    pub(super) fn after(&self, action: Action) -> Check<State> {
        let next = self.world.next_state(&self.state, action);
        next.ok_or_else(|| format!("{action:?} leads nowhere"))
    }

    pub(super) async fn act(&mut self, action: Action) -> Check {
        match action {
            Action::DeleteTag(package, _)
            | Action::DeleteManifest(package, _)
            | Action::DeleteBlob(package, _)
            | Action::PutTagBack(package, _)
            | Action::Restore(package, _) => {
                self.on_content(action).await.map_err(failed)?;
                self.note(action, package)?;
                self.take(action)
            }
            Action::LetGoEarly(package, item) => self.let_go_early(package, item).await,
            Action::DeletePackage(package)
            | Action::RestorePackage(package)
            | Action::CreatePackage(package) => self.on_package(action, package).await,
            _ => self.machine(action).await,
        }
    }

    /// What an action is in the core.
    async fn on_content(&self, action: Action) -> Result<(), MetadataError> {
        let change = super::core::change();
        match action {
            Action::DeleteTag(package, tag) => {
                let (id, tag) = (self.core.id(package), self.core.tag(tag));
                self.core.store().delete_tag(&change, id, tag).await
            }
            Action::DeleteManifest(package, item) => {
                let (id, digest) = (self.core.id(package), self.core.digest(item));
                self.core.store().delete_manifest(&change, id, digest).await.map(|_| ())
            }
            Action::DeleteBlob(package, item) => {
                let (id, digest) = (self.core.id(package), self.core.digest(item));
                self.core.store().delete_blob(&change, id, digest).await
            }
            Action::PutTagBack(package, item) => {
                let digest = Some(*self.core.digest(item));
                let what = Restore::Tag { tag: self.core.tag(0).clone(), digest };
                self.core.store().restore(&change, self.core.id(package), &what).await
            }
            Action::Restore(package, item) => {
                let what = Restore::Manifest(*self.core.digest(item));
                self.core.store().restore(&change, self.core.id(package), &what).await
            }
            Action::RestorePackage(package) => {
                let what = Restore::Package { name: None, repository: None };
                self.core.store().restore(&change, self.core.id(package), &what).await
            }
            _ => unreachable!("not about content"),
        }
    }

    /// What the deadlines must know of an action before the model takes it.
    fn note(&mut self, action: Action, package: u8) -> Check {
        let (now, before) = (self.now(), self.state);
        let until = now.plus(self.core.settings.keep);
        let after = self.after(action)?;
        match action {
            Action::DeleteManifest(_, item) | Action::DeleteBlob(_, item) => {
                self.deadlines.of(package).hidden[item.index()] = until;
                self.deadlines.of(package).told[item.index()] = None;
            }
            Action::PutTagBack(_, item) | Action::Restore(_, item) => {
                // It is shown and confirmed, and then the tag moves.
                let mut shown = before;
                if let Some(row) = &mut shown.packages[usize::from(package)].rows[item.index()] {
                    row.hidden = None;
                }
                let held = self.world.is_held(&shown, package, item);
                self.deadlines.renewed(held, package, item, now);
            }
            _ => {}
        }
        self.deadlines.moved(&before, &after, package, until);
        Ok(())
    }

    /// "Reclaim now" of a digest: it ends the hiding along with what history keeps.
    async fn let_go_early(&mut self, package: u8, item: Item) -> Check {
        let id = self.core.id(package);
        let digest = *self.core.digest(item);
        let store = self.core.store();
        let entries = store.pending(id, 99).await.map_err(failed)?;
        let is_due = |kind: DueKind| entries.iter().any(|entry| entry.what == kind);
        let mut more = true;
        while more {
            more = store.give_up(&change(), id, &GiveUp::Digest(digest)).await.map_err(failed)?.1;
        }
        let row = self.state.packages[usize::from(package)].row(item);
        let hidden = row.is_some_and(|row| row.hidden.is_some());
        let action = Action::LetGoEarly(package, item);
        let after = self.after(action)?;
        let now = self.now();
        let of = self.deadlines.of(package);
        of.kept.retain(|kept| kept.manifest != item);
        of.put_off = of.put_off.max(now);
        // The release comes first and enters what nothing holds any more.
        let world = self.world;
        if hidden && (is_due(DueKind::Manifest(digest)) || !world.is_held(&after, package, item)) {
            of.hidden[item.index()] = Timestamp(0);
        }
        self.deadlines.released(&world, &after, package, std::iter::once(item));
        self.take(action)
    }

    async fn on_package(&mut self, action: Action, package: u8) -> Check {
        let change = super::core::change();
        let now = self.now();
        match action {
            Action::DeletePackage(_) => {
                let id = self.core.id(package);
                self.core.store().delete_package(&change, id).await.map_err(failed)?;
                self.deadlines.of(package).removal = now.plus(self.core.settings.keep);
            }
            Action::RestorePackage(_) => {
                self.on_content(action).await.map_err(failed)?;
                self.deadlines.restored(package, now);
            }
            _ => self.core.create(package).await.map_err(failed)?,
        }
        self.take(action)
    }

    async fn machine(&mut self, action: Action) -> Check {
        match action {
            Action::Unlink(object) => {
                let doomed = self.state.objects[usize::from(object)].doomed;
                same("a removed object is doomed", doomed.is_some(), true)?;
                if self.state.is_safe_from_crashes() {
                    self.forget(object).await?;
                }
            }
            Action::Forget(object) => self.forget(object).await?,
            Action::Crash => {
                self.core.reopen();
                self.uploads = [None; CLIENTS];
                let guard = self.core.settings.lease.min(Duration::from_secs(3600));
                let until = self.now().plus(guard);
                for of in &mut self.deadlines.packages {
                    of.put_off = of.put_off.max(until);
                }
            }
            // What it moves aside is what no row names, and that is compared after every step.
            Action::Sweep => {}
            _ => return Err(format!("{action:?} has no counterpart")),
        }
        self.take(action)
    }

    async fn forget(&self, object: u8) -> Check {
        let number = usize::from(object);
        let key = self.objects[number].ok_or("an object without a name")?;
        self.core.store().forget_doomed(&[key]).await.map_err(failed)?;
        // A loser is forgotten by whoever uploaded it; the others wait for their time.
        let waits = self.state.objects[number].doomed == Some(Doomed::Collected)
            && self.deadlines.purge[number] > self.now();
        same("an object goes before its time", waits, false)
    }

    /// Asks for something that must be refused. It must change nothing, which the comparison tells.
    pub(super) async fn refused(&mut self) -> Check {
        let mut asked = Vec::new();
        for package in 0..PACKAGES as u8 {
            let rows = &self.state.packages[usize::from(package)];
            if self.core.ids[usize::from(package)].is_none() {
                continue;
            }
            let waits = matches!(rows.removal, Some(Removal::Waiting(_)));
            if rows.live || !waits || self.name_is_taken(package) {
                asked.push(Action::RestorePackage(package));
            }
            for item in &self.items {
                let visible = rows.live && rows.visible(*item);
                let there = rows.live && rows.row(*item).is_some();
                match (item.is_blob(), visible, there) {
                    (true, false, _) => asked.push(Action::DeleteBlob(package, *item)),
                    (false, false, false) => asked.extend([
                        Action::DeleteManifest(package, *item),
                        Action::PutTagBack(package, *item),
                        Action::Restore(package, *item),
                    ]),
                    (false, false, true) => asked.push(Action::DeleteManifest(package, *item)),
                    _ => {}
                }
            }
            let tags = (0u8..).zip(rows.tags);
            let none = tags.filter(|(_, to)| to.is_none() || !rows.live);
            asked.extend(none.map(|(tag, _)| Action::DeleteTag(package, tag)));
        }
        if asked.is_empty() {
            return Ok(());
        }
        let action = self.random.pick(&asked);
        match self.on_content(action).await {
            Err(MetadataError::NotFound | MetadataError::Conflict(Conflict::SlugTaken)) => Ok(()),
            other => Err(format!("{action:?} should be refused: {other:?}")),
        }
    }

    fn name_is_taken(&self, package: u8) -> bool {
        let names = self.world.names;
        let named = (0..PACKAGES).filter(|one| names[*one] == names[usize::from(package)]);
        named.into_iter().any(|one| self.state.packages[one].live)
    }
}
