//! Why a verb was not done. `http/error.rs` turns each into a status and a code, in one table.

use crate::blobs::{BlobError, StreamError};
use crate::domain::manifest::InvalidManifest;
use crate::domain::{Action, Digest, Name, PackageName, Reference, Role};
use crate::metadata::{Conflict, MetadataError};

/// The result of a verb.
pub type Result<T> = std::result::Result<T, RegistryError>;

/// Why a package that does not exist is not created by a push (DESIGN §7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotCreated {
    /// Not told: the caller may not know.
    Hidden,
    /// The workspace's setting is `never`.
    Never,
    /// The role is too small for the workspace's setting.
    Role {
        /// What it takes.
        needed: Role,
        /// The repository it would be linked to.
        repository: String,
    },
    /// No repository fits the name.
    NoRepository,
}

/// Why a verb was not done.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A name that is in use.
    #[error("{0} exists already")]
    AlreadyExists(String),
    /// Only one of these runs at a time.
    #[error("a {0} runs already")]
    AlreadyRuns(&'static str),
    /// The package has no such blob.
    #[error("the package has no blob {0}")]
    BlobUnknown(Digest),
    /// The blob is there, but not what it should be.
    #[error("blob {0} is damaged; pushing it again heals it")]
    BlobDamaged(Digest),
    /// The blob is larger than the limit in bytes.
    #[error("the blob is larger than the limit of {0} bytes")]
    BlobTooLarge(u64),
    /// The client went away or stalled in the middle of a body.
    #[error("the request's body broke off")]
    BodyBroken(#[source] StreamError),
    /// Too much is waiting; try again in a moment.
    #[error("too much is waiting; try again in a moment")]
    Busy,
    /// Something was changed by somebody else meanwhile.
    #[error("{0} was changed meanwhile; read it again and repeat")]
    ChangedMeanwhile(String),
    /// The role does not suffice.
    #[error("the role {} on the repository is needed to {}", .0.required_role().as_str(), .0.phrase())]
    Denied(Action),
    /// The content has another digest than the request says.
    #[error("the content's digest is {actual}, not {expected}")]
    DigestMismatch {
        /// What the request says.
        expected: Digest,
        /// What the content has.
        actual: Digest,
    },
    /// Only for administrators of the instance or workspace.
    #[error("this needs an administrator of the {0}")]
    AdministratorsOnly(&'static str),
    /// A repository with packages is not deleted.
    #[error("packages are linked to the repository {0}; delete them first")]
    HasPackages(String),
    /// The credential was narrowed to less than this needs.
    #[error("the token was not issued for this")]
    InsufficientScope {
        /// What it is about.
        name: Name,
        /// What is wanted.
        action: Action,
    },
    /// A field of a request is not what it must be.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong, in words for the caller.
        reason: String,
    },
    /// The manifest names content the package does not have.
    #[error("the package has no blob or manifest {0}, which the manifest names")]
    ManifestBlobUnknown(Digest),
    /// The document is no manifest that can be admitted.
    #[error(transparent)]
    ManifestInvalid(#[from] InvalidManifest),
    /// The manifest says another size of some content than it has.
    #[error("{digest} has {actual} bytes, but the manifest says {said}")]
    ManifestSize {
        /// The content.
        digest: Digest,
        /// Its size.
        actual: u64,
        /// What the manifest says.
        said: u64,
    },
    /// The manifest is larger than the limit in bytes.
    #[error("the manifest is larger than the limit of {0} bytes")]
    ManifestTooLarge(usize),
    /// The package has no such manifest.
    #[error("the package has no manifest {0}")]
    ManifestUnknown(Reference),
    /// There is no such package, or the caller may not know that there is.
    #[error("there is no package {name}")]
    NameUnknown {
        /// The name asked for.
        name: Name,
        /// Why a push did not create it.
        why: NotCreated,
    },
    /// The machine token was made for less than this needs.
    #[error("the token was made without the scope {0}; use one that has it")]
    TokenScope(&'static str),
    /// The rules of an OIDC binding do not let this build do it; in words.
    #[error("{0}")]
    TagRules(String),
    /// The disk is full, or nearly.
    #[error("the registry is out of disk space")]
    NoSpace,
    /// Something asked for over REST does not exist, or the caller may not know that it does.
    #[error("there is no {0}")]
    NotFound(String),
    /// The request's credentials are missing or wrong.
    #[error("log in first")]
    Unauthenticated,
    /// A package's repository was deleted meanwhile.
    #[error("the package's repository is not there any more; name another one")]
    RepositoryGone,
    /// The storage failed. The change is whole or absent.
    #[error("the registry's storage failed")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Another request is writing to the upload.
    #[error("another request is writing to this upload")]
    UploadBusy,
    /// The upload took longer than the limit.
    #[error("the upload took longer than the limit of {0} seconds")]
    UploadExpired(u64),
    /// The chunk does not begin where the upload ends.
    #[error("the upload's next byte is {actual}")]
    UploadOffset {
        /// How long the upload is, in bytes.
        actual: u64,
    },
    /// The chunk's length is not what its headers say.
    #[error("the chunk has {actual} bytes, but its headers say {said}")]
    UploadSize {
        /// How many there are.
        actual: u64,
        /// How many were announced.
        said: u64,
    },
    /// The caller has no such upload here.
    #[error("there is no such upload")]
    UploadUnknown,
}

impl RegistryError {
    /// A package that does not exist, told to a caller who may not know more.
    pub(crate) const fn unknown_name(name: Name) -> Self {
        Self::NameUnknown { name, why: NotCreated::Hidden }
    }

    /// A missing package of REST's addressing.
    pub(crate) fn no_package(name: &PackageName) -> Self {
        Self::NotFound(format!("package {name}"))
    }
}

impl From<MetadataError> for RegistryError {
    fn from(error: MetadataError) -> Self {
        match error {
            MetadataError::Busy => Self::Busy,
            MetadataError::Conflict(Conflict::HasPackages) => Self::HasPackages(String::new()),
            MetadataError::Conflict(Conflict::RepositoryGone) => Self::RepositoryGone,
            MetadataError::Conflict(Conflict::SlugTaken) => Self::AlreadyExists("it".to_owned()),
            MetadataError::Conflict(Conflict::Version) => Self::ChangedMeanwhile("it".to_owned()),
            MetadataError::MissingContent(digest) => Self::ManifestBlobUnknown(digest),
            MetadataError::NotFound => Self::NotFound("such thing".to_owned()),
            MetadataError::NoSpace => Self::NoSpace,
            MetadataError::SizeMismatch { digest, actual, said } => {
                Self::ManifestSize { digest, actual, said }
            }
            MetadataError::Corrupt(_) | MetadataError::Unavailable(_) => {
                Self::Unavailable(Box::new(error))
            }
        }
    }
}

impl From<BlobError> for RegistryError {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Body(source) => Self::BodyBroken(source),
            BlobError::Busy => Self::UploadBusy,
            BlobError::Digest { expected, actual } => Self::DigestMismatch { expected, actual },
            BlobError::NoSpace(_) => Self::NoSpace,
            BlobError::Occupied => Self::Busy,
            BlobError::Offset { actual, .. } => Self::UploadOffset { actual },
            BlobError::TooLarge(limit) => Self::BlobTooLarge(limit),
            BlobError::UnknownUpload(_) => Self::UploadUnknown,
            // A row named this object, so its absence is damage and not an answer.
            BlobError::UnknownObject(_) | BlobError::Damaged(_) | BlobError::Storage { .. } => {
                Self::Unavailable(Box::new(error))
            }
        }
    }
}
