//! The members of a tar, read forward.
//!
//! The fields of a header are decoded by the `tar` crate; the walk is ours, because the crate
//! reads names that come in members of their own whole into memory, whatever size they claim.
//! Invariant: memory is bounded; content that ends early is an error and never a shorter file.
//! Must not know: images.

use std::io::{self, BufReader, Read};
use std::{fs::File, mem};

use tar::{EntryType, Header};

/// A walk over a tar.
pub(super) struct Members<R> {
    inner: R,
    skip: Skip<R>,
    /// Bytes from the beginning of the tar.
    position: u64,
    /// Bytes of the current member's content that were not read.
    unread: u64,
    /// Zeros after the current member's content.
    padding: u64,
}

/// How a reader passes over bytes.
type Skip<R> = fn(&mut R, u64) -> io::Result<u64>;

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    /// As it stands in the tar, brought to one form by [`normal`].
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Where its content begins, in bytes from the beginning of the tar.
    pub(super) position: u64,
    /// Bytes of its content.
    pub(super) size: u64,
}

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A regular file.
    File,
    /// A symbolic or hard link: the name of its target from the root of the tar.
    Link(String),
    /// A folder, a device and whatever else no image needs.
    Other,
}

/// What members before a member say of it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Extension {
    name: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

impl<R: Read> Members<R> {
    /// Walks over a stream.
    pub(super) fn of_stream(inner: R) -> Self {
        Self { inner, skip: by_reading, position: 0, unread: 0, padding: 0 }
    }
}

impl Members<BufReader<File>> {
    /// Walks over a file without reading the content that nobody asks for.
    pub(super) fn of_file(file: File) -> Self {
        let inner = BufReader::with_capacity(BLOCK * 2, file);
        Self { inner, skip: by_seeking, position: 0, unread: 0, padding: 0 }
    }
}

impl<R: Read> Members<R> {
    /// The next member, unless the tar has ended.
    pub(super) fn advance(&mut self) -> io::Result<Option<Member>> {
        let mut extension = Extension::default();
        loop {
            self.pass()?;
            let Some(header) = self.header()? else {
                let dangling = extension != Extension::default();
                return if dangling { Err(broken("ends after a long name")) } else { Ok(None) };
            };
            let kind = header.entry_type();
            let written = header.entry_size().map_err(|_| broken("has a header without a size"))?;
            match kind {
                EntryType::GNULongName | EntryType::GNULongLink | EntryType::XHeader => {
                    self.expect(written)?;
                    extension.add(kind, &self.small(written)?)?;
                }
                EntryType::XGlobalHeader => self.expect(written)?,
                EntryType::GNUSparse => return Err(broken("has a sparse file; write it without")),
                _ => {
                    let size =
                        if has_content(kind) { extension.size.unwrap_or(written) } else { 0 };
                    self.expect(size)?;
                    return member(&header, mem::take(&mut extension), self.position, size)
                        .map(Some);
                }
            }
        }
    }

    /// The content of the current member.
    pub(super) fn content(&mut self) -> Content<'_, R> {
        Content(self)
    }

    /// Passes over what was not read of the current member.
    fn pass(&mut self) -> io::Result<()> {
        let unread = mem::take(&mut self.unread);
        if (self.skip)(&mut self.inner, unread)? < unread {
            return Err(cut());
        }
        // A tar may end inside the zeros after its last file; nothing is missing then.
        let padding = mem::take(&mut self.padding);
        (self.skip)(&mut self.inner, padding)?;
        self.position += unread + padding;
        Ok(())
    }

    /// The next header; none at the end, which is a block of zeros or the end of the data.
    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut block = Vec::with_capacity(BLOCK);
        self.inner.by_ref().take(BLOCK as u64).read_to_end(&mut block)?;
        self.position += block.len() as u64;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if block.len() < BLOCK {
            return Err(cut());
        }
        let header = Header::from_byte_slice(&block);
        if header.cksum().ok() != Some(checksum(&block)) {
            return Err(broken("is not a tar here: a header has a wrong checksum"));
        }
        Ok(Some(header.clone()))
    }

    /// The current member has `size` bytes.
    fn expect(&mut self, size: u64) -> io::Result<()> {
        let end = self.position.checked_add(size).and_then(|end| end.checked_add(BLOCK as u64));
        if end.is_none_or(|end| i64::try_from(end).is_err()) {
            return Err(broken("has a file of an impossible size"));
        }
        self.unread = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(())
    }

    /// The content of a member that only describes the next one.
    fn small(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > LARGEST_EXTENSION {
            return Err(broken("has a file with a name longer than any name"));
        }
        let mut bytes = Vec::new();
        self.content().read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Reads the content of a member.
pub(super) struct Content<'a, R>(&'a mut Members<R>);

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Self(members) = self;
        let most = usize::try_from(members.unread).map_or(into.len(), |left| left.min(into.len()));
        if most == 0 {
            return Ok(0);
        }
        let count = members.inner.read(&mut into[..most])?;
        if count == 0 {
            return Err(cut());
        }
        members.unread -= count as u64;
        members.position += count as u64;
        Ok(count)
    }
}

