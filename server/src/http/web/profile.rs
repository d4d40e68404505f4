//! Who the viewer is: password, sessions, personal tokens.
//!
//! Invariant: a token's secret is in one answer and nowhere else. A new password ends every session
//! and begins one new one.

use super::error::{WebError, go};
use super::fields::{At, Fields};
use super::form::{Field, Form, Kind, Refusal, again, button, sure};
use super::page::{Html, Page, Place};
use super::parts::{badge, browser, copyable, empty, notice, pager, time};
use super::viewer::{Submitted, Viewer, begin_session};
use super::{PAGE, storage};
use crate::app::App;
use crate::auth::sessions::SessionView;
use crate::auth::{NewToken, Secret, TokenView};
use crate::domain::{Origin, Timestamp, TokenScopes};
use crate::metadata;
use crate::registry::{RegistryError, Result};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use std::sync::Arc;
use std::time::Duration;

/// The lifetimes that a form offers, in days.
const LIFETIMES: [(u64, &str); 5] =
    [(90, "90 days"), (1, "1 day"), (7, "a week"), (30, "30 days"), (365, "a year")];
/// The longest of them.
const MOST_DAYS: u64 = 366;
/// What a token can be made for.
const SCOPES: [(&str, &str, bool); 4] = [
    ("pull", "pull images", true),
    ("push", "push images, and pull them", true),
    ("delete", "delete tags and images over the registry API", true),
    ("api", "everything else over the REST API", true),
];

/// The page.
pub(super) async fn show(
    viewer: Viewer,
    State(app): State<Arc<App>>,
) -> std::result::Result<Html, WebError> {
    let sessions = app.auth.own_sessions(viewer.caller()).await?;
    Ok(profile_page(&viewer, &sessions, None))
}

fn frame(viewer: &Viewer, title: &str, content: &Markup) -> Html {
    let content = html! {
        nav.sub aria-label="Profile" { a href="/profile" { "Profile" } a href="/profile/tokens" { "Tokens" } }
        (content)
    };
    Page { viewer, title, place: Place::Nowhere, crumbs: Vec::new() }.show(&content)
}

fn profile_page(viewer: &Viewer, sessions: &[SessionView], refusal: Option<&Refusal<'_>>) -> Html {
    let form = Form {
        viewer,
        action: "/profile/password".to_owned(),
        submit: "Change password",
        fields: vec![
            Field::text("current_password", "Current password").kind(Kind::Password { new: false }).required(),
            Field::text("password", "New password").kind(Kind::Password { new: true }).required().hint("A long one: several words are good. Everything signed in with the old one ends."),
        ],
    };
    let content = html! {
        h1 { (viewer.name()) }
        h2 { "Where you are signed in" }
        table.list {
            thead { tr { th scope="col" { "Browser" } th scope="col" { "Last used" } th scope="col" { "Since" } th scope="col" { "Do" } } }
            tbody {
                @for session in sessions {
                    tr {
                        td data-label="Browser" { span title=[session.agent.as_deref()] { (browser(session.agent.as_deref())) } }
                        td data-label="Last used" { (time(session.seen)) }
                        td data-label="Since" { (time(session.created)) }
                        td.whole data-label="Do" {
                            @if viewer.is_session(&session.id) { "this one" }
                            @else { (button(viewer, &format!("/profile/sessions/{}/end", session.id), "", "End", &[])) }
                        }
                    }
                }
            }
        }
        h2 { "Password" }
        (form.show(refusal))
    };
    frame(viewer, "Profile", &content)
}

/// Changes the password and goes on with a new session.
pub(super) async fn password(
    State(app): State<Arc<App>>,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    let caller = sent.caller();
    let current = Secret::new(sent.fields.exact("current_password").to_owned());
    let new = Secret::new(sent.fields.exact("password").to_owned());
    if let Err(error) = app.auth.change_own_password(caller, &sent.change(), current, &new).await {
        let sessions = app.auth.own_sessions(caller).await?;
        let again = again(error.into(), |why| {
            profile_page(&sent.viewer, &sessions, Some(&Refusal { sent: &sent.fields, why }))
        });
        return again.map(|html| html.into_response());
    }
    let origin = Origin { user_agent: sent.change().origin.user_agent, ..Origin::default() };
    let session = app.auth.sign_in(sent.viewer.name(), &new, None, &origin).await?;
    let mut response = go("/profile");
    response.headers_mut().append(header::SET_COOKIE, begin_session(&session.cookie, &app.http));
    Ok(response)
}

