//! The keys of an issuer (JWK sets, RFC 7517).
//!
//! Invariant: a key verifies with the algorithms of its own kind alone, and only if the set says that
//! it is for signatures. What cannot be used is left out, whatever it is; secret (symmetric) keys are
//! never used.

use super::OidcAlgorithm;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// The most keys of an issuer.
const MOST_KEYS: usize = 100;
/// The longest id of a key in bytes.
const LONGEST_ID: usize = 256;
/// Bytes of the shortest and longest RSA modulus.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;
/// The longest RSA exponent in bytes.
const LONGEST_EXPONENT: usize = 8;

/// What a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
}

struct Key {
    id: String,
    kind: Kind,
    /// The one algorithm it is for, if the set says so.
    only: Option<OidcAlgorithm>,
    verifying: DecodingKey,
}

/// The usable keys of a set.
pub(super) struct KeySet(Vec<Key>);

/// The document is no key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no JSON with a list of keys")]
pub(super) struct NoKeySet;

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Published {
    kty: String,
    kid: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a key set.
    pub(super) fn parse(text: &[u8]) -> Result<Self, NoKeySet> {
        let set: Set = serde_json::from_slice(text).map_err(|_| NoKeySet)?;
        let keys = set.keys.into_iter().take(MOST_KEYS).filter_map(|key| {
            let published: Published = serde_json::from_value(key).ok()?;
            Key::read(&published)
        });
        Ok(Self(keys.collect()))
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is a key of this id that can verify this algorithm.
    pub(super) fn has(&self, id: &str, algorithm: OidcAlgorithm) -> bool {
        self.fitting(id, algorithm).next().is_some()
    }

    /// Whether one of these keys made the signature.
    pub(super) fn verify(
        &self,
        id: &str,
        algorithm: OidcAlgorithm,
        message: &str,
        signature: &str,
    ) -> bool {
        let made_by = |key: &Key| {
            let (message, how) = (message.as_bytes(), library(algorithm));
            jsonwebtoken::crypto::verify(signature, message, &key.verifying, how).unwrap_or(false)
        };
        self.fitting(id, algorithm).any(made_by)
    }

    fn fitting(&self, id: &str, algorithm: OidcAlgorithm) -> impl Iterator<Item = &Key> {
        self.0.iter().filter(move |key| key.id == id && key.fits(algorithm))
    }
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_list().entries(self.0.iter().map(|key| (&key.id, key.kind))).finish()
    }
}

impl Key {
    fn read(published: &Published) -> Option<Self> {
        let for_signatures = published.usage.as_deref().is_none_or(|usage| usage == "sig");
        let verifies = published.key_ops.as_ref();
        let verifies = verifies.is_none_or(|all| all.iter().any(|one| one == "verify"));
        if !for_signatures || !verifies || published.kid.len() > LONGEST_ID {
            return None;
        }
        let (kind, verifying) = match published.kty.as_str() {
            "RSA" => (Kind::Rsa, rsa(published)?),
            "EC" => curve(published)?,
            _ => return None,
        };
        let only = match &published.alg {
            // One that is for something else is not for us.
            Some(name) => Some(OidcAlgorithm::named(name)?),
            None => None,
        };
        Some(Self { id: published.kid.clone(), kind, only, verifying })
    }

    fn fits(&self, algorithm: OidcAlgorithm) -> bool {
        let kind = match algorithm {
            OidcAlgorithm::Rs256 | OidcAlgorithm::Ps256 => Kind::Rsa,
            OidcAlgorithm::Es256 => Kind::P256,
            OidcAlgorithm::Es384 => Kind::P384,
        };
        self.kind == kind && self.only.is_none_or(|only| only == algorithm)
    }
}

fn rsa(published: &Published) -> Option<DecodingKey> {
    let modulus = URL_SAFE_NO_PAD.decode(published.n.as_ref()?).ok()?;
    let exponent = URL_SAFE_NO_PAD.decode(published.e.as_ref()?).ok()?;
    let length = modulus.iter().skip_while(|byte| **byte == 0).count();
    if !MODULUS.contains(&length) || modulus.len() > length + 1 || exponent.len() > LONGEST_EXPONENT
    {
        return None;
    }
    Some(DecodingKey::from_rsa_raw_components(&modulus[modulus.len() - length..], &exponent))
}

fn curve(published: &Published) -> Option<(Kind, DecodingKey)> {
    let (kind, bytes) = match published.crv.as_deref()? {
        "P-256" => (Kind::P256, 32),
        "P-384" => (Kind::P384, 48),
        _ => return None,
    };
    let (x, y) = (published.x.as_ref()?, published.y.as_ref()?);
    let whole = |text: &str| URL_SAFE_NO_PAD.decode(text).is_ok_and(|found| found.len() == bytes);
    if !whole(x) || !whole(y) {
        return None;
    }
    Some((kind, DecodingKey::from_ec_components(x, y).ok()?))
}

const fn library(algorithm: OidcAlgorithm) -> Algorithm {
    match algorithm {
        OidcAlgorithm::Es256 => Algorithm::ES256,
        OidcAlgorithm::Es384 => Algorithm::ES384,
        OidcAlgorithm::Ps256 => Algorithm::PS256,
        OidcAlgorithm::Rs256 => Algorithm::RS256,
    }
}
