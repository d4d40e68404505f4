//! The shell: real sockets, wrong bytes, connections that make no progress, shutdown.

use crate::harness::{World, digest};
use standpipe_server::http::serve::{ServeOptions, serve};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Longer than any test should take, short enough to notice.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Running {
    pub(crate) world: World,
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
}

impl Running {
    pub(crate) async fn new() -> Self {
        Self::with(ServeOptions::default()).await
    }

    pub(crate) async fn with(options: ServeOptions) -> Self {
        let world = World::new().await;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move {
            let _ = stopped.await;
        };
        let served = tokio::spawn(serve(listener, Arc::clone(&world.app), options, None, shutdown));
        Self { world, address, stop, served }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("a connection")
    }

    /// Sends bytes and reads until the server closes.
    pub(crate) async fn talk(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        // The server may close before it has read everything.
        let _ = stream.write_all(bytes.as_ref()).await;
        rest(&mut stream).await
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).expect("it still serves");
        let served = tokio::time::timeout(DEADLINE, self.served).await.expect("it ends in time");
        served.expect("no panic").expect("no error");
    }
}

pub(crate) async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A connection that is reset has said what it had to say.
    let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
    let _ = read.expect("the server closes in time");
    String::from_utf8_lossy(&answer).into_owned()
}

/// The status codes of all answers in some bytes.
pub(crate) fn statuses(text: &str) -> Vec<u16> {
    let lines = text.split("HTTP/1.").skip(1);
    lines.filter_map(|line| line.get(2..5)?.parse().ok()).collect()
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_and_bodies_are_never_requests() {
    let running = Running::new().await;
    let ann = running.world.client("ann").await;
    let authorization = ann.authorization.clone().expect("a token");
    let upload = ann.start_upload("acme/shop").await;
    let mut text = String::new();
    for number in 0..20 {
        let path = if number == 7 { "/v2/" } else { "/healthz" };
        text.push_str(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"));
    }
    let body = "GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n";
    text.push_str(&format!(
        "PUT {upload}?digest={} HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\ncontent-length: {}\r\n\r\n{body}",
        digest(body.as_bytes()),
        body.len(),
    ));
    text.push_str("GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let mut expected = vec![200; 20];
    expected[7] = 401;
    expected.extend([201, 200]);
    assert_eq!(statuses(&running.talk(text).await), expected);
    running.stop().await;
}

#[tokio::test]
async fn a_client_that_waits_for_permission_is_refused_before_it_sends_anything() {
    let running = Running::new().await;
    let path = "/v2/acme/shop/blobs/uploads/0f8fad5b-d9cb-469f-a165-70867728950e";
    let answer = running
        .talk(format!(
            "PATCH {path} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1000000\r\nconnection: close\r\n\r\n"
        ))
        .await;
    assert_eq!(statuses(&answer), [401], "{answer}");
    assert!(answer.to_lowercase().contains("www-authenticate: bearer"), "{answer}");
    running.stop().await;
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let running = Running::new().await;
    for (what, head, status) in [
        ("a header", format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(64 << 10)), 431),
        ("a huge header", format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(1 << 20)), 431),
        ("headers", format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(200)), 431),
        ("a URL", format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(60 << 10)), 414),
        ("a huge URL", format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(100 << 10)), 414),
    ] {
        let mut stream = running.connect().await;
        let _ = stream.write_all(head.as_bytes()).await;
        let mut answer = vec![0; 12];
        let read = stream.read_exact(&mut answer);
        let read = tokio::time::timeout(DEADLINE, read).await.expect("an answer in time");
        // While megabytes are still under way, the answer may be lost to a reset.
        if read.is_ok() {
            let answer = String::from_utf8_lossy(&answer).into_owned();
            assert_eq!(statuses(&answer), [status], "{what}: {answer}");
        } else {
            assert!(what.contains("huge"), "{what}: no answer");
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn a_body_that_ends_early_keeps_what_arrived() {
    let running = Running::new().await;
    let ann = running.world.client("ann").await;
    let authorization = ann.authorization.clone().expect("a token");
    let upload = ann.start_upload("acme/shop").await;
    let head = format!(
        "PATCH {upload} HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\ncontent-length: 1000\r\n\r\n0123456789"
    );
    let mut stream = running.connect().await;
    stream.write_all(head.as_bytes()).await.expect("a request");
    drop(stream);
    let kept = async {
        loop {
            let status = ann.get(&upload).await;
            if status.status == 204 && status.header("range") == "0-9" {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, kept).await.expect("what arrived is kept");
    running.stop().await;
}

#[tokio::test]
async fn connections_without_progress_are_closed() {
    let head = Duration::from_millis(200);
    let options = ServeOptions { head, ..ServeOptions::default() };
    let running = Running::with(options).await;
    assert_eq!(running.talk("").await, "", "silence");
    assert_eq!(running.talk("PRI * HTTP/2.0\r\n").await, "", "the beginning of HTTP/2");
    let half = running.talk("GET / HTTP/1.1\r\nhost:").await;
    assert!(statuses(&half).iter().all(|status| *status == 408 || *status == 400), "{half}");
    let idle = running.talk("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(statuses(&idle), [200], "an answer, then silence");
    running.stop().await;
}

#[tokio::test]
async fn requests_in_flight_end_before_the_server_does() {
    let running = Running::new().await;
    let ann = running.world.client("ann").await;
    let authorization = ann.authorization.clone().expect("a token");
    let upload = ann.start_upload("acme/shop").await;
    let mut stream = running.connect().await;
    let head = format!(
        "PUT {upload}?digest={} HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\ncontent-length: 10\r\nexpect: 100-continue\r\n\r\n",
        digest(b"0123456789"),
    );
    stream.write_all(head.as_bytes()).await.expect("half a request");
    let mut go_on = [0; 25];
    let asked = tokio::time::timeout(DEADLINE, stream.read_exact(&mut go_on)).await;
    asked.expect("in time").expect("the body is asked for");
    assert_eq!(&go_on[..], b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"01234").await.expect("half a body");
    let Running { world, address, stop, served } = running;
    stop.send(()).expect("it still serves");
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, refused).await.expect("no new connections");
    stream.write_all(b"56789").await.expect("the other half");
    assert_eq!(statuses(&rest(&mut stream).await), [201]);
    let ended = tokio::time::timeout(DEADLINE, served).await.expect("in time");
    ended.expect("no panic").expect("no error");
    drop(world);
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_keep_the_server_for_ever() {
    let drain = Duration::from_millis(200);
    let running = Running::with(ServeOptions { drain, ..ServeOptions::default() }).await;
    let mut stream = running.connect().await;
    let head = "POST /token HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: 10\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("half a request");
    running.stop().await;
    assert_eq!(rest(&mut stream).await, "");
}
