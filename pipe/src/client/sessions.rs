//! Uploads that were begun, kept in the pipe's storage folder, so that a run that is started again
//! goes on where this one ends.
//!
//! Invariant: an address is kept only if it is one of the registry's own, in a file that nobody else
//! may read; a file that cannot be read or written costs nothing but the bytes that are sent again.
//! Must not know: how uploads go on.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use reqwest::Url;

use super::same_origin;
use crate::image::Digest;

/// The uploads of one repository in one registry.
#[derive(Debug)]
pub(super) struct Sessions {
    /// The file, if there is a folder for it.
    file: Option<PathBuf>,
    base: Url,
    repository: String,
    /// One writer at a time, of this process.
    turn: Mutex<()>,
}

impl Sessions {
    /// Those in the folder, if there is one.
    pub(super) fn new(folder: Option<&PathBuf>, base: &Url, repository: &str) -> Self {
        let file = folder.filter(|folder| folder.is_dir()).map(|folder| folder.join(FILE));
        Self { file, base: base.clone(), repository: repository.to_owned(), turn: Mutex::default() }
    }

    /// Where the upload of this blob goes on.
    pub(super) fn find(&self, digest: &Digest) -> Option<Url> {
        let url = Url::parse(self.read().get(&self.key(digest))?).ok()?;
        same_origin(&self.base, &url).then_some(url)
    }

    /// The upload of this blob goes on there.
    pub(super) fn keep(&self, digest: &Digest, location: &Url) {
        if same_origin(&self.base, location) {
            self.change(|all| {
                while all.len() >= MOST {
                    all.pop_first();
                }
                all.insert(self.key(digest), location.as_str().to_owned());
            });
        }
    }

    /// The upload of this blob has ended.
    pub(super) fn forget(&self, digest: &Digest) {
        self.change(|all| drop(all.remove(&self.key(digest))));
    }

    fn key(&self, digest: &Digest) -> String {
        format!("{}{}@{digest}", self.base, self.repository)
    }

    fn read(&self) -> BTreeMap<String, String> {
        let bytes = self.file.as_ref().and_then(|file| std::fs::read(file).ok());
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, String>)) {
        let Some(file) = &self.file else { return };
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.read();
        let mut after = before.clone();
        change(&mut after);
        if before != after
            && let Err(error) = write(file, &after)
        {
            tracing::debug!("uploads that go on later could not be noted: {error}");
        }
    }
}

/// Written beside it and moved, as other pipes may read it.
fn write(file: &PathBuf, all: &BTreeMap<String, String>) -> io::Result<()> {
    let folder = file.parent().unwrap_or(file);
    let new = tempfile::NamedTempFile::new_in(folder)?;
    new.as_file().set_permissions(Permissions::from_mode(0o600))?;
    serde_json::to_writer(&new, all)?;
    new.persist(file).map(drop).map_err(|error| error.error)
}

const FILE: &str = "standpipe-uploads.json";
/// More than any push has layers; what is older is forgotten.
const MOST: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn what_was_begun_is_found_by_the_next_run_until_it_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().to_owned();
        let open = || Sessions::new(Some(&place), &url("https://reg.example/"), "acme/app");
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let location = url("https://reg.example/v2/acme/app/blobs/uploads/7?_state=x");
        open().keep(&one, &location);
        assert_eq!(open().find(&one), Some(location.clone()));
        assert_eq!(open().find(&two), None);
        let other = Sessions::new(Some(&place), &url("https://reg.example/"), "acme/other");
        assert_eq!(other.find(&one), None);
        let mode = std::fs::metadata(place.join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        open().forget(&one);
        assert_eq!(open().find(&one), None);
    }

    #[test]
    fn an_address_of_somebody_else_is_neither_kept_nor_believed() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().to_owned();
        let sessions = Sessions::new(Some(&place), &url("https://reg.example/"), "acme/app");
        let digest = Digest::of(b"1");
        sessions.keep(&digest, &url("https://storage.example/7?signature=x"));
        assert!(!place.join(FILE).exists());
        let planted = format!("{{{:?}:\"https://evil.example/\"}}", sessions.key(&digest));
        std::fs::write(place.join(FILE), planted).unwrap();
        assert_eq!(sessions.find(&digest), None);
        std::fs::write(place.join(FILE), "not json").unwrap();
        assert_eq!(sessions.find(&digest), None);
        sessions.keep(&digest, &url("https://reg.example/7"));
        assert_eq!(sessions.find(&digest), Some(url("https://reg.example/7")));
    }

    #[test]
    fn without_a_folder_nothing_is_kept() {
        let sessions = Sessions::new(None, &url("https://reg.example/"), "acme/app");
        sessions.keep(&Digest::of(b"1"), &url("https://reg.example/7"));
        assert_eq!(sessions.find(&Digest::of(b"1")), None);
    }
}
