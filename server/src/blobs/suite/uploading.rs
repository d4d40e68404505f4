//! Uploads: their life, who may write, what is kept when something goes wrong.

use super::{Backend, begin, broken_after, content, hand_fed, read, store};
use crate::blobs::{BlobError, ByteStream, Last};
use crate::domain::{Algorithm, Timestamp, UploadId};
use std::sync::Arc;
use std::time::Duration;

pub(super) async fn an_upload_survives_a_restart(backend: &impl Backend) {
    let body = content(300_000);
    let id = begin(&*backend.open()).await;
    assert_eq!(backend.open().upload_offset(id).await.expect("is known"), 0);
    for (index, part) in body.chunks(70_001).enumerate() {
        let process = backend.open();
        let before = (index * 70_001) as u64;
        assert_eq!(process.upload_offset(id).await.expect("is known"), before);
        let after = process.append(id, Some(before), None, ByteStream::once(part.to_vec())).await;
        assert_eq!(after.expect("appends"), before + part.len() as u64);
    }
    let process = backend.open();
    let object = process.finish(id, &Algorithm::Sha256.hash(&body)).await.expect("finishes");
    assert_eq!(read(&*process, object.key).await, body);
}

pub(super) async fn an_upload_in_progress_is_visible_to_nobody(backend: &impl Backend) {
    let process = backend.open();
    let id = begin(&*process).await;
    process.append(id, None, None, ByteStream::once(content(200_000))).await.expect("appends");
    assert!(process.objects(None, 10).await.expect("lists").is_empty());
    assert_eq!(process.uploads().await.expect("lists"), [id]);
}

pub(super) async fn an_upload_that_does_not_exist_is_unknown_to_every_call(backend: &impl Backend) {
    let process = backend.open();
    let id = UploadId::random();
    let unknown = |error| matches!(error, BlobError::UnknownUpload(found) if found == id);
    assert!(process.upload_offset(id).await.is_err_and(unknown));
    assert!(process.append(id, None, None, ByteStream::empty()).await.is_err_and(unknown));
    assert!(process.finish(id, &Algorithm::Sha256.hash(b"")).await.is_err_and(unknown));
}

pub(super) async fn a_second_writer_is_busy_and_changes_nothing(backend: &impl Backend) {
    let process = backend.open();
    let id = begin(&*process).await;
    let (body, stream) = hand_fed();
    let first = tokio::spawn({
        let process = Arc::clone(&process);
        async move { process.append(id, Some(0), None, stream).await }
    });
    body.send(Ok(vec![1; 1000].into())).await.expect("is read");
    // The first frame was taken, so the first writer has the upload.
    body.send(Ok(vec![2; 1000].into())).await.expect("is read");
    let second = process.append(id, None, None, ByteStream::once(vec![9; 500])).await;
    assert!(matches!(second, Err(BlobError::Busy)));
    assert_eq!(process.upload_offset(id).await.expect("is known"), 0);
    drop(body);
    assert_eq!(first.await.expect("ends").expect("appends"), 2000);
    let whole = [vec![1; 1000], vec![2; 1000]].concat();
    process.finish(id, &Algorithm::Sha256.hash(&whole)).await.expect("nothing was mixed in");
}

pub(super) async fn finishing_and_cancelling_while_another_writes_are_busy(backend: &impl Backend) {
    let process = backend.open();
    let id = begin(&*process).await;
    let (body, stream) = hand_fed();
    let writer = tokio::spawn({
        let process = Arc::clone(&process);
        async move { process.append(id, None, None, stream).await }
    });
    body.send(Ok("ab".into())).await.expect("is read");
    body.send(Ok("c".into())).await.expect("is read");
    let finished = process.finish(id, &Algorithm::Sha256.hash(b"")).await;
    assert!(matches!(finished, Err(BlobError::Busy)));
    assert!(matches!(process.cancel_upload(id).await, Err(BlobError::Busy)));
    drop(body);
    assert_eq!(writer.await.expect("ends").expect("appends"), 3);
    process.finish(id, &Algorithm::Sha256.hash(b"abc")).await.expect("finishes");
}

pub(super) async fn the_offset_asked_for_must_be_the_length(backend: &impl Backend) {
    let process = backend.open();
    let id = begin(&*process).await;
    process.append(id, Some(0), None, ByteStream::once("abc")).await.expect("appends");
    for asked in [0, 2, 4, u64::MAX] {
        let refused = process.append(id, Some(asked), None, ByteStream::once("x")).await;
        let right =
            |error| matches!(error, BlobError::Offset { asked: said, actual: 3 } if said == asked);
        assert!(refused.is_err_and(right), "{asked}");
    }
    assert_eq!(process.append(id, Some(3), None, ByteStream::once("d")).await.expect("appends"), 4);
    process.finish(id, &Algorithm::Sha256.hash(b"abcd")).await.expect("finishes");
}

