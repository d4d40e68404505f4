//! What tags lead to, and what therefore only a selection keeps: one function for the preview of a
//! deletion, for what a workspace holds beyond its tags, and for the cap on that (DESIGN §4, "Bytes").
//!
//! *Current* is what a tag leads to: a tagged manifest, the children of a current manifest, the
//! referrers of a current subject, and their blobs. Everything else is kept for undo or under a lease,
//! and goes by itself. Invariant: only reads, in one snapshot; stops at the first current holder of
//! each thing. When more rows were looked at than allowed, what is left counts as current and the
//! answer is marked as a lower bound.

use super::batch::{Rows, Table, Walk};
use super::due;
use super::keys::{Key, KeyReader};
use super::rows::{ManifestRow, PackageRow};
use super::{blobs, manifests, packages, tags};
use crate::domain::{Digest, PackageId, Tag, WorkspaceId};
use crate::metadata::{Freed, Held, MetadataError, Preview, Result, Selection};
use std::collections::{HashMap, HashSet};

/// Deepest chain of parents and subjects followed.
const DEEPEST: usize = 200;

/// Rows of a large package that are in memory at a time.
const AT_A_TIME: usize = 1000;

/// A manifest of a package.
pub(super) type Node = (PackageId, Digest);

/// A search in one workspace.
pub(super) struct Reach<'a, R> {
    rows: &'a R,
    workspace: WorkspaceId,
    left: u64,
    /// The search was cut short.
    pub(super) cut: bool,
    known: HashMap<Node, Known>,
    live: HashMap<PackageId, bool>,
    /// Tags that count as gone.
    without_tags: HashSet<(PackageId, Tag)>,
    /// Manifests that count as deleted: no tag and no subject holds them.
    without: HashSet<Node>,
    counted_blobs: HashSet<Digest>,
    /// What was counted, in order, so that it can be taken back; only if somebody will.
    order: Option<(Vec<Node>, Vec<Digest>)>,
}

/// What is known of a manifest. A package may have a hundred thousand, so this is small.
#[derive(Clone, Copy, Default)]
struct Known {
    current: bool,
    counted: bool,
}

impl<'a, R: Rows> Reach<'a, R> {
    pub(super) fn new(rows: &'a R, workspace: WorkspaceId, most_probes: u64) -> Self {
        Self {
            rows,
            workspace,
            left: most_probes,
            cut: false,
            known: HashMap::new(),
            live: HashMap::new(),
            without_tags: HashSet::new(),
            without: HashSet::new(),
            counted_blobs: HashSet::new(),
            order: None,
        }
    }

    /// The same, for somebody who takes back.
    pub(super) fn remembering(self) -> Self {
        Self { order: Some(Default::default()), ..self }
    }

    /// How much was counted so far.
    pub(super) fn mark(&self) -> (usize, usize) {
        self.order.as_ref().map_or((0, 0), |order| (order.0.len(), order.1.len()))
    }

    /// Takes for not counted what was counted since the mark.
    pub(super) fn take_back(&mut self, (manifests, blobs): (usize, usize)) {
        let Some(order) = &mut self.order else { return };
        for node in order.0.drain(manifests..) {
            self.known.entry(node).or_default().counted = false;
        }
        for digest in order.1.drain(blobs..) {
            self.counted_blobs.remove(&digest);
        }
    }

    /// Counts a look at a row; `false` once there were too many.
    const fn probe(&mut self) -> bool {
        if self.left == 0 {
            self.cut = true;
            return false;
        }
        self.left -= 1;
        true
    }

    fn is_live(&mut self, package: PackageId) -> Result<bool> {
        if let Some(live) = self.live.get(&package) {
            return Ok(*live);
        }
        let live = packages::live_row(self.rows, package)?.is_some();
        self.live.insert(package, live);
        Ok(live)
    }

