//! `health`: asks the server that runs with the same settings whether it can work.
//!
//! For the health check of a container, which has no shell and nothing else that speaks HTTP.
//! Invariant: the data directory is only looked at, never held, so the answer does not depend on
//! this process, and asking disturbs nobody.

use crate::config::Config;
use crate::data_dir;
use reqwest::{StatusCode, redirect};
use serde::Deserialize;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// How long the answer may take: less than what a health check usually gives.
const ANSWER: Duration = Duration::from_secs(5);

/// Why the server is not well.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// It answers, and says no.
    #[error("the server at {url} is not ready: {reason}")]
    NotReady {
        /// Who.
        url: String,
        /// Why, or what it answered.
        reason: String,
    },
    /// Nobody answers.
    #[error("no server answers at {url}; is it running, and with these settings?")]
    Unreachable {
        /// Who.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The runtime or standard output failed.
    #[error(transparent)]
    System(#[from] std::io::Error),
}

/// What `/readyz` says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Readiness {
    pub(super) uploads: bool,
    stopping: bool,
}

/// Asks, and says in one line how it is.
pub(super) fn run(config: &Config) -> Result<(), HealthError> {
    let scheme = if config.tls.files().is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}", reachable(address(config)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let readiness = runtime.block_on(ask(&url))?;
    let note = if readiness.uploads { "" } else { ", but takes no uploads: the disk is full" };
    writeln!(std::io::stdout().lock(), "the server at {url} is ready{note}")?;
    Ok(())
}

/// Where it was last announced, which also holds for a port that the system chose; else where it was
/// told to listen.
fn address(config: &Config) -> SocketAddr {
    data_dir::announced(&config.data_dir)
        .and_then(|url| announced_in(&url))
        .unwrap_or(config.listen)
}

/// The address in an URL that a server announced.
pub(super) fn announced_in(url: &str) -> Option<SocketAddr> {
    url.split_once("://")?.1.parse().ok()
}

/// "Every address" is none to connect to; this machine is one of them.
pub(super) fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

async fn ask(url: &str) -> Result<Readiness, HealthError> {
    let unreachable = |source: reqwest::Error| HealthError::Unreachable {
        url: url.to_owned(),
        // The address is in the message already.
        source: source.without_url(),
    };
    // The server is on this machine: no proxy, and no certificates, which may be missing. Its own is for
    // the name that clients use and not for this address; nothing secret is sent.
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .tls_danger_accept_invalid_certs(true)
        .redirect(redirect::Policy::none())
        .timeout(ANSWER)
        .build()
        .map_err(unreachable)?;
    let response = client.get(format!("{url}/readyz")).send().await.map_err(unreachable)?;
    let status = response.status();
    let body = response.bytes().await.unwrap_or_default();
    judge(url, status, &body)
}

/// What the answer of `/readyz` means.
pub(super) fn judge(url: &str, status: StatusCode, body: &[u8]) -> Result<Readiness, HealthError> {
    let readiness: Option<Readiness> = serde_json::from_slice(body).ok();
    match readiness {
        Some(readiness) if status == StatusCode::OK => Ok(readiness),
        readiness => {
            let stopping = readiness.is_some_and(|readiness| readiness.stopping);
            let reason =
                if stopping { "it is stopping".to_owned() } else { format!("it answers {status}") };
            Err(HealthError::NotReady { url: url.to_owned(), reason })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_asked_on_this_machine() {
        for (listening, asked) in [
            ("0.0.0.0:5000", "127.0.0.1:5000"),
            ("[::]:80", "[::1]:80"),
            ("192.0.2.1:5000", "192.0.2.1:5000"),
        ] {
            assert_eq!(reachable(listening.parse().unwrap()).to_string(), asked);
        }
    }

    #[test]
    fn what_was_announced_wins_over_what_was_told() {
        let directory = tempfile::tempdir().unwrap();
        let config = Config { data_dir: directory.path().to_owned(), ..Config::default() };
        assert_eq!(address(&config), config.listen);
        std::fs::write(directory.path().join("listen"), "http://127.0.0.1:41234\n").unwrap();
        assert_eq!(address(&config).port(), 41234);
        std::fs::write(directory.path().join("listen"), "").unwrap();
        assert_eq!(address(&config), config.listen);
    }
}
