//! Upload sessions side by side, and what is said of them.

use crate::harness::{BOTH, World, digest, sum};
use axum::http::Method;
use std::collections::HashSet;
use tokio::task::JoinSet;

const NAME: &str = "acme/shop";

#[tokio::test(flavor = "multi_thread")]
async fn uploads_at_the_same_time_do_not_meet() {
    let world = World::new().await;
    let (ann, admin) = (world.client("ann").await, world.client("admin").await);
    let mut pushes = JoinSet::new();
    for number in 0..24 {
        let client = if number % 2 == 0 { ann.clone() } else { admin.clone() };
        // Every third content is the same, so that some upload what others are uploading, too.
        let letter = if number % 3 == 0 { b'a' } else { b'a' + number };
        let algorithm = BOTH[usize::from(number / 12)];
        pushes.spawn(async move {
            let content = vec![letter; 5000];
            let location = client.start_upload(NAME).await;
            for (at, chunk) in content.chunks(1000).enumerate() {
                let range = format!("{}-{}", at * 1000, at * 1000 + chunk.len() - 1);
                let headers = [("content-range", range.as_str())];
                let sent = client.send(Method::PATCH, &location, &headers, chunk.to_vec()).await;
                let _ = sent.expect(202);
                tokio::task::yield_now().await;
            }
            let digest = sum(algorithm, &content);
            let close = format!("{location}?digest={digest}");
            let _ = client.send(Method::PUT, &close, &[], "").await.expect(201);
            let got = client.get(&format!("/v2/{NAME}/blobs/{digest}")).await.expect(200);
            assert!(got.body == content);
            location
        });
    }
    let locations: HashSet<String> = pushes.join_all().await.into_iter().collect();
    assert_eq!(locations.len(), 24, "two uploads had one location");
}

#[tokio::test]
async fn a_location_ends_in_a_uuid_and_the_session_is_asked_for_there() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let location = ann.start_upload(NAME).await;
    let id = location.rsplit('/').next().expect("a last part");
    assert!(uuid::Uuid::parse_str(id).is_ok(), "{location}");
    for sent in 0..3 {
        let status = ann.get(&location).await.expect(204);
        assert_eq!(status.header("location"), location);
        assert_eq!(status.header("range"), format!("0-{}", (sent * 4_usize).saturating_sub(1)));
        let range = format!("{}-{}", sent * 4, sent * 4 + 3);
        let headers = [("content-range", range.as_str())];
        let answer = ann.send(Method::PATCH, &location, &headers, "0123").await.expect(202);
        assert_eq!(answer.header("range"), format!("0-{}", sent * 4 + 3));
        assert_eq!(answer.header("location"), location);
    }
}

#[tokio::test]
async fn there_is_no_smallest_chunk() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let begun = ann.post(&format!("/v2/{NAME}/blobs/uploads/")).await.expect(202);
    assert_eq!(begun.header("oci-chunk-min-length"), "");
    let location = begun.header("location");
    for (at, byte) in ["a", "b", "c"].into_iter().enumerate() {
        let range = format!("{at}-{at}");
        let headers = [("content-range", range.as_str())];
        let _ = ann.send(Method::PATCH, location, &headers, byte).await.expect(202);
    }
    let close = format!("{location}?digest={}", digest(b"abc"));
    let _ = ann.send(Method::PUT, &close, &[], "").await.expect(201);
}

#[tokio::test]
async fn a_chunk_in_the_closing_request_must_fit_too() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let location = ann.start_upload(NAME).await;
    let close = format!("{location}?digest={}", digest(b"01234567"));
    let headers = |range: &'static str| [("content-range", range)];
    // Before anything was sent, as well as after.
    let early = ann.send(Method::PUT, &close, &headers("4-7"), "4567").await;
    assert_eq!(early.refused(416, "BLOB_UPLOAD_INVALID").header("location"), location);
    let _ = ann.send(Method::PATCH, &location, &headers("0-3"), "0123").await.expect(202);
    for (range, body) in [("0-3", "0123"), ("5-7", "567"), ("3-7", "34567")] {
        let refused = ann.send(Method::PUT, &close, &headers(range), body).await;
        let refused = refused.refused(416, "BLOB_UPLOAD_INVALID");
        assert_eq!(refused.header("range"), "0-3", "{range}");
        assert_eq!(refused.header("location"), location, "{range}");
    }
    let _ = ann.send(Method::PUT, &close, &headers("4-7"), "4567").await.expect(201);
}

#[tokio::test]
async fn a_body_is_as_long_as_it_was_announced_or_refused() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let sum = digest(b"0123");
    let upload = ann.start_upload(NAME).await;
    for (method, path) in [
        (Method::POST, format!("/v2/{NAME}/blobs/uploads/?digest={sum}")),
        (Method::PUT, format!("{upload}?digest={sum}")),
        (Method::PATCH, ann.start_upload(NAME).await),
    ] {
        let headers = [("content-length", "9")];
        let answer = ann.send(method, &path, &headers, "0123").await;
        let _ = answer.refused(400, "SIZE_INVALID");
        let _ = ann.get(&format!("/v2/{NAME}/blobs/{sum}")).await.refused(404, "BLOB_UNKNOWN");
    }
}
