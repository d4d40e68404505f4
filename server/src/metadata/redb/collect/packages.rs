//! Removal of a deleted package, page by page.
//!
//! Invariant: from the first page on the package cannot be restored (`removing`), and nobody can see
//! it since it was deleted, so the order within it is free: tags and history, then manifests, edges,
//! and at last the links, with which its blobs go.

use super::super::batch::{Batch, Rows as _, Table, Walk};
use super::super::causes::CauseRow;
use super::super::due::{self, Item};
use super::super::keys::Key;
use super::super::rows::{ManifestRow, PackageRow, Row as _};
use super::super::{blobs, packages};
use super::{Place, Step};
use crate::metadata::{MetadataError, Result, Why};

/// Rows of one kind removed in one transaction.
const PAGE: usize = 128;

/// Tables whose keys begin with the package and whose rows need no other care.
const PLAIN: [Table; 9] = [
    Table::Tag,
    Table::TagTime,
    Table::Tagged,
    Table::History,
    Table::Kept,
    Table::Referrer,
    Table::Edge,
    Table::Fan,
    Table::Pull,
];

impl Step {
    pub(super) fn package(
        &mut self,
        batch: &mut Batch<'_>,
        place: &Place,
        cause: Option<CauseRow>,
    ) -> Result<()> {
        let item = Item::Package(place.id);
        // Restored meanwhile.
        let Some(until) = place.deleted_until else { return due::clear(batch, &item) };
        let key = packages::key(place.id);
        let row: Option<PackageRow> = batch.row(Table::Package, &key)?;
        let mut row = row.ok_or(MetadataError::Corrupt("package"))?;
        if !row.removing {
            if batch.now() < until && !mutant!("package-freed-at-once") {
                return due::set(batch, &item, until, cause);
            }
            row.removing = true;
            batch.put(Table::Package, &key, &row)?;
        }
        let by = row.deleted.ok_or(MetadataError::Corrupt("package"))?;
        let cause = cause.unwrap_or_else(|| {
            CauseRow::new(Why::PackageDeleted, place.of(), row.next_sequence, None, None, by)
        });
        if self.package_page(batch, place, &cause)? {
            return due::set(batch, &item, batch.now(), Some(cause));
        }
        batch.remove(Table::PackageUsage, &key)?;
        batch.remove(Table::Package, &key)?;
        batch.remove(Table::Deleted, &packages::deleted_key(place.workspace, place.id))?;
        self.places.remove(&place.id);
        due::clear(batch, &item)
    }

    /// Removes a page; `false` if nothing was left.
    fn package_page(
        &mut self,
        batch: &mut Batch<'_>,
        place: &Place,
        cause: &CauseRow,
    ) -> Result<bool> {
        let prefix = packages::key(place.id);
        for item in first_due(batch, &prefix)? {
            due::clear(batch, &item)?;
        }
        for table in PLAIN {
            let keys = first_keys(batch, table, &prefix)?;
            for key in &keys {
                batch.remove(table, &prefix.clone().raw(key))?;
            }
            if !keys.is_empty() {
                return Ok(true);
            }
        }
        let manifests = first_keys(batch, Table::Manifest, &prefix)?;
        for key in &manifests {
            let digest = blobs::digest_of(key, "manifest")?;
            let bytes = batch.value(Table::Manifest, prefix.clone().raw(key).bytes())?;
            let row = ManifestRow::decode(&bytes.ok_or(MetadataError::Corrupt("manifest"))?)?;
            self.remove_manifest_row(batch, place, &digest, &row, cause)?;
        }
        if !manifests.is_empty() {
            return Ok(true);
        }
        let links = first_keys(batch, Table::Link, &prefix)?;
        for key in &links {
            let digest = blobs::digest_of(key, "link")?;
            self.remove_link(batch, place, &digest, cause)?;
        }
        Ok(!links.is_empty() || !first_due(batch, &prefix)?.is_empty())
    }
}

/// What follows the prefix in the first keys of a table.
fn first_keys(batch: &Batch<'_>, table: Table, prefix: &Key) -> Result<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    batch.prefix(table, prefix, None, &mut |rest, _| {
        found.push(rest.to_vec());
        Ok(if found.len() < PAGE { Walk::Continue } else { Walk::Stop })
    })?;
    Ok(found)
}

/// Due entries of the package's content.
fn first_due(batch: &Batch<'_>, prefix: &Key) -> Result<Vec<Item>> {
    let mut found = Vec::new();
    for kind in [due::HISTORY, due::LINK, due::MANIFEST, due::FAN] {
        let of = Key::new().byte(kind).raw(prefix.bytes());
        batch.prefix(Table::DueOf, &of, None, &mut |rest, _| {
            let key = of.clone().raw(rest);
            let item = Item::decode(key.bytes()).ok_or(MetadataError::Corrupt("due entry"))?;
            found.push(item);
            Ok(if found.len() < PAGE { Walk::Continue } else { Walk::Stop })
        })?;
        if found.len() >= PAGE {
            break;
        }
    }
    Ok(found)
}
