//! Clients that vanish: at any byte of a body, and after the last one, before the answer.

use crate::harness::{Client, Random, digest};
use crate::serve::{DEADLINE, Running};
use axum::http::Method;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

const NAME: &str = "acme/shop";

/// Sends the head of a request and some of its body, and goes away without reading an answer; at once
/// with a reset, or politely.
async fn send_and_vanish(running: &Running, ann: &Client, head: &str, body: &[u8], rude: bool) {
    let authorization = ann.authorization.as_deref().expect("a token");
    let mut stream: TcpStream = running.connect().await;
    let head = format!("{head}host: x\r\nauthorization: {authorization}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("the server reads heads");
    // It may have been refused already, which the client does not wait to hear.
    let _ = stream.write_all(body).await;
    if rude {
        stream.set_zero_linger().expect("an option of the system");
    }
}

/// Asks again and again until the answer is what it should be.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let found = tokio::time::timeout(DEADLINE, asking).await;
    found.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// Where an upload stands; an empty one cannot be told from one byte, so the file decides.
async fn offset(running: &Running, ann: &Client, upload: &str) -> usize {
    let status = ann.get(upload).await.expect(204);
    let range = status.header("range").strip_prefix("0-").expect("a range").to_owned();
    let last: usize = range.parse().expect("a number");
    let id = status.header("docker-upload-uuid").to_owned();
    let stored = std::fs::metadata(running.world.path().join("uploads").join(id));
    if last == 0 && stored.expect("the upload's file").len() == 0 { 0 } else { last + 1 }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_cut_at_any_byte_is_kept_up_to_there_and_seen_by_nobody() {
    let mut random = Random::new();
    let running = Running::new().await;
    let ann = running.world.client("ann").await;
    let mut resumed = 0;
    for round in 0..30 {
        let length = random.between(2, 400_000);
        let content = random.bytes(length);
        let cut = random.between(0, content.len());
        let upload = ann.start_upload(NAME).await;
        let closing =
            if round % 2 == 0 { format!("?digest={}", digest(&content)) } else { String::new() };
        let method = if closing.is_empty() { "PATCH" } else { "PUT" };
        // With its range, so that a request which the server only comes to after its client went and the
        // upload was resumed is refused, and not taken for what comes next.
        let range = format!("content-range: 0-{}\r\n", length - 1);
        let head =
            format!("{method} {upload}{closing} HTTP/1.1\r\ncontent-length: {length}\r\n{range}");
        send_and_vanish(&running, &ann, &head, &content[..cut], round % 3 == 0).await;
        // The server may still be busy with what it got; the upload is free once it is over.
        let at = until("a free upload", async || {
            let at = offset(&running, &ann, &upload).await;
            assert!(at <= cut, "{at} bytes of {cut} that were sent");
            let range = format!("{at}-{}", content.len() - 1);
            let headers = [("content-range", range.as_str())];
            let answer = ann.send(Method::PATCH, &upload, &headers, content[at..].to_vec()).await;
            if answer.status != 202 {
                assert!(matches!(answer.status.as_u16(), 409 | 416), "{answer:?}");
                return None;
            }
            Some(at)
        })
        .await;
        resumed += usize::from(at > 0);
        let blob = format!("/v2/{NAME}/blobs/{}", digest(&content));
        let _ = ann.head(&blob).await.expect(404);
        assert_eq!(offset(&running, &ann, &upload).await, content.len());
        let close = format!("{upload}?digest={}", digest(&content));
        // The request whose client went may come only now; it is refused, but holds the upload for it.
        let closed = until("a free upload", async || {
            let answer = ann.send(Method::PUT, &close, &[], "").await;
            (answer.status != 409).then_some(answer)
        });
        let _ = closed.await.expect(201);
        assert!(ann.get(&blob).await.expect(200).body == content, "cut at {cut} of {length}");
    }
    assert!(resumed > 3, "hardly anything was ever kept: {resumed} of 30");
    assert_eq!(running.world.unfinished(), Vec::<std::path::PathBuf>::new());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_misses_the_last_answer_finds_the_blob_or_sends_it_again() {
    let mut random = Random::new();
    let running = Running::new().await;
    let ann = running.world.client("ann").await;
    for round in 0..40 {
        let content = random.bytes(50_000);
        let (sum, length) = (digest(&content), content.len());
        let upload = ann.start_upload(NAME).await;
        let close = format!("{upload}?digest={sum}");
        let head = format!("PUT {close} HTTP/1.1\r\ncontent-length: {length}\r\n");
        send_and_vanish(&running, &ann, &head, &content, false).await;
        let blob = format!("/v2/{NAME}/blobs/{sum}");
        // A client that comes back repeats what it got no answer to, and says where it belongs.
        let range = format!("0-{}", length - 1);
        until("the end of the upload", async || {
            let headers = [("content-range", range.as_str())];
            let mut again = ann.send(Method::PUT, &close, &headers, content.clone()).await;
            if again.status == 416 {
                again = ann.send(Method::PUT, &close, &[], "").await;
            }
            match again.status.as_u16() {
                409 => None,
                // The first goes on although nobody listens. Its upload ends a moment before its blob
                // can be seen.
                404 => (ann.head(&blob).await.status == 200).then_some(()),
                _ => {
                    let _ = again.expect(201);
                    Some(())
                }
            }
        })
        .await;
        assert!(ann.get(&blob).await.expect(200).body == content);
        let _ = ann.push_blob(NAME, &content).await;
        assert_eq!(running.world.objects().len(), round + 1, "one object for each content");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_misses_the_answer_to_a_manifest_sends_it_again() {
    let running = Running::new().await;
    let ann = running.world.client("ann").await;
    for round in 0..10 {
        let image = ann.push_image(NAME, "base", &format!("seed {round}")).await;
        let path = format!("/v2/{NAME}/manifests/tag-{round}");
        let (kind, length) = (image.media_type, image.bytes.len());
        let head =
            format!("PUT {path} HTTP/1.1\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n");
        send_and_vanish(&running, &ann, &head, &image.bytes, false).await;
        let again = ann.put_manifest(NAME, &format!("tag-{round}"), &image).await.expect(201);
        assert_eq!(again.header("docker-content-digest"), image.digest());
        assert_eq!(ann.get(&path).await.expect(200).body, image.bytes);
    }
    running.stop().await;
}
