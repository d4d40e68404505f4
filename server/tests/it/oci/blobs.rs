//! Reading and deleting blobs.

use crate::harness::{Client, World, digest, digest512};
use axum::http::Method;

const CONTENT: &[u8] = b"0123456789";

async fn pushed() -> (World, Client, String) {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let path = format!("/v2/acme/shop/blobs/{}", ann.push_blob("acme/shop", CONTENT).await);
    (world, ann, path)
}

#[tokio::test]
async fn a_blob_is_sent_whole_with_everything_a_client_checks() {
    let (_world, ann, path) = pushed().await;
    let sum = digest(CONTENT);
    let head = ann.head(&path).await.expect(200);
    assert_eq!(head.body.len(), 0);
    let get = ann.get(&path).await.expect(200);
    assert_eq!(get.body, CONTENT);
    for answer in [head, get] {
        assert_eq!(answer.header("content-length"), "10");
        assert_eq!(answer.header("content-type"), "application/octet-stream");
        assert_eq!(answer.header("docker-content-digest"), sum);
        assert_eq!(answer.header("etag"), format!("\"{sum}\""));
        assert_eq!(answer.header("accept-ranges"), "bytes");
        assert_eq!(answer.header("cache-control"), "private, no-cache");
    }
}

#[tokio::test]
async fn an_empty_blob_is_a_blob() {
    let (_world, ann, _) = pushed().await;
    let path = format!("/v2/acme/shop/blobs/{}", ann.push_blob("acme/shop", b"").await);
    assert_eq!(ann.get(&path).await.expect(200).header("content-length"), "0");
    let range = [("range", "bytes=0-")];
    let refused = ann.send(Method::GET, &path, &range, "").await.expect(416);
    assert_eq!(refused.header("content-range"), "bytes */0");
    let suffix = [("range", "bytes=-5")];
    let _ = ann.send(Method::GET, &path, &suffix, "").await.expect(200);
}

#[tokio::test]
async fn one_range_is_sent_as_a_part() {
    let (_world, ann, path) = pushed().await;
    for (range, expected, from) in [
        ("bytes=0-0", "0", "bytes 0-0/10"),
        ("bytes=2-4", "234", "bytes 2-4/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=8-100", "89", "bytes 8-9/10"),
    ] {
        let answer = ann.send(Method::GET, &path, &[("range", range)], "").await.expect(206);
        assert_eq!(answer.text(), expected, "{range}");
        assert_eq!(answer.header("content-range"), from, "{range}");
        assert_eq!(answer.header("content-length"), expected.len().to_string(), "{range}");
        assert_eq!(answer.header("docker-content-digest"), digest(CONTENT));
    }
}

#[tokio::test]
async fn ranges_that_are_not_one_get_everything_and_one_behind_the_end_nothing() {
    let (_world, ann, path) = pushed().await;
    let many = format!("bytes={}", vec!["0-0"; 1000].join(","));
    for range in ["bytes=0-1,3-4", &many, "items=0-1", "nonsense"] {
        let answer = ann.send(Method::GET, &path, &[("range", range)], "").await.expect(200);
        assert_eq!(answer.body, CONTENT, "{range}");
    }
    let twice = [("range", "bytes=0-1"), ("range", "bytes=2-3")];
    assert_eq!(ann.send(Method::GET, &path, &twice, "").await.expect(200).body, CONTENT);
    for range in ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=5-2"] {
        let behind = ann.send(Method::GET, &path, &[("range", range)], "").await;
        let behind = behind.refused(416, "SIZE_INVALID");
        assert_eq!(behind.header("content-range"), "bytes */10", "{range}");
    }
    let head = ann.send(Method::HEAD, &path, &[("range", "bytes=2-4")], "").await.expect(200);
    assert_eq!(head.header("content-length"), "10");
}

#[tokio::test]
async fn a_client_that_has_the_content_is_told_so() {
    let (_world, ann, path) = pushed().await;
    let tag = format!("\"{}\"", digest(CONTENT));
    for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
        for method in [Method::GET, Method::HEAD] {
            let headers = [("if-none-match", known.as_str()), ("range", "bytes=0-1")];
            let answer = ann.send(method, &path, &headers, "").await.expect(304);
            assert_eq!(answer.body.len(), 0);
            assert_eq!(answer.header("etag"), tag);
        }
    }
    let other = [("if-none-match", "\"other\"")];
    let _ = ann.send(Method::GET, &path, &other, "").await.expect(200);
}

#[tokio::test]
async fn a_range_of_other_content_is_not_sent() {
    let (_world, ann, path) = pushed().await;
    let tag = format!("\"{}\"", digest(CONTENT));
    let part = |condition: &str| {
        let (ann, path, condition) = (ann.clone(), path.clone(), condition.to_owned());
        async move {
            let headers = [("range", "bytes=2-4"), ("if-range", condition.as_str())];
            ann.send(Method::GET, &path, &headers, "").await.status.as_u16()
        }
    };
    assert_eq!(part(&tag).await, 206);
    assert_eq!(part("\"other\"").await, 200);
    // Weak tags and dates never match (RFC 9110, 13.1.5); we have no date at all.
    assert_eq!(part(&format!("W/{tag}")).await, 200);
    assert_eq!(part("Wed, 21 Oct 2015 07:28:00 GMT").await, 200);
}

#[tokio::test]
async fn a_large_blob_comes_back_as_it_went() {
    let (_world, ann, _) = pushed().await;
    let content: Vec<u8> = (0..3_000_000u32).map(|at| (at % 251) as u8).collect();
    let path = format!("/v2/acme/shop/blobs/{}", ann.push_blob("acme/shop", &content).await);
    assert!(ann.get(&path).await.expect(200).body == content);
    let range = [("range", "bytes=1048570-2097160")];
    let part = ann.send(Method::GET, &path, &range, "").await.expect(206);
    assert!(part.body == content[1_048_570..=2_097_160]);
}

#[tokio::test]
async fn a_deleted_blob_is_gone_and_unknown_ones_are_unknown() {
    let (_world, ann, path) = pushed().await;
    let deleted = ann.delete(&path).await.expect(202);
    assert_eq!(deleted.body.len(), 0);
    let _ = ann.get(&path).await.refused(404, "BLOB_UNKNOWN");
    let _ = ann.head(&path).await.expect(404);
    let _ = ann.delete(&path).await.refused(404, "BLOB_UNKNOWN");
    let other = format!("/v2/acme/shop/blobs/{}", digest(b"never pushed"));
    let _ = ann.get(&other).await.refused(404, "BLOB_UNKNOWN");
}

#[tokio::test]
async fn a_blob_of_one_digest_algorithm_is_not_a_blob_of_the_other() {
    let (_world, ann, _) = pushed().await;
    let long = digest512(CONTENT);
    let path = format!("/v2/acme/shop/blobs/{long}");
    let _ = ann.get(&path).await.refused(404, "BLOB_UNKNOWN");
    let post = format!("/v2/acme/shop/blobs/uploads/?digest={long}");
    let stored = ann.send(Method::POST, &post, &[], CONTENT).await.expect(201);
    assert_eq!(stored.header("docker-content-digest"), long);
    let got = ann.get(&path).await.expect(200);
    assert_eq!(got.body, CONTENT);
    assert_eq!(got.header("docker-content-digest"), long);
}
