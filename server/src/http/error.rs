//! From an error to an answer: the one table.
//!
//! Invariant: every [`RegistryError`] and [`AuthError`] has one row in [`row`] or [`credential`], the
//! same for `/v2/` and REST. Answers of status 5xx never carry a cause: it is logged once, where the
//! answer is made ([`super::boundary`]), under the request id that the client is told.
//!
//! An [`OciError`] or [`ApiError`] becomes a response without a body that carries its [`Problem`];
//! the boundary writes the body, because only there the request id and the challenge are known.

mod code;

pub use code::Code;

use crate::auth::AuthError;
use crate::registry::RegistryError;
use crate::registry::error::NotCreated;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::error::Error;
use tokio::time::error::Elapsed;

/// What a client has to do about its credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// Show one.
    Missing,
    /// Show another one; a bearer token of this kind is not valid any more.
    Invalid,
    /// Fetch a token with this scope.
    Scope(String),
}

/// Everything an answer needs to be written.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) code: Code,
    /// The problem's type in REST, in words joined by `-`.
    pub(crate) kind: &'static str,
    pub(crate) message: String,
    pub(crate) headers: Vec<(HeaderName, String)>,
    /// Set for 401.
    pub(crate) challenge: Option<Challenge>,
    /// The scope that the challenge names unless the error knows better.
    pub(crate) scope: Option<String>,
    /// What happened, for the log only.
    pub(crate) cause: Option<String>,
    pub(crate) form: Form,
}

/// How the body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `{"errors":[…]}` of the distribution API.
    Oci,
    /// RFC 9457.
    Rest,
    /// A page of the web UI.
    Page,
}

impl Problem {
    fn new(status: StatusCode, code: Code, kind: &'static str, message: String) -> Self {
        Self {
            status,
            code,
            kind,
            message,
            headers: Vec::new(),
            challenge: None,
            scope: None,
            cause: None,
            form: Form::Rest,
        }
    }

    /// What a panic is told as.
    pub(super) fn panicked(words: &str) -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        let problem = failure(Self::new(status, Code::Unknown, "failed", String::new()));
        Self { cause: Some(format!("the handler panicked: {words}")), ..problem }
    }

    fn with(mut self, name: HeaderName, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    fn challenged(mut self, challenge: Challenge) -> Self {
        self.challenge = Some(challenge);
        self
    }

    fn caused_by(mut self, error: &dyn Error) -> Self {
        self.cause = Some(chain(error));
        self
    }
}

