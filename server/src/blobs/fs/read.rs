//! Reads an object in large chunks, one chunk ahead of the consumer.
//!
//! Invariant: the stream yields exactly the bytes asked for or ends with an error; at most two
//! chunks exist at a time, one with the consumer and one read ahead. The file stays open, so a
//! deletion does not disturb it.

use super::Shared;
use super::files::{Files, OpenFile};
use crate::blobs::{BlobError, ByteStream, broken_task};
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

/// Bytes in a later chunk: large enough that copying, not system calls, is the cost.
const CHUNK: u64 = 256 << 10;

/// Opens an object and reads its first chunk; blocks.
pub(super) fn open<F: Files>(
    shared: &Shared<F>,
    key: ObjectKey,
    offset: u64,
    length: u64,
) -> Result<ByteStream, BlobError> {
    let file = shared.open_object(key)?;
    let size = file.length().map_err(|error| super::storage("measure an object", error))?;
    if offset.checked_add(length).is_none_or(|end| end > size) {
        return Err(BlobError::Damaged(key));
    }
    let first = length.min(FIRST_CHUNK);
    let chunk = read_chunk(&file, key, offset, first)?;
    if first == length {
        return Ok(ByteStream::once(chunk));
    }
    let offset = offset + first;
    let chunks = Chunks {
        file: Arc::new(file),
        key,
        offset,
        left: length - first,
        ahead: Ahead::Here(chunk),
    };
    Ok(ByteStream::new(chunks))
}

/// The rest of an object being read.
struct Chunks<F> {
    file: Arc<F>,
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
        let length = self.left.min(CHUNK);
        self.ahead = if length == 0 {
            Ahead::Over
        } else {
            let (file, key, offset) = (Arc::clone(&self.file), self.key, self.offset);
            self.offset += length;
            self.left -= length;
            Ahead::Reading(tokio::task::spawn_blocking(move || {
                read_chunk(&*file, key, offset, length)
            }))
        };
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
    length: u64,
) -> Result<Bytes, BlobError> {
    let length = usize::try_from(length).expect("a chunk is smaller than CHUNK");
    file.read(offset, length).map(Bytes::from).map_err(|error| match error.kind() {
        // The file was long enough when it was opened.
        io::ErrorKind::UnexpectedEof => BlobError::Damaged(key),
        _ => super::storage("read an object", error),
    })
}
