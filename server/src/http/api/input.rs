//! What REST handlers take: a login, parsed path segments, JSON bodies, query strings.
//!
//! Invariant: whatever a handler gets from here is legal in itself, and every refusal is a problem
//! that names the field. The login is the first argument of every handler, so that nobody without
//! one learns whether the rest of the request would have been legal.

use crate::app::App;
use crate::domain::{Caller, Change, PackageId, Slug, Tag, Username};
use crate::http::error::ApiError;
use crate::http::extract::Requester;
use crate::metadata::Page;
use axum::extract::rejection::{BytesRejection, JsonRejection};
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

/// The longest display name in characters.
const LONGEST_NAME: usize = 100;
/// The longest cursor in bytes; every key that a list is ordered by is shorter.
const LONGEST_CURSOR: usize = 512;
/// Items on a page unless the request says how many.
const DEFAULT_LIMIT: usize = 100;
/// The most items on a page.
const MOST_ITEMS: usize = 1000;

/// A request whose author has logged in with a credential of their own.
#[derive(Clone, Debug)]
pub(super) struct Call(Requester);

impl Call {
    /// Who asks.
    pub(super) const fn caller(&self) -> &Caller {
        &self.0.caller
    }

    /// The author of the change.
    pub(super) fn change(&self) -> Change {
        self.0.change()
    }
}

impl FromRequestParts<Arc<App>> for Call {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let requester = Requester::from_request_parts(parts, app).await?;
        app.registry.api_caller(&requester.caller)?;
        Ok(Self(requester))
    }
}

/// The parsed parameters of the route's path, in their order.
#[derive(Clone, Debug)]
pub(super) struct At<T>(pub(super) T);

/// One parameter of a path.
pub(super) trait Segment: Sized {
    fn read(text: &str) -> Result<Self, String>;
}

macro_rules! parsed_segments {
    ($($kind:ty),*) => {$(
        impl Segment for $kind {
            fn read(text: &str) -> Result<Self, String> {
                <$kind>::from_str(text).map_err(|error| error.to_string())
            }
        }
    )*};
}
parsed_segments!(Slug, Tag, Username);

impl Segment for PackageId {
    fn read(text: &str) -> Result<Self, String> {
        let id = text.parse::<u64>().ok().filter(|id| id.to_string() == text);
        id.map(Self).ok_or_else(|| "a package is addressed by its id, which is a number".to_owned())
    }
}

/// A token's id.
#[derive(Clone, Debug)]
pub(super) struct TokenId(pub(super) String);

impl Segment for TokenId {
    fn read(text: &str) -> Result<Self, String> {
        let legal = text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        legal.then(|| Self(text.to_owned())).ok_or_else(|| "not the id of a token".to_owned())
    }
}

/// A binding's id.
#[derive(Clone, Debug)]
pub(super) struct BindingId(pub(super) String);

impl Segment for BindingId {
    fn read(text: &str) -> Result<Self, String> {
        let TokenId(id) = TokenId::read(text).map_err(|_| "not the id of a binding".to_owned())?;
        Ok(Self(id))
    }
}

macro_rules! segments {
    ($($kind:ident),*) => {
        impl<$($kind: Segment),*> FromRequestParts<Arc<App>> for At<($($kind,)*)> {
            type Rejection = ApiError;

            async fn from_request_parts(
                parts: &mut Parts,
                app: &Arc<App>,
            ) -> Result<Self, ApiError> {
                let raw = RawPathParams::from_request_parts(parts, app).await;
                let raw = raw.map_err(|_| ApiError::invalid("path", "not UTF-8"))?;
                let mut all = raw.iter();
                Ok(Self(($(next_segment::<$kind>(&mut all)?,)*)))
            }
        }
    };
}
segments!(A);
segments!(A, B);
segments!(A, B, C);

fn next_segment<'a, T: Segment>(
    all: &mut impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<T, ApiError> {
    let (name, text) = all.next().ok_or_else(|| ApiError::not_found("such page"))?;
    T::read(text).map_err(|reason| ApiError::invalid(field(name), reason))
}

/// The routes' parameter names; errors name fields that live as long as the program.
fn field(parameter: &str) -> &'static str {
    ["workspace", "repository", "user", "package", "tag", "token", "binding", "robot"]
        .into_iter()
        .find(|known| *known == parameter)
        .unwrap_or("path")
}

