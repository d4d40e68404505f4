//! Reading and writing rows inside one transaction.
//!
//! Invariant: everything is copied out; nothing borrowed from a transaction leaves this folder. A
//! [`Batch`] knows whether anything was written, so that a refused operation can be held to having
//! written nothing.

use super::keys::Key;
use super::rows::Row;
use crate::domain::{Timestamp, UploadId};
use crate::metadata::{MetadataError, Result};
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable as _, TableDefinition, WriteTransaction};
use std::cell::OnceCell;
use std::ops::Bound;

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

macro_rules! tables {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A table. The comment gives `key → value`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub(super) enum Table { $($(#[$doc])* $variant,)* }

        const DEFINITIONS: &[Definition] = &[$(Definition::new($name),)*];

        const NAMES: &[&str] = &[$($name,)*];

        /// All tables.
        pub(super) const TABLES: &[Table] = &[$(Table::$variant,)*];
    };
}

tables! {
    /// word → number or instance
    Meta = "meta",
    /// kind, key → document
    Document = "document",
    /// workspace → workspace
    Workspace = "workspace",
    /// slug → workspace id
    WorkspaceSlug = "workspace_slug",
    /// workspace → totals
    WorkspaceUsage = "workspace_usage",
    /// repository → repository
    Repository = "repository",
    /// workspace, slug → repository id
    RepositorySlug = "repository_slug",
    /// package → package
    Package = "package",
    /// workspace, name → package id
    PackageName = "package_name",
    /// workspace, last change, package → ()
    Recent = "recent",
    /// repository, package → ()
    PackagesOf = "packages_of",
    /// package → totals
    PackageUsage = "package_usage",
    /// workspace, digest → object, size
    Blob = "blob",
    /// object → workspace, digest
    Object = "object",
    /// object → workspace, size, when
    Doomed = "doomed",
    /// when, object → ()
    Purge = "purge",
    /// package, digest → lease, hidden?
    Link = "link",
    /// workspace, digest, package → ()
    Holder = "holder",
    /// package, digest → facts
    Manifest = "manifest",
    /// package, digest → bytes
    ManifestBytes = "manifest_bytes",
    /// package, child, parent → ()
    Edge = "edge",
    /// package, subject, manifest → ()
    Referrer = "referrer",
    /// package, tag → digest, change
    Tag = "tag",
    /// package, last movement, tag → ()
    TagTime = "tag_time",
    /// package, digest, tag → ()
    Tagged = "tagged",
    /// package, tag, 0, sequence → event, change
    History = "history",
    /// package, digest, tag, 0, sequence → () while a history row keeps the digest
    Kept = "kept",
    /// time, kind, key → ()
    Due = "due",
    /// kind, key → time, cause
    DueOf = "due_of",
    /// package, manifest that is gone → what it held and has not let go yet
    Fan = "fan",
    /// workspace, package → () while a deleted package is not removed
    Deleted = "deleted",
    /// workspace, time of the event, package, sequence, why → what it freed
    Receipt = "receipt",
    /// upload → package, owner
    Upload = "upload",
    /// package, upload → what it was declared to become
    Declared = "declared",
    /// package, digest, (tag) → count, last
    Pull = "pull",
    /// time, number → event
    Audit = "audit",
    /// workspace, time, number → ()
    AuditOf = "audit_of",
    /// token → when it was last used
    TokenUse = "token_use",
}

/// Bytes of a row's checksum, at the end of its value.
const CHECKSUM: usize = 4;

/// The checksum of a row. redb verifies its own only when it repairs a file, so without this a flipped
/// bit would be answered as if it were true. The table and key are part of it: a row in another's place
/// is damage too.
fn checksum(table: Table, key: &[u8], value: &[u8]) -> [u8; CHECKSUM] {
    let mut crc = crc32fast::Hasher::new_with_initial(NAME_SUMS[table as usize]);
    let length = u64::try_from(key.len()).unwrap_or(u64::MAX).to_le_bytes();
    let parts = [&length, key, value];
    let mut room = [0; SMALL_ROW];
    match joined(&mut room, parts) {
        Some(row) => crc.update(row),
        None => parts.into_iter().for_each(|part| crc.update(part)),
    }
    crc.finalize().to_le_bytes()
}

/// Bytes of a row whose checksum is taken in one piece. `crc32fast` takes 64 at a time and what is left
/// of each piece one by one, which was most of what it cost to list tags.
const SMALL_ROW: usize = 256;

/// The parts behind each other, if there is room.
fn joined<'a>(room: &'a mut [u8; SMALL_ROW], parts: [&[u8]; 3]) -> Option<&'a [u8]> {
    let mut end = 0;
    for part in parts {
        room.get_mut(end..end + part.len())?.copy_from_slice(part);
        end += part.len();
    }
    room.get(..end)
}

