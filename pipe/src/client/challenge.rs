//! `WWW-Authenticate`: what a registry wants to see, and whether its token realm may be asked.
//!
//! Invariant: a realm that passes [`realm_is_trusted`] belongs to the registry. Registries
//! choose the realm freely, so without the check any of them could collect passwords for
//! another site (GHSA-28r5-37g7-p6mp); and a registry on TLS never gets them sent in the clear
//! (CVE-2019-10214).
//! Must not know: credentials.

use reqwest::Url;

use crate::config::is_loopback_host;

/// How a registry wants a caller to identify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User name and password with every request.
    Basic,
    /// A token from a token server.
    Bearer {
        /// Where the token server is.
        realm: String,
        /// The name by which the token server knows the registry.
        service: Option<String>,
    },
}

impl Challenge {
    /// The best of the challenges in these header values: a token if there is a choice.
    pub(super) fn choose<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Self> {
        let offers: Vec<Offer> = headers.flat_map(parse).collect();
        let bearer = offers.iter().find_map(|offer| {
            let realm = offer.parameter("realm").filter(|_| offer.is("bearer"))?;
            let service = offer.parameter("service").map(str::to_owned);
            Some(Self::Bearer { realm: realm.to_owned(), service })
        });
        bearer.or_else(|| offers.iter().any(|offer| offer.is("basic")).then_some(Self::Basic))
    }
}

/// Whether a token server at `realm` may get the credentials for `registry`: it is the same
/// host, or it is on TLS and on the same registrable site (`auth.example.com` for
/// `registry.example.com`).
pub(super) fn realm_is_trusted(registry: &Url, realm: &Url) -> bool {
    let (Some(registry_host), Some(realm_host)) = (registry.host_str(), realm.host_str()) else {
        return false;
    };
    let secure = realm.scheme() == "https";
    if !(secure || (realm.scheme() == "http" && registry.scheme() == "http")) {
        return false;
    }
    if registry_host == realm_host {
        return true;
    }
    if is_loopback_host(registry_host) && is_loopback_host(realm_host) {
        return true;
    }
    secure && site(registry_host).is_some_and(|mine| site(realm_host) == Some(mine))
}

/// The part of a name that somebody registered: `example.co.uk` of `a.b.example.co.uk`.
/// Addresses and bare public suffixes have none.
fn site(host: &str) -> Option<&str> {
    let numeric = host.starts_with('[') || host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if numeric {
        return None;
    }
    let domain = psl::domain(host.as_bytes())?;
    std::str::from_utf8(domain.as_bytes()).ok()
}

#[derive(Debug, PartialEq, Eq)]
struct Offer {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Offer {
    fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        let mut named = self.parameters.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.as_str())
    }
}

/// Reads a list of challenges (RFC 9110, 11.6.1). What cannot be read is left out.
fn parse(header: &str) -> Vec<Offer> {
    let mut offers: Vec<Offer> = Vec::new();
    let mut rest = header.trim_start_matches(SEPARATORS);
    while !rest.is_empty() {
        let (word, after) = split_token(rest);
        if word.is_empty() {
            // Not a token: skip it, so that the loop ends.
            let mut characters = rest.chars();
            characters.next();
            rest = characters.as_str().trim_start_matches(SEPARATORS);
            continue;
        }
        let value = after.trim_start().strip_prefix('=').map(str::trim_start);
        rest = match (value, offers.last_mut()) {
            (Some(value), Some(offer)) => {
                let (value, after) = split_value(value);
                offer.parameters.push((word.to_owned(), value));
                after
            }
            _ => {
                offers.push(Offer { scheme: word.to_owned(), parameters: Vec::new() });
                after
            }
        };
        rest = rest.trim_start_matches(SEPARATORS);
    }
    offers
}

/// A token (RFC 9110, 5.6.2) and what follows it.
fn split_token(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)));
    text.split_at(end.unwrap_or(text.len()))
}

/// A token or a quoted string, without its quotes, and what follows it.
fn split_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (token, rest) = split_token(text);
        return (token.to_owned(), rest);
    };
    let mut value = String::new();
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => value.extend(characters.next()),
            other => value.push(other),
        }
    }
    (value, characters.as_str())
}

