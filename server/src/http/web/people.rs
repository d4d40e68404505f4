//! People: accounts and the links with which they get to a password, for administrators of the
//! instance.
//!
//! Invariant: a link is in one answer and nowhere else.

use super::error::{WebError, go};
use super::fields::{At, Fields};
use super::form::{Field, Form, Kind, Refusal, again, button, sure};
use super::page::{Html, Page, Tab};
use super::parts::{badge, copyable, notice, pager, time};
use super::profile::token_page;
use super::viewer::{Submitted, Viewer};
use super::{PAGE, invitation, storage};
use crate::app::App;
use crate::auth::{Account, AccountChanges, Invited, NewAccount, NewInvitation, Secret};
use crate::domain::{Timestamp, Username};
use crate::registry::access::InstanceAdmin;
use crate::registry::{RegistryError, Result};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use std::sync::Arc;
use std::time::Duration;

/// How long the link of an invitation may wait, in days.
const WAITING: [(u64, &str); 4] = [(7, "a week"), (1, "a day"), (3, "3 days"), (30, "30 days")];

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
        submit: "Add person",
        fields: vec![
            Field::text("username", "User name")
                .required()
                .hint("What they sign in and log in to docker with."),
            Field::text("password", "Password").kind(Kind::Password { new: true }).hint(
                "Leave it empty to get a link with which they choose one that nobody else knows.",
            ),
            Field::text("days", "The link works for").choice(WAITING),
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
                        td data-label="Account" { (state(account, viewer.now)) }
                    }
                }
            }
        }
        (pager(query.some("after").map(|_| base), next.as_deref()))
        h2 { "Add somebody" }
        (form.show(refusal))
    };
    Page::of_instance(viewer, "People", Tab::People).show(&content)
}

fn state(account: &Account, now: Timestamp) -> Markup {
    html! {
        @match (account.disabled, account.invited_until) {
            (true, _) => { (badge("bad", "switched off", "Nothing of it works")) }
            (false, Some(until)) if until > now => {
                (badge("", "invited", "A link waits for them"))
                " " span.quiet { "ends " (time(until)) }
            }
            (false, None) if account.has_password => { (badge("good", "active", "It works")) }
            (false, _) => { (badge("bad", "no password", "No link waits for them; make one")) }
        }
    }
}

