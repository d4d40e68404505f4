//! Free space, and how much of it must stay free.

/// What a file system has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that an unprivileged process can still write.
    pub free: u64,
    /// Size of the file system in bytes.
    pub total: u64,
}

impl Space {
    /// Measures the file system that holds `path`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn of(path: &std::path::Path) -> std::io::Result<Self> {
        let found = rustix::fs::statvfs(path)?;
        Ok(Self { free: found.f_bavail * found.f_frsize, total: found.f_blocks * found.f_frsize })
    }
}

/// What there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Everything.
    Plenty,
    /// Everything but uploads.
    NoUploads,
    /// Deletions only.
    DeletesOnly,
}

/// Watches free space.
#[derive(Clone, Debug)]
pub struct SpaceWatch;

impl SpaceWatch {
    /// What there is room for now.
    #[must_use]
    pub fn room(&self) -> Room {
        Room::Plenty
    }
}
