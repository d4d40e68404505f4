//! Bodies of the REST API: whatever JSON comes, the answer is one of ours.

use std::cell::RefCell;

use axum::body::Body;
use axum::http::{Request, header};

use crate::script::Script;
use crate::world::Server;

/// What takes a body. What hashes passwords is left out: it takes its time on purpose.
const CALLS: [(&str, &str); 19] = [
    ("POST", "tokens"),
    ("POST", "invitations"),
    ("POST", "invitations/accept"),
    ("POST", "workspaces"),
    ("PATCH", "workspaces/acme"),
    ("POST", "workspaces/acme/known-layers"),
    ("POST", "workspaces/acme/packages"),
    ("POST", "workspaces/acme/packages/1/reclaim"),
    ("POST", "workspaces/acme/packages/1/restore"),
    ("POST", "workspaces/acme/projects"),
    ("POST", "workspaces/acme/repositories"),
    ("PATCH", "workspaces/acme/repositories/shop"),
    ("POST", "workspaces/acme/repositories/shop/oidc-bindings"),
    ("POST", "workspaces/acme/repositories/shop/pipeline-tokens"),
    ("PUT", "workspaces/acme/repositories/shop/permissions/eve"),
    ("POST", "workspaces/acme/robots"),
    ("PATCH", "workspaces/acme/robots/deployer"),
    ("POST", "workspaces/acme/robots/deployer/tokens"),
    ("PUT", "workspaces/acme/robots/deployer/roles/shop"),
];

thread_local! {
    static SERVER: RefCell<Option<Server>> = const { RefCell::new(None) };
}

/// Calls by the administrator, one a line: a byte that says which, and the body.
pub fn server_rest(data: &[u8]) {
    let mut script = Script::new(data);
    SERVER.with_borrow_mut(|server| {
        let server = server.get_or_insert_with(Server::new);
        let admin = server.next().shown[1].clone().expect("the administrator");
        for _ in 0..4 {
            let (method, path) = *script.pick(&CALLS);
            let body = script.until(b'\n').to_vec();
            let what = format!("{method} {path} {}", String::from_utf8_lossy(&body));
            let request = Request::builder()
                .method(method)
                .uri(format!("/api/v1/{path}"))
                .header(header::AUTHORIZATION, &admin)
                .header(header::CONTENT_TYPE, "application/json")
                .body(Body::from(body))
                .expect("a legal request");
            server.ask_for_json(request, &what);
            if script.is_over() {
                return;
            }
        }
    });
}
