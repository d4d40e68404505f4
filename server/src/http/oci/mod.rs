//! `/v2/`: the OCI distribution API.
//!
//! Invariant: every request is dispatched on an [`Endpoint`] parsed from the raw path, and every
//! handler does the same four things: parse, authorise, one verb, render. Locations are relative
//! (`/v2/…`) and never built from the request's `Host`.
//!
//! Any await of a handler may be its last, because the client may go away: a verb that changes
//! something runs through [`to_its_end`](super::extract::to_its_end).

mod blobs;
mod catalog;
pub mod endpoint;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod manifests;
mod query;
pub mod range;
mod referrers;
mod salvage;
mod tags;
pub(super) mod uploads;

use super::error::{Code, OciError};
use super::extract::Requester;
use super::limits::BodyBudget;
use crate::app::App;
use crate::domain::reference::InvalidReference;
use crate::registry::{Registry, RegistryError};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use endpoint::{Endpoint, InvalidPath};
use query::Query;
use salvage::Salvage;
use serde_json::json;
use std::sync::Arc;

/// The header that names the content's digest.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// What the handlers share.
#[derive(Clone, Debug)]
struct Oci {
    app: Arc<App>,
    budget: BodyBudget,
}

/// `/v2/` and everything below it.
pub(super) fn routes(app: Arc<App>) -> Router {
    let oci = Oci { app, budget: BodyBudget::new() };
    // axum matches the raw path; its own parameters would be percent-decoded and are not used.
    Router::new()
        .route("/v2", any(dispatch))
        .route("/v2/", any(dispatch))
        .route("/v2/{*path}", any(dispatch))
        .with_state(oci)
}

/// A request with its author; its body goes to those handlers that read it.
struct Call {
    oci: Oci,
    requester: Requester,
    parts: Parts,
}

impl Call {
    fn registry(&self) -> &Registry {
        &self.oci.app.registry
    }

    fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    fn query(&self) -> Query {
        Query::of(&self.parts.uri)
    }
}

type Answer = Result<Response, OciError>;

async fn dispatch(State(oci): State<Oci>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let endpoint = match Endpoint::parse(parts.uri.path()) {
        Ok(endpoint) => endpoint,
        Err(invalid) => return path_error(invalid, &parts.method).into_response(),
    };
    let scope = scope(&endpoint, &parts);
    let (body, salvage) = Salvage::of(body, &parts.headers);
    match answer(oci, endpoint, parts, body).await {
        Ok(response) => response,
        Err(error) => {
            salvage.drain().await;
            error.with_scope(scope).into_response()
        }
    }
}

async fn answer(oci: Oci, endpoint: Endpoint, parts: Parts, body: Body) -> Answer {
    let method = parts.method.clone();
    if !endpoint.allowed_methods().split(", ").any(|allowed| allowed == method.as_str()) {
        return Err(not_allowed(&endpoint));
    }
    let requester = identify(&oci, &endpoint, &parts).await?;
    let call = Call { oci, requester, parts };
    match (endpoint, method) {
        (Endpoint::Base, _) => base(&call),
        (Endpoint::Catalog, _) => catalog::list(call).await,
        (Endpoint::Blob { name, digest }, Method::DELETE) => {
            blobs::delete(call, name, digest).await
        }
        (Endpoint::Blob { name, digest }, _) => blobs::read(call, name, digest).await,
        (Endpoint::Manifest { name, reference }, Method::DELETE) => {
            manifests::delete(call, name, reference).await
        }
        (Endpoint::Manifest { name, reference }, Method::PUT) => {
            manifests::put(call, body, name, reference).await
        }
        (Endpoint::Manifest { name, reference }, Method::HEAD) => {
            manifests::head(call, name, reference).await
        }
        (Endpoint::Manifest { name, reference }, _) => manifests::get(call, name, reference).await,
        (Endpoint::Referrers { name, digest }, _) => referrers::list(call, name, digest).await,
        (Endpoint::Tags { name }, _) => tags::list(call, name).await,
        (Endpoint::Upload { name, id }, Method::DELETE) => uploads::cancel(call, name, id).await,
        (Endpoint::Upload { name, id }, Method::PATCH) => {
            uploads::append(call, body, name, id).await
        }
        (Endpoint::Upload { name, id }, Method::PUT) => uploads::finish(call, body, name, id).await,
        (Endpoint::Upload { name, id }, _) => uploads::status(call, name, id).await,
        (Endpoint::Uploads { name }, _) => uploads::start(call, body, name).await,
    }
}

