//! Row 7 and 8 of the fault matrix: whoever gets all bytes of a blob gets the right ones.

use super::{Damage, damage, object_of, verified};
use crate::harness::{Client, Random, World};
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

/// What arrived of an answer before it ended or broke off.
struct Arrived {
    status: StatusCode,
    headers: HeaderMap,
    bytes: Vec<u8>,
    broke_off: bool,
}

impl Arrived {
    fn announced(&self) -> usize {
        let length = self.headers.get("content-length").expect("a length");
        length.to_str().expect("ASCII").parse().expect("a number")
    }
}

async fn pull(world: &World, client: &Client, blob: &str, range: Option<&str>) -> Arrived {
    let mut request = Request::get(format!("/v2/acme/shop/blobs/{blob}"))
        .header("authorization", client.authorization.as_ref().expect("a login"));
    if let Some(range) = range {
        request = request.header("range", range);
    }
    let request = request.body(Body::empty()).expect("a legal request");
    let response = world.router.clone().oneshot(request).await.expect("the router answers");
    let (parts, mut body) = response.into_parts();
    let (mut bytes, mut broke_off) = (Vec::new(), false);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes.extend_from_slice(&frame.into_data().unwrap_or(Bytes::new())),
            Err(_) => broke_off = true,
        }
    }
    Arrived { status: parts.status, headers: parts.headers, bytes, broke_off }
}

fn damaged(world: &World) -> u64 {
    world.app.registry.collection_statistics().damaged
}

#[tokio::test]
async fn a_pull_of_a_blob_with_a_flipped_byte_breaks_off_before_its_end_and_marks_it() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let mut random = Random::new();
    for (number, length) in (1..).zip([1, 10, 65_536, 65_537, 1_000_000, 600_000, 600_000]) {
        let content = random.bytes(length);
        let blob = ann.push_blob("acme/shop", &content).await;
        let at = random.between(0, length);
        damage(&object_of(&world, &content), Damage::Flip(at));
        let arrived = pull(&world, &ann, &blob, None).await;
        let what = format!("byte {at} of {length}");
        assert_eq!((arrived.status, arrived.announced()), (StatusCode::OK, length), "{what}");
        assert!(arrived.broke_off, "{what}: the client must see that it failed");
        assert!(arrived.bytes.len() < length, "{what}: {} bytes came", arrived.bytes.len());
        assert_eq!(damaged(&world), number, "{what}: it is counted");
        let _ = ann.head(&format!("/v2/acme/shop/blobs/{blob}")).await.expect(404);
        let _ = ann.get(&format!("/v2/acme/shop/blobs/{blob}")).await.refused(500, "UNKNOWN");
        assert_eq!(damaged(&world), number, "what is marked is not read again");
    }
}

#[tokio::test]
async fn a_range_that_is_the_whole_blob_is_checked_like_it() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let content = Random::new().bytes(100_000);
    let blob = ann.push_blob("acme/shop", &content).await;
    damage(&object_of(&world, &content), Damage::Flip(99_999));
    let arrived = pull(&world, &ann, &blob, Some("bytes=0-")).await;
    assert!(arrived.broke_off && arrived.bytes.len() < 100_000);
    assert_eq!(damaged(&world), 1);
}

#[tokio::test]
async fn a_range_of_a_damaged_blob_never_lies_about_its_length() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let content = Random::new().bytes(500_000);
    let blob = ann.push_blob("acme/shop", &content).await;
    let object = object_of(&world, &content);
    damage(&object, Damage::Flip(400_000));
    let good = pull(&world, &ann, &blob, Some("bytes=1000-299999")).await;
    assert_eq!(good.status, StatusCode::PARTIAL_CONTENT);
    assert!(!good.broke_off && good.bytes == content[1000..300_000]);
    // A part cannot be held against the digest of the whole; the client does that at the end.
    let bad = pull(&world, &ann, &blob, Some("bytes=350000-450000")).await;
    assert_eq!((bad.bytes.len(), bad.announced()), (100_001, 100_001));
    assert_eq!(damaged(&world), 0);

    damage(&object, Damage::Truncate(300_000));
    let there = pull(&world, &ann, &blob, Some("bytes=1000-299999")).await;
    assert!(!there.broke_off && there.bytes == content[1000..300_000]);
    let _ = ann.get(&format!("/v2/acme/shop/blobs/{blob}")).await.refused(500, "UNKNOWN");
    assert_eq!(damaged(&world), 1);
    let marked = pull(&world, &ann, &blob, Some("bytes=1000-299999")).await;
    assert_eq!(marked.status, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn a_pull_of_a_truncated_or_missing_blob_is_an_error_that_marks_it() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    for (number, how) in (1..).zip([Damage::Truncate(0), Damage::Truncate(69_999), Damage::Remove])
    {
        let content = Random::new().bytes(70_000);
        let blob = ann.push_blob("acme/shop", &content).await;
        damage(&object_of(&world, &content), how);
        let path = format!("/v2/acme/shop/blobs/{blob}");
        let _ = ann.head(&path).await.expect(200);
        let _ = ann.get(&path).await.refused(500, "UNKNOWN");
        assert_eq!(damaged(&world), number, "{how:?}");
        let _ = ann.head(&path).await.expect(404);
        ann.push_blob("acme/shop", &content).await;
        assert_eq!(ann.get(&path).await.expect(200).body, content, "{how:?}");
    }
    assert_eq!(verified(&world).await.wrong, 0);
}
