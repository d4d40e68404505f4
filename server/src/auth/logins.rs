//! Logins for the audit log: summarised, without a write at each one.
//!
//! Invariant: a login never waits for this, memory is bounded, and what is kept of a login is no
//! secret: a user name that nobody has may be a password typed into the wrong field, so only names of
//! accounts are written down. Summaries are written every minute; a crash loses those of the last.

use super::{AuthError, Authenticator, OIDC_USER, Refusal};
use crate::domain::{Caller, Change, Event, Principal, Timestamp, Username};
use crate::metadata::documents::Body as _;
use crate::metadata::documents::{Token, User};
use crate::metadata::{DocumentKind, LoginSummary};
use crate::registry::Result;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most different logins between two writes; more are counted together.
const MOST: usize = 2000;
/// What stands for those.
const OTHERS: &str = "others";

/// What is the same about logins that are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Alike {
    action: &'static str,
    /// Who logged in; nobody if it failed.
    principal: Principal,
    /// Who it was meant to be.
    target: String,
    /// `password`, `token` or `oidc`.
    kind: &'static str,
    credential: Option<String>,
    source: Option<IpAddr>,
    why: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    count: u64,
    first: Timestamp,
}

/// Logins since the last write.
#[derive(Debug, Default)]
pub(super) struct Logins(Mutex<HashMap<Alike, Count>>);

impl Logins {
    fn note(&self, mut alike: Alike, now: Timestamp) {
        let mut logins = self.lock();
        if logins.len() >= MOST && !logins.contains_key(&alike) {
            alike = Alike {
                principal: Principal::Anonymous,
                target: OTHERS.to_owned(),
                credential: None,
                source: None,
                ..alike
            };
        }
        logins.entry(alike).or_insert(Count { count: 0, first: now }).count += 1;
    }

    fn take(&self) -> Vec<LoginSummary> {
        std::mem::take(&mut *self.lock())
            .into_iter()
            .map(|(alike, Count { count, first })| LoginSummary {
                change: alike.change(),
                count,
                first,
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Alike, Count>> {
        // A panic while counting leaves a map that is still a map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Alike {
    fn change(self) -> Change {
        let workspace = match &self.principal {
            Principal::Pipeline { workspace, .. } | Principal::Robot { workspace, .. } => {
                Some(*workspace)
            }
            Principal::Anonymous | Principal::Oidc(_) | Principal::User(_) => None,
        };
        let event = Event::instance(self.action, self.target).with("kind", self.kind);
        let mut event = Event { workspace, ..event };
        if let Some(source) = self.source {
            event = event.with("source", source);
        }
        if let Some(why) = self.why {
            event = event.with("why", why);
        }
        let change = Change::by_server("summary of logins");
        let actor = self.principal.key();
        Change { actor, credential: self.credential, event: Some(event), ..change }
    }
}

/// What a login was tried with.
#[derive(Clone, Debug)]
pub(super) enum Tried {
    /// A password, with the name shown.
    Password(String),
    /// Something that begins like a machine token.
    Damaged,
    /// A machine token, with its id.
    Token(String),
    /// An OIDC token.
    Oidc,
}

impl Tried {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Password(_) => "password",
            Self::Damaged | Self::Token(_) => "token",
            Self::Oidc => OIDC_USER,
        }
    }
}

impl Authenticator {
    /// Counts a login that was right.
    pub(super) fn logged_in(&self, tried: &Tried, caller: &Caller, source: Option<IpAddr>) {
        let alike = Alike {
            action: "login.success",
            principal: caller.principal.clone(),
            target: caller.principal.key(),
            kind: tried.kind(),
            credential: caller.credential.clone(),
            source,
            why: None,
        };
        self.0.logins.note(alike, self.0.registry.clock().now());
    }

    /// Counts a login that was not.
    pub(super) async fn not_logged_in(
        &self,
        tried: &Tried,
        error: &AuthError,
        source: Option<IpAddr>,
    ) {
        let why = match error {
            AuthError::Expired | AuthError::Invalid | AuthError::Refused(Refusal::Password) => {
                "not valid"
            }
            AuthError::Refused(Refusal::Damaged) => "damaged",
            AuthError::Refused(Refusal::Ended) => "ended",
            AuthError::Refused(Refusal::Owner) => "owner switched off or gone",
            AuthError::Refused(Refusal::Unknown) => "unknown",
            AuthError::Oidc(_) => "refused",
            AuthError::TooMany(_) => "too many attempts",
            // The fault is ours and is logged elsewhere.
            AuthError::Unavailable(_) => return,
        };
        let alike = Alike {
            action: "login.failure",
            principal: Principal::Anonymous,
            target: self.meant(tried).await.unwrap_or_else(|| "unknown".to_owned()),
            kind: tried.kind(),
            credential: None,
            source,
            why: Some(why),
        };
        self.0.logins.note(alike, self.0.registry.clock().now());
    }

    /// Whose login it was meant to be, if there is such an account or token.
    async fn meant(&self, tried: &Tried) -> Option<String> {
        let metadata = self.0.registry.metadata();
        match tried {
            Tried::Password(name) => {
                let user = name.parse::<Username>().ok()?;
                let found = metadata.document(DocumentKind::User, user.as_str()).await.ok()??;
                User::decode(&found.body).ok()?;
                Some(Principal::User(user).key())
            }
            Tried::Token(id) => {
                let found = metadata.document(DocumentKind::Token, id).await.ok()??;
                Token::decode(&found.body).ok()?;
                Some(format!("token:{id}"))
            }
            Tried::Oidc => Some(OIDC_USER.to_owned()),
            Tried::Damaged => None,
        }
    }

    /// Writes what was counted since the last call: logins, and uses of tokens.
    ///
    /// # Errors
    /// Those of the storage; what was counted is then lost.
    pub async fn write_logins(&self) -> Result<()> {
        let (logins, uses) = (self.0.logins.take(), self.0.uses.take());
        if !logins.is_empty() || !uses.is_empty() {
            self.0.registry.metadata().record_logins(logins, uses).await?;
        }
        Ok(())
    }
}
