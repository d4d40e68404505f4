//! Counting pulls without writing at each one.
//!
//! Invariant: a pull never waits for the counter's write. Counts are kept in memory and written
//! every few seconds; a crash loses at most those.

use super::{Registry, Result};
use crate::domain::{Digest, PackageId, Reference, Tag, Timestamp};
use crate::metadata::{Pull, Pulls};
use std::collections::HashMap;
use std::sync::Mutex;

/// Most different items counted between two writes; more are not counted, so that memory is bounded.
const MOST_ITEMS: usize = 100_000;

/// Pulls of a manifest, by the tag they came by.
type Items = HashMap<(PackageId, Digest, Option<Tag>), Pulls>;

/// Pulls since the last write.
#[derive(Debug, Default)]
pub struct PullCounter(Mutex<Items>);

impl PullCounter {
    /// Counts one pull.
    pub(super) fn count(
        &self,
        package: PackageId,
        digest: Digest,
        reference: &Reference,
        now: Timestamp,
    ) {
        let tag = match reference {
            Reference::Tag(tag) => Some(tag.clone()),
            Reference::Digest(_) => None,
        };
        let mut items = self.lock();
        if items.len() >= MOST_ITEMS && !items.contains_key(&(package, digest, tag.clone())) {
            return;
        }
        let pulls = items.entry((package, digest, tag)).or_default();
        pulls.count += 1;
        pulls.last = Some(now);
    }

    fn take(&self) -> Vec<Pull> {
        let items = std::mem::take(&mut *self.lock());
        items
            .into_iter()
            .map(|((package, digest, tag), pulls)| Pull { package, digest, tag, pulls })
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Items> {
        // A panic while counting leaves a map that is still a map.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Registry {
    /// Writes the pulls counted since the last call.
    ///
    /// # Errors
    /// Those of the storage; the counts of that interval are then lost.
    pub async fn write_pulls(&self) -> Result<()> {
        let pulls = self.pulls.take();
        if !pulls.is_empty() {
            self.metadata.record_pulls(pulls).await?;
        }
        Ok(())
    }
}
