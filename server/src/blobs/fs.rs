//! Blobs in local files.
//!
//! ```text
//! <data directory>
//! ├── blobs
//! │   ├── 00 … ff               objects by the last byte of their key; made once, at the first start
//! │   │   └── <object key>      a finished object, never written again
//! │   ├── instance              identity of the data directory
//! │   └── lost+found
//! │       └── <object key>.<ms> an object that no row named, and when it was set aside
//! └── uploads
//!     ├── <uuid>                bytes of an upload in progress (mode 0600)
//!     └── <uuid>.state          its last checkpoint; see `fs/state.rs`
//! ```
//!
//! Invariant: a name in `blobs/xx` is given by a rename of a file whose bytes are durable and have
//! been hashed, and [`finish`](BlobStore::finish) returns after that name is durable too.
//!
//! What it costs, in syncs: beginning an upload, none; a body below 64 MiB, two (data, state), and a
//! third for the first body of an upload (its directory); each further 64 MiB, two; finishing, one
//! (the object's directory). The last body of an upload needs no state, so it costs one instead of three,
//! and a small blob in a single request two in all. Deleting syncs nothing: a
//! name that comes back after a power loss is an object without a row, which the start-up sweep sets
//! aside.
//!
//! Memory: a body holds at most seven pieces of 256 KiB in the beginning and five later, a reader two
//! chunks of 256 KiB, out of [`Buffers`] that have a bound for all together. No thread waits for the
//! network: the blocking pool is used for one operation at a time. Some of its threads are out of bounds
//! for changes, so that a disk that is slow to sync does not keep readers waiting.
//!
//! One process at a time may open a data directory; the caller holds its lock. This file must not
//! know metadata or HTTP.

pub mod files;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod held;
mod import;
mod layout;
mod listing;
mod read;
mod state;
mod upload;

use super::buffers::{Buffer, Buffers};
use super::checkout::{Checkouts, Purpose};
use super::gather::{self, End};
use super::space::Space;
use super::{BlobError, BlobStore, ByteStream, Last, Object, Opened, broken_task};
use crate::clock::Clock;
use crate::domain::{Algorithm, Digest, ObjectKey, Timestamp, UploadId};
use async_trait::async_trait;
use files::{Files, OpenFile as _, SystemFiles};
use held::{Held, OF_A_READER, OF_AN_UPLOAD};
use layout::Layout;
use listing::Listing;
use std::cell::Cell;
use std::io;
use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{Semaphore, mpsc};
use upload::{Session, remove_if_there};

/// Threads for files. Each is used for one operation at a time and none waits for the network, so few
/// are enough; more would each keep memory of their own (with tokio's default of 512, eight pulls of
/// 256 MiB made the process 70 MiB larger).
pub const BLOCKING_THREADS: usize = 8;
/// How many of them may work on changes, each of which may wait for a sync.
const CHANGING_THREADS: usize = 6;

/// How much less urgent the threads for changes are than the others, in steps of `nice`: about a tenth of
/// the processor, if others want it, too.
const LESS_URGENT: i32 = 10;

/// The blob store on a local file system.
#[derive(Debug)]
pub struct FsBlobStore<F: Files = SystemFiles>(Arc<Shared<F>>);

#[derive(Debug)]
struct Shared<F> {
    files: F,
    layout: Layout,
    clock: Clock,
    checkouts: Checkouts,
    listing: Listing,
    changes: Arc<Semaphore>,
    /// Who may hash more than the few pieces of a small blob: one processor is left for those who answer requests, and one that hashes is faster
    /// than most disks and networks.
    hashing: Arc<Semaphore>,
    buffers: Buffers,
    held: Held,
}

impl<F: Files> FsBlobStore<F> {
    /// Opens the blobs of a data directory and makes what is missing; `root` must exist. Blocks.
    ///
    /// # Errors
    /// [`BlobError::Storage`] if the directory cannot be used, or if its parts are on different file
    /// systems, between which a file cannot be renamed.
    pub fn open(root: &Path, clock: Clock, files: F) -> Result<Self, BlobError> {
        Self::open_within(root, clock, files, usize::MAX)
    }

