//! Documents: small, versioned, compare-and-set.

use super::audit::{self, Done};
use super::batch::{Batch, Rows, Table, Walk};
use super::keys::Key;
use super::rows::{DocumentRow, Row as _, StampRow};
use crate::domain::Change;
use crate::metadata::{Conflict, Document, DocumentKind, MetadataError, Page, Result};

fn key(kind: DocumentKind, name: &str) -> Key {
    Key::new().document(kind).text(name)
}

fn read(name: String, row: DocumentRow) -> Document {
    Document { key: name, version: row.version, body: row.body, changed: row.changed.read() }
}

pub(super) fn one(rows: &impl Rows, kind: DocumentKind, name: &str) -> Result<Option<Document>> {
    let row: Option<DocumentRow> = rows.row(Table::Document, &key(kind, name))?;
    Ok(row.map(|row| read(name.to_owned(), row)))
}

pub(super) fn list(
    rows: &impl Rows,
    kind: DocumentKind,
    prefix: &str,
    page: &Page,
) -> Result<Vec<Document>> {
    let mut found = Vec::new();
    let after = page.after.as_deref().map(|after| key(kind, after));
    rows.prefix(Table::Document, &key(kind, prefix), after.as_ref(), &mut |rest, value| {
        if found.len() >= page.limit {
            return Ok(Walk::Stop);
        }
        let rest = std::str::from_utf8(rest).map_err(|_| MetadataError::Corrupt("document"))?;
        found.push(read(format!("{prefix}{rest}"), DocumentRow::decode(value)?));
        Ok(Walk::Continue)
    })?;
    Ok(found)
}

pub(super) fn put(
    batch: &mut Batch<'_>,
    change: &Change,
    kind: DocumentKind,
    name: &str,
    expected: Option<u64>,
    body: &[u8],
) -> Result<u64> {
    let found = version(batch, kind, name)?;
    if found != expected {
        return Err(Conflict::Version.into());
    }
    let version = found.unwrap_or(0) + 1;
    let changed = StampRow::new(change, batch.now());
    let row = DocumentRow { version, body: body.to_vec(), changed };
    batch.put(Table::Document, &key(kind, name), &row)?;
    let done = if found.is_none() { Done::Created } else { Done::Changed };
    audit::note_document(batch, change, kind, name, done)?;
    Ok(version)
}

pub(super) fn delete(
    batch: &mut Batch<'_>,
    change: &Change,
    kind: DocumentKind,
    name: &str,
    expected: u64,
) -> Result<()> {
    match version(batch, kind, name)? {
        None => Err(MetadataError::NotFound),
        Some(found) if found != expected => Err(Conflict::Version.into()),
        Some(_) => {
            batch.remove(Table::Document, &key(kind, name))?;
            if kind == DocumentKind::Token {
                audit::forget_use(batch, name)?;
            }
            audit::note_document(batch, change, kind, name, Done::Deleted)
        }
    }
}

fn version(rows: &impl Rows, kind: DocumentKind, name: &str) -> Result<Option<u64>> {
    let row: Option<DocumentRow> = rows.row(Table::Document, &key(kind, name))?;
    Ok(row.map(|row| row.version))
}
