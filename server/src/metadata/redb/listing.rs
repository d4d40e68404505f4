//! Lists that people look at.
//!
//! Invariant: a list reads rows in proportion to its page. Where a filter could make it walk past
//! everything, it stops after [`MOST_WALKED`] rows and says where it goes on.

use super::batch::{Batch, Rows, Table, Walk};
use super::due::{self, Item};
use super::keys::{Key, KeyReader};
use super::rows::{NumberRow, PackageRow, Row as _, TagValue};
use super::{blobs, look, manifests, packages, repositories, tags, usage};
use crate::domain::{Digest, PackageId, Reference, RepositoryId, Tag, Timestamp, WorkspaceId};
use crate::metadata::{
    ATTACHED, BlobUse, DueEntry, Largest, ListCursor, MOST_REFERRERS_BESIDE, MOST_TAGS_BESIDE,
    MOST_USES, ManifestInspection, ManifestOverview, MetadataError, Order, Package, PackageList,
    PackageOverview, PackageQuery, Repository, Result, TagList, TagQuery, Upcoming, UpcomingEntry,
    attached_tag,
};
use std::collections::{HashMap, HashSet};

/// The most rows of an index that one page walks past.
const MOST_WALKED: usize = 2_000;
/// The most packages that are gathered to be sorted in memory.
const MOST_GATHERED: usize = 1_000;
/// The largest manifest that a list reads, in bytes.
const LARGEST_READ: u64 = 64 << 10;
/// The most due entries that a look at a workspace's next ones walks past.
const MOST_DUE_WALKED: usize = 2_000;

/// The row by which packages are found by the time of their last change.
pub(super) fn recent_key(workspace: WorkspaceId, updated: u64, package: PackageId) -> Key {
    Key::new().workspace(workspace).number(updated).package(package)
}

/// The row by which tags are found by the time of their last movement.
pub(super) fn tag_time_key(package: PackageId, moved: u64, tag: &Tag) -> Key {
    Key::new().package(package).number(moved).text(tag.as_str())
}

/// A page of packages.
pub(super) fn packages(
    rows: &impl Rows,
    workspace: WorkspaceId,
    query: &PackageQuery,
) -> Result<PackageList> {
    let mut page = PackagePage::new(rows, workspace, query);
    if let Some(repositories) = &query.repositories
        && let Some(gathered) = of_repositories(rows, repositories)?
    {
        return page.sorted(gathered);
    }
    if query.order == Order::Newest
        && !query.prefix.is_empty()
        && let Some(gathered) = of_prefix(rows, workspace, &query.prefix)?
    {
        return page.sorted(gathered);
    }
    page.walk()?;
    page.finish()
}

/// The packages of a few repositories, or `None` if they are too many to be sorted in memory.
fn of_repositories(
    rows: &impl Rows,
    repositories: &[RepositoryId],
) -> Result<Option<Vec<Package>>> {
    let mut ids = Vec::new();
    for repository in repositories {
        let prefix = Key::new().repository(*repository);
        rows.prefix(Table::PackagesOf, &prefix, None, &mut |rest, _| {
            let id = KeyReader(rest).number().ok_or(MetadataError::Corrupt("package link"))?;
            ids.push(PackageId(id));
            Ok(if ids.len() <= MOST_GATHERED { Walk::Continue } else { Walk::Stop })
        })?;
        if ids.len() > MOST_GATHERED {
            return Ok(None);
        }
    }
    let found: Vec<_> =
        ids.into_iter().map(|id| packages::by_id(rows, id)).collect::<Result<_>>()?;
    Ok(Some(found.into_iter().flatten().collect()))
}

/// The packages of a name prefix, or `None` if they are too many to be sorted in memory.
fn of_prefix(
    rows: &impl Rows,
    workspace: WorkspaceId,
    prefix: &str,
) -> Result<Option<Vec<Package>>> {
    let mut ids = Vec::new();
    let prefix = Key::new().workspace(workspace).text(prefix);
    rows.prefix(Table::PackageName, &prefix, None, &mut |_, value| {
        ids.push(PackageId(NumberRow::decode(value)?.0));
        Ok(if ids.len() <= MOST_GATHERED { Walk::Continue } else { Walk::Stop })
    })?;
    if ids.len() > MOST_GATHERED {
        return Ok(None);
    }
    let found: Vec<_> =
        ids.into_iter().map(|id| packages::by_id(rows, id)).collect::<Result<_>>()?;
    Ok(Some(found.into_iter().flatten().collect()))
}