    /// The same, with requests that hold at most so many files at once.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_within(
        root: &Path,
        clock: Clock,
        files: F,
        files_held: usize,
    ) -> Result<Self, BlobError> {
        let layout = Layout::new(root);
        make_directories(&files, &layout)
            .map_err(|error| storage("make the blob directories", error))?;
        refuse_other_devices(&files, &layout)?;
        remove_if_there(&files, &layout.new_identity())
            .map_err(|error| storage("remove an unfinished identity", error))?;
        let shared = Shared {
            files,
            layout,
            clock,
            checkouts: Checkouts::default(),
            listing: Listing::default(),
            changes: Arc::new(Semaphore::new(CHANGING_THREADS)),
            hashing: Arc::new(Semaphore::new(hashing_threads())),
            buffers: Buffers::default(),
            held: Held::new(files_held),
        };
        shared.settle_uploads()?;
        Ok(Self(Arc::new(shared)))
    }

    /// Runs blocking work on the pool for it.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Shared<F>>) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        let shared = Arc::clone(&self.0);
        blocking(move || work(&shared)).await
    }

    /// Adds a body to an upload.
    async fn take_body(
        &self,
        id: UploadId,
        at: Option<u64>,
        most: Option<u64>,
        body: ByteStream,
        ending: Ending,
    ) -> Result<Session<F>, BlobError> {
        let room = self.0.held.room(OF_AN_UPLOAD).await?;
        let session =
            self.changing(move |shared| Ok(Session::load(shared, id)?.with_room(room))).await?;
        let start = session.written();
        if let Some(asked) = at
            && asked != start
        {
            return Err(BlobError::Offset { asked, actual: start });
        }
        let (sender, pieces) = mpsc::channel(gather::WAITING);
        let keep = Arc::new(AtomicBool::new(false));
        // A task of its own: if the client goes away and this future is dropped, what has arrived is
        // still written and made durable.
        let writing = write_pieces(Arc::clone(&self.0), session, pieces, Arc::clone(&keep));
        let writer = tokio::spawn(writing);
        let end = gather::gather(body, start, most, &self.0.buffers, &sender).await;
        keep.store(ending == Ending::Last && matches!(end, End::Complete), Ordering::Release);
        drop(sender);
        let session = writer.await.unwrap_or_else(|error| Err(broken_task(error)))?;
        match end {
            End::Broken(error) => Err(BlobError::Body(error)),
            End::Complete => Ok(session),
            End::TooLarge(most) => Err(BlobError::TooLarge(most)),
        }
    }

    /// Runs blocking work that changes the disk.
    async fn changing<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Shared<F>>) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        let shared = Arc::clone(&self.0);
        self.0.changing(move || work(&shared)).await
    }
}

