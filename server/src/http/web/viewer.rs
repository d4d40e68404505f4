//! Who looks at a page, and who sends a form.
//!
//! Invariant: a cookie is read here and nowhere else, so it counts for pages only, never for `/v2/` or
//! the REST API. A [`Change`] comes only from [`Submitted`], which exists only for a form that brought
//! the token of its own session and did not come from another site; so a handler that changes
//! something cannot be called by one (CVE-2019-19025).

use super::error::WebError;
use super::fields::Fields;
use crate::app::{App, HttpSettings};
use crate::auth::sessions::{SignedIn, form_token, visit};
use crate::auth::{AuthError, Secret};
use crate::domain::{Caller, Change, Origin, Timestamp};
use crate::http::extract::{RequestContext, source};
use crate::registry::access;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use std::sync::Arc;
use subtle::ConstantTimeEq as _;

/// The field of every form that holds its token.
pub(super) const TOKEN_FIELD: &str = "form_token";

/// Somebody who is signed in and looks at a page.
#[derive(Clone, Debug)]
pub(super) struct Viewer {
    signed_in: SignedIn,
    cookie: String,
    /// When.
    pub(super) now: Timestamp,
    /// The host as clients name it, if that is known.
    pub(super) host: Option<String>,
}

impl Viewer {
    /// Who asks, for decisions about access.
    pub(super) const fn caller(&self) -> &Caller {
        &self.signed_in.caller
    }

    /// The name they log in with.
    pub(super) fn name(&self) -> &str {
        self.signed_in.username.as_str()
    }

    /// Whether to offer the pages of the instance.
    pub(super) const fn is_instance_admin(&self) -> bool {
        self.signed_in.instance_admin
    }

    /// What the forms of a page bring along.
    pub(super) fn form_token(&self) -> &str {
        &self.signed_in.form_token
    }

    /// The cookie, to end its session.
    pub(super) fn cookie(&self) -> &str {
        &self.cookie
    }

    /// The id of this session among the person's own.
    pub(super) fn is_session(&self, id: &str) -> bool {
        let credential = self.signed_in.caller.credential.as_deref();
        credential.and_then(|text| text.strip_prefix("session:")) == id.get(..16)
    }
}

impl FromRequestParts<Arc<App>> for Viewer {
    type Rejection = WebError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, WebError> {
        let cookie = cookie(&parts.headers, &session_cookie(&app.http));
        let signed_in = match &cookie {
            Some(cookie) => app.auth.session(cookie).await?,
            None => None,
        };
        let (Some(signed_in), Some(cookie)) = (signed_in, cookie) else {
            let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
            let next = if parts.method == Method::GET { path } else { "/" };
            return Err(WebError::sign_in_first(next));
        };
        if let Some(context) = parts.extensions.get::<Arc<RequestContext>>() {
            context.called_by(&signed_in.caller);
        }
        let origin = crate::http::challenge::origin(&app.http);
        let host = origin.and_then(|url| url.split_once("://").map(|(_, host)| host.to_owned()));
        let now = app.registry.clock().now();
        Ok(Self { signed_in, cookie, now, host })
    }
}

/// A form that somebody who is signed in sent from one of our pages.
#[derive(Clone, Debug)]
pub(super) struct Submitted {
    /// Who.
    pub(super) viewer: Viewer,
    /// What.
    pub(super) fields: Fields,
    context: Arc<RequestContext>,
    origin: Origin,
}

impl Submitted {
    /// The author of the change that the form asks for.
    pub(super) fn change(&self) -> Change {
        access::change(self.viewer.caller(), self.context.id(), self.origin.clone())
    }

    /// Who asks.
    pub(super) const fn caller(&self) -> &Caller {
        self.viewer.caller()
    }
}

impl FromRequest<Arc<App>> for Submitted {
    type Rejection = WebError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, WebError> {
        let (mut parts, body) = request.into_parts();
        let viewer = Viewer::from_request_parts(&mut parts, app).await?;
        require_same_site(&parts.headers, &app.http)?;
        let origin = browser(&parts.headers);
        let context = context(&parts);
        let fields = Fields::read(Request::from_parts(parts, body), app).await?;
        require_token(&fields, viewer.form_token())?;
        Ok(Self { viewer, fields, context, origin })
    }
}

/// A form of somebody who is not signed in: it has a token too, bound to a cookie of its own, so that
/// nobody can be signed in as somebody else without knowing.
#[derive(Debug)]
pub(super) struct Unknown {
    /// What was sent.
    pub(super) fields: Fields,
    /// The browser.
    pub(super) origin: Origin,
    /// The client's own address, if that is known.
    pub(super) source: Option<std::net::IpAddr>,
    context: Arc<RequestContext>,
}

