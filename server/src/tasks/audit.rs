//! Writing the audit log out: to a file and to the log, a JSON object a line.
//!
//! Invariant: a line is written after the commit of its change and at least once: how far the log was
//! written is noted after the lines are on disk, so a crash between the two repeats lines, each of
//! which has its event's id. The file is opened anew each time, so it can be moved away at any time.

use crate::domain::WorkspaceId;
use crate::metadata::AuditEvent;
use crate::registry::audit::AuditWritten;
use crate::registry::{Registry, RegistryError};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;

/// How often the log is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long to wait after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// How often old events are forgotten, in looks.
const FORGET_EVERY: u32 = 3600;
/// Events written at a time.
const AT_ONCE: usize = 500;

/// Where the audit log goes beside the database, and how long it stays there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// The file that lines are added to.
    pub file: Option<PathBuf>,
    /// Whether lines go to the server's log.
    pub log: bool,
    /// How long events stay in the database.
    pub keep: Duration,
}

impl AuditSettings {
    const fn writes(&self) -> bool {
        self.file.is_some() || self.log
    }
}

/// Why a line was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum AuditError {
    /// The file.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: std::io::Error,
    },
    /// The database.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// Writes out what is new and forgets what is old, for ever.
pub(super) async fn keep(
    registry: Registry,
    settings: AuditSettings,
    mut stopped: watch::Receiver<bool>,
) {
    let mut looks: u32 = 0;
    loop {
        let pause = match once(&registry, &settings, looks.is_multiple_of(FORGET_EVERY)).await {
            Ok(()) => LOOK_EVERY,
            Err(error) => {
                tracing::error!(error = %error, "the audit log was not written out and is tried again: {error}");
                AFTER_FAILURE
            }
        };
        looks = looks.wrapping_add(1);
        tokio::select! {
            _ = stopped.changed() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Writes out all that is new; forgets what is old if `forget`.
pub(super) async fn once(
    registry: &Registry,
    settings: &AuditSettings,
    forget: bool,
) -> Result<(), AuditError> {
    let written = if settings.writes() { Some(write(registry, settings).await?) } else { None };
    if forget {
        let before = registry.clock().now().minus(settings.keep);
        let forgotten = registry.forget_audit(before, written.as_ref()).await?;
        if forgotten > 0 {
            tracing::info!(forgotten, "{forgotten} events of the audit log were old and are gone");
        }
    }
    Ok(())
}

async fn write(registry: &Registry, settings: &AuditSettings) -> Result<AuditWritten, AuditError> {
    let mut written = registry.audit_written().await?;
    let mut slugs = HashMap::new();
    loop {
        let events = registry.audit_to_write(&written, AT_ONCE).await?;
        let Some(last) = events.last().map(|event| event.place) else { return Ok(written) };
        let mut lines = Vec::with_capacity(events.len());
        for event in events {
            let workspace = slug(registry, event.workspace, &mut slugs).await?;
            lines.push(line(event, workspace));
        }
        if let Some(path) = settings.file.clone() {
            append(path, &lines).await?;
        }
        for line in lines.iter().filter(|_| settings.log) {
            tracing::info!(target: "standpipe_server::audit", "{line}");
        }
        written = registry.note_audit_written(written, last).await?;
    }
}

async fn slug(
    registry: &Registry,
    id: Option<WorkspaceId>,
    known: &mut HashMap<WorkspaceId, Option<String>>,
) -> Result<Option<String>, RegistryError> {
    let Some(id) = id else { return Ok(None) };
    if let Some(found) = known.get(&id) {
        return Ok(found.clone());
    }
    let found = registry.workspace_slug(id).await?.map(|slug| slug.to_string());
    known.insert(id, found.clone());
    Ok(found)
}

async fn append(path: PathBuf, lines: &[String]) -> Result<(), AuditError> {
    let mut text = lines.join("\n");
    text.push('\n');
    let to = path.clone();
    let task = tokio::task::spawn_blocking(move || append_now(&to, text.as_bytes()));
    let outcome = task.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    outcome.map_err(|source| AuditError::File { path, source })
}

fn append_now(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    // Who may log in from where is nobody else's business.
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    let mut file = options.open(path)?;
    file.write_all(text)?;
    file.sync_data()
}

/// An event as a line. What is not known is left out.
fn line(event: AuditEvent, workspace: Option<String>) -> String {
    let mut fields = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value);
        }
    };
    let change = event.by.change;
    set("id", Some(event.place.to_string().into()));
    set("at", Some(event.by.at.to_string().into()));
    set("actor", Some(change.actor.into()));
    set("action", Some(event.action.into()));
    set("target", Some(event.target.into()));
    set("workspace", workspace.map(Value::from));
    let details = event.details.into_iter().map(|(name, value)| (name, value.into()));
    set("details", Some(Value::Object(details.collect())));
    set("credential", change.credential.map(Value::from));
    set("request_id", Some(change.request_id.into()));
    set("user_agent", change.origin.user_agent.map(Value::from));
    set("pipeline", change.origin.pipeline.map(Value::from));
    set("build", change.origin.build.map(Value::from));
    set("commit", change.origin.commit.map(Value::from));
    set("branch", change.origin.branch.map(Value::from));
    if event.count != 1 {
        set("count", Some(event.count.into()));
        set("first_at", Some(event.first.to_string().into()));
    }
    Value::Object(fields).to_string()
}
