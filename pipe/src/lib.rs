//! A pipe: pushes the container image that a Bitbucket Pipelines step has just built.
//!
//! The path of a push: [`config`] reads the variables, `source` finds the image in the Docker
//! daemon or in an archive and reads it, into the `spool` where it cannot stay where it is, `plan` puts things in order, `push` sends them through
//! `client`, [`output`] tells. Everything is in memory-sized pieces; layers are never whole in
//! memory.
//! Invariant: the spool directory is gone when [`run`] returns, also on errors and signals.

mod annotate;
mod client;
mod compress;
pub mod config;
pub mod error;
mod existing;
pub mod flags;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod image;
mod known;
pub mod output;
mod plan;
mod progress;
mod push;
mod recall;
mod report;
pub mod secret;
mod source;
mod spool;
pub mod variables;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::time::Instant;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::task::TaskTracker;

pub use self::report::{Outcome, PushedBlob, PushedTag, Report};

use self::client::Registry;
use self::config::{Config, IfTagExists, Mode, Tag};
use self::error::{Error, Failure};
use self::existing::Existing;
use self::image::{Blob, Image};
use self::output::{Output, megabytes};
use self::plan::Plan;
use self::progress::Progress;
use self::source::{Selected, Source};
use self::spool::Spool;

pub use self::image::Digest;
pub use self::source::{forward, probe};

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
    let tasks = TaskTracker::new();
    let result = runtime.block_on(async {
        tokio::select! {
            biased;
            name = stopped => Err(Error::Unexpected(Failure::new(format!("stopped by {name}")))),
            result = push(config, output, &spool, &tasks) => result,
        }
    });
    // What was only lent by the daemon is given back, however the push ended.
    tasks.close();
    let given_back = runtime.block_on(async { tokio::time::timeout(SHUTDOWN, tasks.wait()).await });
    if given_back.is_err() {
        tracing::warn!("the Docker daemon may have kept a name that was needed for a moment");
    }
    // Blocking work notices that nobody reads any more; it must not write into a directory
    // that is being removed.
    runtime.shutdown_timeout(SHUTDOWN);
    if let Some(spool) = Arc::into_inner(spool) {
        spool.close();
    }
    let report = result?;
    report.pass_on(config);
    report.references().for_each(|reference| output.result(reference));
    Ok(report)
}

