//! `verify`, `backup` and `restore` on a data directory that no server runs on. On a running server
//! the same is done by `admin verify` and `admin backup`.

use super::serve::{ServeError, open_stores};
use crate::config::Config;
use crate::data_dir::{DataDir, DataDirError};
use crate::registry::access::InstanceAdmin;
use crate::registry::backup::{Backup, BackupError};
use crate::registry::startup::Mismatch;
use crate::registry::verify::{Verification, VerifyOptions};
use crate::registry::{Registry, RegistryError};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// How often progress is told, in bytes.
const TELL_EVERY: u64 = 1 << 30;

/// The command that a running server has no counterpart of.
const RESTORE: &str = "restore";

/// Why maintenance did not end well.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    /// The backup.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A server runs on it.
    #[error("{0}; or use the running server: standpipe-server admin {1}")]
    InUse(DataDirError, &'static str),
    /// There is nothing.
    #[error("{0} is no Standpipe data directory")]
    Nothing(PathBuf),
    /// The two halves do not belong together.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// Something is there that would be written over.
    #[error("{0} is not empty; restore into a new directory")]
    NotEmpty(PathBuf),
    /// Standard output is gone.
    #[error("standard output cannot be written")]
    Output(#[from] std::io::Error),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The directory cannot be opened.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Something is wrong with the data.
    #[error("{0} things are wrong; see above")]
    Wrong(u64),
}

/// Verifies a data directory.
///
/// # Errors
/// [`MaintenanceError::Wrong`] if something is wrong with the data.
pub(super) fn verify(config: Config, options: VerifyOptions) -> Result<(), MaintenanceError> {
    blocking(async move {
        let (registry, _held) = open(config, "verify").await?;
        registry.check_identity().await?;
        let told = AtomicU64::new(0);
        let done = registry.verify(InstanceAdmin::server(), options, |run| {
            if tell(&told, run.bytes) {
                say(&format!(
                    "{} objects, {} bytes, {} wrong so far",
                    run.objects, run.bytes, run.wrong
                ));
            }
        });
        report(&done.await?)
    })
}

/// Copies a data directory.
///
/// # Errors
/// [`MaintenanceError`].
pub(super) fn backup(config: Config, to: PathBuf) -> Result<(), MaintenanceError> {
    blocking(async move {
        let (registry, _held) = open(config, "backup").await?;
        registry.check_identity().await?;
        copy(&registry, &to, "backed up").await
    })
}

/// Copies a backup into a new data directory and holds its rows against each other; each object is
/// hashed while it is copied.
///
/// # Errors
/// [`MaintenanceError`].
pub(super) fn restore(mut config: Config, from: PathBuf) -> Result<(), MaintenanceError> {
    blocking(async move {
        let to = std::mem::replace(&mut config.data_dir, from);
        if to.join("meta.redb").exists() {
            return Err(MaintenanceError::NotEmpty(to));
        }
        let (registry, held) = open(config.clone(), RESTORE).await?;
        registry.check_identity().await?;
        copy(&registry, &to, "restored").await?;
        drop((registry, held));
        config.data_dir = to;
        let (restored, held) = open(config, RESTORE).await?;
        held.forget_note()?;
        let rows = restored.check_rows().await?;
        for words in &rows {
            say(&format!("wrong: {words}"));
        }
        match u64::try_from(rows.len()).unwrap_or(u64::MAX) {
            0 => Ok(()),
            wrong => Err(MaintenanceError::Wrong(wrong)),
        }
    })
}

async fn copy(registry: &Registry, to: &Path, done: &str) -> Result<(), MaintenanceError> {
    let told = AtomicU64::new(0);
    let tell_of = |backup: &Backup| {
        if tell(&told, backup.bytes) {
            say(&format!("{} objects, {} bytes so far", backup.objects, backup.bytes));
        }
    };
    let backup = registry.backup(InstanceAdmin::server(), to, tell_of).await?;
    writeln!(
        std::io::stdout().lock(),
        "{done} {} objects of {} bytes to {}; {} of them new, {} bytes",
        backup.objects,
        backup.bytes,
        to.display(),
        backup.copied,
        backup.copied_bytes,
    )?;
    for digest in &backup.damaged {
        say(&format!("not copied, because it is damaged or missing: blob {digest}"));
    }
    match u64::try_from(backup.damaged.len()).unwrap_or(u64::MAX) {
        0 => Ok(()),
        wrong => Err(MaintenanceError::Wrong(wrong)),
    }
}

/// Prints what was found, with what to do.
fn report(run: &Verification) -> Result<(), MaintenanceError> {
    let mut out = std::io::stdout().lock();
    for finding in &run.findings {
        writeln!(out, "wrong: {}\n  to do: {}", finding.what, finding.kind.advice())?;
    }
    writeln!(
        out,
        "verified {} objects, {} bytes: {}",
        run.objects,
        run.bytes,
        if run.wrong == 0 {
            "all is well".to_owned()
        } else {
            format!("{} things are wrong", run.wrong)
        }
    )?;
    if run.wrong == 0 { Ok(()) } else { Err(MaintenanceError::Wrong(run.wrong)) }
}

/// Whether it is time to tell how far it is.
fn tell(told: &AtomicU64, bytes: u64) -> bool {
    let due = bytes / TELL_EVERY;
    told.fetch_max(due, Ordering::Relaxed) < due
}

fn say(text: &str) {
    // If standard error is gone, the work goes on.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

async fn open(
    mut config: Config,
    command: &'static str,
) -> Result<(Registry, DataDir), MaintenanceError> {
    if !config.data_dir.join("meta.redb").exists() {
        return Err(MaintenanceError::Nothing(config.data_dir));
    }
    let held = match DataDir::hold(&config.data_dir) {
        Err(error @ DataDirError::InUse { .. }) if command != RESTORE => {
            return Err(MaintenanceError::InUse(error, command));
        }
        held => held?,
    };
    // Nothing is pushed here, and a backup is not the place for a ballast file.
    (config.space.soft_bytes, config.space.hard_bytes, config.space.ballast_bytes) = (0, 0, 0);
    let clock = crate::clock::Clock::system();
    Ok((open_stores(&config, &held, clock, usize::MAX).await?, held))
}

fn blocking<F>(work: F) -> Result<(), MaintenanceError>
where
    F: Future<Output = Result<(), MaintenanceError>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(work)
}
