//! The process: variables in, exit code out, nothing else.

use std::process::ExitCode;

use clap::Command;
use standpipe_pipe::config::Config;
use standpipe_pipe::output::{Log, Output};
use standpipe_pipe::secret::Mask;
use standpipe_pipe::{conclude, variables};

fn main() -> ExitCode {
    // Fails only if a provider is installed already, and this is the first statement.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let command = Command::new("standpipe-pipe").version(env!("CARGO_PKG_VERSION"));
    command.override_help(variables::help()).get_matches();
    let (style, config) = Config::from_process();
    let mask = Mask::default();
    // Fails only if there is a log already, and there is none.
    let _ = tracing::subscriber::set_global_default(Log::stderr(style, mask.clone()));
    let mut output = Output::new(Box::new(std::io::stdout()), style, mask);
    let result = config.and_then(|config| standpipe_pipe::run(&config, &mut output));
    conclude(result, &mut output)
}