/// The checksum of each table's name and the zero behind it, with which that of every row begins.
const NAME_SUMS: [u32; NAMES.len()] = {
    let mut sums = [0; NAMES.len()];
    let mut table = 0;
    while table < NAMES.len() {
        sums[table] = name_sum(NAMES[table].as_bytes());
        table += 1;
    }
    sums
};

/// CRC-32 as `crc32fast` has it, which cannot be asked at compile time.
const fn name_sum(name: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    let mut at = 0;
    while at <= name.len() {
        crc ^= if at < name.len() { name[at] as u32 } else { 0 };
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
            bit += 1;
        }
        at += 1;
    }
    !crc
}

/// A value as it is stored.
pub(super) fn sealed(table: Table, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(value.len() + CHECKSUM);
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(&checksum(table, key, value));
    bytes
}

/// A stored value, if its checksum holds.
pub(super) fn unsealed<'a>(table: Table, key: &[u8], stored: &'a [u8]) -> Result<&'a [u8]> {
    match stored.split_last_chunk::<CHECKSUM>() {
        Some((value, sum)) if *sum == checksum(table, key, value) => Ok(value),
        _ => Err(MetadataError::Corrupt(table.name())),
    }
}

impl Table {
    /// Its name, for messages.
    pub(super) const fn name(self) -> &'static str {
        NAMES[self as usize]
    }

    /// What redb calls it.
    pub(super) const fn definition(self) -> Definition {
        DEFINITIONS[self as usize]
    }
}

/// Turns any redb error into ours, telling a full disk apart.
pub(super) fn storage(error: impl Into<redb::Error>) -> MetadataError {
    let error = error.into();
    if let redb::Error::Io(cause) = &error
        && matches!(
            cause.kind(),
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
        )
    {
        return MetadataError::NoSpace;
    }
    MetadataError::Unavailable(Box::new(error))
}

/// What a visitor of rows wants next.
pub(super) enum Walk {
    Continue,
    Stop,
}

/// A visitor of rows.
pub(super) type Visitor<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<Walk>;

