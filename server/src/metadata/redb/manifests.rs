//! Manifests, their edges and referrers.
//!
//! Invariant: a manifest row exists only if, in the transaction that wrote it, every blob and child
//! it needs was linked in the same package (DESIGN §5 point 4). Edges are rows, so "does anything
//! need this?" is one look at a prefix.

use super::batch::{Batch, Rows, Table, Walk};
use super::causes::CauseRow;
use super::due::{self, Item};
use super::keys::Key;
use super::rows::{ManifestRow, NumberRow, PullsRow, RawDigest, StampRow};
use super::usage::{self, PackageDelta, WorkspaceDelta, plus};
use super::{audit, blobs, circles, fans, packages, tags, workspaces};
use crate::domain::{Change, Digest, Event, PackageId, Reference, Tag, Timestamp, WorkspaceId};
use crate::domain::{WorkspaceSettings, manifest::Descriptor};
use crate::metadata::{
    Manifest, ManifestFacts, MetadataError, NewManifest, Pull, PutManifest, Result, Target, Why,
};
use std::collections::{HashMap, HashSet};

/// Most manifests walked to add up what an index needs; beyond that the sum is a lower bound.
const MOST_WALKED: usize = 10_000;

pub(super) fn key(package: PackageId, digest: &Digest) -> Key {
    Key::new().package(package).digest(digest)
}

/// The row of a manifest, unless hidden.
pub(super) fn visible(
    rows: &impl Rows,
    package: PackageId,
    digest: &Digest,
) -> Result<Option<ManifestRow>> {
    let row: Option<ManifestRow> = rows.row(Table::Manifest, &key(package, digest))?;
    Ok(row.filter(|row| row.hidden.is_none()))
}

/// Whether a tag, a parent or kept history holds a manifest, or it refers to a subject that is there.
/// A deleted subject that can be restored still holds its referrers, so that they come back with it.
pub(super) fn is_held(
    rows: &impl Rows,
    package: PackageId,
    digest: &Digest,
    row: &ManifestRow,
) -> Result<bool> {
    let prefix = key(package, digest);
    for (table, taken_out) in [
        (Table::Tagged, mutant!("review-ignores-tags")),
        (Table::Edge, mutant!("review-ignores-parents")),
        (Table::Kept, mutant!("review-ignores-history")),
    ] {
        if !taken_out && rows.has_prefix(table, &prefix)? {
            return Ok(true);
        }
    }
    // A referrer that a client deleted itself goes, whatever becomes of its subject.
    let lives =
        row.lives_by_subject() || !row.independent && mutant!("subject-holds-deleted-referrers");
    if !lives || mutant!("review-ignores-subject") {
        return Ok(false);
    }
    match &row.subject {
        Some(subject) => rows.has(Table::Manifest, &key(package, &subject.read()?)),
        None => Ok(false),
    }
}

/// The digest a reference leads to now.
fn find(
    rows: &impl Rows,
    package: PackageId,
    reference: &Reference,
) -> Result<Option<(Digest, ManifestRow, WorkspaceId)>> {
    let Some(owner) = packages::live_row(rows, package)? else { return Ok(None) };
    let digest = match reference {
        Reference::Digest(digest) => *digest,
        Reference::Tag(tag) => match tags::target(rows, package, tag)? {
            Some(digest) => digest,
            None => return Ok(None),
        },
    };
    let row = visible(rows, package, &digest)?;
    Ok(row.map(|row| (digest, row, WorkspaceId(owner.workspace))))
}

pub(super) fn facts(
    rows: &impl Rows,
    package: PackageId,
    reference: &Reference,
    now: Timestamp,
) -> Result<Option<ManifestFacts>> {
    let Some((digest, row, workspace)) = find(rows, package, reference)? else { return Ok(None) };
    let settings = workspaces::settings(rows, workspace)?;
    let owner = packages::live_row(rows, package)?.ok_or(MetadataError::Corrupt("package"))?;
    let lease = if is_held(rows, package, &digest, &row)? { owner.confirmed } else { row.lease };
    let lease_wanted = blobs::running_out(lease, &settings, now);
    row.read(digest, lease_wanted).map(Some)
}

