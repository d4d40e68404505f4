//! `DOCKER_HOST` and the routing table.

use standpipe_pipe::fuzzing::source::{candidates, endpoint};

use crate::script::Script;

/// A value of `DOCKER_HOST`, an address, and a table in the form of `/proc/net/route`.
pub fn pipe_endpoint(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    host(&text);
    host(&format!("tcp://{text}"));
    let mut script = Script::new(data);
    let [given, internal] = [(); 2].map(|()| script.text_until(b'\n'));
    let routes = String::from_utf8_lossy(script.rest());
    let found = candidates(Some(&given), Some(&internal), &routes);
    let unix = endpoint(&given).is_ok_and(|shown| shown.starts_with("unix://"));
    assert!(if unix { found.len() == 1 } else { (2..=4).contains(&found.len()) }, "{found:?}");
    assert!(found.last().is_some_and(|last| last.starts_with("unix://")), "{found:?}");
    for (at, one) in found.iter().enumerate() {
        assert!(!found[..at].contains(one), "{one} stands twice");
    }
}

/// What is accepted is shown as something that means the same, with the port that was written.
fn host(text: &str) {
    let Ok(shown) = endpoint(text) else { return };
    assert_eq!(endpoint(&shown).as_deref(), Ok(shown.as_str()), "{text:?}");
    let Some(authority) = text.strip_prefix("tcp://") else { return };
    let Some((host, port)) = authority.rsplit_once(':') else { return };
    let plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if let (true, Ok(port)) = (plain, port.parse::<u16>()) {
        assert!(shown.ends_with(&format!(":{port}")), "{text:?} became {shown}");
    }
}
