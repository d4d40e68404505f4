//! Doors for the fuzz targets: what the pipe reads of a registry's answers.

use reqwest::Url;
use reqwest::header::HeaderMap;

use super::challenge::{self, Challenge};
use super::error::{Action, ClientError, Refusal};
use super::explain::{self, Target};
use super::{auth, retry, upload};
use crate::config::{Config, Tag};

/// What a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// User name and password.
    Basic,
    /// A token of this realm, for this service.
    Bearer(String, Option<String>),
}

/// Reads the values of `WWW-Authenticate`.
pub fn challenge(headers: &[&str]) -> Option<Asked> {
    Challenge::choose(headers.iter().copied()).map(|found| match found {
        Challenge::Basic => Asked::Basic,
        Challenge::Bearer { realm, service } => Asked::Bearer(realm, service),
    })
}

/// Whether the credentials for a registry may go to a realm.
pub fn realm_is_trusted(registry: &Url, realm: &Url) -> bool {
    challenge::realm_is_trusted(registry, realm)
}

/// What is told of a refusal, and how long the registry asks to wait, in seconds.
pub fn refusal(status: u16, headers: &HeaderMap, body: &[u8]) -> (String, Option<u64>) {
    let refusal = Refusal::new(Action::PutManifest, status, headers, body);
    (refusal.to_string(), refusal.retry_after.map(|time| time.as_secs()))
}

/// What the user is told of a refusal: the message and the lines of advice.
pub fn explained(
    config: &Config,
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
) -> (String, Vec<String>) {
    let refusal = Refusal::new(Action::PutManifest, status, headers, body);
    let error = explain::tag(&Target::new(config), &Tag::latest(), ClientError::Refused(refusal));
    (error.to_string(), error.hints())
}

/// Seconds of a value of `Retry-After`.
pub fn retry_after(value: &str) -> Option<u64> {
    retry::parse_retry_after(value).map(|time| time.as_secs())
}

/// The token in the answer of a token server.
pub fn token(body: &[u8]) -> Option<String> {
    auth::Token::read(body).map(|token| token.value.expose().to_owned())
}

/// Where an upload goes on.
pub fn location(headers: &HeaderMap, requested: &Url) -> Option<Url> {
    upload::location(headers, requested).ok()
}

/// How many bytes of an upload a registry confirms.
pub fn received(headers: &HeaderMap) -> Option<u64> {
    upload::received(headers)
}
