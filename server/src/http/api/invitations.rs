//! Invitations: how a person gets to a password that nobody else knows, at first and after a reset.

use super::input::{At, Call, Json, parse};
use super::output::{Created, Refusals, time};
use crate::app::App;
use crate::auth::{self, Invited, NewInvitation, Secret};
use crate::domain::{Origin, Username};
use crate::http::error::ApiError;
use crate::http::extract::Requester;
use crate::registry::access;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// A person to be invited.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewInvited {
    /// The name they will log in with.
    #[schema(example = "ann")]
    username: String,
    /// Whether they administer the whole instance; no unless given.
    #[serde(default)]
    instance_admin: bool,
    /// How long the invitation waits: 60 to 2592000 (30 days); a week unless given.
    #[schema(example = 604_800)]
    lifetime_seconds: Option<u64>,
}

/// A reset.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reset {
    /// How long the secret waits: 60 to 2592000 (30 days); a week unless given.
    #[schema(example = 3600)]
    lifetime_seconds: Option<u64>,
}

/// An invitation with its secret, which is shown only now.
#[derive(Serialize, ToSchema)]
pub(super) struct Invitation {
    /// The name they will log in with.
    #[schema(example = "ann")]
    username: String,
    /// What to set a password with, once. It cannot be read again.
    secret: String,
    /// When it ends (RFC 3339).
    expires_at: String,
}

/// What sets a password.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Acceptance {
    /// The name of the person invited.
    #[schema(example = "ann")]
    username: String,
    /// The secret of the invitation.
    #[schema(value_type = String, format = Password)]
    secret: Secret,
    /// The password from now on, 8 to 1024 bytes.
    #[schema(value_type = String, format = Password)]
    password: Secret,
}

impl From<Invited> for Invitation {
    fn from(invited: Invited) -> Self {
        Self {
            username: invited.account.username,
            secret: invited.secret.expose().to_owned(),
            expires_at: time(invited.expires),
        }
    }
}

/// Creates a user who sets a password with the secret in the answer. Takes an administrator of the
/// instance.
#[utoipa::path(post, path = "/invitations", tag = "users", request_body = NewInvited,
    responses((status = 201, body = Invitation), Refusals))]
pub(super) async fn create(
    call: Call,
    State(app): State<Arc<App>>,
    Json(body): Json<NewInvited>,
) -> Result<Created<Invitation>, ApiError> {
    let proof = app.registry.instance_admin(call.caller()).await?;
    let username: Username = parse("username", &body.username)?;
    let lifetime = body.lifetime_seconds.map(Duration::from_secs);
    let new = NewInvitation { username, instance_admin: body.instance_admin, lifetime };
    let invited = app.auth.invite(proof, &call.change(), new).await?;
    let location = format!("/api/v1/users/{}", invited.account.username);
    Ok(Created { location, body: invited.into() })
}

/// Ends a user's password at once; they set another one with the secret in the answer. Their personal
/// tokens go on. Takes an administrator of the instance.
#[utoipa::path(post, path = "/users/{user}/reset", tag = "users", request_body = Reset,
    params(("user" = String, Path, description = "The user's name")),
    responses((status = 200, body = Invitation), Refusals))]
pub(super) async fn reset(
    call: Call,
    State(app): State<Arc<App>>,
    At((user,)): At<(Username,)>,
    Json(body): Json<Reset>,
) -> Result<axum::Json<Invitation>, ApiError> {
    let proof = app.registry.instance_admin(call.caller()).await?;
    let lifetime = body.lifetime_seconds.map(Duration::from_secs);
    Ok(axum::Json(app.auth.reset(proof, &call.change(), &user, lifetime).await?.into()))
}

/// Ends the invitation or reset that waits for a user. Takes an administrator of the instance.
#[utoipa::path(delete, path = "/users/{user}/invitation", tag = "users",
    params(("user" = String, Path, description = "The user's name")),
    responses((status = 204, description = "Its secret sets no password any more"), Refusals))]
pub(super) async fn withdraw(
    call: Call,
    State(app): State<Arc<App>>,
    At((user,)): At<(Username,)>,
) -> Result<StatusCode, ApiError> {
    let proof = app.registry.instance_admin(call.caller()).await?;
    app.auth.withdraw_invitation(proof, &call.change(), &user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets a password with the secret of an invitation or reset, which works once. The only call that
/// takes no login.
#[utoipa::path(post, path = "/invitations/accept", tag = "users", request_body = Acceptance,
    security(()),
    responses((status = 204, description = "The password holds"), Refusals))]
pub(super) async fn accept(
    requester: Requester,
    State(app): State<Arc<App>>,
    Json(body): Json<Acceptance>,
) -> Result<StatusCode, ApiError> {
    let user: Username = parse("username", &body.username)?;
    let change = access::change(&auth::acceptor(&user), requester.request_id(), Origin::default());
    app.auth.accept_invitation(&change, &user, &body.secret, &body.password).await?;
    Ok(StatusCode::NO_CONTENT)
}
