//! A registry that only takes: as much of the distribution-spec as an engine needs to push layers.
//!
//! Invariant: nothing is given out, nothing is done for who does not have the secret, and there is
//! never a manifest: a push does not succeed here.
//! Must not know: what becomes of a layer.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue, LOCATION, RANGE, WWW_AUTHENTICATE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;

use super::intake::Intake;
use super::login::Login;
use crate::image::Digest;
use crate::source::daemon::Pieces;

type Answer = Response<Empty<Bytes>>;

/// The registry of one relay.
#[derive(Debug)]
pub(super) struct Registry {
    /// Of the right `Authorization` header.
    secret: Digest,
    intake: Arc<Intake>,
    reached: Notify,
    uploads: AtomicU64,
    streams: Semaphore,
}

impl Registry {
    pub(super) fn new(login: &Login, intake: Arc<Intake>) -> Self {
        let (reached, uploads) = Default::default();
        let streams = Semaphore::new(MOST_STREAMS);
        Self { secret: login.digest(), intake, reached, uploads, streams }
    }

    pub(super) fn intake(&self) -> &Arc<Intake> {
        &self.intake
    }

    /// Waits until somebody with the secret was here.
    pub(super) async fn reached(&self) {
        self.reached.notified().await;
    }

    /// Serves until it is dropped.
    pub(super) async fn serve(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let stream = match listener.accept().await {
                Ok((stream, _)) if connections.len() < MOST_CONNECTIONS => stream,
                Ok(_) => continue,
                Err(_) => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let registry = Arc::clone(&self);
            connections.spawn(registry.talk(stream));
        }
    }

    /// Serves one connection to its end.
    pub(super) async fn talk(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let service = service_fn(|request| {
            let registry = Arc::clone(&self);
            async move { Ok::<_, Infallible>(registry.answer(request).await) }
        });
        let mut http = hyper::server::conn::http1::Builder::new();
        http.max_buf_size(MOST_BUFFERED);
        // An engine tries TLS first; that, and a cut, is no matter of the log.
        let _ = http.serve_connection(TokioIo::new(stream), service).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let given = request.headers().get(AUTHORIZATION);
        if given.is_none_or(|given| Digest::of(given.as_bytes()) != self.secret) {
            let challenge = HeaderValue::from_static("Basic realm=\"standpipe\"");
            let mut answer = plain(StatusCode::UNAUTHORIZED);
            answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            return answer;
        }
        self.reached.notify_one();
        let path = request.uri().path().to_owned();
        let upload = path.split_once(UPLOADS);
        match (request.method(), upload) {
            (&Method::GET | &Method::HEAD, None) if path == "/v2/" => plain(StatusCode::OK),
            (&Method::POST, Some((name, ""))) => {
                let number = self.uploads.fetch_add(1, Ordering::Relaxed);
                taken(StatusCode::ACCEPTED, &format!("{name}{UPLOADS}{number}"), 0)
            }
            (&Method::PATCH, Some(_)) => match self.receive(request.into_body()).await {
                Ok(size) => taken(StatusCode::ACCEPTED, &path, size),
                Err(error) => {
                    tracing::debug!("the relay lost a layer: {error}");
                    plain(StatusCode::BAD_REQUEST)
                }
            },
            (&Method::PUT, Some((name, _))) => {
                taken(StatusCode::CREATED, &format!("{name}/blobs"), 0)
            }
            _ => plain(StatusCode::NOT_FOUND),
        }
    }

    /// Takes a layer; its size as it came.
    async fn receive(&self, mut body: Incoming) -> io::Result<u64> {
        let _turn = self.streams.acquire().await.map_err(io::Error::other)?;
        let (pieces, received) = mpsc::channel(PIECES);
        let intake = Arc::clone(&self.intake);
        let work = tokio::task::spawn_blocking(move || intake.take(Pieces::new(received)));
        let mut size = 0;
        while let Some(frame) = body.frame().await {
            let piece = frame.map(hyper::body::Frame::into_data);
            let piece = match piece {
                Ok(Ok(piece)) => Ok(piece),
                Ok(Err(_)) => continue,
                Err(error) => Err(io::Error::other(error)),
            };
            size += piece.as_ref().map_or(0, Bytes::len) as u64;
            let is_cut = piece.is_err();
            if pieces.send(piece).await.is_err() || is_cut {
                break;
            }
        }
        drop(pieces);
        work.await.map_err(io::Error::other)??;
        Ok(size)
    }
}

fn plain(status: StatusCode) -> Answer {
    let mut answer = Response::new(Empty::new());
    *answer.status_mut() = status;
    let version = HeaderValue::from_static("registry/2.0");
    answer.headers_mut().insert("docker-distribution-api-version", version);
    answer
}

/// An upload that is at `location` and has `size` bytes.
fn taken(status: StatusCode, location: &str, size: u64) -> Answer {
    let mut answer = plain(status);
    let range = format!("0-{}", size.saturating_sub(1));
    let identifier = HeaderName::from_static("docker-upload-uuid");
    for (name, value) in [(LOCATION, location), (RANGE, &range), (identifier, "relay")] {
        // The location is a path that was read from a request, so it can be a header.
        if let Ok(value) = HeaderValue::from_str(value) {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}

const UPLOADS: &str = "/blobs/uploads/";
/// An engine sends five at a time unless it is told otherwise; each needs a thread and a little memory.
const MOST_STREAMS: usize = 16;
const MOST_CONNECTIONS: usize = 64;
const MOST_BUFFERED: usize = 64 << 10;
/// Pieces under way between the socket and the reader.
const PIECES: usize = 2;
/// After a connection that could not be taken.
const PAUSE: Duration = Duration::from_millis(50);
