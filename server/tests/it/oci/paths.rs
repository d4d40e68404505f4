//! Paths and methods that mean nothing.

use crate::harness::{World, digest};
use axum::http::Method;

#[tokio::test]
async fn a_wrong_path_is_refused_for_what_is_wrong_with_it() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let sum = digest(b"x");
    let long = "a".repeat(256);
    for (path, status, code) in [
        ("/v2/_catalog/".to_owned(), 404, "NAME_UNKNOWN"),
        ("/v2/_blobs".to_owned(), 404, "NAME_UNKNOWN"),
        ("/v2/acme".to_owned(), 404, "NAME_UNKNOWN"),
        ("/v2/acme/shop".to_owned(), 404, "NAME_UNKNOWN"),
        ("/v2/acme/shop/tags/".to_owned(), 404, "NAME_UNKNOWN"),
        ("/v2/acme/shop/tags/list/".to_owned(), 404, "NAME_UNKNOWN"),
        ("/v2/shop/tags/list".to_owned(), 400, "NAME_INVALID"),
        ("/v2/acme//shop/tags/list".to_owned(), 400, "NAME_INVALID"),
        ("/v2/acme%2Fshop/tags/list".to_owned(), 400, "NAME_INVALID"),
        ("/v2/acme/../acme/shop/tags/list".to_owned(), 400, "NAME_INVALID"),
        ("/v2/acme/%2e%2e/acme/shop/tags/list".to_owned(), 400, "NAME_INVALID"),
        ("/v2/acme/shop%00/tags/list".to_owned(), 400, "NAME_INVALID"),
        ("/v2/acme/shop%ff/tags/list".to_owned(), 400, "NAME_INVALID"),
        ("/v2/acme/Shop/tags/list".to_owned(), 400, "NAME_INVALID"),
        (format!("/v2/acme/{long}/tags/list"), 400, "NAME_INVALID"),
        ("/v2/acme/shop/blobs/latest".to_owned(), 400, "DIGEST_INVALID"),
        (format!("/v2/acme/shop/blobs/{}", sum.to_uppercase()), 400, "DIGEST_INVALID"),
        (format!("/v2/acme/shop/blobs/{sum}0"), 400, "DIGEST_INVALID"),
        (format!("/v2/acme/shop/blobs/{}", &sum[..sum.len() - 1]), 400, "DIGEST_INVALID"),
        (format!("/v2/acme/shop/blobs/{}", sum.replace(':', "%3A")), 400, "DIGEST_INVALID"),
        (
            "/v2/acme/shop/blobs/md5:d41d8cd98f00b204e9800998ecf8427e".to_owned(),
            400,
            "DIGEST_INVALID",
        ),
        ("/v2/acme/shop/referrers/latest".to_owned(), 400, "DIGEST_INVALID"),
        ("/v2/acme/shop/manifests/sha256:abc".to_owned(), 400, "DIGEST_INVALID"),
        ("/v2/acme/shop/manifests/.latest".to_owned(), 404, "MANIFEST_UNKNOWN"),
        (format!("/v2/acme/shop/manifests/{}", "a".repeat(129)), 404, "MANIFEST_UNKNOWN"),
        ("/v2/acme/shop/blobs/uploads/x".to_owned(), 404, "BLOB_UPLOAD_UNKNOWN"),
    ] {
        let _ = ann.get(&path).await.refused(status, code);
    }
    let put = ann.send(Method::PUT, "/v2/acme/shop/manifests/.latest", &[], "").await;
    let _ = put.refused(400, "MANIFEST_INVALID");
}

#[tokio::test]
async fn the_registry_is_found_under_its_own_prefix_only() {
    let world = World::new().await;
    for path in ["//v2/", "/v2/../v2/", "/%76%32/", "/V2/", "/v1/", "/v2x"] {
        let answer = world.anonymous().get(path).await;
        assert!(answer.status == 404, "{path}: {}", answer.status);
    }
}

#[tokio::test]
async fn a_method_that_makes_no_sense_is_told_which_do() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let (sum, id) = (digest(b"x"), "0f8fad5b-d9cb-469f-a165-70867728950e");
    for (path, allowed) in [
        ("/v2/".to_owned(), "GET, HEAD"),
        ("/v2/_catalog".to_owned(), "GET, HEAD"),
        ("/v2/acme/shop/tags/list".to_owned(), "GET, HEAD"),
        (format!("/v2/acme/shop/referrers/{sum}"), "GET, HEAD"),
        (format!("/v2/acme/shop/blobs/{sum}"), "DELETE, GET, HEAD"),
        ("/v2/acme/shop/manifests/latest".to_owned(), "DELETE, GET, HEAD, PUT"),
        ("/v2/acme/shop/blobs/uploads/".to_owned(), "POST"),
        ("/v2/acme/shop/blobs/uploads".to_owned(), "POST"),
        (format!("/v2/acme/shop/blobs/uploads/{id}"), "DELETE, GET, HEAD, PATCH, PUT"),
    ] {
        for method in ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"]
        {
            if allowed.split(", ").any(|other| other == method) {
                continue;
            }
            let sent = Method::from_bytes(method.as_bytes()).expect("a token");
            let answer = ann.send(sent, &path, &[], "").await.expect(405);
            assert_eq!(answer.header("allow"), allowed, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn what_is_too_long_is_refused_before_anything_is_made_of_it() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let path = format!("/v2/acme/{}/tags/list", "a/".repeat(2000));
    let _ = ann.get(&path).await.refused(414, "UNSUPPORTED");
    let query = format!("/v2/acme/shop/tags/list?last={}", "a".repeat(20_000));
    let _ = ann.get(&query).await.refused(414, "UNSUPPORTED");
    let large = "a".repeat(40_000);
    let headers = [("x-large", large.as_str())];
    let _ = ann.send(Method::GET, "/v2/", &headers, "").await.refused(431, "UNSUPPORTED");
    let elsewhere = ann.get(&format!("/{}", "a".repeat(5000))).await.expect(414);
    assert_eq!(elsewhere.header("content-type"), "application/problem+json");
}

#[tokio::test]
async fn answers_cannot_be_taken_for_pages_and_are_not_shared() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let sum = ann.push_blob("acme/shop", b"<script>alert(1)</script>").await;
    for path in [
        format!("/v2/acme/shop/blobs/{sum}"),
        "/v2/acme/shop/tags/list".to_owned(),
        "/v2/acme/nothing/tags/list".to_owned(),
        "/nowhere".to_owned(),
    ] {
        let answer = ann.get(&path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert!(
            answer.header("content-security-policy").starts_with("default-src 'none'"),
            "{path}"
        );
        let cache = answer.header("cache-control");
        assert!(cache == "no-store" || cache == "private, no-cache", "{path}: {cache}");
        assert_eq!(answer.header("vary"), "authorization", "{path}");
        assert!(!answer.header("x-request-id").is_empty(), "{path}");
    }
}
