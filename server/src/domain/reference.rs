//! Tags and references (OCI distribution-spec, "Pulling manifests").

use super::{Digest, digest::InvalidDigest};
use std::fmt;
use std::str::FromStr;

/// The longest tag, in characters.
const LONGEST_TAG: usize = 128;

/// A tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

impl Tag {
    /// Whether a text is a tag.
    #[must_use]
    pub fn is_valid(text: &str) -> bool {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let bytes = text.as_bytes();
        bytes.len() <= LONGEST_TAG
            && bytes.first().is_some_and(|first| word(*first))
            && bytes.iter().all(|byte| word(*byte) || matches!(byte, b'.' | b'-'))
    }

    /// The tag as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Why a text is not a tag or reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    /// Not a digest, although it has a colon.
    #[error(transparent)]
    Digest(#[from] InvalidDigest),
    /// Not a tag.
    #[error(
        "a tag is 1 to 128 letters, digits, '_', '.' or '-', and does not begin with '.' or '-'"
    )]
    Tag,
}

impl FromStr for Tag {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        if Self::is_valid(text) { Ok(Self(text.to_owned())) } else { Err(InvalidReference::Tag) }
    }
}

/// What comes after `/manifests/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// A digest: always the same content.
    Digest(Digest),
    /// A tag: whatever it points to now.
    Tag(Tag),
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        // A tag cannot hold a colon, a digest must.
        if text.contains(':') {
            Ok(Self::Digest(text.parse()?))
        } else {
            text.parse().map(Self::Tag)
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(digest) => digest.fmt(out),
            Self::Tag(tag) => tag.fmt(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_follow_the_grammar() {
        for good in ["latest", "1.2.3", "_x", "A-b.c_d", &"a".repeat(128)] {
            assert!(good.parse::<Tag>().is_ok(), "{good}");
        }
        for bad in ["", ".x", "-x", "a b", "a/b", "a:b", "é", "a\n", &"a".repeat(129)] {
            assert!(bad.parse::<Tag>().is_err(), "{bad}");
        }
    }
}
