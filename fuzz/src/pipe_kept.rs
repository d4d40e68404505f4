//! Files that the pipe finds again: uploads that it began, and the variables that pipes share.

use std::cell::RefCell;
use std::fs;

use reqwest::Url;
use serde_json::{Map, Value};
use standpipe_pipe::fuzzing::client::Kept;
use standpipe_pipe::fuzzing::share;
use tempfile::TempDir;

use crate::script::Script;

thread_local! {
    static FOLDER: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

/// An address, and a file that somebody left.
pub fn pipe_kept(data: &[u8]) {
    let mut script = Script::new(data);
    let address = script.text_until(b'\n');
    let left = script.rest();
    FOLDER.with_borrow_mut(|folder| {
        let folder =
            folder.get_or_insert_with(|| tempfile::tempdir().expect("a temporary directory"));
        uploads(folder, &address, left);
        variables(folder, &address, left);
    });
}

fn uploads(folder: &TempDir, address: &str, left: &[u8]) {
    let file = folder.path().join("standpipe-uploads.json");
    let base = Url::parse("https://registry.example/").expect("a URL");
    let kept = Kept::new(&folder.path().to_owned(), &base, "acme/app");
    // Where a blob that is called by a part of the file's name goes on, an address of our own choice.
    let digest = standpipe_pipe::Digest::of(b"1");
    let key = serde_json::to_string(&format!("{base}acme/app@{digest}")).expect("JSON");
    let location = serde_json::to_string(address).expect("JSON");
    for text in [left, format!("{{{key}:{location}}}").as_bytes()] {
        fs::write(&file, text).expect("a file");
        for blob in [&b"1"[..], b"2"] {
            if let Some(url) = kept.find(blob) {
                assert_eq!(url.origin(), base.origin(), "{url} is somebody else's");
            }
        }
        let ours = base.join("/v2/acme/app/blobs/uploads/7?_state=x").expect("a URL");
        kept.keep(b"2", &ours);
        assert_eq!(kept.find(b"2"), Some(ours), "what was kept");
        kept.forget(b"2");
        assert_eq!(kept.find(b"2"), None, "what was forgotten");
    }
    let found = fs::read_dir(folder.path()).expect("the folder").count();
    assert!(found <= 2, "{found} files are left");
}

fn variables(folder: &TempDir, value: &str, left: &[u8]) {
    let file = folder.path().join("_shared_variables.json");
    fs::write(&file, left).expect("a file");
    let before = serde_json::from_slice::<Map<String, Value>>(left);
    let ours = [("IMAGE_REF", value.to_owned()), ("IMAGE_TAGS", "1".to_owned())];
    let shared = share(folder.path(), &ours);
    let after = fs::read(&file).expect("the file");
    let Ok(mut expected) = before else {
        assert!(shared.is_err(), "{} was taken", String::from_utf8_lossy(left));
        assert_eq!(after, left, "somebody's file was changed");
        return;
    };
    shared.expect("a file that was read");
    let after: Map<String, Value> = serde_json::from_slice(&after).expect("an object");
    expected.extend(ours.map(|(name, value)| (name.to_owned(), value.into())));
    assert_eq!(after, expected);
}
