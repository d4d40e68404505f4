//! Standpipe's server: a self-hosted container registry. See ARCHITECTURE.md for the map.

/// Whether this build has the protection of that name taken out, to show that a test notices
/// (`tests/run.sh --mutants`). A constant: an ordinary build has no trace of it.
macro_rules! mutant {
    ($name:literal) => {
        cfg!(mutant = $name) || $crate::mutants::is_active($name)
    };
}

pub mod app;
pub mod auth;
pub mod blobs;
pub mod cli;
pub mod clock;
pub mod config;
pub mod data_dir;
pub mod domain;
pub mod fault;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
pub mod metadata;
pub(crate) mod mutants;
pub mod registry;
pub mod tasks;
pub mod telemetry;
