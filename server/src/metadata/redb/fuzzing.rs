//! Doors for the fuzz targets: stored values and keys, whole or damaged.

use super::batch::{Batch, Snapshot, TABLES, sealed, storage, unsealed};
use super::causes::{CauseRow, DueRow, FanRow, ReceiptRow};
use super::due::Item;
use super::keys::Key;
use super::rows::{
    AuditRow, BlobRow, DeclaredRow, DocumentRow, DoomedRow, HistoryValue, InstanceRow, LinkRow,
    ManifestRow, NumberRow, ObjectRow, PackageRow, PackageUsageRow, PullsRow, RepositoryRow, Row,
    TagValue, UploadRow, WorkspaceRow, WorkspaceUsageRow,
};
use super::{audit, blobs, check, documents, due, listing, look, tags, undo};
use crate::domain::{Algorithm, PackageId, RepositoryId, Tag, Timestamp, UploadId, WorkspaceId};
use crate::metadata::{AuditPlace, DocumentKind, MetadataError, Page, Result, TagQuery};

/// Reads a value as the row and writes it down again. Reading on into the domain may refuse the
/// value; it must not panic.
type Reread = fn(&[u8]) -> Result<Vec<u8>>;

fn reread<R: Row + Clone, T>(bytes: &[u8], read: impl Fn(R) -> T) -> Result<Vec<u8>> {
    let row = R::decode(bytes)?;
    drop(read(row.clone()));
    Ok(row.encode())
}

/// Each kind of row with its name.
pub const KINDS: &[(&str, Reread)] = &[
    ("audit event", |bytes| {
        let place = AuditPlace { at: Timestamp(1), sequence: 1 };
        reread(bytes, |row: AuditRow| row.read(place))
    }),
    ("blob", |bytes| reread(bytes, |row: BlobRow| row.object().minted_at())),
    ("cause", |bytes| reread(bytes, CauseRow::read)),
    ("document", |bytes| reread(bytes, |row: DocumentRow| row.changed.read())),
    ("doomed", |bytes| reread(bytes, |row: DoomedRow| row)),
    ("due", |bytes| reread(bytes, |row: DueRow| row.cause.map(CauseRow::read))),
    ("fan", |bytes| reread(bytes, |row: FanRow| row.cause.read())),
    ("history", |bytes| reread(bytes, |row: HistoryValue| row.read(tag(), 1))),
    ("instance", |bytes| reread(bytes, |row: InstanceRow| row)),
    ("link", |bytes| reread(bytes, |row: LinkRow| row.hidden.map(super::rows::StampRow::read))),
    ("manifest", |bytes| {
        reread(bytes, |row: ManifestRow| row.read(Algorithm::Sha256.hash(b""), false))
    }),
    ("number", |bytes| reread(bytes, |row: NumberRow| row)),
    ("object", |bytes| reread(bytes, |row: ObjectRow| row.digest.read())),
    ("package", |bytes| reread(bytes, |row: PackageRow| row.read(PackageId(1)))),
    ("package totals", |bytes| reread(bytes, |row: PackageUsageRow| row)),
    ("pulls", |bytes| reread(bytes, PullsRow::read)),
    ("receipt", |bytes| reread(bytes, ReceiptRow::read)),
    ("repository", |bytes| reread(bytes, |row: RepositoryRow| row.read(RepositoryId(1)))),
    ("tag", |bytes| reread(bytes, |row: TagValue| (row.digest.read(), row.moved.read()))),
    ("upload", |bytes| reread(bytes, |row: UploadRow| row.read(UploadId(uuid::Uuid::nil())))),
    ("workspace", |bytes| reread(bytes, |row: WorkspaceRow| row.read(WorkspaceId(1)))),
    ("workspace totals", |bytes| reread(bytes, |row: WorkspaceUsageRow| row)),
    // At the end, so that the inputs in the corpus mean what they meant.
    ("declared upload", |bytes| reread(bytes, |row: DeclaredRow| row.digest.read())),
];

fn tag() -> Tag {
    "v1".parse().expect("a tag of the grammar")
}

/// How many tables there are.
pub const TABLE_COUNT: usize = TABLES.len();

/// A value as the table stores it under the key.
#[must_use]
pub fn seal(table: usize, key: &[u8], value: &[u8]) -> Vec<u8> {
    sealed(TABLES[table], key, value)
}

/// A stored value, if its checksum holds.
///
/// # Errors
/// [`MetadataError::Corrupt`].
pub fn unseal<'a>(table: usize, key: &[u8], stored: &'a [u8]) -> Result<&'a [u8]> {
    unsealed(TABLES[table], key, stored)
}

/// The key of a due entry, read and written down again.
///
/// # Errors
/// [`MetadataError::Corrupt`].
pub fn due_key(key: &[u8]) -> Result<Vec<u8>> {
    let item = Item::decode(key).ok_or(MetadataError::Corrupt("due entry"))?;
    Ok(item.key().bytes().to_vec())
}

/// What `verify` says of a database with these rows: table, key and value. What reads them one by one
/// reads them too.
///
/// # Errors
/// Those of the database, but not that a row is damaged.
pub fn verified(rows: &[(usize, &[u8], &[u8])]) -> Result<Vec<String>> {
    let backend = redb::backends::InMemoryBackend::new();
    let mut builder = redb::Database::builder();
    let database = builder.set_cache_size(1 << 20).create_with_backend(backend);
    let database = database.map_err(storage)?;
    let transaction = database.begin_write().map_err(storage)?;
    {
        let mut batch = Batch::open(&transaction, Timestamp(1))?;
        for (table, key, value) in rows {
            batch.put_value(TABLES[*table], &Key::new().raw(key), value)?;
        }
    }
    transaction.commit().map_err(storage)?;
    let read = || redb::ReadableDatabase::begin_read(&database).map(Snapshot::new).map_err(storage);
    readers(&read()?)?;
    check::everything(&read()?)
}

/// Reads what stands in keys and rows as requests and tasks do. That one is damaged is no matter.
fn readers(rows: &Snapshot) -> Result<()> {
    fn done<T>(read: Result<T>) -> Result<()> {
        match read.map(drop) {
            Err(MetadataError::Corrupt(_) | MetadataError::NotFound) => Ok(()),
            done => done,
        }
    }
    let (package, workspace, end) = (PackageId(1), WorkspaceId(1), Timestamp(u64::MAX));
    let page = || Page { after: None, limit: 9 };
    done(tags::list(rows, package, &page()))?;
    done(tags::names(rows, package, &page()))?;
    done(tags::history(rows, package, None, 9))?;
    done(tags::history(rows, package, Some(&tag()), 9))?;
    done(undo::kept(rows, package, 9))?;
    done(undo::deleted_package(rows, package))?;
    done(look::pending(rows, package, 9))?;
    done(listing::upcoming(rows, workspace, 9))?;
    let query = TagQuery { limit: 9, ..TagQuery::default() };
    done(listing::tag_list(rows, package, &query))?;
    done(due::until(rows, end, 9))?;
    done(due::first_raw(rows))?;
    done(blobs::doomed(rows, 9, end))?;
    done(blobs::pinned_until(rows))?;
    done(audit::token_use(rows, "a"))?;
    done(documents::list(rows, DocumentKind::User, "", &page()))
}
