//! The nouns of the registry and the rules that need nothing but themselves.
//!
//! Invariant: a value of a type in this folder is legal; parsing happens in its constructor and
//! nowhere else. This folder must not know storage, HTTP, configuration, the clock or the
//! environment, and its types do not derive serde: wire bodies and stored records are structs of
//! their own, so that a renamed field here cannot change a file format or an API.

pub mod caller;
pub mod change;
pub mod digest;
pub mod event;
pub mod identity;
pub mod ids;
pub mod manifest;
pub mod name;
pub mod network;
pub mod pattern;
pub mod reference;
pub mod role;
pub mod settings;
pub mod time;

pub use caller::{Caller, Grant, InvalidScopes, PackageGrant, Principal, TokenScopes};
pub use change::{Change, Origin};
pub use digest::{Algorithm, Digest};
pub use event::Event;
pub use identity::{Binding, ClaimNames, Conditions, Identity, TagPermit, TagRule};
pub use ids::{ObjectKey, PackageId, RepositoryId, UploadId, WorkspaceId};
pub use manifest::ManifestView;
pub use name::{Name, PackageName, ProjectKey, Slug, Username};
pub use network::Network;
pub use pattern::{Pattern, TagPattern};
pub use reference::{Reference, Tag};
pub use role::{Action, Role, Visibility};
pub use settings::{CreateOnPush, WorkspaceSettings};
pub use time::Timestamp;