pub(super) async fn last_bytes_become_an_object(backend: &impl Backend) {
    let body = content(300_000);
    for first in [0, 100_000, 300_000] {
        let process = backend.open();
        let id = begin(&*process).await;
        if first > 0 {
            let part = ByteStream::once(body[..first].to_vec());
            process.append(id, None, None, part).await.expect("appends");
        }
        let rest = ByteStream::once(body[first..].to_vec());
        let last = process.append_last(id, Some(first as u64), None, rest).await.expect("appends");
        assert_eq!(last.length(), 300_000);
        let digest = Algorithm::Sha256.hash(&body);
        let object = process.finish_last(last, &digest).await.expect("finishes");
        assert!(read(&*backend.open(), object.key).await == body, "{first}");
        assert!(backend.open().uploads().await.expect("lists").is_empty());
    }
    let process = backend.open();
    let id = begin(&*process).await;
    let last = process.append_last(id, None, None, ByteStream::once("abc")).await.expect("appends");
    let refused = process.finish_last(last, &Algorithm::Sha256.hash(b"abd")).await;
    assert!(matches!(refused, Err(BlobError::Digest { .. })));
    assert!(matches!(process.upload_offset(id).await, Err(BlobError::UnknownUpload(_))));
}

pub(super) async fn last_bytes_that_are_dropped_leave_the_upload_usable(backend: &impl Backend) {
    let process = backend.open();
    let id = begin(&*process).await;
    process.append(id, None, None, ByteStream::once("ab")).await.expect("appends");
    drop(process.append_last(id, None, None, ByteStream::once("cd")).await.expect("appends"));
    let offset = process.upload_offset(id).await.expect("is known");
    assert!((2..=4).contains(&offset), "{offset}");
    let broken = process.append_last(id, Some(offset), None, broken_after(&[b'x'; 70_000])).await;
    assert!(matches!(broken, Err(BlobError::Body(_))));
    assert_eq!(process.upload_offset(id).await.expect("is known"), offset + 70_000);
    let sent = [&b"abcd"[..usize::try_from(offset).expect("small")], &[b'x'; 70_000]].concat();
    process.finish(id, &Algorithm::Sha256.hash(&sent)).await.expect("what was sent is there");
}

pub(super) async fn last_bytes_of_another_store_are_not_known(backend: &impl Backend) {
    let process = backend.open();
    let id = begin(&*process).await;
    let elsewhere = UploadId::random();
    let last = Last { id: elsewhere, length: 0, before: 0, session: Box::new(()) };
    let refused = process.finish_last(last, &Algorithm::Sha256.hash(b"")).await;
    assert!(matches!(refused, Err(BlobError::UnknownUpload(found)) if found == elsewhere));
    assert_eq!(process.upload_offset(id).await.expect("is known"), 0);
}

pub(super) async fn a_body_longer_than_allowed_keeps_what_came_before(backend: &impl Backend) {
    let process = backend.open();
    let id = begin(&*process).await;
    let exact = process.append(id, None, Some(5), ByteStream::once("abcde")).await;
    assert_eq!(exact.expect("five are allowed"), 5);
    let pieces = ["f", "ghi"].map(|piece| Ok::<_, BlobError>(piece.into()));
    let body = ByteStream::new(futures_util::stream::iter(pieces));
    let refused = process.append(id, None, Some(8), body).await;
    assert!(matches!(refused, Err(BlobError::TooLarge(8))));
    assert_eq!(process.upload_offset(id).await.expect("is known"), 6);
    process.finish(id, &Algorithm::Sha256.hash(b"abcdef")).await.expect("finishes");
}

pub(super) async fn a_body_that_breaks_off_keeps_what_arrived(backend: &impl Backend) {
    let body = content(250_000);
    let process = backend.open();
    let id = begin(&*process).await;
    let broken = process.append(id, None, None, broken_after(&body[..150_000])).await;
    assert!(matches!(broken, Err(BlobError::Body(_))));
    assert_eq!(process.upload_offset(id).await.expect("is known"), 150_000);
    let process = backend.open();
    let rest = ByteStream::once(body[150_000..].to_vec());
    process.append(id, Some(150_000), None, rest).await.expect("goes on");
    process.finish(id, &Algorithm::Sha256.hash(&body)).await.expect("finishes");
}

pub(super) async fn a_writer_that_goes_away_leaves_a_prefix_and_gives_the_upload_back(
    backend: &impl Backend,
) {
    let sent = content(3 << 20);
    let process = backend.open();
    let id = begin(&*process).await;
    let (body, stream) = hand_fed();
    let writer = tokio::spawn({
        let process = Arc::clone(&process);
        async move { process.append(id, None, None, stream).await }
    });
    for piece in sent.chunks(400_000) {
        body.send(Ok(piece.to_vec().into())).await.expect("is read");
    }
    writer.abort();
    assert!(writer.await.is_err(), "the future was dropped");
    // What had been handed on is still being written; then the upload is free.
    let offset = loop {
        match process.append(id, None, None, ByteStream::empty()).await {
            Ok(offset) => break offset,
            Err(BlobError::Busy) => tokio::task::yield_now().await,
            Err(error) => panic!("{error:?}"),
        }
    };
    assert_eq!(process.upload_offset(id).await.expect("is known"), offset);
    let rest = sent[usize::try_from(offset).expect("small")..].to_vec();
    process.append(id, Some(offset), None, ByteStream::once(rest)).await.expect("goes on");
    process.finish(id, &Algorithm::Sha256.hash(&sent)).await.expect("the prefix was what was sent");
}

