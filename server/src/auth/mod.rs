//! Who is calling: passwords, tokens, registry tokens, and the accounts behind them.
//!
//! Invariant: this folder yields a [`Caller`] and never a right; rights are looked up in
//! `registry/access.rs` at every request. The credential is looked up at every request as well, also
//! behind a registry token, so that a revoked token, a changed password and a disabled account hold
//! from the next request on. This folder must not know axum.

mod accounts;
mod basic;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod oidc;
mod password;
mod registry_token;
pub mod scope;
mod secret;
pub mod sessions;
mod token;
mod tokens;

pub use accounts::{Account, AccountChanges, NewAccount};
pub use oidc::{FetchError, IssuerSettings, OIDC_USER, OidcAlgorithm, OidcRefusal};
pub use secret::Secret;
pub use tokens::{NewToken, TokenView};

use crate::domain::{
    Action, Caller, Grant, Identity, Origin, PackageGrant, Principal, RepositoryId, Timestamp,
    Username, WorkspaceId,
};
use crate::metadata::documents::{Body as _, Token, TokenSubject, User};
use crate::metadata::{DocumentKind, MetadataError};
use crate::registry::Registry;
use crate::registry::access::Standing;
use basic::Credential;
use guard::{Attempt, Guard};
use oidc::{Believed, Oidc, OidcBasis};
use password::Passwords;
use registry_token::{Basis, TokenSigner};
use std::net::IpAddr;
use std::sync::Arc;
use token::MachineToken;

/// The credential id of a caller who showed a password.
pub const PASSWORD_CREDENTIAL: &str = "password";

/// Why a credential was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Wrong, expired, revoked or unreadable. Which of these is not told.
    #[error("the credential is not valid")]
    Invalid,
    /// A registry token that has expired; the client fetches a new one.
    #[error("the token has expired")]
    Expired,
    /// An OIDC token that lets nobody in. Why is told: whoever shows one needs to know, and knows
    /// nothing more by it.
    #[error(transparent)]
    Oidc(#[from] OidcRefusal),
    /// Too many attempts; try again after so many seconds.
    #[error("too many attempts to log in; try again in {0} seconds")]
    TooMany(u64),
    /// The accounts cannot be read.
    #[error("accounts cannot be read")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl AuthError {
    fn unavailable(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Unavailable(Box::new(source))
    }
}

impl From<MetadataError> for AuthError {
    fn from(error: MetadataError) -> Self {
        Self::unavailable(error)
    }
}

/// What the token service is called and how long its tokens live.
#[derive(Clone, Debug)]
pub struct AuthSettings {
    /// The `service` of Docker's token protocol and the `aud` of tokens.
    pub service: String,
    /// Lifetime of registry tokens in seconds.
    pub token_seconds: u64,
    /// Whose OIDC tokens are taken.
    pub issuers: Vec<IssuerSettings>,
}

/// Turns credentials into callers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Authenticator(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    service: String,
    passwords: Passwords,
    guard: Guard,
    signer: TokenSigner,
    oidc: Oidc,
}

/// A caller who showed a credential of their own, or nobody; not one with a registry token.
#[derive(Clone, Debug)]
pub struct Login {
    caller: Caller,
    basis: Basis,
}

impl Login {
    /// Who it is.
    #[must_use]
    pub const fn caller(&self) -> &Caller {
        &self.caller
    }
}

/// A registry token that was just signed.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The token.
    pub token: Secret,
    /// What it was granted.
    pub grants: Vec<Grant>,
    /// Its lifetime in seconds.
    pub expires_in: u64,
    /// When it was signed.
    pub issued_at: Timestamp,
}

