//! Tags and their history.
//!
//! Invariant: `tagged` is the reverse of `tag`, and `tag_time` has each tag once, by its last movement. Every movement writes a history row with its change;
//! what the movement released is kept by a `kept` row until the history row's due entry.

use super::batch::{Batch, Rows, Table, Walk};
use super::due::{self, Item};
use super::keys::{Key, KeyReader};
use super::rows::{HistoryValue, PackageRow, PullsRow, Row as _, StampRow, TagValue};
use super::{audit, listing, manifests, packages, workspaces};
use crate::domain::{Change, Digest, Event, PackageId, Tag, WorkspaceId, WorkspaceSettings};
use crate::metadata::{HistoryRow, MetadataError, Page, Result, TagEvent, TagNames, TagRow};
use std::time::Duration;

pub(super) fn key(package: PackageId, tag: &Tag) -> Key {
    Key::new().package(package).text(tag.as_str())
}

pub(super) fn tagged_key(package: PackageId, digest: &Digest, tag: &Tag) -> Key {
    Key::new().package(package).digest(digest).text(tag.as_str())
}

/// What a tag points to.
pub(super) fn target(rows: &impl Rows, package: PackageId, tag: &Tag) -> Result<Option<Digest>> {
    let value: Option<TagValue> = rows.row(Table::Tag, &key(package, tag))?;
    value.map(|value| value.digest.read()).transpose()
}

pub(super) fn read(
    rows: &impl Rows,
    package: PackageId,
    tag: Tag,
    value: TagValue,
) -> Result<TagRow> {
    let pulls: Option<PullsRow> = rows.row(Table::Pull, &manifests::tag_pull_key(package, &tag))?;
    Ok(TagRow {
        digest: value.digest.read()?,
        moved: value.moved.read(),
        pulls: pulls.unwrap_or_default().read(),
        tag,
    })
}

pub(super) fn one(rows: &impl Rows, package: PackageId, tag: &Tag) -> Result<Option<TagRow>> {
    if packages::live_row(rows, package)?.is_none() {
        return Ok(None);
    }
    let value: Option<TagValue> = rows.row(Table::Tag, &key(package, tag))?;
    value.map(|value| read(rows, package, tag.clone(), value)).transpose()
}

pub(super) fn list(rows: &impl Rows, package: PackageId, page: &Page) -> Result<Vec<TagRow>> {
    let mut found = Vec::new();
    if packages::live_row(rows, package)?.is_none() {
        return Ok(found);
    }
    let prefix = Key::new().package(package);
    let after = page.after.as_deref().map(|after| prefix.clone().text(after));
    rows.prefix(Table::Tag, &prefix, after.as_ref(), &mut |rest, value| {
        if found.len() >= page.limit {
            return Ok(Walk::Stop);
        }
        found.push(read(rows, package, tag_of(rest)?, TagValue::decode(value)?)?);
        Ok(Walk::Continue)
    })?;
    Ok(found)
}

/// The names alone, which need no other row and no value of their own each.
pub(super) fn names(rows: &impl Rows, package: PackageId, page: &Page) -> Result<TagNames> {
    let mut found = TagNames::default();
    if packages::live_row(rows, package)?.is_none() {
        return Ok(found);
    }
    let prefix = Key::new().package(package);
    let after = page.after.as_deref().map(|after| prefix.clone().text(after));
    rows.prefix(Table::Tag, &prefix, after.as_ref(), &mut |rest, _| {
        if found.len() >= page.limit {
            found.more = true;
            return Ok(Walk::Stop);
        }
        let name = std::str::from_utf8(rest).ok().filter(|name| Tag::is_valid(name));
        found.push(name.ok_or(MetadataError::Corrupt("tag"))?);
        Ok(Walk::Continue)
    })?;
    Ok(found)
}

/// How long the history row itself lives, after what it kept was given up.
pub(super) const HISTORY_KEPT: Duration = Duration::from_secs(90 * 24 * 3600);

