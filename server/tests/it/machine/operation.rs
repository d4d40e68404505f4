//! What clients and administrators do, and what it means for the model.

use super::model::{Event, Item, Model, Package, Session};
use super::universe::{BLOBS, MANIFESTS, NAMES, TAGS, Thing};
use proptest::prelude::*;
use standpipe_server::domain::{CreateOnPush, PackageId, Timestamp, WorkspaceSettings};
use std::time::Duration;

/// One verb. Names, blobs, manifests and tags are numbers of the universe.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    Upload {
        name: u8,
        blob: u8,
    },
    BeginUpload {
        name: u8,
        blob: u8,
    },
    /// The n-th of those that were begun.
    FinishUpload(u8),
    Mount {
        to: u8,
        from: u8,
        blob: u8,
    },
    Head {
        name: u8,
        thing: Thing,
    },
    HeadTag {
        name: u8,
        tag: u8,
    },
    Put {
        name: u8,
        manifest: u8,
        tag: Option<u8>,
    },
    DeleteTag {
        name: u8,
        tag: u8,
    },
    DeleteManifest {
        name: u8,
        manifest: u8,
    },
    DeleteBlob {
        name: u8,
        blob: u8,
    },
    DeletePackage {
        name: u8,
    },
    CreatePackage {
        name: u8,
    },
    RestoreTag {
        name: u8,
        tag: u8,
        to: Option<u8>,
    },
    RestoreManifest {
        name: u8,
        manifest: u8,
    },
    /// The n-th of those that were deleted, perhaps under another name.
    RestorePackage {
        nth: u8,
        name: Option<u8>,
    },
    Settings {
        lease: u8,
        keep: u8,
        cap: u8,
    },
}

fn name() -> impl Strategy<Value = u8> {
    // The third is there for packages that come back under another name.
    prop_oneof![5 => Just(0), 4 => Just(1), 1 => Just(2)]
}

pub(super) fn thing() -> impl Strategy<Value = Thing> {
    prop_oneof![(0..BLOBS).prop_map(Thing::Blob), (0..MANIFESTS).prop_map(Thing::Manifest)]
}

fn pushes() -> impl Strategy<Value = Operation> {
    use Operation as Op;
    let tag = prop::option::weighted(0.6, tag());
    prop_oneof![
        4 => (name(), 0..BLOBS).prop_map(|(name, blob)| Op::Upload { name, blob }),
        1 => (name(), 0..BLOBS).prop_map(|(name, blob)| Op::BeginUpload { name, blob }),
        1 => any::<u8>().prop_map(Op::FinishUpload),
        3 => (name(), name(), 0..BLOBS).prop_map(|(to, from, blob)| Op::Mount { to, from, blob }),
        5 => (name(), thing()).prop_map(|(name, thing)| Op::Head { name, thing }),
        1 => (name(), self::tag()).prop_map(|(name, tag)| Op::HeadTag { name, tag }),
        9 => (name(), 0..MANIFESTS, tag)
            .prop_map(|(name, manifest, tag)| Op::Put { name, manifest, tag }),
    ]
}

pub(super) fn tag() -> impl Strategy<Value = u8> {
    0..u8::try_from(TAGS.len()).unwrap()
}

fn undo() -> impl Strategy<Value = Operation> {
    use Operation as Op;
    let to = prop::option::weighted(0.5, 0..MANIFESTS);
    prop_oneof![
        4 => (name(), tag(), to).prop_map(|(name, tag, to)| Op::RestoreTag { name, tag, to }),
        3 => (name(), 0..MANIFESTS)
            .prop_map(|(name, manifest)| Op::RestoreManifest { name, manifest }),
        3 => (any::<u8>(), prop::option::weighted(0.3, 0..3u8))
            .prop_map(|(nth, name)| Op::RestorePackage { nth, name }),
    ]
}

/// Any of them.
pub(super) fn operation() -> impl Strategy<Value = Operation> {
    use Operation as Op;
    let deletions = prop_oneof![
        6 => (name(), tag()).prop_map(|(name, tag)| Op::DeleteTag { name, tag }),
        4 => (name(), 0..MANIFESTS)
            .prop_map(|(name, manifest)| Op::DeleteManifest { name, manifest }),
        3 => (name(), 0..BLOBS).prop_map(|(name, blob)| Op::DeleteBlob { name, blob }),
        1 => name().prop_map(|name| Op::DeletePackage { name }),
    ];
    prop_oneof![
        10 => pushes(),
        7 => deletions,
        5 => undo(),
        1 => name().prop_map(|name| Op::CreatePackage { name }),
        1 => (0..3u8, 0..3u8, 0..4u8)
            .prop_map(|(lease, keep, cap)| Op::Settings { lease, keep, cap }),
    ]
}

