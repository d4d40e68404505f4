//! What REST handlers give: representations, pages, times.

use super::input::Wanted;
use crate::domain::Timestamp;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::sync::Arc;

/// A page of a list.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Items<T> {
    /// The items, in the order of the list.
    items: Vec<T>,
    /// What to send as `after` for the next page; `null` on the last one.
    next: Option<String>,
}

impl<T: Serialize> Items<T> {
    /// A list that has no pages.
    pub(super) fn whole<R>(found: Vec<R>, show: impl Fn(R) -> T) -> Self {
        Self { items: found.into_iter().map(show).collect(), next: None }
    }

    /// A page of what was read, where one item more than wanted says that there is a next page.
    pub(super) fn page<R>(
        mut found: Vec<R>,
        wanted: &Wanted,
        cursor: impl Fn(&R) -> String,
        show: impl Fn(R) -> T,
    ) -> Self {
        let more = found.len() > wanted.limit();
        found.truncate(wanted.limit());
        let next = found.last().filter(|_| more).map(cursor);
        Self { items: found.into_iter().map(show).collect(), next }
    }
}

impl<T: Serialize> IntoResponse for Items<T> {
    fn into_response(self) -> Response {
        axum::Json(self).into_response()
    }
}

/// 201 with the representation of what was created, and where it is.
#[derive(Clone, Debug)]
pub(super) struct Created<T> {
    pub(super) location: String,
    pub(super) body: T,
}

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        let location = [(header::LOCATION, self.location)];
        (StatusCode::CREATED, location, axum::Json(self.body)).into_response()
    }
}

/// JSON that is a text already.
pub(super) fn json_text(text: &Arc<str>) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, Body::from(text.to_string())).into_response()
}

/// A time as RFC 3339.
pub(super) fn time(at: Timestamp) -> String {
    at.to_string()
}

/// A refusal (RFC 9457).
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes in openapi.json what http/boundary.rs writes")]
pub(super) struct Problem {
    /// `urn:standpipe:problem:` and the kind of the problem.
    r#type: String,
    /// The kind in words.
    title: String,
    /// The status of the response.
    status: u16,
    /// What is wrong with this request; names the field where there is one.
    detail: String,
    /// The id under which the server's log knows the request.
    request_id: String,
}

/// The refusals that any call may meet.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "describes in openapi.json what http/error.rs chooses")]
pub(super) enum Refusals {
    /// A field is not what it must be; `detail` names it.
    #[response(status = 400, content_type = "application/problem+json")]
    Invalid(#[to_schema] Problem),
    /// No login, or one that is not valid any more.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(#[to_schema] Problem),
    /// The role does not suffice.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(#[to_schema] Problem),
    /// It does not exist, or this login may not see it.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(#[to_schema] Problem),
    /// It is in the way of something that exists already or was changed meanwhile.
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(#[to_schema] Problem),
    /// Too many attempts to log in, or too many changes waiting; `Retry-After` says when to try again.
    #[response(status = 429, content_type = "application/problem+json")]
    TooMany(#[to_schema] Problem),
}
