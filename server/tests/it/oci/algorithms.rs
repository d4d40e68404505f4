//! sha256 and sha512: what is promised, is promised for both.

use crate::harness::{BOTH, Client, IMAGE, INDEX, World, image_in, index_in, sum};
use axum::body::Body;
use axum::http::Method;
use futures_util::stream;
use serde_json::json;
use standpipe_server::domain::Algorithm;

const NAME: &str = "acme/shop";

async fn ann() -> (World, Client) {
    let world = World::new().await;
    let ann = world.client("ann").await;
    (world, ann)
}

/// The ways to push a blob: pieces, whether the last goes with the closing request, and whether their
/// lengths are told.
const WAYS: [(usize, bool, bool); 7] = [
    (0, true, true),
    (1, false, true),
    (1, true, true),
    (1, false, false),
    (3, false, true),
    (3, true, true),
    (3, false, false),
];

/// Opens an upload with this query and sends `content` in one of the ways; returns the answer to the
/// closing request, which says `digest`.
async fn push(
    ann: &Client,
    query: &str,
    (pieces, last_with_close, told): (usize, bool, bool),
    content: &[u8],
    digest: &str,
) -> crate::harness::Answer {
    if pieces == 0 {
        let path = format!("/v2/{NAME}/blobs/uploads/?digest={digest}");
        return ann.send(Method::POST, &path, &[], content.to_vec()).await;
    }
    let begun = ann.post(&format!("/v2/{NAME}/blobs/uploads/{query}")).await.expect(202);
    let mut location = begun.header("location").to_owned();
    let size = content.len().div_ceil(pieces);
    let chunks: Vec<&[u8]> = content.chunks(size).collect();
    let before_the_end = chunks.len() - usize::from(last_with_close);
    for (position, chunk) in chunks[..before_the_end].iter().enumerate() {
        let at = position * size;
        let range = format!("{at}-{}", at + chunk.len() - 1);
        let headers = [("content-range", range.as_str())];
        let streamed = stream::iter([Ok::<_, std::io::Error>(chunk.to_vec())]);
        let answer = if told {
            ann.send(Method::PATCH, &location, &headers, chunk.to_vec()).await
        } else {
            ann.send(Method::PATCH, &location, &[], Body::from_stream(streamed)).await
        };
        let answer = answer.expect(202);
        assert_eq!(answer.header("range"), format!("0-{}", at + chunk.len() - 1));
        location = answer.header("location").to_owned();
    }
    let rest = chunks[before_the_end..].concat();
    ann.send(Method::PUT, &format!("{location}?digest={digest}"), &[], rest).await
}

#[tokio::test]
async fn a_blob_is_pushed_in_every_way_under_the_digest_that_was_asked_for() {
    let (_world, ann) = ann().await;
    let mut number = 0;
    for algorithm in BOTH {
        for way in WAYS {
            // With the hint for this algorithm, without one, and with a wrong one.
            let hint = format!("?digest-algorithm={}", algorithm.as_str());
            for query in [hint.as_str(), "", "?digest-algorithm=sha256", "?digest-algorithm=sha512"]
            {
                number += 1;
                let content = format!("a blob that is pushed as number {number}").into_bytes();
                let digest = sum(algorithm, &content);
                let what = format!("{way:?} {query} {digest}");
                let stored = push(&ann, query, way, &content, &digest).await.expect(201);
                assert_eq!(stored.header("docker-content-digest"), digest, "{what}");
                assert_eq!(stored.body.len(), 0, "{what}");
                let location = stored.header("location");
                assert_eq!(location, format!("/v2/{NAME}/blobs/{digest}"), "{what}");
                let got = ann.get(location).await.expect(200);
                assert_eq!(got.body, content, "{what}");
                assert_eq!(got.header("docker-content-digest"), digest, "{what}");
                assert_eq!(got.header("content-length"), content.len().to_string(), "{what}");
                let head = ann.head(location).await.expect(200);
                assert_eq!(head.header("docker-content-digest"), digest, "{what}");
                assert_eq!(head.header("content-length"), content.len().to_string(), "{what}");
                // Under the other algorithm it is another blob, which nobody has pushed.
                let other = BOTH.into_iter().find(|other| *other != algorithm).expect("two");
                let path = format!("/v2/{NAME}/blobs/{}", sum(other, &content));
                let _ = ann.get(&path).await.refused(404, "BLOB_UNKNOWN");
            }
        }
    }
}

