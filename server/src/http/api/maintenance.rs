//! Verification and backup of a running server, for administrators of the instance.

use super::input::{Call, Json};
use super::output::{Refusals, time};
use crate::app::App;
use crate::domain::Timestamp;
use crate::http::error::ApiError;
use crate::registry::access::InstanceAdmin;
use crate::registry::verify::{self, VerifyOptions};
use crate::registry::{self, RegistryError};
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use utoipa::ToSchema;

/// How to verify.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NewVerification {
    /// Most bytes read per second; no limit unless given.
    bytes_per_second: Option<u64>,
    /// Go on where the last run stopped, if it did not end.
    resume: bool,
}

/// Something that is wrong.
#[derive(Debug, Serialize, ToSchema)]
struct Finding {
    /// What kind of thing.
    #[schema(example = "damaged")]
    kind: &'static str,
    /// What exactly.
    what: String,
    /// What to do about it.
    advice: &'static str,
}

/// Where a verification stands, or how it ended.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Verification {
    /// When it began (RFC 3339).
    started_at: String,
    /// When it ended; `null` while it runs, or after it was stopped.
    finished_at: Option<String>,
    /// Whether it runs now.
    running: bool,
    /// Why it did not come to its end.
    failure: Option<String>,
    /// Objects looked at.
    objects: u64,
    /// Bytes read.
    bytes: u64,
    /// How many things are wrong.
    wrong: u64,
    /// The first thousand of them.
    findings: Vec<Finding>,
}

impl Verification {
    fn new(run: verify::Verification, running: bool) -> Self {
        let finding = |finding: verify::Finding| Finding {
            kind: finding.kind.as_str(),
            what: finding.what,
            advice: finding.kind.advice(),
        };
        Self {
            started_at: time(Timestamp(run.started)),
            finished_at: run.finished.map(|at| time(Timestamp(at))),
            running,
            failure: run.failure,
            objects: run.objects,
            bytes: run.bytes,
            wrong: run.wrong,
            findings: run.findings.into_iter().map(finding).collect(),
        }
    }
}

/// Begins a verification in the background. Takes an administrator of the instance.
#[utoipa::path(post, path = "/verification", tag = "maintenance", request_body = NewVerification,
    responses((status = 202, description = "It has begun; ask for it with GET", body = Verification), Refusals))]
pub(super) async fn verify(
    call: Call,
    State(app): State<Arc<App>>,
    Json(body): Json<NewVerification>,
) -> Result<(StatusCode, axum::Json<Verification>), ApiError> {
    let proof = app.registry.instance_admin(call.caller()).await?;
    if body.bytes_per_second == Some(0) {
        return Err(ApiError::invalid("bytes_per_second", "at least 1, or null for no limit"));
    }
    let options = VerifyOptions { bytes_per_second: body.bytes_per_second, resume: body.resume };
    let begun = app.registry.begin_verification(proof)?;
    let registry = app.registry.clone();
    tokio::spawn(async move {
        if let Err(error) = registry.verify_begun(begun, options, |_| {}).await {
            tracing::error!(error = ?error, "verification failed: {error}");
        }
    });
    Ok((StatusCode::ACCEPTED, shown(&app, proof).await?))
}

/// Where the verification stands, or how the last one ended.
#[utoipa::path(get, path = "/verification", tag = "maintenance",
    responses((status = 200, body = Verification), Refusals))]
pub(super) async fn verification(
    call: Call,
    State(app): State<Arc<App>>,
) -> Result<axum::Json<Verification>, ApiError> {
    let proof = app.registry.instance_admin(call.caller()).await?;
    shown(&app, proof).await
}

async fn shown(app: &App, proof: InstanceAdmin) -> Result<axum::Json<Verification>, ApiError> {
    // Asked first: a run that ends in between is then shown as running, and never as cut off.
    let running = app.registry.is_verifying();
    let run = app.registry.verification(proof).await?;
    let run = run.ok_or_else(|| ApiError::not_found("verification yet"))?;
    Ok(axum::Json(Verification::new(run, running)))
}

