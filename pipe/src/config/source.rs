//! `SOURCE` and `SOURCE_IMAGE`: where the image is read from, and which of the images there.
//!
//! Must not know: what is on disk; where a path ends and a reference begins depends on that.

/// Where the image is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// The Docker daemon of the step.
    Daemon,
    /// A file or a folder.
    Path {
        /// What it is meant to be.
        kind: PathKind,
        /// A path, perhaps followed by `:` and a reference.
        text: String,
    },
}

/// What a path is meant to name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    /// A file that `docker save` or `podman save` has written.
    DockerArchive,
    /// A tar of an OCI image layout.
    OciArchive,
    /// A folder with an OCI image layout.
    OciDirectory,
}

impl PathKind {
    /// The word before the colon.
    pub fn word(self) -> &'static str {
        match self {
            Self::DockerArchive => "docker-archive",
            Self::OciArchive => "oci-archive",
            Self::OciDirectory => "oci",
        }
    }
}

/// Reads `SOURCE`.
pub(super) fn parse(text: Option<&str>) -> Result<ImageSource, String> {
    let text = text.unwrap_or("daemon").trim();
    let kinds = [PathKind::DockerArchive, PathKind::OciArchive, PathKind::OciDirectory];
    let path = kinds
        .into_iter()
        .find_map(|kind| Some((kind, text.strip_prefix(kind.word())?.strip_prefix(':')?)));
    match path {
        _ if text == "daemon" => Ok(ImageSource::Daemon),
        Some((kind, "")) => Err(format!("needs a path: {}:PATH", kind.word())),
        Some((_, path)) if path.contains('\0') => {
            Err("has a character no path can have".to_owned())
        }
        Some((kind, path)) => Ok(ImageSource::Path { kind, text: path.to_owned() }),
        None => Err(format!("{text:?} is not supported; {}", advice(text))),
    }
}

/// Reads `SOURCE_IMAGE`.
pub(super) fn parse_image(text: Option<&str>) -> Result<Option<String>, String> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) || text.contains(['?', '#']) {
        return Err(format!("{text:?} is not a reference; write NAME:TAG or sha256:ID"));
    }
    if text.len() > LONGEST {
        return Err(format!("is longer than {LONGEST} characters"));
    }
    Ok(Some(text.to_owned()))
}

fn advice(text: &str) -> String {
    if text.starts_with("docker-daemon:") || text.starts_with("containers-storage:") {
        return "write daemon, and the local image into SOURCE_IMAGE".to_owned();
    }
    if text.ends_with(".tar") || text.contains(".tar.") {
        return format!("write docker-archive:{text} or oci-archive:{text}");
    }
    "use daemon, docker-archive:PATH, oci-archive:PATH or oci:DIRECTORY".to_owned()
}

/// A name of 255 characters, a host, a tag and a digest.
const LONGEST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_contain_colons_and_blanks() {
        for (kind, word) in [
            (PathKind::DockerArchive, "docker-archive"),
            (PathKind::OciArchive, "oci-archive"),
            (PathKind::OciDirectory, "oci"),
        ] {
            let path = ImageSource::Path { kind, text: "a b/c.tar:app:1".to_owned() };
            assert_eq!(parse(Some(&format!("{word}:a b/c.tar:app:1"))), Ok(path));
            assert!(parse(Some(&format!("{word}:"))).unwrap_err().contains("needs a path"));
        }
        assert_eq!(parse(None), Ok(ImageSource::Daemon));
    }

    #[test]
    fn what_is_not_supported_comes_with_the_way_to_write_it() {
        assert!(parse(Some("build/app.tar")).unwrap_err().contains("docker-archive:build/app.tar"));
        assert!(parse(Some("docker-daemon:app:1")).unwrap_err().contains("SOURCE_IMAGE"));
        assert!(parse(Some("dir:app")).unwrap_err().contains("oci:DIRECTORY"));
    }

    #[test]
    fn a_reference_is_one_word() {
        assert_eq!(parse_image(Some(" app:1 ")), Ok(Some("app:1".to_owned())));
        assert!(parse_image(Some("app:1 app:2")).is_err());
        assert!(parse_image(Some(&"a".repeat(2000))).is_err());
    }
}