#[tokio::test]
async fn a_digest_that_is_not_the_contents_is_refused_in_every_way() {
    let (_world, ann) = ann().await;
    for algorithm in BOTH {
        for way in WAYS {
            let promised = sum(algorithm, b"what was promised");
            let sent = b"what was sent instead";
            let refused = push(&ann, "", way, sent, &promised).await;
            let _ = refused.refused(400, "DIGEST_INVALID");
            for digest in [promised, sum(algorithm, sent)] {
                let path = format!("/v2/{NAME}/blobs/{digest}");
                let _ = ann.get(&path).await.refused(404, "BLOB_UNKNOWN");
            }
        }
    }
}

#[tokio::test]
async fn nothing_at_all_and_the_empty_document_are_blobs() {
    let (_world, ann) = ann().await;
    for algorithm in BOTH {
        for content in [&b""[..], b"{}"] {
            let digest = sum(algorithm, content);
            let path = format!("/v2/{NAME}/blobs/{digest}");
            let at_once = format!("/v2/{NAME}/blobs/uploads/?digest={digest}");
            let length = content.len().to_string();
            let headers = [("content-length", length.as_str())];
            let stored = ann.send(Method::POST, &at_once, &headers, content.to_vec()).await;
            assert_eq!(stored.expect(201).header("docker-content-digest"), digest);
            let _ = ann.delete(&path).await.expect(202);
            let _ = ann.get(&path).await.refused(404, "BLOB_UNKNOWN");
            // The same in two requests.
            let upload = ann.start_upload(NAME).await;
            let close = format!("{upload}?digest={digest}");
            let _ = ann.send(Method::PUT, &close, &headers, content.to_vec()).await.expect(201);
            let got = ann.get(&path).await.expect(200);
            assert_eq!(got.body, content);
            assert_eq!(got.header("content-length"), length);
            assert_eq!(got.header("docker-content-digest"), digest);
            assert_eq!(ann.head(&path).await.expect(200).header("content-length"), length);
        }
    }
}

#[tokio::test]
async fn parts_and_conditions_work_under_both_digests() {
    let (_world, ann) = ann().await;
    for algorithm in BOTH {
        let digest = ann.push_blob_in(algorithm, NAME, b"0123456789").await;
        let path = format!("/v2/{NAME}/blobs/{digest}");
        let part = ann.send(Method::GET, &path, &[("range", "bytes=2-4")], "").await.expect(206);
        assert_eq!(part.text(), "234");
        assert_eq!(part.header("docker-content-digest"), digest);
        let tag = part.header("etag").to_owned();
        assert_eq!(tag, format!("\"{digest}\""));
        for method in [Method::GET, Method::HEAD] {
            let known = [("if-none-match", tag.as_str())];
            let answer = ann.send(method, &path, &known, "").await.expect(304);
            assert_eq!(answer.header("docker-content-digest"), digest);
        }
        let same = [("range", "bytes=-1"), ("if-range", tag.as_str())];
        assert_eq!(ann.send(Method::GET, &path, &same, "").await.expect(206).text(), "9");
        let other = [("range", "bytes=-1"), ("if-range", "\"other\"")];
        assert_eq!(ann.send(Method::GET, &path, &other, "").await.expect(200).text(), "0123456789");
    }
}

