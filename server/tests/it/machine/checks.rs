//! Comparing the registry with the model, and what must hold once everything has run out.

use super::history::{Agreed, History, PROBES, ensure};
use super::model::{Model, Package};
use super::operation::Operation;
use super::step::Selected;
use super::universe::{BLOBS, MANIFESTS, NAMES, Thing, Universe};
use super::world::{World, name, tag};
use standpipe_server::domain::{Caller, PackageId, Reference};
use standpipe_server::metadata::{Freed, PackageUsage, Page, Selection, TagEvent, WorkspaceUsage};
use standpipe_server::registry::blobs::{ByteRange, Purpose};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long `lost+found` keeps things.
const LOST_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Everything on one page.
const PAGE: Page = Page { after: None, limit: 10_000 };

impl History {
    /// Whether the registry is as the model says; `closely` looks at every thing and its bytes.
    pub(super) async fn agrees(&self, model: &Model, closely: bool) -> Agreed {
        let metadata = &self.world.metadata;
        let workspace = metadata.workspace_by_id(self.world.workspace).await.unwrap();
        ensure!(workspace.unwrap().settings == model.settings, "the settings differ");
        let everything = model.everything();
        let (blob_bytes, manifest_bytes) = model.bytes(&everything);
        let usage = metadata.workspace_usage(self.world.workspace).await.unwrap();
        let expected = WorkspaceUsage { blob_bytes, manifest_bytes, ..usage };
        ensure!(usage == expected, "the workspace has {usage:?}, not {expected:?}");
        for (number, _) in NAMES.iter().enumerate() {
            let number = u8::try_from(number).unwrap();
            let found = metadata.resolve(&name(number)).await.unwrap().package;
            let found = found.map(|(package, _)| package.id);
            let expected = model.named(number);
            ensure!(found == expected, "package {number} is {found:?}, not {expected:?}");
            if let Some(id) = found {
                self.package_agrees(model, id).await?;
                if closely {
                    self.content_agrees(model, number, id).await?;
                }
            }
        }
        if closely { self.rows_agree(model).await } else { Ok(()) }
    }

    async fn package_agrees(&self, model: &Model, id: PackageId) -> Agreed {
        let (metadata, package) = (&self.world.metadata, &model.packages[&id]);
        let usage = metadata.package_usage(id).await.unwrap();
        let expected = package_usage(model, id);
        ensure!(usage == expected, "package {id} has {usage:?}, not {expected:?}");
        let tags = metadata.tags(id, PAGE).await.unwrap();
        let tags: BTreeMap<_, _> = tags.into_iter().map(|row| (row.tag, row.digest)).collect();
        let digest = |to: &u8| model.universe.manifest(*to).digest;
        let expected: BTreeMap<_, _> =
            package.tags.iter().map(|(from, to)| (tag(*from), digest(to))).collect();
        ensure!(tags == expected, "package {id} has the tags {tags:?}, not {expected:?}");
        Ok(())
    }

    /// What clients see, through the verbs and without a role, so that nothing is promised by it.
    async fn content_agrees(&self, model: &Model, number: u8, id: PackageId) -> Agreed {
        let (World { registry, metadata, .. }, universe) = (&self.world, &model.universe);
        let access = registry.readable(&Caller::anonymous(), &name(number)).await.unwrap();
        let package = &model.packages[&id];
        let current = package.current(universe);
        for thing in (0..BLOBS).map(Thing::Blob).chain((0..MANIFESTS).map(Thing::Manifest)) {
            let digest = universe.digest(thing);
            let readable = current.contains(&thing) && package.visible(thing);
            let visible = match thing {
                Thing::Blob(blob) => {
                    let found = registry.blob(&access, &digest, Purpose::Pull).await;
                    if let (Ok(facts), true) = (&found, readable) {
                        let range = ByteRange { offset: 0, length: facts.size };
                        let stream = registry.read_blob(&access, &digest, *facts, range).await;
                        let stream = stream.map_err(|error| format!("blob {blob}: {error:?}"))?;
                        let bytes = stream.collect().await.unwrap();
                        let expected = &universe.blobs[usize::from(blob)].1;
                        ensure!(bytes == *expected, "blob {blob} has other bytes");
                    }
                    found.is_ok()
                }
                Thing::Manifest(manifest) if readable => {
                    let found = registry.manifest(&access, &Reference::Digest(digest)).await;
                    let found = found.map_err(|error| format!("manifest {manifest}: {error:?}"))?;
                    let expected = &universe.manifest(manifest).bytes;
                    ensure!(found.bytes == *expected, "manifest {manifest} has other bytes");
                    true
                }
                Thing::Manifest(_) => {
                    registry.manifest_facts(&access, &Reference::Digest(digest)).await.is_ok()
                }
            };
            let expected = package.visible(thing);
            ensure!(
                visible == expected,
                "{thing:?} in package {id} is to be seen: {visible}, but should be: {expected}"
            );
        }
        let rows = metadata.history(id, None, 10_000).await.unwrap();
        let rows: Vec<_> =
            rows.into_iter().rev().map(|row| (row.tag, row.event, row.moved.at)).collect();
        let expected = expected_history(universe, package);
        ensure!(rows == expected, "package {id} has the history {rows:?}, not {expected:?}");
        Ok(())
    }

