//! A pull at the reader's own pace: one connection whose small receive buffer is read only when the test
//! says so, so that the server has to wait with nearly all of the blob.

use std::net::SocketAddr;

use base64::Engine as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::payload::Payload;
use crate::process::LIMIT;
use crate::rest::Credential;

/// A `GET` of a blob that has been answered, and whose body waits to be read.
#[derive(Debug)]
pub struct SlowPull {
    stream: TcpStream,
    payload: Payload,
    offset: u64,
}

impl SlowPull {
    /// Asks for a blob and reads the answer's head.
    ///
    /// # Panics
    /// When the answer is not the whole blob.
    pub async fn begin(
        authority: &str,
        credential: &Credential,
        name: &str,
        digest: &str,
        payload: Payload,
    ) -> Self {
        let Credential { username, secret } = credential;
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{secret}"));
        let request = format!(
            "GET /v2/{name}/blobs/{digest} HTTP/1.1\r\nhost: {authority}\r\nauthorization: Basic {pair}\r\n\r\n"
        );
        let address: SocketAddr = authority.parse().expect("servers under test have an address");
        let socket = TcpSocket::new_v4().expect("the machine has sockets");
        socket.set_recv_buffer_size(RECEIVE_BUFFER).expect("a buffer may be small");
        let mut stream = socket.connect(address).await.expect("the server listens");
        stream.write_all(request.as_bytes()).await.expect("the server reads requests");
        let head = read_head(&mut stream).await;
        let length = format!("content-length: {}\r\n", payload.length());
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains(&length), "{head}");
        Self { stream, payload, offset: 0 }
    }

    /// Reads so many bytes more, or those that are left, and holds them against what was pushed.
    ///
    /// # Panics
    /// When they differ or do not come.
    pub async fn read(&mut self, count: u64) {
        let end = (self.offset + count).min(self.payload.length());
        let length = usize::try_from(end - self.offset).expect("tests read small pieces");
        let mut piece = vec![0; length];
        let read = timeout(LIMIT, self.stream.read_exact(&mut piece)).await;
        let read = read.unwrap_or_else(|_| panic!("nothing from {} on", self.offset));
        read.unwrap_or_else(|error| panic!("no bytes from {} on: {error}", self.offset));
        let same = piece == self.payload.range(self.offset, end);
        assert!(same, "other bytes than were pushed in {}..{end}", self.offset);
        self.offset = end;
    }
}

/// Byte by byte, so that nothing of the body is read.
async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        assert!(head.len() < MOST_OF_A_HEAD, "{}", String::from_utf8_lossy(&head));
        head.push(stream.read_u8().await.expect("the server answers"));
    }
    String::from_utf8(head).expect("a head is text")
}

/// What the kernel takes from the server before anybody reads.
const RECEIVE_BUFFER: u32 = 16 * 1024;
const MOST_OF_A_HEAD: usize = 8 * 1024;