/// Reads rows, in a snapshot or in a batch that sees its own writes.
pub(super) trait Rows {
    /// The value of a key.
    fn value(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Visits rows between two bounds in order, or backwards.
    fn visit(
        &self,
        table: Table,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        backwards: bool,
        visitor: Visitor<'_>,
    ) -> Result<()>;

    /// The row of a key.
    fn row<R: Row>(&self, table: Table, key: &Key) -> Result<Option<R>>
    where
        Self: Sized,
    {
        self.value(table, key.bytes())?.map(|bytes| R::decode(&bytes)).transpose()
    }

    /// Whether a key exists.
    fn has(&self, table: Table, key: &Key) -> Result<bool> {
        Ok(self.value(table, key.bytes())?.is_some())
    }

    /// Whether any key begins with this.
    fn has_prefix(&self, table: Table, prefix: &Key) -> Result<bool> {
        let mut found = false;
        self.prefix(table, prefix, None, &mut |_, _| {
            found = true;
            Ok(Walk::Stop)
        })?;
        Ok(found)
    }

    /// Visits the rows whose key begins with `prefix`, after `after` if given. The visitor gets what
    /// follows the prefix.
    fn prefix(
        &self,
        table: Table,
        prefix: &Key,
        after: Option<&Key>,
        visitor: Visitor<'_>,
    ) -> Result<()> {
        let start = match after {
            Some(after) => Bound::Excluded(after.bytes()),
            None => Bound::Included(prefix.bytes()),
        };
        let skip = prefix.bytes().len();
        self.visit(table, (start, Bound::Unbounded), false, &mut |key, value| match key
            .strip_prefix(prefix.bytes())
        {
            Some(_) => visitor(&key[skip..], value),
            None => Ok(Walk::Stop),
        })
    }

    /// Visits the rows whose key begins with `prefix`, last first.
    fn prefix_backwards(&self, table: Table, prefix: &Key, visitor: Visitor<'_>) -> Result<()> {
        let end = successor(prefix.bytes());
        let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let skip = prefix.bytes().len();
        self.visit(table, (Bound::Included(prefix.bytes()), end), true, &mut |key, value| {
            visitor(&key[skip..], value)
        })
    }

    /// The same, beginning before `before` if given.
    fn prefix_before(
        &self,
        table: Table,
        prefix: &Key,
        before: Option<&Key>,
        visitor: Visitor<'_>,
    ) -> Result<()> {
        let Some(before) = before else { return self.prefix_backwards(table, prefix, visitor) };
        let bounds = (Bound::Included(prefix.bytes()), Bound::Excluded(before.bytes()));
        if before.bytes() <= prefix.bytes() {
            return Ok(());
        }
        let skip = prefix.bytes().len();
        self.visit(table, bounds, true, &mut |key, value| match key.strip_prefix(prefix.bytes()) {
            Some(_) => visitor(&key[skip..], value),
            None => Ok(Walk::Stop),
        })
    }

    /// A number that counts up from zero.
    fn number(&self, table: Table, key: &Key) -> Result<u64>
    where
        Self: Sized,
    {
        Ok(self.row::<super::rows::NumberRow>(table, key)?.map_or(0, |row| row.0))
    }
}

/// The first key that does not begin with `prefix` any more.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

/// A table of a snapshot.
type OpenTable = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// One consistent view for reading.
pub(super) struct Snapshot {
    transaction: ReadTransaction,
    /// Tables that were asked for. To open one is to read the list of tables, which for one row costs
    /// as much as the row.
    open: [OnceCell<OpenTable>; DEFINITIONS.len()],
    /// Rows read, for showing what a look costs.
    touched: std::cell::Cell<u64>,
}

impl Snapshot {
    pub(super) const fn new(transaction: ReadTransaction) -> Self {
        let open = [const { OnceCell::new() }; DEFINITIONS.len()];
        Self { transaction, open, touched: std::cell::Cell::new(0) }
    }

    /// Rows read so far.
    pub(super) const fn touched(&self) -> u64 {
        self.touched.get()
    }

    fn open(&self, table: Table) -> Result<Option<&OpenTable>> {
        let cell = &self.open[table as usize];
        if let Some(open) = cell.get() {
            return Ok(Some(open));
        }
        match self.transaction.open_table(DEFINITIONS[table as usize]) {
            Ok(open) => Ok(Some(cell.get_or_init(|| open))),
            // Before the first write there are no tables.
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(storage(error)),
        }
    }
}

impl Rows for Snapshot {
    fn value(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.touched.set(self.touched.get() + 1);
        let Some(open) = self.open(table)? else { return Ok(None) };
        let Some(guard) = open.get(key).map_err(storage)? else { return Ok(None) };
        Ok(Some(unsealed(table, key, guard.value())?.to_vec()))
    }

    fn visit(
        &self,
        table: Table,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        backwards: bool,
        visitor: Visitor<'_>,
    ) -> Result<()> {
        let Some(open) = self.open(table)? else { return Ok(()) };
        walk(table, open.range::<&[u8]>(bounds).map_err(storage)?, backwards, &mut |key, value| {
            self.touched.set(self.touched.get() + 1);
            visitor(key, value)
        })
    }
}

/// One write transaction with all tables open.
pub(super) struct Batch<'txn> {
    tables: Vec<redb::Table<'txn, &'static [u8], &'static [u8]>>,
    now: Timestamp,
    written: bool,
    /// Rows read and written since the batch began.
    touched: std::cell::Cell<u64>,
    writes: u64,
    /// Upload sessions that ended in this batch.
    ended: Vec<UploadId>,
}

impl<'txn> Batch<'txn> {
    pub(super) fn open(transaction: &'txn WriteTransaction, now: Timestamp) -> Result<Self> {
        let mut tables = Vec::with_capacity(DEFINITIONS.len());
        for definition in DEFINITIONS {
            tables.push(transaction.open_table(*definition).map_err(storage)?);
        }
        let (touched, ended) = (std::cell::Cell::new(0), Vec::new());
        Ok(Self { tables, now, written: false, touched, writes: 0, ended })
    }

    /// The time that everything in this batch happens at.
    pub(super) const fn now(&self) -> Timestamp {
        self.now
    }

    /// Notes that an upload session has ended, which those that have no rows do not show.
    pub(super) fn note_ended(&mut self, id: UploadId) {
        self.ended.push(id);
    }