/// Writes the last lines and chooses the exit code.
pub fn conclude(result: Result<Report, Error>, output: &mut Output) -> ExitCode {
    match result {
        Ok(report) => {
            output.success(&report.summary());
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

async fn push(
    config: &Config,
    output: &Output,
    spool: &Arc<Spool>,
    tasks: &TaskTracker,
) -> Result<Report, Error> {
    let started = Instant::now();
    config.notes.iter().for_each(|note| tracing::warn!("{note}"));
    let source = Source::open(config, spool, tasks).await?;
    let mut selected = source.select(config, spool).await?;
    // Before the image is read: a login that fails should fail at once.
    let wanted: Vec<_> = selected.iter().filter_map(Selected::wanted).collect();
    let sources = recall::sources(config, wanted.iter());
    let registry = Registry::connect(config, &sources, output.mask()).await?;
    let tags = selected.iter().flat_map(|image| &image.tags);
    let existing = Existing::look(config, &registry, tags).await?;
    let name = registry.name();
    let mut report =
        Report { mode: config.options.mode, dry_run: config.options.dry_run, ..Report::new(&name) };
    for image in &mut selected {
        report.references.extend(existing.skip(config, &name, &mut image.tags));
    }
    selected.retain(|image| !image.tags.is_empty());
    if config.options.mode == Mode::Daemon {
        for image in &selected {
            report.references.extend(source.push(image, config, &registry, &existing).await?);
        }
    } else if !selected.is_empty() {
        let push =
            Direct { source: &source, config, registry: &registry, existing: &existing, spool };
        push.images(selected, &mut report).await?;
        if let Some(savings) = report.savings(started.elapsed()) {
            tracing::info!("{savings}");
        }
    }
    report.seconds = started.elapsed().as_secs();
    report.retries = registry.retries();
    Ok(report)
}

/// A push by ourselves.
#[derive(Debug, Clone, Copy)]
struct Direct<'a> {
    source: &'a Source,
    config: &'a Config,
    registry: &'a Registry,
    existing: &'a Existing,
    spool: &'a Arc<Spool>,
}

impl Direct<'_> {
    async fn images(self, mut selected: Vec<Selected>, report: &mut Report) -> Result<(), Error> {
        for image in &mut selected {
            if let Some(wanted) = image.wanted() {
                let Self { registry, config, spool, .. } = self;
                let known = recall::recall(registry, config, &wanted, &image.tags, spool).await?;
                if known.count(&wanted.diff_ids) == wanted.diff_ids.len() {
                    image.spooled = 0;
                }
                image.known = Arc::new(known);
            } else if let Some((digest, platform)) = image.stored() {
                image.whole = recall::stored(self.registry, self.config, &digest, platform).await;
            }
        }
        let tags = report.references.len();
        let result = self.once(&selected, report).await;
        if result.is_err()
            && self.registry.has_lost_something()
            && selected.iter().any(|image| !image.known.is_empty() || image.whole.is_some())
        {
            // It was collected between the question and the manifest, or the registry was wrong.
            tracing::warn!("the registry does not have what it named before: sending everything");
            for image in &mut selected {
                (image.known, image.whole) = (Arc::default(), None);
            }
            report.references.truncate(tags);
            return self.once(&selected, report).await;
        }
        result
    }

    async fn once(self, selected: &[Selected], report: &mut Report) -> Result<(), Error> {
        let Self { source, config, registry, existing, spool } = self;
        let parallel = config.transfer.parallel;
        // What may turn out not to be wanted is not sent before that is known.
        let may_send = !config.options.dry_run && config.options.if_tag_exists != IfTagExists::Fail;
        let (ready, arriving) = mpsc::unbounded_channel();
        let reading = read_all(source, selected, config, spool, may_send.then_some(ready));
        let sending = push::as_they_come(arriving, registry, parallel);
        let (images, early) = tokio::try_join!(reading, sending)?;
        for (image, tags) in &images {
            for tag in tags {
                let outcome = existing.judge(config, tag, &image.manifest.digest)?;
                let digest = image.manifest.digest.as_str();
                report.references.push(PushedTag {
                    image_id: image.id.clone(),
                    platform: image.platform(),
                    ..existing::pushed(&report.name, tag, digest, outcome)
                });
            }
        }
        let plan = Plan::new(&images);
        let done = match config.options.dry_run {
            true => push::rehearse(&plan, registry, parallel).await?,
            false => push::run(&plan, registry, parallel, early).await?,
        };
        report.add(done);
        Ok(())
    }
}

async fn read_all(
    source: &Source,
    selected: &[Selected],
    config: &Config,
    spool: &Arc<Spool>,
    ready: Option<UnboundedSender<Blob>>,
) -> Result<Vec<(Image, Vec<Tag>)>, Error> {
    let to_read = selected.iter().filter(|image| image.whole.is_none());
    spool.expect(to_read.fold(0, |sum, image| sum.saturating_add(image.spooled)))?;
    let mut images = Vec::new();
    for one in selected {
        let mut image = match &one.whole {
            Some(whole) => {
                tracing::info!("image {}: nothing had to be read", one.name);
                whole.clone()
            }
            None => read(source, one, config, spool, ready.clone()).await?,
        };
        annotate(&mut image, config)?;
        images.push((image, one.tags.clone()));
    }
    Ok(images)
}

/// Writes the annotations of the configuration onto what goes under the tags.
fn annotate(image: &mut Image, config: &Config) -> Result<(), Error> {
    let mut annotations = config.options.annotations.clone();
    if config.options.provenance
        && let Some(created) = image.created()
    {
        annotations.entry(CREATED.to_owned()).or_insert(created);
    }
    if annotations.is_empty() {
        return Ok(());
    }
    image.manifest = annotate::annotate(&image.manifest, &annotations).map_err(|error| {
        Error::Source(Failure::new(format!("the manifest takes no annotations: {error}")))
    })?;
    Ok(())
}

async fn read(
    source: &Source,
    selected: &Selected,
    config: &Config,
    spool: &Arc<Spool>,
    ready: Option<UnboundedSender<Blob>>,
) -> Result<Image, Error> {
    let progress = Progress::default();
    tracing::info!("reading image {} from {}", selected.name, source.label());
    let reading = source.read(selected, config, spool, &progress, ready);
    let image = progress.watch("read", Some(selected.size), reading).await?;
    let files = image.layers.iter().filter_map(Blob::file);
    let packed = files.fold(0_u64, |sum, file| sum.saturating_add(file.size));
    match progress.moved() {
        0 => tracing::info!("image {}: nothing had to be read", selected.name),
        _ => tracing::info!("image {} read: {} compressed", selected.name, megabytes(packed)),
    }
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

/// image-spec, annotations.md: when the image was built.
const CREATED: &str = "org.opencontainers.image.created";
const SHUTDOWN: Duration = Duration::from_secs(10);