impl<F: Files> Shared<F> {
    /// Runs work that may have to wait for a sync, as soon as a thread for changes is free.
    async fn changing<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        // Nobody closes it. The permit goes with the work, which goes on if this future is dropped.
        let permit = Arc::clone(&self.changes).acquire_owned().await;
        blocking(move || {
            give_way();
            let _permit = permit;
            work()
        })
        .await
    }

    /// An earlier process may have ended between writing a state and syncing it, and this one would
    /// take the state for durable.
    fn settle_uploads(&self) -> Result<(), BlobError> {
        let uploads = self.uploads().map_err(|error| storage("list uploads", error))?;
        for id in uploads {
            // One that cannot be opened cannot be used either, and says so when it is.
            let Ok(state) = self.files.open_to_write(&self.layout.state(id)) else { continue };
            if let Err(error) = state.sync_data() {
                upload::give_up(self, &self.checkouts.take(id, Purpose::Remove)?, &error);
            }
        }
        Ok(())
    }

    /// Every upload of which there is anything.
    fn uploads(&self) -> io::Result<Vec<UploadId>> {
        let names = self.files.list(&self.layout.uploads)?;
        let mut ids: Vec<_> =
            names.iter().filter_map(|name| self.layout.read_upload(name)).collect();
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    fn open_object(&self, key: ObjectKey) -> Result<F::File, BlobError> {
        self.files
            .open(&self.layout.object(key))
            .map_err(|error| missing_object(key, "open an object", error))
    }

    fn set_aside(&self, key: ObjectKey) -> Result<(), BlobError> {
        let aside = self.layout.set_aside(key, self.clock.now());
        match self.files.rename(&self.layout.object(key), &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed.map_err(|error| storage("set an object aside", error))?,
        }
        let synced = self.files.sync_dir(&self.layout.lost_and_found);
        synced.map_err(|error| storage("make an object's new name durable", error))
    }

    fn empty_lost_and_found(&self, before: Timestamp) -> io::Result<u64> {
        let mut removed = 0;
        for name in self.files.list(&self.layout.lost_and_found)? {
            if self.layout.read_set_aside(&name).is_some_and(|time| time < before) {
                remove_if_there(&self.files, &self.layout.lost_and_found.join(name))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn identity(&self) -> io::Result<Option<Vec<u8>>> {
        let file = match self.files.open(&self.layout.identity()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let length = usize::try_from(file.length()?).map_err(io::Error::other)?;
        file.read(0, length, Vec::new()).map(Some)
    }

    fn set_identity(&self, identity: &[u8]) -> io::Result<()> {
        let new = self.layout.new_identity();
        remove_if_there(&self.files, &new)?;
        let file = self.files.create(&new)?;
        file.write(0, identity)?;
        file.sync_all()?;
        self.files.rename(&new, &self.layout.identity())?;
        self.files.sync_dir(&self.layout.blobs)
    }
}

#[async_trait]
impl<F: Files> BlobStore for FsBlobStore<F> {
    async fn create_upload(
        &self,
        id: UploadId,
        algorithm: Algorithm,
        now: Timestamp,
    ) -> Result<(), BlobError> {
        self.changing(move |shared| upload::create(shared, id, algorithm, now)).await
    }

    async fn upload_offset(&self, id: UploadId) -> Result<u64, BlobError> {
        self.blocking(move |shared| upload::offset(shared, id)).await
    }

    async fn append(
        &self,
        id: UploadId,
        at: Option<u64>,
        most: Option<u64>,
        body: ByteStream,
    ) -> Result<u64, BlobError> {
        Ok(self.take_body(id, at, most, body, Ending::Durable).await?.written())
    }

    async fn append_last(
        &self,
        id: UploadId,
        at: Option<u64>,
        most: Option<u64>,
        body: ByteStream,
    ) -> Result<Last, BlobError> {
        let session = self.take_body(id, at, most, body, Ending::Last).await?;
        let (length, before) = (session.length(), session.loaded());
        Ok(Last { id, length, before, session: Box::new(session) })
    }

    async fn finish_last(&self, last: Last, expected: &Digest) -> Result<Object, BlobError> {
        let (id, expected) = (last.id, *expected);
        match last.session.downcast::<Session<F>>() {
            Ok(session) => self.changing(move |_| session.finish(&expected)).await,
            // It is another store's, which cannot know this upload.
            Err(_) => Err(BlobError::UnknownUpload(id)),
        }
    }

    async fn finish(&self, id: UploadId, expected: &Digest) -> Result<Object, BlobError> {
        let expected = *expected;
        self.changing(move |shared| Session::load(shared, id)?.finish(&expected)).await
    }

    async fn cancel_upload(&self, id: UploadId) -> Result<(), BlobError> {
        self.changing(move |shared| upload::cancel(shared, id)).await
    }

    async fn uploads(&self) -> Result<Vec<UploadId>, BlobError> {
        self.blocking(|shared| shared.uploads().map_err(|error| storage("list uploads", error)))
            .await
    }

    async fn read(&self, key: ObjectKey, offset: u64, length: u64) -> Result<Opened, BlobError> {
        let room = match length > read::FIRST_CHUNK {
            true => Some(self.0.held.room(OF_A_READER).await?),
            false => None,
        };
        self.blocking(move |shared| read::open(shared, key, offset, length, room)).await
    }

    async fn object_size(&self, key: ObjectKey) -> Result<u64, BlobError> {
        self.blocking(move |shared| {
            let found = shared.files.stat(&shared.layout.object(key));
            found
                .map(|stat| stat.length)
                .map_err(|error| missing_object(key, "look at an object", error))
        })
        .await
    }

    async fn delete(&self, key: ObjectKey) -> Result<(), BlobError> {
        self.changing(move |shared| {
            let removed = remove_if_there(&shared.files, &shared.layout.object(key));
            removed.map_err(|error| storage("remove an object", error))
        })
        .await
    }

    async fn objects(
        &self,
        after: Option<ObjectKey>,
        limit: usize,
    ) -> Result<Vec<ObjectKey>, BlobError> {
        self.blocking(move |shared| listing::page(shared, after, limit)).await
    }

    async fn set_aside(&self, key: ObjectKey) -> Result<(), BlobError> {
        self.changing(move |shared| shared.set_aside(key)).await
    }

    async fn empty_lost_and_found(&self, before: Timestamp) -> Result<u64, BlobError> {
        self.changing(move |shared| {
            shared.empty_lost_and_found(before).map_err(|error| storage("empty lost+found", error))
        })
        .await
    }

    fn strangers(&self) -> Vec<String> {
        self.0.layout.strangers()
    }

    async fn space(&self) -> Result<Option<Space>, BlobError> {
        self.blocking(|shared| {
            let space = shared.files.space(&shared.layout.blobs);
            space.map(Some).map_err(|error| storage("measure free space", error))
        })
        .await
    }

    async fn identity(&self) -> Result<Option<Vec<u8>>, BlobError> {
        self.blocking(|shared| {
            shared.identity().map_err(|error| storage("read the identity", error))
        })
        .await
    }

    async fn set_identity(&self, identity: &[u8]) -> Result<(), BlobError> {
        let identity = identity.to_vec();
        self.changing(move |shared| {
            shared.set_identity(&identity).map_err(|error| storage("write the identity", error))
        })
        .await
    }
}

/// What is to become of a body that has arrived whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// It is durable.
    Durable,
    /// The upload ends with it, and is made durable then.
    Last,
}

/// Writes what arrives and makes it durable at the end, unless `keep` says by then that it need not be.
/// No thread is held while waiting.
async fn write_pieces<F: Files>(
    shared: Arc<Shared<F>>,
    mut session: Session<F>,
    mut pieces: mpsc::Receiver<Buffer>,
    keep: Arc<AtomicBool>,
) -> Result<Session<F>, BlobError> {
    let mut arrived = next_pieces(&mut pieces).await;
    let mut following = next_pieces(&mut pieces).await;
    if following.is_empty() && keep.load(Ordering::Acquire) {
        // A small blob: its bytes are written when it is finished, so that it waits for a thread once less.
        return Ok(session.with_waiting(arrived));
    }
    while !arrived.is_empty() {
        // Nobody closes it.
        let turn = Arc::clone(&shared.hashing).acquire_owned().await;
        // All that has come in one go, to change threads less often.
        session = shared.changing(move || session.write_all(arrived)).await?;
        drop(turn);
        if session.is_checkpoint_due() {
            session = shared.changing(move || session.checkpoint()).await?;
        }
        arrived = match following.is_empty() {
            true => next_pieces(&mut pieces).await,
            false => mem::take(&mut following),
        };
    }
    if keep.load(Ordering::Acquire) {
        return Ok(session);
    }
    shared.changing(move || session.checkpoint()).await
}

/// The pieces that are there, as soon as there is one; none at the end.
async fn next_pieces(pieces: &mut mpsc::Receiver<Buffer>) -> Vec<Buffer> {
    let mut arrived = Vec::with_capacity(gather::WAITING);
    pieces.recv_many(&mut arrived, gather::WAITING).await;
    arrived
}

/// How many threads may hash at a time.
fn hashing_threads() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (processors - 1).clamp(1, CHANGING_THREADS)
}

/// Lets the threads that answer requests go first, once for each thread that hashes and writes: on a
/// machine of two processors eight uploads would otherwise keep everybody else waiting.
fn give_way() {
    thread_local! {
        static GIVES_WAY: Cell<bool> = const { Cell::new(false) };
    }
    if !GIVES_WAY.replace(true) {
        // To be refused is to be as urgent as before.
        let own = rustix::process::getpriority_process(None).unwrap_or(0);
        let _ = rustix::process::setpriority_process(None, own + LESS_URGENT);
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(broken_task(error)))
}

fn make_directories(files: &impl Files, layout: &Layout) -> io::Result<()> {
    let top = [layout.blobs.clone(), layout.uploads.clone(), layout.lost_and_found.clone()];
    for directory in top.into_iter().chain((0..=u8::MAX).map(|shard| layout.shard(shard))) {
        match files.create_dir(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    // Always: an earlier start may have ended between making the directories and this.
    files.sync_dir(&layout.blobs)?;
    files.sync_dir(&layout.root)
}

fn refuse_other_devices(files: &impl Files, layout: &Layout) -> Result<(), BlobError> {
    let device = |path| files.stat(path).map(|stat| stat.device);
    let look =
        || Ok([device(&layout.uploads)?, device(&layout.blobs)?, device(&layout.lost_and_found)?]);
    let [uploads, blobs, lost_and_found] =
        look().map_err(|error| storage("look at the blob directories", error))?;
    if uploads == blobs && blobs == lost_and_found {
        return Ok(());
    }
    let reason = "uploads, blobs and blobs/lost+found must be on one file system, or files cannot be renamed between them";
    Err(BlobError::Storage { doing: "open the blob directories", source: reason.into() })
}

fn missing_object(key: ObjectKey, doing: &'static str, error: io::Error) -> BlobError {
    match error.kind() {
        io::ErrorKind::NotFound => BlobError::UnknownObject(key),
        _ => storage(doing, error),
    }
}

fn storage(doing: &'static str, error: io::Error) -> BlobError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => BlobError::NoSpace(error),
        _ => BlobError::Storage { doing, source: Box::new(error) },
    }
}

#[cfg(test)]
mod crashes;
#[cfg(test)]
mod tests;