    /// Whether an upload session ended in this batch.
    pub(super) fn has_ended(&self, id: UploadId) -> bool {
        self.ended.contains(&id)
    }

    /// Rows written since the batch began.
    pub(super) const fn writes(&self) -> u64 {
        self.writes
    }

    /// Rows read and written since the batch began; for budgets and for showing what work costs.
    pub(super) fn touched(&self) -> u64 {
        self.touched.get() + self.writes
    }

    /// Whether anything was written since the last call, and forgets it.
    pub(super) fn take_written(&mut self) -> bool {
        std::mem::take(&mut self.written)
    }

    /// Writes raw bytes.
    pub(super) fn put_value(&mut self, table: Table, key: &Key, value: &[u8]) -> Result<()> {
        self.written = true;
        self.writes += 1;
        let value = sealed(table, key.bytes(), value);
        self.tables[table as usize].insert(key.bytes(), &value[..]).map_err(storage)?;
        Ok(())
    }

    /// Writes a row.
    pub(super) fn put<R: Row>(&mut self, table: Table, key: &Key, row: &R) -> Result<()> {
        self.put_value(table, key, &row.encode())
    }

    /// Writes a row whose key says everything.
    pub(super) fn mark(&mut self, table: Table, key: &Key) -> Result<()> {
        self.put_value(table, key, super::rows::EMPTY)
    }

    /// Removes a row; `false` if there was none.
    pub(super) fn remove(&mut self, table: Table, key: &Key) -> Result<bool> {
        self.written = true;
        self.writes += 1;
        Ok(self.tables[table as usize].remove(key.bytes()).map_err(storage)?.is_some())
    }

    /// Takes the next number of a counter in [`Table::Meta`].
    pub(super) fn next_id(&mut self, counter: &str) -> Result<u64> {
        let key = Key::new().text(counter);
        let next = self.number(Table::Meta, &key)? + 1;
        self.put(Table::Meta, &key, &super::rows::NumberRow(next))?;
        Ok(next)
    }
}

impl Rows for Batch<'_> {
    fn value(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.touched.set(self.touched.get() + 1);
        let open = &self.tables[table as usize];
        let Some(guard) = open.get(key).map_err(storage)? else { return Ok(None) };
        Ok(Some(unsealed(table, key, guard.value())?.to_vec()))
    }

    fn visit(
        &self,
        table: Table,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        backwards: bool,
        visitor: Visitor<'_>,
    ) -> Result<()> {
        let open = &self.tables[table as usize];
        walk(table, open.range::<&[u8]>(bounds).map_err(storage)?, backwards, &mut |key, value| {
            self.touched.set(self.touched.get() + 1);
            visitor(key, value)
        })
    }
}

fn walk(
    table: Table,
    mut range: redb::Range<'_, &'static [u8], &'static [u8]>,
    backwards: bool,
    visitor: Visitor<'_>,
) -> Result<()> {
    while let Some(item) = if backwards { range.next_back() } else { range.next() } {
        let (key, value) = item.map_err(storage)?;
        let value = unsealed(table, key.value(), value.value())?;
        if let Walk::Stop = visitor(key.value(), value)? {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of older versions are read, which summed names at run time.
    #[test]
    fn the_checksum_of_a_row_is_that_of_its_table_key_and_value() {
        for &table in TABLES {
            let length = [3, 0, 0, 0, 0, 0, 0, 0];
            let whole = [table.name().as_bytes(), &[0], &length, b"key", b"value"].concat();
            let sum = crc32fast::hash(&whole).to_le_bytes();
            assert_eq!(checksum(table, b"key", b"value"), sum, "{}", table.name());
        }
    }

    #[test]
    fn the_checksum_of_a_large_row_is_taken_as_that_of_a_small_one() {
        for (key, value) in [(0, 0), (1, 0), (40, 207), (40, 208), (40, 209), (300, 5), (9, 70_000)]
        {
            let (key, value) = (vec![7; key], vec![9; value]);
            let length = (key.len() as u64).to_le_bytes();
            let whole = [Table::Tag.name().as_bytes(), &[0], &length, &key, &value].concat();
            let sum = crc32fast::hash(&whole).to_le_bytes();
            assert_eq!(checksum(Table::Tag, &key, &value), sum, "{} {}", key.len(), value.len());
        }
    }
}
