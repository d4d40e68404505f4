//! Work beside the requests.
//!
//! Invariant: a task takes no input, can run again at any time, never runs twice at once, and calls
//! the same verbs as everybody else. It ends when told to.

mod audit;

pub use audit::AuditSettings;

use crate::auth::Authenticator;
use crate::clock::Stopwatch;
use crate::registry::Registry;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// How often counted pulls are written.
const PULLS_EVERY: Duration = Duration::from_secs(5);

/// How often logins are written to the audit log, and the last use of tokens.
const LOGINS_EVERY: Duration = Duration::from_secs(60);

/// How long the audit log may take to be written out when the server stops.
const LAST_LINES: Duration = Duration::from_secs(10);

/// How often collection looks whether something is due.
const COLLECT_EVERY: Duration = Duration::from_millis(500);
/// How long collection waits after a failure of the storage.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// The running tasks.
#[derive(Debug)]
pub struct Tasks {
    running: JoinSet<()>,
    stop: watch::Sender<bool>,
    registry: Registry,
    auth: Authenticator,
    audit: AuditSettings,
    /// Ends by itself between two rounds, so that no line is written twice for an orderly stop.
    writing_audit: JoinHandle<()>,
}

impl Tasks {
    /// Starts all tasks. The sweep after an unclean stop is awaited for a moment, because on most
    /// machines it is done in that moment; a large store's goes on beside the service.
    pub async fn start(
        registry: Registry,
        auth: Authenticator,
        audit: AuditSettings,
        wait_for_sweep: Duration,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut running = JoinSet::new();
        running.spawn(write_pulls(registry.clone(), stopped.clone()));
        running.spawn(write_logins(auth.clone(), stopped.clone()));
        let keeping = audit::keep(registry.clone(), audit.clone(), stopped.clone());
        let writing_audit = tokio::spawn(keeping);
        running.spawn(collect(registry.clone(), stopped));
        let (done, swept) = tokio::sync::oneshot::channel();
        let sweeping = registry.clone();
        running.spawn(async move {
            sweep(sweeping).await;
            // Nobody may be waiting any more.
            let _: Result<(), ()> = done.send(());
        });
        if tokio::time::timeout(wait_for_sweep, swept).await.is_err() {
            tracing::info!("the sweep of the blob store goes on in the background");
        }
        Self { running, stop, registry, auth, audit, writing_audit }
    }

    /// Ends all tasks and writes what was counted.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        self.running.shutdown().await;
        if tokio::time::timeout(LAST_LINES, &mut self.writing_audit).await.is_err() {
            self.writing_audit.abort();
        }
        if let Err(error) = self.registry.write_pulls().await {
            tracing::warn!(error = %error, "the last pull counts were not written");
        }
        if let Err(error) = self.auth.write_logins().await {
            tracing::warn!(error = %error, "the last summaries of logins were not written");
        }
        if let Err(error) = audit::once(&self.registry, &self.audit, false).await {
            tracing::warn!(error = %error, "the end of the audit log was not written out");
        }
    }
}

async fn write_pulls(registry: Registry, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stopped.changed() => return,
            () = tokio::time::sleep(PULLS_EVERY) => {}
        }
        if let Err(error) = registry.write_pulls().await {
            tracing::warn!(error = %error, "pull counts were not written");
        }
    }
}

async fn write_logins(auth: Authenticator, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stopped.changed() => return,
            () = tokio::time::sleep(LOGINS_EVERY) => {}
        }
        if let Err(error) = auth.write_logins().await {
            tracing::warn!(error = %error, "summaries of logins were not written");
        }
    }
}

/// Collects what is due, for ever. Rests twice as long as it kept the writer of the metadata busy, so
/// that pushes are not starved, unless the disk is filling up.
async fn collect(registry: Registry, mut stopped: watch::Receiver<bool>) {
    let mut caps_seen = false;
    loop {
        let outcome = async {
            if !caps_seen {
                registry.enforce_all_caps().await?;
                caps_seen = true;
            }
            registry.collect().await
        };
        let pause = match outcome.await {
            Ok(round) if round.more && registry.is_short_of_space() => Duration::ZERO,
            Ok(round) if round.more => round.stepping * 2,
            Ok(_) => COLLECT_EVERY,
            Err(error) => {
                tracing::error!(error = ?error, "collection failed and is tried again: {error}");
                AFTER_FAILURE
            }
        };
        tokio::select! {
            _ = stopped.changed() => return,
            () = registry.wait_for_collection(pause) => {}
        }
    }
}

async fn sweep(registry: Registry) {
    let watch = Stopwatch::start();
    match registry.sweep().await {
        Ok(report) => tracing::info!(
            set_aside = report.set_aside,
            milliseconds = watch.elapsed().as_millis(),
            "swept the blob store: {} objects without a row set aside",
            report.set_aside,
        ),
        Err(error) => tracing::error!(error = %error, "the sweep of the blob store failed"),
    }
}
