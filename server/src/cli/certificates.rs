//! The files of the certificate and its key, looked at again while the server runs.
//!
//! Invariant: a pair that cannot be used changes nothing; it is told once, and looked at again. Files
//! that are replaced one after the other do not fit for a moment, which is told, and then they do.

use crate::config::TlsFiles;
use crate::http::tls::{CertificateError, Tls};
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Between two looks; SIGHUP asks for one at once.
const INTERVAL: Duration = Duration::from_secs(10);

/// Why there is no certificate to show.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The files are not what they should be.
    #[error("tls: {certificate}, {key}: {reason}", certificate = .files.certificate.display(), key = .files.key.display())]
    Certificate {
        /// Which files.
        files: TlsFiles,
        /// Why.
        #[source]
        reason: CertificateError,
    },
    /// One cannot be read.
    #[error("tls: {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: std::io::Error,
    },
}

/// What the two files hold.
#[derive(PartialEq, Eq)]
struct Pair {
    chain: Vec<u8>,
    key: Vec<u8>,
}

impl Pair {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let read = |path: &PathBuf| {
            let bytes = std::fs::read(path);
            bytes.map_err(|source| TlsError::File { path: path.clone(), source })
        };
        Ok(Self { chain: read(&files.certificate)?, key: read(&files.key)? })
    }
}

/// A certificate and the files it came from.
pub(super) struct Certificates {
    tls: Tls,
    files: TlsFiles,
    seen: Pair,
}

impl Certificates {
    /// Reads the files.
    pub(super) fn open(files: &TlsFiles) -> Result<Self, TlsError> {
        let seen = Pair::read(files)?;
        let tls = Tls::new(&seen.chain, &seen.key);
        let tls = tls.map_err(|reason| TlsError::Certificate { files: files.clone(), reason })?;
        Ok(Self { tls, files: files.clone(), seen })
    }

    /// What the listener shows.
    pub(super) fn tls(&self) -> Tls {
        self.tls.clone()
    }

    /// Looks at the files again and again. From the call on SIGHUP asks for a look; before, it would end
    /// the process.
    pub(super) fn watch(mut self) -> impl Future<Output = ()> + Send {
        let mut hangup = signal(SignalKind::hangup()).ok();
        async move {
            let mut told = String::new();
            loop {
                let asked = async {
                    match &mut hangup {
                        Some(signal) => drop(signal.recv().await),
                        None => std::future::pending().await,
                    }
                };
                let asked = tokio::select! {
                    () = tokio::time::sleep(INTERVAL) => false,
                    () = asked => true,
                };
                self.look_and_tell(asked, &mut told);
            }
        }
    }

    /// Looks, and says what is new; whoever asked is told, too, that nothing is.
    fn look_and_tell(&mut self, asked: bool, told: &mut String) {
        let problem = match self.look() {
            Ok(true) => {
                tracing::info!("new connections are shown the new certificate");
                String::new()
            }
            Ok(false) if asked => {
                tracing::info!("SIGHUP: the certificate and its key are as they were");
                return;
            }
            Ok(false) => return,
            Err(error) => crate::http::error::chain(&error),
        };
        if !problem.is_empty() && (asked || problem != *told) {
            tracing::error!("{problem}; the certificate before it stays in use");
        }
        *told = problem;
    }

    /// Whether there is something new, which is used from here on.
    fn look(&mut self) -> Result<bool, TlsError> {
        let found = Pair::read(&self.files)?;
        if found == self.seen {
            return Ok(false);
        }
        let replaced = self.tls.replace(&found.chain, &found.key);
        let files = &self.files;
        replaced.map_err(|reason| TlsError::Certificate { files: files.clone(), reason })?;
        self.seen = found;
        Ok(true)
    }
}
