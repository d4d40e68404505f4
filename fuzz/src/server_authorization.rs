//! The `Authorization` header and machine tokens.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use standpipe_server::fuzzing::auth::{Shown, authorization, machine_token, mint_machine_token};

use crate::script::Script;

static MINTED: LazyLock<(String, [u8; 32])> =
    LazyLock::new(|| mint_machine_token("ann").expect("random bytes"));

/// A header, and edits of a token that was minted.
pub fn server_authorization(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    header(&text);
    token(&text);
    edited(&mut Script::new(data));
}

fn header(text: &str) {
    match authorization(text) {
        None => {}
        Some(Shown::Bearer(token)) => assert!(!token.is_empty() && text.contains(&token)),
        Some(Shown::Basic(username, password)) => {
            assert!(!username.contains(':'), "{username:?}");
            let again = BASE64_STANDARD.encode(format!("{username}:{password}"));
            let again = authorization(&format!("Basic {again}"));
            assert_eq!(again, Some(Shown::Basic(username, password)));
        }
    }
}

fn token(text: &str) {
    let (whole, hash) = &*MINTED;
    let Some((id, matches)) = machine_token(text, hash) else { return };
    assert!(text.starts_with(&format!("sp_{id}_")) && text.len() == whole.len(), "{text:?}");
    assert!(!matches || text[whole.len() - 72..].starts_with(secret(whole)), "{text:?}");
}

fn secret(token: &str) -> &str {
    &token[token.len() - 72..token.len() - 8]
}

/// The minted token with some of its bytes written over: it is the same or it opens nothing.
fn edited(script: &mut Script<'_>) {
    let (whole, hash) = &*MINTED;
    let mut bytes = whole.clone().into_bytes();
    while !script.is_over() {
        let at = script.below(bytes.len());
        bytes[at] = script.byte();
    }
    let text = String::from_utf8_lossy(&bytes);
    let opens = machine_token(&text, hash).is_some_and(|(_, matches)| matches);
    assert!(!opens || secret(&text) == secret(whole), "{text:?}");
    assert!(opens || text != **whole, "the minted token itself");
}
