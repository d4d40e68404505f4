//! Clients that hold connections and move next to nothing, over real sockets.

use crate::harness::{Settings, World};
use crate::serve::{DEADLINE, Running, rest, statuses};
use axum::body::Body;
use axum::http::{Method, Request, header};
use standpipe_server::http::pace::Pace;
use standpipe_server::http::serve::ServeOptions;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tower::ServiceExt as _;

/// Each pause of a drip; far below every patience here.
const PAUSE: Duration = Duration::from_millis(20);
const LAST: &str = "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

fn impatient() -> ServeOptions {
    let pace = Pace { patience: Duration::from_millis(800), bytes_per_second: 1024 };
    ServeOptions { pace, most_connections: 1, ..ServeOptions::default() }
}

/// More than the buffers of both sockets hold.
async fn large_blob(world: &World) -> (String, String) {
    let ann = world.client("ann").await;
    let sum = ann.push_blob("acme/shop", &vec![7; 24 << 20]).await;
    (format!("/v2/acme/shop/blobs/{sum}"), ann.authorization.expect("a token"))
}

/// Connects with a small buffer, asks for a large blob and reads the beginning of the answer.
async fn slow_reader(running: &Running) -> TcpStream {
    let (path, authorization) = large_blob(&running.world).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(8192).expect("a small buffer");
    let mut slow = socket.connect(running.address).await.expect("a connection");
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\n\r\n");
    slow.write_all(request.as_bytes()).await.expect("a request");
    let mut first = [0; 100];
    slow.read_exact(&mut first).await.expect("the answer begins");
    slow
}

/// There is only one permit: a request is answered as soon as whoever held it was given up.
async fn there_is_room_again(running: &Running) {
    assert_eq!(statuses(&running.talk(LAST).await), [200]);
}

#[tokio::test]
async fn a_reader_that_does_not_read_makes_room_for_the_next() {
    let running = Running::with(impatient()).await;
    let slow = slow_reader(&running).await;
    there_is_room_again(&running).await;
    drop(slow);
    running.stop().await;
}

#[tokio::test]
async fn a_reader_that_reads_a_byte_now_and_then_makes_room_for_the_next() {
    let running = Running::with(impatient()).await;
    let mut slow = slow_reader(&running).await;
    let dripping = tokio::spawn(async move {
        while slow.read_u8().await.is_ok() {
            tokio::time::sleep(PAUSE).await;
        }
    });
    there_is_room_again(&running).await;
    dripping.abort();
    running.stop().await;
}

#[tokio::test]
async fn a_body_that_comes_byte_by_byte_is_cut_off_and_kept_up_to_there() {
    let options = ServeOptions { most_connections: 100, ..impatient() };
    let running = Running::with(options).await;
    let ann = running.world.client("ann").await;
    let authorization = ann.authorization.clone().expect("a token");
    let upload = ann.start_upload("acme/shop").await;
    let head = format!(
        "PATCH {upload} HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\ncontent-length: 1000000\r\n\r\n"
    );
    let (mut reads, mut writes) = running.connect().await.into_split();
    writes.write_all(head.as_bytes()).await.expect("a head");
    let dripping = tokio::spawn(async move {
        while writes.write_all(b"x").await.is_ok() {
            tokio::time::sleep(PAUSE).await;
        }
    });
    let mut answer = Vec::new();
    let read = tokio::time::timeout(DEADLINE, reads.read_to_end(&mut answer)).await;
    let _ = read.expect("it is cut off");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert_eq!(statuses(&answer), [408], "{answer}");
    dripping.abort();
    let kept = ann.get(&upload).await.expect(204);
    assert!(kept.header("range").starts_with("0-"), "{}", kept.header("range"));
    running.stop().await;
}

#[tokio::test]
async fn heads_that_come_byte_by_byte_are_cut_off() {
    for beginning in ["GET / HTTP/1.1\r\nx: ", "", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let head = Duration::from_millis(400);
        let running = Running::with(ServeOptions { head, ..impatient() }).await;
        let mut slow = running.connect().await;
        slow.write_all(beginning.as_bytes()).await.expect("a beginning");
        let dripping = tokio::spawn(async move {
            while slow.write_all(b"G").await.is_ok() {
                tokio::time::sleep(PAUSE).await;
            }
        });
        there_is_room_again(&running).await;
        dripping.abort();
        running.stop().await;
    }
}