/// A page of packages as it is put together.
struct PackagePage<'a, R> {
    rows: &'a R,
    workspace: WorkspaceId,
    query: &'a PackageQuery,
    repositories: HashMap<RepositoryId, Repository>,
    found: Vec<Package>,
    next: Option<ListCursor>,
}

impl<'a, R: Rows> PackagePage<'a, R> {
    fn new(rows: &'a R, workspace: WorkspaceId, query: &'a PackageQuery) -> Self {
        let (repositories, found, next) = Default::default();
        Self { rows, workspace, query, repositories, found, next }
    }

    fn wanted(&self, package: &Package) -> bool {
        package.workspace == self.workspace
            && package.name.as_str().starts_with(&self.query.prefix)
            && self
                .query
                .repositories
                .as_ref()
                .is_none_or(|wanted| wanted.contains(&package.repository))
    }

    /// A page of what was gathered.
    fn sorted(&mut self, mut gathered: Vec<Package>) -> Result<PackageList> {
        gathered.retain(|package| self.wanted(package));
        match self.query.order {
            Order::Name => gathered.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str())),
            Order::Newest => {
                gathered.sort_by_key(|package| std::cmp::Reverse((package.updated, package.id)))
            }
        }
        let past = |package: &Package| match &self.query.after {
            None => true,
            Some(ListCursor::Name(name)) => package.name.as_str() > name.as_str(),
            Some(ListCursor::Time(at, id)) => {
                let id = id.parse().unwrap_or_default();
                (package.updated, package.id) < (*at, PackageId(id))
            }
        };
        gathered.retain(past);
        if gathered.len() > self.query.limit {
            gathered.truncate(self.query.limit);
            let last = gathered.last();
            self.next = last.map(|last| ListCursor::of_package(self.query.order, last));
        }
        self.found = gathered;
        self.finish()
    }

    /// Walks the index of the order.
    fn walk(&mut self) -> Result<()> {
        match self.query.order {
            Order::Name => self.walk_names(),
            Order::Newest => self.walk_times(),
        }
    }

    fn walk_names(&mut self) -> Result<()> {
        let all = Key::new().workspace(self.workspace);
        let prefix = all.clone().text(&self.query.prefix);
        let after = match &self.query.after {
            Some(ListCursor::Name(name)) => Some(all.text(name)),
            _ => None,
        };
        let (rows, mut walked) = (self.rows, 0);
        rows.prefix(Table::PackageName, &prefix, after.as_ref(), &mut |_, value| {
            self.step(&mut walked, PackageId(NumberRow::decode(value)?.0))
        })
    }

    fn walk_times(&mut self) -> Result<()> {
        let prefix = Key::new().workspace(self.workspace);
        let before = match &self.query.after {
            Some(ListCursor::Time(at, id)) => {
                let id = PackageId(id.parse().unwrap_or_default());
                Some(recent_key(self.workspace, at.0, id))
            }
            _ => None,
        };
        let (rows, mut walked) = (self.rows, 0);
        rows.prefix_before(Table::Recent, &prefix, before.as_ref(), &mut |rest, _| {
            let mut reader = KeyReader(rest);
            let id = reader.number().and_then(|_| reader.number());
            let id = id.ok_or(MetadataError::Corrupt("recent package"))?;
            self.step(&mut walked, PackageId(id))
        })
    }

    fn step(&mut self, walked: &mut usize, id: PackageId) -> Result<Walk> {
        *walked += 1;
        let package = packages::by_id(self.rows, id)?;
        let package = package.ok_or(MetadataError::Corrupt("package name"))?;
        if self.found.len() >= self.query.limit {
            // One more than fits: the page goes on after the last that did.
            let last = self.found.last();
            self.next = last.map(|last| ListCursor::of_package(self.query.order, last));
            return Ok(Walk::Stop);
        }
        if *walked > MOST_WALKED {
            self.next = Some(ListCursor::of_package(self.query.order, &package));
            return Ok(Walk::Stop);
        }
        if self.wanted(&package) {
            self.found.push(package);
        }
        Ok(Walk::Continue)
    }

    fn finish(&mut self) -> Result<PackageList> {
        let mut list = PackageList { packages: Vec::new(), next: self.next.take() };
        for package in std::mem::take(&mut self.found) {
            list.packages.push(self.overview(package)?);
        }
        Ok(list)
    }

    fn overview(&mut self, package: Package) -> Result<PackageOverview> {
        let repository = match self.repositories.get(&package.repository) {
            Some(known) => known.clone(),
            None => {
                let found = repositories::by_id(self.rows, package.repository)?;
                let found = found.ok_or(MetadataError::Corrupt("repository of a package"))?;
                self.repositories.insert(found.id, found.clone());
                found
            }
        };
        let usage = usage::of_package(self.rows, package.id)?;
        Ok(PackageOverview { package, repository, usage })
    }
}

