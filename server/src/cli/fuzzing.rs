//! Doors for the fuzz targets: what `health` reads.

use super::health;
use reqwest::StatusCode;
use std::net::SocketAddr;

/// Where `health` asks by what a server announced in its data directory.
#[must_use]
pub fn announced(url: &str) -> Option<SocketAddr> {
    health::announced_in(url).map(health::reachable)
}

/// Whether an answer of `/readyz` says that the server takes uploads, or how it is not ready.
///
/// # Errors
/// What is told.
pub fn ready(status: u16, body: &[u8]) -> Result<bool, String> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT);
    let judged = health::judge("http://127.0.0.1:5000", status, body);
    judged.map(|readiness| readiness.uploads).map_err(|error| error.to_string())
}
