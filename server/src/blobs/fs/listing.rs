//! Pages through the object keys in ascending order.
//!
//! Keys are spread over 256 directories by their last byte, so ascending order needs all of them: one
//! pass reads every name and keeps the smallest [`READ_AHEAD`] that are wanted. Pages are served from
//! those while the caller goes on where the last page ended. A full walk over N objects therefore
//! costs N / `READ_AHEAD` passes over N names, in 4 MiB of memory. Invariant: a page never leaves out
//! an object that was there from the beginning of the walk to its end, and never names one that is
//! gone.

use super::Shared;
use super::files::Files;
use crate::blobs::BlobError;
use crate::domain::ObjectKey;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Keys of 16 bytes kept from one pass.
#[cfg(not(test))]
const READ_AHEAD: usize = 1 << 18;
/// Few enough that tests need several passes.
#[cfg(test)]
const READ_AHEAD: usize = 16;

/// What the last pass found and no page has named yet.
#[derive(Debug, Default)]
pub(super) struct Listing(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    pass: Option<Pass>,
    /// The smallest key that appeared while the pass was with a caller.
    added: Option<ObjectKey>,
}

#[derive(Debug)]
struct Pass {
    /// The last key handed out, or the one the pass began after.
    after: Option<ObjectKey>,
    keys: VecDeque<ObjectKey>,
    /// No object beyond `keys` was seen.
    complete: bool,
}

impl Pass {
    /// Whether the pass would have named this key, had it been there.
    fn covers(&self, key: ObjectKey) -> bool {
        self.complete || self.keys.back().is_some_and(|last| key < *last)
    }
}

impl Listing {
    /// A new object appeared: forget what no longer tells the truth.
    pub(super) fn added(&self, key: ObjectKey) {
        let mut inner = self.lock();
        inner.added = Some(inner.added.map_or(key, |added| added.min(key)));
        inner.pass = inner.pass.take().filter(|pass| !pass.covers(key));
    }

    fn take(&self) -> Option<Pass> {
        let mut inner = self.lock();
        inner.added = None;
        inner.pass.take()
    }

    fn keep(&self, pass: Pass) {
        let mut inner = self.lock();
        let stale = inner.added.is_some_and(|key| pass.covers(key));
        inner.pass = (!stale).then_some(pass);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Fields are replaced as wholes, so a panic elsewhere does not spoil them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// At most `limit` keys after `after`; blocks.
pub(super) fn page<F: Files>(
    shared: &Shared<F>,
    after: Option<ObjectKey>,
    limit: usize,
) -> Result<Vec<ObjectKey>, BlobError> {
    let kept = shared.listing.take();
    let mut pass = match kept {
        Some(pass) if after.is_some() && pass.after == after => pass,
        _ => scan(shared, after)?,
    };
    let mut page = Vec::new();
    while page.len() < limit {
        let Some(key) = pass.keys.pop_front() else {
            if pass.complete {
                break;
            }
            pass = scan(shared, pass.after)?;
            continue;
        };
        pass.after = Some(key);
        // It may have gone since the pass.
        match shared.files.stat(&shared.layout.object(key)) {
            Ok(_) => page.push(key),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(super::storage("look at an object", error)),
        }
    }
    shared.listing.keep(pass);
    Ok(page)
}

fn scan<F: Files>(shared: &Shared<F>, after: Option<ObjectKey>) -> Result<Pass, BlobError> {
    let mut smallest = BinaryHeap::new();
    let mut complete = true;
    for shard in 0..=u8::MAX {
        let names = shared.files.list(&shared.layout.shard(shard));
        let names = names.map_err(|error| super::storage("list objects", error))?;
        for name in names {
            let Some(key) = shared.layout.read_object(shard, &name) else { continue };
            if after.is_some_and(|after| key <= after) {
                continue;
            }
            smallest.push(key);
            if smallest.len() > READ_AHEAD {
                smallest.pop();
                complete = false;
            }
        }
    }
    Ok(Pass { after, keys: smallest.into_sorted_vec().into(), complete })
}
