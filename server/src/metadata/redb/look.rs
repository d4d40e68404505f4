//! Looking at what is due and at what holds what; for people who ask why space is not free yet.

use super::batch::{Rows, Table, Walk};
use super::causes::{CauseRow, DueRow};
use super::due::{self, Item};
use super::keys::Key;
use super::rows::{LinkRow, ManifestRow, Row as _};
use super::{blobs, manifests, packages, reach, release, tags, undo, workspaces};
use crate::domain::{Digest, PackageId, Timestamp, WorkspaceId};
use crate::metadata::{DueEntry, DueKind, Holders, MetadataError, Result};

/// What of a package is looked at again, by kind and digest.
pub(super) fn pending(rows: &impl Rows, package: PackageId, limit: usize) -> Result<Vec<DueEntry>> {
    let mut found = Vec::new();
    for kind in [due::HISTORY, due::LINK, due::MANIFEST, due::PACKAGE] {
        let prefix = Key::new().byte(kind).package(package);
        rows.prefix(Table::DueOf, &prefix, None, &mut |rest, value| {
            if found.len() >= limit {
                return Ok(Walk::Stop);
            }
            let key = prefix.clone().raw(rest);
            let item = Item::decode(key.bytes()).ok_or(MetadataError::Corrupt("due entry"))?;
            found.extend(shown(rows, package, item, DueRow::decode(value)?)?);
            Ok(Walk::Continue)
        })?;
    }
    Ok(found)
}

/// An entry as people see it; `None` for the server's own book-keeping.
pub(super) fn shown(
    rows: &impl Rows,
    package: PackageId,
    item: Item,
    entry: DueRow,
) -> Result<Option<DueEntry>> {
    let what = match item {
        Item::Link(_, digest) => DueKind::Blob(digest),
        Item::Manifest(_, digest) => DueKind::Manifest(digest),
        Item::Package(_) => DueKind::Package,
        Item::History(_, digest, tag, sequence) => {
            // A row that keeps nothing is only waiting to be forgotten itself.
            if !rows.has(Table::Kept, &tags::kept_key(package, &digest, &tag, sequence))? {
                return Ok(None);
            }
            DueKind::History(tag, digest)
        }
        _ => return Ok(None),
    };
    let cause = entry.cause.map(CauseRow::read).transpose()?;
    Ok(Some(DueEntry { what, at: Timestamp(entry.time), cause }))
}

/// What keeps a blob or manifest of a package.
pub(super) fn holders(
    rows: &impl Rows,
    package: PackageId,
    digest: &Digest,
    limit: usize,
) -> Result<Option<Holders>> {
    let Some(owner) = reach::any_package(rows, package)? else { return Ok(None) };
    let keep = workspaces::settings(rows, WorkspaceId(owner.workspace))?.keep;
    let manifest: Option<ManifestRow> =
        rows.row(Table::Manifest, &manifests::key(package, digest))?;
    let link: Option<LinkRow> = rows.row(Table::Link, &blobs::link_key(package, digest))?;
    if manifest.is_none() && link.is_none() {
        return Ok(None);
    }
    let mut holders = Holders::default();
    let prefix = packages::key(package).digest(digest);
    let mut parents = Vec::new();
    rows.prefix(Table::Edge, &prefix, None, &mut |rest, _| {
        parents.push(blobs::digest_of(rest, "edge")?);
        Ok(if parents.len() <= limit { Walk::Continue } else { Walk::Stop })
    })?;
    rows.prefix(Table::Tagged, &prefix, None, &mut |rest, _| {
        holders.tags.push(tags::tag_of(rest)?);
        Ok(if holders.tags.len() <= limit { Walk::Continue } else { Walk::Stop })
    })?;
    let kept = undo::kept_rows(rows, package, Some(digest), limit + 1)?;
    holders.more = [parents.len(), holders.tags.len(), kept.len()].iter().any(|n| *n > limit);
    holders.parents = parents;
    holders.history = kept.into_iter().map(|row| row.tag).collect();
    holders.history.dedup();
    let mut lease = 0;
    if let Some(row) = &manifest {
        lease = lease.max(row.lease);
        let subject = row.subject.as_ref().filter(|_| row.lives_by_subject());
        if let Some(subject) = subject {
            let subject = subject.read()?;
            if rows.has(Table::Manifest, &manifests::key(package, &subject))? {
                holders.subject = Some(subject);
            }
        }
        holders.deleted_until = release::kept_until(row.hidden.as_ref(), row.given_up, keep);
    }
    if let Some(row) = &link {
        lease = lease.max(row.lease);
        let until = release::kept_until(row.hidden.as_ref(), row.given_up, keep);
        holders.deleted_until = holders.deleted_until.max(until);
    }
    holders.lease = Some(Timestamp(lease));
    holders.parents.truncate(limit);
    holders.tags.truncate(limit);
    holders.history.truncate(limit);
    Ok(Some(holders))
}
