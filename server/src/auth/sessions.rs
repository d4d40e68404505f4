//! Sessions of people in the web UI.
//!
//! Invariant: the cookie holds a secret of 256 random bits and the store only its hash. A session
//! belongs to one version of its account: whatever changes the account (its password, switching it
//! off, its rights) ends it, and so does signing out. It is looked up at every request. It ends after
//! twelve hours in which nothing was asked, and after thirty days in any case.

use super::accounts::person;
use super::logins::Tried;
use super::secret::{hex, random};
use super::{AuthError, Authenticator, Secret};
use crate::domain::{Caller, Change, Origin, Principal, Timestamp, Username};
use crate::metadata::documents::{Body as _, Session, session_key, session_prefix};
use crate::metadata::{Document, DocumentKind, MetadataError, Page};
use crate::registry::{RegistryError, Result};
use sha2::{Digest as _, Sha256};
use std::time::Duration;

/// How long a session lasts without a request.
pub const IDLE: Duration = Duration::from_secs(12 * 3600);
/// How long a session lasts at most.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often the last request of a session is written down at most.
const NOTED_EVERY: Duration = Duration::from_secs(300);
/// The most sessions of one person; beyond them the oldest end.
const MOST_SESSIONS: usize = 30;
const SECRET_BYTES: usize = 32;

/// A session that has just begun.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// What the cookie holds.
    pub cookie: Secret,
}

/// Somebody who is signed in, looked up now.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// Who it is.
    pub caller: Caller,
    /// The name they log in with.
    pub username: Username,
    /// Whether they administer the whole instance, for what a page offers. What they may do is asked
    /// of the registry.
    pub instance_admin: bool,
    /// What a form of this session must bring along.
    pub form_token: String,
}

/// A session as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Its id, which is no secret.
    pub id: String,
    /// When it began.
    pub created: Timestamp,
    /// When something was asked last, to a few minutes.
    pub seen: Timestamp,
    /// The browser, as it called itself.
    pub agent: Option<String>,
}

impl Authenticator {
    /// Begins a session of a person with a name and a password; machine tokens are not for browsers.
    ///
    /// # Errors
    /// [`AuthError`].
    pub async fn sign_in(
        &self,
        username: &str,
        password: &Secret,
        source: Option<std::net::IpAddr>,
        origin: &Origin,
    ) -> std::result::Result<NewSession, AuthError> {
        let login = self.password(username, password, source).await;
        self.noted(&Tried::Password(username.to_owned()), login, source).await?;
        let user = username.parse::<Username>().map_err(|_| AuthError::Invalid)?;
        let (_, version) = self.active_account(&user).await?.ok_or(AuthError::Invalid)?;
        self.make_room(&user).await?;
        let secret = hex(&random::<SECRET_BYTES>().map_err(AuthError::unavailable)?);
        let now = self.0.registry.clock().now().0;
        let agent = origin.user_agent.clone();
        let session = Session { version, created: now, seen: now, agent };
        let key = session_key(&user, &id_of(&secret));
        let change = Change::by_server("sign-in");
        let metadata = self.0.registry.metadata();
        metadata.put_document(&change, DocumentKind::Session, &key, None, session.encode()).await?;
        Ok(NewSession { cookie: Secret::new(format!("{secret}.{user}")) })
    }

    /// Who a cookie belongs to; `None` if its session has ended.
    ///
    /// # Errors
    /// [`AuthError::Unavailable`].
    pub async fn session(&self, cookie: &str) -> std::result::Result<Option<SignedIn>, AuthError> {
        let Some((secret, user)) = read_cookie(cookie) else { return Ok(None) };
        let id = id_of(secret);
        let metadata = self.0.registry.metadata();
        let key = session_key(&user, &id);
        let Some(found) = metadata.document(DocumentKind::Session, &key).await? else {
            return Ok(None);
        };
        let session = Session::decode(&found.body)?;
        let now = self.0.registry.clock().now();
        let account = self.active_account(&user).await?;
        let account = account.filter(|(_, version)| *version == session.version);
        let Some((account, _)) = account.filter(|_| !has_ended(&session, now)) else {
            return Ok(None);
        };
        if now.since(Timestamp(session.seen)) >= NOTED_EVERY {
            self.note(&key, found.version, Session { seen: now.0, ..session }).await?;
        }
        let caller = Caller {
            credential: Some(format!("session:{}", &id[..16])),
            ..Caller::of(Principal::User(user.clone()))
        };
        let form_token = form_token(secret);
        let instance_admin = account.instance_admin;
        Ok(Some(SignedIn { caller, username: user, instance_admin, form_token }))
    }

