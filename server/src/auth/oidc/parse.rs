//! The parts of a JWT (RFC 7515 §3.1, RFC 7519 §4), before anything of it is believed.
//!
//! Invariant: a token is read once, and what is verified later is what was read here. What its header
//! says about where keys are (`jku`, `jwk`, `x5c`, `x5u`) is not even read; what it says must be
//! understood (`crit`) is refused.

use super::OidcRefusal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The longest token in bytes: in Basic it still fits a header that is looked at.
const LONGEST: usize = 12 << 10;
/// The longest value of a claim that is kept, in bytes; a longer one is as if it were not there.
const LONGEST_VALUE: usize = 512;
/// The most claims that are kept.
const MOST_CLAIMS: usize = 100;
/// The most audiences that are looked at.
const MOST_AUDIENCES: usize = 32;

/// What a token may be signed with. No `none`, nothing with a shared secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OidcAlgorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
}

impl OidcAlgorithm {
    /// Its name (RFC 7518 §3.1).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Ps256 => "PS256",
            Self::Rs256 => "RS256",
        }
    }

    /// The one of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Es256, Self::Es384, Self::Ps256, Self::Rs256];
        all.into_iter().find(|algorithm| algorithm.as_str() == name)
    }
}

#[derive(Debug, Deserialize)]
struct Head {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

/// A token that was read and not yet believed. It shows nothing of itself in logs.
pub(super) struct Parsed<'a> {
    /// `None` for one that is not in our list.
    pub(super) algorithm: Option<OidcAlgorithm>,
    pub(super) key_id: Option<String>,
    /// What is signed.
    pub(super) message: &'a str,
    pub(super) signature: &'a str,
    claims: Map<String, Value>,
}

/// Reads a token in the compact form.
pub(super) fn parse(token: &str) -> Result<Parsed<'_>, OidcRefusal> {
    let no_token = OidcRefusal::NotAToken;
    if token.len() > LONGEST {
        return Err(no_token);
    }
    let (Some((message, signature)), 2) = (token.rsplit_once('.'), token.matches('.').count())
    else {
        return Err(no_token);
    };
    let (head, claims) = message.split_once('.').ok_or(no_token)?;
    let head: Head = json(head)?;
    let claims: Map<String, Value> = json(claims)?;
    URL_SAFE_NO_PAD.decode(signature).map_err(|_| OidcRefusal::NotAToken)?;
    let of_this_kind = head.typ.is_none_or(|typ| typ.eq_ignore_ascii_case("jwt"));
    if head.crit.is_some() || !of_this_kind {
        return Err(OidcRefusal::NotAToken);
    }
    let algorithm = OidcAlgorithm::named(&head.alg);
    Ok(Parsed { algorithm, key_id: head.kid, message, signature, claims })
}

fn json<T: serde::de::DeserializeOwned>(part: &str) -> Result<T, OidcRefusal> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| OidcRefusal::NotAToken)?;
    serde_json::from_slice(&bytes).map_err(|_| OidcRefusal::NotAToken)
}

impl Parsed<'_> {
    /// A claim that is text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Value::as_str)
    }

    /// Whom the token says it is from.
    pub(super) fn issuer(&self) -> Option<&str> {
        self.text("iss")
    }

    /// For whom it is: one or several (RFC 7519 §4.1.3).
    pub(super) fn audiences(&self) -> Vec<&str> {
        match self.claims.get("aud") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(all)) => {
                all.iter().filter_map(Value::as_str).take(MOST_AUDIENCES).collect()
            }
            _ => Vec::new(),
        }
    }

    /// A claim that is a time, in whole seconds since the Unix epoch (RFC 7519 §2, NumericDate).
    ///
    /// # Errors
    /// One that is there and no time.
    pub(super) fn time(&self, name: &str) -> Result<Option<u64>, OidcRefusal> {
        let unusable = || OidcRefusal::NoClaim(name.to_owned());
        let Some(value) = self.claims.get(name) else { return Ok(None) };
        if let Some(whole) = value.as_u64() {
            return Ok(Some(whole));
        }
        let seconds = value.as_f64().filter(|seconds| (0.0..1e15).contains(seconds));
        let seconds = seconds.ok_or_else(unusable)?;
        // In the range that a f64 counts exactly, so nothing is lost but the fraction.
        format!("{:.0}", seconds.floor()).parse().map(Some).map_err(|_| unusable())
    }

    /// The claims that are plain values, as text.
    pub(super) fn plain(&self) -> BTreeMap<String, String> {
        let text = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(yes) => Some(yes.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        };
        let all = self.claims.iter().filter_map(|(name, value)| Some((name.clone(), text(value)?)));
        all.filter(|(_, value)| value.len() <= LONGEST_VALUE).take(MOST_CLAIMS).collect()
    }
}
