//! The tar that `docker save` writes, read as a stream, once.
//!
//! Two layouts occur, and both end with `manifest.json`, which says what the files are:
//! - up to engine 24: `<id>/layer.tar` (raw; a repeated layer is a symbolic link), `<id>.json`;
//! - from engine 25: `blobs/sha256/<hex>`, raw layers named by their diffID, or, from the
//!   containerd store, layers compressed as they were pulled or built.
//!
//! So blobs come before their meaning. What is a raw layer is known from the diffIDs that the
//! daemon named beforehand, or from the name `layer.tar`; it is compressed on the way to the
//! spool. Everything else is stored as it is. `index.json` is not used: engines around 25.0.0
//! wrote it with missing layers, wrong sizes and wrong order.
//! Invariant: names from the archive are keys of a map, never paths of files; a blob whose
//! content does not match its name is an error; no part of the archive is in memory whole, except
//! headers and `manifest.json`, which have a limit.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::rc::Rc;

use tar::{Archive, Entry, EntryType};

use crate::compress;
use crate::config::Compression;
use crate::error::{Error, Failure};
use crate::image::{Digest, Hashing};
use crate::spool::{Spool, SpoolFile};

/// What an export contains.
#[derive(Debug, Default)]
pub(super) struct Export {
    files: HashMap<String, Content>,
    /// The bytes of `manifest.json`.
    pub(super) manifest: Vec<u8>,
}

/// One file of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// A layer that came raw and is now compressed.
    Packed {
        /// Digest of the raw tar.
        raw: Digest,
        /// The compressed layer.
        stored: SpoolFile,
    },
    /// Stored as it came.
    Verbatim(SpoolFile),
    /// A link to another name.
    Link(String),
}

impl Export {
    /// The file called `name`, links followed.
    pub(super) fn find(&self, name: &str) -> Option<&Content> {
        let mut name = normal(name);
        // A chain longer than this is a circle.
        for _ in 0..8 {
            match self.files.get(&name)? {
                Content::Link(target) => name.clone_from(target),
                content => return Some(content),
            }
        }
        None
    }

    /// Files that were stored as they came.
    pub(super) fn verbatim(&self) -> impl Iterator<Item = &SpoolFile> {
        self.files.values().filter_map(|content| match content {
            Content::Verbatim(file) => Some(file),
            Content::Packed { .. } | Content::Link(_) => None,
        })
    }
}

/// Reads `tar` to its end. `raw` are the digests under which raw layers may come.
pub(super) fn read(tar: impl Read, spool: &Spool, raw: &[Digest]) -> Result<Export, Error> {
    let export = read_entries(tar, spool, raw).map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull => Error::Unexpected(
            Failure::new(format!("the disk is full: {error}"))
                .hint("TMPDIR names another place for layers; size: 2x gives a step more space."),
        ),
        _ => Error::Source(Failure::new(format!("the export of the image is broken: {error}"))),
    })?;
    if export.manifest.is_empty() {
        let message = "the export of the image ended before its manifest.json";
        return Err(Error::Source(Failure::new(message)));
    }
    Ok(export)
}

fn read_entries(tar: impl Read, spool: &Spool, raw: &[Digest]) -> io::Result<Export> {
    let mut export = Export::default();
    // The tar reader keeps long names and other headers in memory whole, however long they are.
    let left = Rc::new(Cell::new(LARGEST_HEADERS));
    let mut archive = Archive::new(Metered { inner: tar, left: Rc::clone(&left) });
    for entry in archive.entries()? {
        let mut entry = entry?;
        let stored = stored_size(&entry)?;
        left.set(u64::MAX);
        take(&mut export, &mut entry, spool, raw)?;
        // What was not read of the file is skipped on the way to the next header.
        let skipped = stored.saturating_sub(u64::MAX - left.get());
        left.set(skipped.saturating_add(LARGEST_HEADERS));
    }
    Ok(export)
}

/// Bytes of an entry in the archive. A sparse one, which is never taken, says how long it would be.
fn stored_size(entry: &Entry<'_, impl Read>) -> io::Result<u64> {
    match entry.header().entry_type() {
        EntryType::GNUSparse => entry.header().entry_size(),
        _ => Ok(entry.size()),
    }
}

