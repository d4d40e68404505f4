//! Machine tokens: making, listing and revoking them. Pipeline tokens act as a repository, personal
//! tokens as a person, a robot's as the robot.
//!
//! Invariant: every token ends, and none can do more than the token that made it for its own owner. The secret is returned once, when the token is made; afterwards
//! nobody can read it, and revoking deletes the document, which holds from the next request on.

use super::accounts::person;
use super::{Authenticator, Secret, token};
use crate::domain::{Caller, Change, Event, Timestamp, TokenScopes, WorkspaceId};
use crate::metadata::documents::{Body as _, Token, TokenSubject};
use crate::metadata::{DocumentKind, MetadataError, Page, Repository};
use crate::registry::access::Administered;
use crate::registry::robots::Robot;
use crate::registry::{RegistryError, Result};
use std::time::Duration;

/// The shortest lifetime.
const SHORTEST_LIFETIME: Duration = Duration::from_secs(60);
/// The lifetime when none is asked for: 90 days.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);
/// The longest lifetime: a year.
const LONGEST_LIFETIME: Duration = Duration::from_secs(366 * 24 * 3600);

/// How long a token that has ended stays in the list.
const KEEP_ENDED: Duration = Duration::from_secs(7 * 24 * 3600);
/// How many tokens are looked through when a new one is made.
const SWEEP: usize = 100;
/// The longest name in characters.
const LONGEST_NAME: usize = 100;

/// A token to be made.
#[derive(Clone, Debug, Default)]
pub struct NewToken {
    /// What it is called, for people.
    pub name: String,
    /// How long it lives; `None` for the default.
    pub lifetime: Option<Duration>,
    /// What it is made for; `None` for everything that whoever makes it may.
    pub scopes: Option<TokenScopes>,
}

/// A token without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenView {
    /// Its id, which is the first part of its text.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Option<Timestamp>,
    /// What it was made for.
    pub scopes: TokenScopes,
    /// When it was last used, to the minute; `None` for never.
    pub last_used: Option<Timestamp>,
}

