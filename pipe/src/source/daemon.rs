//! The Docker Engine API, as little of it as a push needs: `_ping`, `images/{name}/json`,
//! `images/json` and `images/{id}/get`.
//!
//! Paths carry no API version: every daemon serves its own, while an old version in the path
//! is refused by new daemons.
//! Invariant: the export is read as a stream, once; at most a few pieces of it are in memory.
//! Must not know: what is inside the export (`stream`), nor why an image is wanted (`resolve`).

use std::io::{self, Read};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::files::{Files, Reading};
use super::{Endpoint, Fault, Local, stream};
use crate::client::clean;
use crate::config::DockerHosts;
use crate::error::{Error, Failure};
use crate::progress::Progress;

/// A daemon that answered.
#[derive(Debug, Clone)]
pub(super) struct Daemon {
    http: reqwest::Client,
    base: Url,
    endpoint: Endpoint,
    timeout: Duration,
    /// What has to end before the program does.
    tasks: TaskTracker,
}

/// What `images/{name}/json` says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Inspected {
    pub(super) id: String,
    #[serde(default)]
    pub(super) size: u64,
    #[serde(default)]
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) os: String,
    #[serde(default)]
    pub(super) variant: Option<String>,
    /// Names with the digests of manifests under which the image was pulled or pushed.
    #[serde(default)]
    pub(super) repo_digests: Option<Vec<String>>,
    /// Which manifest or index the image is; only the containerd store says it.
    #[serde(default)]
    pub(super) descriptor: Option<serde::de::IgnoredAny>,
    #[serde(default, rename = "RootFS")]
    pub(super) root: RootFileSystem,
}

/// The layers of an inspected image.
#[derive(Debug, Default, Deserialize)]
pub(super) struct RootFileSystem {
    #[serde(default, rename = "Layers")]
    pub(super) layers: Option<Vec<String>>,
}

/// One of what `images/json` lists.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Listed {
    repo_tags: Option<Vec<String>>,
}

impl Daemon {
    /// Takes the first candidate that can be reached.
    pub(super) async fn connect(
        hosts: &DockerHosts,
        timeout: Duration,
        tasks: &TaskTracker,
    ) -> Result<Self, Error> {
        let routes = std::fs::read_to_string(ROUTES).ok();
        let mut tried = Vec::new();
        for endpoint in Endpoint::candidates(hosts, routes.as_deref()) {
            match Self::ping(&endpoint, timeout, tasks).await {
                Ok(daemon) => {
                    if !tried.is_empty() {
                        tracing::warn!(
                            "using the Docker daemon at {endpoint}; {}",
                            tried.join("; ")
                        );
                    }
                    tracing::debug!("Docker daemon at {endpoint}");
                    return Ok(daemon);
                }
                Err(reason) => tried.push(format!("{endpoint}: {reason}")),
            }
        }
        let failure = Failure::new(format!("no Docker daemon found ({})", tried.join("; ")));
        Err(Error::Source(failure.hint(
            "The step needs the docker service: add \"services: [docker]\" to it, or set DOCKER_HOST.",
        )))
    }