/// A JSON body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        match axum::Json::<T>::from_request(request, app).await {
            Ok(axum::Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(refused(&rejection)),
        }
    }
}

fn refused(rejection: &JsonRejection) -> ApiError {
    match rejection {
        JsonRejection::MissingJsonContentType(_) => ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not-json",
            "the body must be JSON, with Content-Type: application/json",
        ),
        JsonRejection::BytesRejection(BytesRejection::FailedToBufferBody(reason))
            if reason.status() == StatusCode::PAYLOAD_TOO_LARGE =>
        {
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            ApiError::new(status, "body-too-large", "body: larger than 64 KiB")
        }
        JsonRejection::JsonDataError(error) => ApiError::invalid("body", cause(error)),
        JsonRejection::JsonSyntaxError(error) => ApiError::invalid("body", cause(error)),
        _ => ApiError::invalid("body", "it broke off"),
    }
}

/// What serde says, which names the field, without the framework's words before it.
fn cause(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        // The outer one of the two last errors has the path to the field.
        if source.source().is_none() && deepest.to_string().contains(&source.to_string()) {
            break;
        }
        deepest = source;
    }
    deepest.to_string()
}

/// A query string.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Arc<App>> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        match axum::extract::Query::<T>::from_request_parts(parts, app).await {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(rejection) => Err(ApiError::invalid("query", cause(&rejection))),
        }
    }
}

/// A query string whose parameters may be given several times, as it is.
#[derive(Clone, Debug)]
pub(super) struct Pairs(pub(super) Vec<(String, String)>);

impl FromRequestParts<Arc<App>> for Pairs {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        Query::from_request_parts(parts, app).await.map(|Query(pairs)| Self(pairs))
    }
}

/// Which page of a list.
#[derive(Clone, Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Paging {
    /// Only what comes after this: `next` of the page before.
    #[param(max_length = 512)]
    pub(super) after: Option<String>,
    /// At most so many items; 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    pub(super) limit: Option<usize>,
}

/// A page that was asked for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    after: Option<String>,
    limit: usize,
}

/// How much of a list that has no pages.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Count {
    /// At most so many items; 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    pub(super) limit: Option<usize>,
}

impl Count {
    /// Checks the number.
    pub(super) fn wanted(self) -> Result<Wanted, ApiError> {
        Paging { after: None, limit: self.limit }.wanted()
    }
}

impl Paging {
    /// Checks the numbers.
    pub(super) fn wanted(self) -> Result<Wanted, ApiError> {
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MOST_ITEMS).contains(&limit) {
            return Err(ApiError::invalid("limit", format!("1 to {MOST_ITEMS}")));
        }
        if self.after.as_ref().is_some_and(|after| after.len() > LONGEST_CURSOR) {
            return Err(ApiError::invalid("after", "this is no cursor of ours"));
        }
        Ok(Wanted { after: self.after, limit })
    }
}

impl Wanted {
    /// Where the page begins.
    pub(super) fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// How many items.
    pub(super) const fn limit(&self) -> usize {
        self.limit
    }

    /// The page to read: one item more than is shown tells whether there is a next page.
    pub(super) fn page(&self) -> Page {
        Page { after: self.after.clone(), limit: self.limit + 1 }
    }
}

/// Parses a field of a body.
pub(super) fn parse<T>(field: &'static str, text: &str) -> Result<T, ApiError>
where
    T: FromStr<Err: Display>,
{
    text.parse().map_err(|error| ApiError::invalid(field, error))
}

/// Checks a display name; without one, `otherwise` is the name.
pub(super) fn display_name(given: Option<String>, otherwise: &str) -> Result<String, ApiError> {
    let name = given.unwrap_or_else(|| otherwise.to_owned());
    let length = name.chars().count();
    if length == 0 || length > LONGEST_NAME || name.chars().any(char::is_control) {
        let reason = format!("1 to {LONGEST_NAME} characters without control characters");
        return Err(ApiError::invalid("name", reason));
    }
    Ok(name)
}

/// Tells a field that is `null` from one that is not there: for changes, where `null` clears.
pub(super) fn nullable<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: serde::Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    serde::Deserialize::deserialize(deserializer).map(Some)
}
