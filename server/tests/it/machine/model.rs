//! What must be so, said as simply as possible: plain maps, everything worked out from scratch at
//! each question, no queue and nothing kept up to date by steps.
//!
//! The model knows what is there because it is told what collection removed; it decides by itself
//! what collection *may* remove and what it must remove in the end (DESIGN §5).

use super::universe::{Thing, Universe};
use standpipe_server::domain::{PackageId, Timestamp, UploadId, WorkspaceSettings};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A blob or manifest in a package.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Item {
    /// Until when a client was told that it stays.
    pub(super) promised: Timestamp,
    /// When a client deleted it.
    pub(super) hidden: Option<Timestamp>,
    /// Its keeping was ended.
    pub(super) given_up: bool,
    /// It closed a circle when it came, so it does not live by its subject.
    pub(super) independent: bool,
}

/// A movement of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) tag: u8,
    pub(super) from: Option<u8>,
    pub(super) to: Option<u8>,
    pub(super) at: Timestamp,
    /// It keeps what the tag pointed to before.
    pub(super) keeps: bool,
}

/// A package, deleted or not.
#[derive(Clone, Debug, Default)]
pub(super) struct Package {
    pub(super) name: u8,
    pub(super) deleted: Option<Timestamp>,
    /// It cannot be put back any more.
    pub(super) given_up: bool,
    pub(super) things: BTreeMap<Thing, Item>,
    pub(super) tags: BTreeMap<u8, u8>,
    pub(super) events: Vec<Event>,
}

/// An upload that was begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    pub(super) id: UploadId,
    pub(super) package: PackageId,
    pub(super) blob: u8,
    /// When its last byte came.
    pub(super) touched: Timestamp,
    /// All of its bytes are surely there: no power was lost since.
    pub(super) whole: bool,
}

/// Everything.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) universe: Arc<Universe>,
    pub(super) settings: WorkspaceSettings,
    /// The longest keep so far: a shorter one is for what is released from then on.
    pub(super) longest_keep: Duration,
    /// When the server was started last.
    pub(super) boot: Timestamp,
    pub(super) packages: BTreeMap<PackageId, Package>,
    pub(super) sessions: Vec<Session>,
}

/// Something in history, or something deleted, that can be put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kept {
    /// By its tag and time.
    Event(PackageId, u8, Timestamp),
    Hidden(PackageId, Thing),
    Package(PackageId),
}

/// Manifests by package, and blobs of the workspace.
pub(super) type Reached = (BTreeSet<(PackageId, u8)>, BTreeSet<u8>);

impl Package {
    pub(super) fn visible(&self, thing: Thing) -> bool {
        self.things.get(&thing).is_some_and(|item| item.hidden.is_none())
    }

    /// The movement of a tag at a time.
    pub(super) fn event(&self, tag: u8, at: Timestamp) -> Option<&Event> {
        self.events.iter().find(|event| event.tag == tag && event.at == at)
    }

    /// Manifests about this one that live by it, now or once they are shown again.
    fn referrers<'a>(
        &'a self,
        universe: &'a Universe,
        subject: u8,
        hidden: bool,
    ) -> impl Iterator<Item = u8> + 'a {
        self.things.iter().filter_map(move |(thing, item)| match thing {
            Thing::Manifest(manifest)
                if universe.manifest(*manifest).subject == Some(subject)
                    && !item.independent
                    && (hidden || item.hidden.is_none()) =>
            {
                Some(*manifest)
            }
            _ => None,
        })
    }

    /// What lives when these do: what they need, and what is about them.
    pub(super) fn closure(
        &self,
        universe: &Universe,
        roots: impl IntoIterator<Item = Thing>,
    ) -> BTreeSet<Thing> {
        self.walk(universe, roots, false)
    }

    fn walk(
        &self,
        universe: &Universe,
        roots: impl IntoIterator<Item = Thing>,
        hidden: bool,
    ) -> BTreeSet<Thing> {
        let mut found = BTreeSet::new();
        let mut open: Vec<Thing> = roots.into_iter().collect();
        while let Some(thing) = open.pop() {
            if !self.things.contains_key(&thing) || !found.insert(thing) {
                continue;
            }
            if let Thing::Manifest(manifest) = thing {
                open.extend(universe.needs(manifest));
                open.extend(self.referrers(universe, manifest, hidden).map(Thing::Manifest));
            }
        }
        found
    }

    /// What its tags lead to.
    pub(super) fn current(&self, universe: &Universe) -> BTreeSet<Thing> {
        if self.deleted.is_some() {
            return BTreeSet::new();
        }
        self.closure(universe, self.tags.values().map(|to| Thing::Manifest(*to)))
    }

    /// Whether a manifest that comes now would live by itself if it lived by its subject.
    pub(super) fn closes_circle(&self, universe: &Universe, manifest: u8) -> bool {
        let Some(subject) = universe.manifest(manifest).subject else { return false };
        // One that is deleted may be shown again.
        let about = self.referrers(universe, manifest, true).map(Thing::Manifest);
        let roots: Vec<_> = universe.needs(manifest).chain(about).collect();
        self.walk(universe, roots, true).contains(&Thing::Manifest(subject))
    }
}