impl Extension {
    fn add(&mut self, kind: EntryType, bytes: &[u8]) -> io::Result<()> {
        match kind {
            EntryType::GNULongName => self.name = Some(text(bytes)),
            EntryType::GNULongLink => self.link = Some(text(bytes)),
            _ => self.add_records(bytes)?,
        }
        Ok(())
    }

    /// Records of POSIX pax, `LENGTH KEY=VALUE\n`; the length counts the whole record.
    fn add_records(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let odd = || broken("has an extended header that is not readable");
        while !bytes.is_empty() {
            let space = bytes.iter().position(|byte| *byte == b' ').ok_or_else(odd)?;
            let length =
                std::str::from_utf8(&bytes[..space]).ok().and_then(|text| text.parse().ok());
            let length: usize = length.ok_or_else(odd)?;
            let record = bytes.get(space + 1..length).ok_or_else(odd)?;
            let record = record.strip_suffix(b"\n").ok_or_else(odd)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(odd)?;
            let (key, value) = (&record[..equals], text(&record[equals + 1..]));
            match key {
                b"path" => self.name = Some(value),
                b"linkpath" => self.link = Some(value),
                b"size" => self.size = Some(value.parse().map_err(|_| odd())?),
                key if key.starts_with(b"GNU.sparse.") => {
                    return Err(broken("has a sparse file; write it without"));
                }
                _ => {}
            }
            bytes = &bytes[length..];
        }
        Ok(())
    }
}

/// `name` without `.`, `..` and needless slashes, from the root of the tar.
pub(super) fn normal(name: &str) -> String {
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

fn member(header: &Header, extension: Extension, position: u64, size: u64) -> io::Result<Member> {
    let name = extension.name.unwrap_or_else(|| text(&header.path_bytes()));
    let link = || header.link_name_bytes().map_or_else(String::new, |bytes| text(&bytes));
    let link = extension.link.unwrap_or_else(link);
    if name.len().max(link.len()) > LONGEST_NAME {
        return Err(broken("has a file with a name longer than any name"));
    }
    let name = normal(&name);
    let kind = match header.entry_type() {
        EntryType::Regular | EntryType::Continuous => Kind::File,
        // A hard link names its target from the root, a symbolic one from where it lies.
        EntryType::Link => Kind::Link(normal(&link)),
        EntryType::Symlink => {
            let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
            Kind::Link(normal(&format!("{folder}/{link}")))
        }
        _ => Kind::Other,
    };
    Ok(Member { name, kind, position, size })
}

/// Links, folders and devices have no content, whatever their size field says.
fn has_content(kind: EntryType) -> bool {
    !matches!(
        kind,
        EntryType::Link
            | EntryType::Symlink
            | EntryType::Directory
            | EntryType::Char
            | EntryType::Block
            | EntryType::Fifo
    )
}

/// The sum of all bytes, those of the checksum itself taken as spaces.
fn checksum(block: &[u8]) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().copied().map(u32::from).sum::<u32>();
    sum(&block[..148]) + 8 * u32::from(b' ') + sum(&block[156..])
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    // Names are shown in the log, which is one line for each message.
    String::from_utf8_lossy(&bytes[..end]).replace(char::is_control, "\u{fffd}")
}

/// Passes over bytes by reading them; says how many there were.
fn by_reading<R: Read>(reader: &mut R, count: u64) -> io::Result<u64> {
    io::copy(&mut reader.take(count), &mut io::sink())
}

/// Passes over bytes without reading them. Whoever uses it compares sizes with that of the file.
fn by_seeking(reader: &mut BufReader<File>, count: u64) -> io::Result<u64> {
    // `expect` has seen to it that this fits.
    reader.seek_relative(i64::try_from(count).map_err(io::Error::other)?)?;
    Ok(count)
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the archive {what}"))
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends in the middle of a file")
}

