//! Archives with a changed byte: it is noticed, or it makes no difference.

use proptest::prelude::*;
use proptest::sample::Index;
use standpipe_pipe::config::PathKind;
use standpipe_pipe::{Digest, probe};

use crate::image::{Image, Layout, noise};
use crate::layout::Store;

/// The manifests that would be pushed of an archive with these bytes.
fn read(kind: PathKind, bytes: &[u8]) -> Result<Vec<Digest>, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar");
    std::fs::write(&path, bytes).unwrap();
    let read = probe::path(kind, path.to_str().unwrap(), &[], folder.path());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "the spool was left behind");
    read.map_err(|error| {
        assert!(matches!(error.exit_code(), 3), "{error}");
        error.to_string()
    })
}

fn docker() -> Vec<u8> {
    Image::new("app:1", Layout::Legacy, &[b"one", b"two", b"one"]).export()
}

fn layout() -> Vec<u8> {
    let mut store = Store::default();
    let amd64 = store.image("linux/amd64", &[b"one", &noise(600, 1)]);
    let arm64 = store.image("linux/arm64", &[b"one"]);
    let proof = store.attestation(&amd64);
    let index = store.index(&[&amd64, &arm64, &proof]);
    store.enter(&index, Some("1"));
    store.tar()
}

proptest! {
    #[test]
    fn a_changed_byte_is_noticed_or_makes_no_difference(at in any::<Index>(), byte in any::<u8>()) {
        for (kind, whole) in [(PathKind::DockerArchive, docker()), (PathKind::OciArchive, layout())] {
            let expected = read(kind, &whole).unwrap();
            let mut changed = whole.clone();
            changed[at.index(whole.len())] = byte;
            if let Ok(digests) = read(kind, &changed) {
                prop_assert_eq!(digests, expected);
            }
        }
    }

    #[test]
    fn a_missing_end_is_noticed_or_makes_no_difference(at in any::<Index>()) {
        for (kind, whole) in [(PathKind::DockerArchive, docker()), (PathKind::OciArchive, layout())] {
            let expected = read(kind, &whole).unwrap();
            if let Ok(digests) = read(kind, &whole[..at.index(whole.len())]) {
                prop_assert_eq!(digests, expected);
            }
        }
    }

    #[test]
    fn a_stream_with_a_changed_byte_is_noticed_or_makes_no_difference(
        at in any::<Index>(),
        byte in any::<u8>(),
    ) {
        let image = Image::new("app:1", Layout::Oci, &[b"one", b"two"]);
        let folder = tempfile::tempdir().unwrap();
        let read = |bytes: &[u8]| {
            probe::export(&mut &*bytes, &image.id(), &image.diff_ids(), folder.path())
        };
        let whole = image.export();
        let expected = read(&whole).unwrap();
        let mut changed = whole.clone();
        changed[at.index(whole.len())] = byte;
        if let Ok(digests) = read(&changed) {
            prop_assert_eq!(digests, expected);
        }
    }
}
