//! The files of an export, an archive or a layout, by name.
//!
//! Invariant: names are keys of a map, never paths; a blob leaves here only after its content
//! was held against its digest, a raw layer against its diffID.
//! Must not know: what the files mean.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Take};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use super::members::normal;
use super::pack::{self, Compression};
use crate::config;
use crate::image::{Blob, Digest};
use crate::known::Known;
use crate::progress::Progress;
use crate::spool::{Spool, SpoolFile};

/// What reading needs besides the files; clones are one.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) spool: Arc<Spool>,
    /// Counts the bytes of blobs that were read.
    pub(super) progress: Progress,
    /// What becomes of raw layers.
    pub(super) compression: config::Compression,
    /// What the registry has of the image.
    pub(super) known: Arc<Known>,
    /// Takes layers that can be sent while the rest is read.
    pub(super) ready: Option<UnboundedSender<Blob>>,
    /// Nobody waits for the result any more.
    pub(super) stopped: CancellationToken,
}

/// Everything that was found.
#[derive(Debug, Default)]
pub(super) struct Files {
    entries: HashMap<String, Content>,
    /// What the names take in memory, about.
    weight: usize,
    done: Mutex<Done>,
}

/// Work that is not done twice: platforms and images share layers.
#[derive(Debug, Default)]
struct Done {
    layers: HashMap<String, (Digest, Blob)>,
    verified: HashMap<Digest, SpoolFile>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// A layer that came raw and is compressed now.
    Packed {
        /// Digest of the raw tar.
        raw: Digest,
        /// The compressed layer.
        blob: Blob,
    },
    /// In the spool as it came; if its name is a digest, they were compared.
    Stored(SpoolFile),
    /// Where it was found, not looked at yet.
    Unread(Extent),
    /// A link to another name.
    Link(String),
}

/// A piece of a file on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) path: Arc<Path>,
    /// In bytes.
    pub(super) offset: u64,
    /// In bytes.
    pub(super) size: u64,
}

/// In which form a blob is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Missing,
    /// Only compressed by us, which is another blob.
    Packed,
    /// As it is named, with so many bytes.
    Stored(u64),
}

impl Files {
    /// Adds a file. A second one of the same name replaces the first, as it would when unpacked;
    /// only what the other files are known by may not be said twice.
    pub(super) fn insert(&mut self, name: String, content: Content) -> io::Result<()> {
        self.weight += name.len() + WEIGHT_OF_ENTRY;
        if self.weight > MOST_WEIGHT {
            return Err(invalid("it has more files than any image"));
        }
        if matches!(name.as_str(), LIST | INDEX) && self.entries.contains_key(&name) {
            return Err(invalid(format!("it has two files {name}")));
        }
        self.entries.insert(name, content);
        Ok(())
    }

    /// The file called `name`, links followed, and its own name.
    pub(super) fn find(&self, name: &str) -> Option<(String, &Content)> {
        let mut name = normal(name);
        // A chain longer than this is a circle.
        for _ in 0..MOST_LINKS {
            match self.entries.get(&name)? {
                Content::Link(target) => name.clone_from(target),
                content => return Some((name, content)),
            }
        }
        None
    }

    /// Whether a file lies in the folder called `folder`.
    pub(super) fn has_folder(&self, folder: &str) -> bool {
        let inside =
            |name: &String| name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        self.entries.keys().any(inside)
    }

    /// The bytes of a file that should be small; none if it is not there.
    pub(super) fn small(&self, name: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
        let Some((name, content)) = self.find(name) else {
            return Ok(None);
        };
        let Some((reader, size)) = content.open()? else {
            return Ok(None);
        };
        if size > most {
            return Err(invalid(format!("{name} has {size} bytes; {most} are allowed")));
        }
        let mut bytes = Vec::new();
        reader.take(most).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != size {
            return Err(changed(&name));
        }
        Ok(Some(bytes))
    }

    /// The bytes of a manifest or configuration; none if it is not there.
    pub(super) fn document(&self, digest: &Digest) -> io::Result<Option<Vec<u8>>> {
        let bytes = self.small(&blob_name(digest), LARGEST_DOCUMENT)?;
        match bytes {
            Some(bytes) if Digest::of(&bytes) != *digest => Err(mismatch(digest, &bytes)),
            bytes => Ok(bytes),
        }
    }

    /// In which form a blob is there.
    pub(super) fn presence(&self, digest: &Digest) -> Presence {
        match self.find(&blob_name(digest)).map(|(_, content)| content) {
            Some(Content::Stored(file)) => Presence::Stored(file.size),
            Some(Content::Unread(extent)) => Presence::Stored(extent.size),
            Some(Content::Packed { .. }) => Presence::Packed,
            Some(Content::Link(_)) | None => Presence::Missing,
        }
    }

