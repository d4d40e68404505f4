//! Doors to private parsers for the fuzz targets of `fuzz/` (feature `fuzzing`).
//!
//! Invariant: nothing here decides anything; each door only calls what the server calls itself.
//! Nothing but `fuzz/` may use this.

pub use crate::auth::fuzzing as auth;
pub use crate::blobs::fs::fuzzing as files;
pub use crate::blobs::object::fuzzing as objects;
pub use crate::cli::admin::fuzzing as admin;
pub use crate::cli::fuzzing as health;
pub use crate::config::load_texts;
pub use crate::http::fuzzing::{challenge, client};
pub use crate::http::oci::fuzzing as oci;
pub use crate::metadata::redb::fuzzing as rows;
pub use crate::registry::fuzzing as registry;