pub(super) async fn a_wrong_digest_ends_the_upload_and_makes_no_object(backend: &impl Backend) {
    let process = backend.open();
    for length in [3, 200_000] {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let body = content(length);
            let id = begin(&*process).await;
            process.append(id, None, None, ByteStream::once(body.clone())).await.expect("appends");
            let wrong = algorithm.hash(b"something else");
            match process.finish(id, &wrong).await {
                Err(BlobError::Digest { expected, actual }) => {
                    assert_eq!((expected, actual), (wrong, algorithm.hash(&body)));
                }
                other => panic!("{other:?}"),
            }
            let gone = process.upload_offset(id).await;
            assert!(matches!(gone, Err(BlobError::UnknownUpload(_))));
        }
    }
    assert!(process.objects(None, 10).await.expect("lists").is_empty());
    assert!(process.uploads().await.expect("lists").is_empty());
}

pub(super) async fn the_other_algorithm_is_checked_too(backend: &impl Backend) {
    let process = backend.open();
    for begun in [Algorithm::Sha256, Algorithm::Sha512] {
        for asked in [Algorithm::Sha256, Algorithm::Sha512] {
            for length in [0, 7, 200_000, 1_500_000] {
                let body = content(length);
                let id = UploadId::random();
                process.create_upload(id, begun, Timestamp(5)).await.expect("begins");
                process
                    .append(id, None, None, ByteStream::once(body.clone()))
                    .await
                    .expect("appends");
                let object = process.finish(id, &asked.hash(&body)).await.expect("finishes");
                assert_eq!(read(&*process, object.key).await, body);
            }
        }
    }
}

pub(super) async fn the_empty_blob_is_a_blob(backend: &impl Backend) {
    let process = backend.open();
    let untouched = begin(&*process).await;
    let appended = begin(&*process).await;
    assert_eq!(
        process.append(appended, Some(0), None, ByteStream::empty()).await.expect("appends"),
        0
    );
    for id in [untouched, appended] {
        let object = process.finish(id, &Algorithm::Sha256.hash(b"")).await.expect("finishes");
        assert_eq!(object.size, 0);
        assert_eq!(read(&*backend.open(), object.key).await, b"");
    }
}

pub(super) async fn a_body_larger_than_all_buffers_arrives_whole(backend: &impl Backend) {
    let process = backend.open();
    let body = content((9 << 20) + 12_345);
    let object = store(&*process, &body).await;
    assert_eq!(object.size, body.len() as u64);
    assert!(read(&*process, object.key).await == body);
}

pub(super) async fn cancelling_is_repeatable_and_frees_the_upload(backend: &impl Backend) {
    let process = backend.open();
    let id = begin(&*process).await;
    process.append(id, None, None, ByteStream::once(content(200_000))).await.expect("appends");
    process.cancel_upload(id).await.expect("cancels");
    process.cancel_upload(id).await.expect("once more");
    assert!(matches!(process.upload_offset(id).await, Err(BlobError::UnknownUpload(_))));
    assert!(process.uploads().await.expect("lists").is_empty());
}

pub(super) async fn uploads_are_listed_until_they_end(backend: &impl Backend) {
    let process = backend.open();
    let (kept, finished, cancelled) =
        (begin(&*process).await, begin(&*process).await, begin(&*process).await);
    process.finish(finished, &Algorithm::Sha256.hash(b"")).await.expect("finishes");
    process.cancel_upload(cancelled).await.expect("cancels");
    assert_eq!(process.uploads().await.expect("lists"), [kept]);
    assert_eq!(backend.open().uploads().await.expect("lists"), [kept]);
}

pub(super) async fn the_same_content_twice_is_two_objects(backend: &impl Backend) {
    let process = backend.open();
    let (first, second) = (store(&*process, b"same").await, store(&*process, b"same").await);
    assert_ne!(first.key, second.key);
    process.delete(first.key).await.expect("deletes");
    assert_eq!(read(&*process, second.key).await, b"same");
}

pub(super) async fn object_keys_carry_the_time_of_their_upload(backend: &impl Backend) {
    let process = backend.open();
    let id = UploadId::random();
    let begun = backend.clock().now();
    process.create_upload(id, Algorithm::Sha256, begun).await.expect("begins");
    backend.clock().advance(Duration::from_secs(60));
    let object = process.finish(id, &Algorithm::Sha256.hash(b"")).await.expect("finishes");
    let minted = object.key.minted_at();
    assert!((begun..=backend.clock().now()).contains(&minted), "{minted:?}");
}
