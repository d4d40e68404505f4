//! A file system in memory that can lose power.
//!
//! What it promises is the least that POSIX and Linux do: bytes of a file are durable after a sync of
//! the file, names in a directory after a sync of the directory, and nothing else. At a power loss
//! each unsynced block of a write, each unsynced cut and each unsynced name is kept or lost on its
//! own, by chance. A rename may leave the old name, the new one or both, but not neither, since file
//! systems journal it as one. A sync that fails takes what it should have written for clean, as Linux
//! does, so that a second sync changes nothing.

use crate::blobs::fs::files::{Files, OpenFile, Stat};
use crate::blobs::space::Space;
use crate::fault::FaultPlan;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is written or lost as one.
const BLOCK: usize = 4096;

/// A simulated disk; clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimulatedDisk {
    disk: Arc<Mutex<Disk>>,
    plan: FaultPlan,
}

/// An open file on it.
#[derive(Debug)]
pub struct SimulatedFile {
    disk: SimulatedDisk,
    inode: usize,
}

#[derive(Clone, Debug, Default)]
struct Disk {
    inodes: Vec<Inode>,
    now: BTreeMap<PathBuf, Entry>,
    durable: BTreeMap<PathBuf, Entry>,
    /// Changes of names that are not durable, oldest first.
    unsynced: Vec<Change>,
    changes: u64,
    devices: BTreeMap<PathBuf, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Entry {
    Directory,
    File(usize),
}

#[derive(Clone, Debug)]
struct Change {
    number: u64,
    path: PathBuf,
    /// What the path names afterwards.
    entry: Option<Entry>,
    /// The change that is kept whenever this one is.
    needs: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Write>,
}

#[derive(Clone, Debug)]
enum Write {
    Bytes(usize, Vec<u8>),
    Length(usize),
}

impl Default for SimulatedDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl SimulatedDisk {
    /// An empty disk with the directory `/`.
    #[must_use]
    pub fn new() -> Self {
        let mut disk = Disk::default();
        disk.now.insert(PathBuf::from("/"), Entry::Directory);
        disk.durable = disk.now.clone();
        Self { disk: Arc::new(Mutex::new(disk)), plan: FaultPlan::new() }
    }

    /// The plan of its faults.
    #[must_use]
    pub const fn plan(&self) -> &FaultPlan {
        &self.plan
    }

    /// The disk as it is found after a power loss now; chance is drawn from `seed`. This one goes on
    /// as if nothing had happened.
    #[must_use]
    pub fn after_power_loss(&self, seed: u64) -> Self {
        let mut chance = Chance(seed);
        let mut disk = self.lock().clone();
        let mut kept = BTreeSet::new();
        for change in std::mem::take(&mut disk.unsynced) {
            let possible = change.needs.is_none_or(|needed| kept.contains(&needed));
            // What is not in the list any more was synced.
            let synced = change.needs.is_some_and(|needed| self.lock().is_durable(needed));
            if (possible || synced) && chance.even() {
                kept.insert(change.number);
                disk.make_durable(&change);
            }
        }
        // A name is of no use without the directories above it.
        let lost: Vec<_> = disk.durable.keys().filter(|path| !disk.is_reachable(path)).cloned().collect();
        disk.durable.retain(|path, _| !lost.contains(path));
        disk.now = disk.durable.clone();
        disk.inodes.iter_mut().for_each(|inode| inode.lose_power(&mut chance));
        Self { disk: Arc::new(Mutex::new(disk)), plan: FaultPlan::new() }
    }

    /// Makes everything at and below `path` belong to another device.
    pub fn mount(&self, path: &Path, device: u64) {
        self.lock().devices.insert(path.to_owned(), device);
    }

