//! Logins that `docker login` left in a `config.json`.
//!
//! Invariant: only the entry of the registry that is pushed to is used, and no content of the file
//! is ever quoted.
//! Must not know: what a login is used for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::credentials::{Credentials, CredentialsOrigin};
use super::names::RegistryAddress;
use super::{BITBUCKET_REGISTRY, Environment};
use crate::secret::Secret;

/// What a pipe reads of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    auths: BTreeMap<String, Entry>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

/// The login for `registry` in the first configuration that has one.
///
/// # Errors
/// A sentence that says which file is not readable, without its content.
pub(super) fn find(
    given: &Environment,
    registry: &RegistryAddress,
    notes: &mut Vec<String>,
) -> Result<Option<Credentials>, String> {
    for path in places(given) {
        let Some(text) = read(&path)? else { continue };
        let place = path.display().to_string();
        if let Some(found) = login_in(&text, &place, registry, notes)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The login for `registry` in the configuration that is called `place`.
pub(super) fn login_in(
    text: &[u8],
    place: &str,
    registry: &RegistryAddress,
    notes: &mut Vec<String>,
) -> Result<Option<Credentials>, String> {
    // The text of the error could quote a secret; line and column do not.
    let file: File = serde_json::from_slice(text).map_err(|error| {
        format!("{place} is not readable JSON (line {}, column {})", error.line(), error.column())
    })?;
    let found = file.auths.iter().find(|(key, _)| names(key, registry));
    match found.map(|(_, entry)| login(entry)) {
        Some(Some(credentials)) => return Ok(Some(credentials)),
        Some(None) | None if file.is_elsewhere(registry) => notes.push(format!(
            "{place} keeps the login for {registry} in a credential helper, which a pipe cannot \
             ask; set USERNAME and PASSWORD"
        )),
        Some(None) => notes.push(format!(
            "{place} has a login for {registry} without a password; set USERNAME and PASSWORD"
        )),
        None => {}
    }
    Ok(None)
}

/// Where a configuration may be: `DOCKER_CONFIG` alone if it is set, as docker has it.
fn places(given: &Environment) -> Vec<PathBuf> {
    let file = |folder: &String| Path::new(folder).join(FILE);
    if let Some(folder) = &given.docker_config {
        return vec![file(folder)];
    }
    let homes = [&given.home, &given.bitbucket_clone_dir];
    homes.into_iter().flatten().map(|home| Path::new(home).join(".docker").join(FILE)).collect()
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let size = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(_) => return Ok(None),
    };
    let place = path.display();
    if size > LARGEST {
        return Err(format!("{place} is larger than 1 MiB; that is no docker configuration"));
    }
    std::fs::read(path).map(Some).map_err(|error| format!("{place}: {error}"))
}

impl File {
    fn is_elsewhere(&self, registry: &RegistryAddress) -> bool {
        let listed = self.auths.keys().any(|key| names(key, registry));
        self.cred_helpers.keys().any(|key| names(key, registry))
            || (self.creds_store.is_some() && listed)
    }
}

/// Whether a key of the file means this registry. Keys are hosts, or the addresses that old
/// versions of docker wrote.
fn names(key: &str, registry: &RegistryAddress) -> bool {
    let bare = key.split_once("://").map_or(key, |(_, rest)| rest);
    let host = bare.split('/').next().unwrap_or_default().to_ascii_lowercase();
    let host = host.strip_suffix(":443").unwrap_or(&host);
    let wanted = registry.as_str();
    let wanted = wanted.strip_suffix(":443").unwrap_or(wanted);
    host == wanted
        || (wanted == "docker.io" && host == "index.docker.io")
        || (registry.is_bitbucket() && host == BITBUCKET_REGISTRY)
}

fn login(entry: &Entry) -> Option<Credentials> {
    let decoded = entry.auth.as_deref().and_then(|auth| STANDARD.decode(auth.trim()).ok());
    let decoded = decoded.and_then(|pair| String::from_utf8(pair).ok());
    let pair = match (decoded, &entry.username, &entry.password) {
        (Some(pair), ..) => {
            let (username, password) = pair.split_once(':')?;
            // Old versions pad the password with zero bytes.
            (username.to_owned(), password.trim_end_matches('\0').to_owned())
        }
        (None, Some(username), Some(password)) => (username.clone(), password.clone()),
        _ => return None,
    };
    let (username, password) = pair;
    if entry.identitytoken.is_some() || username.is_empty() || password.is_empty() {
        return None;
    }
    let origin = CredentialsOrigin::DockerConfig;
    Some(Credentials { username, password: Secret::new(password), origin })
}

const FILE: &str = "config.json";
const LARGEST: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn found(registry: &str, content: &str) -> (Result<Option<Credentials>, String>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), content).unwrap();
        let place = folder.path().to_str().unwrap().to_owned();
        let given = Environment { docker_config: Some(place), ..Environment::default() };
        let (registry, mut notes) = (RegistryAddress::parse(registry).unwrap(), Vec::new());
        (find(&given, &registry, &mut notes), notes)
    }

    #[test]
    fn the_entry_of_the_registry_is_used_and_no_other() {
        // ann:hunter22
        let entry = r#"{"auth":"YW5uOmh1bnRlcjIy"}"#;
        for key in ["reg.example:5000", "https://reg.example:5000", "http://REG.example:5000/v2/"] {
            let (login, _) =
                found("reg.example:5000", &format!(r#"{{"auths":{{"{key}":{entry}}}}}"#));
            let login = login.unwrap().unwrap();
            assert_eq!((login.username.as_str(), login.password.expose()), ("ann", "hunter22"));
        }
        for key in ["reg.example", "reg.example:5001", "x.reg.example:5000", "example:5000"] {
            let (login, _) =
                found("reg.example:5000", &format!(r#"{{"auths":{{"{key}":{entry}}}}}"#));
            assert_eq!(login, Ok(None), "{key}");
        }
    }

    #[test]
    fn a_login_that_a_helper_keeps_is_told() {
        for content in [
            r#"{"credHelpers":{"reg.example":"ecr-login"}}"#,
            r#"{"credsStore":"desktop","auths":{"reg.example":{}}}"#,
        ] {
            let (login, notes) = found("reg.example", content);
            assert_eq!(login, Ok(None));
            assert!(notes[0].contains("credential helper"), "{notes:?}");
        }
        let (login, notes) = found("reg.example", r#"{"auths":{"reg.example":{"auth":"!"}}}"#);
        assert_eq!(login, Ok(None));
        assert!(notes[0].contains("without a password"), "{notes:?}");
    }

    #[test]
    fn a_file_that_is_no_configuration_is_refused_without_quoting_it() {
        let (refused, _) = found("reg.example", r#"{"auths": hunter22}"#);
        let refused = refused.unwrap_err();
        assert!(refused.contains("line 1") && !refused.contains("hunter22"), "{refused}");
    }

    #[test]
    fn no_file_is_no_login() {
        let registry = RegistryAddress::parse("reg.example").unwrap();
        let given = Environment { home: Some("/none".to_owned()), ..Environment::default() };
        assert_eq!(find(&given, &registry, &mut Vec::new()), Ok(None));
    }
}
