//! Chunks in the wrong order, from several writers at once, and at the ends of the numbers.

use crate::harness::{Answer, Client, Random, Settings, World, digest};
use axum::body::Body;
use axum::http::Method;
use futures_util::stream;
use standpipe_server::registry::Limits;
use std::collections::BTreeMap;
use tokio::task::JoinSet;

const NAME: &str = "acme/shop";

async fn chunk(client: &Client, upload: &str, at: usize, content: &[u8]) -> Answer {
    let range = format!("{at}-{}", at + content.len() - 1);
    let headers = [("content-range", range.as_str())];
    client.send(Method::PATCH, upload, &headers, content.to_vec()).await
}

/// Where an upload that is not empty ends, by an answer about it.
fn end(answer: &Answer) -> usize {
    let range = answer.header("range").strip_prefix("0-").expect("a range");
    range.parse::<usize>().expect("a number") + 1
}

#[tokio::test]
async fn chunks_in_any_order_make_the_blob_or_are_refused_with_the_true_range() {
    let mut random = Random::new();
    let world = World::new().await;
    let ann = world.client("ann").await;
    for _ in 0..5 {
        let content = random.bytes(20_000);
        let upload = ann.start_upload(NAME).await;
        let mut stored = end(&chunk(&ann, &upload, 0, &content[..100]).await.expect(202));
        while stored < content.len() {
            // In one of three cases where it belongs; else a gap, an overlap, or all of it again.
            let at = match random.between(0, 3) {
                0 => stored,
                _ => random.between(0, content.len()),
            };
            let to = content.len().min(at + random.between(1, 4000));
            let answer = chunk(&ann, &upload, at, &content[at..to]).await;
            if at == stored {
                stored = end(&answer.expect(202));
                assert_eq!(stored, to);
            } else {
                let refused = answer.refused(416, "BLOB_UPLOAD_INVALID");
                assert_eq!(end(&refused), stored, "{at}-{to}");
            }
        }
        let path = format!("{upload}?digest={}", digest(&content));
        let _ = ann.send(Method::PUT, &path, &[], "").await.expect(201);
        let blob = format!("/v2/{NAME}/blobs/{}", digest(&content));
        assert!(ann.get(&blob).await.expect(200).body == content);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_writers_each_chunk_is_whole_or_not_there() {
    let mut random = Random::new();
    let world = World::new().await;
    let ann = world.client("ann").await;
    let upload = ann.start_upload(NAME).await;
    let first = chunk(&ann, &upload, 0, b"begun").await.expect(202);
    let mut writers = JoinSet::new();
    for writer in 1..=8 {
        let (ann, upload, mut at) = (ann.clone(), upload.clone(), end(&first));
        let lengths: Vec<_> = (0..5).map(|_| random.between(1, 5000)).collect();
        writers.spawn(async move {
            let (mut won, mut lost) = (Vec::new(), 0);
            for length in lengths {
                let content = vec![writer; length];
                loop {
                    let answer = chunk(&ann, &upload, at, &content).await;
                    match answer.status.as_u16() {
                        202 => {
                            at = end(&answer);
                            won.push((at - length, content));
                            break;
                        }
                        409 => tokio::task::yield_now().await,
                        _ => at = end(&answer.refused(416, "BLOB_UPLOAD_INVALID")),
                    }
                    lost += 1;
                }
            }
            (won, lost)
        });
    }
    let (won, lost): (Vec<_>, Vec<usize>) = writers.join_all().await.into_iter().unzip();
    let won: BTreeMap<usize, Vec<u8>> =
        won.into_iter().flatten().chain([(0, b"begun".to_vec())]).collect();
    let mut content = Vec::new();
    for (at, chunk) in &won {
        assert_eq!(*at, content.len(), "two chunks were acknowledged for one place");
        content.extend_from_slice(chunk);
    }
    assert_eq!(won.len(), 1 + 8 * 5, "each writer came to its end");
    // All but the first to come begin where the upload does not end any more.
    assert!(lost.iter().sum::<usize>() >= 7, "nobody got in anybody's way: {lost:?}");
    let path = format!("{upload}?digest={}", digest(&content));
    let _ = ann.send(Method::PUT, &path, &[], "").await.expect(201);
}

#[tokio::test]
async fn ranges_at_the_end_of_the_numbers_are_refused_and_hold_nothing() {
    let limits = Limits { blob_bytes: Some(1 << 20), ..Limits::default() };
    for limits in [Limits::default(), limits] {
        let limited = limits.blob_bytes.is_some();
        let world = World::with(Settings { limits, ..Settings::default() }).await;
        let ann = world.client("ann").await;
        let upload = ann.start_upload(NAME).await;
        let _ = chunk(&ann, &upload, 0, b"0123").await.expect(202);
        let streamed = || Body::from_stream(stream::iter([Ok::<_, std::io::Error>("4567")]));
        for (range, status) in [
            ("4-18446744073709551614", if limited { 413 } else { 400 }),
            ("18446744073709551613-18446744073709551614", 416),
            ("4-18446744073709551615", 400),
            ("4-18446744073709551616", 400),
            ("4-340282366920938463463374607431768211456", 400),
            ("-4", 400),
            ("+4-7", 400),
            ("4-7-8", 400),
            ("4 - 7", 400),
            ("bytes 4-7", 400),
        ] {
            let before = ann.get(&upload).await.expect(204);
            let headers = [("content-range", range)];
            let answer = ann.send(Method::PATCH, &upload, &headers, streamed()).await;
            assert_eq!(answer.status.as_u16(), status, "{range}: {}", answer.text());
            if status == 416 {
                assert_eq!(end(&answer), end(&before), "{range}");
            }
        }
        assert!(
            world
                .unfinished()
                .iter()
                .all(|path| { std::fs::metadata(path).expect("is there").len() < 1 << 16 })
        );
    }
}
