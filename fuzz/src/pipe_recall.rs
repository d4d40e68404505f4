//! Manifests, indexes and configurations that a registry has: what the pipe reads of them, which is also
//! what the server does.

use serde_json::Value;
use standpipe_pipe::Digest;
use standpipe_pipe::config::Platform;
use standpipe_pipe::fuzzing::recall::{document, layers_of};
use standpipe_server::fuzzing::registry;

use crate::script::Script;

/// A platform, and a manifest, an index or a configuration.
pub fn pipe_recall(data: &[u8]) {
    let mut script = Script::new(data);
    let [os, architecture, variant] = [(); 3].map(|()| script.text_until(b'\n'));
    let platform = Platform::new(&os, &architecture, Some(&variant));
    fits(&platform.to_string());
    assert!(platform.accepts(&platform), "{platform} is not itself");
    let bytes = script.rest();
    configuration(bytes);
    let found = document(bytes, &platform);
    // That the server admits it is no promise: it skips what is read here, such as the names of platforms.
    let Some(found) = found else { return };
    // Numbers beyond all bounds in fields that are skipped are one more reason to say no.
    let Ok(json) = serde_json::from_slice::<Value>(bytes) else { return };
    if let Some(child) = found.child {
        assert!(Digest::parse(&child).is_some(), "{child:?}");
        let listed = json["manifests"].as_array().into_iter().flatten();
        let names = |one: &Value| one["digest"] == *child || one[0] == *child;
        assert!(!json.is_object() || listed.into_iter().any(names), "{child} in {json}");
    }
    assert!(found.blobs.len() <= found.layers + 1);
    assert!(found.blobs.iter().all(|(digest, _)| Digest::parse(digest).is_some()));
    found.platforms.iter().for_each(|shown| fits(shown));
}

/// Both programs read the same layers out of it, or none.
fn configuration(bytes: &[u8]) {
    let ours = layers_of(bytes);
    let servers = registry::layers_of(bytes);
    let short = |all: &Vec<String>| all.iter().all(|digest| digest.starts_with("sha256:"));
    assert_eq!(ours, servers.filter(short), "{}", String::from_utf8_lossy(bytes));
}

/// Fit for one line of a log.
fn fits(text: &str) {
    assert!(!text.contains(char::is_control), "{text:?}");
}
