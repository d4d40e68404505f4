//! Login: find the registry, read its challenge, get a token, renew it in time.
//!
//! The token is fetched here and not by the OCI client, which follows any realm with the
//! password, goes on without a token when it gets none, and never renews one. It gets the
//! finished token, or the Basic pair put straight into its cache so that it asks nobody.
//! Invariant: credentials are sent to the registry and to a trusted realm, nowhere else.
//! Must not know: what the token is used for.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_distribution::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_distribution::secrets::RegistryAuth;
use oci_distribution::token_cache::RegistryTokenType;
use oci_distribution::{Client, RegistryOperation};
use reqwest::header::WWW_AUTHENTICATE;
use reqwest::{Response, StatusCode, Url};
use serde::Deserialize;
use tokio::time::Instant;

use super::challenge::{Challenge, realm_is_trusted};
use super::error::{Action, ClientError, Refusal};
use super::lookup::Extensions;
use super::retry::Attempts;
use super::{CONNECT, Registry, Settings, accept, body};
use crate::config::{Config, Credentials, Tag};
use crate::secret::Secret;

/// A login and the OCI client that has it.
pub(super) struct Session {
    /// The value of the `Authorization` header.
    pub(super) authorization: Option<Secret>,
    pub(super) oci: Client,
    /// Counts renewals, so that two uploads that are refused together renew once.
    pub(super) generation: u64,
    renew_at: Option<Instant>,
}

impl Session {
    /// Nobody: for the time before the login and for registries without one.
    pub(super) fn none(settings: &Settings, base: &Url) -> Result<Self, ClientError> {
        let oci = oci_client(settings, base)?;
        Ok(Self { authorization: None, oci, generation: 0, renew_at: None })
    }

