//! What only the object-store backend promises: several servers, unknown outcomes, whole parts.

use super::ObjectBlobStore;
use crate::blobs::{BlobError, BlobStore, ByteStream};
use crate::clock::Clock;
use crate::domain::{Algorithm, Timestamp, UploadId};
use futures_util::StreamExt as _;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use std::sync::Arc;
use tokio::sync::mpsc;

fn server(bucket: &Arc<InMemory>) -> ObjectBlobStore<InMemory> {
    ObjectBlobStore::with_small_parts(Arc::clone(bucket), Clock::manual(Timestamp(1)))
}

async fn begin(store: &dyn BlobStore) -> UploadId {
    let id = UploadId::random();
    store.create_upload(id, Algorithm::Sha256, Timestamp(7)).await.expect("begins");
    id
}

#[tokio::test]
async fn of_two_servers_that_write_to_one_upload_the_second_is_busy() {
    let bucket = Arc::new(InMemory::new());
    let (one, other) = (server(&bucket), server(&bucket));
    let id = begin(&one).await;
    let (body, receiver) = mpsc::channel::<Result<bytes::Bytes, BlobError>>(1);
    let stream = futures_util::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    let slow =
        tokio::spawn(async move { one.append(id, None, None, ByteStream::new(stream)).await });
    body.send(Ok("slow".into())).await.expect("is read");
    body.send(Ok("er".into())).await.expect("is read");
    assert_eq!(
        other.append(id, Some(0), None, ByteStream::once("fast")).await.expect("appends"),
        4
    );
    drop(body);
    assert!(matches!(slow.await.expect("ends"), Err(BlobError::Busy)));
    other.finish(id, &Algorithm::Sha256.hash(b"fast")).await.expect("nothing was mixed in");
}

#[tokio::test]
async fn an_upload_below_one_part_never_becomes_multipart_and_a_larger_one_does() {
    let bucket = Arc::new(InMemory::new());
    let store = server(&bucket);
    for (length, parts) in [(0, 0), ((64 << 10) - 1, 0), (64 << 10, 1), ((128 << 10) + 5, 2)] {
        let id = begin(&store).await;
        let body = vec![7; length];
        store.append(id, None, None, ByteStream::once(body.clone())).await.expect("appends");
        let (state, _) = super::upload::look(&store.0, id).await.expect("is there");
        assert_eq!((state.parts.len(), state.multipart.is_some()), (parts, parts > 0), "{length}");
        assert_eq!(state.tail.len(), length - parts * (64 << 10));
        store.finish(id, &Algorithm::Sha256.hash(&body)).await.expect("finishes");
    }
}

#[tokio::test]
async fn a_finish_that_was_carried_out_but_not_heard_of_succeeds_when_tried_again() {
    for length in [3, 200_000] {
        let bucket = Arc::new(InMemory::new());
        let store = server(&bucket);
        let id = begin(&store).await;
        let body = vec![7; length];
        store.append(id, None, None, ByteStream::once(body.clone())).await.expect("appends");
        let path = Path::from(format!("uploads/{id}"));
        let state = bucket.get(&path).await.expect("is there").bytes().await.expect("reads");
        let digest = Algorithm::Sha256.hash(&body);
        let object = store.finish(id, &digest).await.expect("finishes");
        // The server died before it removed the state.
        bucket.put(&path, state.into()).await.expect("put back");
        assert_eq!(server(&bucket).finish(id, &digest).await.expect("finishes"), object);
        assert!(store.uploads().await.expect("lists").is_empty());
    }
}

#[tokio::test]
async fn a_state_that_is_damaged_fails_and_is_not_called_unknown() {
    let bucket = Arc::new(InMemory::new());
    let store = server(&bucket);
    let id = begin(&store).await;
    bucket.put(&Path::from(format!("uploads/{id}")), "nonsense".into()).await.expect("put");
    assert!(matches!(store.upload_offset(id).await, Err(BlobError::Storage { .. })));
    assert!(matches!(
        store.append(id, None, None, ByteStream::empty()).await,
        Err(BlobError::Storage { .. })
    ));
}

#[tokio::test]
async fn objects_of_others_are_left_alone() {
    let bucket = Arc::new(InMemory::new());
    let store = server(&bucket);
    for name in ["blobs/README", "uploads/notes", "lost+found/README"] {
        bucket.put(&Path::from(name), "mine".into()).await.expect("put");
    }
    assert!(store.objects(None, 9).await.expect("lists").is_empty());
    assert!(store.uploads().await.expect("lists").is_empty());
    assert_eq!(store.empty_lost_and_found(Timestamp(u64::MAX)).await.expect("empties"), 0);
    assert_eq!(bucket.list(None).count().await, 3);
}
