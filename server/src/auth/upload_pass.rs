//! Passes of uploads: what an upload's `Location` carries so that a long push outlives its registry
//! token.
//!
//! Invariant: a pass waives the *expiry* of a registry token and nothing else, for one upload and for
//! the principal who began it. Without a token that was good once it is worth nothing; the credential
//! behind the token, its grants and the role are looked up as for any other request. It cannot be
//! forged, because it is keyed with the keys that sign tokens, and it survives a restart with them.

use super::secret::hex;
use crate::domain::{Principal, UploadId};
use aws_lc_rs::hmac;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// What sets the keys of passes apart from everything else made of the same secrets.
const PURPOSE: &[u8] = b"standpipe upload pass 1";

/// Makes and checks passes.
pub(super) struct UploadPasses(Vec<hmac::Key>);

impl UploadPasses {
    /// The first secret makes passes, all of them check.
    pub(super) fn new<'a>(secrets: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let key = |secret: &[u8]| {
            let derived = Sha256::new().chain_update(PURPOSE).chain_update(secret).finalize();
            hmac::Key::new(hmac::HMAC_SHA256, &derived)
        };
        Self(secrets.into_iter().map(key).collect())
    }

    /// The pass of a principal for an upload.
    pub(super) fn make(&self, upload: UploadId, principal: &Principal) -> Option<String> {
        self.0.first().map(|key| tag(key, upload, principal))
    }

    /// Whether a text is the pass of this principal for this upload.
    pub(super) fn fits(&self, text: &str, upload: UploadId, principal: &Principal) -> bool {
        let is = |key: &hmac::Key| tag(key, upload, principal).as_bytes().ct_eq(text.as_bytes());
        self.0.iter().any(|key| is(key).into())
    }
}

impl std::fmt::Debug for UploadPasses {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("UploadPasses").finish_non_exhaustive()
    }
}

/// The id has a fixed length, so nothing can be moved from one part to the other.
fn tag(key: &hmac::Key, upload: UploadId, principal: &Principal) -> String {
    let mut context = hmac::Context::with_key(key);
    context.update(upload.0.as_bytes());
    context.update(principal.key().as_bytes());
    hex(context.sign().as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_of_one_upload_one_principal_and_one_secret() {
        let (ann, bob) = ("ann", "bob");
        let user = |name: &str| Principal::User(name.parse().expect("a name"));
        let (one, other) = (UploadId::random(), UploadId::random());
        let passes = UploadPasses::new([&b"secret"[..]]);
        let pass = passes.make(one, &user(ann)).expect("a key");
        assert!(passes.fits(&pass, one, &user(ann)));
        assert!(!passes.fits(&pass, other, &user(ann)));
        assert!(!passes.fits(&pass, one, &user(bob)));
        assert!(!passes.fits("", one, &user(ann)) && !passes.fits(&pass[1..], one, &user(ann)));
        assert!(!UploadPasses::new([&b"another"[..]]).fits(&pass, one, &user(ann)));
        let rotated = UploadPasses::new([&b"another"[..], b"secret"]);
        assert!(rotated.fits(&pass, one, &user(ann)), "keys that no longer sign still check");
        assert_eq!(UploadPasses::new([]).make(one, &user(ann)), None);
        assert_eq!(format!("{passes:?}"), "UploadPasses { .. }");
    }
}
