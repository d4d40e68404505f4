//! What is kept, putting it back, and giving it up before its time (DESIGN §5 points 6 and 7).
//!
//! Invariant: what is put back is whole, because whatever it needs was held with it; a blob or child
//! that a client had deleted by itself comes back along. Giving up ends only the keeping: leases still
//! run, and the collector decides.

use super::batch::{Batch, Rows, Table, Walk};
use super::causes::CauseRow;
use super::due::{self, Item};
use super::keys::{Key, KeyReader};
use super::rows::{HistoryValue, LinkRow, ManifestRow, NumberRow, PackageRow, Row as _, StampRow};
use super::{
    audit, blobs, collect, listing, manifests, packages, reach, repositories, tags, workspaces,
};
use crate::domain::{
    Change, Digest, Event, PackageId, PackageName, RepositoryId, Tag, Timestamp, WorkspaceId,
};
use crate::metadata::{
    Cause, Conflict, DeletedPackage, GiveUp, Kept, KeptItem, MetadataError, Restore, Result,
    TagEvent,
};
use std::time::Duration;

/// Things given up in one transaction.
const PAGE: usize = 64;

/// A row of `kept`: which history row keeps which digest.
pub(super) struct KeptRow {
    pub(super) digest: Digest,
    pub(super) tag: Tag,
    pub(super) sequence: u64,
}

/// Visits what history keeps in a package, of one digest if given.
pub(super) fn kept_rows(
    rows: &impl Rows,
    package: PackageId,
    digest: Option<&Digest>,
    limit: usize,
) -> Result<Vec<KeptRow>> {
    let all = packages::key(package);
    let prefix = digest.map_or_else(|| all.clone(), |digest| all.clone().digest(digest));
    let mut found = Vec::new();
    rows.prefix(Table::Kept, &prefix, None, &mut |rest, _| {
        let damaged = || MetadataError::Corrupt("kept");
        let mut reader = KeyReader(rest);
        let digest = match digest {
            Some(digest) => *digest,
            None => reader.digest().ok_or_else(damaged)?,
        };
        let tag = reader.text().and_then(|tag| tag.parse().ok()).ok_or_else(damaged)?;
        let sequence = reader.number().ok_or_else(damaged)?;
        found.push(KeptRow { digest, tag, sequence });
        Ok(if found.len() < limit { Walk::Continue } else { Walk::Stop })
    })?;
    Ok(found)
}

/// Digests of a package that have a due entry of a kind.
fn due_digests(rows: &impl Rows, package: PackageId, kind: u8) -> Result<Vec<Digest>> {
    let prefix = Key::new().byte(kind).package(package);
    let mut found = Vec::new();
    rows.prefix(Table::DueOf, &prefix, None, &mut |rest, _| {
        found.push(blobs::digest_of(rest, "due entry")?);
        Ok(Walk::Continue)
    })?;
    Ok(found)
}

/// What a client deleted of a package, with who did it. Whatever is hidden has a due entry unless
/// something still needs it, and then there is nothing to put back.
pub(super) fn hidden(rows: &impl Rows, package: PackageId) -> Result<Vec<(Kept, StampRow, bool)>> {
    let mut found = Vec::new();
    for digest in due_digests(rows, package, due::MANIFEST)? {
        let row: Option<ManifestRow> =
            rows.row(Table::Manifest, &manifests::key(package, &digest))?;
        if let Some((Some(by), given_up)) = row.map(|row| (row.hidden, row.given_up)) {
            found.push((Kept::Manifest(digest), by, given_up));
        }
    }
    for digest in due_digests(rows, package, due::LINK)? {
        let row: Option<LinkRow> = rows.row(Table::Link, &blobs::link_key(package, &digest))?;
        if let Some((Some(by), given_up)) = row.map(|row| (row.hidden, row.given_up)) {
            found.push((Kept::Blob(digest), by, given_up));
        }
    }
    Ok(found)
}

