//! A bare HTTP/1.1 connection: bytes as the test writes them, from the address that it chooses.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// Longer than any answer takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
/// The most headers of an answer.
const HEADERS: usize = 64;

/// A connection and what was read of it beyond the last answer.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

/// An answer with its headers as they were written.
#[derive(Debug)]
pub struct WireAnswer {
    /// HTTP status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl WireAnswer {
    /// A header's value, or nothing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(found, _)| found == name);
        found.map_or("", |(_, value)| value)
    }
}

impl Wire {
    /// Connects from an address of this machine.
    ///
    /// # Panics
    /// When that is not possible.
    pub async fn connect_from(source: IpAddr, authority: &str) -> Self {
        let socket = if source.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let socket = socket.expect("a socket");
        socket.bind(SocketAddr::new(source, 0)).expect("an address of this machine");
        let address = authority.parse().expect("an address with a port");
        let stream = timeout(LIMIT, socket.connect(address)).await.expect("a connection in time");
        Self { stream: stream.expect("a connection"), read: Vec::new() }
    }

    /// Connects from 127.0.0.1.
    ///
    /// # Panics
    /// When that is not possible.
    pub async fn connect(authority: &str) -> Self {
        Self::connect_from(IpAddr::from([127, 0, 0, 1]), authority).await
    }

    /// Writes bytes. That the other end has closed shows when the answer is read.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Reads one answer; `None` if the connection ended instead.
    ///
    /// # Panics
    /// When there is none in time, or it is no HTTP.
    pub async fn answer(&mut self) -> Option<WireAnswer> {
        loop {
            if let Some((answer, length)) = parse(&self.read) {
                self.read.drain(..length);
                return Some(answer);
            }
            let mut piece = vec![0; 64 << 10];
            let read = timeout(LIMIT, self.stream.read(&mut piece)).await;
            match read.expect("an answer in time") {
                Ok(0) | Err(_) => return None,
                Ok(length) => self.read.extend_from_slice(&piece[..length]),
            }
        }
    }

    /// Reads until the other end closes; what came is returned.
    ///
    /// # Panics
    /// When it does not close in time.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut all = std::mem::take(&mut self.read);
        let read = timeout(LIMIT, self.stream.read_to_end(&mut all)).await;
        // A connection that is reset has said what it had to say.
        let _ = read.expect("the other end closes in time");
        all
    }
}

/// The first answer in some bytes and its length, once all of it is there.
fn parse(bytes: &[u8]) -> Option<(WireAnswer, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(bytes).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&bytes[..bytes.len().min(200)]))
    });
    let httparse::Status::Complete(head) = parsed else { return None };
    let status = response.code.unwrap_or_default();
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let headers: Vec<_> = response
        .headers
        .iter()
        .map(|header| (header.name.to_ascii_lowercase(), text(header.value)))
        .collect();
    let mut answer = WireAnswer { status, headers, body: Vec::new() };
    let length = answer.header("content-length").parse().unwrap_or(0);
    answer.body = bytes.get(head..head + length)?.to_vec();
    Some((answer, head + length))
}
