//! One upload, checked out: its two files, its running hash and what of it is durable.
//!
//! Protocol of a checkpoint: sync the data; the first time, make the file for the state and sync the
//! directory, so that both names are durable; write the state over its older slot; sync the state. Only
//! then is the offset acknowledged. Whatever lies in the data file beyond the last checkpoint is never
//! trusted: it is cut off, and the cut made durable, before the upload is used again.
//!
//! So an upload without a state is one that begins, and most end as that: a small blob comes whole and
//! is synced once, as an object. A second file for each, made and removed again, was a third of the
//! processor time of small pushes.
//!
//! Invariant: a sync that failed is never tried again, because the kernel may by then have dropped
//! the unwritten pages and would report success; the upload is removed instead (ATC 2020, Rebello
//! and others, "Can applications recover from fsync failures?").
//!
//! Everything here blocks.

use super::Shared;
use super::files::{Files, OpenFile};
use super::held::Room;
use super::state::{NEVER_SYNCED, State};
use crate::blobs::buffers::Buffer;
use crate::blobs::checkout::{Checkout, Purpose};
use crate::blobs::hasher::Hasher;
use crate::blobs::{BlobError, Object};
use crate::domain::{Algorithm, Digest, ObjectKey, Timestamp, UploadId};
use std::io;
use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::thread;

/// Bytes written between two checkpoints of a long body: keeps dirty pages and the last sync small.
#[cfg(not(test))]
const CHECKPOINT: u64 = 64 << 20;
/// Small enough that crashes between two of them are cheap to test.
#[cfg(test)]
const CHECKPOINT: u64 = 40 << 10;

/// Bytes written and hashed before others may have the processor: less than a tenth of a millisecond.
#[cfg(not(test))]
const AT_A_TIME: usize = 64 << 10;
/// So small that most pieces of the tests are written in several parts.
#[cfg(test)]
const AT_A_TIME: usize = 6 << 10;

/// The algorithm of an upload that has no state yet.
const UNSAID: Algorithm = Algorithm::Sha256;

/// Bytes read at once when content is hashed again.
const REHASH: u64 = 1 << 20;

/// An upload that this call alone works on.
#[derive(Debug)]
pub(super) struct Session<F: Files> {
    shared: Arc<Shared<F>>,
    checkout: Checkout,
    data: F::File,
    /// There is none before the first checkpoint.
    state_file: Option<F::File>,
    /// The last checkpoint.
    state: State,
    hasher: Hasher,
    /// Bytes written and hashed; those beyond `state.offset` are not durable yet.
    written: u64,
    /// `written` as it was when the upload was checked out.
    loaded: u64,
    /// What is written when the upload is finished, and not before.
    waiting: Vec<Buffer>,
    /// What keeps both files open beyond one operation.
    _room: Option<Room>,
}

/// Begins an upload. Nothing is synced: until the first checkpoint nothing is promised.
pub(super) fn create<F: Files>(
    shared: &Shared<F>,
    id: UploadId,
    algorithm: Algorithm,
    now: Timestamp,
) -> Result<(), BlobError> {
    let made = (|| {
        if algorithm != UNSAID {
            let state = shared.files.create(&shared.layout.state(id))?;
            State::new(ObjectKey::mint(now), algorithm).write_first(&state)?;
        }
        shared.files.create(&shared.layout.data(id)).map(drop)
    })();
    made.map_err(|error| {
        // An id that exists already belongs to another upload; everything else here is ours.
        if error.kind() != io::ErrorKind::AlreadyExists {
            let _ = remove_files(shared, id);
        }
        super::storage("begin an upload", error)
    })
}

/// The durable length of an upload.
pub(super) fn offset<F: Files>(shared: &Shared<F>, id: UploadId) -> Result<u64, BlobError> {
    if shared.checkouts.is_dead(id) {
        return Err(BlobError::UnknownUpload(id));
    }
    let found = look(shared, id);
    // A writer that works on it now may have written a state that is not synced yet; it publishes
    // what is durable before it writes one. So this is asked after the state was read.
    if let Some(durable) = shared.checkouts.offset(id) {
        return Ok(durable);
    }
    match found {
        // The first state may have been looked at before it was written; its writer is done now.
        Err(BlobError::UnknownUpload(_)) => look(shared, id),
        found => found,
    }
}

/// The length that the state names.
fn look<F: Files>(shared: &Shared<F>, id: UploadId) -> Result<u64, BlobError> {
    let file = state_file(&shared.files, &shared.layout.state(id), F::open)?;
    let data = shared.files.stat(&shared.layout.data(id));
    data.map_err(|error| missing_upload(id, error))?;
    let Some(file) = file else { return Ok(0) };
    let state =
        State::read(&file).map_err(|error| super::storage("read an upload's state", error))?;
    state.map(|state| state.offset).ok_or(BlobError::UnknownUpload(id))
}

/// The file for the state, if there is one.
fn state_file<F: Files>(
    files: &F,
    path: &Path,
    open: impl FnOnce(&F, &Path) -> io::Result<F::File>,
) -> Result<Option<F::File>, BlobError> {
    match open(files, path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(super::storage("open an upload", error)),
    }
}