#[tokio::test]
async fn an_index_with_its_images_lives_by_digests_of_either_kind() {
    let (_world, ann) = ann().await;
    for algorithm in BOTH {
        let word = algorithm.as_str();
        let one = ann.push_image_in(algorithm, NAME, &format!("{word} one")).await;
        let two = ann.push_image_in(algorithm, NAME, &format!("{word} two")).await;
        let index = index_in(algorithm, &[&one, &two], &json!({}));
        let digest = index.digest_in(algorithm);
        let path = format!("/v2/{NAME}/manifests/{digest}");
        let put = format!("{path}?tag={word}-a&tag={word}-b");
        let headers = [("content-type", INDEX)];
        let stored = ann.send(Method::PUT, &put, &headers, index.bytes.clone()).await.expect(201);
        assert_eq!(stored.header("location"), path);
        assert_eq!(stored.header("docker-content-digest"), digest);
        let told: Vec<_> = stored.headers.get_all("oci-tag").iter().collect();
        assert_eq!(told, [&format!("{word}-a"), &format!("{word}-b")]);
        for reference in [digest.clone(), format!("{word}-a"), format!("{word}-b")] {
            let path = format!("/v2/{NAME}/manifests/{reference}");
            let got = ann.get(&path).await.expect(200);
            assert_eq!(got.body, index.bytes);
            let head = ann.head(&path).await.expect(200);
            for answer in [got, head] {
                assert_eq!(answer.header("docker-content-digest"), digest, "{reference}");
                assert_eq!(answer.header("content-type"), INDEX);
                assert_eq!(answer.header("content-length"), index.bytes.len().to_string());
            }
        }
        for image in [&one, &two] {
            let path = format!("/v2/{NAME}/manifests/{}", image.digest_in(algorithm));
            assert_eq!(ann.get(&path).await.expect(200).header("content-type"), IMAGE);
        }
        // Deleting what was pushed under one digest says nothing about the other.
        let _ = ann.put_manifest(NAME, &format!("{word}-plain"), &index).await.expect(201);
        let _ = ann.delete(&format!("/v2/{NAME}/manifests/{word}-plain")).await.expect(202);
        let _ = ann.delete(&path).await.expect(202);
        for gone in [digest, format!("{word}-a"), format!("{word}-b")] {
            let path = format!("/v2/{NAME}/manifests/{gone}");
            let _ = ann.head(&path).await.expect(404);
        }
        let other = format!("/v2/{NAME}/manifests/{}", index.digest());
        let status = if algorithm == Algorithm::Sha256 { 404 } else { 200 };
        let _ = ann.get(&other).await.expect(status);
    }
}

#[tokio::test]
async fn a_manifest_of_another_digest_is_refused_under_both_algorithms() {
    let (_world, ann) = ann().await;
    for algorithm in BOTH {
        let manifest = ann.push_image_in(algorithm, NAME, "one").await;
        let mut longer = manifest.clone();
        longer.bytes.extend_from_slice(b"  ");
        let refused = ann.put_manifest(NAME, &manifest.digest_in(algorithm), &longer).await;
        let _ = refused.refused(400, "DIGEST_INVALID");
        let bad = format!("{}:baddigeststring", algorithm.as_str());
        let _ = ann.put_manifest(NAME, &bad, &manifest).await.refused(400, "DIGEST_INVALID");
        let path = format!("/v2/{NAME}/manifests/{bad}");
        let _ = ann.get(&path).await.refused(400, "DIGEST_INVALID");
    }
}

#[tokio::test]
async fn a_manifest_that_names_what_is_not_there_is_refused_under_both_algorithms() {
    let (_world, ann) = ann().await;
    for algorithm in BOTH {
        let _ = ann.push_blob_in(algorithm, NAME, b"{}").await;
        let lacking = image_in(algorithm, &[b"never pushed"], &json!({}));
        let index = index_in(algorithm, &[&lacking], &json!({}));
        for manifest in [lacking, index] {
            let refused = ann.put_manifest(NAME, &manifest.digest_in(algorithm), &manifest).await;
            let _ = refused.refused(404, "MANIFEST_BLOB_UNKNOWN");
        }
    }
}
