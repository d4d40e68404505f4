//! The process: variables in, exit code out, nothing else.

use std::process::ExitCode;

use standpipe_pipe::config::Config;
use standpipe_pipe::output::{Log, Output};
use standpipe_pipe::secret::Mask;
use standpipe_pipe::{conclude, flags, forward};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == forward::COMMAND) {
        let target = arguments.next().unwrap_or_default();
        return match forward::run(&target.to_string_lossy()) {
            Ok(()) => ExitCode::SUCCESS,
            // Nobody reads what it would say; who started it sees that it is gone.
            Err(_) => ExitCode::FAILURE,
        };
    }
    // Fails only if a provider is installed already, and nothing that needs one was called.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let given = match flags::read(std::env::args_os(), &mut std::io::stdin()) {
        Ok(given) => given,
        // Writes help or what is wrong, and ends with 0 or 2.
        Err(error) => error.exit(),
    };
    let (style, config) = Config::from_process(given);
    let mask = Mask::default();
    // Fails only if there is a log already, and there is none.
    let _ = tracing::subscriber::set_global_default(Log::stderr(style, mask.clone()));
    let mut output = Output::new(Box::new(std::io::stdout()), style, mask);
    let result = config.and_then(|config| standpipe_pipe::run(&config, &mut output));
    conclude(result, &mut output)
}
