//! Refusals: their shape and their words.

use crate::harness::{Answer, IMAGE, INDEX, Settings, World, digest, image};
use axum::http::Method;
use serde_json::{Value, json};
use standpipe_server::registry::Limits;
use std::collections::BTreeSet;

/// The codes of the specification.
const CODES: [&str; 14] = [
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
];

/// Holds a refusal against the specification; returns its code.
fn checked(what: &str, answer: &Answer) -> String {
    assert!(answer.status.is_client_error(), "{what}: {}", answer.status);
    assert_eq!(answer.header("content-type"), "application/json", "{what}");
    let body = answer.json();
    let keys: Vec<_> = body.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["errors"], "{what}: {body}");
    let errors = body["errors"].as_array().expect("a list");
    assert!(!errors.is_empty(), "{what}");
    for error in errors {
        for key in error.as_object().expect("an object").keys() {
            assert!(["code", "message", "detail"].contains(&key.as_str()), "{what}: {error}");
        }
        assert!(
            error["message"].as_str().is_some_and(|words| words.contains(' ')),
            "{what}: {error}"
        );
    }
    let code = errors[0]["code"].as_str().expect("a code").to_owned();
    assert!(code.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'), "{what}: {code}");
    assert!(CODES.contains(&code.as_str()), "{what}: {code}");
    code
}

#[tokio::test]
async fn every_refusal_has_the_shape_and_a_code_of_the_specification() {
    let limits = Limits { manifest_bytes: 2000, blob_bytes: Some(1000), ..Limits::default() };
    let world = World::with(Settings { limits, ..Settings::default() }).await;
    let (ann, bob) = (world.client("ann").await, world.client("bob").await);
    let manifest = ann.push_image("acme/shop", "latest", "one").await;
    let lacking = image(&[b"never pushed"], &json!({}));
    let upload = ann.start_upload("acme/shop").await;
    let (sum, other) = (digest(b"one"), digest(b"other"));
    let base = "/v2/acme/shop";
    let long = "a".repeat(5000);
    let mut codes = BTreeSet::new();
    for (client, method, path, content_type, body) in [
        (&ann, "GET", format!("{base}/blobs/{other}"), "", &b""[..]),
        (&ann, "DELETE", format!("{base}/blobs/{other}"), "", b""),
        (&ann, "GET", format!("{base}/blobs/sha256:x"), "", b""),
        (&ann, "GET", format!("{base}/blobs/md5:x"), "", b""),
        (&ann, "GET", format!("{base}/manifests/nothing"), "", b""),
        (&ann, "GET", format!("{base}/manifests/{other}"), "", b""),
        (&ann, "DELETE", format!("{base}/manifests/nothing"), "", b""),
        (&ann, "PUT", format!("{base}/manifests/-bad"), IMAGE, &manifest.bytes),
        (&ann, "PUT", format!("{base}/manifests/x?tag=-bad"), IMAGE, &manifest.bytes),
        (&ann, "PUT", format!("{base}/manifests/{other}"), IMAGE, &manifest.bytes),
        (&ann, "PUT", format!("{base}/manifests/x"), IMAGE, &lacking.bytes),
        (&ann, "PUT", format!("{base}/manifests/x"), INDEX, &manifest.bytes),
        (&ann, "PUT", format!("{base}/manifests/x"), IMAGE, b"<html>"),
        (&ann, "PUT", format!("{base}/manifests/x"), IMAGE, &[b' '; 3000]),
        (&ann, "POST", format!("{base}/blobs/uploads/?digest={other}"), "", b"content"),
        (&ann, "POST", format!("{base}/blobs/uploads/?digest={sum}"), "", &[b' '; 3000]),
        (&ann, "POST", format!("{base}/blobs/uploads/?digest-algorithm=md5"), "", b""),
        (&ann, "PUT", upload.clone(), "", b""),
        (&ann, "PATCH", format!("{base}/blobs/uploads/x"), "", b""),
        (&ann, "GET", format!("{base}/blobs/uploads/x"), "", b""),
        (&ann, "GET", format!("{base}/tags/list?n=x"), "", b""),
        (&ann, "GET", "/v2/_catalog?n=x".to_owned(), "", b""),
        (&ann, "GET", format!("{base}/referrers/x"), "", b""),
        (&ann, "GET", "/v2/acme/nothing/tags/list".to_owned(), "", b""),
        (&ann, "GET", "/v2/acme/Shop/tags/list".to_owned(), "", b""),
        (&ann, "GET", "/v2/shop/tags/list".to_owned(), "", b""),
        (&ann, "GET", "/v2/what".to_owned(), "", b""),
        (&ann, "GET", format!("{base}/tags/list?last={}", long.repeat(4)), "", b""),
        (&ann, "GET", format!("/v2/acme/{long}/tags/list"), "", b""),
        (&ann, "POST", format!("{base}/tags/list"), "", b""),
        (&bob, "POST", format!("{base}/blobs/uploads/"), "", b""),
        (&bob, "DELETE", format!("{base}/manifests/latest"), "", b""),
        (&world.anonymous(), "GET", format!("{base}/tags/list"), "", b""),
        (&world.holder("Bearer x"), "GET", "/v2/".to_owned(), "", b""),
    ] {
        let headers = [("content-type", content_type)];
        let headers = if content_type.is_empty() { &[][..] } else { &headers[..] };
        let verb = Method::from_bytes(method.as_bytes()).expect("a method");
        let answer = client.send(verb, &path, headers, body.to_vec()).await;
        codes.insert(checked(&format!("{method} {path}"), &answer));
    }
    let headers = [("content-range", "7-8")];
    let ahead = ann.send(Method::PATCH, &upload, &headers, "xx").await.expect(416);
    codes.insert(checked("a chunk ahead", &ahead));
    // All but the one for too many attempts to log in, which takes a network address.
    let expected: BTreeSet<_> =
        CODES.iter().filter(|code| **code != "TOOMANYREQUESTS").map(ToString::to_string).collect();
    assert_eq!(codes, expected);
}

#[tokio::test]
async fn a_refusal_says_the_same_to_programs_and_to_people() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let answer = ann.get("/v2/acme/shop/manifests/nothing").await.expect(404);
    let body = answer.json();
    let error = &body["errors"][0];
    assert_eq!(error["code"], "MANIFEST_UNKNOWN");
    assert_eq!(error["message"], "the package has no manifest nothing");
    assert_ne!(error["detail"], Value::String(String::new()));
}
