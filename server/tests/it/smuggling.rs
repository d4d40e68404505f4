//! Bytes that two readers could take for different requests: refused, or one request for sure.
//!
//! Each case is sent on a connection that would stay open, with a request behind it that an attacker
//! would like to have taken for one of somebody else's. `/nowhere` gets 404, so a 404 says that the
//! server read a request where there may be none.

use crate::serve::{DEADLINE, Running, rest, statuses};
use std::fmt::Write as _;
use tokio::io::AsyncWriteExt as _;

const INNER: &str = "GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n";

/// A head whose body cannot be told for sure.
fn ambiguous() -> Vec<String> {
    let length = INNER.len();
    [
        format!("content-length: {length}\r\ntransfer-encoding: chunked\r\n"),
        format!("transfer-encoding: chunked\r\ncontent-length: {length}\r\n"),
        "transfer-encoding: chunked\r\ncontent-length: x\r\n".to_owned(),
        format!("content-length: 0\r\ncontent-length: {length}\r\n"),
        format!("content-length: {length}\r\ncontent-length: 0\r\n"),
        format!("content-length: {length}, 0\r\n"),
        format!("content-length: {length}, {length}\r\n"),
        format!("content-length: +{length}\r\n"),
        format!("content-length: 0x{length:x}\r\n"),
        format!("content-length: {length} 1\r\n"),
        format!("content-length: {length}\0\r\n"),
        format!("content-length: {length}\r\n\tx\r\n"),
        "content-length: -1\r\n".to_owned(),
        "content-length: 1e1\r\n".to_owned(),
        "content-length: 5.0\r\n".to_owned(),
        "content-length:\r\n".to_owned(),
        "content-length: 99999999999999999999999\r\n".to_owned(),
        "content-length : 5\r\n".to_owned(),
        "content-length\t: 5\r\n".to_owned(),
        " content-length: 5\r\n".to_owned(),
        "x: a\r\n content-length: 5\r\n".to_owned(),
        "transfer-encoding: chunked, identity\r\n".to_owned(),
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n".to_owned(),
        "transfer-encoding: identity\r\n".to_owned(),
        "transfer-encoding: gzip\r\n".to_owned(),
        "transfer-encoding: xchunked\r\n".to_owned(),
        "transfer-encoding: chunkedx\r\n".to_owned(),
        "transfer-encoding: \"chunked\"\r\n".to_owned(),
        "transfer-encoding: chunked;q=1\r\n".to_owned(),
        "transfer-encoding:\r\n".to_owned(),
        "transfer-encoding : chunked\r\n".to_owned(),
        " transfer-encoding: chunked\r\n".to_owned(),
        "x: a\r\n transfer-encoding: chunked\r\n".to_owned(),
        "transfer-encoding: chun\rked\r\n".to_owned(),
        "transfer_encoding: chunked\r\n\0: x\r\n".to_owned(),
    ]
    .into()
}

#[tokio::test]
async fn a_head_that_can_be_read_in_two_ways_is_one_request_at_most_and_the_last() {
    let running = Running::new().await;
    for head in ambiguous() {
        let text = format!("POST /token HTTP/1.1\r\nhost: x\r\n{head}\r\n0\r\n\r\n{INNER}");
        let answer = running.talk(text).await;
        let found = statuses(&answer);
        assert!(found.len() <= 1, "{head:?}: {answer}");
        assert!(found.iter().all(|status| (400..500).contains(status)), "{head:?}: {answer}");
        assert!(!found.contains(&404), "{head:?}: {answer}");
    }
    running.stop().await;
}

