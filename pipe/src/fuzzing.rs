//! Doors to private parsers for the fuzz targets of `fuzz/` (feature `fuzzing`).
//!
//! Invariant: nothing here decides anything; each door only calls what the pipe calls itself.
//! Nothing but `fuzz/` may use this.

pub use crate::client::fuzzing as client;
pub use crate::source::fuzzing as source;