    /// A blob as it is stored, its content compared with its digest.
    pub(super) fn blob(&self, digest: &Digest, reading: &Reading) -> io::Result<SpoolFile> {
        let missing = || invalid(format!("blob {digest} is missing"));
        let (_, content) = self.find(&blob_name(digest)).ok_or_else(missing)?;
        match content {
            Content::Stored(file) => Ok(file.clone()),
            Content::Unread(extent) => self.verified(extent, digest, reading),
            Content::Packed { .. } | Content::Link(_) => Err(missing()),
        }
    }

    /// A layer that only a list names: compressed by us if it is raw, else as it is.
    pub(super) fn layer(&self, name: &str, diff_id: &str, reading: &Reading) -> io::Result<Blob> {
        let missing = || invalid(format!("layer {name} is missing"));
        let (name, content) = self.find(name).ok_or_else(missing)?;
        let (raw, blob) = match content {
            Content::Packed { raw, blob } => (raw.clone(), blob.clone()),
            content => match (compression(content)?, digest_in(&name)) {
                (Some(kind), Some(digest)) => {
                    return Ok(Blob::here(kind.media_type(), self.blob(&digest, reading)?));
                }
                (kind, _) => self.looked_into(&name, content, kind, reading)?,
            },
        };
        if raw.as_str() != diff_id {
            return Err(invalid(format!("layer {name} hashes to {raw}, {diff_id} expected")));
        }
        Ok(blob)
    }

    /// Whether a layer is there and not compressed.
    pub(super) fn is_raw(&self, name: &str) -> io::Result<bool> {
        match self.find(name) {
            Some((_, Content::Packed { .. })) => Ok(true),
            Some((_, content)) => Ok(compression(content)?.is_none()),
            None => Ok(false),
        }
    }

    /// The bytes of a configuration and where they lie; none if it is not there. A name with a
    /// digest in it is held against the content.
    pub(super) fn config(&self, name: &str) -> io::Result<Option<(Vec<u8>, SpoolFile)>> {
        let Some(bytes) = self.small(name, LARGEST_DOCUMENT)? else {
            return Ok(None);
        };
        let digest = Digest::of(&bytes);
        let Some((name, content)) = self.find(name) else {
            return Ok(None);
        };
        if let Some(named) = digest_of_config(&name).filter(|named| *named != digest) {
            return Err(mismatch(&named, &bytes));
        }
        Ok(content.file(digest).map(|file| (bytes, file)))
    }

    /// Bytes of a file as it is there; 0 if it is not.
    pub(super) fn size(&self, name: &str) -> u64 {
        match self.find(name) {
            Some((_, Content::Stored(file))) => file.size,
            Some((_, Content::Unread(extent))) => extent.size,
            _ => 0,
        }
    }

    /// How many bytes of the spool a layer may take.
    pub(super) fn spooled(&self, name: &str) -> io::Result<u64> {
        match self.find(name) {
            Some((_, Content::Unread(extent))) if extent.compression()?.is_none() => {
                Ok(extent.size)
            }
            _ => Ok(0),
        }
    }

    /// The raw digest of a layer, and the layer compressed: by us if it is raw, else as it is.
    fn looked_into(
        &self,
        name: &str,
        content: &Content,
        kind: Option<Compression>,
        reading: &Reading,
    ) -> io::Result<(Digest, Blob)> {
        if let Some(done) = self.done().layers.get(name) {
            return Ok(done.clone());
        }
        let (reader, size) = content.open()?.ok_or_else(|| changed(name))?;
        let mut reader = reading.watch(reader);
        let (raw, read, blob) = match kind {
            None => {
                let packed = pack::pack(&mut reader, reading)?;
                (packed.raw, packed.size, packed.blob)
            }
            Some(kind) => {
                let inside = pack::unpack(reader, kind)?;
                let file = content.file(inside.digest).ok_or_else(|| changed(name))?;
                (inside.raw, inside.size, Blob::here(kind.media_type(), file))
            }
        };
        if read != size {
            return Err(changed(name));
        }
        self.done().layers.insert(name.to_owned(), (raw.clone(), blob.clone()));
        Ok((raw, blob))
    }

