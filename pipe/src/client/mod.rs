//! The registry client: one target repository, one login, pushes.
//!
//! The default path of every operation is the `oci_distribution` client. It neither retries nor
//! resumes nor says how long to wait, so after a failure the same operation goes through our own
//! requests, which do. One wire concern per file: `challenge`, `auth`, `retry`, `upload`, `pieces`
//! with `pace` and `sessions`, `manifest`, `lookup`, `error`; `explain` words what the user reads.
//! Invariant: `Authorization` goes only to the scheme, host and port of the registry, and to a
//! token realm that passed `challenge::realm_is_trusted`; redirects carry none.
//! Must not know: where blobs come from.

mod auth;
mod body;
mod challenge;
mod error;
mod explain;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod lookup;
mod manifest;
mod pace;
mod pieces;
mod retry;
mod sessions;
mod upload;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use oci_distribution::Reference;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{RequestBuilder, Response, Url};
use tokio::sync::Mutex;

use self::auth::{Found, Session};
use self::challenge::Challenge;
pub(crate) use self::error::clean;
use self::error::{Action, ClientError, Refusal};
use self::explain::Target;
use self::lookup::Extensions;
pub(crate) use self::lookup::KnownLayer;
use self::pace::Pace;
use self::retry::Attempts;
use self::sessions::Sessions;
use crate::config::{Config, Credentials, Tag, Transfer};
use crate::error::Error;
use crate::image::{Digest, Manifest, There};
use crate::progress::Progress;
use crate::secret::{Mask, Secret};
use crate::spool::SpoolFile;

/// How a blob came to be in the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It was not sent, because it is there.
    Spared(There),
    /// It was uploaded.
    Pushed(Pushed),
}

/// What an upload took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pushed {
    /// Bytes that an earlier run had sent.
    pub(crate) before: u64,
}

/// A registry that is logged in to.
#[derive(Debug)]
pub(crate) struct Registry {
    target: Target,
    http: reqwest::Client,
    base: Url,
    challenge: Option<Challenge>,
    credentials: Option<Credentials>,
    session: Mutex<Arc<Session>>,
    /// What it can beyond the specification.
    extensions: Extensions,
    /// `workspace/name` of packages in which every blob may be found.
    mount_from: Vec<String>,
    /// Those, and packages that are read.
    sources: Vec<String>,
    /// A manifest was refused because something that it names is not there.
    lost: AtomicBool,
    pace: std::sync::Mutex<Pace>,
    /// What this run has begun, for the next one.
    sessions: Sessions,
    /// Attempts that failed and were made again.
    again: Arc<AtomicU64>,
    settings: Settings,
}

/// What every request needs besides its address.
#[derive(Debug, Clone)]
struct Settings {
    transfer: Transfer,
    user_agent: &'static str,
    certificates: Vec<Vec<u8>>,
    mask: Mask,
}

impl Registry {
    /// Finds the registry and logs in for pushing to the repository of `config`, and for reading
    /// from `sources`.
    pub(crate) async fn connect(
        config: &Config,
        sources: &[String],
        mask: &Mask,
    ) -> Result<Self, Error> {
        let target = Target::new(config);
        let explained = |error| explain::explain(&target, error);
        let settings = Settings {
            transfer: config.transfer,
            // The OCI client wants a text that lives as long as the process; there is one.
            user_agent: config.build.user_agent().leak(),
            certificates: config.certificates.iter().map(|der| der.to_vec()).collect(),
            mask: mask.clone(),
        };
        let http = settings.http().map_err(explained)?;
        let Found { base, challenge, extensions } =
            auth::discover(config, &http, &settings).await.map_err(explained)?;
        let first = Session::none(&settings, &base).map_err(explained)?;
        let registry = Self {
            session: Mutex::new(Arc::new(first)),
            credentials: config.credentials.clone(),
            extensions,
            mount_from: others(config, &config.options.mount_from),
            sources: others(config, config.options.mount_from.iter().chain(sources)),
            lost: AtomicBool::default(),
            pace: std::sync::Mutex::new(Pace::new(config.transfer.chunk_size)),
            sessions: Sessions::new(config.storage.as_ref(), &base, &target.path),
            again: Arc::default(),
            target,
            http,
            base,
            challenge,
            settings,
        };
        let mut attempts = registry.attempts("login");
        while let Err(error) = registry.renew(0).await {
            attempts.failed(error).await.map_err(|error| registry.explain(error))?;
        }
        tracing::info!("registry {} ready for {}", registry.target.registry, registry.target.path);
        Ok(registry)
    }