/// Settings of a workspace where whoever may push may create packages.
pub(super) fn settings(lease: u8, keep: u8, cap: u8) -> WorkspaceSettings {
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    WorkspaceSettings {
        create_on_push: CreateOnPush::Writers,
        default_repository: Some("shop".parse().unwrap()),
        lease: [hours(24), hours(1), hours(12)][usize::from(lease)],
        keep: [hours(7 * 24), hours(48), hours(6)][usize::from(keep)],
        keep_bytes: [None, None, Some(200), Some(2000)][usize::from(cap)],
        ..WorkspaceSettings::default()
    }
}

impl Operation {
    /// The package it may create.
    pub(super) const fn may_create(&self) -> Option<u8> {
        match self {
            Self::Upload { name, .. }
            | Self::BeginUpload { name, .. }
            | Self::Mount { to: name, .. }
            | Self::Put { name, .. }
            | Self::CreatePackage { name } => Some(*name),
            _ => None,
        }
    }
}

impl Model {
    /// What an operation does; `fresh` is the id of a package that it creates. `false` if it is
    /// refused, and then nothing has changed.
    pub(super) fn apply(
        &mut self,
        operation: &Operation,
        now: Timestamp,
        fresh: PackageId,
    ) -> bool {
        use Operation as Op;
        match operation {
            Op::Upload { name, blob } => {
                self.create(*name, fresh);
                self.confirm(*name, Thing::Blob(*blob), now)
            }
            // The session's id is only known to whoever began it.
            Op::BeginUpload { name, .. } => {
                self.create(*name, fresh);
                true
            }
            Op::FinishUpload(nth) => self.finish_upload(*nth, now),
            Op::Mount { to, from, blob } => {
                let mounted = self.is_visible(*from, Thing::Blob(*blob));
                if mounted {
                    self.create(*to, fresh);
                    self.confirm(*to, Thing::Blob(*blob), now);
                }
                mounted
            }
            Op::Head { name, thing } => {
                self.is_visible(*name, *thing) && self.confirm(*name, *thing, now)
            }
            Op::HeadTag { name, tag } => {
                let to = self.live(*name).and_then(|package| package.tags.get(tag)).copied();
                to.is_some_and(|to| self.confirm(*name, Thing::Manifest(to), now))
            }
            Op::Put { name, manifest, tag } => self.put(*name, *manifest, *tag, now, fresh),
            Op::CreatePackage { name } => {
                let free = self.named(*name).is_none();
                self.create(*name, fresh);
                free
            }
            Op::RestorePackage { nth, name } => self.restore_package(*nth, *name),
            Op::Settings { lease, keep, cap } => {
                self.settings = settings(*lease, *keep, *cap);
                self.longest_keep = self.longest_keep.max(self.settings.keep);
                true
            }
            other => self.apply_to_package(other, now),
        }
    }

    /// Deletions and undo in a package that is there.
    fn apply_to_package(&mut self, operation: &Operation, now: Timestamp) -> bool {
        use Operation as Op;
        let (universe, lease) = (self.universe.clone(), self.settings.lease);
        let promised = now.plus(lease);
        let (Op::DeleteTag { name, .. }
        | Op::DeleteManifest { name, .. }
        | Op::DeleteBlob { name, .. }
        | Op::DeletePackage { name }
        | Op::RestoreTag { name, .. }
        | Op::RestoreManifest { name, .. }) = operation
        else {
            return false;
        };
        let Some(package) = self.live_mut(*name) else { return false };
        match operation {
            Op::DeleteTag { tag, .. } => package.remove_tag(*tag, now),
            Op::DeleteManifest { manifest, .. } => {
                let hidden = package.hide(Thing::Manifest(*manifest), now);
                let tags: Vec<u8> = package.tags_of(*manifest);
                tags.iter().for_each(|tag| {
                    package.remove_tag(*tag, now);
                });
                hidden
            }
            Op::DeleteBlob { blob, .. } => package.hide(Thing::Blob(*blob), now),
            Op::DeletePackage { .. } => {
                (package.deleted, package.given_up) = (Some(now), false);
                true
            }
            Op::RestoreManifest { manifest, .. } => package.show(&universe, *manifest, promised),
            Op::RestoreTag { tag, to, .. } => {
                let last = || package.events.iter().rev().find(|event| event.tag == *tag);
                let Some(to) = to.or_else(|| last()?.from) else { return false };
                let shown = package.show(&universe, to, promised);
                if shown {
                    package.point(*tag, to, now);
                }
                shown
            }
            _ => false,
        }
    }

    fn create(&mut self, name: u8, fresh: PackageId) {
        if self.named(name).is_none() {
            self.packages.insert(fresh, Package { name, ..Package::default() });
        }
    }