impl Authenticator {
    /// Opens the accounts of a registry; makes the token signing key if there is none.
    ///
    /// # Errors
    /// [`AuthError::Unavailable`].
    pub async fn open(registry: Registry, settings: AuthSettings) -> Result<Self, AuthError> {
        let AuthSettings { service, token_seconds, issuers } = settings;
        let passwords = Passwords::new().map_err(AuthError::unavailable)?;
        let metadata = &**registry.metadata();
        let signer = TokenSigner::open(metadata, service.clone(), token_seconds).await?;
        let guard = Guard::default();
        let oidc = Oidc::new(issuers, registry.clock().clone()).map_err(AuthError::unavailable)?;
        Ok(Self(Arc::new(Inner { registry, service, passwords, guard, signer, oidc })))
    }

    /// The `service` of the token protocol.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.0.service
    }

    /// The author of a request from its `Authorization` header; no header is the anonymous caller.
    ///
    /// # Errors
    /// [`AuthError`].
    pub async fn caller(&self, authorization: Option<&str>) -> Result<Caller, AuthError> {
        self.caller_from(authorization, None).await
    }

    /// The same, from a network address that is known to be the client's own, so that guessing can
    /// be limited by it.
    ///
    /// # Errors
    /// [`AuthError`].
    pub async fn caller_from(
        &self,
        authorization: Option<&str>,
        source: Option<IpAddr>,
    ) -> Result<Caller, AuthError> {
        let credential = authorization.map(|header| basic::parse(header).ok_or(AuthError::Invalid));
        match credential.transpose()? {
            Some(Credential::Bearer(token)) if MachineToken::parse(token.expose()).is_none() => {
                self.bearer(&token).await
            }
            other => Ok(self.log_in(other, source).await?.caller),
        }
    }

    /// The login of a request to the token service. A registry token is no login: it cannot be used
    /// to get another one.
    ///
    /// # Errors
    /// [`AuthError`].
    pub async fn login(
        &self,
        authorization: Option<&str>,
        source: Option<IpAddr>,
    ) -> Result<Login, AuthError> {
        let credential = authorization.map(|header| basic::parse(header).ok_or(AuthError::Invalid));
        self.log_in(credential.transpose()?, source).await
    }

    /// The login by a user name and a password or machine token.
    ///
    /// # Errors
    /// [`AuthError`].
    pub async fn login_with(
        &self,
        username: String,
        password: Secret,
        source: Option<IpAddr>,
    ) -> Result<Login, AuthError> {
        self.log_in(Some(Credential::Basic { username, password }), source).await
    }

    /// The login by an OIDC token that was not sent as a password.
    ///
    /// # Errors
    /// [`AuthError`].
    pub async fn login_with_oidc(&self, token: &Secret) -> Result<Login, AuthError> {
        self.oidc_token(token).await
    }

    /// Signs a registry token for the part of `wanted` that the caller is allowed now.
    ///
    /// # Errors
    /// [`AuthError::Unavailable`].
    pub async fn issue(&self, login: &Login, wanted: Vec<Grant>) -> Result<Issued, AuthError> {
        let caller = &login.caller;
        let mut grants = Vec::new();
        for asked in wanted {
            let asked = match asked {
                Grant::Package(asked) => asked,
                // Everybody may ask for the list; what is on it depends on who asks.
                Grant::Catalog => {
                    grants.push(Grant::Catalog);
                    continue;
                }
            };
            let push = asked.push && self.may(caller, &asked, Action::Push).await?;
            let delete = asked.delete && self.may(caller, &asked, Action::Delete).await?;
            // Who may push may pull. For a package that the push will create, asking would say no.
            let pull = asked.pull && (push || self.may(caller, &asked, Action::Pull).await?);
            if pull || push || delete {
                let name = asked.name;
                grants.push(Grant::Package(PackageGrant { name, pull, push, delete }));
            }
        }
        let issued_at = self.0.registry.clock().now();
        let subject = match &caller.principal {
            // The token protocol gives the anonymous an empty subject.
            Principal::Anonymous => String::new(),
            other => other.key(),
        };
        let token = self.0.signer.sign(&subject, &login.basis, &grants, issued_at)?;
        let expires_in = self.0.signer.seconds(&login.basis, issued_at);
        Ok(Issued { token, grants, expires_in, issued_at })
    }

    async fn may(
        &self,
        caller: &Caller,
        asked: &PackageGrant,
        action: Action,
    ) -> Result<bool, AuthError> {
        self.0.registry.may(caller, &asked.name, action).await.map_err(AuthError::unavailable)
    }

    async fn log_in(
        &self,
        credential: Option<Credential>,
        source: Option<IpAddr>,
    ) -> Result<Login, AuthError> {
        match credential {
            None => Ok(Login { caller: Caller::anonymous(), basis: Basis::Anonymous }),
            Some(Credential::Bearer(token)) => {
                let token = MachineToken::parse(token.expose()).ok_or(AuthError::Invalid)?;
                self.machine_token(&token).await
            }
            Some(Credential::Basic { username, password }) => {
                match MachineToken::parse(password.expose()) {
                    Some(token) => self.machine_token(&token).await,
                    None if username == OIDC_USER => self.oidc_token(&password).await,
                    None => self.password(&username, &password, source).await,
                }
            }
        }
    }

    async fn machine_token(&self, shown: &MachineToken) -> Result<Login, AuthError> {
        let stored = self.stored_token(&shown.id).await?.ok_or(AuthError::Invalid)?;
        if !shown.matches(&stored.secret_hash) {
            return Err(AuthError::Invalid);
        }
        let principal = self.token_principal(&stored).await?;
        let caller = Caller { principal, credential: Some(shown.id.clone()), grants: None };
        Ok(Login { caller, basis: Basis::Token { id: shown.id.clone() } })
    }

    async fn oidc_token(&self, token: &Secret) -> Result<Login, AuthError> {
        let believed = self.0.oidc.believe(token).await?;
        self.require_bound(&believed.build).await?;
        let bindings = self.0.registry.bindings_about(&believed.build).await;
        let bindings = bindings.map_err(AuthError::unavailable)?;
        let looked_at = bindings.iter().flat_map(crate::domain::Binding::claims);
        let basis = Basis::Oidc(OidcBasis::new(&believed, looked_at));
        let Believed { build, .. } = believed;
        let credential = Some(format!("{OIDC_USER}:{}", build.subject));
        let principal = Principal::Oidc(Arc::new(build));
        Ok(Login { caller: Caller { principal, credential, grants: None }, basis })
    }

    /// Refuses a build that no binding lets in.
    async fn require_bound(&self, build: &Identity) -> Result<(), AuthError> {
        let standing = self.0.registry.standing(build).await.map_err(AuthError::unavailable)?;
        Err(match standing {
            Standing::Bound => return Ok(()),
            Standing::Unmet(why) => OidcRefusal::Unmet(why).into(),
            Standing::Unknown => {
                let source_repository = Origin::clean(build.source());
                OidcRefusal::NotBound { source_repository, issuer: build.issuer.clone() }.into()
            }
        })
    }

    async fn password(
        &self,
        username: &str,
        password: &Secret,
        source: Option<IpAddr>,
    ) -> Result<Login, AuthError> {
        if !password::is_acceptable(password) {
            return Err(AuthError::Invalid);
        }
        let now = self.0.registry.clock().now();
        let user = username.parse::<Username>().ok();
        let account = match &user {
            Some(user) => self.active_account(user).await?,
            None => None,
        };
        let version = account.as_ref().map_or(0, |(_, version)| *version);
        let passwords = &self.0.passwords;
        let name = username.as_bytes();
        let secret = [name, &version.to_be_bytes(), password.expose().as_bytes()];
        let secret = passwords.fingerprint(&secret);
        if !passwords.was_right(&secret, now) {
            let attempt = Attempt { account: passwords.fingerprint(&[name]), secret, source };
            let hash = account.map(|(account, _)| account.password_hash);
            self.check_password(&attempt, password, hash).await?;
            passwords.remember(secret, now);
        }
        // Only a hash of an account can be right, so the name is a user name.
        let user = user.ok_or(AuthError::Invalid)?;
        let basis = Basis::Password { username: user.to_string(), version };
        let principal = Principal::User(user);
        let credential = Some(PASSWORD_CREDENTIAL.to_owned());
        Ok(Login { caller: Caller { principal, credential, grants: None }, basis })
    }

    async fn check_password(
        &self,
        attempt: &Attempt,
        password: &Secret,
        hash: Option<String>,
    ) -> Result<(), AuthError> {
        let (guard, passwords) = (&self.0.guard, &self.0.passwords);
        let now = || self.0.registry.clock().now();
        guard.admit(attempt, now()).map_err(AuthError::TooMany)?;
        let turn = passwords.turn().await?;
        // Asked again: while this one waited for its turn, others may have used up the tries.
        guard.admit(attempt, now()).map_err(AuthError::TooMany)?;
        if passwords.verify(turn, password, hash).await? {
            guard.succeeded(attempt);
            Ok(())
        } else {
            guard.failed(attempt, now());
            Err(AuthError::Invalid)
        }
    }

    /// The caller of a registry token, with the credential behind it looked up again.
    async fn bearer(&self, token: &Secret) -> Result<Caller, AuthError> {
        let verified = self.0.signer.verify(token, self.0.registry.clock().now())?;
        let (principal, credential) = match verified.basis {
            Basis::Anonymous => (Principal::Anonymous, None),
            Basis::Password { username, version } => {
                let user = username.parse::<Username>().map_err(|_| AuthError::Invalid)?;
                let account = self.active_account(&user).await?;
                account.filter(|(_, now)| *now == version).ok_or(AuthError::Invalid)?;
                (Principal::User(user), Some(PASSWORD_CREDENTIAL.to_owned()))
            }
            Basis::Oidc(basis) => {
                let build = self.0.oidc.again(basis)?;
                self.require_bound(&build).await?;
                let credential = Some(format!("{OIDC_USER}:{}", build.subject));
                (Principal::Oidc(Arc::new(build)), credential)
            }
            Basis::Token { id } => {
                let stored = self.stored_token(&id).await?.ok_or(AuthError::Invalid)?;
                (self.token_principal(&stored).await?, Some(id))
            }
        };
        Ok(Caller { principal, credential, grants: Some(verified.grants) })
    }

    async fn stored_token(&self, id: &str) -> Result<Option<Token>, AuthError> {
        let found = self.0.registry.metadata().document(DocumentKind::Token, id).await?;
        Ok(found.map(|document| Token::decode(&document.body)).transpose()?)
    }

    /// Who a token acts as, if it has not ended and its owner is still there.
    async fn token_principal(&self, token: &Token) -> Result<Principal, AuthError> {
        if token.is_expired(self.0.registry.clock().now()) {
            return Err(AuthError::Invalid);
        }
        match &token.subject {
            TokenSubject::User { username } => {
                let user = username.parse::<Username>().map_err(|_| AuthError::Invalid)?;
                self.active_account(&user).await?.ok_or(AuthError::Invalid)?;
                Ok(Principal::User(user))
            }
            TokenSubject::Pipeline { workspace, repository } => {
                let (workspace, id) = (WorkspaceId(*workspace), RepositoryId(*repository));
                let found = self.0.registry.metadata().repository_by_id(id).await?;
                found.filter(|found| found.workspace == workspace).ok_or(AuthError::Invalid)?;
                Ok(Principal::Pipeline { workspace, repository: id })
            }
        }
    }

    /// An account that is not switched off, with its version.
    async fn active_account(&self, user: &Username) -> Result<Option<(User, u64)>, AuthError> {
        let found = self.0.registry.metadata().document(DocumentKind::User, user.as_str()).await?;
        let Some(found) = found else { return Ok(None) };
        let account = User::decode(&found.body)?;
        Ok((!account.disabled).then_some((account, found.version)))
    }
}

#[cfg(test)]
mod tests;
