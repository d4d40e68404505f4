//! The database's file in memory. What was not synced may be lost at a power loss, write by write.

use redb::StorageBackend;
use standpipe_server::fault::FaultPlan;
use std::io;
use std::sync::{Arc, Mutex};

/// The file; clones are the same file.
#[derive(Clone, Debug)]
pub(super) struct DatabaseFile {
    state: Arc<Mutex<State>>,
    pub(super) plan: FaultPlan,
}

#[derive(Clone, Debug, Default)]
struct State {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Write>,
}

#[derive(Clone, Debug)]
enum Write {
    Bytes(usize, Vec<u8>),
    Length(usize),
}

impl Write {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(length) => bytes.resize(*length, 0),
            Self::Bytes(at, data) => {
                let end = at + data.len();
                // The cut that made room may be what was lost.
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*at..end].copy_from_slice(data);
            }
        }
    }
}

impl DatabaseFile {
    pub(super) fn new(plan: FaultPlan) -> Self {
        Self { state: Arc::default(), plan }
    }

    /// The file as it is found after a power loss now; this one goes on as if nothing had happened.
    pub(super) fn after_power_loss(&self, seed: u64) -> Self {
        let mut state = self.state.lock().unwrap().clone();
        let mut chance = seed | 1;
        for write in std::mem::take(&mut state.unsynced) {
            // Xorshift: any coin will do, as long as the seed repeats it.
            chance ^= chance << 13;
            chance ^= chance >> 7;
            chance ^= chance << 17;
            if chance & 0x100 == 0 {
                write.apply(&mut state.durable);
            }
        }
        state.now = state.durable.clone();
        Self { state: Arc::new(Mutex::new(state)), plan: self.plan.clone() }
    }

    fn write(&self, write: Write) {
        let mut state = self.state.lock().unwrap();
        write.apply(&mut state.now);
        state.unsynced.push(write);
    }
}

impl StorageBackend for DatabaseFile {
    fn len(&self) -> io::Result<u64> {
        self.plan.call("database len")?;
        Ok(self.state.lock().unwrap().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.plan.call("database read")?;
        let offset = usize::try_from(offset).unwrap();
        out.copy_from_slice(&self.state.lock().unwrap().now[offset..offset + out.len()]);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.plan.call("database set_len")?;
        self.write(Write::Length(usize::try_from(length).unwrap()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.plan.call("database sync")?;
        let mut state = self.state.lock().unwrap();
        let state = &mut *state;
        for write in state.unsynced.drain(..) {
            write.apply(&mut state.durable);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.plan.call("database write")?;
        self.write(Write::Bytes(usize::try_from(offset).unwrap(), data.to_vec()));
        Ok(())
    }
}