    async fn ping(
        endpoint: &Endpoint,
        timeout: Duration,
        tasks: &TaskTracker,
    ) -> Result<Self, String> {
        // The daemon of the step is local: no proxy, no certificates, no redirects.
        let builder = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT);
        let (builder, base) = match endpoint {
            Endpoint::Tcp { host, port } => (builder, format!("http://{host}:{port}/")),
            Endpoint::Unix(path) => (builder.unix_socket(path.as_path()), "http://docker/".into()),
        };
        let http = builder.build().map_err(|error| describe(&error))?;
        let base = Url::parse(&base).map_err(|error| error.to_string())?;
        let (endpoint, tasks) = (endpoint.clone(), tasks.clone());
        let daemon = Self { http, base, endpoint, timeout, tasks };
        let request = daemon.http.get(daemon.url(&["_ping"])).timeout(PING).send();
        let response = request.await.map_err(|error| describe(&error))?;
        match response.status() {
            StatusCode::OK => Ok(daemon),
            status => Err(format!("answers {status}, which is no Docker daemon")),
        }
    }

    /// The image called `name`, if there is one.
    pub(super) async fn inspect(&self, name: &str) -> Result<Option<Inspected>, Error> {
        let path: Vec<&str> =
            ["images"].into_iter().chain(name.split('/')).chain(["json"]).collect();
        match self.get(self.url(&path)).await? {
            response if response.status() == StatusCode::NOT_FOUND => Ok(None),
            response => self.json(response).await.map(Some),
        }
    }

    /// The names with tags of all local images.
    pub(super) async fn local_names(&self) -> Result<Vec<String>, Error> {
        let response = self.get(self.url(&["images", "json"])).await?;
        Ok(names(self.json(response).await?))
    }

    /// Reads the export of an image into the spool.
    pub(super) async fn export(
        &self,
        image: &Local,
        name: &str,
        reading: &Reading,
    ) -> Result<Files, Error> {
        let Some(raw) = image.digests() else {
            return Err(self.odd("names a layer that is not sha256"));
        };
        // What the containerd store has keeps its digest, raw layers too.
        let raw = if image.is_stored { Vec::new() } else { raw };
        self.read_export(image, name, reading, move |tar, reading| stream::read(tar, &raw, reading))
            .await
    }

    /// Lets `read` have the export of an image, as much of it as it reads.
    pub(super) async fn read_export<T: Send + 'static>(
        &self,
        image: &Local,
        name: &str,
        reading: &Reading,
        read: impl FnOnce(Pieces, &Reading) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        // By ID, not by name: the name may move, and without a tag it would mean every tag.
        let url = self.url(&["images", &image.id, "get"]);
        let request = self.http.get(url).send();
        // Old daemons write the whole image to disk before they send the first byte.
        let response = tokio::time::timeout(FIRST_BYTE.max(self.timeout), request).await;
        let response = response.map_err(|_| self.odd("did not begin to export the image"))?;
        let response = self.checked(response.map_err(|error| self.lost(&error))?).await?;
        let (pieces, received) = mpsc::channel(PIECES);
        let reader = tokio::task::spawn_blocking({
            let reading = reading.clone();
            move || read(Pieces::new(received), &reading)
        });
        let sent = self.pump(response, &pieces, &reading.progress).await;
        drop(pieces);
        let files = reader.await.map_err(|error| {
            Error::Unexpected(Failure::new(format!("reading the image stopped: {error}")))
        })?;
        // When the reader gave up, the pump only saw that nobody listens any more.
        let files = files.map_err(|error| Fault::from(error).about(&super::export_of(name)))?;
        sent?;
        Ok(files)
    }

    /// Passes the body on until it ends or the reader has enough.
    async fn pump(
        &self,
        mut response: Response,
        pieces: &mpsc::Sender<io::Result<Bytes>>,
        progress: &Progress,
    ) -> Result<(), Error> {
        loop {
            let piece = match tokio::time::timeout(self.timeout, response.chunk()).await {
                Ok(Ok(Some(piece))) => piece,
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => return self.cut(pieces, self.lost(&error)).await,
                Err(_) => {
                    return self.cut(pieces, self.odd("stopped sending the image")).await;
                }
            };
            progress.add(piece.len() as u64);
            if pieces.send(Ok(piece)).await.is_err() {
                return Ok(());
            }
        }
    }

    async fn cut(
        &self,
        pieces: &mpsc::Sender<io::Result<Bytes>>,
        error: Error,
    ) -> Result<(), Error> {
        // The reader repeats this text; if it has stopped already, the error below is enough.
        let _ = pieces.send(Err(io::Error::other(error.to_string()))).await;
        Err(error)
    }

    pub(super) async fn get(&self, url: Url) -> Result<Response, Error> {
        let request = self.http.get(url).timeout(self.timeout).send();
        request.await.map_err(|error| self.lost(&error))
    }

    /// Whether the daemon is on this machine, as far as its address tells.
    pub(super) fn is_near(&self) -> bool {
        self.endpoint.is_near()
    }

    /// Runs work that goes on when nobody waits for it; the program ends soon after it.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.tasks.spawn(work));
    }

    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.http.request(method, url)
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) async fn checked(&self, response: Response) -> Result<Response, Error> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.unwrap_or_default();
        Err(self.odd(&format!("answers {status}: {}", reason(&body))))
    }

    pub(super) async fn json<T: DeserializeOwned>(&self, response: Response) -> Result<T, Error> {
        let response = self.checked(response).await?;
        let body = response.bytes().await.map_err(|error| self.lost(&error))?;
        serde_json::from_slice(&body).map_err(|error| self.odd(&format!("answers oddly: {error}")))
    }

    pub(super) fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        // Fails only for URLs without a host, and `base` has one.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear().extend(path);
        }
        url
    }

    pub(super) fn odd(&self, what: &str) -> Error {
        Error::Source(Failure::new(format!("the Docker daemon at {} {what}", self.endpoint)))
    }

    pub(super) fn lost(&self, error: &reqwest::Error) -> Error {
        self.odd(&format!("was lost: {}", describe(error)))
    }
}

/// Why a daemon refused something, fit for one line.
pub(super) fn reason(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
    }
    let said = serde_json::from_slice::<Refusal>(body);
    said.map_or_else(|_| "no reason given".to_owned(), |refusal| clean(&refusal.message))
}

/// The names with tags in a list of images.
pub(super) fn names(listed: Vec<Listed>) -> Vec<String> {
    let names = listed.into_iter().filter_map(|image| image.repo_tags).flatten();
    names.filter(|name| !name.contains("<none>")).collect()
}

/// The pieces of a body as a blocking reader.
pub(super) struct Pieces {
    received: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Pieces {
    pub(super) fn new(received: mpsc::Receiver<io::Result<Bytes>>) -> Self {
        Self { received, current: Bytes::new() }
    }
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.received.blocking_recv() {
                Some(piece) => self.current = piece?,
                None => return Ok(0),
            }
        }
        let count = self.current.len().min(into.len());
        self.current.copy_to_slice(&mut into[..count]);
        Ok(count)
    }
}

/// The innermost cause, without the URL: that is where "connection refused" stands.
fn describe(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

const ROUTES: &str = "/proc/net/route";
const CONNECT: Duration = Duration::from_secs(5);
const PING: Duration = Duration::from_secs(15);
const FIRST_BYTE: Duration = Duration::from_secs(15 * 60);
/// Pieces under way between the socket and the reader; each is at most a few hundred KiB.
const PIECES: usize = 4;