    /// Something is there and visible, and a client was told so.
    fn confirm(&mut self, name: u8, thing: Thing, now: Timestamp) -> bool {
        let promised = now.plus(self.settings.lease);
        let Some(package) = self.live_mut(name) else { return false };
        package.confirm(thing, promised);
        true
    }

    fn finish_upload(&mut self, nth: u8, now: Timestamp) -> bool {
        let Some(session) = self.session(nth) else { return false };
        let promised = now.plus(self.settings.lease);
        let package = self.packages.get_mut(&session.package);
        let package = package.filter(|package| package.deleted.is_none());
        if let Some(package) = package {
            package.confirm(Thing::Blob(session.blob), promised);
            self.sessions.retain(|other| other.id != session.id);
            return true;
        }
        false
    }

    pub(super) fn session(&self, nth: u8) -> Option<Session> {
        let count = self.sessions.len().max(1);
        self.sessions.get(usize::from(nth) % count).copied()
    }

    fn put(
        &mut self,
        name: u8,
        manifest: u8,
        tag: Option<u8>,
        now: Timestamp,
        fresh: PackageId,
    ) -> bool {
        let universe = self.universe.clone();
        if !universe.needs(manifest).all(|thing| self.is_visible(name, thing)) {
            return false;
        }
        self.create(name, fresh);
        let promised = now.plus(self.settings.lease);
        let Some(package) = self.live_mut(name) else { return false };
        if !package.things.contains_key(&Thing::Manifest(manifest)) {
            let independent = package.closes_circle(&universe, manifest);
            let item = Item { independent, ..Item::default() };
            package.things.insert(Thing::Manifest(manifest), item);
        }
        package.confirm(Thing::Manifest(manifest), promised);
        if let Some(tag) = tag {
            package.point(tag, manifest, now);
        }
        true
    }

    /// The n-th deleted package.
    pub(super) fn deleted(&self, nth: u8) -> Option<PackageId> {
        let deleted: Vec<_> =
            self.packages.iter().filter(|(_, package)| package.deleted.is_some()).collect();
        let count = deleted.len().max(1);
        deleted.get(usize::from(nth) % count).map(|(id, _)| **id)
    }

    fn restore_package(&mut self, nth: u8, name: Option<u8>) -> bool {
        let Some(id) = self.deleted(nth) else { return false };
        let name = name.unwrap_or(self.packages[&id].name);
        if self.packages[&id].given_up || self.named(name).is_some() {
            return false;
        }
        let package = self.packages.entry(id).or_default();
        (package.deleted, package.name) = (None, name);
        true
    }
}

impl Package {
    fn confirm(&mut self, thing: Thing, promised: Timestamp) {
        let item = self.things.entry(thing).or_default();
        (item.hidden, item.given_up) = (None, false);
        item.promised = item.promised.max(promised);
    }

    fn hide(&mut self, thing: Thing, now: Timestamp) -> bool {
        match self.things.get_mut(&thing) {
            Some(item) if item.hidden.is_none() => {
                // Whoever is told that it is gone has no promise any more.
                *item =
                    Item { hidden: Some(now), given_up: false, promised: Timestamp(0), ..*item };
                true
            }
            _ => false,
        }
    }

    pub(super) fn tags_of(&self, manifest: u8) -> Vec<u8> {
        self.tags.iter().filter(|(_, to)| **to == manifest).map(|(tag, _)| *tag).collect()
    }

    fn remove_tag(&mut self, tag: u8, at: Timestamp) -> bool {
        let Some(from) = self.tags.remove(&tag) else { return false };
        self.events.push(Event { tag, from: Some(from), to: None, at, keeps: true });
        true
    }

    fn point(&mut self, tag: u8, to: u8, at: Timestamp) {
        let from = self.tags.insert(tag, to);
        if from != Some(to) {
            self.events.push(Event { tag, from, to: Some(to), at, keeps: from.is_some() });
        }
    }

    /// Shows a manifest again with all that it needs.
    fn show(
        &mut self,
        universe: &super::universe::Universe,
        manifest: u8,
        promised: Timestamp,
    ) -> bool {
        let there = self.things.contains_key(&Thing::Manifest(manifest));
        let mut open = vec![manifest];
        while let Some(manifest) = open.pop().filter(|_| there) {
            self.confirm(Thing::Manifest(manifest), promised);
            for thing in universe.needs(manifest) {
                match thing {
                    Thing::Manifest(child) => open.push(child),
                    Thing::Blob(_) => {
                        let item = self.things.entry(thing).or_default();
                        (item.hidden, item.given_up) = (None, false);
                    }
                }
            }
        }
        there
    }
}

/// A package's name as the registry knows it.
pub(super) fn name_of(name: u8) -> &'static str {
    NAMES[usize::from(name)]
}