pub(super) fn one(
    rows: &impl Rows,
    package: PackageId,
    reference: &Reference,
    now: Timestamp,
) -> Result<Option<Manifest>> {
    let Some(facts) = facts(rows, package, reference, now)? else { return Ok(None) };
    let bytes = rows.value(Table::ManifestBytes, key(package, &facts.digest).bytes())?;
    let bytes = bytes.ok_or(MetadataError::Corrupt("manifest bytes"))?;
    // redb verifies its own checksums only when repairing; content addresses are checked at every
    // read, so damage is an error and never a wrong manifest.
    if facts.digest.algorithm().hash(&bytes) != facts.digest {
        return Err(MetadataError::Corrupt("manifest bytes"));
    }
    Ok(Some(Manifest { facts, bytes: bytes.into() }))
}

pub(super) fn put(
    batch: &mut Batch<'_>,
    change: &Change,
    target: &Target,
    new: &NewManifest,
) -> Result<PutManifest> {
    let planned = packages::plan(batch, target)?;
    let workspace = planned.workspace();
    let settings = workspaces::settings(batch, workspace)?;
    let content = check_content(batch, planned.existing(), workspace, &settings, new)?;
    let existing: Option<ManifestRow> = match planned.existing() {
        Some(package) => batch.row(Table::Manifest, &key(package, &new.digest))?,
        None => None,
    };
    let package = planned.package(batch, change)?;
    let added = existing.is_none();
    let shown = existing.as_ref().is_some_and(|row| row.hidden.is_some());
    let lease = batch.now().plus(settings.grant());
    match existing {
        None => insert(batch, change, workspace, package, new, content, lease)?,
        Some(mut row) => {
            (row.hidden, row.given_up) = (None, false);
            row.lease = row.lease.max(lease.0);
            batch.put(Table::Manifest, &key(package, &new.digest), &row)?;
        }
    }
    let mut moved = Vec::new();
    for tag in &new.tags {
        let from = tags::target(batch, package, tag)?;
        if from != Some(new.digest) {
            moved.push((tag, from));
        }
        tags::point(batch, change, &settings, package, tag, &new.digest)?;
    }
    if added || shown || !moved.is_empty() {
        note_push(batch, change, (workspace, package), &new.digest, &moved)?;
    }
    due::set(batch, &Item::Manifest(package, new.digest), lease, None)?;
    tags::touch(batch, package)?;
    Ok(PutManifest { package, new: added })
}

/// One event for a push: what is new or shown again, and which tags it moved.
fn note_push(
    batch: &mut Batch<'_>,
    change: &Change,
    (workspace, package): (WorkspaceId, PackageId),
    digest: &Digest,
    moved: &[(&Tag, Option<Digest>)],
) -> Result<()> {
    let owner = packages::live_row(batch, package)?.ok_or(MetadataError::NotFound)?;
    let target = match moved {
        [(tag, _), ..] => format!("{}:{tag}", owner.name),
        [] => format!("{}@{digest}", owner.name),
    };
    let mut event = Event::workspace(workspace, "manifest.push", target).with("digest", digest);
    for (tag, from) in moved {
        event = event.with("tag", tag);
        if let Some(from) = from {
            event = event.with("from", from);
        }
    }
    audit::note(batch, change, &event)
}

/// What admission found out about a manifest's content.
struct Content {
    closure_bytes: u64,
    missing: Vec<RawDigest>,
}

fn check_content(
    rows: &impl Rows,
    package: Option<PackageId>,
    workspace: WorkspaceId,
    settings: &WorkspaceSettings,
    new: &NewManifest,
) -> Result<Content> {
    let size = u64::try_from(new.bytes.len()).unwrap_or(u64::MAX);
    let mut sizes = HashMap::from([(new.digest, size)]);
    for blob in &new.view.blobs {
        let linked = match package {
            Some(package) => blobs::visible_link(rows, package, &blob.digest)?.is_some(),
            None => false,
        };
        let linked = linked || mutant!("put-checks-no-links");
        let row = if linked { blobs::blob_row(rows, workspace, &blob.digest)? } else { None };
        // What was found damaged is missing to a push, which heals it by sending it again.
        let row = row.filter(|row| !row.damaged || mutant!("damaged-is-pushed"));
        let row = row.ok_or(MetadataError::MissingContent(blob.digest))?;
        same_size(blob, row.size)?;
        sizes.insert(blob.digest, row.size);
    }
    let mut missing = Vec::new();
    for child in &new.view.children {
        let row = match package {
            Some(package) => visible(rows, package, &child.digest)?,
            None => None,
        };
        match (row, package) {
            (Some(row), Some(package)) => {
                same_size(child, row.size)?;
                add_closure(rows, package, workspace, child.digest, &mut sizes)?;
            }
            _ if settings.sparse_indexes => missing.push((&child.digest).into()),
            _ => return Err(MetadataError::MissingContent(child.digest)),
        }
    }
    Ok(Content { closure_bytes: sizes.values().sum(), missing })
}