/// Creates an account with a password, or invites somebody to choose one.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    let proof = app.registry.instance_admin(sent.caller()).await?;
    match make(&app, proof, &sent).await {
        Ok(Made::Account(account)) => Ok(go(&format!("/instance/people/{}", account.username))),
        Ok(Made::Invitation(invited)) => {
            Ok(shown_once(&app, &sent.viewer, &invited).into_response())
        }
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

/// What comes of adding somebody.
enum Made {
    Account(Account),
    Invitation(Invited),
}

async fn make(app: &App, proof: InstanceAdmin, sent: &Submitted) -> Result<Made> {
    let username: Username = sent.fields.parse("username")?;
    let instance_admin = sent.fields.is_ticked("instance_admin");
    let password = sent.fields.exact("password");
    if password.is_empty() {
        let lifetime = waiting(&sent.fields)?;
        let new = NewInvitation { username, instance_admin, lifetime };
        return app.auth.invite(proof, &sent.change(), new).await.map(Made::Invitation);
    }
    let password = Secret::new(password.to_owned());
    let new = NewAccount { username, password, instance_admin };
    app.auth.create_account(proof, &sent.change(), new).await.map(Made::Account)
}

/// How long a link is to wait; the default if the form does not say.
fn waiting(fields: &Fields) -> Result<Option<Duration>> {
    let days: Option<u64> = fields.parse_some("days")?;
    Ok(days.map(|days| Duration::from_secs(days.saturating_mul(86_400))))
}

/// The link of an invitation or reset, once.
fn shown_once(app: &App, viewer: &Viewer, invited: &Invited) -> Html {
    let name = &invited.account.username;
    let content = html! {
        h1 { "The link for " (name) }
        (notice("good", &html! { p { strong { "Copy it now." } " It is not shown again. It works once and ends " (time(invited.expires)) "." } }))
        div.secret {
            h2 { "Link" }
            (copyable(&invitation::link(app, invited), "The link"))
            p.quiet { "Give it to " (name) " over a channel that only the two of you read. Whoever opens it first chooses the password." }
        }
        p { a href={ "/instance/people/" (name) } { "Go to " (name) } }
    };
    Page::of_instance(viewer, "New link", Tab::People)
        .below("People", "/instance/people")
        .show(&content)
}

/// Ends a person's password and shows the link with which they choose another one.
pub(super) async fn reset(
    State(app): State<Arc<App>>,
    At((user,)): At<(Username,)>,
    sent: Submitted,
) -> std::result::Result<Html, WebError> {
    let proof = app.registry.instance_admin(sent.caller()).await?;
    let made = match waiting(&sent.fields) {
        Ok(lifetime) => app.auth.reset(proof, &sent.change(), &user, lifetime).await,
        Err(error) => Err(error),
    };
    match made {
        Ok(invited) => Ok(shown_once(&app, &sent.viewer, &invited)),
        Err(error) => {
            let account = app.auth.account(proof, &user).await?;
            again(error.into(), |why| {
                let refusal = Refusal { sent: &sent.fields, why };
                account_page(&sent.viewer, &account, Some(&refusal))
            })
        }
    }
}

/// Ends the invitation or reset that waits for a person.
pub(super) async fn withdraw(
    State(app): State<Arc<App>>,
    At((user,)): At<(Username,)>,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    let proof = app.registry.instance_admin(sent.caller()).await?;
    let account = app.auth.account(proof, &user).await?;
    match app.auth.withdraw_invitation(proof, &sent.change(), &user).await {
        // It was accepted or withdrawn meanwhile.
        Ok(()) | Err(RegistryError::NotFound(_)) => {
            Ok(go(&format!("/instance/people/{}", account.username)))
        }
        Err(error) => Err(error.into()),
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
    let content = html! {
        h1 { (account.username) " " (state(account, viewer.now)) }
        p { @if account.instance_admin { "Administers the whole instance." } @else { "Has the roles that are given on workspaces and repositories." } }
        @if account.disabled { p { "The account is switched off: signing in, tokens and links are refused until it is switched on again." } }
        h2 { "Password" }
        (link_actions(viewer, account, &url))
        details.lines open[refusal.is_some()] {
            summary { "Set a password for them" }
            (password_form(viewer, &url).show(refusal))
        }
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

fn password_form<'a>(viewer: &'a Viewer, url: &str) -> Form<'a> {
    Form {
        viewer,
        action: url.to_owned(),
        submit: "Set password",
        fields: vec![
            Field::text("password", "New password")
                .kind(Kind::Password { new: true })
                .required()
                .hint("Ends everything that is signed in with the old one. Tokens go on."),
        ],
    }
}

/// What can be done with the link of a person: a new one, and ending the one that waits.
fn link_actions(viewer: &Viewer, account: &Account, url: &str) -> Markup {
    let (label, question) = if account.has_password {
        (
            "Reset password",
            "The password and everything signed in with it end at once. You get a link with which they choose another one. Their tokens go on.",
        )
    } else {
        ("Make a new link", "A link that they have got before does not work any more after this.")
    };
    html! {
        @match account.invited_until {
            Some(until) if until > viewer.now => { p { "A link with which they choose a password waits for them. It ends " (time(until)) "." } }
            Some(until) => { p { "The link with which they could choose a password ended " (time(until)) "." } }
            None if account.has_password => { p { "They have chosen or were given a password." } }
            None => { p { "They have no password, and no link waits for them." } }
        }
        div.actions {
            @if account.has_password || account.invited_until.is_some() { (sure(viewer, &format!("{url}/reset"), label, question, &[])) }
            @else { (button(viewer, &format!("{url}/reset"), "", label, &[])) }
            @if account.invited_until.is_some() {
                (sure(viewer, &format!("{url}/withdraw"), "Withdraw the link", "Nobody can set a password with it any more. Until there is another link they cannot sign in.", &[]))
            }
        }
    }
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
