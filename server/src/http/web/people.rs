//! People: accounts, for administrators of the instance.

use super::error::{WebError, go};
use super::fields::{At, Fields};
use super::form::{Field, Form, Kind, Refusal, again, button, sure};
use super::page::{Html, Page, Tab};
use super::parts::{badge, pager};
use super::profile::token_page;
use super::viewer::{Submitted, Viewer};
use super::{PAGE, storage};
use crate::app::App;
use crate::auth::{Account, AccountChanges, NewAccount, Secret};
use crate::domain::Username;
use crate::registry::Result;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use std::sync::Arc;

/// The accounts.
pub(super) async fn list(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    query: Fields,
) -> std::result::Result<Html, WebError> {
    let proof = app.registry.instance_admin(viewer.caller()).await?;
    let found = app.auth.accounts(proof, token_page(&query)).await?;
    Ok(list_page(&viewer, found, &query, None))
}

fn list_page(
    viewer: &Viewer,
    mut found: Vec<Account>,
    query: &Fields,
    refusal: Option<&Refusal<'_>>,
) -> Html {
    let base = "/instance/people";
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    let next = found.last().filter(|_| more).map(|last| storage::after(base, &last.username));
    let form = Form {
        viewer,
        action: base.to_owned(),
        submit: "Create account",
        fields: vec![
            Field::text("username", "User name")
                .required()
                .hint("What they sign in and log in to docker with."),
            Field::text("password", "Password")
                .kind(Kind::Password { new: true })
                .required()
                .hint("They can change it under their profile."),
            Field::text("instance_admin", "Administers the whole instance").kind(Kind::Tick),
        ],
    };
    let content = html! {
        h1 { "People" }
        table.list {
            thead { tr { th scope="col" { "User name" } th scope="col" { "Rights" } th scope="col" { "Account" } } }
            tbody {
                @for account in &found {
                    tr {
                        th scope="row" { a href={ (base) "/" (account.username) } { (account.username) } }
                        td data-label="Rights" { @if account.instance_admin { "everything" } @else { span.quiet { "by roles" } } }
                        td data-label="Account" { (state(account)) }
                    }
                }
            }
        }
        (pager(query.some("after").map(|_| base), next.as_deref()))
        h2 { "New account" }
        (form.show(refusal))
    };
    Page::of_instance(viewer, "People", Tab::People).show(&content)
}

fn state(account: &Account) -> Markup {
    html! { @if account.disabled { (badge("bad", "switched off", "Nothing of it works")) } @else { (badge("good", "active", "It works")) } }
}

/// Creates an account.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    let proof = app.registry.instance_admin(sent.caller()).await?;
    let made = async {
        let username: Username = sent.fields.parse("username")?;
        let password = Secret::new(sent.fields.exact("password").to_owned());
        let instance_admin = sent.fields.is_ticked("instance_admin");
        let new = NewAccount { username, password, instance_admin };
        app.auth.create_account(proof, &sent.change(), new).await
    };
    match made.await {
        Ok(account) => Ok(go(&format!("/instance/people/{}", account.username))),
        Err(error) => {
            let query = Fields::default();
            let found = app.auth.accounts(proof, token_page(&query)).await?;
            let again = again(error.into(), |why| {
                let refusal = Refusal { sent: &sent.fields, why };
                list_page(&sent.viewer, found, &query, Some(&refusal))
            });
            again.map(|html| html.into_response())
        }
    }
}

/// One account.
pub(super) async fn show(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    At((user,)): At<(Username,)>,
) -> std::result::Result<Html, WebError> {
    let proof = app.registry.instance_admin(viewer.caller()).await?;
    let account = app.auth.account(proof, &user).await?;
    Ok(account_page(&viewer, &account, None))
}

fn account_page(viewer: &Viewer, account: &Account, refusal: Option<&Refusal<'_>>) -> Html {
    let url = format!("/instance/people/{}", account.username);
    let form = Form {
        viewer,
        action: url.clone(),
        submit: "Set password",
        fields: vec![
            Field::text("password", "New password")
                .kind(Kind::Password { new: true })
                .required()
                .hint("Ends everything that is signed in with the old one. Tokens go on."),
        ],
    };
    let content = html! {
        h1 { (account.username) " " (state(account)) }
        p { @if account.instance_admin { "Administers the whole instance." } @else { "Has the roles that are given on workspaces and repositories." } }
        h2 { "Password" }
        (form.show(refusal))
        h2 { "Account" }
        div.actions {
            @if account.instance_admin { (sure(viewer, &url, "Take administration away", "From the next request on they have only the roles that they are given.", &[("instance_admin", "no")])) }
            @else { (sure(viewer, &url, "Make administrator of the instance", "They may do everything, in every workspace.", &[("instance_admin", "yes")])) }
            @if account.disabled { (button(viewer, &url, "", "Switch on", &[("disabled", "no")])) }
            @else { (sure(viewer, &url, "Switch off", "They are signed out at once, and their password and tokens are refused.", &[("disabled", "yes")])) }
        }
    };
    Page::of_instance(viewer, &account.username, Tab::People)
        .below("People", "/instance/people")
        .show(&content)
}

/// Changes an account.
pub(super) async fn change(
    State(app): State<Arc<App>>,
    At((user,)): At<(Username,)>,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    let proof = app.registry.instance_admin(sent.caller()).await?;
    let choice = |name: &str| sent.fields.some(name).map(|text| text == "yes");
    let password = Some(sent.fields.exact("password")).filter(|text| !text.is_empty());
    let changes = AccountChanges {
        password: password.map(|text| Secret::new(text.to_owned())),
        instance_admin: choice("instance_admin"),
        disabled: choice("disabled"),
    };
    let changed: Result<Account> =
        app.auth.change_account(proof, &sent.change(), &user, changes).await;
    match changed {
        Ok(_) => Ok(go(&format!("/instance/people/{user}"))),
        Err(error) => {
            let account = app.auth.account(proof, &user).await?;
            let again = again(error.into(), |why| {
                let refusal = Refusal { sent: &sent.fields, why };
                account_page(&sent.viewer, &account, Some(&refusal))
            });
            again.map(|html| html.into_response())
        }
    }
}
