//! Waiting for something that another process does: ask again and again until a deadline.

use std::fmt::Display;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

/// Asks `probe` until it gives a value and returns it.
///
/// # Panics
/// When `limit` passes first, or when one probe takes as long; the message names `what` and what the
/// last probe said.
pub async fn until<T, E: Display>(
    what: &str,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let start = Instant::now();
    loop {
        let probed = timeout(limit, probe()).await;
        match probed.unwrap_or_else(|_| panic!("{what}: a look at it took more than {limit:?}")) {
            Ok(value) => return value,
            Err(reason) => {
                assert!(start.elapsed() < limit, "{what} did not happen within {limit:?}: {reason}")
            }
        }
        sleep(PAUSE).await;
    }
}

/// Short against every limit that a test measures.
const PAUSE: Duration = Duration::from_millis(5);