/// What of a package can be put back, newest first.
pub(super) fn kept(rows: &impl Rows, package: PackageId, limit: usize) -> Result<Vec<KeptItem>> {
    let owner = packages::live_row(rows, package)?.ok_or(MetadataError::NotFound)?;
    let keep = workspaces::settings(rows, WorkspaceId(owner.workspace))?.keep;
    let item = |what, by: StampRow| {
        let until = Timestamp(by.at).plus(keep);
        KeptItem { what, until, by: by.read() }
    };
    let mut found = Vec::new();
    for row in kept_rows(rows, package, None, usize::MAX)? {
        let key = tags::history_key(package, &row.tag, row.sequence);
        let history: Option<HistoryValue> = rows.row(Table::History, &key)?;
        let by = history.ok_or(MetadataError::Corrupt("history of what is kept"))?.moved;
        let KeptRow { digest, tag, sequence } = row;
        found.push(item(Kept::Tag { tag, digest, sequence }, by));
    }
    for (what, by, given_up) in hidden(rows, package)? {
        if !given_up {
            found.push(item(what, by));
        }
    }
    found.sort_by_key(|item| std::cmp::Reverse(item.by.at));
    found.truncate(limit);
    Ok(found)
}

fn read_deleted(id: PackageId, row: PackageRow, keep: Duration) -> Result<Option<DeletedPackage>> {
    let Some(by) = row.deleted.clone() else { return Ok(None) };
    if row.removing || row.given_up {
        return Ok(None);
    }
    let until = Timestamp(by.at).plus(keep);
    Ok(Some(DeletedPackage { package: row.read(id)?, until, by: by.read() }))
}

/// A deleted package that can be put back.
pub(super) fn deleted_package(rows: &impl Rows, id: PackageId) -> Result<Option<DeletedPackage>> {
    let Some(row) = reach::any_package(rows, id)? else { return Ok(None) };
    let keep = workspaces::settings(rows, WorkspaceId(row.workspace))?.keep;
    read_deleted(id, row, keep)
}

/// Deleted packages of a workspace, by id.
pub(super) fn deleted_packages(
    rows: &impl Rows,
    workspace: WorkspaceId,
    after: Option<PackageId>,
    limit: usize,
) -> Result<Vec<DeletedPackage>> {
    let mut found = Vec::new();
    let prefix = Key::new().workspace(workspace);
    let after = after.map(|after| packages::deleted_key(workspace, after));
    rows.prefix(Table::Deleted, &prefix, after.as_ref(), &mut |rest, _| {
        if found.len() >= limit {
            return Ok(Walk::Stop);
        }
        let id = KeyReader(rest).number().ok_or(MetadataError::Corrupt("deleted package"))?;
        found.extend(deleted_package(rows, PackageId(id))?);
        Ok(Walk::Continue)
    })?;
    Ok(found)
}

/// Puts something back.
pub(super) fn restore(
    batch: &mut Batch<'_>,
    change: &Change,
    package: PackageId,
    what: &Restore,
) -> Result<()> {
    match what {
        Restore::Package { name, repository } => {
            restore_package(batch, change, package, name.as_ref(), *repository)
        }
        Restore::Manifest(digest) => {
            let owner = packages::live_row(batch, package)?.ok_or(MetadataError::NotFound)?;
            if batch.has(Table::Manifest, &manifests::key(package, digest))? {
                show(batch, package, digest)?;
            } else if batch.has(Table::Link, &blobs::link_key(package, digest))? {
                show_blob(batch, package, digest)?;
            } else {
                return Err(MetadataError::NotFound);
            }
            let target = format!("{}@{digest}", owner.name);
            let workspace = WorkspaceId(owner.workspace);
            let event = Event::workspace(workspace, "manifest.restore", target);
            audit::note(batch, change, &event)?;
            tags::touch(batch, package)
        }
        Restore::Tag { tag, digest } => restore_tag(batch, change, package, tag, *digest),
    }
}

fn restore_tag(
    batch: &mut Batch<'_>,
    change: &Change,
    package: PackageId,
    tag: &Tag,
    digest: Option<Digest>,
) -> Result<()> {
    let owner = packages::live_row(batch, package)?.ok_or(MetadataError::NotFound)?;
    let digest = match digest {
        Some(digest) => digest,
        None => last_released(batch, package, tag)?.ok_or(MetadataError::NotFound)?,
    };
    if !batch.has(Table::Manifest, &manifests::key(package, &digest))? {
        return Err(MetadataError::NotFound);
    }
    show(batch, package, &digest)?;
    let settings = workspaces::settings(batch, WorkspaceId(owner.workspace))?;
    tags::point(batch, change, &settings, package, tag, &digest)?;
    let target = format!("{}:{tag}", owner.name);
    let event = Event::workspace(WorkspaceId(owner.workspace), "tag.restore", target);
    audit::note(batch, change, &event.with("digest", digest))?;
    tags::touch(batch, package)
}

