//! What clients ask of the model is asked of the core.

use super::walk::{Check, Walk, failed, same};
use crate::rows::{Doomed, Item, Stage};
use crate::world::{Action, Step};
use standpipe_server::metadata::MetadataError;

/// What a client does when a HEAD has been answered, or before.
enum Asked {
    /// Found or not; the model has taken no step yet.
    Answered(bool),
    /// The core has looked and has not answered yet; neither has the model.
    Looked,
}

impl Walk {
    pub(super) async fn client(&mut self, one: u8) -> Check {
        let at = usize::from(one);
        let client = self.state.clients[at];
        let step = self.world.scripts[at].get(usize::from(client.step)).copied();
        match (client.stage, step) {
            (Stage::Written { .. }, Some(Step::Push(blob))) => {
                if self.state.is_safe_from_crashes() {
                    self.finish_upload(one, blob).await
                } else {
                    // The bytes are synced; the core hears nothing of it.
                    self.take(Action::Client(one))
                }
            }
            (Stage::Synced { .. }, Some(Step::Push(blob))) => self.finish_upload(one, blob).await,
            (Stage::Done | Stage::Refused, _) | (_, None) => self.take(Action::Client(one)),
            (_, Some(Step::Push(blob))) => self.push(one, blob).await,
            (_, Some(Step::Mount { from, blob })) => self.mount(one, from, blob).await,
            (_, Some(Step::Head { manifest, .. })) => {
                self.head(one, manifest).await?;
                self.take(Action::Client(one))
            }
            (_, Some(Step::Put { manifest, tag })) => self.put(one, manifest, tag).await,
        }
    }

    /// Asks the core as the registry does: a look, and if less than a lease is left a renewal before
    /// the answer, in a second transaction.
    async fn head(&mut self, one: u8, item: Item) -> Check<Asked> {
        let Some(package) = self.world.resolve(&self.state, one) else {
            return Ok(Asked::Answered(false));
        };
        let rows = &self.state.packages[usize::from(package)];
        let visible = rows.visible(item);
        let held = self.world.is_held(&self.state, package, item);
        let looked = self.state.clients[usize::from(one)].stage == Stage::Looked;
        let mut answer = true;
        if !looked {
            let Some(wanted) = self.core.look(package, item).await.map_err(failed)? else {
                same("a HEAD", false, visible)?;
                return Ok(Asked::Answered(false));
            };
            same("a HEAD", true, visible)?;
            if self.world.head_in_two && !held {
                if wanted {
                    return Ok(Asked::Looked);
                }
                // Enough is left of the lease: the core answers at once, so the model does as well.
                self.take(Action::Client(one))?;
            }
            if wanted {
                answer = self.core.renew(package, item).await.map_err(failed)?;
                self.deadlines.renewed(held, package, item, self.now());
            }
        } else {
            answer = self.core.renew(package, item).await.map_err(failed)?;
            if answer {
                self.deadlines.renewed(held, package, item, self.now());
            }
        }
        same("a HEAD that renews", answer, visible)?;
        if answer {
            self.deadlines.of(package).told[item.index()] = Some(self.now());
        }
        Ok(Asked::Answered(answer))
    }

    async fn push(&mut self, one: u8, blob: Item) -> Check {
        let found = self.head(one, blob).await?;
        let package = self.world.resolve(&self.state, one);
        let (Asked::Answered(false), Some(package)) = (found, package) else {
            return self.take(Action::Client(one));
        };
        let upload = self.core.start_upload(package).await.map_err(failed)?;
        self.uploads[usize::from(one)] = Some(upload);
        let before = self.state;
        if self.world.disk {
            self.objects[usize::from(before.next_object)] = Some(upload.1);
            return self.take(Action::Client(one));
        }
        let done = self.core.finish_upload(upload, blob).await.map_err(failed)?;
        let second = before.blobs[blob.index()].is_some();
        same("the upload came second", done.loser.is_some(), second)?;
        self.deadlines.pushed(&before, package, blob, self.now());
        self.take(Action::Client(one))
    }

    async fn finish_upload(&mut self, one: u8, blob: Item) -> Check {
        let stage = self.state.clients[usize::from(one)].stage;
        let (Stage::Written { object, package } | Stage::Synced { object, package }) = stage else {
            return Err("no upload is under way".to_owned());
        };
        let upload = self.uploads[usize::from(one)].take().ok_or("the upload is lost")?;
        let done = self.core.finish_upload(upload, blob).await;
        let before = self.state;
        if done.is_ok() {
            self.deadlines.pushed(&before, package, blob, self.now());
        } else {
            self.core.end_upload(upload.0).await.map_err(failed)?;
        }
        self.take(Action::Client(one))?;
        let refused = self.state.clients[usize::from(one)].stage == Stage::Refused;
        match done {
            Ok(done) => {
                same("an upload is refused", false, refused)?;
                let doomed = self.state.objects[usize::from(object)].doomed;
                let loser = (doomed == Some(Doomed::Loser)).then_some(upload.1);
                same("the upload that came second", done.loser, loser)
            }
            Err(MetadataError::NotFound) => same("an upload is refused", true, refused),
            Err(error) => Err(failed(error)),
        }
    }

    async fn mount(&mut self, one: u8, from: u8, blob: Item) -> Check {
        let before = self.state;
        let package = self.world.resolve(&before, one);
        let source = &before.packages[usize::from(from)];
        let there = source.live && source.visible(blob);
        if let Some(package) = package {
            let mounted = self.core.mount(package, from, blob).await;
            let mounted = match mounted {
                Ok(_) => true,
                Err(MetadataError::NotFound) => false,
                Err(error) => return Err(failed(error)),
            };
            same("a mount", mounted, there)?;
            if mounted {
                self.deadlines.pushed(&before, package, blob, self.now());
            }
        }
        self.take(Action::Client(one))
    }

    async fn put(&mut self, one: u8, manifest: Item, tag: Option<u8>) -> Check {
        let before = self.state;
        let package = self.world.resolve(&before, one);
        let mut done = None;
        if let Some(package) = package {
            let tags: Vec<u8> = tag.into_iter().collect();
            done = match self.core.put(package, manifest, &tags).await {
                Ok(new) => Some(new),
                Err(MetadataError::MissingContent(_)) => None,
                Err(error) => return Err(failed(error)),
            };
            if let Some(new) = done {
                let row = before.packages[usize::from(package)].row(manifest);
                same("the manifest is new", new, row.is_none())?;
                self.deadlines.pushed(&before, package, manifest, self.now());
            }
        }
        self.follow_put(one, &before, package, done.is_some())
    }

    fn follow_put(
        &mut self,
        one: u8,
        before: &crate::rows::State,
        package: Option<u8>,
        done: bool,
    ) -> Check {
        if let (Some(package), true) = (package, done) {
            // Before the step, whose clocks need to know it.
            let after = self.after(Action::Client(one))?;
            let until = self.now().plus(self.core.settings.keep);
            self.deadlines.moved(before, &after, package, until);
        }
        self.take(Action::Client(one))?;
        let refused = self.state.clients[usize::from(one)].stage == Stage::Refused;
        same("a PUT is refused", !done, refused)
    }
}
