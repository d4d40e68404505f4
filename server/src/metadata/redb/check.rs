//! Recounting everything, for tests and `verify`.
//!
//! Invariant: nothing found here is repaired here; it is told in words. A scan of all rows, so never
//! part of ordinary work.

use super::batch::{Rows, Snapshot, Table, Walk};
use super::blobs;
use super::causes::{DueRow, FanRow, ReceiptRow};
use super::due::Item;
use super::keys::{Key, KeyReader};
use super::rows::{
    BlobRow, DeclaredRow, DocumentRow, DoomedRow, HistoryValue, LinkRow, ManifestRow, NumberRow,
    ObjectRow, PackageRow, PackageUsageRow, PullsRow, RepositoryRow, Row, TagValue, UploadRow,
    WorkspaceRow, WorkspaceUsageRow,
};
use super::{audit, listing, manifests, packages, tags, usage};
use crate::domain::{Digest, PackageId, Tag, WorkspaceId};
use crate::metadata::{MetadataError, Result};
use std::collections::{BTreeMap, BTreeSet};

/// What was found and what was counted.
#[derive(Default)]
struct Findings {
    words: Vec<String>,
    workspaces: BTreeMap<u64, WorkspaceUsageRow>,
    packages: BTreeMap<u64, PackageUsageRow>,
    /// Package → workspace, deleted ones too: their content is held.
    owners: BTreeMap<u64, u64>,
    /// Packages that are being removed page by page: their rows need not fit together any more.
    removing: BTreeSet<u64>,
}

impl Findings {
    /// Turns a row that cannot be read into a finding.
    fn unless_unreadable<T>(&mut self, table: Table, read: Result<T>) -> Result<Option<T>> {
        match read {
            Err(MetadataError::Corrupt(what)) => {
                self.words.push(format!("a row of {table:?} leads to a damaged {what}"));
                Ok(None)
            }
            read => read.map(Some),
        }
    }
}

/// Checks every relation between rows.
pub(super) fn everything(rows: &Snapshot) -> Result<Vec<String>> {
    let mut found = Findings::default();
    type Pass = fn(&Snapshot, &mut Findings) -> Result<()>;
    let passes: [Pass; 11] = [
        all_packages,
        all_blobs,
        links,
        all_manifests,
        edges,
        all_tags,
        all_times,
        all_due,
        totals,
        audit_log,
        the_others,
    ];
    for pass in passes {
        match pass(rows, &mut found) {
            // What cannot be read is told like what does not fit, and the other tables are looked at.
            Err(MetadataError::Corrupt(what)) => {
                found.words.push(format!("a stored record is damaged: {what}"));
            }
            done => done?,
        }
    }
    Ok(found.words)
}

