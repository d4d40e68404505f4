//! Pages and forms: nothing that was sent becomes markup, a form without its token changes nothing,
//! and nobody is led to another site.

use std::cell::RefCell;

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, StatusCode, Uri, header};

use crate::script::Script;
use crate::world::{Server, SignedIn};

/// The beginnings of addresses.
const PATHS: [&str; 24] = [
    "/",
    "/sign-in?next=",
    "/w/acme",
    "/w/acme/activity",
    "/w/acme/audit",
    "/w/acme/settings",
    "/w/acme/create-project",
    "/w/acme/create-package",
    "/w/acme/create-repository",
    "/w/acme/storage",
    "/w/acme/robots",
    "/w/acme/robots/deployer",
    "/w/acme/repositories/shop",
    "/w/acme/repositories/shop/permissions",
    "/w/acme/repositories/shop/tokens",
    "/w/acme/repositories/shop/oidc",
    "/w/acme/repositories/shop/settings",
    "/w/acme/packages/1",
    "/w/acme/packages/1/compare",
    "/w/acme/packages/1/delete-tags",
    "/w/acme/packages/1/restore-tags",
    "/instance/",
    "/profile/tokens",
    "/assets/",
];
/// What could only stand in a page as it was sent if it had become markup.
const MARKUP: &str = "<zq";

thread_local! {
    static SERVER: RefCell<Option<Server>> = const { RefCell::new(None) };
}

/// Who, whether a form with its token, where, and the fields.
pub fn server_pages(data: &[u8]) {
    let mut script = Script::new(data);
    let (who, how) = (script.below(3), script.below(3));
    let path = format!("{}{}", script.pick(&PATHS), script.text_until(b'\n'));
    let fields = script.rest();
    // Passwords take their time on purpose.
    if ["people", "password"].iter().any(|word| path.contains(word)) {
        return;
    }
    let Ok(uri) = path.parse::<Uri>() else { return };
    if how > 0 && uri.path().contains("sign-in") {
        return;
    }
    SERVER.with_borrow_mut(|server| {
        let server = server.get_or_insert_with(Server::new);
        let session = server.next().sessions.get(who).cloned();
        let request = request(uri, how, session.as_ref(), fields);
        let what = format!("{request:?} {}", String::from_utf8_lossy(fields));
        let (parts, body) = server.ask(request, &what);
        let location = parts.headers.get(header::LOCATION).map(HeaderValue::as_bytes);
        if let Some(location) = location {
            let ours = location.starts_with(b"/") && !matches!(location.get(1), Some(b'/' | b'\\'));
            assert!(ours, "{location:?} {what}");
        }
        if how == 1 || (how == 2 && session.is_none()) {
            let first = location.is_some_and(|at| at.starts_with(b"/sign-in"));
            assert!(parts.status.is_client_error() || first, "without a token: {what}");
        }
        let page = String::from_utf8_lossy(&body).to_lowercase();
        assert!(!page.contains(MARKUP), "{what}");
        if parts.status == StatusCode::OK && page.contains("<html") {
            assert!(parts.headers.contains_key("content-security-policy"), "{what}");
        }
    });
}

/// A page is asked for, or a form is sent without or with its token.
fn request(uri: Uri, how: usize, session: Option<&SignedIn>, fields: &[u8]) -> Request<Body> {
    let method = if how == 0 { Method::GET } else { Method::POST };
    let mut request = Request::builder().method(method).uri(uri);
    if let Some(session) = session {
        request = request.header(header::COOKIE, format!("standpipe_session={}", session.cookie));
    }
    let mut body = Vec::new();
    if let Some(session) = session.filter(|_| how == 2) {
        body.extend_from_slice(format!("form_token={}&", session.form_token).as_bytes());
    }
    body.extend_from_slice(fields);
    let body = if how == 0 { Body::empty() } else { Body::from(body) };
    let form = "application/x-www-form-urlencoded";
    request.header(header::CONTENT_TYPE, form).body(body).expect("a legal request")
}