/// Ends one of the viewer's sessions.
pub(super) async fn end_session(
    State(app): State<Arc<App>>,
    At((id,)): At<(String,)>,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    app.auth.end_own_session(sent.caller(), &id).await?;
    Ok(go("/profile"))
}

/// The viewer's tokens.
pub(super) async fn tokens(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    query: Fields,
) -> std::result::Result<Html, WebError> {
    let page = token_page(&query);
    let found = app.auth.personal_tokens(viewer.caller(), page).await?;
    Ok(tokens_page(&viewer, found, &query, None))
}

/// A page of tokens, and one more.
pub(super) fn token_page(query: &Fields) -> metadata::Page {
    metadata::Page { after: query.some("after").map(str::to_owned), limit: PAGE + 1 }
}

fn tokens_page(
    viewer: &Viewer,
    found: Vec<TokenView>,
    query: &Fields,
    refusal: Option<&Refusal<'_>>,
) -> Html {
    let content = html! {
        h1 { "Personal tokens" }
        p { "A token stands for you on the command line and in the REST API, with your rights. Use one for each machine, and end it when the machine goes." }
        (token_table(viewer, found, query, "/profile/tokens"))
        h2 { "New token" }
        (token_form(viewer, "/profile/tokens").show(refusal))
    };
    frame(viewer, "Personal tokens", &content)
}

/// Makes a token and shows it, once.
pub(super) async fn create_token(
    State(app): State<Arc<App>>,
    sent: Submitted,
) -> std::result::Result<Html, WebError> {
    let made = match new_token(&sent.fields) {
        Ok(new) => app.auth.create_personal_token(sent.caller(), &sent.change(), new).await,
        Err(error) => Err(error),
    };
    match made {
        Ok((view, secret)) => {
            let shown = shown_once(&sent.viewer, &view, &secret, sent.viewer.name(), None);
            Ok(frame(&sent.viewer, "New token", &shown))
        }
        Err(error) => {
            let query = Fields::default();
            let found = app.auth.personal_tokens(sent.caller(), token_page(&query)).await?;
            again(error.into(), |why| {
                let refusal = Refusal { sent: &sent.fields, why };
                tokens_page(&sent.viewer, found, &query, Some(&refusal))
            })
        }
    }
}

/// Ends a token.
pub(super) async fn end_token(
    State(app): State<Arc<App>>,
    At((id,)): At<(String,)>,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    match app.auth.revoke_personal_token(sent.caller(), &sent.change(), &id).await {
        Ok(()) | Err(RegistryError::NotFound(_)) => Ok(go("/profile/tokens")),
        Err(error) => Err(error.into()),
    }
}

/// What the form of a token asks for.
pub(super) fn new_token(fields: &Fields) -> Result<NewToken> {
    let days: u64 = fields.parse("days")?;
    let lifetime = Some(Duration::from_secs(days.saturating_mul(86_400)));
    let scopes = TokenScopes::parse(fields.all("scopes"))
        .map_err(|error| RegistryError::Invalid { field: "scopes", reason: error.to_string() })?;
    Ok(NewToken { name: fields.one("name").to_owned(), lifetime, scopes: Some(scopes) })
}

/// The form of a token.
pub(super) fn token_form<'a>(viewer: &'a Viewer, action: &str) -> Form<'a> {
    Form {
        viewer,
        action: action.to_owned(),
        submit: "Make token",
        fields: vec![
            Field::text("name", "What it is for")
                .required()
                .hint("Such as the name of the machine or of the pipeline."),
            Field::text("scopes", "It may")
                .kind(Kind::Ticks(SCOPES.to_vec()))
                .hint("Never more than its owner may. Tick no more than it needs."),
            Field::text("days", "Ends after").choice(LIFETIMES),
        ],
    }
}