pub(super) fn tag_of(text: &[u8]) -> Result<Tag> {
    let text = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    text.ok_or(MetadataError::Corrupt("tag"))
}

/// Points a tag to a manifest that is there, keeping what it pointed to.
pub(super) fn point(
    batch: &mut Batch<'_>,
    change: &Change,
    settings: &WorkspaceSettings,
    package: PackageId,
    tag: &Tag,
    to: &Digest,
) -> Result<()> {
    let before: Option<TagValue> = batch.row(Table::Tag, &key(package, tag))?;
    let from = before.as_ref().map(|before| before.digest.read()).transpose()?;
    if from.as_ref() == Some(to) {
        return Ok(());
    }
    if let (Some(from), Some(before)) = (&from, &before) {
        batch.remove(Table::Tagged, &tagged_key(package, from, tag))?;
        batch.remove(Table::TagTime, &listing::tag_time_key(package, before.moved.at, tag))?;
    }
    let value = TagValue { digest: to.into(), moved: StampRow::new(change, batch.now()) };
    batch.put(Table::Tag, &key(package, tag), &value)?;
    batch.mark(Table::TagTime, &listing::tag_time_key(package, value.moved.at, tag))?;
    batch.mark(Table::Tagged, &tagged_key(package, to, tag))?;
    let event = TagEvent::Moved { from, to: *to };
    write_history(batch, change, settings, package, tag, event, from.as_ref())
}

/// Removes a tag that points to `from`, keeping what it pointed to.
pub(super) fn remove(
    batch: &mut Batch<'_>,
    change: &Change,
    settings: &WorkspaceSettings,
    package: PackageId,
    tag: &Tag,
    from: &Digest,
) -> Result<()> {
    let before: Option<TagValue> = batch.row(Table::Tag, &key(package, tag))?;
    if let Some(before) = before {
        batch.remove(Table::TagTime, &listing::tag_time_key(package, before.moved.at, tag))?;
    }
    batch.remove(Table::Tag, &key(package, tag))?;
    batch.remove(Table::Tagged, &tagged_key(package, from, tag))?;
    let event = TagEvent::Deleted(*from);
    write_history(batch, change, settings, package, tag, event, Some(from))
}

pub(super) fn delete(
    batch: &mut Batch<'_>,
    change: &Change,
    package: PackageId,
    tag: &Tag,
) -> Result<()> {
    let owner = packages::live_row(batch, package)?.ok_or(MetadataError::NotFound)?;
    let from = target(batch, package, tag)?.ok_or(MetadataError::NotFound)?;
    let settings = workspaces::settings(batch, WorkspaceId(owner.workspace))?;
    remove(batch, change, &settings, package, tag, &from)?;
    let target = format!("{}:{tag}", owner.name);
    let event = Event::workspace(WorkspaceId(owner.workspace), "tag.delete", target);
    audit::note(batch, change, &event.with("digest", from))?;
    touch(batch, package)
}

fn write_history(
    batch: &mut Batch<'_>,
    change: &Change,
    settings: &WorkspaceSettings,
    package: PackageId,
    tag: &Tag,
    event: TagEvent,
    released: Option<&Digest>,
) -> Result<()> {
    let sequence = next_sequence(batch, package)?;
    let now = batch.now();
    let history = history_key(package, tag, sequence);
    batch.put(Table::History, &history, &HistoryValue::new(event, change, now))?;
    let Some(digest) = released else {
        // Nothing is kept by it; the row itself goes one day.
        let TagEvent::Moved { to, .. } = event else { return Ok(()) };
        let item = Item::History(package, to, tag.clone(), sequence);
        return due::set(batch, &item, now.plus(HISTORY_KEPT), None);
    };
    if mutant!("overwrite-forgets-due") {
        return Ok(());
    }
    batch.mark(Table::Kept, &kept_key(package, digest, tag, sequence))?;
    let item = Item::History(package, *digest, tag.clone(), sequence);
    due::set(batch, &item, now.plus(settings.keep), None)?;
    let owner: Option<PackageRow> = batch.row(Table::Package, &Key::new().package(package))?;
    let owner = owner.ok_or(MetadataError::Corrupt("package of a tag"))?;
    packages::watch_cap(batch, WorkspaceId(owner.workspace), settings)
}

