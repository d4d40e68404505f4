//! Refusals as pages.
//!
//! Invariant: the table of `http/error.rs` decides about status and words. What is not there and what
//! the viewer may not see is one page, byte for byte but for the request's id.

use super::page;
use crate::auth::AuthError;
use crate::http::error::{ApiError, Form, Problem};
use crate::registry::RegistryError;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

/// Why there is no page.
#[derive(Clone, Debug)]
pub(super) enum WebError {
    /// A refusal, and the field of a form that it is about.
    Refused(Box<Problem>, Option<&'static str>),
    /// Another page first.
    Elsewhere(String),
}

/// Why a form was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Why {
    /// The reason, as a sentence for people.
    pub(super) text: String,
    /// The field that it is about, as the verb calls it, and the reason without its name.
    pub(super) field: Option<(&'static str, String)>,
}

impl WebError {
    /// There is nothing, or the viewer may not see it.
    pub(super) fn not_found() -> Self {
        RegistryError::NotFound("such page".to_owned()).into()
    }

    /// The form is not of this session.
    pub(super) fn form_is_old() -> Self {
        Self::plain(
            StatusCode::FORBIDDEN,
            "form-is-old",
            "this form is from an earlier visit, so nothing was done; go back, load the page again and repeat",
        )
    }

    /// The form is not of this site.
    pub(super) fn from_elsewhere() -> Self {
        Self::plain(
            StatusCode::FORBIDDEN,
            "cross-site",
            "this form was sent by another site, so nothing was done",
        )
    }

    /// The form has too many bytes.
    pub(super) fn form_is_too_large() -> Self {
        Self::plain(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "the form is too large; choose less at once",
        )
    }

    /// Who asks has to sign in, and comes back afterwards.
    pub(super) fn sign_in_first(next: &str) -> Self {
        let next = percent(next);
        Self::Elsewhere(format!("/sign-in?next={next}"))
    }

    fn plain(status: StatusCode, kind: &'static str, message: &str) -> Self {
        Self::Refused(Box::new(ApiError::new(status, kind, message).into_problem()), None)
    }

    /// The refusal, if it is one that a person can do something about in the form they sent.
    pub(super) fn words(&self) -> Option<(StatusCode, Why)> {
        match self {
            Self::Refused(problem, field) if problem.status.is_client_error() => {
                let reason = field.and_then(|field| problem.message.strip_prefix(field));
                let reason = reason.map(|rest| rest.trim_start_matches(": ").to_owned());
                let text = sentence(&problem.message);
                Some((problem.status, Why { text, field: field.zip(reason) }))
            }
            _ => None,
        }
    }
}

impl From<RegistryError> for WebError {
    fn from(error: RegistryError) -> Self {
        let field = match &error {
            RegistryError::Invalid { field, .. } => Some(*field),
            _ => None,
        };
        Self::Refused(Box::new(ApiError::from(error).into_problem()), field)
    }
}

impl From<AuthError> for WebError {
    fn from(error: AuthError) -> Self {
        Self::Refused(Box::new(ApiError::from(error).into_problem()), None)
    }
}

impl IntoResponse for WebError {
    fn into_response(self) -> Response {
        match self {
            Self::Elsewhere(url) => go(&url),
            Self::Refused(problem, _) => {
                let mut response = problem.status.into_response();
                let problem = Problem { form: Form::Page, ..*problem };
                response.extensions_mut().insert(problem);
                response
            }
        }
    }
}

/// What a browser is shown at an address that is nothing.
pub(in crate::http) fn nothing() -> impl IntoResponse {
    WebError::not_found()
}

/// Sends the browser to another page of ours.
pub(super) fn go(url: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let location = HeaderValue::try_from(url).unwrap_or_else(|_| HeaderValue::from_static("/"));
    response.headers_mut().insert(header::LOCATION, location);
    response
}

/// The page of a refusal.
pub(in crate::http) fn body(problem: &Problem, id: &str) -> String {
    let (title, advice) = match problem.status {
        StatusCode::NOT_FOUND => (
            "There is nothing here",
            "What you are looking for does not exist, or your account may not see it. Check the address, or ask an administrator of the workspace for a role on the repository.",
        ),
        StatusCode::FORBIDDEN => ("That is not for you to do", ""),
        StatusCode::TOO_MANY_REQUESTS => ("Too many attempts", ""),
        StatusCode::CONFLICT => ("That does not fit what is there", ""),
        StatusCode::BAD_REQUEST => ("That cannot be done like this", ""),
        StatusCode::INSUFFICIENT_STORAGE => (
            "The disk is full",
            "Deleting still works. An administrator can reclaim space under Storage.",
        ),
        status if status.is_server_error() => (
            "The registry could not do it",
            "Try again in a moment. If it stays like this, tell whoever runs the registry the number below; its log says more under it.",
        ),
        _ => ("That did not work", ""),
    };
    let hidden = problem.status == StatusCode::NOT_FOUND;
    let body: Markup = html! {
        h1 { (title) }
        @if !hidden { p { (sentence(&problem.message)) } }
        @if !advice.is_empty() { p { (advice) } }
        p { a href="/" { "Go to your workspaces" } }
        p.quiet { "Request " code { (id) } }
    };
    page::bare(title, &body).into_string()
}

/// A message as a sentence of its own.
pub(super) fn sentence(message: &str) -> String {
    let mut letters = message.chars();
    let Some(first) = letters.next() else { return String::new() };
    let end = if message.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{}{}{end}", first.to_uppercase(), letters.as_str())
}

/// A text as it stands in a query.
pub(super) fn percent(text: &str) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            // A string takes everything.
            _ => drop(write!(escaped, "%{byte:02X}")),
        }
    }
    escaped
}