fn same_size(said: &Descriptor, actual: u64) -> Result<()> {
    if said.size == actual {
        return Ok(());
    }
    Err(MetadataError::SizeMismatch { digest: said.digest, actual, said: said.size })
}

/// Adds a child, and all it needs, to the contents counted so far.
fn add_closure(
    rows: &impl Rows,
    package: PackageId,
    workspace: WorkspaceId,
    child: Digest,
    sizes: &mut HashMap<Digest, u64>,
) -> Result<()> {
    let mut walked = HashSet::new();
    let mut open = vec![child];
    while let Some(digest) = open.pop() {
        if sizes.contains_key(&digest) || !walked.insert(digest) || walked.len() > MOST_WALKED {
            continue;
        }
        let row: Option<ManifestRow> = rows.row(Table::Manifest, &key(package, &digest))?;
        let Some(row) = row else { continue };
        sizes.insert(digest, row.size);
        for blob in &row.blobs {
            let blob = blob.read()?;
            if let Some(found) = blobs::blob_row(rows, workspace, &blob)? {
                sizes.insert(blob, found.size);
            }
        }
        for grandchild in &row.children {
            open.push(grandchild.read()?);
        }
    }
    Ok(())
}

fn insert(
    batch: &mut Batch<'_>,
    change: &Change,
    workspace: WorkspaceId,
    package: PackageId,
    new: &NewManifest,
    content: Content,
    lease: Timestamp,
) -> Result<()> {
    let view = &new.view;
    let raw = |list: &[Descriptor]| list.iter().map(|one| (&one.digest).into()).collect();
    let size = u64::try_from(new.bytes.len()).unwrap_or(u64::MAX);
    let row = ManifestRow {
        media_type: new.media_type.clone(),
        size,
        artifact_type: view.artifact_type.clone(),
        config: view.config.as_ref().map(Into::into),
        subject: view.subject.as_ref().map(|subject| (&subject.digest).into()),
        annotations: view.annotations.clone(),
        blobs: raw(&view.blobs),
        children: raw(&view.children),
        missing: content.missing,
        closure_bytes: content.closure_bytes,
        pushed: StampRow::new(change, batch.now()),
        lease: lease.0,
        hidden: None,
        given_up: false,
        independent: circles::would_close(batch, package, new)?,
    };
    if !mutant!("fan-not-cancelled") {
        fans::cancel(batch, package, &new.digest)?;
    }
    batch.put(Table::Manifest, &key(package, &new.digest), &row)?;
    batch.put_value(Table::ManifestBytes, &key(package, &new.digest), &new.bytes)?;
    for child in view.blobs.iter().chain(&view.children) {
        batch.mark(Table::Edge, &key(package, &child.digest).digest(&new.digest))?;
    }
    if let Some(subject) = &view.subject {
        batch.mark(Table::Referrer, &key(package, &subject.digest).digest(&new.digest))?;
    }
    let bytes = plus(size);
    usage::change_package(batch, package, PackageDelta { manifests: bytes, ..Default::default() })?;
    let delta = WorkspaceDelta { manifests: bytes, ..Default::default() };
    usage::change_workspace(batch, workspace, delta)
}

pub(super) fn renew(batch: &mut Batch<'_>, package: PackageId, digest: &Digest) -> Result<bool> {
    let Some(owner) = packages::live_row(batch, package)? else { return Ok(false) };
    let Some(mut row) = visible(batch, package, digest)? else { return Ok(false) };
    let settings = workspaces::settings(batch, WorkspaceId(owner.workspace))?;
    if mutant!("manifest-head-does-not-renew") {
        return Ok(true);
    }
    let until = batch.now().plus(settings.grant());
    if is_held(batch, package, digest, &row)? {
        packages::confirm(batch, package, until)?;
        return Ok(true);
    }
    row.lease = row.lease.max(until.0);
    batch.put(Table::Manifest, &key(package, digest), &row)?;
    let item = Item::Manifest(package, *digest);
    let cause = due::of(batch, &item)?.and_then(|entry| entry.cause);
    due::set(batch, &item, Timestamp(row.lease), cause)?;
    Ok(true)
}

