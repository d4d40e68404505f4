//! The link of an invitation or a reset: its own page, for a person who has no password.
//!
//! Invariant: a link that is wrong, was used, is over or was withdrawn leads to one page, whoever it
//! names. The secret is in the link and in the form, and never in another page or the log.

use super::error::{WebError, go, percent};
use super::fields::Fields;
use super::form::{Field, Kind, Refusal, again, fields_of};
use super::page::{Html, open, token_field};
use super::viewer::{Unknown, Visit, begin_session};
use crate::app::App;
use crate::auth::{Invited, Secret, acceptor};
use crate::domain::Username;
use crate::http::challenge;
use crate::registry::RegistryError;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use maud::html;
use std::sync::Arc;

/// Who is invited, as the link says.
struct Link {
    user: Username,
    secret: Secret,
}

impl Link {
    fn read(fields: &Fields) -> Option<Self> {
        let user = fields.one("user").parse().ok()?;
        Some(Self { user, secret: Secret::new(fields.one("secret").to_owned()) })
    }
}

/// The address to give to somebody who was invited.
pub(super) fn link(app: &App, invited: &Invited) -> String {
    let origin = challenge::origin(&app.http);
    let origin = origin.as_deref().unwrap_or("https://<this server>");
    let (user, secret) = (percent(&invited.account.username), invited.secret.expose());
    format!("{origin}/invitation?user={user}&secret={secret}")
}

/// Asks for a password.
pub(super) async fn form(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    query: Fields,
) -> Result<Response, WebError> {
    let visit = Visit::of(&headers, &app.http)?;
    let html = match Link::read(&query) {
        Some(link) if app.auth.is_invited(&link.user, &link.secret).await? => {
            page(&visit.form_token, &link, None)
        }
        _ => over(),
    };
    let mut response = html.into_response();
    response.headers_mut().append(header::SET_COOKIE, visit.set_cookie);
    Ok(response)
}

/// Sets the password, and signs in.
pub(super) async fn accept(
    State(app): State<Arc<App>>,
    sent: Unknown,
) -> Result<Response, WebError> {
    let Some(link) = Link::read(&sent.fields) else { return Ok(over().into_response()) };
    let password = Secret::new(sent.fields.exact("password").to_owned());
    let change = sent.change_of(&acceptor(&link.user));
    match app.auth.accept_invitation(&change, &link.user, &link.secret, &password).await {
        Ok(()) => Ok(signed_in(&app, &sent, &link.user, &password).await),
        Err(RegistryError::Invalid { field: "secret", .. }) => Ok(over().into_response()),
        Err(error) => {
            let again = again(error.into(), |why| {
                let refusal = Refusal { sent: &sent.fields, why };
                page(sent.fields.one("form_token"), &link, Some(&refusal))
            });
            again.map(|html| html.into_response())
        }
    }
}

/// A session for whoever has just chosen the password. Where the account cannot be signed in to now,
/// the form of signing in says why.
async fn signed_in(app: &App, sent: &Unknown, user: &Username, password: &Secret) -> Response {
    let begun = app.auth.sign_in(user.as_str(), password, sent.source, &sent.origin).await;
    match begun {
        Ok(session) => {
            let mut response = go("/");
            let cookie = begin_session(&session.cookie, &app.http);
            response.headers_mut().append(header::SET_COOKIE, cookie);
            response
        }
        Err(_) => go("/sign-in"),
    }
}

fn page(form_token: &str, link: &Link, refusal: Option<&Refusal<'_>>) -> Html {
    let field = Field::text("password", "Password")
        .kind(Kind::Password { new: true })
        .required()
        .hint("A long one: several words are good. Nobody else gets to know it.");
    let content = html! {
        h1 { "Choose a password" }
        p { "It is for the account " strong.break { (link.user) } ". You sign in to these pages with both, and log in with them on the command line." }
        form.stack method="post" action="/invitation" {
            (token_field(form_token))
            input type="hidden" name="user" value=(link.user);
            input type="hidden" name="secret" value=(link.secret.expose());
            // So that a browser stores the password with its name.
            input type="text" name="username" value=(link.user) autocomplete="username" hidden readonly;
            (fields_of(&[field], refusal))
            div.actions { button.main type="submit" { "Set password and sign in" } }
        }
        p.quiet { "The link works once. After this, sign in with the password." }
    };
    open("Choose a password", &content)
}

/// The one page of all links that do not work.
fn over() -> Html {
    let content = html! {
        h1 { "This link does not work" }
        p { "A link with which a password is set works once and for a limited time. This one was used, is over, was replaced by another one or is not complete." }
        p { "If you have chosen a password already, sign in with it. Else ask an administrator of this registry for another link; under People they can make one." }
        p { a.button.main href="/sign-in" { "Sign in" } }
    };
    open("This link does not work", &content).with(StatusCode::NOT_FOUND)
}
