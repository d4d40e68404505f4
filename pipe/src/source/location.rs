//! Where `SOURCE` points: which part of its text is a path, and what lies there.
//!
//! Invariant: what comes out exists and is of the kind that was asked for.
//! Must not know: what is inside.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use super::near;
use crate::config::PathKind;
use crate::error::{Error, Failure};

/// A file or a folder, and which image of it is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) path: PathBuf,
    /// What follows the path.
    pub(super) reference: Option<String>,
}

/// Finds the path in `text`. It is the longest part before a colon that exists, so that a path
/// may have colons of its own.
pub(super) fn find(kind: PathKind, text: &str) -> Result<Location, Error> {
    let cuts = text.char_indices().rev().filter(|(_, letter)| *letter == ':');
    let cuts = cuts.map(|(at, _)| (&text[..at], Some(text[at + 1..].to_owned())));
    for (path, reference) in [(text, None)].into_iter().chain(cuts) {
        if let Ok(metadata) = fs::metadata(path) {
            check(kind, path, &metadata)?;
            let reference = reference.filter(|reference| !reference.is_empty());
            return Ok(Location { path: path.into(), reference });
        }
    }
    let path = text.split(':').next().unwrap_or(text);
    Err(missing(kind, path))
}

fn check(kind: PathKind, path: &str, metadata: &Metadata) -> Result<(), Error> {
    let (word, wanted) = (kind.word(), if wants_folder(kind) { "folder" } else { "file" });
    let failure = Failure::new(format!("{word}: {path} is not a {wanted}"));
    let failure = match kind {
        PathKind::OciDirectory if metadata.is_dir() => return Ok(()),
        PathKind::OciDirectory if metadata.is_file() => failure.hint(format!(
            "For an archive write SOURCE=oci-archive:{path} or SOURCE=docker-archive:{path}."
        )),
        _ if wants_folder(kind) => failure,
        _ if metadata.is_file() => return Ok(()),
        _ if metadata.is_dir() => {
            failure.hint(format!("For a folder with an OCI image layout write SOURCE=oci:{path}."))
        }
        _ => failure,
    };
    Err(Error::Source(failure))
}

fn missing(kind: PathKind, path: &str) -> Error {
    let wanted = if wants_folder(kind) { "folder" } else { "file" };
    let mut failure = Failure::new(format!("{}: there is no {wanted} {path}", kind.word()));
    let path = Path::new(path);
    // The deepest folder on the way that exists.
    let here = Path::new(".");
    let mut wrong = path;
    let folder = loop {
        let parent = match wrong.parent() {
            None => break here,
            Some(parent) if parent.as_os_str().is_empty() => here,
            Some(parent) => parent,
        };
        if parent == here || parent.is_dir() {
            break parent;
        }
        wrong = parent;
    };
    let name = wrong.file_name().unwrap_or_default().to_string_lossy();
    let shown =
        if folder == here { "the working directory".into() } else { folder.display().to_string() };
    let near = near::words(&name, list(folder, kind, wrong == path));
    failure = match near.as_slice() {
        [] => failure.hint(format!("In {shown} is nothing that could be meant.")),
        names => failure.hint(format!("In {shown} are: {}.", names.join(", "))),
    };
    if path.is_relative()
        && let Ok(directory) = std::env::current_dir()
    {
        failure = failure.hint(format!(
            "The path is read from the working directory {}. A file of an earlier step is there \
             only if that step lists it under artifacts.",
            directory.display()
        ));
    }
    Error::Source(failure)
}

/// What lies in `folder`: folders if one is missing, else files.
fn list(folder: &Path, kind: PathKind, last: bool) -> Vec<String> {
    let folders = !last || wants_folder(kind);
    let entries = fs::read_dir(folder).into_iter().flatten().take(MOST_ENTRIES).flatten();
    let fitting = entries.filter(|entry| {
        fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_dir() == folders)
    });
    fitting.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn wants_folder(kind: PathKind) -> bool {
    kind == PathKind::OciDirectory
}

/// Looked at for the advice; a folder may have any number.
const MOST_ENTRIES: usize = 2000;

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap().to_owned();
        (folder, path)
    }

    fn location(path: String, reference: Option<&str>) -> Location {
        Location { path: path.into(), reference: reference.map(str::to_owned) }
    }

    #[test]
    fn the_longest_path_that_exists_is_meant() {
        let (_folder, path) = folder();
        for name in ["app.tar", "app.tar:1"] {
            fs::write(format!("{path}/{name}"), "").unwrap();
        }
        let found = |text: &str| find(PathKind::OciArchive, &format!("{path}/{text}")).unwrap();
        assert_eq!(found("app.tar"), location(format!("{path}/app.tar"), None));
        assert_eq!(found("app.tar:2"), location(format!("{path}/app.tar"), Some("2")));
        assert_eq!(found("app.tar:"), location(format!("{path}/app.tar"), None));
        assert_eq!(found("app.tar:1"), location(format!("{path}/app.tar:1"), None));
        let named = location(format!("{path}/app.tar"), Some("reg:5/app:2"));
        assert_eq!(found("app.tar:reg:5/app:2"), named);
    }

    #[test]
    fn a_missing_file_is_told_with_its_neighbours() {
        let (_folder, path) = folder();
        fs::write(format!("{path}/shop-api.tar"), "").unwrap();
        fs::create_dir(format!("{path}/layout")).unwrap();
        let told = |kind, text: &str| {
            let error = find(kind, &format!("{path}/{text}")).unwrap_err();
            assert_eq!(error.exit_code(), 3);
            format!("{error}\n{}", error.hints().join("\n"))
        };
        let words = told(PathKind::DockerArchive, "shop.tar:app:1");
        assert!(words.contains("there is no file") && words.contains("shop.tar\n"), "{words}");
        assert!(words.contains("are: shop-api.tar."), "{words}");
        let words = told(PathKind::OciDirectory, "lay");
        assert!(words.contains("no folder") && words.contains("are: layout."), "{words}");
        let words = told(PathKind::OciDirectory, "out/deep/layout");
        assert!(words.contains(&format!("In {path} are: layout.")), "{words}");
    }

    #[test]
    fn a_folder_is_no_archive_and_a_file_no_folder() {
        let (_folder, path) = folder();
        fs::write(format!("{path}/app.tar"), "").unwrap();
        let error = find(PathKind::OciDirectory, &format!("{path}/app.tar")).unwrap_err();
        assert!(error.hints()[0].contains("SOURCE=oci-archive:"), "{error}");
        let error = find(PathKind::DockerArchive, &path).unwrap_err();
        assert!(error.hints()[0].contains("SOURCE=oci:"), "{error}");
    }
}