    /// Whether a tag leads to a manifest. What cannot be told within the limits counts as current.
    fn is_current(&mut self, node: Node, depth: usize) -> Result<bool> {
        if let Some(known) = self.known.get(&node) {
            return Ok(known.current);
        }
        if depth > DEEPEST || !self.probe() {
            self.cut = true;
            return Ok(true);
        }
        let current = self.is_live(node.0)?
            && (self.is_tagged(node)?
                || self.has_current_parent(node, depth)?
                || self.has_current_subject(node, depth)?);
        self.known.insert(node, Known { current, counted: false });
        Ok(current)
    }

    fn is_tagged(&self, node: Node) -> Result<bool> {
        if self.without.contains(&node) {
            return Ok(false);
        }
        let mut tagged = false;
        let prefix = manifests::key(node.0, &node.1);
        self.rows.prefix(Table::Tagged, &prefix, None, &mut |rest, _| {
            tagged = !self.without_tags.contains(&(node.0, tags::tag_of(rest)?));
            Ok(if tagged { Walk::Stop } else { Walk::Continue })
        })?;
        Ok(tagged)
    }

    fn has_current_parent(&mut self, node: Node, depth: usize) -> Result<bool> {
        let prefix = manifests::key(node.0, &node.1);
        let mut after: Option<Key> = None;
        // A few at a time: most have few parents, and the first of many is usually current.
        loop {
            let mut parents = Vec::new();
            self.rows.prefix(Table::Edge, &prefix, after.as_ref(), &mut |rest, _| {
                parents.push(blobs::digest_of(rest, "edge")?);
                Ok(if parents.len() < 16 { Walk::Continue } else { Walk::Stop })
            })?;
            let Some(last) = parents.last() else { return Ok(false) };
            after = Some(prefix.clone().digest(last));
            for parent in parents {
                if self.is_current((node.0, parent), depth + 1)? {
                    return Ok(true);
                }
            }
        }
    }

    fn has_current_subject(&mut self, node: Node, depth: usize) -> Result<bool> {
        if self.without.contains(&node) {
            return Ok(false);
        }
        let row: Option<ManifestRow> =
            self.rows.row(Table::Manifest, &manifests::key(node.0, &node.1))?;
        let Some(row) = row.filter(ManifestRow::lives_by_subject) else { return Ok(false) };
        let Some(subject) = row.subject else { return Ok(false) };
        let subject = (node.0, subject.read()?);
        Ok(self.rows.has(Table::Manifest, &manifests::key(subject.0, &subject.1))?
            && self.is_current(subject, depth + 1)?)
    }

