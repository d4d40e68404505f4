//! From where a request comes: the other end of its connection, or whoever a listed proxy names.
//!
//! Invariant: a header is believed only when the connection comes from a proxy that the settings
//! list, and then only as far as the chain is made of such proxies. `X-Forwarded-Proto`,
//! `X-Forwarded-Host` and `Forwarded` are never read: how clients reach the server is `public_url`.

use crate::app::HttpSettings;
use axum::http::{HeaderMap, HeaderName};
use std::net::{IpAddr, SocketAddr};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The most addresses of a chain that are looked at; ours are at its end.
const LONGEST_CHAIN: usize = 32;

/// Where a request comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Source {
    /// The client's own address, if that is known.
    pub(super) client: Option<IpAddr>,
    /// The proxy that passed the request on.
    pub(super) proxy: Option<IpAddr>,
    /// The other end of the connection, whoever that is.
    pub(super) peer: Option<IpAddr>,
}

impl Source {
    /// Finds it out.
    pub(super) fn of(settings: &HttpSettings, peer: Option<IpAddr>, headers: &HeaderMap) -> Self {
        let peer = peer.map(|peer| peer.to_canonical());
        let Some(address) = peer else { return Self::default() };
        let Some(proxies) = &settings.trusted_proxies else {
            // Nothing is said about proxies. Where another address is public, and TLS is not ours,
            // there is one for sure, and all clients share its address.
            let direct = settings.public_url.is_none() || settings.tls;
            return Self { client: direct.then_some(address), proxy: None, peer };
        };
        let is_proxy = |address: IpAddr| proxies.iter().any(|known| known.contains(address));
        if !is_proxy(address) {
            return Self { client: Some(address), proxy: None, peer };
        }
        Self { client: forwarded_for(headers, is_proxy), proxy: Some(address), peer }
    }

    /// What stands in the log.
    pub(super) fn shown(&self) -> Option<IpAddr> {
        self.client.or(self.peer)
    }
}

/// The last address of the chain that is no proxy; the first of all if they all are. Whatever stands
/// before it was written by strangers.
fn forwarded_for(headers: &HeaderMap, is_proxy: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let mut first = None;
    let lines: Vec<_> = headers.get_all(FORWARDED_FOR).iter().collect();
    let entries =
        lines.into_iter().rev().flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    for entry in entries.take(LONGEST_CHAIN) {
        let address = address(entry)?;
        if !is_proxy(address) {
            return Some(address);
        }
        first = Some(address);
    }
    first
}

/// One entry: an address, which some proxies write with a port.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let entry = std::str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let bare = bare.unwrap_or(entry).parse::<IpAddr>().ok();
    let address = bare.or_else(|| entry.parse::<SocketAddr>().ok().map(|with| with.ip()))?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    fn listed(proxies: &[&str]) -> HttpSettings {
        let networks = proxies.iter().map(|text| text.parse().expect("a network")).collect();
        HttpSettings {
            trusted_proxies: Some(networks),
            public_url: Some("https://registry.example.com".to_owned()),
            ..HttpSettings::default()
        }
    }

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = HeaderValue::from_bytes(line.as_bytes()).expect("a header");
            headers.append(FORWARDED_FOR, value);
        }
        headers
    }

    fn client(settings: &HttpSettings, peer: &str, lines: &[&str]) -> Option<String> {
        let peer = Some(peer.parse().expect("an address"));
        Source::of(settings, peer, &headers(lines)).client.map(|client| client.to_string())
    }

    #[test]
    fn a_header_of_somebody_who_is_not_listed_is_not_read() {
        let settings = listed(&["10.0.0.0/8"]);
        for forged in [&["10.0.0.1"][..], &["203.0.113.1"], &["nonsense"], &[]] {
            assert_eq!(client(&settings, "192.0.2.7", forged).as_deref(), Some("192.0.2.7"));
        }
        let none = listed(&[]);
        assert_eq!(client(&none, "127.0.0.1", &["203.0.113.1"]).as_deref(), Some("127.0.0.1"));
    }

    #[test]
    fn of_a_chain_the_last_address_that_is_no_proxy_counts() {
        let settings = listed(&["10.0.0.0/8", "2001:db8::1"]);
        for (lines, expected) in [
            (&["192.0.2.7"][..], Some("192.0.2.7")),
            (&["203.0.113.66, 192.0.2.7"], Some("192.0.2.7")),
            (&["203.0.113.66, 192.0.2.7, 10.1.1.1,2001:db8::1"], Some("192.0.2.7")),
            (&["203.0.113.66", "192.0.2.7", "10.1.1.1"], Some("192.0.2.7")),
            (&["10.3.3.3, 10.2.2.2"], Some("10.3.3.3")),
            (&["192.0.2.7:4711"], Some("192.0.2.7")),
            (&["[2001:db8::7]:4711"], Some("2001:db8::7")),
            (&["[2001:db8::7]"], Some("2001:db8::7")),
            (&["::ffff:192.0.2.7"], Some("192.0.2.7")),
            (&["192.0.2.7, unknown"], None),
            (&["192.0.2.7,"], None),
            (&["nonsense, 192.0.2.7"], Some("192.0.2.7")),
            (&[""], None),
            (&[], None),
        ] {
            assert_eq!(client(&settings, "10.9.9.9", lines).as_deref(), expected, "{lines:?}");
            assert_eq!(client(&settings, "::ffff:10.9.9.9", lines).as_deref(), expected);
        }
        let long = vec!["10.1.1.1"; 10_000].join(",");
        assert_eq!(client(&settings, "10.9.9.9", &[&long]).as_deref(), Some("10.1.1.1"));
    }

    #[test]
    fn without_a_word_about_proxies_the_peer_counts_unless_there_must_be_one() {
        let plain = HttpSettings::default();
        assert_eq!(client(&plain, "127.0.0.1", &["203.0.113.1"]).as_deref(), Some("127.0.0.1"));
        let public = HttpSettings { trusted_proxies: None, ..listed(&[]) };
        assert_eq!(client(&public, "127.0.0.1", &["203.0.113.1"]), None);
        let own_tls = HttpSettings { tls: true, ..public };
        assert_eq!(client(&own_tls, "192.0.2.7", &["203.0.113.1"]).as_deref(), Some("192.0.2.7"));
    }

    proptest! {
        #[test]
        fn whoever_is_in_front_of_the_proxies_cannot_choose_the_address(forged in "[ -~]{0,60}") {
            let settings = listed(&["10.0.0.0/8"]);
            let line = format!("{forged}, 192.0.2.7, 10.1.1.1");
            let found = client(&settings, "10.9.9.9", &[&line]);
            prop_assert_eq!(found.as_deref(), Some("192.0.2.7"));
        }
    }
}
