//! What lies in a data directory: names of files and checkpoints of uploads.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use standpipe_server::fuzzing::{files, objects};

use crate::script::Script;

/// A name, or the content of a checkpoint, sealed or not.
pub fn server_files(data: &[u8]) {
    let mut script = Script::new(data);
    match script.below(4) {
        0 => name(script.byte(), OsStr::from_bytes(script.rest())),
        1 => checkpoint(script.rest()),
        2 => {
            let second = script.bytes(400);
            let mut slots = sealed(second);
            slots.resize(4096, 0);
            slots.extend(sealed(script.rest()));
            checkpoint(&slots);
        }
        _ => {
            let tail = script.bytes(8);
            let mut saved = sealed(script.rest());
            saved.extend_from_slice(tail);
            object(&saved);
        }
    }
}

/// A name means what its own path would be called, or nothing.
fn name(shard: u8, name: &OsStr) {
    let meaning = files::meaning(name, shard);
    if let Some((key, path)) = meaning.object {
        assert_eq!(path, Path::new("/data/blobs").join(format!("{shard:02x}")).join(name));
        assert_eq!(key.to_string().as_str(), name);
    }
    if let Some((_, paths)) = meaning.upload {
        assert!(paths.contains(&Path::new("/data/uploads").join(name)), "{name:?} is none");
    }
    if let Some(time) = meaning.set_aside {
        let text = name.to_str().expect("a name of ours is text");
        assert_eq!(text.split_once('.').map(|(_, found)| found), Some(&*time.0.to_string()));
    }
}

thread_local! {
    static FILES: RefCell<Option<[File; 2]>> = const { RefCell::new(None) };
}

fn checkpoint(bytes: &[u8]) {
    FILES.with_borrow_mut(|files| {
        let [file, copy] = files.get_or_insert_with(|| {
            [(); 2].map(|()| tempfile::tempfile().expect("a temporary file"))
        });
        for file in [&file, &copy] {
            file.set_len(0).expect("an empty file");
        }
        file.write_all_at(bytes, 0).expect("written");
        if let Ok(Some(found)) = files::checkpoint(file, copy) {
            assert!(found.survives, "a checkpoint of {} bytes is lost", found.offset);
        }
    });
}

fn object(bytes: &[u8]) {
    let Some(once) = objects::resaved(bytes) else { return };
    assert_eq!(objects::resaved(&once).as_ref(), Some(&once));
    // A state that lost its end is no state.
    assert_eq!(objects::resaved(&once[..once.len() - 1]), None);
}

/// A record as the store writes it: version, length, checksum, payload.
fn sealed(payload: &[u8]) -> Vec<u8> {
    let mut record = vec![1];
    record.extend(u32::try_from(payload.len()).expect("a short input").to_le_bytes());
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&record);
    checksum.update(payload);
    record.extend(checksum.finalize().to_le_bytes());
    record.extend_from_slice(payload);
    record
}
