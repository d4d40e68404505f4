//! Machine tokens: making, listing and revoking them. Pipeline tokens act as a repository, personal
//! tokens as a person.
//!
//! Invariant: every token ends. The secret is returned once, when the token is made; afterwards
//! nobody can read it, and revoking deletes the document, which holds from the next request on.

use super::accounts::person;
use super::{Authenticator, Secret, token};
use crate::domain::{Caller, Change, Timestamp};
use crate::metadata::documents::{Body as _, Token, TokenSubject};
use crate::metadata::{DocumentKind, MetadataError, Page, Repository};
use crate::registry::access::Administered;
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
#[derive(Clone, Debug)]
pub struct NewToken {
    /// What it is called, for people.
    pub name: String,
    /// How long it lives; `None` for the default.
    pub lifetime: Option<Duration>,
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
        self.create_token(change, personal(caller)?, new).await
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
        };
        let metadata = self.0.registry.metadata();
        let body = stored.encode();
        metadata.put_document(change, DocumentKind::Token, &minted.id, None, body).await?;
        Ok((TokenView::new(minted.id, stored), minted.token))
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
            tokens.extend(own.map(|(id, _, token)| TokenView::new(id, token)));
        }
        tokens.truncate(page.limit);
        Ok(tokens)
    }

    async fn revoke(&self, subject: &TokenSubject, change: &Change, id: &str) -> Result<()> {
        let missing = || RegistryError::NotFound(format!("token {id}"));
        let metadata = self.0.registry.metadata();
        let found = metadata.document(DocumentKind::Token, id).await?.ok_or_else(missing)?;
        if Token::decode(&found.body)?.subject != *subject {
            return Err(missing());
        }
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
    fn new(id: String, token: Token) -> Self {
        let created = Timestamp(token.created);
        Self { id, name: token.name, created, expires: token.expires.map(Timestamp) }
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
