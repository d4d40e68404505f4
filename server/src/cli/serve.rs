//! `serve`: from settings to a running server and back.
//!
//! Invariant: the directory is held before anything in it is touched, what an unclean stop left is
//! settled before the port is open, and on the way out requests in flight end first, unless it is told
//! to stop a second time.

use super::certificates::{Certificates, TlsError};
use super::descriptors::Descriptors;
use crate::app::{App, HttpSettings};
use crate::auth::{AuthError, AuthSettings, Authenticator, IssuerSettings, OidcAlgorithm, Secret};
use crate::blobs::BlobError;
use crate::blobs::fs::files::SystemFiles;
use crate::blobs::fs::{BLOCKING_THREADS, FsBlobStore};
use crate::blobs::space::{Marks, SpaceWatch};
use crate::clock::{Clock, Stopwatch};
use crate::config::oidc::{Issuer, SigningAlgorithm};
use crate::config::{Config, Loaded};
use crate::data_dir::{DataDir, DataDirError};
use crate::domain::ClaimNames;
use crate::http::pace::Pace;
use crate::http::serve::{ServeOptions, serve};
use crate::metadata::redb::{OpenError, RedbOptions, RedbStore};
use crate::registry::startup::Mismatch;
use crate::registry::{Limits, Registry, RegistryError};
use crate::tasks::{AuditSettings, Tasks};
use crate::telemetry::{self, TelemetryError};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// Polls of tasks between two looks at the network.
const EVENT_INTERVAL: u32 = 4;

/// How long a start waits for the sweep before it opens the port.
const WAIT_FOR_SWEEP: Duration = Duration::from_secs(1);

/// Why the server did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Accounts cannot be opened.
    #[error("accounts: {0}")]
    Auth(#[from] AuthError),
    /// Blobs cannot be opened.
    #[error("blobs: {0}")]
    Blobs(#[from] BlobError),
    /// The database's pages are damaged so that opening it panicked.
    #[error(
        "the database is damaged and cannot be opened; restore the data directory from a backup"
    )]
    DamagedDatabase,
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The database is not for this server, or not for it alone.
    #[error(transparent)]
    Database(OpenError),
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's words.
        #[source]
        source: std::io::Error,
    },
    /// The two stores do not belong together.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// Recovery failed.
    #[error("recovery after the last stop failed: {0}")]
    Recovery(#[from] RegistryError),
    /// It was told to stop a second time while it let requests end.
    #[error("stopped at once, as a second signal asked; requests in flight were cut off")]
    StoppedAtOnce,
    /// The runtime or the network failed.
    #[error(transparent)]
    System(#[from] std::io::Error),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Logging.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The database cannot be read.
    #[error(
        "the database cannot be used; if it is damaged, restore the data directory from a backup"
    )]
    UnreadableDatabase(#[source] OpenError),
}

impl From<OpenError> for ServeError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Empty(_) | OpenError::InUse(_) | OpenError::NewerFormat { .. } => {
                Self::Database(error)
            }
            OpenError::Database { .. } | OpenError::Read(_) => Self::UnreadableDatabase(error),
        }
    }
}

/// Serves until told to stop.
///
/// # Errors
/// [`ServeError`].
pub(super) fn run(loaded: Loaded) -> Result<(), ServeError> {
    telemetry::init(&loaded.config.log.filter, loaded.config.log.format)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(BLOCKING_THREADS)
        // A worker that always has something to do looks for new requests only now and then; with
        // tokio's 61 polls in between, each of which may copy most of a megabyte of an upload, somebody
        // who wants a manifest waits for tens of milliseconds.
        .event_interval(EVENT_INTERVAL)
        .global_queue_interval(EVENT_INTERVAL)
        .enable_all()
        .build()?;
    let ended = runtime.block_on(start(loaded));
    if matches!(ended, Err(ServeError::StoppedAtOnce)) {
        // Else the runtime waits for the files that are being synced.
        runtime.shutdown_background();
    }
    ended
}