impl Model {
    pub(super) fn new(
        universe: Arc<Universe>,
        settings: WorkspaceSettings,
        boot: Timestamp,
    ) -> Self {
        let (longest_keep, packages, sessions) = (settings.keep, BTreeMap::new(), Vec::new());
        Self { universe, settings, longest_keep, boot, packages, sessions }
    }

    /// The package of a name.
    pub(super) fn named(&self, name: u8) -> Option<PackageId> {
        let found = self
            .packages
            .iter()
            .find(|(_, package)| package.name == name && package.deleted.is_none());
        found.map(|(id, _)| *id)
    }

    pub(super) fn live(&self, name: u8) -> Option<&Package> {
        self.named(name).map(|id| &self.packages[&id])
    }

    pub(super) fn live_mut(&mut self, name: u8) -> Option<&mut Package> {
        let id = self.named(name)?;
        self.packages.get_mut(&id)
    }

    pub(super) fn is_visible(&self, name: u8, thing: Thing) -> bool {
        self.live(name).is_some_and(|package| package.visible(thing))
    }

    /// Until when nothing at all is removed after a start.
    fn guard(&self) -> Timestamp {
        self.boot.plus(self.settings.lease.min(Duration::from_secs(3600)))
    }

    fn within_keep(&self, at: Timestamp, now: Timestamp) -> bool {
        now < at.plus(self.settings.keep) || now < self.guard()
    }

    /// Whether what is kept may not be let go yet, caps and people aside.
    pub(super) fn is_kept(&self, kept: Kept, now: Timestamp) -> bool {
        match kept {
            Kept::Event(id, tag, at) => {
                let event = self.packages[&id].event(tag, at);
                event.is_some_and(|event| event.keeps) && self.within_keep(at, now)
            }
            Kept::Hidden(id, thing) => {
                let item = self.packages[&id].things[&thing];
                !item.given_up && item.hidden.is_some_and(|at| self.within_keep(at, now))
            }
            Kept::Package(id) => {
                let package = &self.packages[&id];
                !package.given_up && package.deleted.is_some_and(|at| self.within_keep(at, now))
            }
        }
    }

    /// What of a package collection must not touch.
    pub(super) fn protected(&self, id: PackageId, now: Timestamp) -> BTreeSet<Thing> {
        let package = &self.packages[&id];
        if now < self.guard() && !package.given_up || self.is_kept(Kept::Package(id), now) {
            return package.things.keys().copied().collect();
        }
        if package.deleted.is_some() {
            return BTreeSet::new();
        }
        let mut roots: Vec<_> = package.tags.values().map(|to| Thing::Manifest(*to)).collect();
        for event in &package.events {
            if self.is_kept(Kept::Event(id, event.tag, event.at), now) {
                roots.extend(event.from.map(Thing::Manifest));
            }
        }
        for (thing, item) in &package.things {
            if item.promised > now || self.is_kept(Kept::Hidden(id, *thing), now) {
                roots.push(*thing);
            }
        }
        package.closure(&self.universe, roots)
    }

    /// Whether an upload must still be there.
    pub(super) fn is_open(&self, session: &Session, now: Timestamp) -> bool {
        now.since(session.touched) < self.settings.lease
    }