    /// Sees to it that the registry has the blob.
    pub(crate) async fn push_blob(
        &self,
        blob: &SpoolFile,
        progress: &Progress,
    ) -> Result<Sent, Error> {
        self.send_blob(blob, progress).await.map_err(|error| self.explain(error))
    }

    /// Puts the manifest under a tag and makes sure that it arrived as it is.
    pub(crate) async fn push_manifest(&self, manifest: &Manifest, tag: &Tag) -> Result<(), Error> {
        self.send_manifest(manifest, tag).await.map_err(|error| {
            self.note_loss(&error);
            explain::tag(&self.target, tag, error)
        })
    }

    /// Puts a manifest that only an index names.
    pub(crate) async fn push_child(&self, manifest: &Manifest) -> Result<(), Error> {
        self.send_child(manifest).await.map_err(|error| {
            self.note_loss(&error);
            self.explain(error)
        })
    }

    /// Whether the registry has the blob.
    pub(crate) async fn has(&self, digest: &Digest) -> Result<bool, Error> {
        self.find_blob(digest).await.map_err(|error| self.explain(error))
    }

    /// The digest that a tag names in the registry, if it is there.
    pub(crate) async fn tag_digest(&self, tag: &Tag) -> Result<Option<String>, Error> {
        self.find_tag(tag).await.map_err(|error| self.explain(error))
    }

    /// Whether a manifest was refused because the registry has lost what it named before.
    pub(crate) fn has_lost_something(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    fn note_loss(&self, error: &ClientError) {
        let codes = ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"];
        if let ClientError::Refused(refusal) = error
            && codes.iter().any(|code| refusal.has_code(code))
        {
            self.lost.store(true, Ordering::Relaxed);
        }
    }

    /// How many attempts failed and were made again.
    pub(crate) fn retries(&self) -> u64 {
        self.again.load(Ordering::Relaxed)
    }

    /// `registry/workspace/name`, as it stands before the colon of a reference.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.target.registry, self.target.path)
    }

    /// How large pieces are now.
    fn pace(&self) -> Pace {
        *self.pace_mut()
    }

    fn pace_mut(&self) -> std::sync::MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn explain(&self, error: ClientError) -> Error {
        explain::explain(&self.target, error)
    }