/// Ends an upload; one that is not there is ended.
pub(super) fn cancel<F: Files>(shared: &Shared<F>, id: UploadId) -> Result<(), BlobError> {
    let checkout = shared.checkouts.take(id, Purpose::Remove)?;
    remove_files(shared, id).map_err(|error| super::storage("remove an upload", error))?;
    checkout.removed();
    Ok(())
}

/// Removes both files. The data goes first: it is what needs the space.
fn remove_files<F: Files>(shared: &Shared<F>, id: UploadId) -> io::Result<()> {
    let data = remove_if_there(&shared.files, &shared.layout.data(id));
    data.and(remove_if_there(&shared.files, &shared.layout.state(id)))
}

/// Removes a name, if it is there.
pub(super) fn remove_if_there(files: &impl Files, path: &Path) -> io::Result<()> {
    match files.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn missing_upload(id: UploadId, error: io::Error) -> BlobError {
    match error.kind() {
        io::ErrorKind::NotFound => BlobError::UnknownUpload(id),
        _ => super::storage("open an upload", error),
    }
}

impl<F: Files> Session<F> {
    /// Checks an upload out, as its last checkpoint left it.
    pub(super) fn load(shared: &Arc<Shared<F>>, id: UploadId) -> Result<Self, BlobError> {
        let checkout = shared.checkouts.take(id, Purpose::Work)?;
        let (files, layout) = (&shared.files, &shared.layout);
        let data =
            files.open_to_write(&layout.data(id)).map_err(|error| missing_upload(id, error))?;
        let state_file = state_file(files, &layout.state(id), F::open_to_write)?;
        let failed = |error| super::storage("read an upload's state", error);
        let state = match &state_file {
            Some(file) => State::read(file).map_err(failed)?.ok_or(BlobError::UnknownUpload(id))?,
            None => State::new(ObjectKey::mint(shared.clock.now()), UNSAID),
        };
        let length = data.length().map_err(failed)?;
        if length < state.offset {
            return Err(failed(io::Error::other(
                "the upload's file is shorter than its last checkpoint",
            )));
        }
        let hasher = match state.hasher() {
            Some(hasher) => hasher,
            None => rehash(&data, state.algorithm, state.offset).map_err(failed)?,
        };
        checkout.stored(state.offset);
        let written = state.offset;
        let session = Self {
            shared: Arc::clone(shared),
            checkout,
            data,
            state_file,
            state,
            hasher,
            written,
            loaded: written,
            waiting: Vec::new(),
            _room: None,
        };
        if length > session.state.offset { session.cut() } else { Ok(session) }
    }

    /// Bytes written so far.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Bytes that were there before.
    pub(super) fn loaded(&self) -> u64 {
        self.loaded
    }

    /// Bytes from the upload's first one on, with those that are not written yet.
    pub(super) fn length(&self) -> u64 {
        // usize to u64 does not lose on any target that has files this large.
        self.written + self.waiting.iter().map(|piece| piece.len() as u64).sum::<u64>()
    }

    /// The same upload with bytes at its end that [`finish`](Self::finish) is to write.
    pub(super) fn with_waiting(self, waiting: Vec<Buffer>) -> Self {
        Self { waiting, ..self }
    }

    /// The same upload, whose files may stay open until its body has come.
    pub(super) fn with_room(self, room: Room) -> Self {
        Self { _room: Some(room), ..self }
    }

    /// Adds bytes at the end. After an error the session is over and
    /// the upload is what its last checkpoint says.
    pub(super) fn write(mut self, bytes: &[u8]) -> Result<Self, BlobError> {
        for part in bytes.chunks(AT_A_TIME) {
            if let Err(error) = self.data.write(self.written, part) {
                // Gives the space back, which matters if the disk is full. The cause stays the answer.
                let _ = self.cut();
                return Err(super::storage("write to an upload", error));
            }
            self.hasher.update(part);
            // usize to u64 does not lose on any target that has files this large.
            self.written += part.len() as u64;
            if part.len() == AT_A_TIME {
                // Linux lets a thread end its slice, and a system call, even if a more urgent one has come
                // to want the processor.
                thread::yield_now();
            }
        }
        Ok(self)
    }

    /// Adds pieces one after the other; each gives its memory back as soon as it is written.
    pub(super) fn write_all(self, pieces: Vec<Buffer>) -> Result<Self, BlobError> {
        pieces.into_iter().try_fold(self, |session, piece| session.write(&piece))
    }

    /// Whether so much was written since the last checkpoint that it is time for one.
    pub(super) const fn is_checkpoint_due(&self) -> bool {
        self.written - self.state.offset >= CHECKPOINT
    }

    /// Makes what was written durable. Costs nothing if it already is.
    pub(super) fn checkpoint(mut self) -> Result<Self, BlobError> {
        let first = self.state.sequence == NEVER_SYNCED;
        if self.written == self.state.offset && !first {
            return Ok(self);
        }
        let failed = |error| super::storage("write an upload's state", error);
        if let Err(error) = self.data.sync_data() {
            return Err(self.die("make an upload durable", error));
        }
        let state_file = match self.state_file.take() {
            Some(file) => file,
            None => self.make_state_file().map_err(failed)?,
        };
        if first && let Err(error) = self.shared.files.sync_dir(&self.shared.layout.uploads) {
            return Err(self.die("make an upload durable", error));
        }
        let next = self.state.next(self.written, &self.hasher);
        // If this write fails the older slot still counts, and the data is as it says.
        next.write(&state_file).map_err(failed)?;
        if let Err(error) = state_file.sync_data() {
            return Err(self.die("make an upload durable", error));
        }
        self.checkout.stored(next.offset);
        self.state = next;
        self.state_file = Some(state_file);
        Ok(self)
    }

    /// Makes the file for the state, with all the space that it will need.
    fn make_state_file(&self) -> io::Result<F::File> {
        let path = self.shared.layout.state(self.checkout.id());
        let file = self.shared.files.create(&path)?;
        if let Err(error) = self.state.write_first(&file) {
            // Half a state would be that of an unknown upload; without one it begins.
            let _ = remove_if_there(&self.shared.files, &path);
            return Err(error);
        }
        Ok(file)
    }

    /// Cuts off what lies beyond the last checkpoint and makes that durable, so that an object can
    /// never be longer after a power loss than it was before.
    fn cut(self) -> Result<Self, BlobError> {
        let cut = self.data.set_length(self.state.offset);
        cut.map_err(|error| super::storage("cut an upload back to its last checkpoint", error))?;
        match self.data.sync_all() {
            Ok(()) => Ok(self),
            Err(error) => Err(self.die("make an upload durable", error)),
        }
    }

    /// Turns the upload into an object, and makes durable what is not yet.
    pub(super) fn finish(mut self, expected: &Digest) -> Result<Object, BlobError> {
        let waiting = mem::take(&mut self.waiting);
        self.write_all(waiting)?.finish_written(expected)
    }

    fn finish_written(self, expected: &Digest) -> Result<Object, BlobError> {
        let Self { shared, .. } = &self;
        let actual = if expected.algorithm() == self.state.algorithm {
            self.hasher.clone()
        } else {
            rehash(&self.data, expected.algorithm(), self.written)
                .map_err(|error| super::storage("hash an upload again", error))?
        };
        let actual = actual.finish();
        if actual != *expected {
            self.remove();
            return Err(BlobError::Digest { expected: *expected, actual });
        }
        let durable = self.state.sequence != NEVER_SYNCED && self.written == self.state.offset;
        if !durable && let Err(error) = self.data.sync_all() {
            return Err(self.die("make an object durable", error));
        }
        let object = Object { key: self.state.key, size: self.written };
        let path = shared.layout.object(object.key);
        let renamed = shared.files.rename(&shared.layout.data(self.checkout.id()), &path);
        renamed.map_err(|error| super::storage("give an object its name", error))?;
        let synced = if mutant!("name-is-not-synced") {
            Ok(())
        } else {
            shared.files.sync_dir(&shared.layout.shard_of(object.key))
        };
        if let Err(error) = synced {
            // The name may or may not survive a crash, so there must be no such object. If it cannot
            // be removed now, no row names it and the start-up sweep sets it aside.
            let _ = shared.files.remove(&path);
            return Err(self.die("make an object's name durable", error));
        }
        shared.listing.added(object.key);
        if self.state_file.is_some()
            && let Err(error) = shared.files.remove(&shared.layout.state(self.checkout.id()))
        {
            tracing::warn!(%error, upload.id = %self.checkout.id(), "left the state of a finished upload behind");
        }
        Ok(object)
    }

    /// Ends an upload whose content may be lost.
    fn die(self, doing: &'static str, error: io::Error) -> BlobError {
        give_up(&self.shared, &self.checkout, &error);
        super::storage(doing, error)
    }

    fn remove(self) {
        remove_or_bury(&self.shared, &self.checkout);
    }
}

/// Removes an upload after a sync of it failed.
pub(super) fn give_up<F: Files>(shared: &Shared<F>, checkout: &Checkout, error: &io::Error) {
    tracing::error!(%error, upload.id = %checkout.id(), "gave up an upload: it could not be made durable");
    remove_or_bury(shared, checkout);
}

fn remove_or_bury<F: Files>(shared: &Shared<F>, checkout: &Checkout) {
    if let Err(error) = remove_files(shared, checkout.id()) {
        tracing::warn!(%error, upload.id = %checkout.id(), "could not remove an upload");
        checkout.bury();
    }
}

/// Hashes the first `length` bytes of a file.
fn rehash(file: &impl OpenFile, algorithm: Algorithm, length: u64) -> io::Result<Hasher> {
    let mut hasher = Hasher::new(algorithm);
    let (mut at, mut bytes) = (0, Vec::new());
    while at < length {
        let part = (length - at).min(REHASH);
        bytes = file.read(at, usize::try_from(part).expect("at most REHASH"), bytes)?;
        hasher.update(&bytes);
        at += part;
    }
    Ok(hasher)
}
