//! Users: managed by administrators of the instance; everybody sees themselves.

use super::input::{At, Call, Json, Paging, Query, parse};
use super::output::{Created, Items, Refusals, time};
use crate::app::App;
use crate::auth::{Account, AccountChanges, NewAccount, Secret};
use crate::domain::Username;
use crate::http::error::ApiError;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// A person.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct User {
    /// The name they log in with.
    #[schema(example = "ann")]
    username: String,
    /// Whether they administer the whole instance.
    instance_admin: bool,
    /// Whether the account is switched off.
    disabled: bool,
    /// Whether they can log in with a password.
    has_password: bool,
    /// When the invitation or reset that waits for them ends (RFC 3339); `null` if there is none.
    invited_until: Option<String>,
}

/// A person to be created.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUser {
    /// The name they log in with.
    #[schema(example = "ann")]
    username: String,
    /// 8 to 1024 bytes.
    #[schema(value_type = String, format = Password)]
    password: Secret,
    /// Whether they administer the whole instance; no unless given.
    #[serde(default)]
    instance_admin: bool,
}

/// What to change of a user; what is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UserChanges {
    /// A new password, 8 to 1024 bytes.
    #[schema(value_type = Option<String>, format = Password)]
    password: Option<Secret>,
    /// Whether they administer the whole instance.
    instance_admin: Option<bool>,
    /// Whether the account is switched off.
    disabled: Option<bool>,
}

/// A new password of one's own.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassword {
    /// The current password.
    #[schema(value_type = String, format = Password)]
    current_password: Secret,
    /// The new one, 8 to 1024 bytes.
    #[schema(value_type = String, format = Password)]
    new_password: Secret,
}

impl From<Account> for User {
    fn from(account: Account) -> Self {
        let Account { username, instance_admin, disabled, has_password, invited_until } = account;
        let invited_until = invited_until.map(time);
        Self { username, instance_admin, disabled, has_password, invited_until }
    }
}

/// All users, by name. Takes an administrator of the instance.
#[utoipa::path(get, path = "/users", tag = "users", params(Paging),
    responses((status = 200, body = Items<User>), Refusals))]
pub(super) async fn list(
    call: Call,
    State(app): State<Arc<App>>,
    Query(paging): Query<Paging>,
) -> Result<Items<User>, ApiError> {
    let wanted = paging.wanted()?;
    let proof = app.registry.instance_admin(call.caller()).await?;
    let found = app.auth.accounts(proof, wanted.page()).await?;
    Ok(Items::page(found, &wanted, |account: &Account| account.username.clone(), User::from))
}

/// Creates a user. Takes an administrator of the instance.
#[utoipa::path(post, path = "/users", tag = "users", request_body = NewUser,
    responses((status = 201, body = User), Refusals))]
pub(super) async fn create(
    call: Call,
    State(app): State<Arc<App>>,
    Json(body): Json<NewUser>,
) -> Result<Created<User>, ApiError> {
    let proof = app.registry.instance_admin(call.caller()).await?;
    let NewUser { username, password, instance_admin } = body;
    let username: Username = parse("username", &username)?;
    let new = NewAccount { username, password, instance_admin };
    let account = app.auth.create_account(proof, &call.change(), new).await?;
    let location = format!("/api/v1/users/{}", account.username);
    Ok(Created { location, body: account.into() })
}

/// One user. Takes an administrator of the instance.
#[utoipa::path(get, path = "/users/{user}", tag = "users",
    params(("user" = String, Path, description = "The user's name")),
    responses((status = 200, body = User), Refusals))]
pub(super) async fn show(
    call: Call,
    State(app): State<Arc<App>>,
    At((user,)): At<(Username,)>,
) -> Result<axum::Json<User>, ApiError> {
    let proof = app.registry.instance_admin(call.caller()).await?;
    Ok(axum::Json(app.auth.account(proof, &user).await?.into()))
}

/// Changes a user: password, switched off or not, administrator or not. Takes an administrator of
/// the instance.
#[utoipa::path(patch, path = "/users/{user}", tag = "users", request_body = UserChanges,
    params(("user" = String, Path, description = "The user's name")),
    responses((status = 200, body = User), Refusals))]
pub(super) async fn change(
    call: Call,
    State(app): State<Arc<App>>,
    At((user,)): At<(Username,)>,
    Json(body): Json<UserChanges>,
) -> Result<axum::Json<User>, ApiError> {
    let proof = app.registry.instance_admin(call.caller()).await?;
    let UserChanges { password, instance_admin, disabled } = body;
    let changes = AccountChanges { password, instance_admin, disabled };
    let account = app.auth.change_account(proof, &call.change(), &user, changes).await?;
    Ok(axum::Json(account.into()))
}

/// Oneself.
#[utoipa::path(get, path = "/user", tag = "users",
    responses((status = 200, body = User), Refusals))]
pub(super) async fn own(
    call: Call,
    State(app): State<Arc<App>>,
) -> Result<axum::Json<User>, ApiError> {
    Ok(axum::Json(app.auth.own_account(call.caller()).await?.into()))
}

/// Changes one's own password. Takes the current one, also from those who showed a token.
#[utoipa::path(put, path = "/user/password", tag = "users", request_body = NewPassword,
    responses((status = 204, description = "The new password holds"), Refusals))]
pub(super) async fn change_own_password(
    call: Call,
    State(app): State<Arc<App>>,
    Json(body): Json<NewPassword>,
) -> Result<StatusCode, ApiError> {
    let NewPassword { current_password, new_password } = body;
    let (caller, change) = (call.caller(), call.change());
    app.auth.change_own_password(caller, &change, current_password, &new_password).await?;
    Ok(StatusCode::NO_CONTENT)
}
