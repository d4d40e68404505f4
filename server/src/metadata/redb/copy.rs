//! A consistent copy of the database, for backup.
//!
//! Invariant: the copy is one snapshot, made while writing goes on, and durable when this returns.
//! Copying the file itself would not do: it changes while it is read. An open snapshot pins the pages
//! it shows, so the database grows by what is changed meanwhile and reuses that space afterwards.

use super::batch::{Rows as _, Snapshot, TABLES, Table, Walk, sealed, storage};
use super::keys::Key;
use crate::metadata::{MetadataError, Result};
use redb::Database;
use std::path::Path;

/// Rows written in one transaction.
const ROWS: usize = 50_000;

/// Memory for the copy's pages, in bytes.
pub(super) const CACHE: usize = 16 << 20;

/// Copies all tables into a new file.
pub(super) fn everything(rows: &Snapshot, path: &Path) -> Result<()> {
    if path.exists() {
        let taken = format!("{} exists already", path.display());
        return Err(MetadataError::Unavailable(taken.into()));
    }
    let copy = Database::builder().set_cache_size(CACHE).create(path);
    let copy = copy.map_err(storage)?;
    for table in TABLES {
        let mut page = Vec::new();
        rows.prefix(*table, &Key::new(), None, &mut |key, value| {
            page.push((key.to_vec(), value.to_vec()));
            if page.len() >= ROWS {
                write(&copy, *table, &page)?;
                page.clear();
            }
            Ok(Walk::Continue)
        })?;
        write(&copy, *table, &page)?;
    }
    drop(copy);
    let failed = |error: std::io::Error| MetadataError::Unavailable(error.into());
    std::fs::File::open(path).and_then(|file| file.sync_all()).map_err(failed)
}

fn write(copy: &Database, table: Table, page: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
    let mut transaction = copy.begin_write().map_err(storage)?;
    transaction.set_quick_repair(true);
    {
        let mut open = transaction.open_table(table.definition()).map_err(storage)?;
        for (key, value) in page {
            open.insert(&key[..], &sealed(table, key, value)[..]).map_err(storage)?;
        }
    }
    transaction.commit().map_err(storage)
}
