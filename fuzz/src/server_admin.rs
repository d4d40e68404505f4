//! What a server answers to `admin` and to `health`: nothing acts on the terminal, no password is shown.

use std::sync::LazyLock;

use serde_json::json;
use standpipe_server::fuzzing::{admin, health};

use crate::script::Script;

const PASSWORD: &str = "hunter22-of-somebody";
const KINDS: [&str; 4] = [
    "application/json",
    "application/problem+json",
    "text/html",
    "application/json; charset=utf-8",
];
const STATUSES: [u16; 8] = [200, 201, 204, 400, 401, 404, 500, 503];

/// A status, a content type, and a body; the address that a server announced is its first line.
pub fn server_admin(data: &[u8]) {
    let mut script = Script::new(data);
    let (status, kind) = (*script.pick(&STATUSES), *script.pick(&KINDS));
    let body = script.rest();
    let text = String::from_utf8_lossy(body);
    answer(status, kind, body);
    answer(status, KINDS[1], json!({ "detail": text, "request_id": text }).to_string().as_bytes());
    match health::ready(status, body) {
        Ok(_) => {
            assert_eq!(status, 200, "{text}");
            let said = text.trim_start();
            assert!(said.starts_with(['{', '[']), "{text}");
        }
        Err(told) => fits(&told),
    }
    let line = text.lines().next().unwrap_or_default();
    for url in [line.to_owned(), format!("http://{line}")] {
        let Some(address) = health::announced(&url) else { continue };
        assert!(!address.ip().is_unspecified(), "{address} is none to connect to");
        assert_eq!(health::announced(&format!("http://{address}")), Some(address));
    }
}

static ASKING: LazyLock<admin::Asking> = LazyLock::new(|| {
    let asking = admin::Asking::new("http://registry.example:5000", "ann", PASSWORD);
    asking.expect("a legal address")
});

fn answer(status: u16, kind: &str, body: &[u8]) {
    match ASKING.understood(status, kind, body) {
        Ok(answer) => {
            assert!((200..300).contains(&status), "{status}");
            for printed in admin::printed(&answer, &["name", "digest", "by.name"]) {
                for line in printed.lines() {
                    fits(line);
                }
            }
        }
        Err(error) => {
            let told = error.to_string();
            fits(&told);
            assert!(!told.contains(PASSWORD) || contains(body, PASSWORD), "{told}");
        }
    }
}

fn contains(body: &[u8], text: &str) -> bool {
    String::from_utf8_lossy(body).contains(text)
}

/// Nothing in it acts on a terminal.
fn fits(text: &str) {
    assert!(!text.contains(char::is_control), "{text:?}");
}