/// A client that speaks HTTP/2 on one connection and answers every ping.
fn http2() -> reqwest::Client {
    let client = reqwest::Client::builder().http2_prior_knowledge().no_proxy();
    client.http2_initial_stream_window_size(65_536).build().expect("a client")
}

#[tokio::test]
async fn a_connection_of_http_2_that_asks_for_nothing_makes_room_for_the_next() {
    let running = Running::with(impatient()).await;
    let client = http2();
    let url = format!("http://{}/healthz", running.address);
    let answer = client.get(url).send().await.expect("an answer");
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    there_is_room_again(&running).await;
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn an_answer_of_http_2_that_nobody_reads_makes_room_for_the_next() {
    let running = Running::with(impatient()).await;
    let (path, authorization) = large_blob(&running.world).await;
    let url = format!("http://{}{path}", running.address);
    let request = http2().get(url).header("authorization", authorization);
    let mut answer = request.send().await.expect("an answer");
    let _ = answer.chunk().await.expect("the answer begins");
    there_is_room_again(&running).await;
    drop(answer);
    running.stop().await;
}

#[tokio::test]
async fn an_upload_that_takes_longer_than_the_patience_is_not_taken_for_an_idle_connection() {
    let running = Running::with(ServeOptions { most_connections: 100, ..impatient() }).await;
    let ann = running.world.client("ann").await;
    let authorization = ann.authorization.clone().expect("a token");
    let upload = ann.start_upload("acme/shop").await;
    let pieces = futures_util::stream::unfold(0, |number| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        (number < 20).then(|| (Ok::<_, std::io::Error>(vec![7_u8; 1000]), number + 1))
    });
    let url = format!("http://{}{upload}", running.address);
    let request = http2().patch(url).header("authorization", authorization);
    let answer = request.body(reqwest::Body::wrap_stream(pieces)).send().await.expect("an answer");
    assert_eq!(answer.status(), 202);
    assert_eq!(answer.headers()["range"], "0-19999");
    running.stop().await;
}

#[tokio::test]
async fn one_source_cannot_take_all_connections() {
    let options = ServeOptions {
        most_connections: 100,
        most_connections_of_a_source: 3,
        ..ServeOptions::default()
    };
    let running = Running::with(options).await;
    let connect_from = async |last| {
        let socket = TcpSocket::new_v4().expect("a socket");
        let source = std::net::SocketAddr::from(([127, 0, 0, last], 0));
        socket.bind(source).expect("an address of this machine");
        socket.connect(running.address).await.expect("a connection")
    };
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = connect_from(3).await;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("a request");
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.expect("an answer");
        held.push(stream);
    }
    let mut fourth = connect_from(3).await;
    let _ = fourth.write_all(LAST.as_bytes()).await;
    assert_eq!(rest(&mut fourth).await, "", "it has all that it may have");
    let mut other = connect_from(4).await;
    other.write_all(LAST.as_bytes()).await.expect("a request");
    assert_eq!(statuses(&rest(&mut other).await), [200]);
    drop(held);
    let again = async {
        loop {
            let mut stream = connect_from(3).await;
            let _ = stream.write_all(LAST.as_bytes()).await;
            if statuses(&rest(&mut stream).await) == [200] {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, again).await.expect("what was closed can be opened again");
    running.stop().await;
}

#[tokio::test]
async fn pulls_and_pushes_beyond_the_open_files_are_told_to_come_again() {
    let world = World::with(Settings { files_held: 2, ..Settings::default() }).await;
    let (path, authorization) = large_blob(&world).await;
    let begin = async || {
        let request = Request::get(&path).header(header::AUTHORIZATION, &authorization);
        let request = request.body(Body::empty()).expect("a legal request");
        let response = world.router.clone().oneshot(request).await.expect("the router answers");
        assert_eq!(response.status(), 200);
        response
    };
    // Two who do not read on.
    let slow = [begin().await, begin().await];
    let ann = world.holder(&authorization);
    let pull = ann.get(&path).await.refused(503, "UNAVAILABLE");
    assert_eq!(pull.header("retry-after"), "1");
    let upload = ann.start_upload("acme/shop").await;
    let push = ann.send(Method::PATCH, &upload, &[], "bytes").await.refused(503, "UNAVAILABLE");
    assert_eq!(push.header("retry-after"), "1");
    drop(slow);
    let _ = ann.get(&path).await.expect(200);
    let _ = ann.send(Method::PATCH, &upload, &[], "bytes").await.expect(202);
}