/// Takes what a push could need of an entry.
fn take(
    export: &mut Export,
    entry: &mut Entry<'_, impl Read>,
    spool: &Spool,
    raw: &[Digest],
) -> io::Result<()> {
    let name = normal(&String::from_utf8_lossy(&entry.path_bytes()));
    let content = match entry.header().entry_type() {
        EntryType::Regular | EntryType::Continuous if name == MANIFEST => {
            export.manifest = small(entry)?;
            return Ok(());
        }
        EntryType::Regular | EntryType::Continuous => store(entry, &name, spool, raw)?,
        EntryType::Symlink | EntryType::Link => {
            let target = entry.link_name_bytes().unwrap_or_default();
            let target = String::from_utf8_lossy(&target).into_owned();
            let folder = match entry.header().entry_type() {
                // A hard link names its target from the root of the archive.
                EntryType::Link => "",
                _ => name.rsplit_once('/').map_or("", |(folder, _)| folder),
            };
            Some(Content::Link(normal(&format!("{folder}/{target}"))))
        }
        _ => None,
    };
    if let Some(content) = content {
        export.files.insert(name, content);
    }
    Ok(())
}

/// Stores a regular file if a push could need it.
fn store(
    entry: &mut Entry<'_, impl Read>,
    name: &str,
    spool: &Spool,
    raw: &[Digest],
) -> io::Result<Option<Content>> {
    let blob = name.strip_prefix(BLOBS).and_then(Digest::from_hex);
    let content = match &blob {
        Some(digest) if raw.contains(digest) => pack(entry, spool)?,
        None if name.ends_with("/layer.tar") => pack(entry, spool)?,
        Some(_) => copy(entry, spool)?,
        None if name.ends_with(".json") && !name.contains('/') && name != INDEX => {
            copy(entry, spool)?
        }
        None => return Ok(None),
    };
    let actual = match &content {
        Content::Packed { raw, .. } => raw,
        Content::Verbatim(file) => &file.digest,
        Content::Link(_) => return Ok(None),
    };
    match blob {
        Some(named) if named != *actual => {
            Err(io::Error::other(format!("blob {named} hashes to {actual}")))
        }
        _ => Ok(Some(content)),
    }
}

/// Compresses a raw layer into the spool, hashing both sides.
fn pack(entry: &mut Entry<'_, impl Read>, spool: &Spool) -> io::Result<Content> {
    let announced = entry.size();
    let mut input = HashedRead { inner: entry, hashing: Hashing::default() };
    let mut writer = spool.writer()?;
    compress::pack(Compression::default(), &mut input, &mut writer)?;
    let (raw, size) = input.hashing.finish();
    complete(announced, size)?;
    Ok(Content::Packed { raw, stored: writer.finish()? })
}

fn copy(entry: &mut Entry<'_, impl Read>, spool: &Spool) -> io::Result<Content> {
    let announced = entry.size();
    let mut writer = spool.writer()?;
    let mut buffer = vec![0; BUFFER];
    loop {
        match entry.read(&mut buffer)? {
            0 => break,
            count => writer.write_all(&buffer[..count])?,
        }
    }
    let file = writer.finish()?;
    complete(announced, file.size)?;
    Ok(Content::Verbatim(file))
}

fn small(entry: &mut Entry<'_, impl Read>) -> io::Result<Vec<u8>> {
    let announced = entry.size();
    if announced > LARGEST_MANIFEST {
        return Err(io::Error::other(format!("{MANIFEST} has {announced} bytes")));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes)?;
    complete(announced, bytes.len() as u64)?;
    Ok(bytes)
}

/// The tar reader ends a file quietly when the stream ends inside it.
fn complete(announced: u64, read: u64) -> io::Result<()> {
    if read == announced {
        return Ok(());
    }
    let message = format!("a file of {announced} bytes ended after {read}");
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, message))
}

/// Ends when more was read than was `left`, which is set anew for each part of the archive.
struct Metered<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        let left = self.left.get().checked_sub(count as u64);
        self.left
            .set(left.ok_or_else(|| io::Error::other("a file has more than 1 MiB of headers"))?);
        Ok(count)
    }
}

struct HashedRead<R> {
    inner: R,
    hashing: Hashing,
}

impl<R: Read> Read for HashedRead<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.hashing.update(&into[..count]);
        Ok(count)
    }
}