async fn start(loaded: Loaded) -> Result<(), ServeError> {
    let watch = Stopwatch::start();
    let config = loaded.config;
    let directory = DataDir::hold(&config.data_dir)?;
    let clock = Clock::system();
    let descriptors = Descriptors::of_process(config.http.most_connections);
    let registry = open_registry(&config, &directory, clock, descriptors.files).await?;
    // What is pushed from here on must not be overwritten by a backup into this directory.
    directory.forget_note()?;
    let settings = AuthSettings {
        service: config.tokens.service.clone(),
        token_seconds: config.tokens.lifetime_seconds,
        issuers: config.oidc.issuers.iter().map(issuer).collect(),
    };
    let auth = Authenticator::open(registry.clone(), settings).await?;
    if let Some(password) = auth.ensure_admin(loaded.admin_password.map(Secret::new)).await? {
        let mut out = std::io::stderr().lock();
        writeln!(
            out,
            "\nFirst start: log in as admin with the one-time password\n\n    {}\n\nIt is not shown again. Change it with: standpipe-server admin user password admin\n",
            password.expose()
        )?;
    }
    let listener = TcpListener::bind(config.listen)
        .map_err(|source| ServeError::Listen { address: config.listen, source })?;
    let address = listener.local_addr()?;
    let http = http_settings(&config, address);
    let certificates = config.tls.files().map(|files| Certificates::open(&files)).transpose()?;
    let tls = certificates.as_ref().map(Certificates::tls);
    let url = format!("{}://{address}", if tls.is_some() { "https" } else { "http" });
    let (requests, stopping) = Default::default();
    let app =
        Arc::new(App { registry: registry.clone(), auth: auth.clone(), http, requests, stopping });
    let audit = AuditSettings {
        file: config.audit.file.clone(),
        log: config.audit.log,
        keep: Duration::from_secs(config.audit.keep_days * 24 * 3600),
    };
    let watching = certificates.map(|certificates| tokio::spawn(certificates.watch()));
    let tasks = Tasks::start(registry, auth, audit, WAIT_FOR_SWEEP).await;
    // Before anybody is told that the server is there: a signal that comes first would kill it.
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    directory.announce(&url)?;
    writeln!(std::io::stdout().lock(), "listening on {url}")?;
    tracing::info!(%address, milliseconds = watch.elapsed().as_millis(), "ready on {url}");
    let (stop, stopped) = oneshot::channel();
    let shutdown = async {
        // The other end is held until the process ends.
        let _: Result<(), _> = stopped.await;
    };
    let served = tokio::select! {
        served = serve(listener, app, options(&config, descriptors), tls.as_ref(), shutdown) => served,
        () = stop_signals(signals, stop) => return Err(ServeError::StoppedAtOnce),
    };
    if let Some(watching) = watching {
        watching.abort();
    }
    tasks.stop().await;
    tracing::info!("stopped");
    Ok(served?)
}

async fn open_registry(
    config: &Config,
    directory: &DataDir,
    clock: Clock,
    files_held: usize,
) -> Result<Registry, ServeError> {
    let registry = open_stores(config, directory, clock, files_held).await?;
    registry.check_identity().await?;
    let report = registry.recover_uploads().await?;
    if report.uploads_removed + report.uploads_forgotten > 0 {
        tracing::info!(
            removed = report.uploads_removed,
            forgotten = report.uploads_forgotten,
            "settled uploads of the last run"
        );
    }
    Ok(registry)
}

/// Opens the two stores of a directory as they are; requests hold at most so many files at once.
pub(super) async fn open_stores(
    config: &Config,
    directory: &DataDir,
    clock: Clock,
    files_held: usize,
) -> Result<Registry, ServeError> {
    let options = RedbOptions { cache_bytes: config.database.cache_bytes };
    let (path, database_clock) = (directory.database(), clock.clone());
    // redb may panic on a file that something else has damaged; that is a message, not a trace.
    let opened =
        tokio::task::spawn_blocking(move || RedbStore::open(&path, options, database_clock));
    let metadata = opened.await.map_err(|_| ServeError::DamagedDatabase)??;
    let blobs = FsBlobStore::open_within(directory.path(), clock.clone(), SystemFiles, files_held)?;
    let marks = Marks {
        soft: config.space.soft_bytes,
        hard: config.space.hard_bytes,
        ballast: config.space.ballast_bytes,
    };
    let space = SpaceWatch::start(directory.path(), marks, clock.clone())?;
    let limits = Limits {
        manifest_bytes: config.limits.manifest_bytes,
        manifest_descriptors: config.limits.manifest_descriptors,
        blob_bytes: config.limits.blob_bytes,
        upload_duration: config.limits.upload_seconds.map(Duration::from_secs),
        rehash_after: Duration::from_secs(config.limits.rehash_seconds),
    };
    Ok(Registry::new(Arc::new(metadata), Arc::new(blobs), clock, limits, Some(space)))
}

