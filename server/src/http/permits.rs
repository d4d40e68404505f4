//! How many connections there may be, in all and from one source.
//!
//! Invariant: never more than allowed. Beyond all of them the next one waits in the kernel's backlog,
//! unaccepted; beyond those of its source it is closed at once, so that one source alone cannot keep
//! the others waiting. Proxies are not counted: all clients share their address.

use super::source::Source;
use crate::app::HttpSettings;
use crate::domain::network;
use axum::http::HeaderMap;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Permits that are left.
#[derive(Clone, Debug)]
pub(super) struct Permits {
    all: Arc<Semaphore>,
    sources: Arc<Sources>,
}

#[derive(Debug)]
struct Sources {
    settings: HttpSettings,
    most: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// Permission for one connection from anywhere.
#[derive(Debug)]
pub(super) struct Unclaimed {
    permit: OwnedSemaphorePermit,
    sources: Arc<Sources>,
}

/// Permission for one connection; it is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    _permit: OwnedSemaphorePermit,
    counted: Option<IpAddr>,
    sources: Arc<Sources>,
}

impl Permits {
    pub(super) fn new(most: usize, most_of_a_source: usize, settings: HttpSettings) -> Self {
        let all = Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS)));
        let most = most_of_a_source.max(1);
        Self { all, sources: Arc::new(Sources { settings, most, open: Mutex::default() }) }
    }

    /// Waits for one.
    pub(super) async fn next(&self) -> io::Result<Unclaimed> {
        // A closed semaphore is an error like any other; it is never closed.
        let permit = Arc::clone(&self.all).acquire_owned().await.map_err(io::Error::other)?;
        Ok(Unclaimed { permit, sources: Arc::clone(&self.sources) })
    }
}

impl Unclaimed {
    /// For a connection from there; `None` if that source has all it may have.
    pub(super) fn of(self, peer: IpAddr) -> Option<Permit> {
        let Self { permit, sources } = self;
        let client = Source::of(&sources.settings, Some(peer), &HeaderMap::new()).client;
        let counted = client.map(network::source);
        if let Some(source) = counted {
            let mut open = sources.lock();
            let count = open.entry(source).or_default();
            if *count >= sources.most {
                // Once for each time that the limit is reached would still be a flood.
                tracing::debug!(%source, "one source has as many connections as it may have");
                return None;
            }
            *count += 1;
        }
        Some(Permit { _permit: permit, counted, sources })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(source) = self.counted else { return };
        let mut open = self.sources.lock();
        if let Some(count) = open.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                open.remove(&source);
            }
        }
    }
}

impl Sources {
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Counts are whole at every moment, so a panic elsewhere does not spoil the map.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn next(permits: &Permits) -> Option<Unclaimed> {
        permits.next().now_or_never().map(|permit| permit.expect("never closed"))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_source_has_its_share_and_leaves_the_rest_to_others() {
        let permits = Permits::new(3, 2, HttpSettings::default());
        let open = |source| next(&permits).expect("one is left").of(address(source));
        let (first, second) = (open("192.0.2.1"), open("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some());
        assert!(open("192.0.2.1").is_none(), "that was its share");
        let third = open("192.0.2.2");
        assert!(third.is_some());
        assert!(next(&permits).is_none(), "that were all");
        drop(first);
        let fourth = open("192.0.2.1");
        assert!(fourth.is_some(), "one was given back");
        drop((second, third, fourth));
        assert!(permits.sources.lock().is_empty());
    }

    #[test]
    fn a_network_of_an_ipv6_customer_is_one_source_and_a_listed_proxy_none() {
        let proxies = Some(vec!["10.0.0.0/8".parse().expect("a network")]);
        let settings = HttpSettings { trusted_proxies: proxies, ..HttpSettings::default() };
        let permits = Permits::new(100, 1, settings);
        let open = |source| next(&permits).expect("one is left").of(address(source));
        let held = [open("2001:db8::1"), open("10.0.0.1"), open("10.0.0.1"), open("10.0.0.1")];
        assert!(held.iter().all(Option::is_some));
        assert!(open("2001:db8::2").is_none());
        assert!(open("2001:db8:0:1::2").is_some());
    }
}
