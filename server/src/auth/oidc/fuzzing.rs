//! Doors for the fuzz targets: reading and verifying OIDC tokens with keys that are there.

use super::fetch::{Source, max_age_of};
use super::keys::KeySet;
use super::{Issuer, IssuerSettings, OidcAlgorithm, parse, verify};
use crate::clock::Clock;
use crate::domain::{ClaimNames, Timestamp};

/// Whether tokens of an issuer are to be believed.
#[derive(Debug)]
pub struct OidcVerifier(Issuer);

/// The keys of an issuer.
#[derive(Debug)]
pub struct OidcKeys(KeySet);

impl OidcKeys {
    /// Reads a key set.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        KeySet::parse(text).ok().map(Self)
    }

    /// How many can be used.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none can.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl OidcVerifier {
    /// For an issuer with the claims of Bitbucket. Nothing is fetched.
    #[must_use]
    pub fn new(issuer: &str, audience: &str) -> Option<Self> {
        let settings = IssuerSettings {
            issuer: issuer.to_owned(),
            audiences: vec![audience.to_owned()],
            jwks_uri: None,
            algorithms: vec![OidcAlgorithm::Rs256, OidcAlgorithm::Es256],
            claims: ClaimNames::default(),
        };
        Issuer::new(settings, Clock::manual(Timestamp(0))).ok().map(Self)
    }

    /// The source repository and the end of a token that is believed.
    #[must_use]
    pub fn verify(&self, token: &str, keys: &OidcKeys, now: Timestamp) -> Option<(String, u64)> {
        let parsed = parse::parse(token).ok()?;
        // Who looks the issuer up does this.
        if parsed.issuer() != Some(&self.0.url) {
            return None;
        }
        let believed = verify::verify_with(&self.0, &parsed, now, &keys.0).ok()?;
        Some((believed.build.source().to_owned(), believed.expires))
    }
}

/// Where the keys of an issuer are.
#[derive(Debug)]
pub struct OidcSource(Source, reqwest::Url);

impl OidcSource {
    /// Of an issuer. Nothing is fetched.
    #[must_use]
    pub fn new(issuer: &str) -> Option<Self> {
        Some(Self(Source::new(issuer, None).ok()?, issuer.parse().ok()?))
    }

    /// Where the keys are by the issuer's discovery document.
    ///
    /// # Errors
    /// What the log is told.
    pub fn keys_named(&self, document: &[u8]) -> Result<String, String> {
        let found = self.0.keys_named(&self.1, document);
        found.map(|url| url.to_string()).map_err(|error| error.to_string())
    }
}

/// For how many seconds a `Cache-Control` lets an answer be kept.
#[must_use]
pub fn oidc_max_age(header: &str) -> Option<u64> {
    max_age_of(header).map(|age| age.as_secs())
}