    /// Whether a new token could be accepted where this one was not.
    pub(super) fn is_renewable(&self) -> bool {
        self.renew_at.is_some()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Session")
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

/// How a registry answered when it was asked for the first time.
pub(super) struct Found {
    pub(super) base: Url,
    pub(super) challenge: Option<Challenge>,
    /// What it can beyond the specification.
    pub(super) extensions: Extensions,
}

/// Finds out how the registry is reached and what it wants to see.
pub(super) async fn discover(
    config: &Config,
    http: &reqwest::Client,
    settings: &Settings,
) -> Result<Found, ClientError> {
    let mut attempts = Attempts::new("registry", settings.transfer.retries);
    loop {
        let error = match discover_once(config, http).await {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        attempts.failed(error).await?;
    }
}

async fn discover_once(config: &Config, http: &reqwest::Client) -> Result<Found, ClientError> {
    let base = |scheme: &str| {
        // The address was checked when it was read.
        Url::parse(&format!("{scheme}://{}/", api_host(config.registry.as_str())))
            .map_err(|_| ClientError::Protocol("REGISTRY is not an address".to_owned()))
    };
    if config.insecure {
        let base = base("http")?;
        return ping(http, base).await;
    }
    let secure = base("https")?;
    match ping(http, secure).await {
        Ok(found) => Ok(found),
        // As Docker does: what runs on this machine may answer without TLS. Nothing secret has
        // been sent, and a certificate, here or there, says that TLS is meant.
        Err(ClientError::Connection(reason))
            if config.registry.is_loopback()
                && config.certificates.is_empty()
                && !reason.contains("certificate") =>
        {
            ping(http, base("http")?).await
        }
        Err(error) => Err(error),
    }
}

/// Docker Hub's short name is no host of its API; the OCI client makes the same replacement.
fn api_host(registry: &str) -> &str {
    if registry == "docker.io" { "index.docker.io" } else { registry }
}

/// Asks `/v2/` without credentials (distribution-spec, "Determining Support").
async fn ping(http: &reqwest::Client, base: Url) -> Result<Found, ClientError> {
    let url = base.join("/v2/").map_err(|_| not_a_registry("has no address"))?;
    let request = http.get(url).timeout(PING).send();
    let response = request.await.map_err(|error| ClientError::from_reqwest(&error))?;
    let status = response.status();
    let extensions = Extensions::of(response.headers());
    let found = |challenge| Ok(Found { base, challenge, extensions });
    match status {
        StatusCode::OK if is_page(&response) => Err(not_a_registry("answers with a web page")),
        StatusCode::OK => found(None),
        StatusCode::UNAUTHORIZED => {
            let values = response.headers().get_all(WWW_AUTHENTICATE).iter();
            match Challenge::choose(values.filter_map(|value| value.to_str().ok())) {
                Some(challenge) => found(Some(challenge)),
                None => Err(not_a_registry("wants a login of an unknown kind")),
            }
        }
        status if status.is_redirection() => {
            Err(not_a_registry(&format!("redirects /v2/ elsewhere ({status})")))
        }
        StatusCode::NOT_FOUND => Err(not_a_registry("has no /v2/")),
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            // An error status never passes as an answer.
            match accept(Action::Ping, response).await {
                Ok(_) => Err(not_a_registry("contradicts itself")),
                Err(error) => Err(error),
            }
        }
        status => Err(not_a_registry(&format!("answers /v2/ with {status}"))),
    }
}

fn is_page(response: &Response) -> bool {
    let kind = response.headers().get(reqwest::header::CONTENT_TYPE);
    kind.and_then(|kind| kind.to_str().ok()).is_some_and(|kind| kind.starts_with("text/html"))
}

fn not_a_registry(what: &str) -> ClientError {
    ClientError::Protocol(format!("this is not a container registry: it {what}"))
}

impl Registry {
    /// The current login, renewed if it ends soon.
    pub(super) async fn session(&self) -> Result<Arc<Session>, ClientError> {
        let mut current = self.session.lock().await;
        if current.renew_at.is_some_and(|time| Instant::now() >= time) {
            *current = Arc::new(self.login(current.generation + 1).await?);
        }
        Ok(Arc::clone(&current))
    }

    /// Replaces the login unless somebody else has done so already.
    pub(super) async fn renew(&self, stale: u64) -> Result<(), ClientError> {
        let mut current = self.session.lock().await;
        if current.generation == stale {
            *current = Arc::new(self.login(stale + 1).await?);
        }
        Ok(())
    }

    async fn login(&self, generation: u64) -> Result<Session, ClientError> {
        let oci = oci_client(&self.settings, &self.base)?;
        let mut session = Session { authorization: None, oci, generation, renew_at: None };
        match (&self.challenge, &self.credentials) {
            (Some(Challenge::Bearer { realm, service }), credentials) => {
                let token = self.token(realm, service.as_deref(), credentials.as_ref()).await?;
                session.renew_at = Some(token.renew_at);
                let auth = RegistryAuth::Bearer(token.value.expose().to_owned());
                session.oci.store_auth_if_needed(&self.registry_key(), &auth).await;
                session.authorization =
                    Some(Secret::new(format!("Bearer {}", token.value.expose())));
            }
            (Some(Challenge::Basic), None) => return Err(unauthorized(Action::Ping)),
            // Without a challenge the pair is sent all the same: some registries let everybody
            // read and ask for a login only when something is written.
            (Some(Challenge::Basic) | None, Some(credentials)) => {
                self.use_basic(&session.oci, credentials).await;
                session.authorization = Some(basic(credentials));
                self.check_basic(&session).await?;
            }
            (None, None) => {}
        }
        Ok(session)
    }

    /// Wrong credentials are reported before an image is read, not after.
    async fn check_basic(&self, session: &Session) -> Result<(), ClientError> {
        let url = self.base.join("/v2/").map_err(|_| not_a_registry("has no address"))?;
        let request = self.http.get(url).timeout(PING);
        self.send(Action::Token, session, request, &AtomicU64::new(0)).await.map(drop)
    }

    /// Puts the pair where the OCI client finds it without asking the registry for a challenge;
    /// the registry could answer that with the realm of somebody else.
    async fn use_basic(&self, oci: &Client, credentials: &Credentials) {
        oci.store_auth_if_needed(&self.registry_key(), &RegistryAuth::Anonymous).await;
        let password = credentials.password.expose().to_owned();
        let pair = RegistryTokenType::Basic(credentials.username.clone(), password);
        let reference = self.reference(&Tag::latest());
        for operation in [RegistryOperation::Pull, RegistryOperation::Push] {
            oci.tokens.insert(&reference, operation, pair.clone()).await;
        }
    }

    /// The name under which the OCI client files the login.
    fn registry_key(&self) -> String {
        self.reference(&Tag::latest()).resolve_registry().to_owned()
    }

    /// Asks the token server (distribution's token protocol, GET form).
    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        credentials: Option<&Credentials>,
    ) -> Result<Token, ClientError> {
        let odd = |what: &str| ClientError::Protocol(format!("the token server {what}"));
        let url = Url::parse(realm).map_err(|_| odd("has no readable address"))?;
        if !realm_is_trusted(&self.base, &url) {
            let host = url.host_str().unwrap_or("nowhere").to_owned();
            return Err(ClientError::Protocol(format!(
                "the registry sends logins to {}, which is not its own site; nothing was sent there",
                super::error::clean(&format!("{}://{host}", url.scheme()))
            )));
        }
        let scope = format!("repository:{}:pull,push", self.target.path);
        let sources = self.sources.iter().map(|source| format!("repository:{source}:pull"));
        let sources: Vec<String> = sources.collect();
        let mut query = vec![("scope", scope.as_str())];
        query.extend(sources.iter().map(|source| ("scope", source.as_str())));
        query.extend(service.map(|service| ("service", service)));
        let mut request = self.http.get(url).query(&query).timeout(TOKEN);
        if let Some(credentials) = credentials {
            request =
                request.basic_auth(&credentials.username, Some(credentials.password.expose()));
        }
        let response = request.send().await.map_err(|error| ClientError::from_reqwest(&error))?;
        let response = accept(Action::Token, response).await?;
        let body = body::at_most(response, LARGEST_TOKEN).await?;
        let token = Token::read(&body).ok_or_else(|| odd("gives no token"))?;
        self.settings.mask.hide(&token.value);
        Ok(token)
    }
}

pub(super) struct Token {
    pub(super) value: Secret,
    renew_at: Instant,
}

impl Token {
    /// Reads the answer of a token server.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let answer: Answer = serde_json::from_slice(body).ok()?;
        let token = answer.token.or(answer.access_token).filter(|token| is_header_text(token))?;
        Some(Self { value: Secret::new(token), renew_at: renew_at(answer.expires_in) })
    }
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// Well before the end, so that no request starts with a token that ends on its way. A token
/// without a life span lives 60 s (token protocol, "expires_in").
fn renew_at(expires_in: Option<u64>) -> Instant {
    let seconds = expires_in.unwrap_or(60).clamp(1, 24 * 3600);
    Instant::now() + Duration::from_secs(seconds - (seconds / 4).min(60))
}

/// The OCI client would panic on a token that cannot stand in a header.
fn is_header_text(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())
}