/// A page of tags with their manifests.
pub(super) fn tag_list(rows: &impl Rows, package: PackageId, query: &TagQuery) -> Result<TagList> {
    let mut list = TagList::default();
    if packages::live_row(rows, package)?.is_none() {
        return Ok(list);
    }
    match query.order {
        Order::Name => tags_by_name(rows, package, query, &mut list)?,
        Order::Newest => tags_by_time(rows, package, query, &mut list)?,
    }
    let mut seen = HashSet::new();
    for row in &list.tags {
        if seen.insert(row.digest) {
            list.manifests.extend(overview(rows, package, &row.digest)?);
        }
    }
    Ok(list)
}

fn tags_by_name(
    rows: &impl Rows,
    package: PackageId,
    query: &TagQuery,
    list: &mut TagList,
) -> Result<()> {
    let all = Key::new().package(package);
    let prefix = all.clone().text(&query.prefix);
    let after = match &query.after {
        Some(ListCursor::Name(name)) => Some(all.text(name)),
        _ => None,
    };
    rows.prefix(Table::Tag, &prefix, after.as_ref(), &mut |rest, value| {
        if list.tags.len() >= query.limit {
            list.next = list.tags.last().map(|last| ListCursor::of_tag(query.order, last));
            return Ok(Walk::Stop);
        }
        let tag = tags::tag_of(&[query.prefix.as_bytes(), rest].concat())?;
        list.tags.push(tags::read(rows, package, tag, TagValue::decode(value)?)?);
        Ok(Walk::Continue)
    })
}

fn tags_by_time(
    rows: &impl Rows,
    package: PackageId,
    query: &TagQuery,
    list: &mut TagList,
) -> Result<()> {
    let prefix = Key::new().package(package);
    let before = match &query.after {
        Some(ListCursor::Time(at, tag)) => Some(prefix.clone().time(*at).text(tag)),
        _ => None,
    };
    let mut walked = 0;
    rows.prefix_before(Table::TagTime, &prefix, before.as_ref(), &mut |rest, _| {
        if list.tags.len() >= query.limit {
            list.next = list.tags.last().map(|last| ListCursor::of_tag(query.order, last));
            return Ok(Walk::Stop);
        }
        walked += 1;
        let mut reader = KeyReader(rest);
        let at = Timestamp(reader.number().ok_or(MetadataError::Corrupt("tag time"))?);
        let tag = tags::tag_of(reader.0)?;
        if walked > MOST_WALKED {
            list.next = Some(ListCursor::Time(at, tag.to_string()));
            return Ok(Walk::Stop);
        }
        if tag.as_str().starts_with(&query.prefix) {
            list.tags.extend(tags::one(rows, package, &tag)?);
        }
        Ok(Walk::Continue)
    })
}