impl Unknown {
    /// The author of a change, for somebody who showed in the form who they are.
    pub(super) fn change_of(&self, caller: &Caller) -> Change {
        access::change(caller, self.context.id(), self.origin.clone())
    }
}

impl FromRequest<Arc<App>> for Unknown {
    type Rejection = WebError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, WebError> {
        require_same_site(request.headers(), &app.http)?;
        let visit = cookie(request.headers(), &visit_cookie(&app.http));
        let (origin, source) = (browser(request.headers()), source(request.extensions()));
        let (parts, body) = request.into_parts();
        let context = context(&parts);
        let fields = Fields::read(Request::from_parts(parts, body), app).await?;
        let visit = visit.ok_or_else(WebError::form_is_old)?;
        require_token(&fields, &form_token(&visit))?;
        Ok(Self { fields, origin, source, context })
    }
}

/// A visit before signing in: the token for the form, and the cookie it belongs to if that is new.
pub(super) struct Visit {
    /// What the form brings along.
    pub(super) form_token: String,
    /// The header that sets the cookie.
    pub(super) set_cookie: HeaderValue,
}

impl Visit {
    /// Goes on with the visit that a request belongs to, or begins one.
    pub(super) fn of(headers: &HeaderMap, settings: &HttpSettings) -> Result<Self, AuthError> {
        let name = visit_cookie(settings);
        let known = cookie(headers, &name)
            .filter(|text| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let secret = known.map_or_else(visit, Ok)?;
        let form_token = form_token(&secret);
        let set_cookie = set_cookie(&name, &secret, "Strict", settings);
        Ok(Self { form_token, set_cookie })
    }
}

/// The header that gives a browser its session.
pub(super) fn begin_session(cookie: &Secret, settings: &HttpSettings) -> HeaderValue {
    set_cookie(&session_cookie(settings), cookie.expose(), "Lax", settings)
}

/// The header that takes a session away from a browser.
pub(super) fn end_session(settings: &HttpSettings) -> HeaderValue {
    let name = session_cookie(settings);
    let secure = if is_secure(settings) { "; Secure" } else { "" };
    let text = format!("{name}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn set_cookie(name: &str, value: &str, same_site: &str, settings: &HttpSettings) -> HeaderValue {
    let secure = if is_secure(settings) { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite={same_site}{secure}");
    // Hexadecimal digits and a user name, both of which are legal in a header.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Whether browsers reach this server by https only.
fn is_secure(settings: &HttpSettings) -> bool {
    settings.public_url.as_deref().is_some_and(|url| url.starts_with("https://"))
}

/// With the prefix, browsers take the cookie from this host alone and over https alone.
fn session_cookie(settings: &HttpSettings) -> String {
    let prefix = if is_secure(settings) { "__Host-" } else { "" };
    format!("{prefix}standpipe_session")
}

fn visit_cookie(settings: &HttpSettings) -> String {
    let prefix = if is_secure(settings) { "__Host-" } else { "" };
    format!("{prefix}standpipe_visit")
}

/// The value of a cookie, if there is exactly one of that name.
fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut found = all
        .flat_map(|text| text.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned());
    match (found.next(), found.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

fn browser(headers: &HeaderMap) -> Origin {
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    // What a browser calls itself is no build, whatever words are in it.
    Origin { user_agent: agent.map(Origin::clean), ..Origin::default() }
}

fn context(parts: &Parts) -> Arc<RequestContext> {
    let found = parts.extensions.get::<Arc<RequestContext>>().cloned();
    found.unwrap_or_else(|| Arc::new(RequestContext::of(&parts.headers, None)))
}

/// Refuses a form that the browser says another site sent. A browser that says nothing still has to
/// bring the form's token.
fn require_same_site(headers: &HeaderMap, settings: &HttpSettings) -> Result<(), WebError> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text(HeaderName::from_static("sec-fetch-site")) {
        let ours = matches!(site, "same-origin" | "none");
        return if ours { Ok(()) } else { Err(WebError::from_elsewhere()) };
    }
    let Some(origin) = text(header::ORIGIN).filter(|origin| *origin != "null") else {
        return Ok(());
    };
    let said = origin.split_once("://").map_or(origin, |(_, host)| host);
    let public = settings.public_url.as_deref() == Some(origin);
    let same_host = text(header::HOST) == Some(said);
    if public || same_host { Ok(()) } else { Err(WebError::from_elsewhere()) }
}

fn require_token(fields: &Fields, expected: &str) -> Result<(), WebError> {
    let brought = fields.one(TOKEN_FIELD).as_bytes();
    if brought.ct_eq(expected.as_bytes()).into() { Ok(()) } else { Err(WebError::form_is_old()) }
}
