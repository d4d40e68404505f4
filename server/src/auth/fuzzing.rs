//! Doors for the fuzz targets: reading credentials, without the accounts behind them.

pub use super::oidc::fuzzing::{OidcKeys, OidcSource, OidcVerifier, oidc_max_age};

use super::AuthError;
use super::basic::{self, Credential};
use super::registry_token::{Basis, StoredKeys, TokenSigner};
use super::secret::Secret;
use super::token::{self, MachineToken};
use super::upload_pass::UploadPasses;
use crate::domain::{Grant, Principal, Timestamp, UploadId};
use crate::metadata::documents::{Body as _, TokenSubject};

/// What an `Authorization` header shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A user name and a password.
    Basic(String, String),
    /// A token.
    Bearer(String),
}

/// Reads an `Authorization` header.
#[must_use]
pub fn authorization(header: &str) -> Option<Shown> {
    basic::parse(header).map(|credential| match credential {
        Credential::Basic { username, password } => {
            Shown::Basic(username, password.expose().to_owned())
        }
        Credential::Bearer(token) => Shown::Bearer(token.expose().to_owned()),
    })
}

/// The id of a machine token, and whether its secret has the hash.
#[must_use]
pub fn machine_token(text: &str, secret_hash: &[u8; 32]) -> Option<(String, bool)> {
    let token = MachineToken::parse(text)?;
    let matches = token.matches(secret_hash);
    Some((token.id, matches))
}

/// A fresh machine token of a user: its text and what is stored of it.
#[must_use]
pub fn mint_machine_token(username: &str) -> Option<(String, [u8; 32])> {
    let subject = TokenSubject::User { username: username.to_owned() };
    let minted = token::mint(&subject).ok()?;
    Some((minted.token.expose().to_owned(), minted.secret_hash))
}

/// Why a registry token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is over.
    Expired,
    /// It is none of ours.
    Invalid,
}

/// What signs and verifies registry tokens.
#[derive(Debug)]
pub struct Signer(TokenSigner);

impl Signer {
    /// With a known private key.
    #[must_use]
    pub fn new(service: &str, pkcs8: &[u8]) -> Option<Self> {
        TokenSigner::of_key(service, pkcs8).ok().map(Self)
    }

    /// The id of its key.
    #[must_use]
    pub fn key_id(&self) -> &str {
        self.0.first_key_id()
    }

    /// A token of nobody in particular.
    #[must_use]
    pub fn sign(&self, subject: &str, grants: &[Grant], now: Timestamp) -> Option<String> {
        let token = self.0.sign(subject, &Basis::Anonymous, grants, now).ok()?;
        Some(token.expose().to_owned())
    }

    /// What a token grants.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Vec<Grant>, Refused> {
        let found = self.0.verify(&Secret::new(token.to_owned()), now);
        found.map(|verified| verified.grants).map_err(|error| match error {
            AuthError::Expired => Refused::Expired,
            AuthError::Invalid
            | AuthError::Oidc(_)
            | AuthError::Refused(_)
            | AuthError::TooMany(_)
            | AuthError::Unavailable(_) => Refused::Invalid,
        })
    }
}

/// What makes and checks the passes of uploads.
#[derive(Debug)]
pub struct Passes(UploadPasses);

impl Passes {
    /// With one secret.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self(UploadPasses::new([secret]))
    }

    /// The pass of a principal for an upload.
    #[must_use]
    pub fn make(&self, upload: UploadId, principal: &Principal) -> Option<String> {
        self.0.make(upload, principal)
    }

    /// Whether a text is that.
    #[must_use]
    pub fn fits(&self, text: &str, upload: UploadId, principal: &Principal) -> bool {
        self.0.fits(text, upload, principal)
    }
}

/// The stored signing keys, read and written down again.
#[must_use]
pub fn stored_keys(bytes: &[u8]) -> Option<Vec<u8>> {
    let keys = StoredKeys::decode(bytes).ok()?;
    // Whether they are keys is of no interest: only that the answer comes.
    let _ = TokenSigner::of_stored("registry".to_owned(), 300, &keys);
    Some(keys.encode())
}
