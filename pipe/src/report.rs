//! What a push achieved, for people and for later steps.
//!
//! Three places are told: the output variables of Pipelines, the file that the pipes of a pipeline
//! share, and `OUTPUT_FILE`.
//! Invariant: failing to pass a result on never fails a push that is done.
//! Must not know: how it was achieved.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::config::{Config, Mode, Tag};
use crate::image::{Blob, Digest};
use crate::output::megabytes;

/// The result of a push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// `registry/workspace/name`.
    pub name: String,
    /// Who pushed.
    pub mode: Mode,
    /// Whether nothing was written to the registry.
    pub dry_run: bool,
    /// One per tag, in the order in which they were asked for.
    #[serde(rename = "tags")]
    pub references: Vec<PushedTag>,
    /// Layers and configurations, each once. Not known if the daemon pushed.
    pub blobs: Vec<PushedBlob>,
    /// Bytes that were uploaded, or would be.
    #[serde(rename = "bytes_sent")]
    pub bytes: u64,
    /// Bytes that were not uploaded, because the registry had them.
    #[serde(rename = "bytes_saved")]
    pub saved: u64,
    /// Whole seconds from finding the image to the last tag.
    pub seconds: u64,
    /// Attempts that failed and were made again.
    pub retries: u64,
}

/// A tag and what it names now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PushedTag {
    /// The tag.
    pub tag: Tag,
    /// `registry/workspace/name:tag@sha256:…`.
    pub reference: String,
    /// Digest of the manifest in the registry.
    pub digest: String,
    /// Digest of the image configuration: what Docker calls the image ID. Unknown for a tag that was
    /// left as it is, and for an index.
    pub image_id: Option<Digest>,
    /// `os/architecture` of the image, where that is one.
    pub platform: Option<String>,
    /// What became of the tag.
    pub outcome: Outcome,
}

/// What became of a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It names what was pushed.
    Pushed,
    /// It named the same image before.
    Unchanged,
    /// It existed and was left as it is (`IF_TAG_EXISTS=skip`).
    Kept,
    /// It would be pushed (`DRY_RUN`).
    WouldPush,
}

/// A layer or a configuration, and how it came to be in the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PushedBlob {
    /// Digest of the stored bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// Bytes of the raw layer, where it was compressed for this push.
    pub raw_size: Option<u64>,
    /// The media type in the manifest.
    pub media_type: String,
    /// `exists`, `pushed`, `would_push`, or `mounted from …`.
    pub how: String,
    /// Bytes that went over the line for it, or would.
    #[serde(rename = "bytes_sent")]
    pub sent_bytes: u64,
    /// How long sending it took.
    #[serde(skip)]
    pub elapsed: Duration,
}

impl PushedBlob {
    /// One for which nothing was sent.
    pub(crate) fn new(blob: &Blob, how: String) -> Self {
        Self {
            digest: blob.digest.clone(),
            size: blob.size,
            raw_size: blob.raw,
            media_type: blob.media_type.clone().into_owned(),
            how,
            sent_bytes: 0,
            elapsed: Duration::ZERO,
        }
    }
}

