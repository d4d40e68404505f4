//! Doors for the fuzz targets: headers made of settings.

use super::challenge::header;
use super::error::Challenge;
use crate::app::HttpSettings;

/// The challenge of a server with these settings to somebody without a credential.
#[must_use]
pub fn challenge(public_url: Option<String>, service: &str, scope: &str) -> String {
    let settings = HttpSettings { public_url, loopback: true, port: 5000, ..Default::default() };
    header(&settings, service, &Challenge::Missing, Some(scope), false)
}
