//! Doors for the fuzz targets: headers made of settings, and where a request comes from.

use super::challenge::header;
use super::error::Challenge;
use super::source::Source;
use crate::app::HttpSettings;
use crate::domain::Network;
use axum::http::{HeaderMap, HeaderValue};
use std::net::IpAddr;

/// The challenge of a server with these settings to somebody without a credential.
#[must_use]
pub fn challenge(public_url: Option<String>, service: &str, scope: &str) -> String {
    let settings = HttpSettings { public_url, loopback: true, port: 5000, ..Default::default() };
    header(&settings, service, &Challenge::Missing, Some(scope), false)
}

/// The client of a request from this peer, with these lines of `X-Forwarded-For`, as far as they can
/// stand in a header.
#[must_use]
pub fn client(proxies: Vec<Network>, peer: IpAddr, lines: &[&[u8]]) -> Option<IpAddr> {
    let settings = HttpSettings { trusted_proxies: Some(proxies), ..Default::default() };
    let mut headers = HeaderMap::new();
    for line in lines {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append("x-forwarded-for", value);
        }
    }
    Source::of(&settings, Some(peer), &headers).client
}
