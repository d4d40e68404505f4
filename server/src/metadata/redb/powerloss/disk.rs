//! A disk in memory that forgets what was not synced.
//!
//! Invariant: a sync makes everything written before it durable. What was written after the last sync
//! survives a power loss sector by sector, each by chance and in no order, and so do changes of the
//! length: a page may come back half old and half new. Nothing here knows redb's format.

use crate::metadata::suite::seeded::Seeded;
use redb::StorageBackend;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

/// What a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;

/// How a disk deceives, for proving that the tests would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::metadata::redb) enum Lie {
    /// It does not.
    None,
    /// A sync returns and has done nothing, like a cache without a battery.
    SyncsNothing,
    /// A sync leaves out the first thing that was written since the last one.
    ForgetsOneWrite,
}

/// A disk; clones are the same disk.
#[derive(Clone, Debug)]
pub(in crate::metadata::redb) struct Disk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// What a running machine reads.
    seen: Vec<u8>,
    /// What has been synced.
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    /// Calls that change something until the power goes, which is during the last of them.
    calls_left: Option<u64>,
    calls: u64,
    lie: Lie,
}

#[derive(Debug)]
enum Change {
    Length(usize),
    Write { offset: usize, data: Vec<u8> },
}

impl Disk {
    /// A disk with these contents, all of it durable.
    pub(in crate::metadata::redb) fn of(contents: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State {
            durable: contents.clone(),
            seen: contents,
            unsynced: Vec::new(),
            calls_left: None,
            calls: 0,
            lie: Lie::None,
        })))
    }

    /// The same disk, on a machine whose power goes during its n-th call from now on.
    pub(in crate::metadata::redb) fn losing_power_at(self, call: u64) -> Self {
        self.state().calls_left = Some(call);
        self
    }

    /// The same disk, deceiving from now on.
    pub(in crate::metadata::redb) fn lying(self, lie: Lie) -> Self {
        self.state().lie = lie;
        self
    }

    /// Whether the power is gone.
    pub(in crate::metadata::redb) fn is_off(&self) -> bool {
        self.state().calls_left == Some(0)
    }

    /// Calls that changed something so far.
    pub(in crate::metadata::redb) fn calls(&self) -> u64 {
        self.state().calls
    }

    /// What a running machine reads.
    pub(in crate::metadata::redb) fn contents(&self) -> Vec<u8> {
        self.state().seen.clone()
    }

    /// What is found after the power has gone now, at the latest.
    pub(in crate::metadata::redb) fn after_power_loss(&self, random: &mut Seeded) -> Vec<u8> {
        let mut state = self.state();
        state.calls_left = Some(0);
        let survives = random.pick(&[0, 10, 50, 90, 100]);
        let mut left = state.durable.clone();
        for change in &state.unsynced {
            match change {
                Change::Length(length) if random.percent(survives) => left.resize(*length, 0),
                Change::Length(_) => {}
                Change::Write { offset, data } => {
                    for (start, piece) in sectors(*offset, data) {
                        let end = start + piece.len();
                        // Beyond a length that was lost there is nothing to survive in.
                        if random.percent(survives) && end <= left.len() {
                            left[start..end].copy_from_slice(piece);
                        }
                    }
                }
            }
        }
        left
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while it holds the disk")
    }
}

/// The pieces of a write that lie in one sector each, with where they begin.
fn sectors(offset: usize, data: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = offset;
    std::iter::from_fn(move || {
        let done = at - offset;
        let length = (SECTOR - at % SECTOR).min(data.len() - done);
        let piece = (at, &data[done..done + length]);
        at += length;
        (length > 0).then_some(piece)
    })
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

impl State {
    fn on(&self) -> io::Result<()> {
        if self.calls_left == Some(0) { Err(power_is_off()) } else { Ok(()) }
    }

    /// Counts a call; an error if the power goes now.
    fn count(&mut self) -> io::Result<()> {
        self.calls += 1;
        if let Some(left) = &mut self.calls_left {
            *left -= 1;
        }
        self.on()
    }

    fn apply(bytes: &mut Vec<u8>, change: &Change) {
        match change {
            Change::Length(length) => bytes.resize(*length, 0),
            Change::Write { offset, data } => {
                let end = offset + data.len();
                if end > bytes.len() {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(data);
            }
        }
    }

    /// Does what a call asks for. If the power goes during it, it may survive like the others.
    fn change(&mut self, change: Change) -> io::Result<()> {
        self.on()?;
        Self::apply(&mut self.seen, &change);
        self.unsynced.push(change);
        self.count()
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        let state = self.state();
        state.on()?;
        Ok(state.seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        state.on()?;
        let offset = usize::try_from(offset).expect("a small disk");
        let found = offset.checked_add(out.len()).and_then(|end| state.seen.get(offset..end));
        let beyond = || io::Error::from(io::ErrorKind::UnexpectedEof);
        out.copy_from_slice(found.ok_or_else(beyond)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).expect("a small disk");
        self.state().change(Change::Length(length))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        state.on()?;
        // Power that goes during a sync leaves any part of it done.
        state.count()?;
        let skipped = match state.lie {
            Lie::None => 0,
            Lie::SyncsNothing => return Ok(()),
            Lie::ForgetsOneWrite => 1,
        };
        let unsynced = std::mem::take(&mut state.unsynced);
        for change in unsynced.iter().skip(skipped) {
            State::apply(&mut state.durable, change);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).expect("a small disk");
        self.state().change(Change::Write { offset, data: data.to_vec() })
    }
}