/// What the last movement of a tag released.
fn last_released(rows: &impl Rows, package: PackageId, tag: &Tag) -> Result<Option<Digest>> {
    let last = tags::history(rows, package, Some(tag), 1)?;
    Ok(match last.first().map(|row| row.event) {
        Some(TagEvent::Deleted(digest)) => Some(digest),
        Some(TagEvent::Moved { from, .. }) => from,
        None => None,
    })
}

/// Shows a manifest and everything it needs again.
fn show(batch: &mut Batch<'_>, package: PackageId, digest: &Digest) -> Result<()> {
    let mut open = vec![*digest];
    let mut seen = std::collections::HashSet::new();
    while let Some(digest) = open.pop() {
        if !seen.insert(digest) {
            continue;
        }
        let key = manifests::key(package, &digest);
        let Some(mut row) = batch.row::<ManifestRow>(Table::Manifest, &key)? else { continue };
        for blob in &row.blobs {
            show_blob(batch, package, &blob.read()?)?;
        }
        for child in &row.children {
            open.push(child.read()?);
        }
        if row.hidden.take().is_some() {
            row.given_up = false;
            batch.put(Table::Manifest, &key, &row)?;
        }
        // What is shown is a promise like any other.
        manifests::renew(batch, package, &digest)?;
    }
    Ok(())
}

fn show_blob(batch: &mut Batch<'_>, package: PackageId, digest: &Digest) -> Result<()> {
    let key = blobs::link_key(package, digest);
    let Some(mut row) = batch.row::<LinkRow>(Table::Link, &key)? else { return Ok(()) };
    if row.hidden.take().is_some() {
        row.given_up = false;
        batch.put(Table::Link, &key, &row)?;
        blobs::renew_link(batch, package, digest)?;
    }
    Ok(())
}

fn restore_package(
    batch: &mut Batch<'_>,
    change: &Change,
    package: PackageId,
    name: Option<&PackageName>,
    repository: Option<RepositoryId>,
) -> Result<()> {
    let row = reach::any_package(batch, package)?.ok_or(MetadataError::NotFound)?;
    if row.deleted.is_none() || row.removing && !mutant!("restore-after-removal-began") {
        return Err(MetadataError::NotFound);
    }
    let was = row.clone().read(package)?;
    let name = name.unwrap_or(&was.name);
    let repository = repository.unwrap_or(was.repository);
    match repositories::by_id(batch, repository)? {
        Some(found) if found.workspace == was.workspace => {}
        _ => return Err(Conflict::RepositoryGone.into()),
    }
    let name_key = packages::name_key(was.workspace, name);
    if batch.has(Table::PackageName, &name_key)? {
        return Err(Conflict::SlugTaken.into());
    }
    let row = PackageRow {
        name: name.to_string(),
        repository: repository.0,
        deleted: None,
        given_up: false,
        updated: batch.now().0,
        ..row
    };
    batch.put(Table::Package, &packages::key(package), &row)?;
    batch.mark(Table::Recent, &listing::recent_key(was.workspace, row.updated, package))?;
    batch.put(Table::PackageName, &name_key, &NumberRow(package.0))?;
    batch.mark(Table::PackagesOf, &Key::new().repository(repository).package(package))?;
    batch.remove(Table::Deleted, &packages::deleted_key(was.workspace, package))?;
    audit::note(batch, change, &Event::workspace(was.workspace, "package.restore", name))?;
    due::clear(batch, &Item::Package(package))
}

/// Ends the keeping of things before their time. Returns the events and whether to call again.
pub(super) fn give_up(
    batch: &mut Batch<'_>,
    change: &Change,
    package: PackageId,
    what: &GiveUp,
) -> Result<(Vec<Cause>, bool)> {
    let (causes, more) = end_keeping(batch, package, what)?;
    if !causes.is_empty() {
        let row = reach::any_package(batch, package)?.ok_or(MetadataError::NotFound)?;
        let target = match what {
            GiveUp::All => row.name,
            GiveUp::Digest(digest) => format!("{}@{digest}", row.name),
            GiveUp::Tag(tag) => format!("{}:{tag}", row.name),
        };
        let event = Event::workspace(WorkspaceId(row.workspace), "space.reclaim", target);
        audit::note(batch, change, &event.with("events", causes.len()))?;
    }
    Ok((causes, more))
}

