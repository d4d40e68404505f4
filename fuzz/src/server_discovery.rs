//! What an issuer publishes about its keys: where they are, and for how long.

use std::sync::LazyLock;

use reqwest::Url;
use serde_json::{Value, json};
use standpipe_server::fuzzing::auth::{OidcSource, oidc_max_age};

use crate::script::Script;

const ISSUERS: [&str; 3] =
    ["https://issuer.example.com/a", "http://127.0.0.1:8080", "http://localhost/b/"];

static SOURCES: LazyLock<[OidcSource; 3]> =
    LazyLock::new(|| ISSUERS.map(|issuer| OidcSource::new(issuer).expect("a legal issuer")));

/// An issuer, a `Cache-Control`, an address of keys, and any document.
pub fn server_discovery(data: &[u8]) {
    let mut script = Script::new(data);
    let issuer = script.below(ISSUERS.len());
    let header = script.text_until(b'\n');
    if let Some(seconds) = oidc_max_age(&header) {
        assert!(header.contains(&seconds.to_string()) || header.contains(['0', '+']), "{header:?}");
    }
    let uri = script.text_until(b'\n');
    let right = json!({ "issuer": ISSUERS[issuer], "jwks_uri": uri }).to_string();
    let foreign = json!({ "issuer": format!("{}/", ISSUERS[issuer]), "jwks_uri": uri });
    for document in [right.as_bytes(), foreign.to_string().as_bytes(), script.rest()] {
        let said = match SOURCES[issuer].keys_named(document) {
            Ok(said) => said,
            Err(told) => {
                assert!(!told.contains(char::is_control), "{told:?}");
                continue;
            }
        };
        // Numbers beyond all bounds in fields that are skipped are one more reason to say no.
        let Ok(json) = serde_json::from_slice::<Value>(document) else { continue };
        let named = json.get("issuer").or_else(|| json.get(0)).expect("an issuer");
        assert_eq!(named, ISSUERS[issuer], "keys of somebody else");
        let url = Url::parse(&said).expect("an address");
        assert!(url.username().is_empty() && url.password().is_none() && url.has_host(), "{url}");
        if url.scheme() != "https" {
            assert!(issuer != 0 && url.scheme() == "http", "{url}");
            let host = url.host_str().unwrap_or_default();
            assert!(host == "localhost" || host.starts_with("127.") || host == "[::1]", "{url}");
        }
    }
}