/// A backup to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewBackup {
    /// The name of a directory below the setting `backup.directory`. If it has an earlier backup, only
    /// what is new is copied.
    #[schema(example = "nightly")]
    name: String,
}

/// Where a backup stands, or how it ended.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Backup {
    /// The directory's name.
    name: String,
    /// The moment it shows (RFC 3339).
    taken_at: String,
    /// When it was whole; `null` while it runs or if it failed.
    finished_at: Option<String>,
    /// Whether it runs now.
    running: bool,
    /// Objects in it so far.
    objects: u64,
    /// Bytes of them.
    bytes: u64,
    /// Objects that had to be copied.
    copied: u64,
    /// Bytes of those.
    copied_bytes: u64,
    /// Digests of blobs that are not in it, because they are damaged or missing here.
    damaged: Vec<String>,
    /// Why it did not end well.
    failure: Option<String>,
}

impl Backup {
    fn new(backup: registry::backup::Backup, running: bool) -> Self {
        let name = backup.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self {
            name,
            taken_at: time(Timestamp(backup.taken)),
            finished_at: backup.finished.map(|at| time(Timestamp(at))),
            running,
            objects: backup.objects,
            bytes: backup.bytes,
            copied: backup.copied,
            copied_bytes: backup.copied_bytes,
            damaged: backup.damaged,
            failure: backup.failure,
        }
    }
}

/// Begins a backup in the background, into a directory of the server's machine. Takes an
/// administrator of the instance and the setting `backup.directory`.
#[utoipa::path(post, path = "/backup", tag = "maintenance", request_body = NewBackup,
    responses((status = 202, description = "It has begun; ask for it with GET", body = Backup), Refusals))]
pub(super) async fn back_up(
    call: Call,
    State(app): State<Arc<App>>,
    Json(body): Json<NewBackup>,
) -> Result<(StatusCode, axum::Json<Backup>), ApiError> {
    let proof = app.registry.instance_admin(call.caller()).await?;
    let path = place(&app, &body.name)?;
    let begun = app.registry.begin_backup(proof, &path);
    let begun = begun.map_err(|_| RegistryError::AlreadyRuns("backup"))?;
    let registry = app.registry.clone();
    tokio::spawn(async move {
        if let Err(error) = registry.back_up_begun(begun, |_| {}).await {
            tracing::error!(error = ?error, "the backup failed: {error}");
        }
    });
    Ok((StatusCode::ACCEPTED, shown_backup(&app, proof)?))
}

/// The directory of a name. Nothing but a plain name, so that nobody writes elsewhere.
fn place(app: &App, name: &str) -> Result<PathBuf, ApiError> {
    let Some(directory) = &app.http.backup_directory else {
        return Err(ApiError::invalid(
            "name",
            "this server has no setting backup.directory, so it makes no backups by itself; set it, or stop the server and run standpipe-server backup",
        ));
    };
    let plain = !name.is_empty()
        && name.len() <= 100
        && !name.starts_with('.')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if !plain {
        return Err(ApiError::invalid(
            "name",
            "letters, digits, '-', '_' and '.' only, at most 100",
        ));
    }
    Ok(directory.join(name))
}

/// Where the backup stands, or how the last one ended.
#[utoipa::path(get, path = "/backup", tag = "maintenance",
    responses((status = 200, body = Backup), Refusals))]
pub(super) async fn backup(
    call: Call,
    State(app): State<Arc<App>>,
) -> Result<axum::Json<Backup>, ApiError> {
    let proof = app.registry.instance_admin(call.caller()).await?;
    shown_backup(&app, proof)
}

fn shown_backup(app: &App, proof: InstanceAdmin) -> Result<axum::Json<Backup>, ApiError> {
    let running = app.registry.is_backing_up();
    let backup = app.registry.last_backup(proof);
    let backup = backup.ok_or_else(|| ApiError::not_found("backup yet"))?;
    Ok(axum::Json(Backup::new(backup, running)))
}