    fn is_blob_current(&mut self, digest: &Digest) -> Result<bool> {
        let mut holders = Vec::new();
        let prefix = Key::new().workspace(self.workspace).digest(digest);
        self.rows.prefix(Table::Holder, &prefix, None, &mut |rest, _| {
            let id = KeyReader(rest).number().ok_or(MetadataError::Corrupt("holder"))?;
            holders.push(PackageId(id));
            Ok(Walk::Continue)
        })?;
        for holder in holders {
            if !self.probe() {
                return Ok(true);
            }
            if self.is_live(holder)? && self.has_current_parent((holder, *digest), 0)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Adds what would go with these manifests: they themselves unless current, what they hold, and
    /// what refers to them. What was counted before is not counted again.
    pub(super) fn count(&mut self, roots: Vec<Node>) -> Result<Freed> {
        let mut freed = Freed::default();
        let mut open = roots;
        while let Some(node) = open.pop() {
            if self.is_counted(&node) || self.is_current(node, 0)? {
                continue;
            }
            let key = manifests::key(node.0, &node.1);
            let row: Option<ManifestRow> = self.rows.row(Table::Manifest, &key)?;
            let Some(row) = row else { continue };
            if !self.probe() {
                break;
            }
            self.known.entry(node).or_default().counted = true;
            if let Some(order) = &mut self.order {
                order.0.push(node);
            }
            freed.manifests += 1;
            freed.manifest_bytes += row.size;
            for blob in &row.blobs {
                freed.add(&self.count_blob(blob.read()?)?);
            }
            for child in &row.children {
                open.push((node.0, child.read()?));
            }
            self.rows.prefix(Table::Referrer, &key, None, &mut |rest, _| {
                let referrer = (node.0, blobs::digest_of(rest, "referrer")?);
                let key = manifests::key(referrer.0, &referrer.1);
                let row: Option<ManifestRow> = self.rows.row(Table::Manifest, &key)?;
                if row.is_some_and(|row| row.lives_by_subject()) {
                    open.push(referrer);
                }
                Ok(Walk::Continue)
            })?;
        }
        Ok(freed)
    }

    fn is_counted(&self, node: &Node) -> bool {
        self.known.get(node).is_some_and(|known| known.counted)
    }

    /// Adds blobs unless something current needs them or they were counted before.
    pub(super) fn count_blobs(&mut self, digests: Vec<Digest>) -> Result<Freed> {
        let mut freed = Freed::default();
        for digest in digests {
            freed.add(&self.count_blob(digest)?);
        }
        Ok(freed)
    }

    fn count_blob(&mut self, digest: Digest) -> Result<Freed> {
        let mut freed = Freed::default();
        if self.counted_blobs.contains(&digest) || self.is_blob_current(&digest)? {
            return Ok(freed);
        }
        if let Some(row) = blobs::blob_row(self.rows, self.workspace, &digest)? {
            self.counted_blobs.insert(digest);
            if let Some(order) = &mut self.order {
                order.1.push(digest);
            }
            freed.blobs += 1;
            freed.blob_bytes += row.size;
        }
        Ok(freed)
    }

    /// Adds all of a package, some at a time: it may be large.
    pub(super) fn count_package(&mut self, package: PackageId) -> Result<Freed> {
        let mut freed = Freed::default();
        for table in [Table::Manifest, Table::Link] {
            let prefix = packages::key(package);
            let mut after = None;
            loop {
                let some = self.digests(table, &prefix, after.as_ref(), AT_A_TIME)?;
                let Some(last) = some.last() else { break };
                after = Some(prefix.clone().digest(last));
                freed.add(&match table {
                    Table::Manifest => {
                        self.count(some.into_iter().map(|digest| (package, digest)).collect())?
                    }
                    _ => self.count_blobs(some)?,
                });
                if self.cut {
                    return Ok(freed);
                }
            }
        }
        Ok(freed)
    }

    /// The digests that follow a prefix, each once, at most so many, as far as the limit allows.
    fn digests(
        &mut self,
        table: Table,
        prefix: &Key,
        after: Option<&Key>,
        most: usize,
    ) -> Result<Vec<Digest>> {
        let mut found: Vec<Digest> = Vec::new();
        let rows = self.rows;
        rows.prefix(table, prefix, after, &mut |rest, _| {
            let digest = blobs::digest_of(rest, "key")?;
            if found.last() != Some(&digest) {
                if found.len() == most {
                    return Ok(Walk::Stop);
                }
                found.push(digest);
            }
            Ok(if self.probe() { Walk::Continue } else { Walk::Stop })
        })?;
        Ok(found)
    }

    /// Manifests and blobs of a package that may be kept or leased: kept by history, or due.
    fn not_current_roots(&mut self, package: PackageId) -> Result<(Vec<Node>, Vec<Digest>)> {
        let prefix = packages::key(package);
        let mut manifests = self.digests(Table::Kept, &prefix, None, usize::MAX)?;
        let of = |kind: u8| Key::new().byte(kind).raw(prefix.bytes());
        manifests.extend(self.digests(Table::DueOf, &of(due::MANIFEST), None, usize::MAX)?);
        let blobs = self.digests(Table::DueOf, &of(due::LINK), None, usize::MAX)?;
        Ok((manifests.into_iter().map(|digest| (package, digest)).collect(), blobs))
    }
}

/// What a deletion would free in the end.
pub(super) fn preview(
    rows: &impl Rows,
    package: PackageId,
    selection: &Selection,
    most_probes: u64,
) -> Result<Preview> {
    let owner = packages::live_row(rows, package)?.ok_or(MetadataError::NotFound)?;
    let mut reach = Reach::new(rows, WorkspaceId(owner.workspace), most_probes);
    let freed = match selection {
        Selection::Tags(selected) => {
            let mut roots = Vec::new();
            for tag in selected {
                let target = tags::target(rows, package, tag)?.ok_or(MetadataError::NotFound)?;
                roots.push((package, target));
                reach.without_tags.insert((package, tag.clone()));
            }
            reach.count(roots)?
        }
        Selection::Manifests(selected) => {
            let mut roots = Vec::new();
            for digest in selected {
                manifests::visible(rows, package, digest)?.ok_or(MetadataError::NotFound)?;
                roots.push((package, *digest));
                reach.without.insert((package, *digest));
            }
            reach.count(roots)?
        }
        Selection::Package => {
            reach.live.insert(package, false);
            reach.count_package(package)?
        }
    };
    Ok(Preview { freed, at_least: reach.cut })
}

/// Ids of a workspace's packages: those that are there, and those that were deleted.
pub(super) fn packages_of(
    rows: &impl Rows,
    workspace: WorkspaceId,
) -> Result<(Vec<PackageId>, Vec<PackageId>)> {
    let prefix = Key::new().workspace(workspace);
    let mut live = Vec::new();
    rows.prefix(Table::PackageName, &prefix, None, &mut |_, value| {
        live.push(package_of(value)?);
        Ok(Walk::Continue)
    })?;
    Ok((live, deleted_packages(rows, workspace)?))
}

/// What a workspace holds that no tag leads to.
pub(super) fn held(rows: &impl Rows, workspace: WorkspaceId, most_probes: u64) -> Result<Held> {
    let mut reach = Reach::new(rows, workspace, most_probes);
    let mut held = Freed::default();
    let mut after = None;
    while !reach.cut {
        let some = some_packages(rows, workspace, after.as_ref())?;
        let Some((last, _)) = some.last() else { break };
        after = Some(last.clone());
        for (_, package) in some {
            // A package with nothing to count was looked at as well.
            if !reach.probe() {
                break;
            }
            let (manifests, blobs) = reach.not_current_roots(package)?;
            held.add(&reach.count(manifests)?);
            held.add(&reach.count_blobs(blobs)?);
        }
    }
    for package in deleted_packages(rows, workspace)? {
        if !reach.probe() {
            break;
        }
        held.add(&reach.count_package(package)?);
    }
    Ok(Held { held, at_least: reach.cut })
}

/// A few packages of a workspace by name, each with the key that the next ones come after.
fn some_packages(
    rows: &impl Rows,
    workspace: WorkspaceId,
    after: Option<&Key>,
) -> Result<Vec<(Key, PackageId)>> {
    let prefix = Key::new().workspace(workspace);
    let mut some = Vec::new();
    rows.prefix(Table::PackageName, &prefix, after, &mut |rest, value| {
        some.push((prefix.clone().raw(rest), package_of(value)?));
        Ok(if some.len() < AT_A_TIME { Walk::Continue } else { Walk::Stop })
    })?;
    Ok(some)
}

fn package_of(value: &[u8]) -> Result<PackageId> {
    super::rows::Row::decode(value).map(|row: super::rows::NumberRow| PackageId(row.0))
}

fn deleted_packages(rows: &impl Rows, workspace: WorkspaceId) -> Result<Vec<PackageId>> {
    let mut deleted = Vec::new();
    let prefix = Key::new().workspace(workspace);
    rows.prefix(Table::Deleted, &prefix, None, &mut |rest, _| {
        let id = KeyReader(rest).number().ok_or(MetadataError::Corrupt("deleted package"))?;
        deleted.push(PackageId(id));
        Ok(Walk::Continue)
    })?;
    Ok(deleted)
}

/// The row of a package, deleted or not.
pub(super) fn any_package(rows: &impl Rows, id: PackageId) -> Result<Option<PackageRow>> {
    rows.row(Table::Package, &packages::key(id))
}
