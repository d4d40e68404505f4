//! The configuration of an image, byte for byte, from the engine's builder (BuildKit).
//!
//! The Engine API shows a configuration only in its own words. The builder reads it out to whoever
//! builds something on an image: `moby.buildkit.v1.frontend.LLBBridge/ResolveImageConfig`, within a
//! build that does nothing (`moby.buildkit.v1.Control/Solve`), over gRPC on a connection that
//! `POST /grpc` makes, as `docker buildx` does.
//! Invariant: nothing is built, and the build ends with the connection. What comes is not looked at.
//! Must not know: what is in a configuration.

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use reqwest::header::{CONNECTION, CONTENT_TYPE, HeaderValue, TE, UPGRADE};
use reqwest::{Method, StatusCode};

use crate::source::daemon::Daemon;
use crate::source::files::LARGEST_DOCUMENT;

type Sender = SendRequest<Full<Bytes>>;

/// The configuration of the local image called `name`.
pub(super) async fn config(daemon: &Daemon, name: &str) -> Result<Bytes, String> {
    let request = daemon.request(Method::POST, daemon.url(&["grpc"]));
    let request = request.header(CONNECTION, "Upgrade").header(UPGRADE, "h2c");
    let response = request.send().await.map_err(|error| daemon.lost(&error).to_string())?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(format!("the builder answers {}", response.status()));
    }
    let upgraded = response.upgrade().await.map_err(|error| error.to_string())?;
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(upgraded)).await;
    let (sender, connection) = handshake.map_err(|error| error.to_string())?;
    // Nobody else has a build of this name, as nobody has an image of it.
    let begun = [field(1, name.as_bytes()), INTERNAL.to_vec()].concat();
    let solve = call(sender.clone(), SOLVE, name, begun);
    let asked = [field(1, name.as_bytes()), field(3, LOCAL)].concat();
    let resolve = call(sender, RESOLVE, name, asked);
    let answer = tokio::select! {
        biased;
        answer = resolve => answer?,
        ended = solve => return Err(format!("the build ended: {}", ended.err().unwrap_or_default())),
        ended = connection => return Err(format!("the builder hung up: {ended:?}")),
    };
    configuration(&answer).ok_or_else(|| "the builder answers oddly".to_owned())
}

/// One call; its answer as it came.
async fn call(
    mut sender: Sender,
    method: &str,
    build: &str,
    message: Vec<u8>,
) -> Result<Bytes, String> {
    let mut body = BytesMut::with_capacity(message.len() + PREFIX);
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len()).map_err(|error| error.to_string())?);
    body.extend_from_slice(&message);
    let request = hyper::Request::post(format!("http://docker/{method}"))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header("buildkit-controlapi-buildid", build)
        .body(Full::new(body.freeze()))
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let (head, body) = response.into_parts();
    let most = usize::try_from(LARGEST_DOCUMENT).unwrap_or(usize::MAX);
    let body = Limited::new(body, most).collect().await.map_err(|error| error.to_string())?;
    // Which of the two it is depends on whether there is a body.
    let status = body.trailers().and_then(|trailers| trailers.get(STATUS));
    let status = status.or_else(|| head.headers.get(STATUS)).map(HeaderValue::as_bytes);
    match status {
        Some(b"0") => Ok(body.to_bytes()),
        status => Err(format!(
            "the builder's status is {}",
            String::from_utf8_lossy(status.unwrap_or_default()).escape_debug()
        )),
    }
}

/// The second field of the answer to `ResolveImageConfig`, which is one message that is not
/// compressed (gRPC over HTTP2, "Length-Prefixed-Message").
pub(in crate::source) fn configuration(answer: &Bytes) -> Option<Bytes> {
    let length = answer.get(1..PREFIX)?.try_into().ok().map(u32::from_be_bytes)?;
    let mut message = answer.slice(PREFIX..);
    if answer[0] != 0 || u32::try_from(message.len()) != Ok(length) {
        return None;
    }
    let mut found = None;
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        match tag & 7 {
            0 => drop(varint(&mut message)?),
            1 => drop(take(&mut message, 8)?),
            2 => {
                let length = varint(&mut message)?;
                let value = take(&mut message, length)?;
                if tag >> 3 == CONFIG {
                    found = Some(value);
                }
            }
            5 => drop(take(&mut message, 4)?),
            _ => return None,
        }
    }
    found
}

fn take(message: &mut Bytes, length: u64) -> Option<Bytes> {
    let length = usize::try_from(length).ok().filter(|length| *length <= message.len())?;
    Some(message.split_to(length))
}

/// Protocol Buffers, "Base 128 Varints": seven bits in each byte, the lowest first.
fn varint(message: &mut Bytes) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let [byte] = take(message, 1)?[..] else { return None };
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// A field of bytes.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut written = vec![number << 3 | 2];
    let mut length = value.len();
    while length >= 0x80 {
        written.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    written.push(length as u8);
    written.extend_from_slice(value);
    written
}

const SOLVE: &str = "moby.buildkit.v1.Control/Solve";
const RESOLVE: &str = "moby.buildkit.v1.frontend.LLBBridge/ResolveImageConfig";
/// What the engine has itself is preferred to what a registry has.
const LOCAL: &[u8] = b"local";
/// Field 11 of `SolveRequest` is true: new builders keep a history, in which this has no place.
const INTERNAL: &[u8] = &[11 << 3, 1];
const STATUS: &str = "grpc-status";
/// The number of the field.
const CONFIG: u64 = 2;
/// One byte that says whether the message is compressed, four with its length.
const PREFIX: usize = 5;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(message: &[u8]) -> Bytes {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        Bytes::from([&[0], &length[..], message].concat())
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(digest in ".*", config in prop::collection::vec(any::<u8>(), 0..300)) {
            let message = [field(1, digest.as_bytes()), field(2, &config)].concat();
            prop_assert_eq!(configuration(&framed(&message)), Some(Bytes::from(config)));
        }

        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = configuration(&Bytes::from(bytes.clone()));
            let _ = configuration(&framed(&bytes));
        }
    }

    #[test]
    fn what_is_cut_or_longer_than_it_says_is_nothing() {
        let whole = framed(&field(2, b"{}"));
        assert!(configuration(&whole).is_some());
        assert_eq!(configuration(&whole.slice(..whole.len() - 1)), None);
        assert_eq!(configuration(&framed(&[0x12, 5, b'x'])), None);
        assert_eq!(configuration(&framed(&[0x80; 12])), None);
        assert_eq!(configuration(&Bytes::new()), None);
    }
}