    /// Ends the session of a cookie.
    ///
    /// # Errors
    /// [`AuthError::Unavailable`].
    pub async fn sign_out(&self, cookie: &str) -> std::result::Result<(), AuthError> {
        let Some((secret, user)) = read_cookie(cookie) else { return Ok(()) };
        Ok(self.forget(&session_key(&user, &id_of(secret))).await?)
    }

    /// The caller's sessions, by when something was asked last.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn own_sessions(&self, caller: &Caller) -> Result<Vec<SessionView>> {
        let now = self.0.registry.clock().now();
        let mut views = Vec::new();
        for (id, _, session) in self.sessions_of(person(caller)?).await? {
            if !has_ended(&session, now) {
                let (created, seen) = (Timestamp(session.created), Timestamp(session.seen));
                views.push(SessionView { id, created, seen, agent: session.agent });
            }
        }
        views.sort_by_key(|view| std::cmp::Reverse(view.seen));
        Ok(views)
    }

    /// Ends one of the caller's sessions.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] for callers who are no person.
    pub async fn end_own_session(&self, caller: &Caller, id: &str) -> Result<()> {
        let user = person(caller)?;
        if !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(RegistryError::NotFound("session".to_owned()));
        }
        Ok(self.forget(&session_key(user, id)).await?)
    }

    /// Ends what has ended, and the oldest if there are too many.
    async fn make_room(&self, user: &Username) -> std::result::Result<(), AuthError> {
        let now = self.0.registry.clock().now();
        let mut sessions = self.sessions_of(user).await?;
        sessions.sort_by_key(|(_, _, session)| std::cmp::Reverse(session.seen));
        for (place, (id, _, session)) in sessions.iter().enumerate() {
            if has_ended(session, now) || place + 1 >= MOST_SESSIONS {
                self.forget(&session_key(user, id)).await?;
            }
        }
        Ok(())
    }

    async fn sessions_of(
        &self,
        user: &Username,
    ) -> std::result::Result<Vec<(String, u64, Session)>, MetadataError> {
        let prefix = session_prefix(user);
        let page = Page { after: None, limit: 4 * MOST_SESSIONS };
        let found =
            self.0.registry.metadata().documents(DocumentKind::Session, &prefix, page).await?;
        let read = |found: Document| {
            let id = found.key.strip_prefix(&prefix).unwrap_or(&found.key).to_owned();
            Ok((id, found.version, Session::decode(&found.body)?))
        };
        found.into_iter().map(read).collect()
    }

    /// Writes down when something was asked last. Somebody else may have been faster, or the disk may
    /// be full; then the next request does it.
    async fn note(
        &self,
        key: &str,
        version: u64,
        session: Session,
    ) -> std::result::Result<(), MetadataError> {
        let (change, body) = (Change::by_server("session"), session.encode());
        let metadata = self.0.registry.metadata();
        let kind = DocumentKind::Session;
        match metadata.put_document(&change, kind, key, Some(version), body).await {
            Err(error @ (MetadataError::Corrupt(_) | MetadataError::Unavailable(_))) => Err(error),
            _ => Ok(()),
        }
    }

    async fn forget(&self, key: &str) -> std::result::Result<(), MetadataError> {
        let metadata = self.0.registry.metadata();
        let change = Change::by_server("sign-out");
        // Once more if a request of the same session is noted meanwhile.
        for _ in 0..4 {
            let Some(found) = metadata.document(DocumentKind::Session, key).await? else { break };
            let kind = DocumentKind::Session;
            match metadata.delete_document(&change, kind, key, found.version).await {
                Err(MetadataError::Conflict(_)) => {}
                Err(MetadataError::NotFound) | Ok(()) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Fresh random text for the form of somebody who is not signed in yet.
///
/// # Errors
/// If the operating system gives no random bytes.
pub fn visit() -> std::result::Result<String, AuthError> {
    Ok(hex(&random::<SECRET_BYTES>().map_err(AuthError::unavailable)?))
}

/// What a form must bring along that was made for the bearer of this secret. It tells nothing about
/// the secret.
#[must_use]
pub fn form_token(secret: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(b"standpipe form\0");
    hash.update(secret.as_bytes());
    hex(&hash.finalize())
}

fn id_of(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

fn read_cookie(cookie: &str) -> Option<(&str, Username)> {
    let (secret, user) = cookie.split_once('.')?;
    let legal = secret.len() == SECRET_BYTES * 2
        && secret.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    legal.then(|| user.parse().ok().map(|user| (secret, user))).flatten()
}

fn has_ended(session: &Session, now: Timestamp) -> bool {
    now.since(Timestamp(session.seen)) >= IDLE || now.since(Timestamp(session.created)) >= LONGEST
}