/// A manifest with what stands beside it in a list; `None` if it is hidden or gone.
fn overview(
    rows: &impl Rows,
    package: PackageId,
    digest: &Digest,
) -> Result<Option<ManifestOverview>> {
    let Some(row) = manifests::visible(rows, package, digest)? else { return Ok(None) };
    let facts = row.read(*digest, false)?;
    let bytes = match facts.size <= LARGEST_READ {
        true => manifest_bytes(rows, package, digest)?,
        false => None,
    };
    let (mut tags, mut more_tags) = (Vec::new(), false);
    let key = manifests::key(package, digest);
    rows.prefix(Table::Tagged, &key, None, &mut |rest, _| {
        more_tags = tags.len() >= MOST_TAGS_BESIDE;
        if more_tags {
            return Ok(Walk::Stop);
        }
        tags.push(tags::tag_of(rest)?);
        Ok(Walk::Continue)
    })?;
    let mut found =
        manifests::referrers(rows, package, digest, None, None, MOST_REFERRERS_BESIDE + 1)?;
    let more_referrers = found.len() > MOST_REFERRERS_BESIDE;
    found.truncate(MOST_REFERRERS_BESIDE);
    let kind = |facts: crate::metadata::ManifestFacts| facts.artifact_type.unwrap_or_default();
    let referrers = found.into_iter().map(kind).collect();
    let mut attached = Vec::new();
    for what in ATTACHED {
        if let Some(tag) = attached_tag(digest, what)
            && tags::target(rows, package, &tag)?.is_some()
        {
            attached.push(what.to_owned());
        }
    }
    Ok(Some(ManifestOverview {
        facts,
        bytes,
        tags,
        more_tags,
        referrers,
        more_referrers,
        attached,
    }))
}

fn manifest_bytes(
    rows: &impl Rows,
    package: PackageId,
    digest: &Digest,
) -> Result<Option<bytes::Bytes>> {
    let found = manifests::one(rows, package, &Reference::Digest(*digest), Timestamp(0))?;
    Ok(found.map(|manifest| manifest.bytes))
}

/// A manifest with its children and referrers.
pub(super) fn inspect(
    rows: &impl Rows,
    package: PackageId,
    reference: &Reference,
    most_children: usize,
    most_referrers: usize,
) -> Result<Option<ManifestInspection>> {
    let Some(manifest) = manifests::one(rows, package, reference, Timestamp(0))? else {
        return Ok(None);
    };
    let digest = manifest.facts.digest;
    let Some(mut found) = overview(rows, package, &digest)? else { return Ok(None) };
    found.bytes = Some(manifest.bytes);
    let row = manifests::visible(rows, package, &digest)?;
    let mut children = Vec::new();
    for child in row.map(|row| row.children).unwrap_or_default().iter().take(most_children) {
        children.extend(overview(rows, package, &child.read()?)?);
    }
    let referrers = manifests::referrers(rows, package, &digest, None, None, most_referrers)?;
    Ok(Some(ManifestInspection { overview: found, children, referrers }))
}

/// How widely blobs are used.
pub(super) fn blob_uses(
    rows: &impl Rows,
    package: PackageId,
    digests: &[Digest],
) -> Result<Vec<BlobUse>> {
    let Some(owner) = packages::live_row(rows, package)? else {
        return Ok(vec![BlobUse::default(); digests.len()]);
    };
    let workspace = WorkspaceId(owner.workspace);
    let mut uses = Vec::new();
    for digest in digests {
        let mut found = BlobUse::default();
        if let Some(facts) = blobs::facts(rows, package, digest, Timestamp(0))? {
            found.size = facts.size;
        }
        let edges = manifests::key(package, digest);
        rows.prefix(Table::Edge, &edges, None, &mut |_, _| {
            found.manifests += 1;
            Ok(if found.manifests < MOST_USES { Walk::Continue } else { Walk::Stop })
        })?;
        let holders = Key::new().workspace(workspace).digest(digest);
        rows.prefix(Table::Holder, &holders, None, &mut |rest, _| {
            found.elsewhere = KeyReader(rest).number() != Some(package.0);
            Ok(if found.elsewhere { Walk::Stop } else { Walk::Continue })
        })?;
        uses.push(found);
    }
    Ok(uses)
}

