//! A disk on which the test decides what each call does first: nothing, wait, fail or panic.
//!
//! Calls of blob files have the names of their methods, those of the database's file begin with
//! `database`. Invariant: a call that the hook lets pass is done by the real file system.

use super::World;
use redb::StorageBackend;
use redb::backends::FileBackend;
use standpipe_server::blobs::BlobStore;
use standpipe_server::blobs::fs::FsBlobStore;
use standpipe_server::blobs::fs::files::{Facts, Files, OpenFile, Stat, SystemFiles};
use standpipe_server::blobs::space::Space;
use standpipe_server::clock::Clock;
use standpipe_server::metadata::MetadataStore;
use standpipe_server::metadata::redb::{RedbOptions, RedbStore};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Longer than any test should take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What happens before each call to the disk.
#[derive(Clone)]
pub(crate) struct Hook(Arc<Before>);

/// Gets a call's name and the path it is about.
type Before = dyn Fn(&str, &Path) -> io::Result<()> + Send + Sync;

impl Hook {
    pub(crate) fn new(
        hook: impl Fn(&str, &Path) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(hook))
    }

    fn call(&self, name: &str, path: &Path) -> io::Result<()> {
        (self.0)(name, path)
    }
}

impl std::fmt::Debug for Hook {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Hook")
    }
}

/// The two stores of a directory, with real files; on a hooked disk if there is a hook.
pub(crate) fn stores(
    directory: &Path,
    clock: &Clock,
    hook: Option<&Hook>,
    files_held: usize,
) -> (Arc<dyn MetadataStore>, Arc<dyn BlobStore>) {
    let (database, options) = (directory.join("meta.redb"), RedbOptions::default());
    let Some(hook) = hook.cloned() else {
        let metadata = RedbStore::open(&database, options, clock.clone()).expect("a database");
        let blobs = FsBlobStore::open_within(directory, clock.clone(), SystemFiles, files_held);
        let blobs = blobs.expect("blobs");
        return (Arc::new(metadata), Arc::new(blobs));
    };
    let files = HookedFiles { files: SystemFiles, hook: hook.clone() };
    let backend = move || Database::open(&database, &hook);
    let metadata = RedbStore::open_with(backend, options, clock.clone()).expect("a database");
    let blobs = FsBlobStore::open(directory, clock.clone(), files).expect("blobs");
    (Arc::new(metadata), Arc::new(blobs))
}

impl World {
    /// The data directory.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The files that hold blobs.
    pub(crate) fn objects(&self) -> Vec<PathBuf> {
        let folders = files_in(&self.path().join("blobs")).into_iter();
        let mut objects: Vec<_> = folders
            .filter(|folder| folder.is_dir() && !folder.ends_with("lost+found"))
            .flat_map(|folder| files_in(&folder))
            .collect();
        objects.sort();
        objects
    }

    /// The files of uploads that are not finished.
    pub(crate) fn unfinished(&self) -> Vec<PathBuf> {
        files_in(&self.path().join("uploads"))
    }

    /// Ends this server and starts another on the same directory, as `serve` would. Clients of the
    /// old one must be gone: they hold its database open.
    pub(crate) async fn restart(self, clock: Clock) -> Self {
        let Self { app, router, settings, directory, .. } = self;
        drop((app, router));
        let world = Self::open_at(directory, clock, settings).await;
        world.app.registry.recover_uploads().await.expect("settled");
        world.app.registry.sweep().await.expect("swept");
        world
    }
}

fn files_in(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("our own directory can be read");
    entries.map(|entry| entry.expect("a name").path()).collect()
}

/// Holds calls back while it is shut. Opens itself when the test ends, however it does.
pub(crate) struct Gate(Arc<(Mutex<Held>, Condvar)>);

/// The calls' side of a gate.
#[derive(Clone)]
pub(crate) struct Calls(Arc<(Mutex<Held>, Condvar)>);

#[derive(Default)]
struct Held {
    shut: bool,
    waiting: usize,
}

impl Gate {
    /// An open gate.
    pub(crate) fn new() -> (Self, Calls) {
        let shared = Arc::default();
        (Self(Arc::clone(&shared)), Calls(shared))
    }

    pub(crate) fn shut(&self) {
        self.0.0.lock().expect("never poisoned").shut = true;
    }

