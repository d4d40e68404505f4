//! Stored documents that `server_rows` does not have: sessions, robots and bindings.

use standpipe_server::metadata::documents::{OidcBinding, Robot, Session};

use crate::script::Script;
use crate::server_rows::{reencoded, strict};

/// A document's stored form.
pub fn server_documents(data: &[u8]) {
    let mut script = Script::new(data);
    match script.below(3) {
        0 => strict("session", script.rest(), reencoded::<Session>),
        1 => strict("robot", script.rest(), reencoded::<Robot>),
        _ => strict("binding", script.rest(), reencoded::<OidcBinding>),
    }
}