pub(super) fn kept_key(package: PackageId, digest: &Digest, tag: &Tag, sequence: u64) -> Key {
    Key::new().package(package).digest(digest).tag_and(tag).number(sequence)
}

pub(super) fn history_key(package: PackageId, tag: &Tag, sequence: u64) -> Key {
    Key::new().package(package).tag_and(tag).number(sequence)
}

/// The next number of a package's events.
pub(super) fn next_sequence(batch: &mut Batch<'_>, package: PackageId) -> Result<u64> {
    let key = Key::new().package(package);
    let row: Option<PackageRow> = batch.row(Table::Package, &key)?;
    let mut row = row.ok_or(MetadataError::Corrupt("package of a tag"))?;
    row.next_sequence += 1;
    let sequence = row.next_sequence;
    batch.put(Table::Package, &key, &row)?;
    Ok(sequence)
}

/// Remembers that a package has changed.
pub(super) fn touch(batch: &mut Batch<'_>, package: PackageId) -> Result<()> {
    let key = Key::new().package(package);
    let row: Option<PackageRow> = batch.row(Table::Package, &key)?;
    let mut row = row.ok_or(MetadataError::Corrupt("package"))?;
    let now = batch.now().0;
    if row.deleted.is_none() && row.updated != now {
        let workspace = WorkspaceId(row.workspace);
        batch.remove(Table::Recent, &listing::recent_key(workspace, row.updated, package))?;
        batch.mark(Table::Recent, &listing::recent_key(workspace, now, package))?;
    }
    row.updated = now;
    batch.put(Table::Package, &key, &row)
}

/// The tags that point to a manifest.
pub(super) fn pointing_to(
    rows: &impl Rows,
    package: PackageId,
    digest: &Digest,
) -> Result<Vec<Tag>> {
    let mut found = Vec::new();
    let prefix = Key::new().package(package).digest(digest);
    rows.prefix(Table::Tagged, &prefix, None, &mut |rest, _| {
        found.push(tag_of(rest)?);
        Ok(Walk::Continue)
    })?;
    Ok(found)
}

pub(super) fn history(
    rows: &impl Rows,
    package: PackageId,
    tag: Option<&Tag>,
    limit: usize,
) -> Result<Vec<HistoryRow>> {
    let mut found = Vec::new();
    if packages::live_row(rows, package)?.is_none() {
        return Ok(found);
    }
    if let Some(tag) = tag {
        let prefix = Key::new().package(package).tag_and(tag);
        rows.prefix_backwards(Table::History, &prefix, &mut |rest, value| {
            if found.len() >= limit {
                return Ok(Walk::Stop);
            }
            let sequence = KeyReader(rest).number().ok_or(MetadataError::Corrupt("history"))?;
            found.push(HistoryValue::decode(value)?.read(tag.clone(), sequence)?);
            Ok(Walk::Continue)
        })?;
        return Ok(found);
    }
    // Rows are ordered by tag; the newest of all tags are picked while walking, keeping `limit`.
    let mut newest = std::collections::BTreeMap::new();
    rows.prefix(Table::History, &Key::new().package(package), None, &mut |rest, value| {
        let mut reader = KeyReader(rest);
        let tag = reader.text().and_then(|text| text.parse().ok());
        let (Some(tag), Some(sequence)) = (tag, reader.number()) else {
            return Err(MetadataError::Corrupt("history"));
        };
        newest.insert(sequence, (tag, value.to_vec()));
        if newest.len() > limit {
            newest.pop_first();
        }
        Ok(Walk::Continue)
    })?;
    for (sequence, (tag, value)) in newest.into_iter().rev() {
        found.push(HistoryValue::decode(&value)?.read(tag, sequence)?);
    }
    Ok(found)
}
