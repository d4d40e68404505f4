//! The error codes of the distribution API.
//!
//! Invariant: the list is closed. Clients act on these words, so none is made up where the
//! specification has one.

/// Error codes of `/v2/` (distribution-spec, "Error Codes"; `UNAVAILABLE` and `UNKNOWN` are the
/// first implementation's words for what the specification has none for).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The package has no such blob.
    BlobUnknown,
    /// The upload cannot go on like that.
    BlobUploadInvalid,
    /// There is no such upload.
    BlobUploadUnknown,
    /// The role does not suffice.
    Denied,
    /// Not a digest, or not the content's.
    DigestInvalid,
    /// The manifest names content that is not there.
    ManifestBlobUnknown,
    /// The manifest is not admitted.
    ManifestInvalid,
    /// The package has no such manifest.
    ManifestUnknown,
    /// Not a name.
    NameInvalid,
    /// No such package.
    NameUnknown,
    /// A size is wrong.
    SizeInvalid,
    /// Too many requests.
    TooManyRequests,
    /// Log in, or get a better token.
    Unauthorized,
    /// Not now.
    Unavailable,
    /// The server's own fault.
    Unknown,
    /// Not something this server does.
    Unsupported,
}

impl Code {
    /// The code as it is sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::Denied => "DENIED",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Unavailable => "UNAVAILABLE",
            Self::Unknown => "UNKNOWN",
            Self::Unsupported => "UNSUPPORTED",
        }
    }
}
