//! Everything that lives as long as the server, built in one place.

use crate::auth::Authenticator;
use crate::domain::Network;
use crate::registry::Registry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How the server is seen from outside.
#[derive(Clone, Debug, Default)]
pub struct HttpSettings {
    /// The address clients use, such as `https://registry.example.com`, without a trailing slash.
    pub public_url: Option<String>,
    /// Whether the listener is on a loopback address, so that a challenge may name it.
    pub loopback: bool,
    /// The port, for a loopback realm.
    pub port: u16,
    /// Whether the listener speaks TLS itself.
    pub tls: bool,
    /// Who may say for whom a request is passed on; `None` if nothing was said about proxies.
    pub trusted_proxies: Option<Vec<Network>>,
    /// Whether everybody may read `/metrics`.
    pub public_metrics: bool,
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
    /// What was asked of it.
    pub requests: Arc<RequestMeter>,
    /// Whether it is on its way out.
    pub stopping: Stopping,
}

/// Counts requests and the bytes of blobs. Each number is right by itself; together they are of about
/// the same moment.
#[derive(Debug, Default)]
pub struct RequestMeter {
    in_flight: AtomicU64,
    /// By the first digit of the status, from 1 to 5.
    answered: [AtomicU64; 5],
    sent: AtomicU64,
    received: AtomicU64,
}

/// The same as numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestStatistics {
    /// Requests whose answer has not begun.
    pub in_flight: u64,
    /// Answers by the first digit of the status, from 1 to 5.
    pub answered: [u64; 5],
    /// Bytes of blobs sent.
    pub sent: u64,
    /// Bytes of blobs received.
    pub received: u64,
}

/// A request on its way; it counts as in flight until this is dropped.
#[derive(Debug)]
pub struct InFlight<'a>(&'a RequestMeter);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl InFlight<'_> {
    /// It was answered with this status.
    pub fn answered(self, status: u16) {
        let class = usize::from(status / 100).checked_sub(1);
        if let Some(count) = class.and_then(|class| self.0.answered.get(class)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl RequestMeter {
    /// A request has come.
    pub fn begin(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self)
    }

    /// Bytes of a blob were handed to a connection.
    pub fn sent(&self, bytes: usize) {
        add(&self.sent, bytes);
    }

    /// Bytes of a blob have come.
    pub fn received(&self, bytes: usize) {
        add(&self.received, bytes);
    }

    /// The numbers now.
    #[must_use]
    pub fn read(&self) -> RequestStatistics {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        RequestStatistics {
            in_flight: of(&self.in_flight),
            answered: self.answered.each_ref().map(of),
            sent: of(&self.sent),
            received: of(&self.received),
        }
    }
}

fn add(to: &AtomicU64, bytes: usize) {
    to.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
}
