//! What Standpipe's own API answers to the pipe, and what registries say in headers.

use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use standpipe_pipe::Digest;
use standpipe_pipe::fuzzing::client::{known_layers, open_uploads, said};

use crate::script::Script;

const HEADERS: [HeaderName; 4] = [
    CONTENT_TYPE,
    HeaderName::from_static("docker-content-digest"),
    HeaderName::from_static("oci-chunk-min-length"),
    HeaderName::from_static("standpipe-extensions"),
];

/// Values of four headers, one a line, and a list.
pub fn pipe_lists(data: &[u8]) {
    let mut script = Script::new(data);
    let mut headers = HeaderMap::new();
    for name in HEADERS {
        if let Ok(value) = HeaderValue::from_bytes(script.until(b'\n')) {
            headers.insert(name, value);
        }
    }
    let (digest, media_type, _) = said(&headers);
    assert!(!media_type.contains(';') && media_type.trim() == media_type, "{media_type:?}");
    if let Some(digest) = digest {
        // It becomes a part of references and a value of variables.
        let legal = |c: char| c.is_ascii_alphanumeric() || "+._-:=".contains(c);
        assert!(digest.chars().all(legal) && digest.matches(':').count() == 1, "{digest:?}");
    } else if let Some(value) = headers.get(&HEADERS[1]) {
        let value = value.to_str().unwrap_or_default();
        assert!(value.parse::<standpipe_server::domain::Digest>().is_err(), "{value:?} is one");
    }
    let list = script.rest();
    for (diff_id, digest, _, _) in known_layers(list).unwrap_or_default() {
        assert!(Digest::parse(&diff_id).is_some() && Digest::parse(&digest).is_some());
    }
    let base = Url::parse("https://registry.example:5000/").expect("a URL");
    for (location, _) in open_uploads(list, &base).unwrap_or_default() {
        // The login is sent there.
        assert_eq!(location.origin(), base.origin(), "{location}");
    }
}