fn issuer(issuer: &Issuer) -> IssuerSettings {
    let algorithm = |algorithm: &SigningAlgorithm| match algorithm {
        SigningAlgorithm::Es256 => OidcAlgorithm::Es256,
        SigningAlgorithm::Es384 => OidcAlgorithm::Es384,
        SigningAlgorithm::Ps256 => OidcAlgorithm::Ps256,
        SigningAlgorithm::Rs256 => OidcAlgorithm::Rs256,
    };
    let names = issuer.claims.clone();
    IssuerSettings {
        issuer: issuer.issuer.clone(),
        audiences: issuer.audiences.clone(),
        jwks_uri: issuer.jwks_uri.clone(),
        algorithms: issuer.algorithms.iter().map(algorithm).collect(),
        claims: ClaimNames {
            repository: names.repository,
            branch: names.branch,
            environment: names.environment,
            pipeline: names.pipeline,
            commit: names.commit,
            build: names.build,
        },
    }
}

fn http_settings(config: &Config, address: SocketAddr) -> HttpSettings {
    let loopback = address.ip().is_loopback();
    if config.public_url.is_none() && !loopback {
        tracing::warn!(
            "public_url is not set and the server listens beyond this machine: clients are asked for Basic credentials instead of tokens; set public_url to the address they use"
        );
    }
    let tls = config.tls.files().is_some();
    if config.public_url.is_some() && config.http.trusted_proxies.is_none() && !tls {
        tracing::warn!(
            "http.trusted_proxies is not set: if a proxy stands in front, guesses of passwords are limited for each account, but not for each client; list the proxy, or [] if there is none"
        );
    }
    HttpSettings {
        public_url: config.public_url.clone(),
        loopback,
        port: address.port(),
        tls,
        trusted_proxies: config.http.trusted_proxies.clone(),
        public_metrics: config.metrics.public,
        backup_directory: config.backup.directory.clone(),
        short_delays: config.unsafe_short_delays,
    }
}

fn options(config: &Config, descriptors: Descriptors) -> ServeOptions {
    ServeOptions {
        pace: Pace {
            patience: Duration::from_secs(config.http.idle_body_seconds),
            bytes_per_second: config.http.minimum_bytes_per_second,
        },
        head: Duration::from_secs(config.http.head_seconds),
        most_connections: descriptors.connections,
        most_connections_of_a_source: config.http.most_connections_per_source,
        notice: Duration::from_secs(config.http.notice_seconds),
        drain: Duration::from_secs(config.http.drain_seconds),
    }
}

/// Those that ask the server to stop: SIGTERM and SIGINT.
type Signals = (std::io::Result<Signal>, std::io::Result<Signal>);

/// Passes on when the process is told to stop, and ends when it is told so again. Crashing is always
/// safe here, so whoever has no time for requests in flight may cut them off.
async fn stop_signals(signals: Signals, stop: oneshot::Sender<()>) {
    match signals {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            one_of(&mut terminate, &mut interrupt).await;
            tracing::info!(
                "asked to stop; waiting for requests in flight; a second signal cuts them off"
            );
            // Serving may have failed meanwhile.
            let _: Result<(), ()> = stop.send(());
            one_of(&mut terminate, &mut interrupt).await;
        }
        // Without signals there is nothing to wait for; the process is ended from outside.
        _ => std::future::pending().await,
    }
}

async fn one_of(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
