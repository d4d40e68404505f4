//! From a token that was read to one that is believed.
//!
//! Invariant: all of it is checked: issuer (by the caller), algorithm, audience, times, signature. The
//! issuer's keys are asked for only for a token that is otherwise right. What is no claim of a build
//! of a repository lets nobody in.

use super::keys::KeySet;
use super::parse::Parsed;
use super::{Believed, Issuer, OidcAlgorithm, OidcRefusal};
use crate::domain::{Identity, Origin, Timestamp};
use std::sync::Arc;

/// How far the issuer's clock may be ahead, in seconds. There is none the other way: a token is over
/// when it says so.
const LEEWAY: u64 = 60;

pub(super) async fn verify(
    issuer: &Issuer,
    token: &Parsed<'_>,
    now: Timestamp,
) -> Result<Believed, OidcRefusal> {
    let believed = claims(issuer, token, now)?;
    let (key_id, algorithm) = key(issuer, token)?;
    let keys = issuer.keys.keys_with(key_id, algorithm).await?;
    signature(&keys, token, key_id, algorithm)?;
    Ok(believed)
}

/// The same with keys that are there.
#[cfg(feature = "fuzzing")]
pub(super) fn verify_with(
    issuer: &Issuer,
    token: &Parsed<'_>,
    now: Timestamp,
    keys: &KeySet,
) -> Result<Believed, OidcRefusal> {
    let believed = claims(issuer, token, now)?;
    let (key_id, algorithm) = key(issuer, token)?;
    signature(keys, token, key_id, algorithm)?;
    Ok(believed)
}

/// What the token says that it is signed with.
fn key<'a>(
    issuer: &Issuer,
    token: &'a Parsed<'_>,
) -> Result<(&'a str, OidcAlgorithm), OidcRefusal> {
    let missing = || OidcRefusal::NoClaim("kid".to_owned());
    Ok((token.key_id.as_deref().ok_or_else(missing)?, algorithm(issuer, token)?))
}

fn algorithm(issuer: &Issuer, token: &Parsed<'_>) -> Result<OidcAlgorithm, OidcRefusal> {
    let accepted = token.algorithm.filter(|one| issuer.algorithms.contains(one));
    accepted.ok_or_else(|| OidcRefusal::algorithm(&issuer.algorithms))
}

fn signature(
    keys: &KeySet,
    token: &Parsed<'_>,
    key_id: &str,
    algorithm: OidcAlgorithm,
) -> Result<(), OidcRefusal> {
    let right = keys.verify(key_id, algorithm, token.message, token.signature);
    right.then_some(()).ok_or(OidcRefusal::Signature)
}

/// What the token says, if it can be so; not believed before the signature is verified.
fn claims(issuer: &Issuer, token: &Parsed<'_>, now: Timestamp) -> Result<Believed, OidcRefusal> {
    algorithm(issuer, token)?;
    let missing = |name: &str| OidcRefusal::NoClaim(name.to_owned());
    let ours = |audience: &&str| issuer.audiences.iter().any(|ours| ours == audience);
    let audiences: Vec<String> =
        token.audiences().into_iter().filter(ours).map(str::to_owned).collect();
    if audiences.is_empty() {
        let wanted = issuer.audiences.first().cloned().unwrap_or_default();
        return Err(OidcRefusal::Audience { wanted });
    }
    let now = now.seconds();
    let expires = token.time("exp")?.ok_or_else(|| missing("exp"))?;
    if expires <= now {
        return Err(OidcRefusal::Expired);
    }
    let begins = [token.time("nbf")?, token.time("iat")?].into_iter().flatten().max();
    if begins.is_some_and(|begins| begins > now.saturating_add(LEEWAY)) {
        return Err(OidcRefusal::NotYet);
    }
    let subject = token.text("sub").ok_or_else(|| missing("sub"))?;
    let build = Identity {
        issuer: issuer.url.clone(),
        subject: Origin::clean(subject),
        audiences,
        claims: token.plain(),
        names: Arc::clone(&issuer.names),
    };
    if build.source().is_empty() {
        return Err(missing(&issuer.names.repository));
    }
    Ok(Believed { build, expires })
}