    pub(crate) fn open(&self) {
        self.0.0.lock().expect("never poisoned").shut = false;
        self.0.1.notify_all();
    }

    /// Waits until so many calls are held back.
    pub(crate) async fn holds(&self, calls: usize) {
        let held = async {
            while self.0.0.lock().expect("never poisoned").waiting < calls {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, held).await.expect("the calls arrive");
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open();
    }
}

impl Calls {
    /// Returns once the gate is open.
    pub(crate) fn pass(&self) {
        let (held, changed) = &*self.0;
        let mut held = held.lock().expect("never poisoned");
        held.waiting += 1;
        let waited = changed.wait_timeout_while(held, PATIENCE, |held| held.shut);
        waited.expect("never poisoned").0.waiting -= 1;
    }
}

/// Blob files with a hook.
#[derive(Clone, Debug)]
struct HookedFiles {
    files: SystemFiles,
    hook: Hook,
}

#[derive(Debug)]
struct HookedFile {
    file: File,
    path: PathBuf,
    hook: Hook,
}

impl HookedFiles {
    fn hooked(&self, path: &Path, file: File) -> HookedFile {
        HookedFile { file, path: path.to_owned(), hook: self.hook.clone() }
    }
}

impl Files for HookedFiles {
    type File = HookedFile;

    fn open(&self, path: &Path) -> io::Result<HookedFile> {
        self.hook.call("open", path)?;
        self.files.open(path).map(|file| self.hooked(path, file))
    }

    fn open_to_write(&self, path: &Path) -> io::Result<HookedFile> {
        self.hook.call("open_to_write", path)?;
        self.files.open_to_write(path).map(|file| self.hooked(path, file))
    }

    fn create(&self, path: &Path) -> io::Result<HookedFile> {
        self.hook.call("create", path)?;
        self.files.create(path).map(|file| self.hooked(path, file))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.hook.call("create_dir", path)?;
        self.files.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.hook.call("rename", to)?;
        self.files.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.hook.call("remove", path)?;
        self.files.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.hook.call("sync_dir", path)?;
        self.files.sync_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.hook.call("list", path)?;
        self.files.list(path)
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.hook.call("stat", path)?;
        self.files.stat(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.hook.call("space", path)?;
        self.files.space(path)
    }
}

impl OpenFile for HookedFile {
    fn length(&self) -> io::Result<u64> {
        self.hook.call("length", &self.path)?;
        self.file.length()
    }

    fn facts(&self) -> io::Result<Facts> {
        self.hook.call("length", &self.path)?;
        self.file.facts()
    }

    fn read(&self, offset: u64, length: usize, into: Vec<u8>) -> io::Result<Vec<u8>> {
        self.hook.call("read", &self.path)?;
        OpenFile::read(&self.file, offset, length, into)
    }

    fn read_cached(&self, _: u64, _: &mut [u8]) -> usize {
        // Faults are met in calls that may fail.
        0
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.hook.call("write", &self.path)?;
        OpenFile::write(&self.file, offset, bytes)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.hook.call("set_length", &self.path)?;
        self.file.set_length(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.hook.call("sync_data", &self.path)?;
        OpenFile::sync_data(&self.file)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.hook.call("sync_all", &self.path)?;
        OpenFile::sync_all(&self.file)
    }
}

/// The database's file with a hook.
#[derive(Debug)]
struct Database {
    file: FileBackend,
    path: PathBuf,
    hook: Hook,
}

impl Database {
    fn open(path: &Path, hook: &Hook) -> Self {
        hook.call("database open", path).expect("opening does not fail");
        let mut options = File::options();
        let file = options.create(true).truncate(false).read(true).write(true).open(path);
        let file = FileBackend::new(file.expect("our own file can be opened"));
        Self {
            file: file.expect("nobody else has it open"),
            path: path.to_owned(),
            hook: hook.clone(),
        }
    }
}

impl StorageBackend for Database {
    fn len(&self) -> io::Result<u64> {
        self.hook.call("database len", &self.path)?;
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.hook.call("database read", &self.path)?;
        self.file.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.hook.call("database set_len", &self.path)?;
        self.file.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.hook.call("database sync", &self.path)?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.hook.call("database write", &self.path)?;
        self.file.write(offset, data)
    }
}
