//! Doors for the fuzz targets: files and texts that a step brings along.

use super::credentials::Credentials;
use super::{RegistryAddress, certificates, docker_config};

/// What the configuration of docker that is called `place` says about a registry: the user name and
/// the password or why there are none, and what is told about it.
pub type Login = (Result<Option<(String, String)>, String>, Vec<String>);

/// An address of a registry, if it is one.
pub fn registry(text: &str) -> Option<RegistryAddress> {
    RegistryAddress::parse(text).ok()
}

/// Reads a configuration.
pub fn docker_login(text: &[u8], registry: &RegistryAddress) -> Login {
    let mut notes = Vec::new();
    let found = docker_config::login_in(text, "config.json", registry, &mut notes);
    let pair = |Credentials { username, password, .. }| (username, password.expose().to_owned());
    (found.map(|found| found.map(pair)), notes)
}

/// How many certificates there are in a value of `CA_CERT`; one without a PEM block is a path.
pub fn certificates(text: &str) -> Result<usize, String> {
    certificates::parse(Some(text)).map(|found| found.len())
}
