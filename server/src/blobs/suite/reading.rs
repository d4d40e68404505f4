//! Objects: reading, listing, deleting, setting aside; and the identity.

use super::{Backend, content, read, store};
use crate::blobs::BlobError;
use crate::domain::{ObjectKey, Timestamp};
use futures_util::StreamExt as _;
use std::time::Duration;

pub(super) async fn reading_gives_exactly_the_bytes_asked_for(backend: &impl Backend) {
    let process = backend.open();
    let body = content((3 << 19) + 77);
    let key = store(&*process, &body).await.key;
    let whole = body.len();
    let edges = [
        0,
        1,
        (64 << 10) - 1,
        64 << 10,
        (64 << 10) + 1,
        (64 << 10) + (512 << 10),
        whole - 1,
        whole,
    ];
    for from in edges {
        for to in edges.into_iter().filter(|to| *to >= from) {
            let stream = process.read(key, from as u64, (to - from) as u64).await.expect("opens");
            let bytes = stream.bytes.collect().await.expect("reads");
            assert!(bytes == body[from..to], "{from}..{to}");
        }
    }
}

pub(super) async fn an_object_that_is_not_there_is_unknown(backend: &impl Backend) {
    let process = backend.open();
    let key = ObjectKey::mint(Timestamp(9));
    for length in [0, 5] {
        let unknown = process.read(key, 0, length).await;
        assert!(matches!(unknown, Err(BlobError::UnknownObject(found)) if found == key));
    }
    assert!(matches!(process.object_size(key).await, Err(BlobError::UnknownObject(_))));
}

pub(super) async fn asking_for_more_than_there_is_is_damage(backend: &impl Backend) {
    let process = backend.open();
    let key = store(&*process, b"abc").await.key;
    for (offset, length) in [(0, 4), (3, 1), (4, 0), (9, 9), (u64::MAX, 1), (1, u64::MAX)] {
        let damaged = process.read(key, offset, length).await;
        assert!(
            matches!(damaged, Err(BlobError::Damaged(found)) if found == key),
            "{offset}+{length}"
        );
    }
}

pub(super) async fn a_read_that_has_begun_is_not_disturbed_by_a_deletion(backend: &impl Backend) {
    let process = backend.open();
    let body = content(2 << 20);
    let key = store(&*process, &body).await.key;
    let mut stream = process.read(key, 0, body.len() as u64).await.expect("opens").bytes;
    let first = stream.next().await.expect("a piece").expect("reads");
    process.delete(key).await.expect("deletes");
    let rest = stream.collect().await.expect("goes on");
    assert!([&first[..], &rest].concat() == body);
}

pub(super) async fn deleting_is_repeatable(backend: &impl Backend) {
    let process = backend.open();
    let (key, other) = (store(&*process, b"a").await.key, store(&*process, b"b").await.key);
    process.delete(key).await.expect("deletes");
    process.delete(key).await.expect("once more");
    process.delete(ObjectKey::mint(Timestamp(3))).await.expect("never was");
    assert!(matches!(process.object_size(key).await, Err(BlobError::UnknownObject(_))));
    assert_eq!(process.objects(None, 9).await.expect("lists"), [other]);
}

pub(super) async fn objects_are_listed_in_ascending_order_page_by_page(backend: &impl Backend) {
    let process = backend.open();
    let mut keys = Vec::new();
    for n in 0..50u8 {
        keys.push(store(&*process, &[n]).await.key);
    }
    keys.sort_unstable();
    assert!(process.objects(None, 0).await.expect("lists").is_empty());
    for limit in [1, 7, 16, 49, 50, 51] {
        let mut found = Vec::new();
        loop {
            let page = process.objects(found.last().copied(), limit).await.expect("lists");
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            found.extend(page);
        }
        assert_eq!(found, keys, "{limit}");
    }
    assert_eq!(process.objects(Some(keys[30]), 5).await.expect("lists"), keys[31..36]);
}

pub(super) async fn a_walk_names_no_object_that_is_gone_and_each_that_stays(
    backend: &impl Backend,
) {
    let process = backend.open();
    let mut keys = Vec::new();
    for n in 0..40u8 {
        keys.push(store(&*process, &[n]).await.key);
    }
    keys.sort_unstable();
    let mut found = process.objects(None, 5).await.expect("lists");
    process.delete(keys[7]).await.expect("deletes");
    process.set_aside(keys[8]).await.expect("sets aside");
    let new = store(&*process, b"new").await.key;
    loop {
        let page = process.objects(found.last().copied(), 5).await.expect("lists");
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    let mut expected = [&keys[..7], &keys[9..]].concat();
    // One that appears behind the walk need not be named, one that appears ahead of it is.
    if new > keys[4] {
        expected.push(new);
        expected.sort_unstable();
    }
    assert_eq!(found, expected);
}

pub(super) async fn what_is_set_aside_is_out_of_sight_and_removed_when_it_is_old(
    backend: &impl Backend,
) {
    let process = backend.open();
    // One larger than what is copied at once.
    let bodies = [content(5), content(300_000)];
    for body in &bodies {
        let key = store(&*process, body).await.key;
        process.set_aside(key).await.expect("sets aside");
        process.set_aside(key).await.expect("once more");
        assert!(matches!(process.object_size(key).await, Err(BlobError::UnknownObject(_))));
    }
    let kept = store(&*process, b"kept").await.key;
    assert_eq!(process.objects(None, 9).await.expect("lists"), [kept]);

    let clock = backend.clock();
    let then = clock.now();
    clock.advance(Duration::from_secs(60));
    let later = store(&*process, b"later").await.key;
    process.set_aside(later).await.expect("sets aside");
    assert_eq!(process.empty_lost_and_found(then).await.expect("empties"), 0);
    let process = backend.open();
    assert_eq!(process.empty_lost_and_found(clock.now()).await.expect("empties"), 2);
    clock.advance(Duration::from_millis(1));
    assert_eq!(process.empty_lost_and_found(clock.now()).await.expect("empties"), 1);
    assert_eq!(read(&*process, kept).await, b"kept");
}

pub(super) async fn the_identity_is_what_was_last_written(backend: &impl Backend) {
    let process = backend.open();
    assert_eq!(process.identity().await.expect("reads"), None);
    for identity in ["one", "another, longer one", ""] {
        process.set_identity(identity.as_bytes()).await.expect("writes");
        let read = backend.open().identity().await.expect("reads");
        assert_eq!(read.as_deref(), Some(identity.as_bytes()));
    }
    assert!(process.objects(None, 9).await.expect("lists").is_empty(), "it is no object");
}
