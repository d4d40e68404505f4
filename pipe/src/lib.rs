//! A pipe: pushes the container image that a Bitbucket Pipelines step has just built.
//!
//! The path of a push: [`config`] reads the variables, `source` finds the image in the Docker
//! daemon or in an archive and reads it, into the `spool` where it cannot stay where it is, `plan` puts things in order, `push` sends them through
//! `client`, [`output`] tells. Everything is in memory-sized pieces; layers are never whole in
//! memory.
//! Invariant: the spool directory is gone when [`run`] returns, also on errors and signals.

mod client;
mod compress;
pub mod config;
pub mod error;
mod image;
pub mod output;
mod plan;
mod progress;
mod push;
mod report;
pub mod secret;
mod source;
mod spool;
pub mod variables;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

pub use self::report::{PushedTag, Report};

use self::client::Registry;
use self::config::Config;
use self::error::{Error, Failure};
use self::image::Image;
use self::output::{Output, megabytes};
use self::plan::Plan;
use self::progress::Progress;
use self::source::{Selected, Source};
use self::spool::Spool;

pub use self::image::Digest;
pub use self::source::probe;

/// Pushes what `config` asks for and writes the references to `output`.
///
/// # Errors
/// Whatever stopped the push; [`Error::exit_code`] sorts it. SIGTERM and SIGINT stop it too.
pub fn run(config: &Config, output: &mut Output) -> Result<Report, Error> {
    if let Some(credentials) = &config.credentials {
        output.mask().hide_login(&credentials.username, &credentials.password);
    }
    let runtime = runtime()?;
    // Before there is anything to remove: a signal must not find the spool without a listener.
    let stopped = runtime.block_on(async { listen_for_signals() })?;
    let spool = Arc::new(Spool::create(&config.spool_parent)?);
    let result = runtime.block_on(async {
        tokio::select! {
            biased;
            name = stopped => Err(Error::Unexpected(Failure::new(format!("stopped by {name}")))),
            result = push(config, output, &spool) => result,
        }
    });
    // Blocking work notices that nobody reads any more; it must not write into a directory
    // that is being removed.
    runtime.shutdown_timeout(SHUTDOWN);
    if let Some(spool) = Arc::into_inner(spool) {
        spool.close();
    }
    let report = result?;
    if let Some(path) = &config.variables_path {
        report.pass_on(path);
    }
    report.references().for_each(|reference| output.result(&reference));
    Ok(report)
}

/// Writes the last lines and chooses the exit code.
pub fn conclude(result: Result<Report, Error>, output: &mut Output) -> ExitCode {
    match result {
        Ok(report) => {
            let tags = report.references.len();
            let sent = megabytes(report.bytes);
            let plural = if tags == 1 { "tag" } else { "tags" };
            output.success(&format!("{} pushed with {tags} {plural}, {sent} sent", report.name));
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!("{error}");
            for hint in error.hints() {
                tracing::error!("  {hint}");
            }
            output.failure(&error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}

async fn push(config: &Config, output: &Output, spool: &Arc<Spool>) -> Result<Report, Error> {
    let source = Source::open(config, spool).await?;
    let selected = source.select(config, spool).await?;
    // Before the image is read: a login that fails should fail at once.
    let registry = Registry::connect(config, output.mask()).await?;
    spool.expect(selected.iter().fold(0, |sum, image| sum.saturating_add(image.spooled)))?;
    let mut images = Vec::new();
    for one in selected {
        let image = read(&source, &one, config, spool).await?;
        images.push((image, one.tags));
    }
    let plan = Plan::new(&images);
    let pushed = push::run(&plan, &registry, config.transfer.parallel).await?;
    let references = images.iter().flat_map(|(image, tags)| {
        tags.iter().map(|tag| PushedTag {
            tag: tag.clone(),
            digest: image.manifest.digest.clone(),
            image_id: image.id.clone(),
        })
    });
    Ok(Report {
        references: references.collect(),
        blobs: pushed.blobs,
        bytes: pushed.bytes,
        name: registry.name(),
    })
}

async fn read(
    source: &Source,
    selected: &Selected,
    config: &Config,
    spool: &Arc<Spool>,
) -> Result<Image, Error> {
    let progress = Progress::default();
    tracing::info!("reading image {}", selected.name);
    let reading = source.read(selected, &config.platforms, spool, &progress);
    let image = progress.watch("read", selected.size, reading).await?;
    let packed = image.layers.iter().fold(0_u64, |sum, layer| sum.saturating_add(layer.file.size));
    tracing::info!("image {} read: {} compressed", selected.name, megabytes(packed));
    if image.platforms.len() > 1 {
        tracing::info!("platforms: {}", image.platforms.join(", "));
    }
    Ok(image)
}

/// Listens from now on for signals that ask the process to end; the result names the first.
fn listen_for_signals() -> Result<impl Future<Output = &'static str>, Error> {
    let listen = |kind| signal(kind).map_err(|error| Error::local("listen for signals", &error));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

fn runtime() -> Result<Runtime, Error> {
    // Two workers: the work is waiting for the network; hashing and compressing have threads of
    // their own.
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all();
    builder.build().map_err(|error| Error::local("start", &error))
}

const SHUTDOWN: Duration = Duration::from_secs(10);
