//! A file system in memory that can lose power.
//!
//! What it promises is the least that POSIX and Linux do: bytes of a file are durable after a sync of
//! the file, names in a directory after a sync of the directory, and nothing else. At a power loss
//! each unsynced block of a write, each unsynced cut and each unsynced name is kept or lost on its
//! own, by chance. A rename may leave the old name, the new one or both, but not neither, since file
//! systems journal it as one. A sync that fails takes what it should have written for clean, as Linux
//! does, so that a second sync changes nothing.

mod inode;

use crate::blobs::fs::files::{Facts, Files, OpenFile, Stat};
use crate::blobs::space::Space;
use crate::fault::FaultPlan;
use inode::{Chance, Inode, Write};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
        let mut chance = Chance::from(seed);
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
        let lost: Vec<_> =
            disk.durable.keys().filter(|path| !disk.is_reachable(path)).cloned().collect();
        disk.durable.retain(|path, _| !lost.contains(path));
        disk.now = disk.durable.clone();
        disk.inodes.iter_mut().for_each(|inode| inode.lose_power(&mut chance));
        Self { disk: Arc::new(Mutex::new(disk)), plan: FaultPlan::new() }
    }

    /// Makes everything at and below `path` belong to another device.
    pub fn mount(&self, path: &Path, device: u64) {
        self.lock().devices.insert(path.to_owned(), device);
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
        let mut wanted: BTreeSet<u64> = self
            .unsynced
            .iter()
            .filter(|change| here(change))
            .map(|change| change.number)
            .collect();
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
            Some(Entry::File(inode)) => disk.inodes[*inode].content().len() as u64,
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
            Err(_) => inode.fail_to_sync(),
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
        Ok(self.with(|inode| inode.content().len() as u64))
    }

    fn facts(&self) -> io::Result<Facts> {
        Ok(Facts { length: self.length()?, version: None })
    }

    fn read(&self, offset: u64, length: usize, _: Vec<u8>) -> io::Result<Vec<u8>> {
        self.disk.plan.call("read")?;
        let at = position(offset)?;
        let found = self.with(|inode| inode.content().get(at..at + length).map(<[u8]>::to_vec));
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
