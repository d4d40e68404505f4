//! From a request to who asks, what for, and the bytes that come with it.
//!
//! Invariant: past this file nobody reads `Authorization`, and a mutation's
//! [`Change`] always names the principal and the request.

use super::error::ApiError;
use super::serve::Peer;
use crate::app::App;
use crate::auth::{AuthError, Authenticator};
use crate::blobs::ByteStream;
use crate::domain::{Caller, Change, Origin, UploadId};
use crate::registry::{RegistryError, access};
use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderName, header};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use tracing::Instrument as _;

/// The longest request id taken from outside, in characters.
const LONGEST_REQUEST_ID: usize = 64;

/// What accompanies a request through all layers.
#[derive(Debug)]
pub(crate) struct RequestContext {
    id: String,
    actor: OnceLock<String>,
    source: Option<IpAddr>,
}

impl RequestContext {
    /// Takes the client's `X-Request-Id` if it is harmless, else makes one. `source` is the client's
    /// own address, if that is known.
    pub(super) fn of(headers: &HeaderMap, source: Option<IpAddr>) -> Self {
        let given = headers.get(HeaderName::from_static("x-request-id"));
        let given = given.and_then(|value| value.to_str().ok()).filter(|text| is_harmless(text));
        let id = given.map_or_else(|| uuid::Uuid::new_v4().to_string(), ToOwned::to_owned);
        Self { id, actor: OnceLock::new(), source }
    }

    /// The request's id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// It is this caller who asks.
    pub(super) fn called_by(&self, caller: &Caller) {
        // It is set once per request; a second extractor finds the same.
        let _: Result<(), String> = self.actor.set(caller.principal.key());
    }

    /// Who asked, once that is known.
    pub(super) fn actor(&self) -> Option<&str> {
        self.actor.get().map(String::as_str)
    }
}

fn is_harmless(id: &str) -> bool {
    (1..=LONGEST_REQUEST_ID).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Who asks. As an extractor it is for REST: a bad credential is refused with a problem.
#[derive(Clone, Debug)]
pub struct Requester {
    /// The caller.
    pub caller: Caller,
    context: Arc<RequestContext>,
    origin: Origin,
}

impl Requester {
    /// Reads the credential of a request. No credential is the anonymous caller.
    ///
    /// # Errors
    /// [`AuthError`] for a credential that is not accepted; also for two at once.
    pub async fn identify(auth: &Authenticator, parts: &Parts) -> Result<Self, AuthError> {
        let context = parts.extensions.get::<Arc<RequestContext>>().cloned();
        let context = context.unwrap_or_else(|| Arc::new(RequestContext::of(&parts.headers, None)));
        let authorization = authorization(&parts.headers)?;
        let caller = auth.caller_from(authorization, source(&parts.extensions)).await?;
        Ok(Self::of(caller, context, parts))
    }

    /// The same for a request about an upload, with the pass of it.
    ///
    /// # Errors
    /// [`AuthError`].
    pub async fn identify_uploader(
        auth: &Authenticator,
        parts: &Parts,
        upload: UploadId,
        pass: &str,
    ) -> Result<Self, AuthError> {
        let context = parts.extensions.get::<Arc<RequestContext>>().cloned();
        let context = context.unwrap_or_else(|| Arc::new(RequestContext::of(&parts.headers, None)));
        let authorization = authorization(&parts.headers)?;
        let caller = auth.uploader(authorization, upload, pass).await?;
        Ok(Self::of(caller, context, parts))
    }

    fn of(caller: Caller, context: Arc<RequestContext>, parts: &Parts) -> Self {
        context.called_by(&caller);
        let agent = parts.headers.get(header::USER_AGENT);
        let origin = Origin::from_user_agent(agent.and_then(|value| value.to_str().ok()));
        Self { caller, context, origin }
    }

    /// The author of a mutation that this request asks for.
    #[must_use]
    pub fn change(&self) -> Change {
        access::change(&self.caller, self.context.id(), self.origin.clone())
    }

    /// The request's id.
    #[must_use]
    pub fn request_id(&self) -> &str {
        self.context.id()
    }
}

impl FromRequestParts<Arc<App>> for Requester {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        Ok(Self::identify(&app.auth, parts).await?)
    }
}

/// The one `Authorization` header of a request.
///
/// # Errors
/// [`AuthError::Invalid`] for several of them, or for one that is not text.
pub fn authorization(headers: &HeaderMap) -> Result<Option<&str>, AuthError> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(only), None) => only.to_str().map(Some).map_err(|_| AuthError::Invalid),
        (Some(_), Some(_)) => Err(AuthError::Invalid),
    }
}

/// The address of the client itself, for limits on guessing, if that is known.
#[must_use]
pub fn source(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<Arc<RequestContext>>().and_then(|context| context.source)
}

/// The other end of a request's connection: the client, or a proxy in front.
pub(super) fn peer(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<ConnectInfo<Peer>>().map(|ConnectInfo(peer)| peer.address().ip())
}

/// A request's body as the registry takes it.
#[must_use]
pub fn byte_stream(body: Body) -> ByteStream {
    ByteStream::new(body.into_data_stream())
}

/// Runs a verb to its end even if the client goes away: a handler's future is dropped then, and a
/// change must not be cut between its steps.
///
/// # Errors
/// The verb's own; [`RegistryError::Busy`] if the server stops meanwhile.
///
/// # Panics
/// If the verb panics.
pub async fn to_its_end<T, V>(verb: V) -> Result<T, RegistryError>
where
    T: Send + 'static,
    V: Future<Output = Result<T, RegistryError>> + Send + 'static,
{
    match tokio::spawn(verb.in_current_span()).await {
        Ok(outcome) => outcome,
        Err(ended) => match ended.try_into_panic() {
            Ok(payload) => std::panic::resume_unwind(payload),
            Err(_) => Err(RegistryError::Busy),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(name: &'static str, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_harmless_request_id_is_kept_and_any_other_replaced() {
        let id =
            |value| RequestContext::of(&headers("x-request-id", &[value]), None).id().to_owned();
        assert_eq!(id("build-42_x"), "build-42_x");
        for bad in ["", "a b", "a\tb", "\"", "é", &"x".repeat(65)] {
            let value: &'static str = Box::leak(bad.to_owned().into_boxed_str());
            let mut given = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_str(value) {
                given.insert("x-request-id", value);
            }
            let id = RequestContext::of(&given, None).id().to_owned();
            assert!(uuid::Uuid::parse_str(&id).is_ok(), "{bad:?} became {id}");
        }
    }

    #[test]
    fn two_credentials_are_refused() {
        let found = |values| {
            authorization(&headers("authorization", values)).map(|found| found.map(str::to_owned))
        };
        assert!(matches!(found(&[]), Ok(None)));
        assert!(matches!(found(&["Basic x"]), Ok(Some(text)) if text == "Basic x"));
        assert!(matches!(found(&["Basic x", "Basic x"]), Err(AuthError::Invalid)));
    }

    #[tokio::test]
    async fn a_verb_goes_on_when_its_caller_goes_away() {
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let (done, finished) = tokio::sync::oneshot::channel::<()>();
        let caller = tokio::spawn(to_its_end(async move {
            let _ = wait.await;
            let _ = done.send(());
            Ok(())
        }));
        tokio::task::yield_now().await;
        caller.abort();
        assert!(caller.await.is_err());
        go.send(()).expect("the verb still waits");
        finished.await.expect("the verb ends by itself");
    }
}
