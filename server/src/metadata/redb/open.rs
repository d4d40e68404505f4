//! Opening the database file.
//!
//! Invariant: a file of a format this server does not know is refused before anything is written.

use super::batch::{Batch, Rows, Snapshot, Table, storage};
use super::keys::Key;
use super::rows::InstanceRow;
use super::writer::{AbortOnPanic, Meter, Queue, Writer};
use super::{RedbStore, listing, manifests};
use crate::clock::Clock;
use crate::metadata::{Instance, MetadataError, Result};
use redb::{Database, ReadableDatabase as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, RwLock};

/// The format of the rows that this server writes.
pub(super) const FORMAT: u32 = 1;

/// How long the writer tries to reopen a file that is still locked by the handle it just dropped.
const REOPEN_TRIES: u32 = 50;

/// How a database is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedbOptions {
    /// Memory for cached pages, in bytes.
    pub cache_bytes: usize,
}

impl Default for RedbOptions {
    fn default() -> Self {
        Self { cache_bytes: 24 << 20 }
    }
}

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// redb refused the file.
    #[error("{path} cannot be opened as a database; is it Standpipe's? {source}")]
    Database {
        /// The file.
        path: PathBuf,
        /// redb's words.
        #[source]
        source: MetadataError,
    },
    /// There is a file and nothing in it.
    #[error("{0} is empty, so the database is lost; restore the data directory from a backup")]
    Empty(PathBuf),
    /// Another process has it open.
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    /// A newer server wrote it.
    #[error("the database has format {found}, which is newer than {known}; use a newer server")]
    NewerFormat {
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The first read or write failed.
    #[error("the database could not be read")]
    Read(#[source] MetadataError),
}

impl RedbStore {
    /// Opens the database of a file, creating it if there is none. Blocks; call it before the
    /// runtime has other work.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        path: &Path,
        options: RedbOptions,
        clock: Clock,
    ) -> std::result::Result<Self, OpenError> {
        let refused = |error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => OpenError::InUse(path.to_owned()),
            other => OpenError::Database { path: path.to_owned(), source: storage(other) },
        };
        match std::fs::metadata(path) {
            // redb would take an empty file for a new database, and hide that one is lost.
            Ok(found) if found.len() == 0 => return Err(OpenError::Empty(path.to_owned())),
            Ok(_) => {}
            Err(_) => make(path, options, &clock)?,
        }
        let database = create(path, options).map_err(refused)?;
        let path = path.to_owned();
        Self::start(database, Box::new(move || reopen(&path, options)), clock)
    }

    /// Opens a database on a storage backend of its own, for faults and models. `backend` is called
    /// again whenever the database has to be reopened.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_with<B, F>(
        backend: F,
        options: RedbOptions,
        clock: Clock,
    ) -> std::result::Result<Self, OpenError>
    where
        B: redb::StorageBackend,
        F: Fn() -> B + Send + Sync + 'static,
    {
        let opener = move || {
            let mut builder = Database::builder();
            builder.set_cache_size(options.cache_bytes);
            builder.create_with_backend(backend()).map_err(storage)
        };
        let database = opener().map_err(OpenError::Read)?;
        Self::start(database, Box::new(opener), clock)
    }

    fn start(
        database: Database,
        opener: super::writer::Opener,
        clock: Clock,
    ) -> std::result::Result<Self, OpenError> {
        let found = existing_instance(&database).map_err(OpenError::Read)?;
        match found {
            Some(Instance { format, .. }) if format > FORMAT => {
                return Err(OpenError::NewerFormat { found: format, known: FORMAT });
            }
            Some(_) => {}
            None => claim(&database, &clock).map_err(OpenError::Read)?,
        }
        complete(&database, &clock).map_err(OpenError::Read)?;
        let seen = database
            .begin_read()
            .map_err(storage)
            .and_then(|transaction| manifests::last_seen(&Snapshot::new(transaction)))
            .map_err(OpenError::Read)?;
        clock.raise_floor(seen);
        let database = Arc::new(RwLock::new(Some(database)));
        let (queue, meter) = (Arc::new(Queue::default()), Arc::new(Meter::default()));
        let boot = clock.now();
        let begun = Arc::default();
        let seen = Arc::new(AtomicU64::new(seen.0));
        let writer = Writer {
            database: Arc::clone(&database),
            queue: Arc::clone(&queue),
            clock: clock.clone(),
            opener,
            meter: Arc::clone(&meter),
            seen: Arc::clone(&seen),
        };
        let thread = std::thread::Builder::new()
            .name("metadata-writer".to_owned())
            .spawn(move || {
                let _guard = AbortOnPanic;
                writer.run();
            })
            .map_err(|error| OpenError::Read(MetadataError::Unavailable(error.into())))?;
        let searches = Arc::new(tokio::sync::Semaphore::new(2));
        let reads = Arc::default();
        let writer = Some(thread);
        Ok(Self { database, queue, clock, boot, meter, begun, seen, reads, searches, writer })
    }
}

