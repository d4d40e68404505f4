//! Doors for the fuzz targets: what the pipe reads of a registry's answers.

use std::path::PathBuf;

use reqwest::Url;
use reqwest::header::HeaderMap;

use super::challenge::{self, Challenge};
use super::error::{Action, ClientError, Refusal};
use super::explain::{self, Target};
use super::sessions::Sessions;
use super::{auth, lookup, manifest, pieces, retry, upload};
use crate::config::{Config, Tag};
use crate::image::Digest;

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

/// A layer that the registry knows: its diffID, digest, size and media type.
pub type Layer = (String, String, u64, String);

/// The layers that Standpipe says it has.
pub fn known_layers(list: &[u8]) -> Option<Vec<Layer>> {
    let list = lookup::items::<lookup::Layer>(list)?.into_iter().filter_map(lookup::Layer::known);
    let shown = |layer: super::KnownLayer| {
        (layer.diff_id.to_string(), layer.digest.to_string(), layer.size, layer.media_type)
    };
    Some(list.map(shown).collect())
}

/// The uploads that the registry under `base` says it has: where each goes on, and how far it came.
pub fn open_uploads(list: &[u8], base: &Url) -> Option<Vec<(Url, u64)>> {
    let list = lookup::items::<lookup::Upload>(list)?.into_iter();
    let open = list.filter_map(|upload| upload.open(base));
    Some(open.map(|upload| (upload.location, upload.offset)).collect())
}

/// What an answer says with its headers: the digest of a manifest, its media type, and the least size of a
/// piece.
pub fn said(headers: &HeaderMap) -> (Option<String>, String, Option<u64>) {
    // Which extensions there are is of no interest: any words may stand there.
    let _ = lookup::Extensions::of(headers);
    let digest = manifest::named(headers).map(str::to_owned);
    (digest, lookup::media_type(headers), pieces::least_piece(headers))
}

/// The uploads of one repository that are kept in a folder.
#[derive(Debug)]
pub struct Kept(Sessions);

impl Kept {
    /// Those in the folder.
    pub fn new(folder: &PathBuf, base: &Url, repository: &str) -> Self {
        Self(Sessions::new(Some(folder), base, repository))
    }

    /// Where the upload of what has these bytes goes on.
    pub fn find(&self, blob: &[u8]) -> Option<Url> {
        self.0.find(&Digest::of(blob))
    }

    /// It goes on there.
    pub fn keep(&self, blob: &[u8], location: &Url) {
        self.0.keep(&Digest::of(blob), location);
    }

    /// It has ended.
    pub fn forget(&self, blob: &[u8]) {
        self.0.forget(&Digest::of(blob));
    }
}