/// `name` without `.`, `..` and needless slashes, from the root of the archive.
fn normal(name: &str) -> String {
    let mut parts = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

const MANIFEST: &str = "manifest.json";
const INDEX: &str = "index.json";
const BLOBS: &str = "blobs/sha256/";
const LARGEST_MANIFEST: u64 = 16 << 20;
/// The header of a file, its name and other attributes. Names have a few hundred bytes at most.
const LARGEST_HEADERS: u64 = 1 << 20;
const BUFFER: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn tar(files: &[(&str, &[u8])], links: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, target) in links {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(EntryType::Symlink);
            header.set_size(0);
            builder.append_link(&mut header, name, target).unwrap();
        }
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, name, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn spool() -> (tempfile::TempDir, Spool) {
        let parent = tempfile::tempdir().unwrap();
        let spool = Spool::create(parent.path()).unwrap();
        (parent, spool)
    }

    #[test]
    fn a_link_is_followed_even_if_it_comes_first() {
        let (_parent, spool) = spool();
        let bytes = tar(
            &[("b/layer.tar", b"layer"), ("manifest.json", b"[]")],
            &[("a/layer.tar", "../b/layer.tar"), ("c", "c")],
        );
        let export = read(&bytes[..], &spool, &[]).unwrap();
        assert_eq!(export.find("a/layer.tar"), export.find("./b/layer.tar"));
        assert!(matches!(export.find("a/layer.tar"), Some(Content::Packed { raw, .. })
            if *raw == Digest::of(b"layer")));
        assert_eq!(export.find("c"), None);
    }

    #[test]
    fn a_blob_is_packed_only_if_its_name_is_a_diff_id() {
        let (_parent, spool) = spool();
        let (layer, other) = (Digest::of(b"layer"), Digest::of(b"other"));
        let names = [&layer, &other].map(|digest| format!("{BLOBS}{}", digest.hex()));
        let files: [(&str, &[u8]); 3] =
            [(&names[0], b"layer"), (&names[1], b"other"), ("manifest.json", b"[]")];
        let export = read(&tar(&files, &[])[..], &spool, &[layer]).unwrap();
        assert!(matches!(export.find(&names[0]), Some(Content::Packed { .. })));
        assert!(matches!(export.find(&names[1]), Some(Content::Verbatim(_))));
    }

    #[test]
    fn a_blob_that_does_not_match_its_name_is_refused() {
        let (_parent, spool) = spool();
        let digest = Digest::of(b"right");
        let name = format!("{BLOBS}{}", digest.hex());
        for raw in [&[][..], &[digest]] {
            let bytes = tar(&[(&name, b"wrong"), ("manifest.json", b"[]")], &[]);
            let error = read(&bytes[..], &spool, raw).unwrap_err();
            assert_eq!(error.exit_code(), 3);
            assert!(error.to_string().contains("hashes to"), "{error}");
        }
    }

    #[test]
    fn an_export_cut_anywhere_is_an_error_and_never_a_smaller_image() {
        let layer = vec![7; 3000];
        let bytes = tar(&[("a/layer.tar", &layer), ("manifest.json", b"[]")], &[]);
        // After the content of the last file only zeros follow.
        let end = 512 + 3072 + 512 + 2;
        for cut in (0..end).step_by(97) {
            let (_parent, spool) = spool();
            assert!(read(&bytes[..cut], &spool, &[]).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_long_name_without_end_is_refused_before_it_fills_the_memory() {
        let (_parent, spool) = spool();
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_size(64 << 30);
        header.set_cksum();
        // A layer in front must not lend its size to what comes after it.
        let mut start = tar(&[("a/layer.tar", &vec![7; 3 << 20]), ("x", &vec![7; 3 << 20])], &[]);
        start.truncate(2 * (512 + (3 << 20)));
        start.extend_from_slice(header.as_bytes());
        let read_so_far = Rc::new(Cell::new(0));
        let endless =
            Counted(io::Cursor::new(start).chain(io::repeat(b'x')), Rc::clone(&read_so_far));
        let error = read(endless, &spool, &[]).unwrap_err();
        assert!(error.to_string().contains("1 MiB of headers"), "{error}");
        assert!(read_so_far.get() < 8 << 20, "{} bytes were read", read_so_far.get());
    }

    struct Counted<R>(R, Rc<Cell<usize>>);

    impl<R: Read> Read for Counted<R> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.0.read(into)?;
            self.1.set(self.1.get() + count);
            Ok(count)
        }
    }

    #[test]
    fn names_are_brought_to_one_form() {
        assert_eq!(normal("./a//b/../c"), "a/c");
        assert_eq!(normal("../../etc/passwd"), "etc/passwd");
    }
}