impl Authenticator {
    /// Makes a token that acts as a repository's pipeline. The proof must be for
    /// [`Action::Manage`](crate::domain::Action::Manage).
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] for the name or lifetime.
    pub async fn create_pipeline_token(
        &self,
        access: &Administered<Repository>,
        change: &Change,
        new: NewToken,
    ) -> Result<(TokenView, Secret)> {
        self.create_token(change, pipeline(access), new).await
    }

    /// A page of a repository's pipeline tokens, by id.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn pipeline_tokens(
        &self,
        access: &Administered<Repository>,
        page: Page,
    ) -> Result<Vec<TokenView>> {
        self.tokens(&pipeline(access), page).await
    }

    /// Ends a pipeline token.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], also for a token of another repository.
    pub async fn revoke_pipeline_token(
        &self,
        access: &Administered<Repository>,
        change: &Change,
        id: &str,
    ) -> Result<()> {
        self.revoke(&pipeline(access), change, id).await
    }

    /// Makes a token that acts as the caller.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] for the name or lifetime; [`RegistryError::NotFound`] for callers
    /// who are no person.
    pub async fn create_personal_token(
        &self,
        caller: &Caller,
        change: &Change,
        new: NewToken,
    ) -> Result<(TokenView, Secret)> {
        let subject = personal(caller)?;
        let scopes = new.scopes.unwrap_or(caller.scopes);
        if !scopes.is_within(caller.scopes) {
            let reason = format!("this login has only {}", caller.scopes);
            return Err(RegistryError::Invalid { field: "scopes", reason });
        }
        self.create_token(change, subject, NewToken { scopes: Some(scopes), ..new }).await
    }

    /// Makes a token that acts as a robot.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] for the name or lifetime.
    pub async fn create_robot_token(
        &self,
        access: &Administered<Robot>,
        change: &Change,
        new: NewToken,
    ) -> Result<(TokenView, Secret)> {
        self.create_token(change, of_robot(access), new).await
    }

    /// A page of a robot's tokens, by id.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn robot_tokens(
        &self,
        access: &Administered<Robot>,
        page: Page,
    ) -> Result<Vec<TokenView>> {
        self.tokens(&of_robot(access), page).await
    }

    /// Ends a robot's token.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], also for a token of another robot.
    pub async fn revoke_robot_token(
        &self,
        access: &Administered<Robot>,
        change: &Change,
        id: &str,
    ) -> Result<()> {
        self.revoke(&of_robot(access), change, id).await
    }

    /// A page of the caller's own tokens, by id.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn personal_tokens(&self, caller: &Caller, page: Page) -> Result<Vec<TokenView>> {
        self.tokens(&personal(caller)?, page).await
    }

    /// Ends one of the caller's own tokens.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], also for a token of somebody else.
    pub async fn revoke_personal_token(
        &self,
        caller: &Caller,
        change: &Change,
        id: &str,
    ) -> Result<()> {
        self.revoke(&personal(caller)?, change, id).await
    }

    async fn create_token(
        &self,
        change: &Change,
        subject: TokenSubject,
        new: NewToken,
    ) -> Result<(TokenView, Secret)> {
        self.0.registry.require_room_for_changes()?;
        check_name(&new.name)?;
        let lifetime = new.lifetime.unwrap_or(DEFAULT_LIFETIME);
        check_lifetime(lifetime)?;
        self.sweep(change, &subject).await?;
        let minted =
            token::mint(&subject).map_err(|error| RegistryError::Unavailable(Box::new(error)))?;
        let now = self.0.registry.clock().now();
        let stored = Token {
            name: new.name,
            secret_hash: minted.secret_hash,
            subject,
            created: now.0,
            expires: Some(now.plus(lifetime).0),
            scopes: store_scopes(new.scopes.unwrap_or(TokenScopes::ALL)),
        };
        let metadata = self.0.registry.metadata();
        let body = stored.encode();
        let event = event("token.create", &minted.id, &stored)
            .with("scopes", stored.scopes.join(","))
            .with("expires", now.plus(lifetime));
        let change = &change.doing(event);
        metadata.put_document(change, DocumentKind::Token, &minted.id, None, body).await?;
        Ok((TokenView::new(minted.id, stored, None)?, minted.token))
    }

    async fn tokens(&self, subject: &TokenSubject, page: Page) -> Result<Vec<TokenView>> {
        let mut tokens = Vec::new();
        let mut after = page.after;
        // The prefix is a short hash, so another owner's tokens may lie between.
        while tokens.len() < page.limit {
            let found = self.tokens_of_prefix(subject, after, page.limit).await?;
            let Some((last, _, _)) = found.last() else { break };
            after = Some(last.clone());
            let own = found.into_iter().filter(|(_, _, token)| token.subject == *subject);
            for (id, _, token) in own {
                let used = self.last_use(&id).await?;
                tokens.push(TokenView::new(id, token, used)?);
            }
        }
        tokens.truncate(page.limit);
        Ok(tokens)
    }

    async fn revoke(&self, subject: &TokenSubject, change: &Change, id: &str) -> Result<()> {
        let missing = || RegistryError::NotFound(format!("token {id}"));
        let metadata = self.0.registry.metadata();
        let found = metadata.document(DocumentKind::Token, id).await?.ok_or_else(missing)?;
        let token = Token::decode(&found.body)?;
        if token.subject != *subject {
            return Err(missing());
        }
        let change = &change.doing(event("token.revoke", id, &token));
        match metadata.delete_document(change, DocumentKind::Token, id, found.version).await {
            Err(MetadataError::NotFound) => Err(missing()),
            other => Ok(other?),
        }
    }

    /// Forgets tokens of this owner that ended long ago, so that builds which make a token each do
    /// not fill the store.
    async fn sweep(&self, change: &Change, subject: &TokenSubject) -> Result<()> {
        let now = self.0.registry.clock().now();
        for (id, version, token) in self.tokens_of_prefix(subject, None, SWEEP).await? {
            let ended = token.expires.is_some_and(|end| now.since(Timestamp(end)) > KEEP_ENDED);
            if !ended || token.subject != *subject {
                continue;
            }
            let metadata = self.0.registry.metadata();
            let change = &change.doing(event("token.forget", &id, &token));
            match metadata.delete_document(change, DocumentKind::Token, &id, version).await {
                Ok(()) | Err(MetadataError::NotFound | MetadataError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn tokens_of_prefix(
        &self,
        subject: &TokenSubject,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<(String, u64, Token)>> {
        let prefix = token::owner_prefix(subject);
        let page = Page { after, limit };
        let found =
            self.0.registry.metadata().documents(DocumentKind::Token, &prefix, page).await?;
        let read = |found: crate::metadata::Document| {
            Ok((found.key, found.version, Token::decode(&found.body)?))
        };
        found.into_iter().map(read).collect()
    }
}

impl TokenView {
    fn new(id: String, token: Token, last_used: Option<Timestamp>) -> Result<Self> {
        Ok(Self {
            id,
            scopes: read_scopes(&token)?,
            name: token.name,
            created: Timestamp(token.created),
            expires: token.expires.map(Timestamp),
            last_used,
        })
    }
}

/// Something done to a token.
fn event(action: &'static str, id: &str, token: &Token) -> Event {
    let workspace = match &token.subject {
        TokenSubject::User { .. } => None,
        TokenSubject::Pipeline { workspace, .. } | TokenSubject::Robot { workspace, .. } => {
            Some(WorkspaceId(*workspace))
        }
    };
    let owner = match &token.subject {
        TokenSubject::User { username } => format!("user:{username}"),
        TokenSubject::Pipeline { workspace, repository } => {
            format!("pipeline:{workspace}:{repository}")
        }
        TokenSubject::Robot { workspace, name, .. } => format!("robot:{workspace}:{name}"),
    };
    let event = Event::instance(action, id).with("owner", owner).with("name", &token.name);
    Event { workspace, ..event }
}

fn store_scopes(scopes: TokenScopes) -> Vec<String> {
    scopes.names().into_iter().map(str::to_owned).collect()
}

/// What a stored token was made for. A scope that this server does not know makes the token useless,
/// rather than one that may do more than was meant.
pub(super) fn read_scopes(token: &Token) -> std::result::Result<TokenScopes, MetadataError> {
    let scopes = TokenScopes::parse(token.scopes.iter().map(String::as_str));
    scopes.map_err(|_| MetadataError::Corrupt(Token::NAME))
}

fn of_robot(access: &Administered<Robot>) -> TokenSubject {
    let robot = access.subject();
    TokenSubject::Robot {
        workspace: robot.workspace.0,
        name: robot.name.to_string(),
        robot: robot.number,
    }
}

fn pipeline(access: &Administered<Repository>) -> TokenSubject {
    let repository = access.subject();
    TokenSubject::Pipeline { workspace: repository.workspace.0, repository: repository.id.0 }
}

fn personal(caller: &Caller) -> Result<TokenSubject> {
    Ok(TokenSubject::User { username: person(caller)?.to_string() })
}

fn check_name(name: &str) -> Result<()> {
    let length = name.chars().count();
    if length == 0 || length > LONGEST_NAME || name.chars().any(char::is_control) {
        let reason = format!("1 to {LONGEST_NAME} characters without control characters");
        return Err(RegistryError::Invalid { field: "name", reason });
    }
    Ok(())
}

fn check_lifetime(lifetime: Duration) -> Result<()> {
    if (SHORTEST_LIFETIME..=LONGEST_LIFETIME).contains(&lifetime) {
        return Ok(());
    }
    let (shortest, longest) = (SHORTEST_LIFETIME.as_secs(), LONGEST_LIFETIME.as_secs());
    let reason = format!("{shortest} to {longest} seconds");
    Err(RegistryError::Invalid { field: "lifetime_seconds", reason })
}