/// Makes a database with an identity under another name and then gives it its own, so that a first
/// start that is cut off leaves nothing that could be taken for a damaged database.
fn make(path: &Path, options: RedbOptions, clock: &Clock) -> std::result::Result<(), OpenError> {
    let io = |error: std::io::Error| OpenError::Read(MetadataError::Unavailable(error.into()));
    let unfinished = path.with_extension("redb.tmp");
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    let database = create(&unfinished, options).map_err(|error| OpenError::Database {
        path: unfinished.clone(),
        source: storage(error),
    })?;
    claim(&database, clock).map_err(OpenError::Read)?;
    drop(database);
    std::fs::rename(&unfinished, path).map_err(io)?;
    // A new name is durable when its directory is.
    let directory = path.parent().unwrap_or(path);
    std::fs::File::open(directory).and_then(|open| open.sync_all()).map_err(io)
}

fn create(path: &Path, options: RedbOptions) -> std::result::Result<Database, redb::DatabaseError> {
    let mut builder = Database::builder();
    builder.set_cache_size(options.cache_bytes);
    builder.create(path)
}

fn reopen(path: &Path, options: RedbOptions) -> Result<Database> {
    let mut tries = 0;
    loop {
        match create(path, options) {
            // A reader may still hold the old handle for the rest of its read.
            Err(redb::DatabaseError::DatabaseAlreadyOpen) if tries < REOPEN_TRIES => {
                tries += 1;
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            other => return other.map_err(storage),
        }
    }
}

fn existing_instance(database: &Database) -> Result<Option<Instance>> {
    let snapshot = Snapshot::new(database.begin_read().map_err(storage)?);
    read_instance(&snapshot)
}

fn read_instance(rows: &impl Rows) -> Result<Option<Instance>> {
    let row: Option<InstanceRow> = rows.row(Table::Meta, &Key::new().text("instance"))?;
    Ok(row.map(|row| Instance { id: uuid::Uuid::from_bytes(row.id), format: row.format }))
}

/// The identity of an opened database.
pub(super) fn instance(rows: &Snapshot) -> Result<Instance> {
    read_instance(rows)?.ok_or(MetadataError::Corrupt("instance"))
}

/// Gives a fresh database its identity.
fn claim(database: &Database, clock: &Clock) -> Result<()> {
    let mut transaction = database.begin_write().map_err(storage)?;
    transaction.set_quick_repair(true);
    {
        let mut batch = Batch::open(&transaction, clock.now())?;
        let id = uuid::Uuid::new_v4().into_bytes();
        let row = InstanceRow { id, format: FORMAT };
        batch.put(Table::Meta, &Key::new().text("instance"), &row)?;
        manifests::be_seen(&mut batch)?;
        listing::build_times(&mut batch)?;
    }
    transaction.commit().map_err(storage)
}

/// Adds the rows that a database of this format may lack, because an earlier server of it wrote none.
fn complete(database: &Database, clock: &Clock) -> Result<()> {
    let snapshot = Snapshot::new(database.begin_read().map_err(storage)?);
    if listing::has_times(&snapshot)? {
        return Ok(());
    }
    let mut transaction = database.begin_write().map_err(storage)?;
    transaction.set_quick_repair(true);
    listing::build_times(&mut Batch::open(&transaction, clock.now())?)?;
    transaction.commit().map_err(storage)
}