#[tokio::test]
async fn the_body_of_a_chunked_request_is_never_a_request_however_its_chunks_are_written() {
    let running = Running::new().await;
    let size = INNER.len();
    let lots = "x".repeat(64 << 10);
    for (what, body) in [
        ("a size with a sign", format!("+{size:x}\r\n{INNER}\r\n0\r\n\r\n")),
        ("a size with a prefix", format!("0x{size:x}\r\n{INNER}\r\n0\r\n\r\n")),
        ("no size", format!("\r\n{INNER}\r\n0\r\n\r\n")),
        ("a size of seventeen digits", format!("1{:016x}\r\n{INNER}\r\n0\r\n\r\n", size)),
        ("a bare line feed behind the size", format!("{size:x}\n{INNER}\r\n0\r\n\r\n")),
        ("a bare return behind the size", format!("{size:x}\r{INNER}\r\n0\r\n\r\n")),
        ("a line feed in an extension", format!("{size:x};a\n{INNER}\r\n0\r\n\r\n")),
        ("no end of the chunk", format!("{size:x}\r\n{INNER}0\r\n\r\n")),
        ("a longer chunk than its size", format!("1\r\n{INNER}\r\n0\r\n\r\n")),
        ("a huge extension", format!("{size:x};{lots}\r\n{INNER}\r\n0\r\n\r\n")),
        ("a huge trailer", format!("0\r\nx: {lots}\r\n\r\n{INNER}")),
        ("a trailer without a colon", format!("0\r\n{INNER}")),
    ] {
        let text = format!(
            "POST /token HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\ntransfer-encoding: chunked\r\n\r\n{body}"
        );
        let answer = running.talk(text).await;
        assert!(statuses(&answer).len() <= 1, "{what}: {answer}");
        assert!(!statuses(&answer).contains(&404), "{what}: {answer}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_chunked_upload_with_extensions_and_a_trailer_is_stored_as_it_was_meant() {
    let running = Running::new().await;
    let ann = running.world.client("ann").await;
    let authorization = ann.authorization.clone().expect("a token");
    let upload = ann.start_upload("acme/shop").await;
    let (digest, length) = (crate::harness::digest(INNER.as_bytes()), INNER.len());
    let text = format!(
        "PUT {upload}?digest={digest} HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\ntransfer-encoding: Chunked\r\ntrailer: x\r\n\r\n{length:X} ;a=\"b\"\r\n{INNER}\r\n0\r\nx: y\r\ncontent-length: 7\r\n\r\nGET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    );
    let answer = running.talk(text).await;
    assert_eq!(statuses(&answer), [201, 200], "{answer}");
    running.stop().await;
}

#[tokio::test]
async fn a_body_that_nobody_reads_is_never_a_request() {
    let running = Running::new().await;
    let length = INNER.len();
    for (method, path) in [
        ("GET", "/healthz"),
        ("HEAD", "/healthz"),
        ("GET", "/v2/"),
        ("PUT", "/v2/acme/shop/manifests/latest"),
        ("DELETE", "/v2/acme/shop/manifests/latest"),
        ("PATCH", "/api/v1/workspaces/acme"),
        ("OPTIONS", "/v2/"),
    ] {
        let mut text = String::new();
        for _ in 0..3 {
            let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\n");
            write!(text, "{head}content-length: {length}\r\n\r\n{INNER}").expect("memory");
            write!(
                text,
                "{head}transfer-encoding: chunked\r\n\r\n{length:x}\r\n{INNER}\r\n0\r\n\r\n"
            )
            .expect("memory");
        }
        text.push_str("GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = running.talk(text).await;
        let found = statuses(&answer);
        assert!((1..=7).contains(&found.len()), "{method} {path}: {answer}");
        assert!(!answer.contains("page"), "{method} {path}: {answer}");
    }
    running.stop().await;
}

#[tokio::test]
async fn lines_that_are_no_http_are_refused_and_end_the_connection() {
    let running = Running::new().await;
    for odd in [
        "G\0T / HTTP/1.1\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET  /\r\n\r\n",
        "GET / HTTP/1.1 x\r\n\r\n",
        "GET /nowhere\r\n\r\n",
        "GET /a b HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /\u{7f} HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /readyz HTTP/1.1\r\nhost: x\r\nx\0y: z\r\n\r\n",
        "GET /readyz HTTP/1.1\r\nhost: x\r\nx y: z\r\n\r\n",
        "GET /readyz HTTP/1.1\r\nhost: x\r\n: z\r\n\r\n",
        "GET /readyz HTTP/1.1\r\nhost: x\r\nno colon\r\n\r\n",
        "GET /readyz HTTP/1.1\r\nhost: x\r\nx: a\rb\r\n\r\n",
        "GET /readyz HTTP/1.1\rhost: x\r\r",
        "\u{1}\u{2}\u{3}\r\n\r\n",
        "\r\n \r\nGET / HTTP/1.1\r\n\r\n",
    ] {
        let answer = running.talk(format!("{odd}{INNER}")).await;
        let found = statuses(&answer);
        assert!(found.len() <= 1 && found.iter().all(|status| *status == 400), "{odd:?}: {answer}");
    }
    running.stop().await;
}

#[tokio::test]
async fn bare_line_feeds_between_headers_do_not_hide_a_length() {
    let running = Running::new().await;
    // Allowed to be read as line ends (RFC 9112, 2.2); then they count for every header.
    let text = format!(
        "POST /token HTTP/1.1\r\nhost: x\ncontent-length: {}\n\r\n{INNER}GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        INNER.len()
    );
    let found = statuses(&running.talk(text).await);
    assert!(!found.contains(&404), "{found:?}");
    running.stop().await;
}

#[tokio::test]
async fn a_refusal_in_the_middle_of_fifty_pipelined_requests_keeps_their_order() {
    let running = Running::new().await;
    let mut text = String::new();
    let mut expected = Vec::new();
    for number in 0..50 {
        let (path, status) = match number % 5 {
            0 => ("/v2/", 401),
            1 => ("/nowhere", 404),
            2 => ("/v2/A", 404),
            _ => ("/healthz", 200),
        };
        let last = if number == 49 { "connection: close\r\n" } else { "" };
        write!(text, "GET {path} HTTP/1.1\r\nhost: x\r\n{last}\r\n").expect("memory");
        expected.push(status);
    }
    assert_eq!(statuses(&running.talk(text).await), expected);
    running.stop().await;
}

#[tokio::test]
async fn nothing_is_read_of_a_body_before_the_right_to_send_it_is_known() {
    let running = Running::new().await;
    let path = "/v2/acme/shop/blobs/uploads/0f8fad5b-d9cb-469f-a165-70867728950e";
    for (method, path) in [("PATCH", path), ("PUT", "/v2/acme/shop/manifests/latest")] {
        let mut stream = running.connect().await;
        // More than any buffer holds: whoever is refused must learn it without sending it all.
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 100000000\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.expect("a head");
        let answer = tokio::time::timeout(DEADLINE, rest(&mut stream)).await;
        let answer = answer.expect("the connection is closed, as the body never comes");
        assert_eq!(statuses(&answer), [401], "{answer}");
        assert!(!answer.contains("100 Continue"), "{answer}");
    }
    running.stop().await;
}
