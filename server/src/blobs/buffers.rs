//! Buffers for the bytes of large blobs, used again and again.
//!
//! A buffer of 256 KiB that is asked of the allocator and given back for each piece costs more than
//! filling it: fresh pages have to be zeroed. And what all bodies hold together must have a bound that
//! does not follow the number of clients, or a few hundred slow readers take all memory.
//!
//! Invariant: at most [`MOST`] large buffers exist at a time, in use or not. Whoever comes when all are
//! in use gets a small one: nobody ever waits for somebody else's client.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes in a large buffer.
#[cfg(not(test))]
pub(super) const LARGE: usize = 256 << 10;
/// Small enough that bodies of many pieces are cheap to test.
#[cfg(test)]
pub(super) const LARGE: usize = 16 << 10;

/// Bytes in a small buffer.
pub(super) const SMALL: usize = LARGE / 8;

/// Large buffers of a store: 20 MiB, enough for 16 uploads or 26 downloads at full speed.
const MOST: usize = 80;

/// The buffers of a store. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffers(Arc<Mutex<Shelf>>);

#[derive(Default)]
struct Shelf {
    free: Vec<Vec<u8>>,
    in_use: usize,
}

/// Bytes with room for more, which goes back where it came from.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    home: Option<Buffers>,
}

impl Buffers {
    /// A large buffer if there is one, else a small one; empty, to be added to.
    pub(super) fn take(&self) -> Buffer {
        let mut buffer = self.take_used();
        buffer.bytes.clear();
        buffer
    }

    /// The same, full of zeros or of what its last user left, to be overwritten and then
    /// [cut](Vec::truncate) to what was written.
    pub(super) fn take_full(&self) -> Buffer {
        let mut buffer = self.take_used();
        let capacity = buffer.bytes.capacity();
        // Only what the last user did not fill has to be zeroed.
        buffer.bytes.resize(capacity, 0);
        buffer
    }

    fn take_used(&self) -> Buffer {
        let mut shelf = self.lock();
        if shelf.free.is_empty() && shelf.in_use >= MOST {
            drop(shelf);
            return Buffer::own(SMALL);
        }
        shelf.in_use += 1;
        let free = shelf.free.pop();
        drop(shelf);
        let bytes = free.unwrap_or_else(|| Vec::with_capacity(LARGE));
        Buffer { bytes, home: Some(self.clone()) }
    }

    fn put_back(&self, bytes: Vec<u8>) {
        let mut shelf = self.lock();
        shelf.in_use -= 1;
        // One whose memory was taken out leaves room for a new one.
        if bytes.capacity() >= LARGE {
            shelf.free.push(bytes);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        // Nothing under the lock can fail half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffer {
    /// One that is not shared, for so many bytes.
    pub(super) fn own(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity), home: None }
    }

    /// How many more bytes fit in.
    pub(super) const fn room(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// Lends the memory to `fill`, which gives it back filled.
    ///
    /// # Errors
    /// Those of `fill`.
    pub(super) fn filled<E>(
        mut self,
        fill: impl FnOnce(Vec<u8>) -> Result<Vec<u8>, E>,
    ) -> Result<Self, E> {
        self.bytes = fill(std::mem::take(&mut self.bytes))?;
        Ok(self)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            home.put_back(std::mem::take(&mut self.bytes));
        }
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Shelf {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} buffers in use, {} free", self.in_use, self.free.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_only_so_many_large_buffers_and_small_ones_for_everybody_else() {
        let buffers = Buffers::default();
        let mut taken: Vec<_> = (0..MOST).map(|_| buffers.take()).collect();
        assert!(taken.iter().all(|buffer| buffer.capacity() == LARGE));
        assert_eq!(buffers.take().capacity(), SMALL);
        taken.pop();
        assert_eq!(buffers.take().capacity(), LARGE);
        let again: Vec<_> = (0..2).map(|_| buffers.take().capacity()).collect();
        assert_eq!(again, [LARGE; 2], "one after the other, the same");
    }

    #[test]
    fn a_buffer_that_is_used_again_is_empty() {
        let buffers = Buffers::default();
        buffers.take().extend_from_slice(b"secret");
        let again = buffers.take();
        assert!(again.is_empty());
        assert_eq!(again.capacity(), LARGE);
        assert_eq!(buffers.lock().free.len(), 0, "it was that one");
        drop(again);
        assert_eq!(buffers.take_full().len(), LARGE);
        assert_eq!(buffers.take().len(), 0);
    }

    #[test]
    fn a_buffer_whose_memory_was_lost_makes_room_for_a_new_one() {
        let buffers = Buffers::default();
        for _ in 0..MOST * 2 {
            let lost: Result<_, ()> = buffers.take().filled(|_| Err(()));
            assert!(lost.is_err());
        }
        assert_eq!(buffers.take().capacity(), LARGE);
    }
}
