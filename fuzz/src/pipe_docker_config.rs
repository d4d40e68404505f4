//! A `config.json` of docker: only the login of the registry is used, and no content is quoted.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use standpipe_pipe::config::RegistryAddress;
use standpipe_pipe::fuzzing::config::{docker_login, registry};

use crate::script::Script;

/// Stands in the file where the input has a `$`.
const SECRET: &str = "hunter22-of-somebody";

/// A registry, a user name, a password, and any file.
pub fn pipe_docker_config(data: &[u8]) {
    let mut script = Script::new(data);
    let [address, user, password] = [(); 3].map(|()| script.text_until(b'\n'));
    let Some(registry) = registry(&address) else { return };
    any_file(&registry, &String::from_utf8_lossy(script.rest()).replace('$', SECRET));
    written_by_docker(&registry, &user, &password);
}

fn any_file(registry: &RegistryAddress, text: &str) {
    let (found, notes) = docker_login(text.as_bytes(), registry);
    for told in notes.iter().chain(found.as_ref().err()) {
        assert!(!told.contains(SECRET) || registry.as_str().contains(SECRET), "{told}");
        assert!(
            told.len() < 300 + registry.as_str().len() && !told.contains(char::is_control),
            "{told:?}"
        );
    }
    let Ok(Some((user, password))) = found else { return };
    assert!(!user.is_empty() && !password.is_empty(), "{text}");
    let file: Value = serde_json::from_str(text).expect("it was read as JSON");
    let listed = match &file {
        Value::Object(file) => file.get("auths"),
        // A list of the fields is read, too.
        other => other.get(0),
    };
    let bare = registry.as_str().trim_end_matches(":443");
    let named = |key: &String| key.to_ascii_lowercase().contains(bare) || registry.is_bitbucket();
    let listed = listed.and_then(Value::as_object).expect("logins");
    assert!(listed.keys().any(named), "{registry} in {text}");
}

/// What `docker login` writes is found, whatever else is there.
fn written_by_docker(registry: &RegistryAddress, user: &str, password: &str) {
    if user.is_empty() || user.contains(':') || password.trim_end_matches('\0').is_empty() {
        return;
    }
    let entry = |user: &str, password: &str| {
        let pair = BASE64_STANDARD.encode(format!("{user}:{password}"));
        json!({ "auth": pair })
    };
    let host = registry.as_str();
    let others = [format!("a.{host}"), format!("{host}.example"), format!("{host}0")];
    let mut auths = serde_json::Map::new();
    for other in others {
        auths.insert(other, entry("somebody", "else"));
    }
    let without = json!({ "auths": auths }).to_string();
    if !registry.is_bitbucket() {
        assert_eq!(docker_login(without.as_bytes(), registry).0, Ok(None), "{without}");
    }
    auths.insert(host.to_owned(), entry(user, password));
    let with = json!({ "auths": auths, "HttpHeaders": {} }).to_string();
    let expected = (user.to_owned(), password.trim_end_matches('\0').to_owned());
    assert_eq!(docker_login(with.as_bytes(), registry), (Ok(Some(expected)), vec![]), "{with}");
}