/// The table: status, code, kind, words and headers of each refusal.
fn row(error: &RegistryError) -> Problem {
    use RegistryError as E;
    let (status, code, kind) = match error {
        E::AdministratorsOnly(_) => (StatusCode::FORBIDDEN, Code::Denied, "administrators-only"),
        E::AlreadyExists(_) => (StatusCode::CONFLICT, Code::Denied, "already-exists"),
        E::AlreadyRuns(_) => (StatusCode::CONFLICT, Code::Denied, "already-runs"),
        E::BlobDamaged(_) => (StatusCode::INTERNAL_SERVER_ERROR, Code::Unknown, "blob-damaged"),
        E::BlobTooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, Code::SizeInvalid, "blob-too-large"),
        E::BlobUnknown(_) => (StatusCode::NOT_FOUND, Code::BlobUnknown, "blob-unknown"),
        E::BodyBroken(source) if stalled(source) => {
            (StatusCode::REQUEST_TIMEOUT, Code::BlobUploadInvalid, "body-stalled")
        }
        E::BodyBroken(_) => (StatusCode::BAD_REQUEST, Code::BlobUploadInvalid, "body-broken"),
        E::Busy => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, "busy"),
        E::ChangedMeanwhile(_) => (StatusCode::CONFLICT, Code::Denied, "changed-meanwhile"),
        E::Denied(_) => (StatusCode::FORBIDDEN, Code::Denied, "role-too-small"),
        E::DigestMismatch { .. } => {
            (StatusCode::BAD_REQUEST, Code::DigestInvalid, "digest-mismatch")
        }
        E::HasPackages(_) => (StatusCode::CONFLICT, Code::Denied, "has-packages"),
        E::InsufficientScope { .. } => {
            (StatusCode::UNAUTHORIZED, Code::Unauthorized, "insufficient-scope")
        }
        E::Invalid { .. } => (StatusCode::BAD_REQUEST, Code::Unsupported, "invalid"),
        E::ManifestBlobUnknown(_) => {
            (StatusCode::NOT_FOUND, Code::ManifestBlobUnknown, "manifest-blob-unknown")
        }
        E::ManifestInvalid(_) => {
            (StatusCode::BAD_REQUEST, Code::ManifestInvalid, "manifest-invalid")
        }
        E::ManifestSize { .. } => (StatusCode::BAD_REQUEST, Code::SizeInvalid, "manifest-size"),
        E::ManifestTooLarge(_) => {
            (StatusCode::PAYLOAD_TOO_LARGE, Code::ManifestInvalid, "manifest-too-large")
        }
        E::ManifestUnknown(_) => (StatusCode::NOT_FOUND, Code::ManifestUnknown, "manifest-unknown"),
        E::NameUnknown { .. } => (StatusCode::NOT_FOUND, Code::NameUnknown, "name-unknown"),
        E::NoSpace => (StatusCode::INSUFFICIENT_STORAGE, Code::Unavailable, "no-space"),
        E::NotFound(_) => (StatusCode::NOT_FOUND, Code::NameUnknown, "not-found"),
        E::RepositoryGone => (StatusCode::CONFLICT, Code::Denied, "repository-gone"),
        E::TagRules(_) => (StatusCode::FORBIDDEN, Code::Denied, "tag-rules"),
        E::TokenScope(_) => (StatusCode::FORBIDDEN, Code::Denied, "token-scope"),
        E::Unauthenticated => (StatusCode::UNAUTHORIZED, Code::Unauthorized, "unauthenticated"),
        E::Unavailable(_) => (StatusCode::INTERNAL_SERVER_ERROR, Code::Unknown, "failed"),
        E::UploadBusy => (StatusCode::CONFLICT, Code::BlobUploadInvalid, "upload-busy"),
        E::UploadExpired(_) => (StatusCode::BAD_REQUEST, Code::BlobUploadInvalid, "upload-expired"),
        E::UploadOffset { .. } => {
            (StatusCode::RANGE_NOT_SATISFIABLE, Code::BlobUploadInvalid, "upload-offset")
        }
        E::UploadSize { .. } => (StatusCode::BAD_REQUEST, Code::SizeInvalid, "upload-size"),
        E::UploadUnknown => (StatusCode::NOT_FOUND, Code::BlobUploadUnknown, "upload-unknown"),
    };
    Problem::new(status, code, kind, error.to_string())
}

/// The row with what goes beside status and code.
fn problem(error: &RegistryError) -> Problem {
    let plain = row(error);
    match error {
        RegistryError::Busy => plain.with(header::RETRY_AFTER, 1),
        RegistryError::InsufficientScope { name, action } => {
            let actions = crate::http::challenge::actions(*action);
            plain.challenged(Challenge::Scope(format!("repository:{name}:{actions}")))
        }
        RegistryError::NameUnknown { why, .. } => {
            let advice = advice(why);
            Problem { message: format!("{error}{advice}"), ..plain }
        }
        RegistryError::Unauthenticated => plain.challenged(Challenge::Missing),
        // Said to the client too, because a push heals it; and logged, because somebody must look.
        RegistryError::BlobDamaged(_) => plain.caused_by(error),
        RegistryError::Unavailable(_) => failure(plain).caused_by(error),
        RegistryError::UploadOffset { actual } => {
            plain.with(header::RANGE, crate::http::oci::range::uploaded(*actual))
        }
        _ => plain,
    }
}

/// The rows of credentials that were not accepted.
fn credential(error: &AuthError) -> Problem {
    let message = error.to_string();
    let unauthorized =
        |kind| Problem::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, kind, message.clone());
    match error {
        AuthError::Expired => unauthorized("token-expired").challenged(Challenge::Invalid),
        AuthError::Invalid | AuthError::Refused(_) => {
            unauthorized("credential-invalid").challenged(Challenge::Invalid)
        }
        AuthError::Oidc(refusal) => match refusal.retry_after() {
            Some(seconds) => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                Problem::new(status, Code::Unavailable, "issuer-unavailable", message)
                    .with(header::RETRY_AFTER, seconds)
            }
            None => unauthorized("oidc-refused").challenged(Challenge::Invalid),
        },
        AuthError::TooMany(seconds) => {
            let status = StatusCode::TOO_MANY_REQUESTS;
            Problem::new(status, Code::TooManyRequests, "too-many-attempts", message)
                .with(header::RETRY_AFTER, *seconds)
        }
        AuthError::Unavailable(_) => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            failure(Problem::new(status, Code::Unknown, "failed", message)).caused_by(error)
        }
    }
}

