//! Looking at folders from outside, and small file systems that fill up.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::guardian;
use crate::process::Program;

/// A temporary folder that is removed with the value, and by the guardian if the test process is killed.
///
/// # Panics
/// When the folder cannot be made.
#[must_use]
pub fn temporary_directory(purpose: &str) -> TempDir {
    let directory = tempfile::Builder::new()
        .prefix(&format!("standpipe-{purpose}-"))
        .tempdir()
        .expect("the machine has a writable temporary folder");
    guardian::watch_directory(directory.path());
    directory
}

/// All regular files below a folder, sorted; empty when the folder does not exist.
///
/// A file that vanishes during the walk is left out.
///
/// # Panics
/// When a folder cannot be read.
#[must_use]
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect(directory, &mut files);
    files.sort();
    files
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return,
        Err(error) => panic!("cannot read {}: {error}", directory.display()),
    };
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect(&entry.path(), files),
            Ok(_) => files.push(entry.path()),
            Err(_) => {}
        }
    }
}

/// A directory that can be reached by a second path. Unmounted with the value.
#[derive(Debug)]
pub struct BindMount {
    target: PathBuf,
}

impl BindMount {
    /// Makes `source` reachable at `target`; `None` where this user may not mount.
    #[must_use]
    pub fn of(source: &Path, target: &Path) -> Option<Self> {
        let mut mount = std::process::Command::new("mount");
        let mounted = mount.arg("--bind").args([source, target]).output().ok()?;
        if !mounted.status.success() {
            return None;
        }
        guardian::watch_mount(target);
        Some(Self { target: target.to_owned() })
    }
}

impl Drop for BindMount {
    fn drop(&mut self) {
        // Lazily, as below.
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.target).status();
    }
}

/// A file system in memory with a fixed size, for running out of space. Unmounted with the value.
#[derive(Debug)]
pub struct SmallFileSystem {
    directory: TempDir,
}

impl SmallFileSystem {
    /// Mounts one of `mebibytes`; `None` where this user may not mount.
    pub async fn mount(mebibytes: u32) -> Option<Self> {
        Self::mount_with(&format!("size={mebibytes}m")).await
    }

    /// Mounts one with these options of the kernel's tmpfs; `None` where this user may not mount.
    pub async fn mount_with(options: &str) -> Option<Self> {
        let directory = temporary_directory("small");
        let finished = Program::new("mount")
            .args(["-t", "tmpfs", "-o"])
            .args([options])
            .args(["tmpfs".as_ref(), directory.path().as_os_str()])
            .finish()
            .await;
        if finished.code != Some(0) {
            return None;
        }
        guardian::watch_mount(directory.path());
        Some(Self { directory })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for SmallFileSystem {
    fn drop(&mut self) {
        // Lazily: a server that still stops may hold a file open, and the guardian tries again anyway.
        let _ = std::process::Command::new("umount").arg("-l").arg(self.directory.path()).status();
    }
}
