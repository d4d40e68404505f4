//! Answers to uploads: where to go on, and how far it came. The server's words mean to the pipe what
//! the server meant.

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderValue, LOCATION, RANGE};
use standpipe_pipe::fuzzing::client::{location, received};
use standpipe_server::http::oci::range::{ContentRange, uploaded};

use crate::script::Script;

/// A length, a value of `Location` and one of `Range`.
pub fn pipe_upload(data: &[u8]) {
    let mut script = Script::new(data);
    let length = script.number();
    let here = Url::parse("https://registry.example/v2/acme/app/blobs/uploads/").expect("a URL");
    let mut headers = HeaderMap::new();
    for name in [LOCATION, RANGE] {
        if let Ok(value) = HeaderValue::from_bytes(script.until(b'\n')) {
            headers.insert(name, value);
        }
    }
    if let Some(url) = location(&headers, &here) {
        assert!(matches!(url.scheme(), "http" | "https") && url.host_str().is_some(), "{url}");
    }
    if let Some(bytes) = received(&headers) {
        assert!(bytes > 0, "{headers:?}");
    }
    let said = uploaded(length);
    headers.insert(RANGE, HeaderValue::try_from(&said).expect("digits"));
    // Nothing cannot be told from one byte.
    assert_eq!(received(&headers), Some(length.max(1)), "{said}");
    if length > 0 {
        assert_eq!(said.parse(), Ok(ContentRange { first: 0, length }), "{said}");
    }
}