/// Says no more than that it failed.
fn failure(problem: Problem) -> Problem {
    let message = "the registry failed; its log says why, under this request id".to_owned();
    Problem { message, ..problem }
}

/// What to do about a package that a push did not create (DESIGN §7).
fn advice(why: &NotCreated) -> String {
    match why {
        NotCreated::Hidden => ", or this login may not see it".to_owned(),
        NotCreated::Never => {
            ", and this workspace does not create packages by a push; an admin of a repository creates it first: standpipe-server admin package create, or POST /api/v1/workspaces/<workspace>/packages".to_owned()
        }
        NotCreated::NoRepository => {
            ", and no repository fits it: create a repository with the slug of the name's second part, or set the workspace's default_repository, or create the package linked to a repository".to_owned()
        }
        NotCreated::Role { needed, repository } => format!(
            ", and creating it takes the role {} on the repository {repository}; ask an admin of it to create the package, or set the workspace's create_on_push to writers",
            needed.as_str(),
        ),
    }
}

/// Whether a body broke off because nothing came for too long.
fn stalled(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(found) = cause {
        if found.is::<super::pace::TooSlow>() || found.is::<Elapsed>() {
            return true;
        }
        cause = found.source();
    }
    false
}

/// An error with its causes, each once: for the log, and for the person at the command line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = next.source();
    }
    text
}

/// A refusal on `/v2/` and `/token`.
#[derive(Clone, Debug)]
pub struct OciError(Box<Problem>);

/// A refusal of the REST API, sent as `application/problem+json`.
#[derive(Clone, Debug)]
pub struct ApiError(Box<Problem>);

impl OciError {
    /// A refusal that no verb made, such as a header that cannot be read.
    #[must_use]
    pub fn new(
        status: StatusCode,
        code: Code,
        kind: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Problem::new(status, code, kind, message.into()).into()
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: impl ToString) -> Self {
        self.0.headers.push((name, value.to_string()));
        self
    }

    /// Names the scope that a challenge asks for unless the refusal knows better.
    #[must_use]
    pub fn with_scope(mut self, scope: Option<String>) -> Self {
        self.0.scope = scope;
        self
    }

    /// The status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.0.status
    }
}

impl ApiError {
    /// A refusal that no verb made. `kind` is the problem's type in words joined by `-`.
    #[must_use]
    pub fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Problem::new(status, Code::Unsupported, kind, message.into()).into()
    }

    /// 400 for a field of a request.
    #[must_use]
    pub fn invalid(field: &'static str, reason: impl ToString) -> Self {
        RegistryError::Invalid { field, reason: reason.to_string() }.into()
    }

    /// 404 for something that is not there, or that the caller may not see.
    #[must_use]
    pub fn not_found(what: impl ToString) -> Self {
        RegistryError::NotFound(what.to_string()).into()
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: impl ToString) -> Self {
        self.0.headers.push((name, value.to_string()));
        self
    }

    /// The status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Everything an answer of another form needs.
    pub(crate) fn into_problem(self) -> Problem {
        *self.0
    }
}

impl From<Problem> for OciError {
    fn from(problem: Problem) -> Self {
        Self(Box::new(Problem { form: Form::Oci, ..problem }))
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self(Box::new(Problem { form: Form::Rest, ..problem }))
    }
}

macro_rules! from_errors {
    ($($answer:ident),*) => {$(
        impl From<RegistryError> for $answer {
            fn from(error: RegistryError) -> Self {
                problem(&error).into()
            }
        }

        impl From<AuthError> for $answer {
            fn from(error: AuthError) -> Self {
                credential(&error).into()
            }
        }

        impl IntoResponse for $answer {
            fn into_response(self) -> Response {
                let mut response = self.0.status.into_response();
                response.extensions_mut().insert(*self.0);
                response
            }
        }
    )*};
}
from_errors!(OciError, ApiError);

#[cfg(test)]
mod tests;
