//! Places in the audit log, moments, and the cursors of all lists of the REST API.

use std::cell::RefCell;

use axum::body::Body;
use axum::http::{Request, header};
use standpipe_server::domain::Timestamp;
use standpipe_server::metadata::AuditPlace;

use crate::script::Script;
use crate::world::Server;

/// Lists, each with the parameter that takes the text.
const LISTS: [&str; 14] = [
    "audit?after=",
    "audit?since=",
    "audit?until=",
    "audit?action=",
    "audit?target=",
    "workspaces/acme/audit?after=",
    "workspaces/acme/receipts?after=",
    "workspaces/acme/packages?after=",
    "workspaces/acme/deleted-packages?after=",
    "workspaces/acme/repositories?after=",
    "workspaces/acme/projects?after=",
    "workspaces/acme/robots?after=",
    "workspaces/acme/packages/1/tags?after=",
    "workspaces/acme/packages/1/history?after=",
];

thread_local! {
    static SERVER: RefCell<Option<Server>> = const { RefCell::new(None) };
}

/// A list and a text.
pub fn server_cursors(data: &[u8]) {
    let mut script = Script::new(data);
    let list = *script.pick(&LISTS);
    let text = String::from_utf8_lossy(script.rest());
    if let Ok(place) = text.parse::<AuditPlace>() {
        assert_eq!(place.to_string(), text, "a place has one spelling");
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        assert_eq!(moment.to_string().parse(), Ok(moment), "{text:?}");
    }
    let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    SERVER.with_borrow_mut(|server| {
        let server = server.get_or_insert_with(Server::new);
        let admin = server.next().shown[1].clone().expect("the administrator");
        let request = Request::get(format!("/api/v1/{list}{encoded}"));
        let Ok(request) = request.header(header::AUTHORIZATION, admin).body(Body::empty()) else {
            return; // An address of more than 64 KiB.
        };
        let status = server.ask_for_json(request, &format!("{list}{text:?}"));
        // The last is for what is too long.
        assert!(matches!(status.as_u16(), 200 | 400 | 414), "{status} {list}{text:?}");
    });
}