/// The same without an event: what the server does by itself is told by receipts.
pub(super) fn end_keeping(
    batch: &mut Batch<'_>,
    package: PackageId,
    what: &GiveUp,
) -> Result<(Vec<Cause>, bool)> {
    let row = reach::any_package(batch, package)?.ok_or(MetadataError::NotFound)?;
    if let Some(by) = row.deleted.clone() {
        return give_up_package(batch, package, row, by).map(|cause| (cause, false));
    }
    let rows = match what {
        GiveUp::All => kept_rows(batch, package, None, PAGE)?,
        GiveUp::Digest(digest) => kept_rows(batch, package, Some(digest), PAGE)?,
        GiveUp::Tag(tag) => kept_by_tag(batch, package, tag)?,
    };
    let more = rows.len() >= PAGE;
    let of = (package, row.name.as_str());
    let mut causes = Vec::new();
    for KeptRow { digest, tag, sequence } in rows {
        let cause = collect::let_history_go(batch, of, &digest, &tag, sequence, true)?;
        causes.extend(cause.map(CauseRow::read).transpose()?);
    }
    if !more && !matches!(what, GiveUp::Tag(_)) {
        for (kept, _, given_up) in hidden(batch, package)? {
            let (Kept::Blob(digest) | Kept::Manifest(digest) | Kept::Tag { digest, .. }) = &kept;
            let wanted = match what {
                GiveUp::Digest(wanted) => wanted == digest,
                GiveUp::All | GiveUp::Tag(_) => true,
            };
            if wanted && !given_up {
                causes.extend(forsake(batch, package, &kept)?);
            }
        }
    }
    Ok((causes, more))
}

fn give_up_package(
    batch: &mut Batch<'_>,
    package: PackageId,
    mut row: PackageRow,
    by: StampRow,
) -> Result<Vec<Cause>> {
    let item = Item::Package(package);
    let cause = due::of(batch, &item)?.and_then(|entry| entry.cause).unwrap_or_else(|| {
        let of = (package, row.name.as_str());
        CauseRow::new(crate::metadata::Why::PackageDeleted, of, row.next_sequence, None, None, by)
    });
    let cause = cause.on_purpose();
    row.given_up = true;
    batch.put(Table::Package, &packages::key(package), &row)?;
    due::set(batch, &item, batch.now(), Some(cause.clone()))?;
    Ok(vec![cause.read()?])
}

/// History rows of a tag that keep something.
fn kept_by_tag(rows: &impl Rows, package: PackageId, tag: &Tag) -> Result<Vec<KeptRow>> {
    let mut found = Vec::new();
    let prefix = packages::key(package).tag_and(tag);
    rows.prefix(Table::History, &prefix, None, &mut |rest, value| {
        let sequence = KeyReader(rest).number().ok_or(MetadataError::Corrupt("history"))?;
        let event = HistoryValue::decode(value)?.read(tag.clone(), sequence)?.event;
        let (TagEvent::Deleted(digest) | TagEvent::Moved { from: Some(digest), .. }) = event else {
            return Ok(Walk::Continue);
        };
        if rows.has(Table::Kept, &tags::kept_key(package, &digest, tag, sequence))? {
            found.push(KeptRow { digest, tag: tag.clone(), sequence });
        }
        Ok(if found.len() < PAGE { Walk::Continue } else { Walk::Stop })
    })?;
    Ok(found)
}

/// Ends the keeping of something a client deleted.
fn forsake(batch: &mut Batch<'_>, package: PackageId, kept: &Kept) -> Result<Option<Cause>> {
    let (item, lease) = match kept {
        Kept::Manifest(digest) => {
            let key = manifests::key(package, digest);
            let Some(mut row) = batch.row::<ManifestRow>(Table::Manifest, &key)? else {
                return Ok(None);
            };
            row.given_up = true;
            batch.put(Table::Manifest, &key, &row)?;
            (Item::Manifest(package, *digest), row.lease)
        }
        Kept::Blob(digest) => {
            let key = blobs::link_key(package, digest);
            let Some(mut row) = batch.row::<LinkRow>(Table::Link, &key)? else { return Ok(None) };
            row.given_up = true;
            batch.put(Table::Link, &key, &row)?;
            (Item::Link(package, *digest), row.lease)
        }
        Kept::Tag { .. } => return Ok(None),
    };
    let cause = due::of(batch, &item)?.and_then(|entry| entry.cause);
    let cause = cause.map(CauseRow::on_purpose);
    let at = Timestamp(lease).max(batch.now());
    due::set(batch, &item, at, cause.clone())?;
    cause.map(CauseRow::read).transpose()
}
