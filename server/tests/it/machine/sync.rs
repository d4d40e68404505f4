//! Learning from the registry what collection did, and checking that it might.
//!
//! The model says what must still be there; what need not be there is looked up, and forgotten if it
//! is gone. That what must be there *is* there shows in the totals, which are compared at every step.

use super::history::{Agreed, History, ensure};
use super::model::Kept;
use super::universe::Thing;
use super::world::tag;
use standpipe_server::domain::{PackageId, Timestamp};
use standpipe_server::metadata::Kept as RealKept;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a row of history stays at least.
const HISTORY_KEPT: Duration = Duration::from_secs(90 * 24 * 3600);

impl History {
    /// Learns what collection let go and removed, and checks that it might.
    pub(super) async fn sync(&mut self, allowed: &BTreeSet<Kept>) -> Agreed {
        let ids: Vec<_> = self.model.packages.keys().copied().collect();
        for id in ids {
            if self.model.packages[&id].deleted.is_some() {
                self.sync_deleted(id, allowed).await?;
            } else {
                self.sync_history(id, allowed).await?;
            }
            // What a manifest protected may be gone with it, so it is looked at again without it.
            loop {
                let before = self.model.packages[&id].things.clone();
                self.sync_things(id, allowed).await?;
                if self.model.packages[&id].things == before {
                    break;
                }
            }
            let package = &self.model.packages[&id];
            if package.given_up && package.things.is_empty() {
                self.model.packages.remove(&id);
            }
        }
        let now = self.now();
        for session in std::mem::take(&mut self.model.sessions) {
            if self.world.metadata.upload(session.id).await.unwrap().is_some() {
                self.model.sessions.push(session);
            } else {
                let open = session.whole && self.model.is_open(&session, now);
                ensure!(!open, "upload {} was ended before its time", session.id);
            }
        }
        Ok(())
    }

    async fn sync_deleted(&mut self, id: PackageId, allowed: &BTreeSet<Kept>) -> Agreed {
        let (metadata, kept, now) = (&self.world.metadata, Kept::Package(id), self.now());
        let restorable = metadata.deleted_package(id).await.unwrap().is_some();
        let must = self.model.is_kept(kept, now) && !allowed.contains(&kept);
        ensure!(restorable || !must, "the deleted package {id} went before its time");
        self.model.packages.entry(id).or_default().given_up = !restorable;
        Ok(())
    }

    async fn sync_history(&mut self, id: PackageId, allowed: &BTreeSet<Kept>) -> Agreed {
        let (metadata, now) = (&self.world.metadata, self.now());
        let real: Vec<_> = metadata.kept(id, 10_000).await.unwrap();
        let real: Vec<_> = real
            .into_iter()
            .filter_map(|item| match item.what {
                RealKept::Tag { tag, digest, .. } => Some((tag, digest, item.by.at)),
                RealKept::Blob(_) | RealKept::Manifest(_) => None,
            })
            .collect();
        let universe = self.model.universe.clone();
        for position in 0..self.model.packages[&id].events.len() {
            let event = self.model.packages[&id].events[position];
            let kept = Kept::Event(id, event.tag, event.at);
            let Some(from) = event.from.filter(|_| event.keeps) else { continue };
            if real.contains(&(tag(event.tag), universe.manifest(from).digest, event.at)) {
                continue;
            }
            let must = self.model.is_kept(kept, now) && !allowed.contains(&kept);
            ensure!(!must, "{event:?} of package {id} keeps nothing before its time");
            self.model.packages.entry(id).or_default().events[position].keeps = false;
        }
        let old = |at: Timestamp| now.since(at) >= HISTORY_KEPT;
        if self.model.packages[&id].events.iter().any(|event| old(event.at)) {
            let rows = self.world.metadata.history(id, None, 10_000).await.unwrap();
            let package = self.model.packages.entry(id).or_default();
            package.events.retain(|event| {
                !old(event.at)
                    || rows.iter().any(|row| row.moved.at == event.at && row.tag == tag(event.tag))
            });
        }
        Ok(())
    }

    async fn sync_things(&mut self, id: PackageId, allowed: &BTreeSet<Kept>) -> Agreed {
        let (universe, now) = (self.model.universe.clone(), self.now());
        let things = self.model.packages[&id].things.clone();
        let mut gone = Vec::new();
        let protected = self.model.protected(id, now);
        for (thing, item) in things {
            if protected.contains(&thing) && item.hidden.is_none() {
                // That it is there is seen in the totals.
                continue;
            }
            let (digest, kept) = (universe.digest(thing), Kept::Hidden(id, thing));
            let Some(holders) = self.world.metadata.holders(id, &digest, 1).await.unwrap() else {
                gone.push(thing);
                if allowed.contains(&kept) {
                    self.given_up(id, thing);
                }
                continue;
            };
            if holders.deleted_until == Some(Timestamp(0)) && !item.given_up {
                let must = self.model.is_kept(kept, now) && !allowed.contains(&kept);
                ensure!(!must, "{thing:?} of package {id} was given up before its time");
                self.given_up(id, thing);
            }
        }
        let protected = self.model.protected(id, now);
        for thing in gone {
            ensure!(
                !protected.contains(&thing),
                "{thing:?} of package {id} is gone: {:?}",
                self.model.packages[&id]
            );
            self.model.packages.entry(id).or_default().things.remove(&thing);
        }
        Ok(())
    }

    fn given_up(&mut self, id: PackageId, thing: Thing) {
        let package = self.model.packages.entry(id).or_default();
        package.things.entry(thing).or_default().given_up = true;
    }
}
