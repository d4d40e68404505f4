//! Registry tokens: the short-lived bearer tokens of Docker's token protocol, as signed JWTs.
//!
//! Invariant: one algorithm (EdDSA), and keys only from our own set. What a token's header says
//! about keys is never followed; a header with `crit`, `jwk`, `jku`, `x5c` or `x5u` is refused,
//! since ours never have one. A token proves that we issued it, never that its rights still hold:
//! it carries the credential behind it, which is looked up again at every request.

use super::oidc::OidcBasis;
use super::secret::{NoRandomness, Secret, hex, random};
use super::upload_pass::UploadPasses;
use super::verified::VerifiedTokens;
use super::{AuthError, scope};
use crate::domain::{Change, Grant, PackageGrant, Timestamp};
use crate::metadata::documents::Body;
use crate::metadata::{Conflict, DocumentKind, MetadataError, MetadataStore};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The longest token that is looked at, in bytes.
const LONGEST: usize = 16 << 10;
/// How far clocks may differ, in seconds.
const LEEWAY: u64 = 30;
/// Where the keys are kept.
const SETTING: &str = "token-signing-keys";

/// What a token was issued on, looked up again whenever the token is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Basis {
    /// Nobody logged in.
    Anonymous,
    /// An OIDC token; the registry token ends with it.
    Oidc(OidcBasis),
    /// A person's password.
    Password {
        /// The username.
        username: String,
        /// The version of the account: any change of it ends the tokens issued before.
        version: u64,
    },
    /// A machine token.
    Token {
        /// Its id.
        id: String,
    },
}

/// What a token says (RFC 7519 §4.1 and Docker's `access`).
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    exp: u64,
    nbf: u64,
    iat: u64,
    jti: String,
    access: Vec<Access>,
    basis: Basis,
}

#[derive(Debug, Serialize, Deserialize)]
struct Access {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    actions: Vec<String>,
}

/// A token that is ours and in time.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) basis: Basis,
    pub(super) grants: Vec<Grant>,
}

/// The signing keys as they are stored: private keys in PKCS#8, the one that signs first.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredKeys {
    pkcs8: Vec<Vec<u8>>,
}

impl Body for StoredKeys {
    const NAME: &'static str = "token signing keys";
}

/// Signs and verifies.
pub(super) struct TokenSigner {
    service: String,
    seconds: u64,
    keys: Vec<Key>,
    passes: UploadPasses,
    verified: VerifiedTokens<Claims>,
}

struct Key {
    id: String,
    signing: EncodingKey,
    verifying: DecodingKey,
}

impl TokenSigner {
    /// Reads the keys, or makes the first one.
    pub(super) async fn open(
        metadata: &dyn MetadataStore,
        service: String,
        seconds: u64,
    ) -> Result<Self, AuthError> {
        Self::of_stored(service, seconds, &stored_keys(metadata).await?)
    }

    /// With the stored keys.
    pub(super) fn of_stored(
        service: String,
        seconds: u64,
        stored: &StoredKeys,
    ) -> Result<Self, AuthError> {
        let keys =
            stored.pkcs8.iter().map(|pkcs8| Key::read(pkcs8)).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(AuthError::unavailable(MetadataError::Corrupt(StoredKeys::NAME)));
        }
        let passes = UploadPasses::new(stored.pkcs8.iter().map(Vec::as_slice));
        Ok(Self { service, seconds, keys, passes, verified: VerifiedTokens::new() })
    }

    /// The passes of uploads, which are keyed like the tokens.
    pub(super) const fn passes(&self) -> &UploadPasses {
        &self.passes
    }

    /// The lifetime of a token that is signed now on this basis, in seconds.
    pub(super) fn seconds(&self, basis: &Basis, now: Timestamp) -> u64 {
        match basis {
            Basis::Oidc(oidc) => self.seconds.min(oidc.expires.saturating_sub(now.seconds())),
            Basis::Anonymous | Basis::Password { .. } | Basis::Token { .. } => self.seconds,
        }
    }

    /// Signs a token.
    pub(super) fn sign(
        &self,
        subject: &str,
        basis: &Basis,
        grants: &[Grant],
        now: Timestamp,
    ) -> Result<Secret, AuthError> {
        let seconds = self.seconds(basis, now);
        let now = now.seconds();
        let access = grants.iter().map(Access::new).collect();
        let claims = Claims {
            iss: self.service.clone(),
            sub: subject.to_owned(),
            aud: self.service.clone(),
            exp: now.saturating_add(seconds),
            nbf: now,
            iat: now,
            jti: hex(&random::<16>().map_err(AuthError::unavailable)?),
            access,
            basis: basis.clone(),
        };
        // Why there is a first: `open` refuses an empty set.
        let key = self.keys.first().expect("the set of keys is never empty");
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(key.id.clone());
        let token = jsonwebtoken::encode(&header, &claims, &key.signing);
        token.map(Secret::new).map_err(AuthError::unavailable)
    }

    /// Verifies a token's signature, issuer, audience and time.
    pub(super) fn verify(&self, token: &Secret, now: Timestamp) -> Result<Verified, AuthError> {
        self.verify_whenever(token, now).and_then(|(verified, expired)| {
            if expired { Err(AuthError::Expired) } else { Ok(verified) }
        })
    }

    /// The same for a token that may be over, and whether it is.
    pub(super) fn verify_whenever(
        &self,
        token: &Secret,
        now: Timestamp,
    ) -> Result<(Verified, bool), AuthError> {
        let token = token.expose();
        if token.len() > LONGEST {
            return Err(AuthError::Invalid);
        }
        let claims = self.verified.look_up(token, || self.check_signature(token))?;
        let now = now.seconds();
        if claims.nbf > now.saturating_add(LEEWAY) || claims.iat > now.saturating_add(LEEWAY) {
            return Err(AuthError::Invalid);
        }
        let expired = claims.exp.saturating_add(LEEWAY) <= now;
        let grants = claims.access.iter().filter_map(Access::grant).collect();
        Ok((Verified { basis: claims.basis.clone(), grants }, expired))
    }

    /// What a token says, if it is ours; its times are not looked at.
    fn check_signature(&self, token: &str) -> Result<Claims, AuthError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| AuthError::Invalid)?;
        if names_other_keys(&header) {
            return Err(AuthError::Invalid);
        }
        let key = self.keys.iter().find(|key| header.kid.as_deref() == Some(&key.id));
        let key = key.ok_or(AuthError::Invalid)?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[&self.service]);
        validation.set_issuer(&[&self.service]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        // Time is checked at every use, against the server's own clock.
        (validation.validate_exp, validation.validate_nbf) = (false, false);
        let decoded = jsonwebtoken::decode::<Claims>(token, &key.verifying, &validation);
        Ok(decoded.map_err(|_| AuthError::Invalid)?.claims)
    }
}