    /// The rows among themselves, and the sums that are worked out from them.
    async fn rows_agree(&self, model: &Model) -> Agreed {
        let (metadata, workspace) = (&self.world.metadata, self.world.workspace);
        let words = metadata.check().await.unwrap();
        ensure!(words.is_empty(), "the recount says {words:?}");
        let held = metadata.held(workspace, PROBES).await.unwrap();
        let expected = difference(model, &model.everything(), &model.current());
        ensure!(
            held.held == expected && !held.at_least,
            "{held:?} is held, but should be {expected:?}"
        );
        let deleted = metadata.deleted_packages(workspace, None, 100).await.unwrap();
        let deleted: BTreeSet<_> = deleted.into_iter().map(|found| found.package.id).collect();
        let restorable = |package: &Package| package.deleted.is_some() && !package.given_up;
        let expected: BTreeSet<_> = model
            .packages
            .iter()
            .filter(|(_, package)| restorable(package))
            .map(|(id, _)| *id)
            .collect();
        ensure!(deleted == expected, "{deleted:?} can be put back, but should be {expected:?}");
        let objects = metadata.objects(None, 10_000).await.unwrap();
        let objects: BTreeSet<_> = objects.into_iter().map(|object| object.digest).collect();
        let (_, blobs) = model.everything();
        let expected: BTreeSet<_> =
            blobs.into_iter().map(|blob| model.universe.digest(Thing::Blob(blob))).collect();
        ensure!(objects == expected, "the stored blobs are {objects:?}, not {expected:?}");
        Ok(())
    }

    /// Lets everything run out; then only what tags lead to is left, in rows and on the disk.
    pub(super) async fn settle(&mut self) -> Agreed {
        if self.faults > 0 {
            // What a fault left on the disk is found at the next start.
            let now = self.now();
            self.world.restart(now);
            self.world.start_up().await;
            self.model.boot = now;
        }
        for _ in 0..2 {
            let settings = &self.model.settings;
            let longest =
                settings.grant().max(self.model.longest_keep).max(Duration::from_secs(27 * 3600));
            self.world.clock.advance(longest + Duration::from_secs(120));
            self.collect_all().await?;
        }
        self.world.clock.advance(self.model.settings.purge + Duration::from_secs(1));
        self.collect_all().await?;
        // Nothing is kept any more, so the registry's own rounds have no cap to look at. Uploads end
        // in them only, and are looked at again after a part of a lease.
        self.world.clock.advance(Duration::from_secs(24 * 3600));
        while self.world.registry.collect().await.unwrap().more {}
        self.sync(&BTreeSet::new()).await?;
        self.is_settled().await?;
        if self.faults > 0 {
            // Objects whose row or whose removal was lost were set aside, and their time ends too.
            self.world.clock.advance(LOST_KEPT + Duration::from_secs(1));
            self.world.registry.sweep().await.unwrap();
        }
        let lost = self.world.lost();
        ensure!(lost == 0, "{lost} things were lost and found");
        Ok(())
    }

    async fn is_settled(&self) -> Agreed {
        let (World { metadata, blobs, .. }, model) = (&self.world, &self.model);
        for (id, package) in &model.packages {
            ensure!(package.deleted.is_none(), "the deleted package {id} is still there");
            let current = package.current(&model.universe);
            let left: Vec<_> =
                package.things.iter().filter(|(thing, _)| !current.contains(thing)).collect();
            ensure!(left.is_empty(), "{left:?} is left in package {id}: {package:?}");
        }
        self.agrees(model, true).await?;
        let backlog = metadata.backlog(10).await.unwrap();
        ensure!((backlog.due, backlog.doomed) == (0, 0), "after all there is {backlog:?}");
        let usage = metadata.workspace_usage(self.world.workspace).await.unwrap();
        ensure!(usage.doomed_bytes == 0, "{} bytes are doomed for ever", usage.doomed_bytes);
        let rows = metadata.objects(None, 10_000).await.unwrap();
        let rows: BTreeSet<_> = rows.into_iter().map(|row| row.object).collect();
        let objects = blobs.objects(None, 10_000).await.unwrap();
        let objects: BTreeSet<_> = objects.into_iter().collect();
        ensure!(objects == rows, "the disk has {objects:?}, the rows say {rows:?}");
        let uploads = metadata.uploads(None, 100).await.unwrap();
        ensure!(uploads.is_empty(), "uploads are left: {uploads:?}");
        let uploads = blobs.uploads().await.unwrap();
        ensure!(uploads.is_empty(), "uploads are left on the disk: {uploads:?}");
        Ok(())
    }

