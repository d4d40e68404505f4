//! Doors for the fuzz targets: what names and checkpoints in a data directory mean.

use super::layout::Layout;
use super::state::State;
use crate::domain::{ObjectKey, Timestamp, UploadId};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;

/// What a file name means in each folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// In the folder of objects whose key ends with the given byte: the object, and its path.
    pub object: Option<(ObjectKey, std::path::PathBuf)>,
    /// In `uploads`: the session, and the paths of its data and of its checkpoints.
    pub upload: Option<(UploadId, [std::path::PathBuf; 2])>,
    /// In `lost+found`: when it was put there.
    pub set_aside: Option<Timestamp>,
}

/// Reads a name as the store does when it lists a folder.
#[must_use]
pub fn meaning(name: &OsStr, shard: u8) -> Meaning {
    let layout = Layout::new(Path::new("/data"));
    let upload = layout.read_upload(name).map(|id| (id, [layout.data(id), layout.state(id)]));
    Meaning {
        object: layout.read_object(shard, name).map(|key| (key, layout.object(key))),
        upload,
        set_aside: layout.read_set_aside(name),
    }
}

/// The checkpoint of an upload in a file: how many bytes it vouches for, whether their hash can be
/// taken up, and the same checkpoint as a new file would have it.
///
/// # Errors
/// The file's, or a newer format.
pub fn checkpoint(file: &File, copy: &File) -> io::Result<Option<Checkpoint>> {
    let Some(state) = State::read(file)? else { return Ok(None) };
    state.write_first(copy)?;
    let again = State::read(copy)?;
    Ok(Some(Checkpoint {
        offset: state.offset,
        resumable: state.hasher().map(crate::blobs::hasher::Hasher::finish).is_some(),
        survives: again.as_ref() == Some(&state),
    }))
}

/// A checkpoint that could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Bytes that are durable.
    pub offset: u64,
    /// Whether the hash can be taken up.
    pub resumable: bool,
    /// Whether written down again it is read as the same.
    pub survives: bool,
}
