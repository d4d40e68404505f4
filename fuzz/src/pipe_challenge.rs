//! `WWW-Authenticate`, and where credentials may go.

use reqwest::Url;
use standpipe_pipe::fuzzing::client::{Asked, challenge, realm_is_trusted};

use crate::script::Script;

/// Any headers, one a line; a realm and a service in a header that is written right; two addresses.
pub fn pipe_challenge(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let headers: Vec<&str> = text.split('\n').collect();
    if let Some(Asked::Bearer(realm, _)) = challenge(&headers) {
        assert!(text.to_ascii_lowercase().contains("bearer"), "{text:?}");
        assert!(realm.len() <= text.len(), "{realm:?} of {text:?}");
    }
    let mut script = Script::new(data);
    let [realm, service] = [(); 2].map(|()| script.text_until(b'\n'));
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let header = format!(
        "Basic realm=\"x\", Bearer realm=\"{}\",service=\"{}\"",
        quoted(&realm),
        quoted(&service)
    );
    assert_eq!(challenge(&[&header]), Some(Asked::Bearer(realm.clone(), Some(service.clone()))));
    if let (Ok(registry), Ok(realm)) = (Url::parse(&service), Url::parse(&realm)) {
        trust(&registry, &realm);
    }
}

/// A trusted realm is the registry's own host, or on TLS and under a name of its own site.
fn trust(registry: &Url, realm: &Url) {
    if !realm_is_trusted(registry, realm) {
        return;
    }
    let said = format!("{registry} trusts {realm}");
    let secure = realm.scheme() == "https";
    assert!(secure || (realm.scheme() == "http" && registry.scheme() == "http"), "{said}");
    let [here, there] = [registry, realm].map(|url| url.host_str().expect("a host"));
    let local = |host: &str| host == "localhost" || host.starts_with("127.") || host == "[::1]";
    if here == there || (local(here) && local(there)) {
        return;
    }
    let common = here.split('.').rev().zip(there.split('.').rev());
    let common = common.take_while(|(one, other)| one == other).count();
    assert!(secure && common >= 2, "{said}");
    let address = |host: &str| {
        host.starts_with('[') || host.split('.').all(|part| part.parse::<u8>().is_ok())
    };
    assert!(!address(here) && !address(there), "{said}");
}