/// Tokens as lines, each with a way to end it.
pub(super) fn token_table(
    viewer: &Viewer,
    mut found: Vec<TokenView>,
    query: &Fields,
    base: &str,
) -> Markup {
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    let next = found.last().filter(|_| more).map(|last| storage::after(base, &last.id));
    html! {
        @if found.is_empty() { (empty("There is no token yet", &html! { p { "Make one below. It is shown once; copy it then." } })) }
        @else {
            table.list {
                thead { tr { th scope="col" { "For" } th scope="col" { "Id" } th scope="col" { "May" } th scope="col" { "Last used" } th scope="col" { "Ends" } th scope="col" { "Do" } } }
                tbody {
                    @for token in &found {
                        tr {
                            th scope="row" { (token.name) }
                            td data-label="Id" { code { (token.id) } }
                            td data-label="May" { (scopes(token.scopes)) }
                            td data-label="Last used" { (last_used(token.last_used)) }
                            td data-label="Ends" { (ends(token, viewer.now)) div.below.quiet { "made " (time(token.created)) } }
                            td.whole data-label="Do" { (token_actions(viewer, base, token)) }
                        }
                    }
                }
            }
        }
        @if !found.is_empty() { p.quiet { "Renewing makes another token of the same kind, with its full time. The old one goes on until you end it, so that you can change over." } }
        (pager(query.some("after").map(|_| base), next.as_deref()))
    }
}

/// What a token may do, in one word if that is everything.
fn scopes(scopes: TokenScopes) -> Markup {
    html! {
        @if scopes == TokenScopes::ALL { "everything" } @else { (scopes.names().join(", ")) }
    }
}

/// When a token was used last.
pub(super) fn last_used(at: Option<Timestamp>) -> Markup {
    html! { @match at { Some(at) => { (time(at)) } None => { span.quiet { "never" } } } }
}

fn ends(token: &TokenView, now: Timestamp) -> Markup {
    html! {
        @match token.expires {
            Some(at) if at <= now => { (badge("bad", "ended", "It is refused")) " " (time(at)) }
            Some(at) => { (time(at)) }
            None => { "never" }
        }
    }
}

fn token_actions(viewer: &Viewer, base: &str, token: &TokenView) -> Markup {
    let lifetime = token.expires.map_or(Duration::ZERO, |at| at.since(token.created));
    let days = lifetime.as_secs().div_ceil(86_400).clamp(1, MOST_DAYS).to_string();
    let mut same = vec![("name", token.name.as_str()), ("days", days.as_str())];
    same.extend(token.scopes.names().into_iter().map(|scope| ("scopes", scope)));
    html! {
        div.actions {
            (button(viewer, base, "", "Renew", &same))
            (sure(viewer, &format!("{base}/{}/end", token.id), "End", "Whatever uses this token is refused from the next request on.", &[]))
        }
    }
}

/// A token that was just made, with the lines to use it.
pub(super) fn shown_once(
    viewer: &Viewer,
    view: &TokenView,
    secret: &Secret,
    username: &str,
    step: Option<&str>,
) -> Markup {
    let host = viewer.host.as_deref().unwrap_or("<this server>");
    html! {
        h1 { "The token for " (view.name) }
        (notice("good", &html! { p { strong { "Copy it now." } " It is not shown again." @if let Some(at) = view.expires { " It ends " (time(at)) "." } " It may do: " (scopes(view.scopes)) "." } }))
        div.secret {
            h2 { "Token" }
            (copyable(secret.expose(), "The token"))
            h2 { "Log in with Docker" }
            (copyable(&format!("docker login --username {username} --password-stdin {host}"), "The command to log in"))
            p.quiet { "Paste the token as the password, then press Enter and Ctrl+D." }
            @if let Some(step) = step {
                h2 { "In a Bitbucket pipeline" }
                (copyable(step, "The step of a pipeline"))
                p.quiet { "Put the token into a secured variable REGISTRY_TOKEN of the repository in Bitbucket." }
            }
        }
    }
}