pub(super) fn basic(credentials: &Credentials) -> Secret {
    let pair = format!("{}:{}", credentials.username, credentials.password.expose());
    Secret::new(format!("Basic {}", STANDARD.encode(pair)))
}

fn unauthorized(action: Action) -> ClientError {
    let reasons = Vec::new();
    ClientError::Refused(Refusal { action, status: 401, reasons, retry_after: None })
}

fn oci_client(settings: &Settings, base: &Url) -> Result<Client, ClientError> {
    let protocol = match base.scheme() {
        "http" => ClientProtocol::Http,
        _ => ClientProtocol::Https,
    };
    let certificates = settings.certificates.iter();
    let certificates = certificates
        .map(|der| Certificate { encoding: CertificateEncoding::Der, data: der.clone() });
    let config = ClientConfig {
        protocol,
        use_monolithic_push: true,
        extra_root_certificates: certificates.collect(),
        platform_resolver: None,
        connect_timeout: Some(CONNECT),
        user_agent: settings.user_agent,
        ..ClientConfig::default()
    };
    // Not Client::new: it would go on with a default configuration if this one is wrong.
    Client::try_from(config).map_err(|error| ClientError::from_oci(Action::Ping, error))
}

const PING: Duration = Duration::from_secs(30);
const TOKEN: Duration = Duration::from_secs(60);
const LARGEST_TOKEN: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_token_is_renewed_before_it_ends() {
        let seconds = |life| (renew_at(life) - Instant::now()).as_secs();
        assert_eq!(seconds(Some(300)), 240);
        assert_eq!(seconds(None), 45);
        assert_eq!(seconds(Some(0)), 1);
        assert!(seconds(Some(u64::MAX)) <= 24 * 3600);
    }

    #[test]
    fn a_token_with_control_characters_is_no_token() {
        assert!(is_header_text("abc.def_-~+/="));
        for wrong in ["", "a b", "a\r\nX: y", "\u{e4}"] {
            assert!(!is_header_text(wrong), "{wrong:?}");
        }
    }
}
