//! Files that stay open for as long as the other side of a request takes.
//!
//! Invariant: never more than allowed, so that a socket, the database and the threads for files always
//! get theirs. Whoever finds none left waits a while and is then told to come again.
//!
//! A connection that asks for nothing holds none; one of HTTP/2 may ask for a hundred at once.

use crate::blobs::BlobError;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a request waits for others to close theirs.
#[cfg(not(test))]
const PATIENCE: Duration = Duration::from_secs(5);
/// Short enough to wait for in tests.
#[cfg(test)]
const PATIENCE: Duration = Duration::from_millis(50);

/// Files that a reader holds.
pub(super) const OF_A_READER: u32 = 1;
/// Files that an upload holds while its body comes: its data and its state.
pub(super) const OF_AN_UPLOAD: u32 = 2;

/// Room for some files; it is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Room {
    _permit: OwnedSemaphorePermit,
}

/// How many there may be.
#[derive(Debug)]
pub(super) struct Held(Arc<Semaphore>);

impl Held {
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Semaphore::new(most.clamp(OF_AN_UPLOAD as usize, Semaphore::MAX_PERMITS))))
    }

    /// Waits for room for so many files.
    pub(super) async fn room(&self, files: u32) -> Result<Room, BlobError> {
        if let Ok(permit) = Arc::clone(&self.0).try_acquire_many_owned(files) {
            return Ok(Room { _permit: permit });
        }
        let permit = Arc::clone(&self.0).acquire_many_owned(files);
        match tokio::time::timeout(PATIENCE, permit).await {
            Ok(Ok(permit)) => Ok(Room { _permit: permit }),
            // Nobody closes it.
            Ok(Err(_)) | Err(_) => Err(BlobError::Occupied),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_finds_no_room_waits_a_while_and_is_told_to_come_again() {
        let held = Held::new(3);
        let reader = held.room(OF_A_READER).await.expect("there is room");
        let upload = held.room(OF_AN_UPLOAD).await.expect("there is room");
        let start = tokio::time::Instant::now();
        assert!(matches!(held.room(OF_A_READER).await, Err(BlobError::Occupied)));
        assert!(start.elapsed() >= PATIENCE);
        let waiting = held.room(OF_AN_UPLOAD);
        let (waited, ()) = tokio::join!(waiting, async move { drop((reader, upload)) });
        waited.expect("it was given back in time");
    }

    #[tokio::test]
    async fn there_is_always_room_for_one_upload() {
        Held::new(0).room(OF_AN_UPLOAD).await.expect("there is room");
    }
}