/// What of a workspace is looked at again next.
pub(super) fn upcoming(rows: &impl Rows, workspace: WorkspaceId, limit: usize) -> Result<Upcoming> {
    let mut found = Upcoming::default();
    let mut owners: HashMap<PackageId, Option<PackageRow>> = HashMap::new();
    let mut walked = 0;
    rows.prefix(Table::Due, &Key::new(), None, &mut |key, _| {
        walked += 1;
        if walked > MOST_DUE_WALKED || found.entries.len() >= limit {
            found.more = true;
            return Ok(Walk::Stop);
        }
        let mut reader = KeyReader(key);
        let at = Timestamp(reader.number().ok_or(MetadataError::Corrupt("due entry"))?);
        let item = Item::decode(reader.0).ok_or(MetadataError::Corrupt("due entry"))?;
        let Some(package) = item.package() else { return Ok(Walk::Continue) };
        let owner = match owners.get(&package) {
            Some(known) => known.clone(),
            None => {
                let row: Option<PackageRow> = rows.row(Table::Package, &packages::key(package))?;
                let row = row.filter(|row| row.workspace == workspace.0);
                owners.insert(package, row.clone());
                row
            }
        };
        let Some(owner) = owner else { return Ok(Walk::Continue) };
        let entry = due::of(rows, &item)?;
        // A blob or manifest without an event: a promise ends, after which most things stay.
        let leased = matches!(item, Item::Link(..) | Item::Manifest(..));
        let Some(entry) = entry.filter(|entry| entry.cause.is_some() || !leased) else {
            return Ok(Walk::Continue);
        };
        if let Some(entry) = look::shown(rows, package, item, entry)? {
            let name = owner.read(package)?.name;
            let entry = DueEntry { at, ..entry };
            found.entries.push(UpcomingEntry { package, name, entry });
        }
        Ok(Walk::Continue)
    })?;
    Ok(found)
}

/// The packages of a workspace that have most bytes of their own.
pub(super) fn largest(
    rows: &impl Rows,
    workspace: WorkspaceId,
    limit: usize,
    most: usize,
) -> Result<Largest> {
    let (mut all, mut more) = (Vec::new(), false);
    rows.prefix(Table::PackageName, &Key::new().workspace(workspace), None, &mut |_, value| {
        more = all.len() >= most;
        if more {
            return Ok(Walk::Stop);
        }
        let id = PackageId(NumberRow::decode(value)?.0);
        let totals = usage::of_package(rows, id)?;
        all.push((totals.exclusive_bytes + totals.manifest_bytes, id));
        Ok(Walk::Continue)
    })?;
    let looked_at = all.len();
    all.sort_by_key(|(bytes, id)| (std::cmp::Reverse(*bytes), *id));
    all.truncate(limit);
    let query = PackageQuery::default();
    let mut page = PackagePage::new(rows, workspace, &query);
    let mut packages = Vec::new();
    for (_, id) in all {
        if let Some(package) = packages::by_id(rows, id)? {
            packages.push(page.overview(package)?);
        }
    }
    Ok(Largest { packages, looked_at, more })
}

/// The row of [`Table::Meta`] that says that both orders by time are there.
const BUILT: &str = "times_built";

/// Whether both orders by time are there.
pub(super) fn has_times(rows: &impl Rows) -> Result<bool> {
    rows.has(Table::Meta, &Key::new().text(BUILT))
}

/// Makes the orders by time of a database that was written before there were any.
pub(super) fn build_times(batch: &mut Batch<'_>) -> Result<()> {
    let mut keys = Vec::new();
    batch.prefix(Table::Package, &Key::new(), None, &mut |key, value| {
        let id = PackageId(KeyReader(key).number().ok_or(MetadataError::Corrupt("package"))?);
        let row = PackageRow::decode(value)?;
        if row.deleted.is_none() {
            keys.push((Table::Recent, recent_key(WorkspaceId(row.workspace), row.updated, id)));
        }
        Ok(Walk::Continue)
    })?;
    batch.prefix(Table::Tag, &Key::new(), None, &mut |key, value| {
        let mut reader = KeyReader(key);
        let id = PackageId(reader.number().ok_or(MetadataError::Corrupt("tag"))?);
        let moved = TagValue::decode(value)?.moved.at;
        keys.push((Table::TagTime, tag_time_key(id, moved, &tags::tag_of(reader.0)?)));
        Ok(Walk::Continue)
    })?;
    for (table, key) in keys {
        batch.mark(table, &key)?;
    }
    batch.put(Table::Meta, &Key::new().text(BUILT), &NumberRow(1))
}