impl Report {
    /// Of a push that has done nothing yet.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            mode: Mode::Direct,
            dry_run: false,
            references: Vec::new(),
            blobs: Vec::new(),
            bytes: 0,
            saved: 0,
            seconds: 0,
            retries: 0,
        }
    }

    /// Adds what became of blobs.
    pub(crate) fn add(&mut self, blobs: Vec<PushedBlob>) {
        for blob in &blobs {
            self.bytes = self.bytes.saturating_add(blob.sent_bytes);
            // Sizes of what is there already are what the registry says.
            let saved = blob.size.saturating_sub(blob.sent_bytes);
            self.saved = self.saved.saturating_add(saved);
        }
        self.blobs.extend(blobs);
    }

    /// What was sent and what was spared, in one line; none if nothing is known of it.
    pub(crate) fn savings(&self, sending: Duration) -> Option<String> {
        if self.mode == Mode::Daemon || self.blobs.is_empty() {
            return None;
        }
        let count = |is: &dyn Fn(&PushedBlob) -> bool| self.blobs.iter().filter(|b| is(b)).count();
        let sent = count(&|blob| blob.sent_bytes > 0);
        let mounted = count(&|blob| blob.how.starts_with("mounted"));
        let there = self.blobs.len() - sent - mounted;
        let raw: u64 = self
            .blobs
            .iter()
            .filter(|blob| blob.sent_bytes > 0)
            .fold(0, |sum, blob| sum.saturating_add(blob.raw_size.unwrap_or(blob.size)));
        let mut parts = Vec::new();
        if there > 0 {
            parts.push(format!("{there} there already"));
        }
        if mounted > 0 {
            parts.push(format!("{mounted} mounted"));
        }
        if sent > 0 {
            let done = if self.dry_run { "would be sent" } else { "sent" };
            let (raw, bytes) = (megabytes(raw), megabytes(self.bytes));
            parts.push(format!("{sent} {done} ({raw} as {bytes})"));
        }
        let mut line = format!("blobs: {}", parts.join(", "));
        if self.saved > 0 {
            let (rate, words) = match sending.as_secs_f64() {
                seconds if self.bytes >= ENOUGH && seconds > 0.0 => {
                    (self.bytes as f64 / seconds, "at the speed of this push")
                }
                _ => (USUAL as f64, "at 10 MB/s"),
            };
            line.push_str(&format!("; saved {} of traffic", megabytes(self.saved)));
            let seconds = (self.saved as f64 / rate).round();
            if seconds >= 1.0 {
                line.push_str(&format!(", about {seconds} s {words}"));
            }
        }
        Some(line)
    }

    /// `registry/workspace/name:tag@sha256:…` for each tag.
    pub fn references(&self) -> impl Iterator<Item = &str> {
        self.references.iter().map(|pushed| pushed.reference.as_str())
    }

    /// The last line of a run.
    pub fn summary(&self) -> String {
        let sent = match self.mode {
            Mode::Direct => format!("{} sent", megabytes(self.bytes)),
            Mode::Daemon => "by the Docker daemon".to_owned(),
        };
        let is = |wanted: Outcome| self.references.iter().filter(move |one| one.outcome == wanted);
        let count = |number: usize| match number {
            1 => "1 tag".to_owned(),
            number => format!("{number} tags"),
        };
        let (kept, all) = (is(Outcome::Kept).count(), self.references.len());
        let name = &self.name;
        match (self.dry_run, kept) {
            (true, _) => {
                let would = is(Outcome::WouldPush).count();
                let sent = megabytes(self.bytes);
                format!("dry run: {name} would get {}, {sent} would be sent", count(would))
            }
            (false, 0) => format!("{name} pushed with {}, {sent}", count(all)),
            (false, kept) if kept == all => {
                let verb = if kept == 1 { "exists" } else { "exist" };
                format!("{name}: {} {verb} already, nothing sent", count(kept))
            }
            (false, kept) => {
                let pushed = count(all - kept);
                format!("{name} pushed with {pushed}, {} left alone, {sent}", count(kept))
            }
        }
    }

    /// Tells everybody who asked, as far as that is possible.
    pub(crate) fn pass_on(&self, config: &Config) {
        let told = |what: &str, result: io::Result<()>| match result {
            Ok(()) => tracing::debug!("{what} written"),
            Err(error) => tracing::warn!("{what} could not be written: {error}"),
        };
        if let Some(path) = &config.output_file {
            told("OUTPUT_FILE", self.write_json(path));
        }
        if self.dry_run {
            return;
        }
        let Some(variables) = self.variables() else { return };
        if let Some(path) = &config.variables_path {
            told("output variables", append(path, &variables));
        }
        if let Some(folder) = &config.shared_storage {
            told("shared variables", share(folder, &variables));
        }
    }

    fn variables(&self) -> Option<Vec<(&'static str, String)>> {
        let first = self.references.first()?;
        let tags: Vec<&str> = self.references.iter().map(|pushed| pushed.tag.as_str()).collect();
        let mut variables = vec![
            ("IMAGE_REF", first.reference.clone()),
            ("IMAGE_DIGEST", first.digest.clone()),
            ("IMAGE_TAGS", tags.join(" ")),
        ];
        let id = first.image_id.as_ref();
        variables.extend(id.map(|id| ("IMAGE_ID", id.as_str().to_owned())));
        Some(variables)
    }

    fn write_json(&self, path: &Path) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        std::fs::write(path, text)
    }
}