    /// What tags lead to.
    pub(super) fn current(&self) -> Reached {
        let mut reached = Reached::default();
        for (id, package) in &self.packages {
            add(&mut reached, *id, package.current(&self.universe));
        }
        reached
    }

    /// All that is there.
    pub(super) fn everything(&self) -> Reached {
        let mut reached = Reached::default();
        for (id, package) in &self.packages {
            add(&mut reached, *id, package.things.keys().copied());
        }
        reached
    }

    /// Bytes of blobs and of manifests, each blob once.
    pub(super) fn bytes(&self, (manifests, blobs): &Reached) -> (u64, u64) {
        let blobs = blobs.iter().map(|blob| self.universe.size(Thing::Blob(*blob))).sum();
        let size = |(_, manifest): &(_, u8)| self.universe.size(Thing::Manifest(*manifest));
        (blobs, manifests.iter().map(size).sum())
    }

    /// All that is kept, newest first.
    fn kept(&self) -> Vec<(Timestamp, Kept)> {
        let mut kept = Vec::new();
        for (id, package) in &self.packages {
            if let Some(at) = package.deleted {
                if !package.given_up {
                    kept.push((at, Kept::Package(*id)));
                }
                continue;
            }
            for event in &package.events {
                if event.keeps {
                    kept.push((event.at, Kept::Event(*id, event.tag, event.at)));
                }
            }
            for (thing, item) in &package.things {
                if let (Some(at), false) = (item.hidden, item.given_up) {
                    kept.push((at, Kept::Hidden(*id, *thing)));
                }
            }
        }
        kept.sort_by_key(|(at, kept)| (std::cmp::Reverse(*at), *kept));
        kept
    }

    /// What is held by something kept and led to by no tag.
    fn held_by(&self, kept: Kept) -> Reached {
        let mut reached = Reached::default();
        let (id, roots) = match kept {
            Kept::Event(id, tag, at) => {
                let from = self.packages[&id].event(tag, at).and_then(|event| event.from);
                (id, from.map(Thing::Manifest).into_iter().collect())
            }
            Kept::Hidden(id, thing) => (id, vec![thing]),
            Kept::Package(id) => (id, self.packages[&id].things.keys().copied().collect()),
        };
        add(&mut reached, id, self.packages[&id].closure(&self.universe, roots));
        let (manifests, blobs) = self.current();
        reached.0.retain(|manifest| !manifests.contains(manifest));
        reached.1.retain(|blob| !blobs.contains(blob));
        reached
    }

    /// What is kept beyond the cap: of the newest, as much as fits stays, and what costs nothing
    /// more. What is past its time may go too.
    pub(super) fn beyond_cap(&self, now: Timestamp) -> BTreeSet<Kept> {
        let Some(cap) = self.settings.keep_bytes else { return BTreeSet::new() };
        let (mut staying, mut all) = (Reached::default(), Reached::default());
        let mut beyond = BTreeSet::new();
        for (at, kept) in self.kept() {
            if now >= at.plus(self.settings.keep) {
                beyond.insert(kept);
                continue;
            }
            let held = self.held_by(kept);
            extend(&mut all, &held);
            let mut with = staying.clone();
            extend(&mut with, &held);
            if self.sum(&all) <= cap || with == staying {
                staying = with;
            } else {
                beyond.insert(kept);
            }
        }
        beyond
    }

    /// Bytes that are held by what is kept and not past its time.
    pub(super) fn kept_bytes(&self, now: Timestamp) -> u64 {
        let mut all = Reached::default();
        for (at, kept) in self.kept() {
            if now < at.plus(self.settings.keep) {
                extend(&mut all, &self.held_by(kept));
            }
        }
        self.sum(&all)
    }

    fn sum(&self, reached: &Reached) -> u64 {
        let (blobs, manifests) = self.bytes(reached);
        blobs + manifests
    }
}

fn add(reached: &mut Reached, id: PackageId, things: impl IntoIterator<Item = Thing>) {
    for thing in things {
        match thing {
            Thing::Blob(blob) => reached.1.insert(blob),
            Thing::Manifest(manifest) => reached.0.insert((id, manifest)),
        };
    }
}

fn extend(reached: &mut Reached, more: &Reached) {
    reached.0.extend(&more.0);
    reached.1.extend(&more.1);
}
