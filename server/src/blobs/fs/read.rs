//! Reads an object in large chunks.
//!
//! Invariant: the stream yields exactly the bytes asked for or ends with an error; beside what the
//! consumer holds at most one chunk exists, and none before it is asked for. The file stays open, so a
//! deletion does not disturb it.

use super::Shared;
use super::files::{Files, OpenFile};
use super::held::Room;
use crate::blobs::buffers::{Buffer, Buffers};
use crate::blobs::{BlobError, ByteStream, Opened, broken_task};
use crate::domain::ObjectKey;
use bytes::Bytes;
use futures_util::Stream;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::task::JoinHandle;

/// Bytes read together with opening; most blobs that are not layers are smaller.
pub(super) const FIRST_CHUNK: u64 = 64 << 10;

/// Opens an object and reads its first chunk; blocks. What is longer needs room for a file that stays open.
pub(super) fn open<F: Files>(
    shared: &Shared<F>,
    key: ObjectKey,
    offset: u64,
    length: u64,
    room: Option<Room>,
) -> Result<Opened, BlobError> {
    let file = shared.open_object(key)?;
    let facts = file.facts().map_err(|error| super::storage("measure an object", error))?;
    if offset.checked_add(length).is_none_or(|end| end > facts.length) {
        return Err(BlobError::Damaged(key));
    }
    let version = facts.version;
    let first = usize::try_from(length.min(FIRST_CHUNK)).unwrap_or_default();
    let chunk = read_chunk(&file, key, offset, first, Buffer::own(first))?;
    if first as u64 == length {
        return Ok(Opened { bytes: ByteStream::once(chunk), version });
    }
    let chunks = Chunks {
        file: Arc::new(file),
        _room: room,
        buffers: shared.buffers.clone(),
        key,
        offset,
        left: length,
        next: Next::Here(chunk),
    };
    Ok(Opened { bytes: ByteStream::new(chunks), version })
}

/// The rest of an object being read.
struct Chunks<F> {
    file: Arc<F>,
    _room: Option<Room>,
    buffers: Buffers,
    key: ObjectKey,
    /// Where the next read begins.
    offset: u64,
    /// Bytes not read yet.
    left: u64,
    next: Next,
}

/// The chunk to be yielded next.
enum Next {
    /// It was read when the object was opened.
    Here(Bytes),
    /// It has not been asked for.
    Wanted,
    /// A thread that may wait for the disk reads it.
    Reading(JoinHandle<Result<Bytes, BlobError>>),
    /// All was yielded, or an error was.
    Over,
}

impl<F: OpenFile> Chunks<F> {
    /// Reads the next chunk out of the page cache, or has a thread read it.
    ///
    /// Most blobs that are pulled were pushed or pulled a moment ago. To hand a chunk from thread to
    /// thread costs more than to copy it, so a thread is only asked if the disk is needed; the kernel
    /// reads ahead from there.
    fn begin(&self) -> Next {
        if self.left == 0 {
            return Next::Over;
        }
        let mut buffer = self.buffers.take_full();
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let cached = self.file.read_cached(self.offset, &mut buffer[..length]);
        if cached > 0 {
            buffer.truncate(cached);
            return Next::Here(Bytes::from_owner(buffer));
        }
        let (file, key, offset) = (Arc::clone(&self.file), self.key, self.offset);
        Next::Reading(tokio::task::spawn_blocking(move || {
            read_chunk(&*file, key, offset, length, buffer)
        }))
    }

    fn passed_on(&mut self, chunk: &Bytes) {
        self.offset += chunk.len() as u64;
        self.left = self.left.saturating_sub(chunk.len() as u64);
        self.next = Next::Wanted;
    }
}

impl<F: OpenFile> Stream for Chunks<F> {
    type Item = Result<Bytes, BlobError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if matches!(self.next, Next::Wanted) {
            self.next = self.begin();
        }
        let chunk = match &mut self.next {
            Next::Here(chunk) => Ok(std::mem::take(chunk)),
            Next::Wanted | Next::Over => return Poll::Ready(None),
            Next::Reading(task) => {
                ready!(Pin::new(task).poll(context)).unwrap_or_else(|error| Err(broken_task(error)))
            }
        };
        match &chunk {
            Ok(bytes) => self.passed_on(bytes),
            Err(_) => self.next = Next::Over,
        }
        Poll::Ready(Some(chunk))
    }
}

fn read_chunk(
    file: &impl OpenFile,
    key: ObjectKey,
    offset: u64,
    length: usize,
    buffer: Buffer,
) -> Result<Bytes, BlobError> {
    let filled = buffer.filled(|memory| file.read(offset, length, memory));
    filled.map(Bytes::from_owner).map_err(|error| match error.kind() {
        // The file was long enough when it was opened.
        io::ErrorKind::UnexpectedEof => BlobError::Damaged(key),
        _ => super::storage("read an object", error),
    })
}
