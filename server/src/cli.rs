//! The command line.
//!
//! Invariant: every command returns a [`Failure`] with words for the person at the keyboard; only
//! `main` turns it into an exit code.

pub mod admin;
mod certificates;
mod descriptors;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod health;
mod maintenance;
mod serve;

use crate::config::{self, ConfigError, Flags};
use crate::registry::verify::VerifyOptions;
use crate::telemetry;
use clap::{Args, Parser, Subcommand};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Standpipe's server: a self-hosted container registry with workspaces, repositories and roles.
#[derive(Debug, Parser)]
#[command(name = "standpipe-server", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the registry
    ///
    /// Needs no configuration: data goes to ./standpipe-data, and it listens on 127.0.0.1:5000. The
    /// first start prints a one-time password for the user `admin`, unless STANDPIPE_ADMIN_PASSWORD or
    /// STANDPIPE_ADMIN_PASSWORD_FILE is set.
    Serve(ServeArgs),
    /// Read all settings, say what is wrong, and print what would be used
    CheckConfig(ServeArgs),
    /// Ask the server that runs with these settings whether it is ready
    ///
    /// Exits with 0 if it is, else with 1 and the reason. For health checks; containers of the server's
    /// image have one that does this.
    Health(ServeArgs),
    /// Hold all rows against each other and every object against its digest
    ///
    /// Works on a data directory that no server runs on; for a running server there is `admin verify`.
    /// Nothing is deleted. A blob whose object is damaged or missing is marked, so that the next push of
    /// it heals it. Exits with 1 if something is wrong, and says what to do.
    Verify(VerifyArgs),
    /// Copy a data directory to another place
    ///
    /// For a directory that no server runs on; for a running server there is `admin backup`. The copy is a
    /// data directory by itself. Into the same place again, only what is new is copied.
    Backup {
        /// Settings
        #[command(flatten)]
        settings: ServeArgs,
        /// Where to; an empty directory, or one with an earlier backup
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
    /// Make a new data directory from a backup, hashing every object
    Restore {
        /// Settings
        #[command(flatten)]
        settings: ServeArgs,
        /// The backup
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
    },
    /// Administer a running server over its REST API
    Admin(admin::Args),
}

/// Where settings come from: defaults, then the file, then STANDPIPE_… variables, then these flags.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Settings file in YAML; examples/server.yaml explains every key
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where everything is kept [default: ./standpipe-data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where to listen [default: 127.0.0.1:5000]; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
}

impl ServeArgs {
    fn flags(self) -> Flags {
        Flags { config: self.config, data_dir: self.data_dir, listen: self.listen }
    }
}

/// What to verify, and how fast.
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    #[command(flatten)]
    settings: ServeArgs,
    /// Read at most so many bytes per second
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// Go on where the last run stopped
    #[arg(long)]
    resume: bool,
}

/// Why a command did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The administration command.
    #[error(transparent)]
    Admin(#[from] admin::AdminError),
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The server is not well.
    #[error(transparent)]
    Health(#[from] health::HealthError),
    /// Verification, backup or restoring.
    #[error(transparent)]
    Maintenance(#[from] maintenance::MaintenanceError),
    /// Standard output is gone.
    #[error("standard output cannot be written")]
    Output(#[source] std::io::Error),
    /// Logging.
    #[error(transparent)]
    Telemetry(#[from] telemetry::TelemetryError),
    /// The server.
    #[error(transparent)]
    Serve(#[from] serve::ServeError),
}

/// Runs a command to its end.
///
/// # Errors
/// [`Failure`].
pub fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Serve(args) => Ok(serve::run(config::load(&args.flags())?)?),
        Command::CheckConfig(args) => check_config(&args.flags()),
        Command::Health(args) => Ok(health::run(&config::load(&args.flags())?.config)?),
        Command::Verify(VerifyArgs { settings, rate, resume }) => {
            let options = VerifyOptions { bytes_per_second: rate, resume };
            Ok(maintenance::verify(quiet(&settings.flags())?, options)?)
        }
        Command::Backup { settings, to } => Ok(maintenance::backup(quiet(&settings.flags())?, to)?),
        Command::Restore { settings, from } => {
            Ok(maintenance::restore(quiet(&settings.flags())?, from)?)
        }
        Command::Admin(args) => Ok(admin::run_blocking(args)?),
    }
}

/// Settings for a command that talks to a person: warnings and errors are logged, the rest is said.
fn quiet(flags: &Flags) -> Result<config::Config, Failure> {
    let config = config::load(flags)?.config;
    telemetry::init("warn", config.log.format)?;
    Ok(config)
}

fn check_config(flags: &Flags) -> Result<(), Failure> {
    let loaded = config::load(flags)?;
    // Serializing plain settings cannot fail; if it ever does, it is said in the same place.
    let text = serde_yaml::to_string(&loaded.config).unwrap_or_else(|error| format!("# {error}\n"));
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(Failure::Output)
}