/// Hides a manifest and removes the tags that point to it.
pub(super) fn hide(
    batch: &mut Batch<'_>,
    change: &Change,
    package: PackageId,
    digest: &Digest,
) -> Result<Vec<Tag>> {
    let owner = packages::live_row(batch, package)?.ok_or(MetadataError::NotFound)?;
    let mut row = visible(batch, package, digest)?.ok_or(MetadataError::NotFound)?;
    let settings = workspaces::settings(batch, WorkspaceId(owner.workspace))?;
    let removed = tags::pointing_to(batch, package, digest)?;
    for tag in removed.iter().filter(|_| !mutant!("hidden-manifest-keeps-tags")) {
        tags::remove(batch, change, &settings, package, tag, digest)?;
    }
    let now = batch.now();
    let by = StampRow::new(change, now);
    let sequence = tags::next_sequence(batch, package)?;
    let of = (package, owner.name.as_str());
    let cause = CauseRow::new(Why::ManifestDeleted, of, sequence, None, Some(digest), by.clone());
    (row.hidden, row.given_up) = (Some(by), false);
    batch.put(Table::Manifest, &key(package, digest), &row)?;
    packages::watch_cap(batch, WorkspaceId(owner.workspace), &settings)?;
    let item = Item::Manifest(package, *digest);
    due::set(batch, &item, now.plus(settings.keep), Some(cause))?;
    let target = format!("{}@{digest}", owner.name);
    let mut event = Event::workspace(WorkspaceId(owner.workspace), "manifest.delete", target);
    for tag in &removed {
        event = event.with("tag", tag);
    }
    audit::note(batch, change, &event)?;
    tags::touch(batch, package)?;
    Ok(removed)
}

pub(super) fn referrers(
    rows: &impl Rows,
    package: PackageId,
    subject: &Digest,
    artifact_type: Option<&str>,
    after: Option<&Digest>,
    limit: usize,
) -> Result<Vec<ManifestFacts>> {
    let mut found = Vec::new();
    if packages::live_row(rows, package)?.is_none() {
        return Ok(found);
    }
    let prefix = key(package, subject);
    let after = after.map(|after| prefix.clone().digest(after));
    rows.prefix(Table::Referrer, &prefix, after.as_ref(), &mut |rest, _| {
        if found.len() >= limit {
            return Ok(Walk::Stop);
        }
        let digest = blobs::digest_of(rest, "referrer")?;
        if let Some(row) = visible(rows, package, &digest)?
            && artifact_type.is_none_or(|wanted| row.artifact_type.as_deref() == Some(wanted))
        {
            found.push(row.read(digest, false)?);
        }
        Ok(Walk::Continue)
    })?;
    Ok(found)
}

pub(super) fn pull_key(package: PackageId, digest: &Digest) -> Key {
    key(package, digest).byte(0)
}

pub(super) fn tag_pull_key(package: PackageId, tag: &Tag) -> Key {
    // Digests begin with 1 or 2, so 0xff keeps the two kinds apart.
    Key::new().package(package).byte(u8::MAX).text(tag.as_str())
}

pub(super) fn record_pulls(batch: &mut Batch<'_>, pulls: &[Pull]) -> Result<()> {
    for pull in pulls {
        if visible(batch, pull.package, &pull.digest)?.is_none() {
            continue;
        }
        add_pulls(batch, &pull_key(pull.package, &pull.digest), pull)?;
        if let Some(tag) = &pull.tag {
            add_pulls(batch, &tag_pull_key(pull.package, tag), pull)?;
        }
    }
    Ok(())
}

fn add_pulls(batch: &mut Batch<'_>, key: &Key, pull: &Pull) -> Result<()> {
    let mut row: PullsRow = batch.row(Table::Pull, key)?.unwrap_or_default();
    row.count = row.count.saturating_add(pull.pulls.count);
    row.last = row.last.max(pull.pulls.last.map(|at| at.0));
    batch.put(Table::Pull, key, &row)
}

/// The row of [`Table::Meta`] that holds the last moment the database has seen.
const LAST_SEEN: &str = "last_seen";

/// The last moment that a number row of [`Table::Meta`] says, or the beginning of time.
pub(super) fn last_seen(rows: &impl Rows) -> Result<Timestamp> {
    let key = Key::new().text(LAST_SEEN);
    let row: Option<NumberRow> = rows.row(Table::Meta, &key)?;
    Ok(Timestamp(row.map_or(0, |row| row.0)))
}

/// Writes down that the database was in use at the batch's time.
pub(super) fn be_seen(batch: &mut Batch<'_>) -> Result<()> {
    let now = NumberRow(batch.now().0);
    batch.put(Table::Meta, &Key::new().text(LAST_SEEN), &now)
}

/// What an index admitted as sparse was missing; for checks.
pub(super) fn is_missing(row: &ManifestRow, digest: &Digest) -> bool {
    row.missing.contains(&digest.into())
}