    fn attempts<'a>(&self, doing: &'a str) -> Attempts<'a> {
        self.attempts_at_most(doing, u32::MAX)
    }

    fn attempts_at_most<'a>(&self, doing: &'a str, most: u32) -> Attempts<'a> {
        Attempts::new(doing, self.settings.transfer.retries.min(most)).counted(&self.again)
    }

    /// The current login; renewing it is tried as often as anything else.
    async fn ready(&self, attempts: &mut Attempts<'_>) -> Result<Arc<Session>, ClientError> {
        loop {
            match self.session().await {
                Ok(session) => return Ok(session),
                Err(error) => attempts.failed(error).await?,
            }
        }
    }

    /// Prepares the next attempt: a new token, or a pause.
    async fn recover(
        &self,
        attempts: &mut Attempts<'_>,
        session: &Session,
        error: ClientError,
    ) -> Result<(), ClientError> {
        if attempts.may_renew(&error) && session.is_renewable() {
            tracing::debug!("{error}; asking for a new token");
            while let Err(error) = self.renew(session.generation).await {
                attempts.failed(error).await?;
            }
            return Ok(());
        }
        attempts.failed(error).await
    }

    fn reference(&self, tag: &Tag) -> Reference {
        let Target { registry, path, .. } = &self.target;
        Reference::with_tag(registry.clone(), path.clone(), tag.as_str().to_owned())
    }

    fn reference_by_digest(&self, digest: &Digest) -> Reference {
        let Target { registry, path, .. } = &self.target;
        Reference::with_digest(registry.clone(), path.clone(), digest.as_str().to_owned())
    }

    /// An address below `/v2/<name>/`. `path` is made of digests, tags and constants, which need
    /// no escaping.
    fn url(&self, path: &str) -> Result<Url, ClientError> {
        self.url_in(&self.target.path, path)
    }

    /// An address below `/v2/<repository>/`.
    fn url_in(&self, repository: &str, path: &str) -> Result<Url, ClientError> {
        let joined = self.base.join(&format!("/v2/{repository}/{path}"));
        joined.map_err(|_| ClientError::Protocol("an address could not be built".to_owned()))
    }

    /// Sends one request of our own. `moved` counts the bytes of its body.
    async fn send(
        &self,
        action: Action,
        session: &Session,
        request: RequestBuilder,
        moved: &AtomicU64,
    ) -> Result<Response, ClientError> {
        accept(action, self.answer(session.authorization.as_ref(), request, moved).await?).await
    }

    /// Sends one request of our own and takes any answer. Only the registry sees `authorization`.
    async fn answer(
        &self,
        authorization: Option<&Secret>,
        request: RequestBuilder,
        moved: &AtomicU64,
    ) -> Result<Response, ClientError> {
        let mut request = request.build().map_err(|error| ClientError::from_reqwest(&error))?;
        if same_origin(&self.base, request.url())
            && let Some(authorization) = authorization
        {
            let mut value = HeaderValue::try_from(authorization.expose())
                .map_err(|_| ClientError::Protocol("the token is not readable".to_owned()))?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        body::unless_stalled(self.settings.transfer.timeout, moved, async {
            self.http.execute(request).await.map_err(|error| ClientError::from_reqwest(&error))
        })
        .await
    }
}

/// These packages, each once, without the one that is pushed to.
fn others<'a>(config: &Config, sources: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    let mut others = Vec::new();
    for source in sources {
        if *source != config.repository() && !others.contains(source) {
            others.push(source.clone());
        }
    }
    others
}

impl Settings {
    /// A client that follows no redirects: where to go next is decided by us, with the question
    /// of credentials asked anew.
    fn http(&self) -> Result<reqwest::Client, ClientError> {
        let certificates = self.certificates.iter().map(|der| reqwest::Certificate::from_der(der));
        let certificates: Vec<_> = certificates
            .collect::<Result<_, _>>()
            .map_err(|error| ClientError::from_reqwest(&error))?;
        reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .user_agent(self.user_agent)
            .tls_certs_merge(certificates)
            .build()
            .map_err(|error| ClientError::Protocol(error::innermost(&error)))
    }
}

/// Passes a good answer on and reads a bad one.
async fn accept(action: Action, response: Response) -> Result<Response, ClientError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    if status.is_redirection() {
        let message = format!("the registry redirects ({status}) where an answer is expected");
        return Err(ClientError::Protocol(message));
    }
    let headers = response.headers().clone();
    let body = body::at_most(response, LARGEST_REFUSAL).await.unwrap_or_default();
    Err(ClientError::Refused(Refusal::new(action, status.as_u16(), &headers, &body)))
}

/// Whether credentials for `base` may go to `url`.
fn same_origin(base: &Url, url: &Url) -> bool {
    base.scheme() == url.scheme()
        && base.host_str() == url.host_str()
        && base.port_or_known_default() == url.port_or_known_default()
}

const CONNECT: Duration = Duration::from_secs(30);
const LARGEST_REFUSAL: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_scheme_host_and_port_is_the_registry() {
        let base = Url::parse("https://reg.example/").unwrap();
        let same = |url: &str| same_origin(&base, &Url::parse(url).unwrap());
        assert!(same("https://reg.example:443/v2/x"));
        for foreign in ["http://reg.example/", "https://reg.example:8443/", "https://s3.example/"] {
            assert!(!same(foreign), "{foreign}");
        }
    }
}