#[cfg(feature = "fuzzing")]
impl TokenSigner {
    /// A signer with a known key, for the fuzz targets.
    pub(super) fn of_key(service: &str, pkcs8: &[u8]) -> Result<Self, AuthError> {
        let (keys, passes) = (vec![Key::read(pkcs8)?], UploadPasses::new([pkcs8]));
        let (service, verified) = (service.to_owned(), VerifiedTokens::new());
        Ok(Self { service, seconds: 300, keys, passes, verified })
    }

    /// The id of the key that signs.
    pub(super) fn first_key_id(&self) -> &str {
        &self.keys[0].id
    }
}

impl std::fmt::Debug for TokenSigner {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys: Vec<_> = self.keys.iter().map(|key| &key.id).collect();
        out.debug_struct("TokenSigner").field("keys", &keys).finish_non_exhaustive()
    }
}

impl Key {
    fn read(pkcs8: &[u8]) -> Result<Self, AuthError> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(AuthError::unavailable)?;
        let public = pair.public_key().as_ref();
        Ok(Self {
            id: hex(&Sha256::digest(public)[..8]),
            signing: EncodingKey::from_ed_der(pkcs8),
            verifying: DecodingKey::from_ed_der(public),
        })
    }
}

impl Access {
    fn new(grant: &Grant) -> Self {
        let (kind, name, actions) = match grant {
            Grant::Catalog => ("registry", "catalog".to_owned(), vec!["*"]),
            Grant::Package(grant) => ("repository", grant.name.to_string(), scope::actions(grant)),
        };
        let actions = actions.into_iter().map(str::to_owned).collect();
        Self { kind: kind.to_owned(), name, actions }
    }

    fn grant(&self) -> Option<Grant> {
        let has = |action: &str| self.actions.iter().any(|found| found == action);
        match (self.kind.as_str(), self.name.as_str()) {
            ("registry", "catalog") => has("*").then_some(Grant::Catalog),
            ("repository", name) => {
                let name = name.parse().ok()?;
                let (pull, push, delete) = (has("pull"), has("push"), has("delete"));
                Some(Grant::Package(PackageGrant { name, pull, push, delete }))
            }
            _ => None,
        }
    }
}

/// Whether a header asks to take a key, or a rule, from somewhere else than from us.
const fn names_other_keys(header: &Header) -> bool {
    header.crit.is_some()
        || header.jku.is_some()
        || header.jwk.is_some()
        || header.x5c.is_some()
        || header.x5u.is_some()
}

async fn stored_keys(metadata: &dyn MetadataStore) -> Result<StoredKeys, AuthError> {
    if let Some(found) = metadata.document(DocumentKind::Setting, SETTING).await? {
        return Ok(StoredKeys::decode(&found.body)?);
    }
    let fresh = StoredKeys { pkcs8: vec![new_key().map_err(AuthError::unavailable)?] };
    let change = Change::by_server("first start");
    let written =
        metadata.put_document(&change, DocumentKind::Setting, SETTING, None, fresh.encode()).await;
    match written {
        Ok(_) => Ok(fresh),
        // Another server on the same metadata was faster; its key counts.
        Err(MetadataError::Conflict(Conflict::Version)) => {
            let found = metadata.document(DocumentKind::Setting, SETTING).await?;
            let found = found.ok_or(MetadataError::Corrupt(StoredKeys::NAME))?;
            Ok(StoredKeys::decode(&found.body)?)
        }
        Err(error) => Err(error.into()),
    }
}

/// A fresh private key in PKCS#8.
fn new_key() -> Result<Vec<u8>, NoRandomness> {
    let source = aws_lc_rs::rand::SystemRandom::new();
    let document = Ed25519KeyPair::generate_pkcs8(&source).map_err(|_| NoRandomness)?;
    Ok(document.as_ref().to_vec())
}

#[cfg(test)]
#[path = "registry_token_tests.rs"]
mod tests;
