//! Reads an object in large chunks, one chunk ahead of the consumer.
//!
//! Invariant: the stream yields exactly the bytes asked for or ends with an error; beside what the
//! consumer holds at most one chunk exists, which is read ahead. The file stays open, so a deletion does
//! not disturb it.

use super::Shared;
use super::files::{Files, OpenFile};
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
const FIRST_CHUNK: u64 = 64 << 10;

/// Opens an object and reads its first chunk; blocks.
pub(super) fn open<F: Files>(
    shared: &Shared<F>,
    key: ObjectKey,
    offset: u64,
    length: u64,
) -> Result<Opened, BlobError> {
    let file = shared.open_object(key)?;
    let facts = file.facts().map_err(|error| super::storage("measure an object", error))?;
    if offset.checked_add(length).is_none_or(|end| end > facts.length) {
        return Err(BlobError::Damaged(key));
    }
    let version = facts.version;
    let first = usize::try_from(length.min(FIRST_CHUNK)).unwrap_or_default();
    let chunk = read_chunk(&file, key, offset, first, Buffer::own(first))?;
    let read = first as u64;
    if read == length {
        return Ok(Opened { bytes: ByteStream::once(chunk), version });
    }
    let chunks = Chunks {
        file: Arc::new(file),
        buffers: shared.buffers.clone(),
        key,
        offset: offset + read,
        left: length - read,
        ahead: Ahead::Here(chunk),
    };
    Ok(Opened { bytes: ByteStream::new(chunks), version })
}

/// The rest of an object being read.
struct Chunks<F> {
    file: Arc<F>,
    buffers: Buffers,
    key: ObjectKey,
    /// Where the next read begins.
    offset: u64,
    /// Bytes not asked of the file yet.
    left: u64,
    ahead: Ahead,
}

/// The chunk to be yielded next.
enum Ahead {
    Here(Bytes),
    Reading(JoinHandle<Result<Bytes, BlobError>>),
    /// All was yielded, or an error was.
    Over,
}

impl<F: OpenFile> Chunks<F> {
    fn read_ahead(&mut self) {
        if self.left == 0 {
            self.ahead = Ahead::Over;
            return;
        }
        let buffer = self.buffers.take();
        let length = self.left.min(buffer.room() as u64);
        let (file, key, offset) = (Arc::clone(&self.file), self.key, self.offset);
        self.offset += length;
        self.left -= length;
        let length = usize::try_from(length).unwrap_or_default();
        self.ahead = Ahead::Reading(tokio::task::spawn_blocking(move || {
            read_chunk(&*file, key, offset, length, buffer)
        }));
    }
}

impl<F: OpenFile> Stream for Chunks<F> {
    type Item = Result<Bytes, BlobError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let chunk = match &mut self.ahead {
            Ahead::Here(chunk) => Ok(std::mem::take(chunk)),
            Ahead::Over => return Poll::Ready(None),
            Ahead::Reading(task) => {
                ready!(Pin::new(task).poll(context)).unwrap_or_else(|error| Err(broken_task(error)))
            }
        };
        match chunk {
            Ok(_) => self.read_ahead(),
            Err(_) => self.ahead = Ahead::Over,
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
