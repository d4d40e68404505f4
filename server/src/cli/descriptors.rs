//! How the files that the process may have open are divided.
//!
//! Invariant: connections, the files that requests hold and what the server needs for itself are never
//! more than the limit. So a crowd that asks for nothing does not keep the server from its files.

use rustix::process::{Resource, Rlimit};

/// Open files of the server itself: the database, the log, certificates, two or three for each thread
/// that works on files, and connections to issuers.
const OWN: u64 = 64;

/// Files that requests may hold when connections would otherwise take all: readers of large blobs and
/// uploads have one or two as long as they last. An idle connection has none, so most need none.
const FILES: u64 = 1024;

/// What there may be of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptors {
    /// Connections at once.
    pub(super) connections: usize,
    /// Files that requests hold at once.
    pub(super) files: usize,
}

impl Descriptors {
    /// Asks the system for as many as it gives, and divides them.
    pub(super) fn of_process(wanted: usize) -> Self {
        let mut limit = rustix::process::getrlimit(Resource::Nofile);
        let asked = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if rustix::process::setrlimit(Resource::Nofile, asked).is_ok() {
            limit = asked;
        }
        let limit = limit.current.unwrap_or(u64::MAX);
        let divided = Self::divide(wanted, limit);
        if divided.connections < wanted {
            let fit = divided.connections;
            tracing::warn!(
                wanted,
                fit,
                "the limit on open files ({limit}) allows {fit} connections at once, not {wanted} (http.most_connections); raise it (LimitNOFILE=, ulimit -n)"
            );
        }
        divided
    }

    /// Connections get what they want, as long as enough is left for files.
    fn divide(wanted: usize, limit: u64) -> Self {
        let rest = limit.saturating_sub(OWN.min(limit / 2));
        let fit = rest - FILES.min(rest / 2);
        let connections = wanted.min(usize::try_from(fit).unwrap_or(usize::MAX)).max(1);
        let files = rest.saturating_sub(connections as u64);
        Self { connections, files: usize::try_from(files).unwrap_or(usize::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_get_what_they_want_when_enough_is_left_for_files() {
        let divided = Descriptors::divide(12_000, 20_000);
        assert_eq!(divided, Descriptors { connections: 12_000, files: 7_936 });
        let divided = Descriptors::divide(30_000, 20_000);
        assert_eq!(divided, Descriptors { connections: 18_912, files: 1024 });
    }

    #[test]
    fn of_few_files_half_are_for_connections() {
        let divided = Descriptors::divide(4096, 1024);
        assert_eq!(divided, Descriptors { connections: 480, files: 480 });
        let divided = Descriptors::divide(4096, 256);
        assert_eq!(divided, Descriptors { connections: 96, files: 96 });
    }

    #[test]
    fn all_together_never_exceed_the_limit() {
        for limit in (4..5000).chain([20_000, 1 << 20, u64::MAX]) {
            for wanted in [1, 100, 4096, usize::MAX] {
                let divided = Descriptors::divide(wanted, limit);
                let (connections, files) = (divided.connections as u64, divided.files as u64);
                let own = OWN.min(limit / 2);
                assert!(connections >= 1, "{limit} {wanted}");
                assert!(connections <= wanted as u64, "{limit} {wanted}");
                assert!(own + connections + files <= limit, "{limit} {wanted}: {divided:?}");
            }
        }
    }
}
