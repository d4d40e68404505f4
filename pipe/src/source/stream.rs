//! The tar that a daemon exports, read as a stream, once.
//!
//! Two layouts occur, and in both the files come before what says what they are:
//! - up to engine 24: `<id>/layer.tar` (raw; a repeated layer is a symbolic link), `<id>.json`;
//!   podman's service writes `<diffID>.tar` besides;
//! - from engine 25: `blobs/sha256/<hex>`, raw layers named by their diffID, or, from the
//!   containerd store, layers compressed as they were pulled or built.
//!
//! What is a raw layer is known from the diffIDs that the daemon named beforehand, or from the
//! ending `.tar`; it is compressed on the way to the spool, so that it needs no space raw.
//! Everything else is stored as it is.
//! Invariant: a blob whose content does not match its name is an error.

use std::io::{self, Read};

use super::files::{BLOBS, Content, Files, Reading, invalid};
use super::members::{Kind, Member, Members};
use super::pack::{self, Compression};
use crate::image::Digest;

/// Reads `tar` to its end. `raw` are the digests under which raw layers may come.
pub(super) fn read(tar: impl Read, raw: &[Digest], reading: &Reading) -> io::Result<Files> {
    let mut members = Members::of_stream(tar);
    let mut files = Files::default();
    while let Some(member) = members.advance()? {
        let content = match &member.kind {
            Kind::Link(target) => Content::Link(target.clone()),
            Kind::File => match store(&member, &mut members.content(), raw, reading)? {
                Some(content) => content,
                None => continue,
            },
            Kind::Other => continue,
        };
        files.insert(member.name, content)?;
    }
    Ok(files)
}

/// Stores a regular file if a push could need it.
fn store(
    member: &Member,
    content: &mut impl Read,
    raw: &[Digest],
    reading: &Reading,
) -> io::Result<Option<Content>> {
    let name = &member.name;
    let blob = name.strip_prefix(BLOBS).and_then(Digest::from_hex);
    let content = match &blob {
        Some(digest) if raw.contains(digest) => pack(content, reading)?,
        Some(_) => Content::Stored(pack::copy(content, &reading.spool)?),
        None if is_layer(name) => {
            let first = pack::first_bytes(&mut *content)?;
            let compressed = Compression::of(&first).is_some();
            let mut whole = first.as_slice().chain(content);
            if compressed {
                Content::Stored(pack::copy(&mut whole, &reading.spool)?)
            } else {
                pack(&mut whole, reading)?
            }
        }
        None if name.ends_with(".json") && !name.contains('/') => {
            Content::Stored(pack::copy(content, &reading.spool)?)
        }
        None => return Ok(None),
    };
    let actual = match &content {
        Content::Packed { raw, .. } => raw,
        Content::Stored(file) => &file.digest,
        Content::Unread(_) | Content::Link(_) => return Ok(None),
    };
    match blob {
        Some(named) if named != *actual => Err(invalid(format!("blob {named} hashes to {actual}"))),
        _ => Ok(Some(content)),
    }
}

fn pack(content: &mut impl Read, reading: &Reading) -> io::Result<Content> {
    let packed = pack::pack(content, reading)?;
    reading.announce(&packed.blob);
    Ok(Content::Packed { raw: packed.raw, blob: packed.blob })
}

fn is_layer(name: &str) -> bool {
    name.ends_with("/layer.tar") || (name.ends_with(".tar") && !name.contains('/'))
}
