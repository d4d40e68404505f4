//! Content digests (OCI image-spec, descriptor.md, "Digests").
//!
//! Invariant: a [`Digest`] always has a registered algorithm and exactly its number of bytes, so
//! one content has one spelling. Upper-case hex is refused, as the specification demands.

use std::fmt;
use std::str::FromStr;

/// A registered digest algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, which every client speaks.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// The spelling used in digests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Length of the raw digest, in bytes.
    #[must_use]
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// Hashes a whole buffer.
    #[must_use]
    pub fn hash(self, bytes: &[u8]) -> Digest {
        use sha2::Digest as _;
        match self {
            Self::Sha256 => Digest::Sha256(sha2::Sha256::digest(bytes).into()),
            Self::Sha512 => Digest::Sha512(sha2::Sha512::digest(bytes).into()),
        }
    }
}

impl FromStr for Algorithm {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        match text {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err(InvalidDigest::Algorithm),
        }
    }
}

/// The digest of some content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Digest {
    /// A SHA-256 digest.
    Sha256([u8; 32]),
    /// A SHA-512 digest.
    Sha512([u8; 64]),
}

/// Why a text is not a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDigest {
    /// The algorithm is neither `sha256` nor `sha512`.
    #[error("unknown digest algorithm; sha256 and sha512 are supported")]
    Algorithm,
    /// The encoded part is not lower-case hex of the right length.
    #[error("a digest is an algorithm, a colon and lower-case hex of the algorithm's length")]
    Encoding,
}

impl Digest {
    /// The algorithm that made it.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// The raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Sha256(bytes) => bytes,
            Self::Sha512(bytes) => bytes,
        }
    }

    /// Builds a digest from raw bytes, or `None` if their number does not fit the algorithm.
    #[must_use]
    pub fn from_raw(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        match algorithm {
            Algorithm::Sha256 => bytes.try_into().ok().map(Self::Sha256),
            Algorithm::Sha512 => bytes.try_into().ok().map(Self::Sha512),
        }
    }

    /// The encoded part as lower-case hex.
    #[must_use]
    pub fn hex(&self) -> String {
        let mut text = String::with_capacity(self.as_bytes().len() * 2);
        for byte in self.as_bytes() {
            text.push(char::from(HEX[usize::from(byte >> 4)]));
            text.push(char::from(HEX[usize::from(byte & 15)]));
        }
        text
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.algorithm().as_str(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let (algorithm, encoded) = text.split_once(':').ok_or(InvalidDigest::Encoding)?;
        let algorithm: Algorithm = algorithm.parse()?;
        if encoded.len() != algorithm.digest_len() * 2 {
            return Err(InvalidDigest::Encoding);
        }
        let mut raw = Vec::with_capacity(algorithm.digest_len());
        for pair in encoded.as_bytes().chunks_exact(2) {
            raw.push(nibble(pair[0])? << 4 | nibble(pair[1])?);
        }
        Self::from_raw(algorithm, &raw).ok_or(InvalidDigest::Encoding)
    }
}

const fn nibble(character: u8) -> Result<u8, InvalidDigest> {
    match character {
        b'0'..=b'9' => Ok(character - b'0'),
        b'a'..=b'f' => Ok(character - b'a' + 10),
        _ => Err(InvalidDigest::Encoding),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_printed_parses_to_the_same_digest(content: Vec<u8>) {
            for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
                let digest = algorithm.hash(&content);
                prop_assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
            }
        }

        #[test]
        fn any_text_is_refused_or_printed_back_unchanged(text in "[a-z0-9:+]{0,140}") {
            if let Ok(digest) = text.parse::<Digest>() {
                prop_assert_eq!(digest.to_string(), text);
            }
        }
    }

    #[test]
    fn wrong_algorithms_lengths_and_upper_case_are_refused() {
        let good = Algorithm::Sha256.hash(b"x").to_string();
        for bad in [
            "".to_owned(),
            "sha256".to_owned(),
            "sha256:".to_owned(),
            good.to_uppercase(),
            good.replace("sha256", "md5"),
            good.replace("sha256", "sha512"),
            format!("{good}0"),
            good[..good.len() - 1].to_owned(),
            format!(" {good}"),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
