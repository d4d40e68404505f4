//! Signing in and out.
//!
//! Invariant: whoever signs in gets a new session, and is led only to a page of this server.

use super::error::{WebError, go, percent, sentence};
use super::fields::Fields;
use super::page::{Html, open, token_field};
use super::parts::{copyable, notice};
use super::viewer::{Submitted, Unknown, Viewer, Visit, begin_session, end_session};
use crate::app::App;
use crate::auth::{AuthError, Refusal, Secret};
use crate::http::challenge;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use std::sync::Arc;

/// What was tried, to be shown again.
#[derive(Default)]
struct Tried<'a> {
    username: &'a str,
    next: &'a str,
    why: Option<(StatusCode, String)>,
}

/// The form.
pub(super) async fn form(
    viewer: Result<Viewer, WebError>,
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    query: Fields,
) -> Result<Response, WebError> {
    if viewer.is_ok() {
        return Ok(go(ours(query.one("next"))));
    }
    page(&app, &headers, Tried { next: query.one("next"), ..Tried::default() })
}

/// Signs in.
pub(super) async fn begin(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    sent: Unknown,
) -> Result<Response, WebError> {
    let (username, next) = (sent.fields.one("username"), sent.fields.one("next"));
    let password = Secret::new(sent.fields.exact("password").to_owned());
    match app.auth.sign_in(username, &password, sent.source, &sent.origin).await {
        Ok(session) => {
            let mut response = go(ours(next));
            let cookie = begin_session(&session.cookie, &app.http);
            response.headers_mut().append(header::SET_COOKIE, cookie);
            Ok(response)
        }
        Err(
            error @ (AuthError::Invalid
            | AuthError::Refused(Refusal::Password)
            | AuthError::TooMany(_)),
        ) => {
            let why = Some(refused(&error));
            page(&app, &headers, Tried { username, next, why })
        }
        Err(error) => Err(error.into()),
    }
}

/// Signs out.
pub(super) async fn end(
    State(app): State<Arc<App>>,
    sent: Submitted,
) -> Result<Response, WebError> {
    app.auth.sign_out(sent.viewer.cookie()).await?;
    let mut response = go("/");
    response.headers_mut().append(header::SET_COOKIE, end_session(&app.http));
    Ok(response)
}

fn refused(error: &AuthError) -> (StatusCode, String) {
    match error {
        AuthError::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, sentence(&error.to_string())),
        _ => (
            StatusCode::UNAUTHORIZED,
            "The name or the password is wrong. Tokens are for docker login, not for this page."
                .to_owned(),
        ),
    }
}

/// A path of this server, and nothing that a browser would take for another one.
fn ours(next: &str) -> &str {
    let plain = next.starts_with('/')
        && !next.starts_with("//")
        && !next.contains('\\')
        && !next.chars().any(char::is_control)
        && !next.starts_with("/sign-");
    if plain { next } else { "/" }
}

fn page(app: &App, headers: &HeaderMap, tried: Tried<'_>) -> Result<Response, WebError> {
    let visit = Visit::of(headers, &app.http)?;
    let status = tried.why.as_ref().map_or(StatusCode::OK, |(status, _)| *status);
    let html = sign_in_page(&visit.form_token, &tried).with(status);
    let mut response = html.into_response();
    response.headers_mut().append(header::SET_COOKIE, visit.set_cookie);
    Ok(response)
}

fn sign_in_page(form_token: &str, tried: &Tried<'_>) -> Html {
    let content = html! {
        h1 { "Sign in" }
        form.stack method="post" action="/sign-in" {
            (token_field(form_token))
            input type="hidden" name="next" value=(ours(tried.next));
            @if let Some((_, why)) = &tried.why { (notice("bad", &html! { p { (why) } })) }
            div.field {
                label for="username" { "User name" }
                input #username name="username" type="text" value=(tried.username) required autocomplete="username" autocapitalize="none" spellcheck="false" autofocus[tried.username.is_empty()];
            }
            div.field {
                label for="password" { "Password" }
                input #password name="password" type="password" required autocomplete="current-password" autofocus[!tried.username.is_empty()];
            }
            div.actions { button.main type="submit" { "Sign in" } }
        }
        p.quiet { "No account, or the password is lost? An administrator of this registry gives you a link with which you choose one." }
    };
    open("Sign in", &content)
}

/// What somebody sees who is not signed in: what this is and how to use it.
pub(super) fn landing(app: &App) -> Html {
    let origin = challenge::origin(&app.http);
    let host = origin.as_deref().map(|url| url.split_once("://").map_or(url, |(_, host)| host));
    open("Container registry", &welcome(host))
}

fn welcome(host: Option<&str>) -> Markup {
    html! {
        h1 { "A container registry" }
        p { "Images are pushed and pulled with docker, podman and their like. Sign in to look at packages, tags and storage." }
        p { a.button.main href={ "/sign-in?next=" (percent("/")) } { "Sign in" } }
        h2 { "On the command line" }
        @if let Some(host) = host {
            (copyable(&format!("docker login {host}"), "The command to log in"))
            (copyable(&format!("docker push {host}/<workspace>/<package>:<tag>"), "The command to push"))
        } @else {
            p { "Log in with " code { "docker login" } " and the address of this server. Images are called " code { "<workspace>/<package>:<tag>" } "." }
        }
        p { "Everything these pages do can be done over the " a href="/api/v1/openapi.json" { "REST API" } " too." }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_away_after_signing_in() {
        assert_eq!(ours("/w/acme?prefix=a"), "/w/acme?prefix=a");
        for away in ["", "//evil", "https://evil", "/\\evil", "javascript:x", "/a\nb", "/sign-out"]
        {
            assert_eq!(ours(away), "/", "{away:?}");
        }
    }

    #[test]
    fn the_first_page_names_the_address_and_escapes_it() {
        let text = welcome(Some("registry.example.com")).into_string();
        assert!(text.contains("docker login registry.example.com"), "{text}");
        assert!(welcome(Some("<b>")).into_string().contains("docker login &lt;b&gt;"));
    }
}
