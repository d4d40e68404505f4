//! Fetching an issuer's keys.
//!
//! Invariant: nothing is asked for but the issuer's discovery document and the key set it names, or
//! the key set of the settings; over HTTPS, unless the issuer itself is on this machine. What comes
//! is limited in size and time, and a redirect is followed only within the same origin.

use super::keys::{KeySet, NoKeySet};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Url};
use serde::Deserialize;
use std::net::IpAddr;
use std::time::Duration;

/// The longest document in bytes.
const LONGEST: usize = 64 << 10;
/// How long a connection may take to begin.
const CONNECT: Duration = Duration::from_secs(3);
/// How long all of it may take.
const WHOLE: Duration = Duration::from_secs(5);
/// The most redirects.
const MOST_REDIRECTS: usize = 3;
/// Where the discovery document is (OpenID Connect Discovery 1.0 §4).
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// Why keys could not be fetched; for the log.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// A URL that is not used.
    #[error("{0:?} is not used: only https, or http if the issuer is on this machine")]
    Address(String),
    /// No answer, or none that is one.
    #[error("{url}: {source}")]
    Failed {
        /// What was asked.
        url: String,
        /// What happened.
        #[source]
        source: reqwest::Error,
    },
    /// The discovery document is of somebody else.
    #[error(
        "{url} names the issuer {said:?} and not this one; the URLs must be the same, letter by letter"
    )]
    Foreign {
        /// What was asked.
        url: String,
        /// Whom it names.
        said: String,
    },
    /// An answer that is no document.
    #[error("{url}: the answer is not what it should be: {reason}")]
    Unusable {
        /// What was asked.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// It took too long.
    #[error("{url}: no whole answer in {} seconds", WHOLE.as_secs())]
    Slow {
        /// What was asked.
        url: String,
    },
}

/// Where the keys of an issuer are.
#[derive(Clone, Debug)]
pub(super) struct Source {
    issuer: String,
    /// On this machine, so that plain HTTP will do.
    local: bool,
    jwks_uri: Option<Url>,
    http: Client,
}

/// What was fetched.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) keys: KeySet,
    /// For how long the issuer lets them be kept, if it says so.
    pub(super) max_age: Option<Duration>,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Source {
    /// Prepares the fetching.
    pub(super) fn new(issuer: &str, jwks_uri: Option<String>) -> Result<Self, FetchError> {
        let wrong = |url: &str| FetchError::Address(url.to_owned());
        let url = Url::parse(issuer).map_err(|_| wrong(issuer))?;
        let local = is_local(&url);
        let http = Client::builder()
            .redirect(Policy::custom(within_origin))
            .connect_timeout(CONNECT)
            .timeout(WHOLE)
            .user_agent(concat!("standpipe-server/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|source| FetchError::Failed { url: issuer.to_owned(), source })?;
        let source = Self { issuer: issuer.to_owned(), local, jwks_uri: None, http };
        source.usable(issuer)?;
        let jwks_uri = jwks_uri.map(|url| source.usable(&url)).transpose()?;
        Ok(Self { jwks_uri, ..source })
    }

    /// Fetches the keys.
    pub(super) async fn fetch(&self) -> Result<Fetched, FetchError> {
        let fetching = tokio::time::timeout(WHOLE, self.fetch_all());
        fetching.await.unwrap_or_else(|_| Err(FetchError::Slow { url: self.issuer.clone() }))
    }

    async fn fetch_all(&self) -> Result<Fetched, FetchError> {
        let url = match &self.jwks_uri {
            Some(url) => url.clone(),
            None => self.discover().await?,
        };
        let (text, max_age) = self.document(&url).await?;
        let unusable = |reason: String| FetchError::Unusable { url: url.to_string(), reason };
        let keys = KeySet::parse(&text).map_err(|error: NoKeySet| unusable(error.to_string()))?;
        if keys.len() == 0 {
            return Err(unusable("it has no key that can be used".to_owned()));
        }
        Ok(Fetched { keys, max_age })
    }

    async fn discover(&self) -> Result<Url, FetchError> {
        let url = self.usable(&format!("{}{DISCOVERY}", self.issuer.trim_end_matches('/')))?;
        let (text, _) = self.document(&url).await?;
        self.keys_named(&url, &text)
    }

    /// Where a discovery document that came from `url` says that the keys are.
    pub(super) fn keys_named(&self, url: &Url, text: &[u8]) -> Result<Url, FetchError> {
        let document: Discovery = serde_json::from_slice(text).map_err(|error| {
            let reason = format!("no discovery document ({error})");
            FetchError::Unusable { url: url.to_string(), reason }
        })?;
        if document.issuer != self.issuer {
            return Err(FetchError::Foreign { url: url.to_string(), said: document.issuer });
        }
        self.usable(&document.jwks_uri)
    }

    fn usable(&self, text: &str) -> Result<Url, FetchError> {
        let wrong = || FetchError::Address(text.to_owned());
        let url = Url::parse(text).map_err(|_| wrong())?;
        let plain = url.username().is_empty() && url.password().is_none() && url.has_host();
        let allowed = url.scheme() == "https" || (self.local && is_local(&url));
        if plain && allowed { Ok(url) } else { Err(wrong()) }
    }

    async fn document(&self, url: &Url) -> Result<(Vec<u8>, Option<Duration>), FetchError> {
        let name = url.to_string();
        let failed = |source: reqwest::Error| FetchError::Failed {
            url: name.clone(),
            source: source.without_url(),
        };
        let unusable = |reason: String| FetchError::Unusable { url: name.clone(), reason };
        let request = self.http.get(url.clone()).header("accept", "application/json");
        let mut response = request.send().await.map_err(failed)?;
        if response.status() != 200 {
            return Err(unusable(format!("status {}", response.status().as_u16())));
        }
        let max_age = response.headers().get("cache-control");
        let max_age = max_age.and_then(|value| value.to_str().ok()).and_then(max_age_of);
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if text.len() + chunk.len() > LONGEST {
                return Err(unusable(format!("it is longer than {LONGEST} bytes")));
            }
            text.extend_from_slice(&chunk);
        }
        Ok((text, max_age))
    }
}

/// Plain HTTP to this machine.
fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let loopback = host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    url.scheme() == "http" && (loopback || host == "localhost")
}

fn within_origin(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let stays =
        attempt.previous().last().is_some_and(|from| from.origin() == attempt.url().origin());
    if !stays {
        return attempt.error("it leads to another host, and is not followed");
    }
    if attempt.previous().len() > MOST_REDIRECTS {
        return attempt.error("it leads from one place to the next");
    }
    attempt.follow()
}

/// `max-age` of a `Cache-Control` (RFC 9111 §5.2.2.1).
pub(super) fn max_age_of(header: &str) -> Option<Duration> {
    let seconds = header.split(',').find_map(|part| {
        let (name, value) = part.trim().split_once('=')?;
        name.eq_ignore_ascii_case("max-age").then(|| value.trim_matches('"').parse().ok())?
    });
    seconds.map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_keys_that_is_refused_is_one_line_of_the_log() {
        let issuer = "https://issuer.example.com";
        let source = Source::new(issuer, None).expect("a legal issuer");
        let document = br#"{"issuer":"https://issuer.example.com","jwks_uri":"ftp://a\nforged"}"#;
        let url = Url::parse(issuer).expect("a URL");
        let told = source.keys_named(&url, document).expect_err("no address").to_string();
        assert!(told.contains("forged") && !told.contains(char::is_control), "{told:?}");
    }
}
