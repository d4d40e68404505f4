//! `standpipe-server admin …`: administers a running server over its REST API.
//!
//! Invariant: what can be done here can be done over REST by anybody with the same login; there is
//! no private way in. Output goes to the writer that is passed in. A secret is printed only when it
//! was just made, and only there.

mod client;
mod commands;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod maintenance;
mod oidc;
mod options;
mod people;
mod print;
mod run;
mod undo;

pub use client::AdminError;
pub use commands::Args;

use std::io::Write;

/// Runs a command, with its output on standard output.
///
/// # Errors
/// [`AdminError`].
pub fn run_blocking(args: Args) -> Result<(), AdminError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(AdminError::Output)?;
    let mut out = std::io::stdout().lock();
    runtime.block_on(run(args, &mut std::io::stdin().lock(), &mut out))
}

/// Runs a command.
///
/// # Errors
/// [`AdminError`].
pub async fn run(
    args: Args,
    input: &mut impl std::io::Read,
    out: &mut impl Write,
) -> Result<(), AdminError> {
    run::run(args, input, out).await
}