/// Who asks. A registry token may end in the middle of a long push: on the upload itself, the pass in
/// its location lets the same principal go on. The manifest that closes the push is asked anew.
async fn identify(
    oci: &Oci,
    endpoint: &Endpoint,
    parts: &Parts,
) -> Result<Requester, crate::auth::AuthError> {
    let auth = &oci.app.auth;
    match (Requester::identify(auth, parts).await, endpoint) {
        (Err(expired @ crate::auth::AuthError::Expired), Endpoint::Upload { id, .. }) => {
            let query = Query::of(&parts.uri);
            match query.all(uploads::PASS).next() {
                Some(pass) => Requester::identify_uploader(auth, parts, *id, pass).await,
                None => Err(expired),
            }
        }
        (identified, _) => identified,
    }
}

/// What a challenge asks for: a mount reads another package, too.
fn scope(endpoint: &Endpoint, parts: &Parts) -> Option<String> {
    let scope = endpoint.scope(&parts.method)?;
    let source = match endpoint {
        Endpoint::Uploads { .. } => uploads::source(&Query::of(&parts.uri)),
        _ => None,
    };
    Some(match source {
        Some(from) => format!("{scope} repository:{from}:pull"),
        None => scope,
    })
}

/// The handshake: clients learn here that the API is spoken and how to log in. A valid token of an
/// anonymous caller is a credential, too.
fn base(call: &Call) -> Answer {
    let caller = &call.requester.caller;
    if caller.is_anonymous() && caller.grants.is_none() {
        return Err(RegistryError::Unauthenticated.into());
    }
    Ok(Json(json!({})).into_response())
}

fn not_allowed(endpoint: &Endpoint) -> OciError {
    let allowed = endpoint.allowed_methods();
    let message = format!("only {allowed} make sense here");
    OciError::new(StatusCode::METHOD_NOT_ALLOWED, Code::Unsupported, "method-not-allowed", message)
        .with(header::ALLOW, allowed)
}

/// What is wrong with a path decides the code. An illegal tag or session id that is looked for is
/// simply not there (the OCI conformance tests ask for such a tag and expect 404).
fn path_error(invalid: InvalidPath, method: &Method) -> OciError {
    let looks = matches!(*method, Method::GET | Method::HEAD | Method::DELETE);
    let (status, code) = match invalid {
        InvalidPath::Digest(_) | InvalidPath::Reference(InvalidReference::Digest(_)) => {
            (StatusCode::BAD_REQUEST, Code::DigestInvalid)
        }
        InvalidPath::Name(_) => (StatusCode::BAD_REQUEST, Code::NameInvalid),
        InvalidPath::Reference(InvalidReference::Tag) if looks => {
            (StatusCode::NOT_FOUND, Code::ManifestUnknown)
        }
        InvalidPath::Reference(InvalidReference::Tag) => {
            (StatusCode::BAD_REQUEST, Code::ManifestInvalid)
        }
        InvalidPath::Unknown => (StatusCode::NOT_FOUND, Code::NameUnknown),
        InvalidPath::Upload => (StatusCode::NOT_FOUND, Code::BlobUploadUnknown),
    };
    OciError::new(status, code, "path-invalid", invalid.to_string())
}

/// A page of a list with the way to the next one (RFC 8288). The path must be fit for a header, which
/// names, tags and numbers are.
fn linked(body: impl IntoResponse, next: Option<String>) -> Response {
    match next {
        Some(next) => ([(header::LINK, format!("<{next}>; rel=\"next\""))], body).into_response(),
        None => body.into_response(),
    }
}

/// 400 for something about a request that cannot be understood.
fn bad_request(code: Code, message: impl Into<String>) -> OciError {
    OciError::new(StatusCode::BAD_REQUEST, code, "request-invalid", message)
}
