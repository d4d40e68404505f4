//! Personal tokens: they act as the person who made them, and end.

use super::input::{At, Call, Json, Paging, Query, TokenId};
use super::output::{Created, Items, Refusals, time};
use crate::app::App;
use crate::auth::{self, TokenView};
use crate::domain::TokenScopes;
use crate::http::error::ApiError;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// A token without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Token {
    /// Its id, which is the first part of its text.
    pub(super) id: String,
    /// What it is called.
    #[schema(example = "ci")]
    pub(super) name: String,
    /// When it was made (RFC 3339).
    pub(super) created_at: String,
    /// When it ends (RFC 3339).
    pub(super) expires_at: Option<String>,
    /// What it was made for: `pull`, `push`, `delete` and `api`.
    pub(super) scopes: Vec<&'static str>,
    /// When it was last used (RFC 3339), to the minute; `null` for never.
    pub(super) last_used_at: Option<String>,
}

/// A token to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewToken {
    /// What it is called.
    #[schema(example = "ci", max_length = 100)]
    name: String,
    /// How long it lives: 60 to 31622400 (366 days); 90 days unless given.
    #[schema(example = 3600)]
    lifetime_seconds: Option<u64>,
    /// What it is made for: some of `pull`, `push` (with which one may pull, too), `delete` (of tags,
    /// manifests and blobs) and `api` (everything else, over this API). Everything that its owner may
    /// do unless given.
    #[schema(example = json!(["pull", "push"]))]
    scopes: Option<Vec<String>>,
}

/// A personal token with its secret, which is shown only now.
#[derive(Serialize, ToSchema)]
pub(super) struct CreatedToken {
    /// Its id.
    id: String,
    /// What to log in with as password, or to send as Bearer. It cannot be read again.
    token: String,
    /// What it is called.
    name: String,
    /// When it ends (RFC 3339).
    expires_at: Option<String>,
    /// What it was made for.
    scopes: Vec<&'static str>,
}

impl From<TokenView> for Token {
    fn from(token: TokenView) -> Self {
        Self {
            id: token.id,
            name: token.name,
            created_at: time(token.created),
            expires_at: token.expires.map(time),
            scopes: token.scopes.names(),
            last_used_at: token.last_used.map(time),
        }
    }
}

impl NewToken {
    /// Checks what can be checked without the owner.
    pub(super) fn read(self) -> Result<auth::NewToken, ApiError> {
        let scopes = self.scopes.map(|names| TokenScopes::parse(names.iter().map(String::as_str)));
        let scopes = scopes.transpose().map_err(|error| ApiError::invalid("scopes", error))?;
        let lifetime = self.lifetime_seconds.map(Duration::from_secs);
        Ok(auth::NewToken { name: self.name, lifetime, scopes })
    }
}

/// One's own tokens, by id, without their secrets.
#[utoipa::path(get, path = "/tokens", tag = "tokens", params(Paging),
    responses((status = 200, body = Items<Token>), Refusals))]
pub(super) async fn list(
    call: Call,
    State(app): State<Arc<App>>,
    Query(paging): Query<Paging>,
) -> Result<Items<Token>, ApiError> {
    let wanted = paging.wanted()?;
    let found = app.auth.personal_tokens(call.caller(), wanted.page()).await?;
    Ok(Items::page(found, &wanted, |token: &TokenView| token.id.clone(), Token::from))
}

/// Makes a token that acts as oneself. The secret is shown only now.
#[utoipa::path(post, path = "/tokens", tag = "tokens", request_body = NewToken,
    responses((status = 201, body = CreatedToken), Refusals))]
pub(super) async fn create(
    call: Call,
    State(app): State<Arc<App>>,
    Json(body): Json<NewToken>,
) -> Result<Created<CreatedToken>, ApiError> {
    let new = body.read()?;
    let made = app.auth.create_personal_token(call.caller(), &call.change(), new).await?;
    let (view, secret) = made;
    let location = format!("/api/v1/tokens/{}", view.id);
    let Token { id, name, expires_at, scopes, .. } = view.into();
    let body = CreatedToken { id, token: secret.expose().to_owned(), name, expires_at, scopes };
    Ok(Created { location, body })
}

/// Ends one of one's own tokens. Holds from the next request on.
#[utoipa::path(delete, path = "/tokens/{token}", tag = "tokens",
    params(("token" = String, Path, description = "The token's id")),
    responses((status = 204, description = "It is gone"), Refusals))]
pub(super) async fn revoke(
    call: Call,
    State(app): State<Arc<App>>,
    At((TokenId(id),)): At<(TokenId,)>,
) -> Result<StatusCode, ApiError> {
    app.auth.revoke_personal_token(call.caller(), &call.change(), &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
