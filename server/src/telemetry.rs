//! Logs.
//!
//! Invariant: logs go to standard error, so that standard output stays for what a program may read
//! (the address, the one-time password's absence). Secrets never get here: types that hold them print
//! as `***`.

use crate::config::LogFormat;
use tracing_subscriber::EnvFilter;

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter does not parse.
    #[error("log.filter {0:?} is not a filter; try info or standpipe_server=debug")]
    Filter(String),
    /// There is a subscriber already.
    #[error("logging was set up twice")]
    Twice,
}

/// Sends logs to standard error.
///
/// # Errors
/// [`TelemetryError`].
pub fn init(filter: &str, format: LogFormat) -> Result<(), TelemetryError> {
    let parsed =
        EnvFilter::try_new(filter).map_err(|_| TelemetryError::Filter(filter.to_owned()))?;
    let builder = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(std::io::stderr);
    let set = match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.with_ansi(false).try_init(),
    };
    set.map_err(|_| TelemetryError::Twice)
}
