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
mod invitations;
mod logins;
mod oidc;
mod password;
mod registry_token;
pub mod scope;
mod secret;
pub mod sessions;
mod token;
mod tokens;
mod upload_pass;
mod uses;
mod verified;

pub use accounts::{Account, AccountChanges, NewAccount};
pub use invitations::{Invited, NewInvitation, acceptor};
pub use oidc::{FetchError, IssuerSettings, OIDC_USER, OidcAlgorithm, OidcRefusal};
pub use secret::Secret;
pub use tokens::{NewToken, TokenView};

use crate::domain::{
    Action, Caller, Grant, Identity, Origin, PackageGrant, Principal, RepositoryId, Slug,
    Timestamp, TokenScopes, UploadId, Username, WorkspaceId,
};
use crate::metadata::documents::{Body as _, Token, TokenSubject, User};
use crate::metadata::{DocumentKind, MetadataError};
use crate::registry::Registry;
use crate::registry::access::Standing;
use basic::Credential;
use guard::{Attempt, Guard, Refused};
use logins::{Logins, Tried};
use oidc::{Believed, Oidc, OidcBasis};
use password::Passwords;
use registry_token::{Basis, TokenSigner, Verified};
use std::net::IpAddr;
use std::sync::Arc;
use token::MachineToken;
use uses::TokenUses;

/// The credential id of a caller who showed a password.
pub const PASSWORD_CREDENTIAL: &str = "password";

/// Why a credential was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Wrong, expired, revoked or unreadable. Which of these is not told.
    #[error("the credential is not valid")]
    Invalid,
    /// A password or machine token, and what is wrong with it as far as that may be told.
    #[error("the credential is not valid: {0}")]
    Refused(#[from] Refusal),
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

/// What is wrong with a password or machine token, and what to do. Whether there is such an account
/// is not told; what became of a token is, to whoever has its secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It looks like a machine token and is none.
    #[error("the token is damaged or cut off; copy it whole")]
    Damaged,
    /// The token is over.
    #[error("the token has ended; make another one")]
    Ended,
    /// The token's owner does not log in any more.
    #[error(
        "the account or repository behind the token is switched off or gone; ask an administrator"
    )]
    Owner,
    /// The user name or the password.
    #[error(
        "the user name or the password is wrong; log in with your password or a token of this registry"
    )]
    Password,
    /// There is no such token.
    #[error("the token was revoked or is not of this registry; make another one")]
    Unknown,
}

impl AuthError {
    fn unavailable(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Unavailable(Box::new(source))
    }
}

