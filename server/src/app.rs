//! Everything that lives as long as the server, built in one place.

use crate::auth::Authenticator;
use crate::registry::Registry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How the server is seen from outside.
#[derive(Clone, Debug, Default)]
pub struct HttpSettings {
    /// The address clients use, such as `https://registry.example.com`, without a trailing slash.
    pub public_url: Option<String>,
    /// Whether the listener is on a loopback address, so that a challenge may name it.
    pub loopback: bool,
    /// The port, for a loopback realm.
    pub port: u16,
    /// Below which directory the API may write backups; nowhere unless set.
    pub backup_directory: Option<std::path::PathBuf>,
    /// Whether leases may be set shorter than ten minutes, for tests.
    pub short_delays: bool,
}

/// Whether the server has been told to stop. Clones share it; it never goes back.
#[derive(Clone, Debug, Default)]
pub struct Stopping(Arc<AtomicBool>);

impl Stopping {
    /// From here on the server is not ready.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The state every handler sees.
#[derive(Clone, Debug)]
pub struct App {
    /// The verbs.
    pub registry: Registry,
    /// Who is calling.
    pub auth: Authenticator,
    /// How the server is seen from outside.
    pub http: HttpSettings,
    /// Whether it is on its way out.
    pub stopping: Stopping,
}