/// A look at one row: what was found so far, its key, its value.
type Visit<'a> = &'a mut dyn FnMut(&mut Findings, KeyReader<'_>, &[u8]) -> Result<()>;

/// Visits the rows of a table. One that cannot be read is a finding and does not hide the others.
fn each(rows: &Snapshot, table: Table, found: &mut Findings, visit: Visit<'_>) -> Result<()> {
    rows.prefix(table, &Key::new(), None, &mut |key, value| {
        let visited = visit(found, KeyReader(key), value);
        found.unless_unreadable(table, visited)?;
        Ok(Walk::Continue)
    })
}

fn audit_log(rows: &Snapshot, found: &mut Findings) -> Result<()> {
    audit::check(rows, &mut found.words)
}

/// Rows whose content no relation above looks at can at least be read.
fn the_others(rows: &Snapshot, found: &mut Findings) -> Result<()> {
    readable::<DocumentRow>(rows, Table::Document, found)?;
    readable::<NumberRow>(rows, Table::TokenUse, found)?;
    readable::<WorkspaceRow>(rows, Table::Workspace, found)?;
    readable::<RepositoryRow>(rows, Table::Repository, found)?;
    readable::<LinkRow>(rows, Table::Link, found)?;
    readable::<HistoryValue>(rows, Table::History, found)?;
    readable::<UploadRow>(rows, Table::Upload, found)?;
    readable::<DueRow>(rows, Table::DueOf, found)?;
    readable::<FanRow>(rows, Table::Fan, found)?;
    readable::<ReceiptRow>(rows, Table::Receipt, found)?;
    readable::<PullsRow>(rows, Table::Pull, found)
}

fn readable<R: Row>(rows: &Snapshot, table: Table, found: &mut Findings) -> Result<()> {
    each(rows, table, found, &mut |_, _, value| R::decode(value).map(|_| ()))
}

/// Counts bytes; damaged rows may have more than can be counted.
const fn add(total: &mut u64, bytes: u64) {
    *total = total.saturating_add(bytes);
}

fn number(reader: &mut KeyReader<'_>) -> Result<u64> {
    reader.number().ok_or(MetadataError::Corrupt("key"))
}

fn digest(reader: &mut KeyReader<'_>) -> Result<Digest> {
    reader.digest().ok_or(MetadataError::Corrupt("key"))
}

fn all_packages(rows: &Snapshot, found: &mut Findings) -> Result<()> {
    each(rows, Table::Package, found, &mut |found, mut key, value| {
        let id = number(&mut key)?;
        let row = PackageRow::decode(value)?;
        found.owners.insert(id, row.workspace);
        found.packages.entry(id).or_default();
        if row.removing {
            found.removing.insert(id);
        }
        if row.deleted.is_some() {
            let (deleted, due) = (
                packages::deleted_key(WorkspaceId(row.workspace), PackageId(id)),
                Item::Package(PackageId(id)),
            );
            if !rows.has(Table::Deleted, &deleted)? || !rows.has(Table::DueOf, &due.key())? {
                found.words.push(format!("the deleted package {id} is never removed"));
            }
        }
        let name = Key::new().number(row.workspace).text(&row.name);
        let named: Option<NumberRow> = rows.row(Table::PackageName, &name)?;
        if row.deleted.is_none() && named.map(|row| row.0) != Some(id) {
            found.words.push(format!("package {id} is not found by its name {}", row.name));
        }
        let recent = listing::recent_key(WorkspaceId(row.workspace), row.updated, PackageId(id));
        if row.deleted.is_none() != rows.has(Table::Recent, &recent)? {
            found.words.push(format!("package {id} is not found by the time of its last change"));
        }
        Ok(())
    })
}

fn all_blobs(rows: &Snapshot, found: &mut Findings) -> Result<()> {
    each(rows, Table::Blob, found, &mut |found, mut key, value| {
        let (workspace, digest) = (number(&mut key)?, digest(&mut key)?);
        let row = BlobRow::decode(value)?;
        add(&mut found.workspaces.entry(workspace).or_default().blob_bytes, row.size);
        if blobs::object_blob(rows, row.object())? != Some((WorkspaceId(workspace), digest)) {
            found.words.push(format!("object {} does not name its blob {digest}", row.object()));
        }
        let holders = Key::new().number(workspace).digest(&digest);
        if !rows.has_prefix(Table::Holder, &holders)? {
            found.words.push(format!("blob {digest} has no holder"));
        }
        Ok(())
    })?;
    each(rows, Table::Doomed, found, &mut |found, key, value| {
        let row = DoomedRow::decode(value)?;
        add(&mut found.workspaces.entry(row.workspace).or_default().doomed_bytes, row.size);
        if !rows.has(Table::Purge, &Key::new().number(row.when).raw(key.0))? {
            found.words.push("a doomed object that is never removed".to_owned());
        }
        if rows.has(Table::Object, &Key::new().raw(key.0))? {
            found.words.push("a doomed object that a blob names".to_owned());
        }
        Ok(())
    })?;
    each(rows, Table::Holder, found, &mut |found, mut key, _| {
        let (workspace, digest) = (number(&mut key)?, digest(&mut key)?);
        let package = number(&mut key)?;
        let link = blobs::link_key(PackageId(package), &digest);
        if !rows.has(Table::Link, &link)? {
            found.words.push(format!("{package} holds {digest} in {workspace} without a link"));
        }
        Ok(())
    })?;
    each(rows, Table::Object, found, &mut |found, key, value| {
        let row = ObjectRow::decode(value)?;
        let blob = blobs::blob_row(rows, WorkspaceId(row.workspace), &row.digest.read()?)?;
        if blob.is_none_or(|blob| blob.object[..] != *key.0) {
            found.words.push("an object that no blob names".to_owned());
        }
        Ok(())
    })
}

fn links(rows: &Snapshot, found: &mut Findings) -> Result<()> {
    each(rows, Table::Link, found, &mut |found, mut key, _| {
        let (package, digest) = (number(&mut key)?, digest(&mut key)?);
        let Some(workspace) = found.owners.get(&package).copied() else {
            found.words.push(format!("a link of the missing package {package}"));
            return Ok(());
        };
        let Some(blob) = blobs::blob_row(rows, WorkspaceId(workspace), &digest)? else {
            found.words.push(format!("package {package} links the missing blob {digest}"));
            return Ok(());
        };
        let holder = Key::new().number(workspace).digest(&digest);
        if !rows.has(Table::Holder, &holder.clone().number(package))? {
            found.words.push(format!("package {package} is no holder of {digest}"));
        }
        let mut holders = 0;
        rows.prefix(Table::Holder, &holder, None, &mut |_, _| {
            holders += 1;
            Ok(if holders < 2 { Walk::Continue } else { Walk::Stop })
        })?;
        let totals = found.packages.entry(package).or_default();
        add(&mut totals.linked_bytes, blob.size);
        if holders == 1 {
            add(&mut totals.exclusive_bytes, blob.size);
        }
        let prefix = blobs::link_key(PackageId(package), &digest);
        let due = Key::new().byte(2).raw(prefix.bytes());
        let removing = found.removing.contains(&package);
        if !removing && !rows.has_prefix(Table::Edge, &prefix)? && !rows.has(Table::DueOf, &due)? {
            found.words.push(format!("nothing refers to {digest} in {package}, and it is not due"));
        }
        Ok(())
    })
}

fn all_manifests(rows: &Snapshot, found: &mut Findings) -> Result<()> {
    each(rows, Table::Manifest, found, &mut |found, mut key, value| {
        let (package, digest) = (number(&mut key)?, digest(&mut key)?);
        let row = ManifestRow::decode(value)?;
        let workspace = found.owners.get(&package).copied().unwrap_or(0);
        add(&mut found.packages.entry(package).or_default().manifest_bytes, row.size);
        add(&mut found.workspaces.entry(workspace).or_default().manifest_bytes, row.size);
        let own = Key::new().number(package).digest(&digest);
        let bytes = rows.value(Table::ManifestBytes, own.bytes())?.unwrap_or_default();
        if digest.algorithm().hash(&bytes) != digest {
            found.words.push(format!("the bytes of manifest {digest} are damaged"));
        }
        if found.removing.contains(&package) {
            return Ok(());
        }
        let id = PackageId(package);
        if !manifests::is_held(rows, id, &digest, &row)?
            && !rows.has(Table::DueOf, &Item::Manifest(id, digest).key())?
        {
            found
                .words
                .push(format!("nothing holds manifest {digest} in {package}, and it is not due"));
        }
        if let Some(subject) = &row.subject {
            let referrer = Key::new().number(package).digest(&subject.read()?).digest(&digest);
            if !rows.has(Table::Referrer, &referrer)? {
                found.words.push(format!("manifest {digest} is not found from its subject"));
            }
        }
        for blob in &row.blobs {
            let blob = blob.read()?;
            let link = Key::new().number(package).digest(&blob);
            if !rows.has(Table::Link, &link)? {
                found.words.push(format!("manifest {digest} needs {blob}, which is not linked"));
            }
            if !rows.has(Table::Edge, &link.digest(&digest))? {
                found.words.push(format!("manifest {digest} has no edge to {blob}"));
            }
        }
        for child in &row.children {
            let child = child.read()?;
            let there = rows.has(Table::Manifest, &Key::new().number(package).digest(&child))?;
            if !there && !manifests::is_missing(&row, &child) {
                found.words.push(format!("index {digest} needs {child}, which is not there"));
            }
            let edge = Key::new().number(package).digest(&child).digest(&digest);
            if !rows.has(Table::Edge, &edge)? {
                found.words.push(format!("index {digest} has no edge to {child}"));
            }
        }
        Ok(())
    })
}

fn edges(rows: &Snapshot, found: &mut Findings) -> Result<()> {
    for (table, what) in [(Table::Edge, "an edge"), (Table::Referrer, "a referrer row")] {
        each(rows, table, found, &mut |found, mut key, _| {
            let (package, _) = (number(&mut key)?, digest(&mut key)?);
            let parent = digest(&mut key)?;
            let own = Key::new().number(package).digest(&parent);
            // What a removed manifest held is let go page by page.
            let fan = table == Table::Edge && rows.has(Table::Fan, &own)?;
            if !fan && !found.removing.contains(&package) && !rows.has(Table::Manifest, &own)? {
                found.words.push(format!("{what} of the missing manifest {parent}"));
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn all_tags(rows: &Snapshot, found: &mut Findings) -> Result<()> {
    each(rows, Table::Kept, found, &mut |found, mut key, _| {
        let (package, digest) = (number(&mut key)?, digest(&mut key)?);
        let tag = key.text().and_then(|tag| tag.parse::<Tag>().ok());
        let tag = tag.ok_or(MetadataError::Corrupt("kept"))?;
        let sequence = number(&mut key)?;
        let package = PackageId(package);
        let history = rows.has(Table::History, &tags::history_key(package, &tag, sequence))?;
        let item = Item::History(package, digest, tag, sequence);
        if found.removing.contains(&package.0) {
            return Ok(());
        }
        if !history || !rows.has(Table::DueOf, &item.key())? {
            found.words.push(format!("history keeps {digest} for ever"));
        }
        if !rows.has(Table::Manifest, &manifests::key(package, &digest))? {
            found.words.push(format!("history keeps {digest}, which is not there"));
        }
        Ok(())
    })?;
    each(rows, Table::Fan, found, &mut |found, mut key, _| {
        let (package, digest) = (PackageId(number(&mut key)?), digest(&mut key)?);
        if !found.removing.contains(&package.0)
            && !rows.has(Table::DueOf, &Item::Fan(package, digest).key())?
        {
            found.words.push(format!("what {digest} held is never let go"));
        }
        Ok(())
    })?;
    each(rows, Table::Tag, found, &mut |found, mut key, value| {
        let package = number(&mut key)?;
        if found.removing.contains(&package) {
            return Ok(());
        }
        let tag = key.text().ok_or(MetadataError::Corrupt("tag"))?;
        let digest = TagValue::decode(value)?.digest.read()?;
        let target = Key::new().number(package).digest(&digest);
        if manifests::visible(rows, PackageId(package), &digest)?.is_none() {
            found.words.push(format!("tag {tag} points to {digest}, which is not there"));
        }
        if !rows.has(Table::Tagged, &target.text(tag))? {
            found.words.push(format!("tag {tag} is not found from {digest}"));
        }
        Ok(())
    })?;
    each(rows, Table::Tagged, found, &mut |found, mut key, _| {
        let (package, digest) = (number(&mut key)?, digest(&mut key)?);
        let tag = key.text().ok_or(MetadataError::Corrupt("tagged"))?;
        let value: Option<TagValue> =
            rows.row(Table::Tag, &Key::new().number(package).text(tag))?;
        if !found.removing.contains(&package)
            && value.map(|value| value.digest.read()).transpose()? != Some(digest)
        {
            found.words.push(format!("{digest} thinks tag {tag} points to it"));
        }
        Ok(())
    })
}

/// The two orders by time against what they order, from both sides.
fn all_times(rows: &Snapshot, found: &mut Findings) -> Result<()> {
    each(rows, Table::Tag, found, &mut |found, mut key, value| {
        let package = number(&mut key)?;
        let tag = key.text().ok_or(MetadataError::Corrupt("tag"))?;
        let moved = TagValue::decode(value)?.moved.at;
        let time = Key::new().number(package).number(moved).text(tag);
        if !found.removing.contains(&package) && !rows.has(Table::TagTime, &time)? {
            found.words.push(format!("tag {tag} is not found by the time of its movement"));
        }
        Ok(())
    })?;
    each(rows, Table::Recent, found, &mut |found, mut key, _| {
        let (workspace, at) = (number(&mut key)?, number(&mut key)?);
        let id = number(&mut key)?;
        let row = packages::live_row(rows, PackageId(id))?;
        if !row.is_some_and(|row| row.workspace == workspace && row.updated == at) {
            found.words.push(format!("package {id} did not change last at {at}"));
        }
        Ok(())
    })?;
    each(rows, Table::TagTime, found, &mut |found, mut key, _| {
        let (package, at) = (number(&mut key)?, number(&mut key)?);
        let tag = key.text().ok_or(MetadataError::Corrupt("tag time"))?;
        let value: Option<TagValue> =
            rows.row(Table::Tag, &Key::new().number(package).text(tag))?;
        if !found.removing.contains(&package) && value.is_none_or(|value| value.moved.at != at) {
            found.words.push(format!("tag {tag} did not move last at {at}"));
        }
        Ok(())
    })
}

fn all_due(rows: &Snapshot, found: &mut Findings) -> Result<()> {
    each(rows, Table::Due, found, &mut |found, mut key, _| {
        let time = number(&mut key)?;
        let reverse: Option<DueRow> = rows.row(Table::DueOf, &Key::new().raw(key.0))?;
        if reverse.map(|row| row.time) != Some(time) {
            found.words.push(format!("a due entry at {time} without its reverse"));
        }
        Ok(())
    })?;
    each(rows, Table::Upload, found, &mut |found, key, _| {
        if !rows.has(Table::DueOf, &Key::new().byte(5).raw(key.0))? {
            found.words.push("an upload that is never due".to_owned());
        }
        Ok(())
    })?;
    each(rows, Table::Declared, found, &mut |found, mut key, value| {
        DeclaredRow::decode(value)?;
        let package = number(&mut key)?;
        let upload: Option<UploadRow> = rows.row(Table::Upload, &Key::new().raw(key.0))?;
        if upload.is_none_or(|upload| upload.package() != PackageId(package)) {
            found.words.push("a declaration of an upload that is not there".to_owned());
        }
        Ok(())
    })
}

fn totals(rows: &Snapshot, found: &mut Findings) -> Result<()> {
    for (id, counted) in std::mem::take(&mut found.workspaces) {
        let stored = usage::workspace_row(rows, WorkspaceId(id));
        match found.unless_unreadable(Table::WorkspaceUsage, stored)? {
            Some(stored) if stored != counted => {
                found.words.push(format!("workspace {id}: stored {stored:?}, counted {counted:?}"));
            }
            _ => {}
        }
    }
    for (id, counted) in std::mem::take(&mut found.packages) {
        let stored = usage::package_row(rows, PackageId(id));
        match found.unless_unreadable(Table::PackageUsage, stored)? {
            Some(stored) if stored != counted => {
                found.words.push(format!("package {id}: stored {stored:?}, counted {counted:?}"));
            }
            _ => {}
        }
    }
    Ok(())
}
