//! `standpipe-server`: arguments in, exit code out.

use clap::Parser as _;
use standpipe_server::cli::{self, Cli};
use standpipe_server::http::error::chain;
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    // One provider for everything that speaks TLS or signs; a second call would only say so.
    let _: Result<(), _> = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match cli::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // If standard error is gone, the exit code still tells.
            let _: std::io::Result<()> =
                writeln!(std::io::stderr().lock(), "standpipe-server: {}", chain(&failure));
            ExitCode::FAILURE
        }
    }
}
