//! What a push achieved, for people and for later steps.
//!
//! Invariant: failing to pass variables on never fails a push that is done.
//! Must not know: how it was achieved.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use crate::config::Tag;
use crate::image::Digest;

/// The result of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// One per tag, in the order in which they were asked for.
    pub references: Vec<PushedTag>,
    /// Blobs that were uploaded; the others existed.
    pub blobs: usize,
    /// Bytes of those blobs.
    pub bytes: u64,
    /// `registry/workspace/name`.
    pub name: String,
}

/// A tag and what it names now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedTag {
    /// The tag.
    pub tag: Tag,
    /// Digest of the manifest in the registry.
    pub digest: Digest,
    /// Digest of the image configuration: what Docker calls the image ID.
    pub image_id: Digest,
}

impl Report {
    /// `registry/workspace/name:tag@sha256:…` for each tag.
    pub fn references(&self) -> impl Iterator<Item = String> {
        self.references
            .iter()
            .map(|pushed| format!("{}:{}@{}", self.name, pushed.tag, pushed.digest))
    }

    /// Appends the output variables of Pipelines to `path`, as far as that is possible: the
    /// file may not be mounted into the pipe.
    pub(crate) fn pass_on(&self, path: &Path) {
        let Some(first) = self.references.first() else {
            return;
        };
        let tags: Vec<&str> = self.references.iter().map(|pushed| pushed.tag.as_str()).collect();
        let lines = format!(
            "IMAGE_REF={}:{}@{}\nIMAGE_DIGEST={}\nIMAGE_TAGS={}\nIMAGE_ID={}\n",
            self.name,
            first.tag,
            first.digest,
            first.digest,
            tags.join(" "),
            first.image_id
        );
        // Not created: a file that Pipelines does not read would only lie in the way.
        let file = OpenOptions::new().append(true).open(path);
        match file.and_then(|mut file| file.write_all(lines.as_bytes())) {
            Ok(()) => tracing::debug!("output variables written"),
            Err(error) => tracing::warn!("output variables could not be passed on: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let pushed = |tag| PushedTag {
            tag: Tag::parse(tag).unwrap(),
            digest: Digest::of(b"manifest"),
            image_id: Digest::of(b"config"),
        };
        Report {
            references: vec![pushed("1.2"), pushed("latest")],
            blobs: 1,
            bytes: 1,
            name: "reg.example/acme/app".to_owned(),
        }
    }

    #[test]
    fn variables_are_appended_for_later_steps() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "OTHER=1\n").unwrap();
        report().pass_on(file.path());
        let text = std::fs::read_to_string(file.path()).unwrap();
        let digest = Digest::of(b"manifest");
        let image_id = Digest::of(b"config");
        assert_eq!(
            text,
            format!(
                "OTHER=1\nIMAGE_REF=reg.example/acme/app:1.2@{digest}\nIMAGE_DIGEST={digest}\n\
                 IMAGE_TAGS=1.2 latest\nIMAGE_ID={image_id}\n"
            )
        );
    }

    #[test]
    fn a_file_that_is_not_there_does_no_harm() {
        report().pass_on(Path::new("/none/variables"));
    }
}
