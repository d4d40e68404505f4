//! Settings of a workspace.

use super::Slug;
use std::str::FromStr;
use std::time::Duration;

/// Who may create a package by pushing to a name that does not exist yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CreateOnPush {
    /// Nobody: packages are created first, as in Bitbucket.
    Never,
    /// Those with the role `admin` on the repository it would be linked to.
    #[default]
    Admins,
    /// Those with the role `write` as well.
    Writers,
}

impl CreateOnPush {
    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Admins => "admins",
            Self::Writers => "writers",
        }
    }
}

/// The text is not a value of `create_on_push`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("create_on_push is never, admins or writers")]
pub struct InvalidCreateOnPush;

impl FromStr for CreateOnPush {
    type Err = InvalidCreateOnPush;

    fn from_str(text: &str) -> Result<Self, InvalidCreateOnPush> {
        match text {
            "never" => Ok(Self::Never),
            "admins" => Ok(Self::Admins),
            "writers" => Ok(Self::Writers),
            _ => Err(InvalidCreateOnPush),
        }
    }
}

/// The shortest lease without `unsafe_short_delays`: ten minutes (DESIGN §5).
pub const SHORTEST_LEASE: Duration = Duration::from_secs(600);

/// What a workspace's administrators decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceSettings {
    /// Who creates packages by pushing.
    pub create_on_push: CreateOnPush,
    /// The repository that a package created by a push is linked to when nothing else decides.
    pub default_repository: Option<Slug>,
    /// How long what was confirmed to a client stays although nothing refers to it yet.
    pub lease: Duration,
    /// How long what an overwrite or a deletion released can be restored.
    pub keep: Duration,
    /// The most bytes held for restoring; `None` is no cap.
    pub keep_bytes: Option<u64>,
    /// From forgetting an object to removing its file.
    pub purge: Duration,
    /// Whether an index may name manifests that are not in the package.
    pub sparse_indexes: bool,
}

impl WorkspaceSettings {
    /// How long a lease is granted for: an eighth longer than it must last, so that at most one
    /// confirmation in an eighth of a lease has to be written down.
    #[must_use]
    pub fn grant(&self) -> Duration {
        self.lease.saturating_add(self.lease / 8)
    }
}

impl Default for WorkspaceSettings {
    fn default() -> Self {
        Self {
            create_on_push: CreateOnPush::default(),
            default_repository: None,
            lease: Duration::from_secs(24 * 3600),
            keep: Duration::from_secs(7 * 24 * 3600),
            keep_bytes: None,
            purge: Duration::from_secs(3600),
            sparse_indexes: false,
        }
    }
}