impl From<Refused> for AuthError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Wrong => Refusal::Password.into(),
            Refused::Wait(seconds) => Self::TooMany(seconds),
        }
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
    uses: TokenUses,
    logins: Logins,
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
        let (guard, uses, logins) = Default::default();
        let oidc = Oidc::new(issuers, registry.clock().clone()).map_err(AuthError::unavailable)?;
        Ok(Self(Arc::new(Inner {
            registry,
            service,
            passwords,
            guard,
            signer,
            oidc,
            uses,
            logins,
        })))
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
            Some(Credential::Bearer(token)) if !MachineToken::looks_like_one(token.expose()) => {
                self.bearer(&token).await
            }
            other => Ok(self.log_in(other, source).await?.caller),
        }
    }

    /// The caller of a request about an upload, whose registry token may be over if the pass of the
    /// upload fits: it waives nothing else.
    ///
    /// # Errors
    /// [`AuthError`]; [`AuthError::Expired`] if the pass does not fit.
    pub async fn uploader(
        &self,
        authorization: Option<&str>,
        upload: UploadId,
        pass: &str,
    ) -> Result<Caller, AuthError> {
        let shown = authorization.and_then(basic::parse);
        let Some(Credential::Bearer(token)) = shown else { return Err(AuthError::Invalid) };
        let now = self.0.registry.clock().now();
        let (verified, expired) = self.0.signer.verify_whenever(&token, now)?;
        let expired = expired || self.is_over(&verified);
        let caller = self.again(verified).await?;
        if expired && !self.0.signer.passes().fits(pass, upload, &caller.principal) {
            return Err(AuthError::Expired);
        }
        Ok(caller)
    }

    /// The pass for an upload of a caller whose registry token may end before the upload does.
    #[must_use]
    pub fn upload_pass(&self, caller: &Caller, upload: UploadId) -> Option<String> {
        caller.grants.as_ref()?;
        self.0.signer.passes().make(upload, &caller.principal)
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
        let login = self.oidc_token(token).await;
        self.noted(&Tried::Oidc, login, None).await
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
        let (tried, login) = match credential {
            None => return Ok(Login { caller: Caller::anonymous(), basis: Basis::Anonymous }),
            Some(Credential::Bearer(token)) => {
                let token = MachineToken::parse(token.expose()).ok_or_else(|| unread(&token))?;
                (Tried::Token(token.id.clone()), self.machine_token(&token).await)
            }
            Some(Credential::Basic { username, password }) => {
                match MachineToken::parse(password.expose()) {
                    Some(token) => {
                        (Tried::Token(token.id.clone()), self.machine_token(&token).await)
                    }
                    None if username == OIDC_USER => {
                        (Tried::Oidc, self.oidc_token(&password).await)
                    }
                    None if MachineToken::looks_like_one(password.expose()) => {
                        (Tried::Damaged, Err(Refusal::Damaged.into()))
                    }
                    None => {
                        let login = self.password(&username, &password, source).await;
                        (Tried::Password(username), login)
                    }
                }
            }
        };
        self.noted(&tried, login, source).await
    }

    /// Counts a login for the audit log, whatever became of it.
    async fn noted(
        &self,
        tried: &Tried,
        login: Result<Login, AuthError>,
        source: Option<IpAddr>,
    ) -> Result<Login, AuthError> {
        match &login {
            Ok(login) => self.logged_in(tried, &login.caller, source),
            Err(error) => self.not_logged_in(tried, error, source).await,
        }
        login
    }

    async fn machine_token(&self, shown: &MachineToken) -> Result<Login, AuthError> {
        let stored = self.stored_token(&shown.id).await?.ok_or(Refusal::Unknown)?;
        if !shown.matches(&stored.secret_hash) {
            return Err(Refusal::Unknown.into());
        }
        let principal = self.token_principal(&stored).await?;
        let scopes = tokens::read_scopes(&stored)?;
        self.0.uses.note(&shown.id, self.0.registry.clock().now());
        let credential = Some(shown.id.clone());
        let caller = Caller { principal, credential, grants: None, scopes };
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
        Ok(Login { caller: Caller { credential, ..Caller::of(principal) }, basis })
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
            return Err(Refusal::Password.into());
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
        let attempt = Attempt::new(passwords.fingerprint(&[name]), secret, source);
        if passwords.was_right(&secret, now) {
            self.0.guard.succeeded(&attempt, now);
        } else {
            // Who has set no password yet has none that could be right.
            let hash = account.map(|(account, _)| account.password_hash);
            let hash = hash.filter(|hash| !hash.is_empty());
            self.check_password(&attempt, password, hash).await?;
            passwords.remember(secret, now);
        }
        // Only a hash of an account can be right, so the name is a user name.
        let user = user.ok_or(Refusal::Password)?;
        let basis = Basis::Password { username: user.to_string(), version };
        let principal = Principal::User(user);
        let credential = Some(PASSWORD_CREDENTIAL.to_owned());
        Ok(Login { caller: Caller { credential, ..Caller::of(principal) }, basis })
    }

    async fn check_password(
        &self,
        attempt: &Attempt,
        password: &Secret,
        hash: Option<String>,
    ) -> Result<(), AuthError> {
        let (guard, passwords) = (&self.0.guard, &self.0.passwords);
        let now = || self.0.registry.clock().now();
        let admitted = guard.admit(attempt, now())?;
        let turn = if admitted.known {
            passwords.turn().await?
        } else {
            passwords.turn_of_stranger().await?
        };
        // Asked again: while this one waited for its turn, others may have used up the tries.
        let admitted = guard.admit(attempt, now())?;
        // The turn is over when the outcome is counted, so that no try comes in between.
        let (right, _turn) = passwords.verify(turn, password, hash).await?;
        if right {
            guard.succeeded(attempt, now());
            Ok(())
        } else {
            guard.failed(attempt, admitted, now());
            Err(Refusal::Password.into())
        }
    }

    /// The caller of a registry token, with the credential behind it looked up again.
    async fn bearer(&self, token: &Secret) -> Result<Caller, AuthError> {
        let verified = self.0.signer.verify(token, self.0.registry.clock().now())?;
        if self.is_over(&verified) {
            return Err(AuthError::Expired);
        }
        self.again(verified).await
    }

    /// Whether what a registry token was issued on is over by its own time.
    fn is_over(&self, verified: &Verified) -> bool {
        matches!(&verified.basis, Basis::Oidc(basis) if self.0.oidc.is_over(basis))
    }

    /// The caller behind a registry token, by what is true of the credential now.
    async fn again(&self, verified: Verified) -> Result<Caller, AuthError> {
        let mut scopes = TokenScopes::ALL;
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
                let stored = self.stored_token(&id).await?.ok_or(Refusal::Unknown)?;
                scopes = tokens::read_scopes(&stored)?;
                self.0.uses.note(&id, self.0.registry.clock().now());
                (self.token_principal(&stored).await?, Some(id))
            }
        };
        Ok(Caller { principal, credential, grants: Some(verified.grants), scopes })
    }

    async fn stored_token(&self, id: &str) -> Result<Option<Token>, AuthError> {
        let found = self.0.registry.metadata().document(DocumentKind::Token, id).await?;
        Ok(found.map(|document| Token::decode(&document.body)).transpose()?)
    }

    /// Who a token acts as, if it has not ended and its owner is still there.
    async fn token_principal(&self, token: &Token) -> Result<Principal, AuthError> {
        if token.is_expired(self.0.registry.clock().now()) {
            return Err(Refusal::Ended.into());
        }
        match &token.subject {
            TokenSubject::User { username } => {
                let user = username.parse::<Username>().map_err(|_| AuthError::Invalid)?;
                self.active_account(&user).await?.ok_or(Refusal::Owner)?;
                Ok(Principal::User(user))
            }
            TokenSubject::Pipeline { workspace, repository } => {
                let (workspace, id) = (WorkspaceId(*workspace), RepositoryId(*repository));
                let found = self.0.registry.metadata().repository_by_id(id).await?;
                found.filter(|found| found.workspace == workspace).ok_or(Refusal::Owner)?;
                Ok(Principal::Pipeline { workspace, repository: id })
            }
            TokenSubject::Robot { workspace, name, robot: number } => {
                let workspace = WorkspaceId(*workspace);
                let name = name.parse::<Slug>().map_err(|_| AuthError::Invalid)?;
                let found = self.0.registry.robot(workspace, &name).await;
                let found = found.map_err(AuthError::unavailable)?;
                let same = found.filter(|robot| robot.number == *number && !robot.disabled);
                same.ok_or(Refusal::Owner)?;
                Ok(Principal::Robot { workspace, name })
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

/// What a bearer token is that cannot be read as a machine token.
fn unread(token: &Secret) -> AuthError {
    if MachineToken::looks_like_one(token.expose()) {
        Refusal::Damaged.into()
    } else {
        AuthError::Invalid
    }
}

#[cfg(test)]
mod tests;
