//! What comes with a request: the fields of a form or query, and the parts of the path.
//!
//! Invariant: nothing here fails loudly over a page's address: what is not legal in it is not there
//! (404), the same as what the viewer may not see.

use super::error::WebError;
use crate::app::App;
use crate::domain::{Digest, PackageId, ProjectKey, Slug, Tag, UploadId, Username};
use crate::registry::RegistryError;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

/// The most bytes of a form.
const LARGEST_FORM: usize = 256 << 10;

/// Fields in the order they came; a name can come more than once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads the fields of a form.
    pub(super) async fn read(request: Request, app: &Arc<App>) -> Result<Self, WebError> {
        let (parts, body) = request.into_parts();
        let bytes = axum::body::to_bytes(body, LARGEST_FORM).await;
        let bytes = bytes.map_err(|_| WebError::form_is_too_large())?;
        let request = Request::from_parts(parts, axum::body::Body::from(bytes));
        let form = axum::Form::<Vec<(String, String)>>::from_request(request, app).await;
        form.map(|axum::Form(fields)| Self(fields)).map_err(|_| WebError::form_is_old())
    }

    /// The first value of a field without spaces around it; empty if there is none.
    pub(super) fn one(&self, name: &str) -> &str {
        self.exact(name).trim()
    }

    /// The first value of a field as it is, such as a password; empty if there is none.
    pub(super) fn exact(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// The value of a field that need not be filled in.
    pub(super) fn some(&self, name: &str) -> Option<&str> {
        Some(self.one(name)).filter(|text| !text.is_empty())
    }

    /// All values of a field.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether a box is ticked.
    pub(super) fn is_ticked(&self, name: &str) -> bool {
        !self.one(name).is_empty()
    }

    /// The value of a field as what it must be.
    pub(super) fn parse<T>(&self, name: &'static str) -> Result<T, RegistryError>
    where
        T: FromStr<Err: Display>,
    {
        parse(name, self.one(name))
    }

    /// The same for a field that need not be filled in.
    pub(super) fn parse_some<T>(&self, name: &'static str) -> Result<Option<T>, RegistryError>
    where
        T: FromStr<Err: Display>,
    {
        self.some(name).map(|text| parse(name, text)).transpose()
    }

    /// The lines of a text area that are not empty.
    pub(super) fn lines<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.exact(name).lines().map(str::trim).filter(|line| !line.is_empty())
    }
}

/// A text as what it must be.
pub(super) fn parse<T>(field: &'static str, text: &str) -> Result<T, RegistryError>
where
    T: FromStr<Err: Display>,
{
    text.parse::<T>().map_err(|error| RegistryError::Invalid { field, reason: error.to_string() })
}

impl FromRequestParts<Arc<App>> for Fields {
    type Rejection = WebError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, WebError> {
        let query = axum::extract::Query::<Vec<(String, String)>>::from_request_parts(parts, app);
        query.await.map(|query| Self(query.0)).map_err(|_| WebError::not_found())
    }
}

/// The parts of a page's address.
#[derive(Clone, Debug)]
pub(super) struct At<T>(pub(super) T);

/// A part of an address.
pub(super) trait Segment: Sized {
    fn read(text: &str) -> Option<Self>;
}

macro_rules! parsed_segments {
    ($($kind:ty),*) => {$(
        impl Segment for $kind {
            fn read(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        }
    )*};
}
parsed_segments!(Slug, Tag, Username, ProjectKey, Digest, UploadId);

impl Segment for PackageId {
    fn read(text: &str) -> Option<Self> {
        text.parse::<u64>().ok().filter(|id| id.to_string() == text).map(Self)
    }
}

/// An id that is letters and digits.
impl Segment for String {
    fn read(text: &str) -> Option<Self> {
        let legal = text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        legal.then(|| text.to_owned())
    }
}

macro_rules! segments {
    ($($kind:ident),*) => {
        impl<$($kind: Segment),*> FromRequestParts<Arc<App>> for At<($($kind,)*)> {
            type Rejection = WebError;

            async fn from_request_parts(
                parts: &mut Parts,
                app: &Arc<App>,
            ) -> Result<Self, WebError> {
                let raw = RawPathParams::from_request_parts(parts, app).await;
                let raw = raw.map_err(|_| WebError::not_found())?;
                let mut all = raw.iter().map(|(_, text)| text);
                let mut next = || all.next().ok_or_else(WebError::not_found);
                Ok(Self(($($kind::read(next()?).ok_or_else(WebError::not_found)?,)*)))
            }
        }
    };
}
segments!(A);
segments!(A, B);
segments!(A, B, C);
