//! Keys of rows.
//!
//! Invariant: keys sort the way they are listed. Numbers are big-endian; a digest is its algorithm's
//! byte and its raw bytes, so its length is known from its first byte; text that is followed by
//! something ends in a zero byte, which no name or tag contains.

use crate::domain::{Algorithm, Digest, PackageId, RepositoryId, Tag, Timestamp, WorkspaceId};
use crate::metadata::DocumentKind;

/// A key under construction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Key(Vec<u8>);

impl Key {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    pub(super) fn number(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub(super) fn workspace(self, id: WorkspaceId) -> Self {
        self.number(id.0)
    }

    pub(super) fn package(self, id: PackageId) -> Self {
        self.number(id.0)
    }

    pub(super) fn repository(self, id: RepositoryId) -> Self {
        self.number(id.0)
    }

    pub(super) fn time(self, time: Timestamp) -> Self {
        self.number(time.0)
    }

    pub(super) fn digest(mut self, digest: &Digest) -> Self {
        self.0.extend_from_slice(&digest_bytes(digest));
        self
    }

    /// Text at the end of a key.
    pub(super) fn text(mut self, text: &str) -> Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// Text followed by more.
    pub(super) fn text_and(self, text: &str) -> Self {
        self.text(text).byte(0)
    }

    pub(super) fn tag_and(self, tag: &Tag) -> Self {
        self.text_and(tag.as_str())
    }

    pub(super) fn document(self, kind: DocumentKind) -> Self {
        self.byte(match kind {
            DocumentKind::Permission => 1,
            DocumentKind::Project => 2,
            DocumentKind::Setting => 3,
            DocumentKind::Token => 4,
            DocumentKind::User => 5,
            DocumentKind::WorkspacePermission => 6,
            DocumentKind::OidcBinding => 7,
            DocumentKind::Robot => 8,
            DocumentKind::Session => 32,
        })
    }

    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A digest as it stands in keys and rows.
pub(super) fn digest_bytes(digest: &Digest) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + digest.as_bytes().len());
    bytes.push(match digest.algorithm() {
        Algorithm::Sha256 => 1,
        Algorithm::Sha512 => 2,
    });
    bytes.extend_from_slice(digest.as_bytes());
    bytes
}

/// Takes parts off the front of a key.
pub(super) struct KeyReader<'a>(pub(super) &'a [u8]);

impl<'a> KeyReader<'a> {
    pub(super) fn number(&mut self) -> Option<u64> {
        let (head, tail) = self.0.split_first_chunk::<8>()?;
        self.0 = tail;
        Some(u64::from_be_bytes(*head))
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (head, tail) = self.0.split_first()?;
        self.0 = tail;
        Some(*head)
    }

    pub(super) fn digest(&mut self) -> Option<Digest> {
        let algorithm = match self.byte()? {
            1 => Algorithm::Sha256,
            2 => Algorithm::Sha512,
            _ => return None,
        };
        let (head, tail) = self.0.split_at_checked(algorithm.digest_len())?;
        self.0 = tail;
        Digest::from_raw(algorithm, head)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let end = self.0.iter().position(|byte| *byte == 0);
        let (head, tail) = match end {
            Some(end) => (&self.0[..end], &self.0[end + 1..]),
            None => (self.0, &[][..]),
        };
        self.0 = tail;
        std::str::from_utf8(head).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_in_order() {
        let digest = Algorithm::Sha512.hash(b"x");
        let tag: Tag = "v1".parse().unwrap();
        let key = Key::new().number(7).digest(&digest).tag_and(&tag).number(9);
        let mut reader = KeyReader(key.bytes());
        assert_eq!(reader.number(), Some(7));
        assert_eq!(reader.digest(), Some(digest));
        assert_eq!(reader.text(), Some("v1"));
        assert_eq!(reader.number(), Some(9));
        assert_eq!(reader.number(), None);
    }
}
