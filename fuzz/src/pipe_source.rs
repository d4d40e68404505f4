//! Archives as `SOURCE` names them: whatever is in the file, it is read or refused, always the same way.

use std::fs;

use standpipe_pipe::fuzzing::source::{PathKind, path};

use crate::pipe_archive::repair;

/// The first byte chooses the form; the rest is a tar, whose checksums are put right first.
pub fn pipe_source(data: &[u8]) {
    let Some((form, tar)) = data.split_first() else { return };
    let kind = if form % 2 == 0 { PathKind::DockerArchive } else { PathKind::OciArchive };
    let mut tar = tar.to_vec();
    repair(&mut tar);
    let place = tempfile::tempdir().expect("a temporary directory");
    let file = place.path().join("image.tar");
    fs::write(&file, &tar).expect("the archive");
    let name = file.to_str().expect("a plain path");
    let spool = tempfile::tempdir().expect("a temporary directory");
    let read = || path(kind, name, &[], spool.path()).map_err(|error| error.to_string());
    let first = read();
    assert_eq!(read(), first, "read again");
    assert_eq!(fs::read_dir(spool.path()).expect("the spool").count(), 0, "files are left");
    assert_eq!(fs::read(&file).expect("the archive"), tar, "the archive was changed");
}
