//! HTTP/1.1 over one blocking connection, with as little work as possible between two requests.
//!
//! The load of a benchmark shares the processors with the server that it measures; a full client would
//! measure itself. Invariant: an answer is read to its end before the next request is sent.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

/// Largest answer head, in bytes.
const HEAD: usize = 64 << 10;
/// Bytes read or written at once.
const PIECE: usize = 256 << 10;

/// A connection with the headers that each of its requests has.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    common: String,
    buffer: Vec<u8>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    pub(crate) next: Option<String>,
    /// Empty if it was only counted.
    pub(crate) body: Vec<u8>,
    /// Bytes of the body.
    pub(crate) length: u64,
}

/// How a body of an answer ends.
enum Framing {
    Length(u64),
    Chunked,
}

impl Wire {
    /// Connects; `authorization` is the value of that header, if one is to be sent.
    pub(crate) fn open(authority: &str, authorization: Option<&str>) -> io::Result<Self> {
        let stream = TcpStream::connect(authority)?;
        stream.set_nodelay(true)?;
        let mut common = format!("Host: {authority}\r\nUser-Agent: standpipe-bench\r\n");
        if let Some(value) = authorization {
            common += &format!("Authorization: {value}\r\n");
        }
        Ok(Self { stream, common, buffer: Vec::new() })
    }

    /// A request with a small body; the answer's body is kept.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        target: &str,
        headers: &str,
        body: &[u8],
    ) -> io::Result<Answer> {
        self.send(method, target, headers, body)?;
        self.answer(method, true)
    }

    /// A request without a body; the answer's body is counted and dropped.
    pub(crate) fn count(
        &mut self,
        method: &str,
        target: &str,
        headers: &str,
    ) -> io::Result<Answer> {
        self.send(method, target, headers, b"")?;
        self.answer(method, false)
    }

    /// A request with a long body, made as it is sent.
    pub(crate) fn stream(
        &mut self,
        method: &str,
        target: &str,
        pieces: impl Iterator<Item = Vec<u8>>,
        length: u64,
    ) -> io::Result<Answer> {
        let path = path_of(target);
        let head = format!(
            "{method} {path} HTTP/1.1\r\n{}Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n",
            self.common
        );
        self.stream.write_all(head.as_bytes())?;
        for piece in pieces {
            self.stream.write_all(&piece)?;
        }
        self.answer(method, true)
    }

    fn send(&mut self, method: &str, target: &str, headers: &str, body: &[u8]) -> io::Result<()> {
        let path = path_of(target);
        let length = match body.len() {
            0 if matches!(method, "GET" | "HEAD") => String::new(),
            length => format!("Content-Length: {length}\r\n"),
        };
        let head = format!("{method} {path} HTTP/1.1\r\n{}{headers}{length}\r\n", self.common);
        let mut request = head.into_bytes();
        request.extend_from_slice(body);
        self.stream.write_all(&request)
    }

    fn answer(&mut self, method: &str, keep: bool) -> io::Result<Answer> {
        let (mut answer, framing) = self.head()?;
        if method == "HEAD" || matches!(answer.status, 204 | 304) {
            return Ok(answer);
        }
        match framing {
            Framing::Length(length) => self.take(length, keep, &mut answer)?,
            Framing::Chunked => loop {
                let line = self.line()?;
                let size = line.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(size, 16).map_err(io::Error::other)?;
                self.take(size, keep, &mut answer)?;
                self.line()?;
                if size == 0 {
                    break;
                }
            },
        }
        Ok(answer)
    }

    /// Reads a head; what came with it of the body stays in the buffer.
    fn head(&mut self) -> io::Result<(Answer, Framing)> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut response = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(end) =
                response.parse(&self.buffer).map_err(io::Error::other)?
            {
                let status = response.code.unwrap_or_default();
                let find = |name: &str| {
                    let header = response
                        .headers
                        .iter()
                        .find(|header| header.name.eq_ignore_ascii_case(name));
                    header.map(|header| String::from_utf8_lossy(header.value).into_owned())
                };
                let chunked = find("transfer-encoding").is_some_and(|value| value == "chunked");
                let length = find("content-length").and_then(|value| value.parse().ok());
                let framing =
                    if chunked { Framing::Chunked } else { Framing::Length(length.unwrap_or(0)) };
                let next = find("link").and_then(|link| {
                    let (target, _) = link.strip_prefix('<')?.split_once('>')?;
                    Some(target.to_owned())
                });
                let answer = Answer {
                    status,
                    location: find("location"),
                    next,
                    body: Vec::new(),
                    length: 0,
                };
                self.buffer.drain(..end);
                return Ok((answer, framing));
            }
            if self.buffer.len() > HEAD {
                return Err(io::Error::other("the head of an answer does not end"));
            }
            self.fill(16 << 10)?;
        }
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 2);
                return Ok(line);
            }
            self.fill(16 << 10)?;
        }
    }

    /// Takes `length` bytes of a body.
    fn take(&mut self, length: u64, keep: bool, answer: &mut Answer) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            if self.buffer.is_empty() {
                self.fill(PIECE)?;
            }
            let part = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            if keep {
                answer.body.extend_from_slice(&self.buffer[..part]);
            }
            if part == self.buffer.len() {
                self.buffer.clear();
            } else {
                self.buffer.drain(..part);
            }
            left -= part as u64;
        }
        answer.length += length;
        Ok(())
    }

    fn fill(&mut self, most: usize) -> io::Result<()> {
        let start = self.buffer.len();
        self.buffer.resize(start + most, 0);
        let read = self.stream.read(&mut self.buffer[start..]);
        self.buffer.truncate(start + *read.as_ref().unwrap_or(&0));
        if read? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

/// The path of a target, which may be a whole URL (as `Location` may be).
fn path_of(target: &str) -> &str {
    let Some((_, rest)) = target.split_once("://") else { return target };
    rest.find('/').map_or("/", |slash| &rest[slash..])
}
