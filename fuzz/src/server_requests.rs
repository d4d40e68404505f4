//! Whole requests to the router: whatever comes, the answer is one of ours and no fault of ours.

use std::cell::RefCell;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, Request, Uri, header};

use crate::script::Script;
use crate::world::Server;

const METHODS: [Method; 6] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// The beginnings of paths. Creating people and passwords is left out: hashing takes its time on
/// purpose.
const PATHS: [&str; 31] = [
    "/",
    "/v2/",
    "/v2/acme/shop/blobs/",
    "/v2/acme/shop/blobs/uploads/",
    "/v2/acme/shop/manifests/",
    "/v2/acme/shop/referrers/",
    "/v2/acme/shop/tags/list",
    "/v2/acme/",
    "/token",
    "/api/v1/openapi.json",
    "/api/v1/tokens",
    "/api/v1/tokens/",
    "/api/v1/workspaces",
    "/api/v1/workspaces/acme",
    "/api/v1/workspaces/acme/packages",
    "/api/v1/workspaces/acme/packages/1",
    "/api/v1/workspaces/acme/packages/1/tags",
    "/api/v1/workspaces/acme/packages/1/history",
    "/api/v1/workspaces/acme/packages/1/kept",
    "/api/v1/workspaces/acme/packages/1/restore",
    "/api/v1/workspaces/acme/packages/1/deletion-preview",
    "/api/v1/workspaces/acme/packages/1/holders",
    "/api/v1/workspaces/acme/packages/1/",
    "/api/v1/workspaces/acme/deleted-packages",
    "/api/v1/workspaces/acme/projects",
    "/api/v1/workspaces/acme/repositories",
    "/api/v1/workspaces/acme/repositories/shop",
    "/api/v1/workspaces/acme/repositories/shop/permissions/eve",
    "/api/v1/workspaces/acme/",
    "/metrics",
    "/v2/_catalog",
];
const HEADERS: [HeaderName; 10] = [
    header::ACCEPT,
    header::AUTHORIZATION,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::HOST,
    header::IF_NONE_MATCH,
    header::RANGE,
    header::USER_AGENT,
    HeaderName::from_static("x-request-id"),
];
const CONTENT_TYPES: [&str; 5] = [
    "application/json",
    "application/octet-stream",
    "application/x-www-form-urlencoded",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
];

thread_local! {
    static SERVER: RefCell<Option<Server>> = const { RefCell::new(None) };
}

/// Method, credential, path, query, headers and body of a request.
pub fn server_requests(data: &[u8]) {
    let mut script = Script::new(data);
    SERVER.with_borrow_mut(|server| {
        let server = server.get_or_insert_with(Server::new);
        let shown = script.pick(&server.next().shown).clone();
        if let Some(request) = request(&mut script, shown) {
            let what = format!("{request:?}");
            server.ask_for_json(request, &what);
        }
    });
}

fn request(script: &mut Script<'_>, shown: Option<String>) -> Option<Request<Body>> {
    let method = script.pick(&METHODS).clone();
    let content_type = *script.pick(&CONTENT_TYPES);
    let mut path = (*script.pick(&PATHS)).to_owned();
    let headers = script.below(4);
    path.push_str(&script.text_until(b'\n'));
    // Here people are made and passwords changed.
    if path.contains("users") {
        return None;
    }
    let uri: Uri = path.parse().ok()?;
    let mut request = Request::builder().method(method).uri(uri);
    request = request.header(header::CONTENT_TYPE, content_type);
    if let Some(shown) = shown {
        request = request.header(header::AUTHORIZATION, shown);
    }
    for _ in 0..headers {
        let name = script.pick(&HEADERS).clone();
        let value = HeaderValue::from_bytes(script.until(b'\n')).ok()?;
        // A wrong password costs a hash.
        let basic = value.as_bytes().to_ascii_lowercase().starts_with(b"basic");
        if !(name == header::AUTHORIZATION && basic) {
            request = request.header(name, value);
        }
    }
    request.body(Body::from(script.rest().to_vec())).ok()
}
