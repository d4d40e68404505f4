//! Archives and layouts that lie on disk: found, not read.
//!
//! Nothing is copied but an archive that is compressed as a whole: a layer that can be pushed as
//! it is stays where it is.
//! Invariant: every piece lies inside its file; what is opened is a regular file.
//! Must not know: what the files mean.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::files::{BLOBS, Content, Extent, Files, INDEX, Reading, invalid};
use super::members::{Kind, Members};
use super::pack::{self, Compression};
use crate::image::Digest;

/// The files of an archive, which may be compressed.
pub(super) fn archive(path: &Path, reading: &Reading) -> io::Result<Files> {
    let file = regular(path)?;
    let first = pack::first_bytes(&file)?;
    if first.is_empty() {
        return Err(invalid("the file is empty"));
    }
    if let Some(kind) = Compression::of(&first) {
        let whole = reading.watch(regular(path)?);
        let expanded = pack::expand(whole, kind, &reading.spool)?;
        return members(&expanded.path);
    }
    match foreign(&first) {
        Some(name) => Err(invalid(format!(
            "the file is compressed with {name}; a tar, also with gzip or zstd, is read"
        ))),
        None => members(path),
    }
}

/// The files of a folder with an OCI layout.
pub(super) fn folder(path: &Path) -> io::Result<Files> {
    let mut files = Files::default();
    for name in [INDEX.to_owned()].into_iter().chain(blobs(path)?) {
        let file = path.join(&name);
        match fs::metadata(&file) {
            Ok(metadata) if metadata.is_file() => {
                let extent = Extent { path: file.into(), offset: 0, size: metadata.len() };
                files.insert(name, Content::Unread(extent))?;
            }
            // A link to nowhere is a blob that is missing.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

/// The names of blobs in a layout; other files lie there now and then.
fn blobs(layout: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(layout.join(BLOBS)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Some(hex) =
            entry?.file_name().to_str().filter(|name| Digest::from_hex(name).is_some())
        {
            names.push(format!("{BLOBS}{hex}"));
        }
    }
    Ok(names)
}

fn members(path: &Path) -> io::Result<Files> {
    let file = regular(path)?;
    let length = file.metadata()?.len();
    let path: Arc<Path> = path.into();
    let mut members = Members::of_file(file);
    let mut files = Files::default();
    while let Some(member) = members.advance()? {
        let content = match member.kind {
            Kind::File => {
                // The walk only seeks, so it does not notice.
                if member.position + member.size > length {
                    let message = format!("it ends in the middle of {}", member.name);
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
                }
                let (offset, size) = (member.position, member.size);
                Content::Unread(Extent { path: Arc::clone(&path), offset, size })
            }
            Kind::Link(target) => Content::Link(target),
            Kind::Other => continue,
        };
        files.insert(member.name, content)?;
    }
    Ok(files)
}

/// Opens a file that is one: a pipe would make us wait for ever.
fn regular(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        return Err(invalid("it is not a file"));
    }
    File::open(path)
}

/// What else archives are compressed with.
fn foreign(first: &[u8]) -> Option<&'static str> {
    match first {
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Some("xz"),
        [b'B', b'Z', b'h', ..] => Some("bzip2"),
        [b'P', b'K', 3, 4, ..] => Some("zip"),
        [0x04, 0x22, 0x4d, 0x18, ..] => Some("lz4"),
        [b'7', b'z', 0xbc, 0xaf, ..] => Some("7-zip"),
        _ => None,
    }
}