const BLOCK: usize = 512;
const LONGEST_NAME: usize = 4096;
const LARGEST_EXTENSION: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    /// Name, content and link of every member.
    fn walk(bytes: &[u8]) -> io::Result<Vec<(Member, Vec<u8>)>> {
        let mut members = Members::of_stream(bytes);
        let mut found = Vec::new();
        while let Some(member) = members.advance()? {
            let mut content = Vec::new();
            members.content().read_to_end(&mut content)?;
            found.push((member, content));
        }
        Ok(found)
    }

    fn file(name: &str, content: &[u8]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, content).unwrap();
        builder.into_inner().unwrap()
    }

    fn pax(records: &[(&str, &str)], name: &str, content: &[u8]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let records = records.iter().map(|(key, value)| (*key, value.as_bytes()));
        builder.append_pax_extensions(records).unwrap();
        let mut header = Header::new_ustar();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, content).unwrap();
        builder.into_inner().unwrap()
    }

    #[test]
    fn names_are_brought_to_one_form() {
        assert_eq!(normal("./a//b/../c"), "a/c");
        assert_eq!(normal("../../etc/passwd"), "etc/passwd");
    }

    #[test]
    fn links_are_read_from_where_they_lie() {
        let mut builder = tar::Builder::new(Vec::new());
        for (kind, target) in
            [(EntryType::Symlink, "../b/layer.tar"), (EntryType::Link, "b/layer.tar")]
        {
            let mut header = Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(0);
            builder.append_link(&mut header, "a/layer.tar", target).unwrap();
        }
        for (member, _) in walk(&builder.into_inner().unwrap()).unwrap() {
            assert_eq!(member.kind, Kind::Link("b/layer.tar".to_owned()));
        }
    }

    #[test]
    fn extended_headers_name_and_measure_the_next_file() {
        let long = format!("{}/x", "d".repeat(300));
        let found = walk(&pax(&[("path", &long), ("mtime", "1")], "short", b"abc")).unwrap();
        assert_eq!((found[0].0.name.as_str(), found[0].1.as_slice()), (long.as_str(), &b"abc"[..]));
        let found = walk(&pax(&[("size", "2")], "short", b"abc")).unwrap();
        assert_eq!(found[0].1, b"ab");
    }

    #[test]
    fn a_name_of_any_size_does_not_fill_the_memory() {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_size(1 << 40);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.write_all(&[b'a'; 4096]).unwrap();
        assert!(walk(&bytes).unwrap_err().to_string().contains("longer than any name"));
    }

    #[test]
    fn sizes_beyond_any_disk_are_refused() {
        let found = walk(&pax(&[("size", "18446744073709551615")], "a", b"abc"));
        assert!(found.unwrap_err().to_string().contains("impossible size"));
    }

    #[test]
    fn what_is_no_tar_is_told() {
        let error = walk(&[7; 600]).unwrap_err();
        assert!(error.to_string().contains("is not a tar"), "{error}");
    }

    proptest! {
        /// The crate that everybody uses is the oracle.
        #[test]
        fn it_finds_what_the_tar_crate_finds(
            files in prop::collection::vec(("[a-z]{1,120}(/[a-z]{1,90}){0,3}", 0_usize..2000), 0..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut builder = tar::Builder::new(Vec::new());
            for (name, size) in &files {
                let mut header = Header::new_gnu();
                header.set_size(*size as u64);
                builder.append_data(&mut header, name, &vec![b'x'; *size][..]).unwrap();
            }
            let bytes = builder.into_inner().unwrap();
            let found = walk(&bytes).unwrap();
            let expected: Vec<(String, u64, u64)> = tar::Archive::new(&bytes[..])
                .entries().unwrap()
                .map(|entry| {
                    let entry = entry.unwrap();
                    let name = entry.path().unwrap().display().to_string();
                    (name, entry.raw_file_position(), entry.size())
                })
                .collect();
            let found: Vec<_> =
                found.into_iter().map(|(one, _)| (one.name, one.position, one.size)).collect();
            prop_assert_eq!(&found, &expected);
            // Cut short, it is an error or has fewer members, each whole.
            if let Ok(fewer) = walk(&bytes[..cut.index(bytes.len() + 1)]) {
                for (index, (one, content)) in fewer.iter().enumerate() {
                    prop_assert_eq!(&one.name, &expected[index].0);
                    prop_assert_eq!(content.len() as u64, expected[index].2);
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..4096), good in any::<bool>()) {
            if good && bytes.len() >= BLOCK {
                let sum = format!("{:06o}\0 ", checksum(&bytes[..BLOCK]));
                bytes[148..156].copy_from_slice(sum.as_bytes());
            }
            let _ = walk(&bytes);
        }

        #[test]
        fn a_changed_byte_never_makes_it_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = pax(&[("path", "a/b"), ("size", "3")], "short", b"abc");
            bytes.extend(file(&"n".repeat(200), b"content"));
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = walk(&bytes);
        }
    }
}
