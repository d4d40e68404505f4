//! Answers of registries and token servers that say no, or give a token.

use std::sync::LazyLock;

use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use standpipe_pipe::config::Config;
use standpipe_pipe::fuzzing::client::{explained, refusal, retry_after, token};

use crate::script::Script;

static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let given = [("IMAGE_NAME", "app"), ("WORKSPACE", "acme"), ("REGISTRY", "registry.example")];
    let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Config::from_variables(given).1.expect("legal variables")
});

/// A status, a value of `Retry-After` and a body.
pub fn pipe_refusal(data: &[u8]) {
    let mut script = Script::new(data);
    let status = 400 + u16::from(script.byte()) % 200;
    let wait = script.until(b'\n');
    let body = script.rest();
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(wait) {
        let said = value.to_str().ok().and_then(retry_after);
        headers.insert(RETRY_AFTER, value);
        assert_eq!(refusal(status, &headers, body).1, said);
    }
    let (shown, _) = refusal(status, &headers, body);
    // Five reasons with a code and a message of 300 characters each.
    fits(&shown, 5 * 2 * 310 + 100);
    let (message, hints) = explained(&CONFIG, status, &headers, body);
    fits(&message, 5 * 2 * 310 + 500);
    hints.iter().for_each(|hint| fits(hint, 1000));
    if let Some(token) = token(body) {
        assert!(HeaderValue::try_from(format!("Bearer {token}")).is_ok(), "{token:?}");
        assert!(!token.is_empty() && !token.contains(' '), "{token:?}");
    }
}

/// Fit for one line of a log, whatever a stranger wrote.
fn fits(text: &str, most: usize) {
    assert!(!text.contains(char::is_control), "{text:?}");
    assert!(text.chars().count() <= most, "{} characters: {text}", text.chars().count());
}
