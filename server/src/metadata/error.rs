//! What can go wrong in the metadata seam, by meaning.

use crate::domain::Digest;

/// The result of a metadata operation.
pub type Result<T> = std::result::Result<T, MetadataError>;

/// A rule of the data that a change would break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// A repository with packages cannot be deleted.
    #[error("packages are linked to it")]
    HasPackages,
    /// The repository a package was linked to is not there any more.
    #[error("its repository is not there any more")]
    RepositoryGone,
    /// The name is in use.
    #[error("the name is in use")]
    SlugTaken,
    /// Somebody else changed the document meanwhile.
    #[error("it was changed meanwhile")]
    Version,
}

/// Why a metadata operation did not happen.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// The queue of changes is full: try again in a moment.
    #[error("too many changes are waiting to be written")]
    Busy,
    /// A rule of the data.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// A stored record cannot be read. Nothing wrong is answered; the operator must look.
    #[error("a stored record is damaged: {0}")]
    Corrupt(&'static str),
    /// A manifest names content that this package does not have.
    #[error("the package does not have {0}")]
    MissingContent(Digest),
    /// What the operation is about does not exist.
    #[error("not found")]
    NotFound,
    /// No space is left.
    #[error("no space left for metadata")]
    NoSpace,
    /// A manifest says a size for content that has another one.
    #[error("{digest} has {actual} bytes, but the manifest says {said}")]
    SizeMismatch {
        /// The content.
        digest: Digest,
        /// Its size.
        actual: u64,
        /// What the manifest says.
        said: u64,
    },
    /// The storage failed. The change is whole or absent; reading tells which.
    #[error("metadata storage failed")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}
