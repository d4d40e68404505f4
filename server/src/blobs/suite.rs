//! The contract of [`BlobStore`](super::BlobStore), sentence by sentence, on every backend.
//!
//! A case is a function over a [`Backend`]; `stamp!` makes a test of each case for each backend.

mod random;
mod reading;
mod uploading;

use super::fault::SimulatedDisk;
use super::fs::FsBlobStore;
use super::fs::files::SystemFiles;
use super::object::ObjectBlobStore;
use super::{BlobStore, ByteStream, Object, StreamError};
use crate::clock::Clock;
use crate::domain::{Algorithm, ObjectKey, Timestamp, UploadId};
use bytes::Bytes;
use object_store::memory::InMemory;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc;

/// A place for blobs that outlives the processes that use it.
pub(super) trait Backend: Send + Sync {
    fn new() -> Self;

    fn clock(&self) -> Clock;

    /// Opens the store as a new process would.
    fn open(&self) -> Arc<dyn BlobStore>;
}

/// Files of the operating system.
struct RealFiles(tempfile::TempDir, Clock);

impl Backend for RealFiles {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"), clock())
    }

    fn clock(&self) -> Clock {
        self.1.clone()
    }

    fn open(&self) -> Arc<dyn BlobStore> {
        Arc::new(FsBlobStore::open(self.0.path(), self.clock(), SystemFiles).expect("opens"))
    }
}

/// Files of the simulator that the power-loss tests use, so that they test the same thing.
struct SimulatedFiles(SimulatedDisk, Clock);

impl Backend for SimulatedFiles {
    fn new() -> Self {
        Self(SimulatedDisk::new(), clock())
    }

    fn clock(&self) -> Clock {
        self.1.clone()
    }

    fn open(&self) -> Arc<dyn BlobStore> {
        Arc::new(FsBlobStore::open(Path::new("/"), self.clock(), self.0.clone()).expect("opens"))
    }
}

/// The object store in memory: no rename, parts, ascending lists.
struct Objects(Arc<InMemory>, Clock);

impl Backend for Objects {
    fn new() -> Self {
        Self(Arc::new(InMemory::new()), clock())
    }

    fn clock(&self) -> Clock {
        self.1.clone()
    }

    fn open(&self) -> Arc<dyn BlobStore> {
        Arc::new(ObjectBlobStore::with_small_parts(Arc::clone(&self.0), self.clock()))
    }
}

macro_rules! stamp {
    ($($file:ident { $($case:ident)* })*) => {
        stamp!(@ real_files RealFiles { $($file { $($case)* })* });
        stamp!(@ simulated_files SimulatedFiles { $($file { $($case)* })* });
        stamp!(@ objects Objects { $($file { $($case)* })* });
    };
    (@ $module:ident $backend:ident { $($file:ident { $($case:ident)* })* }) => {
        mod $module {
            use super::Backend as _;
            $($(
                #[tokio::test]
                async fn $case() {
                    super::$file::$case(&super::$backend::new()).await;
                }
            )*)*
        }
    };
}

stamp! {
    uploading {
        an_upload_survives_a_restart
        an_upload_in_progress_is_visible_to_nobody
        an_upload_that_does_not_exist_is_unknown_to_every_call
        a_second_writer_is_busy_and_changes_nothing
        finishing_and_cancelling_while_another_writes_are_busy
        last_bytes_become_an_object
        last_bytes_that_are_dropped_leave_the_upload_usable
        last_bytes_of_another_store_are_not_known
        the_offset_asked_for_must_be_the_length
        a_body_longer_than_allowed_keeps_what_came_before
        a_body_that_breaks_off_keeps_what_arrived
        a_writer_that_goes_away_leaves_a_prefix_and_gives_the_upload_back
        a_wrong_digest_ends_the_upload_and_makes_no_object
        the_other_algorithm_is_checked_too
        the_empty_blob_is_a_blob
        a_body_larger_than_all_buffers_arrives_whole
        cancelling_is_repeatable_and_frees_the_upload
        uploads_are_listed_until_they_end
        the_same_content_twice_is_two_objects
        object_keys_carry_the_time_of_their_upload
    }
    reading {
        reading_gives_exactly_the_bytes_asked_for
        an_object_that_is_not_there_is_unknown
        asking_for_more_than_there_is_is_damage
        a_read_that_has_begun_is_not_disturbed_by_a_deletion
        deleting_is_repeatable
        objects_are_listed_in_ascending_order_page_by_page
        a_walk_names_no_object_that_is_gone_and_each_that_stays
        what_is_set_aside_is_out_of_sight_and_removed_when_it_is_old
        the_identity_is_what_was_last_written
    }
    random {
        random_operations_agree_with_a_model
    }
}

fn clock() -> Clock {
    Clock::manual(Timestamp(1_700_000_000_000))
}

/// Content that differs at every position, so that a misplaced piece cannot go unnoticed.
fn content(length: usize) -> Vec<u8> {
    (0..length as u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u8).collect()
}

async fn begin(store: &dyn BlobStore) -> UploadId {
    let id = UploadId::random();
    store.create_upload(id, Algorithm::Sha256, Timestamp(1_700_000_000_000)).await.expect("begins");
    id
}

/// Stores content as a client would.
async fn store(store: &dyn BlobStore, content: &[u8]) -> Object {
    let id = begin(store).await;
    let body = ByteStream::once(content.to_vec());
    assert_eq!(store.append(id, Some(0), None, body).await.expect("appends"), content.len() as u64);
    store.finish(id, &Algorithm::Sha256.hash(content)).await.expect("finishes")
}

async fn read(store: &dyn BlobStore, key: ObjectKey) -> Vec<u8> {
    let size = store.object_size(key).await.expect("is there");
    store.read(key, 0, size).await.expect("opens").bytes.collect().await.expect("reads")
}

/// A body that a test feeds by hand.
fn hand_fed() -> (mpsc::Sender<Result<Bytes, StreamError>>, ByteStream) {
    let (sender, receiver) = mpsc::channel(1);
    let stream = futures_util::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|piece: Result<Bytes, StreamError>| (piece, receiver))
    });
    (sender, ByteStream::new(stream))
}

/// A body that ends with an error after these bytes.
fn broken_after(content: &[u8]) -> ByteStream {
    let pieces = vec![Ok(Bytes::copy_from_slice(content)), Err("the client went away")];
    ByteStream::new(futures_util::stream::iter(pieces))
}