    fn verified(
        &self,
        extent: &Extent,
        digest: &Digest,
        reading: &Reading,
    ) -> io::Result<SpoolFile> {
        if let Some(file) = self.done().verified.get(digest) {
            return Ok(file.clone());
        }
        let (actual, size) = pack::hash(&mut reading.watch(extent.open()?))?;
        if actual != *digest {
            return Err(invalid(format!("blob {digest} hashes to {actual}")));
        }
        if size != extent.size {
            return Err(changed(digest.as_str()));
        }
        let file = extent.file(actual);
        self.done().verified.insert(digest.clone(), file.clone());
        Ok(file)
    }

    fn done(&self) -> std::sync::MutexGuard<'_, Done> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    /// What lies on disk, known by its digest.
    fn file(&self, digest: Digest) -> Option<SpoolFile> {
        match self {
            Self::Stored(file) => Some(file.clone()),
            Self::Unread(extent) => Some(extent.file(digest)),
            Self::Packed { .. } | Self::Link(_) => None,
        }
    }

    /// What lies on disk, and its size.
    fn open(&self) -> io::Result<Option<(Take<File>, u64)>> {
        match self {
            Self::Stored(file) => Ok(Some((file.open()?, file.size))),
            Self::Unread(extent) => Ok(Some((extent.open()?, extent.size))),
            Self::Packed { .. } | Self::Link(_) => Ok(None),
        }
    }
}

impl Extent {
    /// How it is compressed, told by its first bytes.
    fn compression(&self) -> io::Result<Option<Compression>> {
        Ok(Compression::of(&pack::first_bytes(self.open()?)?))
    }

    fn open(&self) -> io::Result<Take<File>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        Ok(file.take(self.size))
    }

    fn file(&self, digest: Digest) -> SpoolFile {
        SpoolFile { path: self.path.to_path_buf(), offset: self.offset, digest, size: self.size }
    }
}

impl Reading {
    /// A layer of the image can be sent. A small one is sent with the rest.
    pub(super) fn announce(&self, blob: &Blob) {
        if let Some(ready) = self.ready.as_ref().filter(|_| blob.size >= WORTH_IT) {
            // Nobody listens any more if sending has failed, and then reading ends soon.
            let _ = ready.send(blob.clone());
        }
    }

    /// Counts what is read and ends when nobody waits for it any more.
    pub(super) fn watch<R: Read>(&self, inner: R) -> Watched<'_, R> {
        Watched { inner, reading: self }
    }
}

/// A reader that is counted and can be stopped.
pub(super) struct Watched<'a, R> {
    inner: R,
    reading: &'a Reading,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.reading.stopped.is_cancelled() {
            // Not "interrupted": that means to try again.
            return Err(io::Error::other("reading was stopped"));
        }
        let count = self.inner.read(into)?;
        self.reading.progress.add(count as u64);
        Ok(count)
    }
}

/// Something in the source is not as it should be.
pub(super) fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

fn compression(content: &Content) -> io::Result<Option<Compression>> {
    match content.open()? {
        Some((reader, _)) => Ok(Compression::of(&pack::first_bytes(reader)?)),
        None => Ok(None),
    }
}

/// The digest in the name of a configuration: `blobs/sha256/HEX`, `HEX.json`, or `sha256:HEX` as
/// some builders have it.
pub(super) fn digest_of_config(name: &str) -> Option<Digest> {
    let bare = name.strip_prefix(BLOBS).unwrap_or(name).trim_end_matches(".json");
    Digest::from_hex(bare).or_else(|| Digest::parse(bare))
}

/// The digest in the name of a blob.
fn digest_in(name: &str) -> Option<Digest> {
    Digest::from_hex(name.strip_prefix(BLOBS)?)
}

fn blob_name(digest: &Digest) -> String {
    format!("{BLOBS}{}", digest.hex())
}

fn changed(name: &str) -> io::Error {
    invalid(format!("{name} was changed while it was read"))
}

fn mismatch(digest: &Digest, bytes: &[u8]) -> io::Error {
    invalid(format!("blob {digest} hashes to {}", Digest::of(bytes)))
}

/// The folder of blobs (image-spec, image-layout.md).
pub(super) const BLOBS: &str = "blobs/sha256/";
/// The list of images that Docker writes.
pub(super) const LIST: &str = "manifest.json";
/// The list of images of an OCI layout.
pub(super) const INDEX: &str = "index.json";
/// Configurations and manifests are a few KiB; registries refuse more than 4 MiB.
pub(super) const LARGEST_DOCUMENT: u64 = 4 << 20;
const MOST_LINKS: usize = 8;
/// Bytes of a layer from which sending it while others are read saves time.
const WORTH_IT: u64 = 1 << 20;
const WEIGHT_OF_ENTRY: usize = 150;
/// An archive of a hundred images has ten thousand files.
const MOST_WEIGHT: usize = 32 << 20;