    /// Flips the bits of a stored byte behind everyone's back, as a failing disk does.
    pub fn corrupt(&self, path: &Path, at: usize) {
        let mut disk = self.lock();
        if let Some(Entry::File(inode)) = disk.now.get(path).copied() {
            disk.inodes[inode].now[at] ^= 0xFF;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        // Nothing in a critical section can panic half-way through a change.
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, path: &Path) -> io::Result<SimulatedFile> {
        match self.lock().now.get(path) {
            Some(Entry::File(inode)) => Ok(SimulatedFile { disk: self.clone(), inode: *inode }),
            Some(Entry::Directory) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Disk {
    fn change(&mut self, path: &Path, entry: Option<Entry>, needs: Option<u64>) -> u64 {
        self.changes += 1;
        match entry {
            Some(entry) => self.now.insert(path.to_owned(), entry),
            None => self.now.remove(path),
        };
        self.unsynced.push(Change { number: self.changes, path: path.to_owned(), entry, needs });
        self.changes
    }

    fn make_durable(&mut self, change: &Change) {
        match change.entry {
            Some(entry) => self.durable.insert(change.path.clone(), entry),
            None => self.durable.remove(&change.path),
        };
    }

    fn is_durable(&self, number: u64) -> bool {
        self.unsynced.iter().all(|change| change.number != number)
    }

    fn sync_dir(&mut self, directory: &Path) {
        let here = |change: &Change| change.path.parent() == Some(directory);
        let mut wanted: BTreeSet<u64> =
            self.unsynced.iter().filter(|change| here(change)).map(|change| change.number).collect();
        // Later changes need earlier ones only.
        for change in self.unsynced.iter().rev() {
            if wanted.contains(&change.number) {
                wanted.extend(change.needs);
            }
        }
        let all = std::mem::take(&mut self.unsynced);
        let (synced, rest) = all.into_iter().partition(|change| wanted.contains(&change.number));
        self.unsynced = rest;
        let synced: Vec<Change> = synced;
        synced.iter().for_each(|change| self.make_durable(change));
    }

    fn is_reachable(&self, path: &Path) -> bool {
        path.ancestors().skip(1).all(|above| self.durable.get(above) == Some(&Entry::Directory))
    }

    fn device(&self, path: &Path) -> u64 {
        path.ancestors().find_map(|above| self.devices.get(above)).copied().unwrap_or(1)
    }

    fn needs_parent(&self, path: &Path) -> io::Result<()> {
        match path.parent().and_then(|parent| self.now.get(parent)) {
            Some(Entry::Directory) => Ok(()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn needs_no(&self, path: &Path) -> io::Result<()> {
        if self.now.contains_key(path) { Err(io::ErrorKind::AlreadyExists.into()) } else { Ok(()) }
    }
}

impl Inode {
    fn apply(content: &mut Vec<u8>, write: &Write) {
        match write {
            Write::Length(length) => content.resize(*length, 0),
            Write::Bytes(at, bytes) => {
                let end = at + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*at..end].copy_from_slice(bytes);
            }
        }
    }

    fn change(&mut self, write: Write) {
        Self::apply(&mut self.now, &write);
        self.unsynced.push(write);
    }

    fn sync(&mut self) {
        // Not the same as copying what is there now: what a failed sync forgot stays forgotten.
        for write in std::mem::take(&mut self.unsynced) {
            Self::apply(&mut self.durable, &write);
        }
    }

    fn lose_power(&mut self, chance: &mut Chance) {
        for write in std::mem::take(&mut self.unsynced) {
            let pieces = match write {
                Write::Length(_) => vec![write],
                Write::Bytes(at, bytes) => blocks(at, &bytes),
            };
            for piece in pieces.iter().filter(|_| chance.even()) {
                Self::apply(&mut self.durable, piece);
            }
        }
        self.now = self.durable.clone();
    }
}

/// Cuts a write where blocks end.
fn blocks(at: usize, bytes: &[u8]) -> Vec<Write> {
    let (first, rest) = bytes.split_at(bytes.len().min(BLOCK - at % BLOCK));
    let later = at + first.len();
    let rest = rest.chunks(BLOCK).zip(0..).map(|(block, n)| Write::Bytes(later + n * BLOCK, block.to_vec()));
    std::iter::once(Write::Bytes(at, first.to_vec())).chain(rest).collect()
}

/// Chance drawn from a seed (SplitMix64).
struct Chance(u64);

impl Chance {
    fn even(&mut self) -> bool {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) & 1 == 1
    }
}

impl Files for SimulatedDisk {
    type File = SimulatedFile;

    fn open(&self, path: &Path) -> io::Result<SimulatedFile> {
        self.plan.call("open")?;
        self.file(path)
    }

    fn open_to_write(&self, path: &Path) -> io::Result<SimulatedFile> {
        self.plan.call("open_to_write")?;
        self.file(path)
    }

    fn create(&self, path: &Path) -> io::Result<SimulatedFile> {
        self.plan.call("create")?;
        let mut disk = self.lock();
        disk.needs_parent(path)?;
        disk.needs_no(path)?;
        disk.inodes.push(Inode::default());
        let inode = disk.inodes.len() - 1;
        disk.change(path, Some(Entry::File(inode)), None);
        Ok(SimulatedFile { disk: self.clone(), inode })
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.plan.call("create_dir")?;
        let mut disk = self.lock();
        disk.needs_parent(path)?;
        disk.needs_no(path)?;
        disk.change(path, Some(Entry::Directory), None);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.plan.call("rename")?;
        let mut disk = self.lock();
        let Some(entry @ Entry::File(_)) = disk.now.get(from).copied() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        disk.needs_parent(to)?;
        if disk.device(from) != disk.device(to) {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        let new = disk.change(to, Some(entry), None);
        disk.change(from, None, Some(new));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.plan.call("remove")?;
        let mut disk = self.lock();
        match disk.now.get(path) {
            Some(Entry::File(_)) => {
                disk.change(path, None, None);
                Ok(())
            }
            Some(Entry::Directory) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.plan.call("sync_dir")?;
        let mut disk = self.lock();
        if disk.now.get(path) != Some(&Entry::Directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        disk.sync_dir(path);
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.plan.call("list")?;
        let disk = self.lock();
        if disk.now.get(path) != Some(&Entry::Directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        // Paths sort by their parts, so what is below a directory follows it.
        let below = disk.now.range(path.to_owned()..).map(|(found, _)| found).skip(1);
        let below = below.take_while(|found| found.starts_with(path));
        let here = below.filter(|found| found.parent() == Some(path));
        Ok(here.filter_map(|found| found.file_name().map(OsStr::to_owned)).collect())
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.plan.call("stat")?;
        let disk = self.lock();
        let length = match disk.now.get(path) {
            Some(Entry::File(inode)) => disk.inodes[*inode].now.len() as u64,
            Some(Entry::Directory) => 0,
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Stat { length, device: disk.device(path) })
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        self.plan.call("space")?;
        Ok(Space { free: 1 << 40, total: 1 << 41 })
    }
}

impl SimulatedFile {
    fn with<T>(&self, use_inode: impl FnOnce(&mut Inode) -> T) -> T {
        use_inode(&mut self.disk.lock().inodes[self.inode])
    }

    fn sync(&self, name: &'static str) -> io::Result<()> {
        let planned = self.disk.plan.call(name);
        self.with(|inode| match planned {
            Ok(()) => inode.sync(),
            Err(_) => inode.unsynced.clear(),
        });
        planned
    }
}

fn position(at: u64) -> io::Result<usize> {
    usize::try_from(at).map_err(io::Error::other)
}

impl OpenFile for SimulatedFile {
    fn length(&self) -> io::Result<u64> {
        self.disk.plan.call("length")?;
        Ok(self.with(|inode| inode.now.len() as u64))
    }

    fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        self.disk.plan.call("read")?;
        let at = position(offset)?;
        let found = self.with(|inode| inode.now.get(at..at + length).map(<[u8]>::to_vec));
        found.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let planned = self.disk.plan.call("write");
        // A write that fails may have written some of it.
        let written = if planned.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        let at = position(offset)?;
        self.with(|inode| inode.change(Write::Bytes(at, written.to_vec())));
        planned
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.disk.plan.call("set_length")?;
        let length = position(length)?;
        self.with(|inode| inode.change(Write::Length(length)));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync("sync_data")
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync("sync_all")
    }
}