    /// What a deletion is said to free is what it frees.
    pub(super) async fn preview(&mut self, number: u8, what: &Selected) -> Agreed {
        self.settle().await?;
        let Some(id) = self.model.named(number) else { return Ok(()) };
        let package = &self.model.packages[&id];
        let (there, selection, deletions) = selected(&self.model.universe, package, number, what);
        let access = self.world.administered(id).await.unwrap();
        let preview = self.world.registry.deletion_preview(&access, &selection).await;
        ensure!(preview.is_ok() == there, "the preview says {preview:?}");
        let Ok(preview) = preview else { return Ok(()) };
        let before = self.model.everything();
        let mut times = BTreeSet::new();
        for deletion in deletions {
            self.world.clock.advance(Duration::from_millis(1));
            times.insert(self.now());
            self.execute(&deletion).await?;
        }
        self.receipts.clear();
        self.settle().await?;
        let freed = difference(&self.model, &before, &self.model.everything());
        ensure!(freed == preview.freed, "{preview:?} was said, but {freed:?} was freed");
        ensure!(!preview.at_least, "the preview gave up");
        let mut sum = Freed::default();
        for (cause, freed) in &self.receipts {
            ensure!(times.contains(&cause.by.at), "{freed:?} was freed by {cause:?}");
            sum.add(freed);
        }
        ensure!(sum == freed, "the receipts say {sum:?}, but {freed:?} was freed");
        let stored =
            self.world.metadata.receipts(self.world.workspace, None, 10_000).await.unwrap();
        let mut sum = Freed::default();
        for (_, receipt) in stored {
            if times.contains(&receipt.cause.by.at) {
                sum.add(&receipt.freed);
            }
        }
        ensure!(sum == freed, "the stored receipts say {sum:?}, but {freed:?} was freed");
        Ok(())
    }
}

/// Whether what is selected is there, how the registry is asked about it, and how it is deleted.
fn selected(
    universe: &Universe,
    package: &Package,
    number: u8,
    what: &Selected,
) -> (bool, Selection, Vec<Operation>) {
    let name = number;
    match what {
        Selected::Tags(tags) => {
            let there = tags.iter().all(|tag| package.tags.contains_key(tag));
            let deletions =
                tags.iter().map(|tag| Operation::DeleteTag { name, tag: *tag }).collect();
            (there, Selection::Tags(tags.iter().map(|number| tag(*number)).collect()), deletions)
        }
        Selected::Manifest(manifest) => {
            let there = package.visible(Thing::Manifest(*manifest));
            let selection = Selection::Manifests(vec![universe.manifest(*manifest).digest]);
            let deletion = Operation::DeleteManifest { name, manifest: *manifest };
            (there, selection, vec![deletion])
        }
        Selected::Package => (true, Selection::Package, vec![Operation::DeletePackage { name }]),
    }
}

fn package_usage(model: &Model, id: PackageId) -> PackageUsage {
    let mut usage = PackageUsage::default();
    for thing in model.packages[&id].things.keys() {
        let size = model.universe.size(*thing);
        if matches!(thing, Thing::Manifest(_)) {
            usage.manifest_bytes += size;
            continue;
        }
        usage.linked_bytes += size;
        let holders =
            model.packages.values().filter(|package| package.things.contains_key(thing)).count();
        if holders == 1 {
            usage.exclusive_bytes += size;
        }
    }
    usage
}

/// What of `all` is not in `part`.
fn difference(model: &Model, all: &super::model::Reached, part: &super::model::Reached) -> Freed {
    let manifests = &all.0 - &part.0;
    let blobs = &all.1 - &part.1;
    let count = |number: usize| u64::try_from(number).unwrap();
    let counts = (count(manifests.len()), count(blobs.len()));
    let (blob_bytes, manifest_bytes) = model.bytes(&(manifests, blobs));
    Freed { manifests: counts.0, manifest_bytes, blobs: counts.1, blob_bytes }
}

fn expected_history(
    universe: &Universe,
    package: &Package,
) -> Vec<(standpipe_server::domain::Tag, TagEvent, standpipe_server::domain::Timestamp)> {
    let digest = |number: u8| universe.manifest(number).digest;
    let event = |event: &super::model::Event| {
        let moved = match (event.from, event.to) {
            (Some(from), None) => TagEvent::Deleted(digest(from)),
            (from, Some(to)) => TagEvent::Moved { from: from.map(digest), to: digest(to) },
            (None, None) => unreachable!("a tag moves from or to something"),
        };
        (tag(event.tag), moved, event.at)
    };
    package.events.iter().map(event).collect()
}
