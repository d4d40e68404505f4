//! Identifiers. Numbers are never reused, so a row of a deleted package can never be read as a row
//! of a new one.

use std::fmt;
use std::str::FromStr;

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(out)
            }
        }
    };
}

number_id! {
    /// A workspace.
    WorkspaceId
}
number_id! {
    /// A source repository.
    RepositoryId
}
number_id! {
    /// A package.
    PackageId
}

/// An upload session. Random (UUIDv4): knowing one is not enough to use it, but it cannot be guessed
/// either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadId(pub uuid::Uuid);

impl UploadId {
    /// A new random session id.
    #[must_use]
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4())
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(out)
    }
}

impl FromStr for UploadId {
    type Err = InvalidUploadId;

    /// Accepts the hyphenated lower-case form only, so that one session has one URL.
    fn from_str(text: &str) -> Result<Self, InvalidUploadId> {
        let id = uuid::Uuid::try_parse(text).map_err(|_| InvalidUploadId)?;
        if id.as_hyphenated().to_string() == text { Ok(Self(id)) } else { Err(InvalidUploadId) }
    }
}

/// The text is not an upload session id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an upload session")]
pub struct InvalidUploadId;

/// The name of a stored object, minted by the blob backend and opaque to everything else.
///
/// It is a UUIDv7 whose time is the server's own clock during the upload, and it is never
/// reused: deleting an object and storing the same content again can never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey(pub uuid::Uuid);

impl ObjectKey {
    /// A fresh key carrying the given time.
    #[must_use]
    pub fn mint(now: super::Timestamp) -> Self {
        if mutant!("object-keys-are-reused") {
            return Self(uuid::Builder::from_unix_timestamp_millis(now.0, &[0; 10]).into_uuid());
        }
        let nanos = u32::try_from(now.0 % 1000).unwrap_or(0) * 1_000_000;
        let time = uuid::Timestamp::from_unix(uuid::NoContext, now.seconds(), nanos);
        Self(uuid::Uuid::new_v7(time))
    }

    /// A time at which the object was being uploaded.
    #[must_use]
    pub fn minted_at(&self) -> super::Timestamp {
        let (seconds, nanos) = self.0.get_timestamp().map_or((0, 0), |time| time.to_unix());
        super::Timestamp(seconds.saturating_mul(1000).saturating_add(u64::from(nanos / 1_000_000)))
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_simple().fmt(out)
    }
}

impl FromStr for ObjectKey {
    type Err = InvalidObjectKey;

    fn from_str(text: &str) -> Result<Self, InvalidObjectKey> {
        let id = uuid::Uuid::try_parse(text).map_err(|_| InvalidObjectKey)?;
        if id.get_version_num() == 7 && id.as_simple().to_string() == text {
            Ok(Self(id))
        } else {
            Err(InvalidObjectKey)
        }
    }
}

/// The text is not an object key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an object key")]
pub struct InvalidObjectKey;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;

    #[test]
    fn object_keys_keep_their_time_and_sort_by_it() {
        let early = ObjectKey::mint(Timestamp(1_700_000_000_123));
        let late = ObjectKey::mint(Timestamp(1_700_000_000_124));
        assert_eq!(early.minted_at(), Timestamp(1_700_000_000_123));
        assert!(early < late);
        assert_eq!(early.to_string().parse(), Ok(early));
    }

    #[test]
    fn upload_ids_have_one_spelling() {
        let id = UploadId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.to_string().to_uppercase().parse::<UploadId>().is_err());
        assert!(id.0.as_simple().to_string().parse::<UploadId>().is_err());
    }
}
