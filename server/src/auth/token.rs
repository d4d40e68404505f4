//! Machine tokens: `sp_<id>_<secret><checksum>`.
//!
//! The id finds the document and begins with a hash of the owner, so that an owner's tokens lie side
//! by side and can be listed. The secret has 256 random bits, which is why a fast hash of it is
//! enough to store. The checksum (CRC-32 of all before it) lets scanners tell a leaked token from
//! text that looks like one, and lets us refuse a damaged one without a look-up.
//!
//! Invariant: the secret leaves this file once, in the token's text, and only its hash is stored.

use super::secret::{NoRandomness, Secret, hex, random};
use crate::metadata::documents::TokenSubject;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

const PREFIX: &str = "sp_";
const OWNER_BYTES: usize = 4;
const RANDOM_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;
const CHECKSUM_HEX: usize = 8;
/// Length of an id in characters.
const ID_LENGTH: usize = (OWNER_BYTES + RANDOM_BYTES) * 2;

/// A token as it was shown by a client, well-formed but not looked up yet.
#[derive(Debug)]
pub(super) struct MachineToken {
    /// Its id.
    pub(super) id: String,
    secret: Secret,
}

/// A token that was just made.
#[derive(Debug)]
pub(super) struct Minted {
    /// Its id.
    pub(super) id: String,
    /// The whole token, to be shown once.
    pub(super) token: Secret,
    /// What is stored of the secret.
    pub(super) secret_hash: [u8; 32],
}

impl MachineToken {
    /// Whether a text begins like a token, so that it is not taken for a password or something else.
    pub(super) fn looks_like_one(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// Reads a token; `None` for anything else, such as a password.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (id, rest) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let lower_hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !lower_hex(id) || !lower_hex(rest) || rest.len() != SECRET_BYTES * 2 + CHECKSUM_HEX {
            return None;
        }
        let (secret, said) = rest.split_at(SECRET_BYTES * 2);
        if id.len() != ID_LENGTH || checksum(id, secret) != said {
            return None;
        }
        Some(Self { id: id.to_owned(), secret: Secret::new(secret.to_owned()) })
    }

    /// Whether its secret has this hash, in a time that does not depend on where they differ.
    pub(super) fn matches(&self, secret_hash: &[u8; 32]) -> bool {
        hash(self.secret.expose()).ct_eq(secret_hash).into()
    }
}

/// Makes a token for a subject.
pub(super) fn mint(subject: &TokenSubject) -> Result<Minted, NoRandomness> {
    let id = format!("{}{}", owner_prefix(subject), hex(&random::<RANDOM_BYTES>()?));
    let secret = hex(&random::<SECRET_BYTES>()?);
    let token = format!("{PREFIX}{id}_{secret}{}", checksum(&id, &secret));
    Ok(Minted { id, token: Secret::new(token), secret_hash: hash(&secret) })
}

/// What the ids of a subject's tokens begin with. Two subjects may share it, so a list must look at
/// the subjects too.
pub(super) fn owner_prefix(subject: &TokenSubject) -> String {
    let owner = match subject {
        TokenSubject::User { username } => format!("user:{username}"),
        TokenSubject::Pipeline { workspace, repository } => {
            format!("pipeline:{workspace}:{repository}")
        }
        TokenSubject::Robot { workspace, robot, .. } => format!("robot:{workspace}:{robot}"),
    };
    hex(&Sha256::digest(owner)[..OWNER_BYTES])
}

fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

fn checksum(id: &str, secret: &str) -> String {
    format!("{:08x}", crc32fast::hash(format!("{PREFIX}{id}_{secret}").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn subject() -> TokenSubject {
        TokenSubject::Pipeline { workspace: 1, repository: 2 }
    }

    #[test]
    fn a_minted_token_is_read_back_and_matches_its_hash_alone() {
        let one = mint(&subject()).expect("random bytes");
        let other = mint(&subject()).expect("random bytes");
        let read = MachineToken::parse(one.token.expose()).expect("a token");
        assert_eq!(read.id, one.id);
        assert!(read.matches(&one.secret_hash));
        assert!(!read.matches(&other.secret_hash));
        assert!(one.id.starts_with(&owner_prefix(&subject())));
        assert!(!format!("{one:?} {read:?}").contains(read.secret.expose()));
    }

    #[test]
    fn what_has_a_right_checksum_and_another_shape_is_no_token() {
        let (id, secret) = ("0123456789abcdef01234567", "ab".repeat(SECRET_BYTES));
        let text =
            |id: &str, secret: &str| format!("{PREFIX}{id}_{secret}{}", checksum(id, secret));
        assert!(MachineToken::parse(&text(id, &secret)).is_some());
        for other in ["", &id[1..], "0123456789abcdef012345678", "0123456789ABCDEF01234567"] {
            assert!(MachineToken::parse(&text(other, &secret)).is_none(), "id {other}");
        }
        for other in ["", &secret[1..], &secret.to_uppercase(), &format!("{secret}a")] {
            assert!(MachineToken::parse(&text(id, other)).is_none(), "secret {other}");
        }
    }

    #[test]
    fn a_token_is_told_from_a_password_by_how_it_begins() {
        assert!(MachineToken::looks_like_one("sp_cut-off"));
        assert!(!MachineToken::looks_like_one("correct horse sp_"));
    }

    proptest! {
        #[test]
        fn a_damaged_token_is_no_token(at in 0_usize..99, to in "[0-9a-f_]") {
            let minted = mint(&subject()).expect("random bytes");
            let mut text = minted.token.expose().to_owned();
            text.replace_range(at..=at, &to);
            prop_assume!(text != minted.token.expose());
            prop_assert!(MachineToken::parse(&text).is_none());
        }

        #[test]
        fn no_text_makes_it_panic(text in "(sp_)?.{0,120}") {
            let _ = MachineToken::parse(&text);
        }
    }
}