/// Appends to the file of Pipelines. It is not created: one that Pipelines does not read, because it
/// is not mounted into the pipe, would only lie in the way.
fn append(path: &Path, variables: &[(&str, String)]) -> io::Result<()> {
    let lines: String = variables.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    OpenOptions::new().append(true).open(path)?.write_all(lines.as_bytes())
}

/// Adds to the file in which Bitbucket's own pipes share variables: one JSON object.
pub(crate) fn share(folder: &Path, variables: &[(&str, String)]) -> io::Result<()> {
    if !folder.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the folder is not there"));
    }
    let path = folder.join(SHARED);
    let mut shared: serde_json::Map<String, serde_json::Value> = match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => serde_json::Map::new(),
        Err(error) => return Err(error),
    };
    shared.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into())));
    // Written beside it and moved: a pipe that runs at the same time reads the whole or the old one.
    let file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&file, &shared)?;
    file.persist(&path).map(drop).map_err(|error| error.error)
}

/// Bytes from which a push tells how fast the line is.
const ENOUGH: u64 = 4_000_000;
/// Bytes in a second, where a push does not tell.
const USUAL: u64 = 10_000_000;
const SHARED: &str = "_shared_variables.json";

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(name: &str, outcome: Outcome) -> PushedTag {
        let digest = Digest::of(b"manifest").as_str().to_owned();
        PushedTag {
            tag: Tag::parse(name).unwrap(),
            reference: format!("reg.example/acme/app:{name}@{digest}"),
            digest,
            image_id: Some(Digest::of(b"config")),
            platform: None,
            outcome,
        }
    }

    fn report(references: Vec<PushedTag>) -> Report {
        Report { references, bytes: 1, ..Report::new("reg.example/acme/app") }
    }

    fn pushed() -> Report {
        report(vec![tag("1.2", Outcome::Pushed), tag("latest", Outcome::Pushed)])
    }

    #[test]
    fn sizes_that_a_registry_makes_up_can_be_added() {
        let blob = || PushedBlob {
            digest: Digest::of(b"layer"),
            size: u64::MAX,
            raw_size: None,
            media_type: String::new(),
            how: "exists".to_owned(),
            sent_bytes: 0,
            elapsed: Duration::ZERO,
        };
        let mut report = report(Vec::new());
        report.add(vec![blob(), blob()]);
        assert_eq!(report.saved, u64::MAX);
    }

    #[test]
    fn variables_are_appended_for_later_steps() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "OTHER=1\n").unwrap();
        append(file.path(), &pushed().variables().unwrap()).unwrap();
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
    fn a_file_that_is_not_there_is_not_made() {
        assert!(append(Path::new("/none/variables"), &pushed().variables().unwrap()).is_err());
    }

    #[test]
    fn what_other_pipes_share_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SHARED);
        std::fs::write(&path, r#"{"OTHER":[1],"IMAGE_TAGS":"old"}"#).unwrap();
        share(folder.path(), &pushed().variables().unwrap()).unwrap();
        let shared: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(shared["OTHER"][0], 1);
        assert_eq!(shared["IMAGE_TAGS"], "1.2 latest");
        std::fs::write(&path, "not json").unwrap();
        assert!(share(folder.path(), &pushed().variables().unwrap()).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "not json");
    }

    #[test]
    fn the_last_line_says_what_happened() {
        let kept = || tag("old", Outcome::Kept);
        assert_eq!(pushed().summary(), "reg.example/acme/app pushed with 2 tags, 1 B sent");
        assert_eq!(
            report(vec![tag("1", Outcome::Pushed), kept()]).summary(),
            "reg.example/acme/app pushed with 1 tag, 1 tag left alone, 1 B sent"
        );
        assert_eq!(
            report(vec![kept()]).summary(),
            "reg.example/acme/app: 1 tag exists already, nothing sent"
        );
        let dry = Report { dry_run: true, ..report(vec![tag("1", Outcome::WouldPush)]) };
        assert_eq!(
            dry.summary(),
            "dry run: reg.example/acme/app would get 1 tag, 1 B would be sent"
        );
    }
}