const SEPARATORS: [char; 3] = [' ', ',', '\t'];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn choose(headers: &[&str]) -> Option<Challenge> {
        Challenge::choose(headers.iter().copied())
    }

    fn trusted(registry: &str, realm: &str) -> bool {
        realm_is_trusted(&Url::parse(registry).unwrap(), &Url::parse(realm).unwrap())
    }

    #[test]
    fn a_bearer_challenge_is_read() {
        let header =
            r#"Bearer realm="https://auth.example/token",service="reg\"x",scope="a:b:pull,push""#;
        let expected = Challenge::Bearer {
            realm: "https://auth.example/token".to_owned(),
            service: Some("reg\"x".to_owned()),
        };
        assert_eq!(choose(&[header]), Some(expected));
    }

    #[test]
    fn a_token_is_preferred_wherever_it_stands() {
        let together = r#"Basic realm="a", bearer realm=https, service=s"#;
        assert!(
            matches!(choose(&[together]), Some(Challenge::Bearer { realm, .. }) if realm == "https")
        );
        let apart = ["Basic realm=\"a\"", "Bearer realm=\"b\""];
        assert!(matches!(choose(&apart), Some(Challenge::Bearer { .. })));
        assert_eq!(choose(&["Basic realm=\"x\""]), Some(Challenge::Basic));
        assert_eq!(choose(&["Basic"]), Some(Challenge::Basic));
    }

    #[test]
    fn a_challenge_that_helps_nobody_is_none() {
        for header in ["", "Negotiate", "Bearer", "Bearer service=\"x\"", "=,=\"", "\u{e4}"] {
            assert_eq!(choose(&[header]), None, "{header}");
        }
    }

    #[test]
    fn a_realm_on_the_same_host_or_site_is_trusted() {
        assert!(trusted("https://reg.example.com", "https://reg.example.com:8443/token"));
        assert!(trusted("https://registry.gitlab.com", "https://gitlab.com/jwt/auth"));
        assert!(trusted("https://registry-1.docker.io", "https://auth.docker.io/token"));
        assert!(trusted("https://reg.example.co.uk", "https://auth.example.co.uk/token"));
        assert!(trusted("http://127.0.0.1:5000", "http://127.0.0.1:5001/token"));
        assert!(trusted("http://127.0.0.1:5000", "http://localhost:5000/token"));
        assert!(trusted("http://reg.example.com", "https://reg.example.com/token"));
        assert!(trusted("https://reg.acme.internal", "https://auth.acme.internal/token"));
    }

    #[test]
    fn a_foreign_realm_is_not_trusted() {
        assert!(!trusted("https://reg.example.com", "https://evil.example.net/token"));
        assert!(!trusted("https://example.co.uk", "https://evil.co.uk/token"));
        assert!(!trusted("https://me.github.io", "https://evil.github.io/token"));
        assert!(!trusted("https://reg.example.com", "https://reg.example.com.evil.net/"));
        assert!(!trusted("https://10.0.0.1", "https://10.0.0.2/"));
        assert!(!trusted("https://registry.corp", "https://evil.corp/"));
        assert!(!trusted("http://127.0.0.1:5000", "http://192.0.2.1/token"));
    }

    #[test]
    fn a_realm_never_lowers_the_protection() {
        assert!(!trusted("https://reg.example.com", "http://reg.example.com/token"));
        assert!(!trusted("http://reg.example.com", "http://auth.example.com/token"));
        assert!(!trusted("https://reg.example.com", "ftp://reg.example.com/token"));
    }

    proptest! {
        #[test]
        fn any_parameters_survive_quoting(realm in "[ -~]{1,30}", service in "[ -~]{0,30}") {
            let quote = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
            let header = format!("Bearer realm=\"{}\",service=\"{}\"", quote(&realm), quote(&service));
            prop_assert_eq!(choose(&[&header]), Some(Challenge::Bearer { realm, service: Some(service) }));
        }

        #[test]
        fn no_header_breaks_the_parser(header in "\\PC{0,200}") {
            let _ = choose(&[&header]);
        }
    }
}
