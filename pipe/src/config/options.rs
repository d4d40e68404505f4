//! How the push goes about it: `MODE`, `COMPRESSION`, `IF_TAG_EXISTS`, `ANNOTATIONS`,
//! `PROVENANCE`, `MOUNT_FROM`, `CACHE_FROM`, `DRY_RUN`.
//!
//! Invariant: what `MODE=daemon` cannot do is refused, not passed over.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::{Build, Environment, Problems, Tag, names, values};

/// The variables that say how a push goes about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Who sends the image.
    pub mode: Mode,
    /// What becomes of layers that are not compressed.
    pub compression: Compression,
    /// What to do about tags that exist.
    pub if_tag_exists: IfTagExists,
    /// Annotations that are written onto the image, those of `PROVENANCE` included.
    pub annotations: BTreeMap<String, String>,
    /// Whether the time of the build is annotated, too.
    pub provenance: bool,
    /// `workspace/name` of packages in which blobs may be found.
    pub mount_from: Vec<String>,
    /// Images whose layers the one that is pushed may have.
    pub cache_from: Vec<CacheSource>,
    /// Whether nothing is written to the registry.
    pub dry_run: bool,
}

/// An image of the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheSource {
    /// `workspace/name`.
    pub repository: String,
    /// Its tag.
    pub tag: Tag,
}

impl Options {
    pub(super) fn judge(
        given: &Environment,
        build: &Build,
        workspace: Option<&str>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let mode = problems.take("MODE", Mode::parse(given.mode.as_deref()));
        let compression =
            problems.take("COMPRESSION", Compression::parse(given.compression.as_deref()));
        let if_tag_exists =
            problems.take("IF_TAG_EXISTS", IfTagExists::parse(given.if_tag_exists.as_deref()));
        let written = problems.take("ANNOTATIONS", given.list("ANNOTATIONS"));
        let written = written.and_then(|list| {
            let written = super::annotations::parse(given.annotations.as_deref(), &list);
            problems.take_all("ANNOTATIONS", written)
        });
        let provenance = problems.take("PROVENANCE", values::boolean(given.provenance.as_deref()));
        let sources = problems.take("MOUNT_FROM", given.list("MOUNT_FROM"));
        let mount_from = sources.and_then(|list| {
            let found = mount_from(given.mount_from.as_deref(), &list, workspace);
            problems.take_all("MOUNT_FROM", found)
        });
        let caches = problems.take("CACHE_FROM", given.list("CACHE_FROM"));
        let cache_from = caches.and_then(|list| {
            let found = cache_from(given.cache_from.as_deref(), &list, workspace);
            problems.take_all("CACHE_FROM", found)
        });
        let dry_run = problems.take("DRY_RUN", values::boolean(given.dry_run.as_deref()));
        let mut options = Self {
            mode: mode?,
            compression: compression?,
            if_tag_exists: if_tag_exists?,
            annotations: BTreeMap::new(),
            provenance: provenance?,
            mount_from: mount_from?,
            cache_from: cache_from?,
            dry_run: dry_run?,
        };
        if options.provenance {
            let facts = build.annotations().iter();
            options.annotations =
                facts.map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        }
        // What the user writes wins over what is found.
        options.annotations.extend(written?);
        problems.add(options.contradiction(given));
        Some(options)
    }

    /// The daemon pushes as it always does; what it cannot do must not be passed over in silence.
    fn contradiction(&self, given: &Environment) -> Option<(&'static str, String)> {
        if self.mode == Mode::Direct {
            return None;
        }
        let set = [
            ("SOURCE", given.source.as_deref().is_some_and(|source| source.trim() != "daemon")),
            ("PLATFORMS", given.platforms.is_some() || given.lists.contains_key("PLATFORMS_COUNT")),
            ("COMPRESSION", given.compression.is_some()),
            ("ANNOTATIONS", !self.annotations.is_empty()),
            ("MOUNT_FROM", !self.mount_from.is_empty()),
            ("CACHE_FROM", !self.cache_from.is_empty()),
            ("DRY_RUN", self.dry_run),
            ("CA_CERT", given.ca_cert.is_some()),
        ];
        let (name, _) = set.into_iter().find(|(_, set)| *set)?;
        let message = match name {
            "ANNOTATIONS" => "and PROVENANCE cannot go together with MODE=daemon".to_owned(),
            "CA_CERT" => {
                "does not reach the Docker daemon, which pushes with MODE=daemon: install \
                          the certificate there"
                    .to_owned()
            }
            _ => "cannot go together with MODE=daemon".to_owned(),
        };
        Some((name, message))
    }
}

/// Whether `OUTPUT_FILE` can be written, as far as can be seen before.
pub(super) fn output_file(path: Option<&str>) -> Result<(), String> {
    let Some(path) = path.map(Path::new) else { return Ok(()) };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder {
        Some(folder) if !folder.is_dir() => {
            Err(format!("is in {}, which is no folder here", folder.display()))
        }
        _ if path.is_dir() => Err(format!("{} is a folder", path.display())),
        _ => Ok(()),
    }
}

/// Who sends the image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The pipe: exports, compresses, uploads.
    #[default]
    Direct,
    /// The Docker daemon, as `docker push` does.
    Daemon,
}

impl Mode {
    pub(super) fn parse(text: Option<&str>) -> Result<Self, String> {
        match text.map(str::trim) {
            None | Some("direct") => Ok(Self::Direct),
            Some("daemon") => Ok(Self::Daemon),
            Some(other) => Err(format!("{other:?} is neither direct nor daemon")),
        }
    }
}

/// What becomes of layers that are not compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Deflate in blocks, level 1 to 9.
    Gzip(u32),
    /// Zstandard, level 1 to 19.
    Zstd(i32),
    /// They stay as they are.
    Raw,
}

impl Default for Compression {
    fn default() -> Self {
        Self::Gzip(3)
    }
}

impl Compression {
    pub(super) fn parse(text: Option<&str>) -> Result<Self, String> {
        let Some(text) = text else { return Ok(Self::default()) };
        let (method, level) = match text.trim().split_once(':') {
            Some((method, level)) => (method, Some(level)),
            None => (text.trim(), None),
        };
        let within = |default: u8, most: u8| match level.map(str::parse::<u8>) {
            None => Ok(default),
            Some(Ok(level)) if (1..=most).contains(&level) => Ok(level),
            Some(_) => {
                Err(format!("the level of {method} is 1 to {most}, as in {method}:{default}"))
            }
        };
        match method {
            "gzip" => Ok(Self::Gzip(within(3, 9)?.into())),
            "zstd" => Ok(Self::Zstd(within(3, 19)?.into())),
            "none" if level.is_none() => Ok(Self::Raw),
            _ => Err(format!("{text:?} is none of gzip, gzip:LEVEL, zstd, zstd:LEVEL, none")),
        }
    }
}

/// What to do about a tag that is in the registry already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IfTagExists {
    /// It moves.
    #[default]
    Overwrite,
    /// It stays where it is, and the push succeeds.
    Skip,
    /// The push fails, unless the tag names the same image already.
    Fail,
}

impl IfTagExists {
    pub(super) fn parse(text: Option<&str>) -> Result<Self, String> {
        match text.map(str::trim) {
            None | Some("overwrite") => Ok(Self::Overwrite),
            Some("skip") => Ok(Self::Skip),
            Some("fail") => Ok(Self::Fail),
            Some(other) => Err(format!("{other:?} is none of overwrite, skip, fail")),
        }
    }
}

/// The packages in which blobs may be found, as `workspace/name`. A name without the workspace
/// means this one: registries do not mount across workspaces.
pub(super) fn mount_from(
    text: Option<&str>,
    list: &[&str],
    workspace: Option<&str>,
) -> Result<Vec<String>, Vec<String>> {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for word in words(text, list) {
        match path(word, workspace) {
            Ok(path) if found.contains(&path) => {}
            Ok(path) => found.push(path),
            Err(problem) => problems.push(problem),
        }
    }
    if found.len() > MOST_SOURCES {
        problems.push(format!("names {} packages; {MOST_SOURCES} are allowed", found.len()));
    }
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}

/// The images whose layers may be known: `NAME` or `NAME:TAG`; a name without a tag means `latest`.
fn cache_from(
    text: Option<&str>,
    list: &[&str],
    workspace: Option<&str>,
) -> Result<Vec<CacheSource>, Vec<String>> {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for word in words(text, list) {
        let (name, tag) = match word.rsplit_once(':') {
            Some((name, tag)) => (name, Tag::parse(tag)),
            None => (word, Ok(Tag::latest())),
        };
        match path(name, workspace).and_then(|repository| Ok((repository, tag?))) {
            Ok((repository, tag)) => found.push(CacheSource { repository, tag }),
            Err(problem) => problems.push(problem),
        }
    }
    if found.len() > MOST_SOURCES {
        problems.push(format!("names {} images; {MOST_SOURCES} are allowed", found.len()));
    }
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}

fn words<'a>(text: Option<&'a str>, list: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    let words = text.unwrap_or_default().split(|c: char| c.is_whitespace() || c == ',');
    words.filter(|word| !word.is_empty()).chain(list.iter().copied())
}

/// The path of a package, which is in this workspace whether that is written or not.
fn path(name: &str, workspace: Option<&str>) -> Result<String, String> {
    let workspace = workspace.unwrap_or("workspace");
    let inside = name.strip_prefix(workspace).and_then(|rest| rest.strip_prefix('/'));
    let path = format!("{workspace}/{}", inside.unwrap_or(name));
    names::check_path(&path).map(|()| path)
}

/// Each is asked once for every blob that is missing.
const MOST_SOURCES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compression_has_a_method_and_a_level() {
        let parse = |text| Compression::parse(Some(text));
        assert_eq!(Compression::parse(None), Ok(Compression::Gzip(3)));
        assert_eq!(parse("gzip:1"), Ok(Compression::Gzip(1)));
        assert_eq!(parse("zstd"), Ok(Compression::Zstd(3)));
        assert_eq!(parse(" zstd:19 "), Ok(Compression::Zstd(19)));
        assert_eq!(parse("none"), Ok(Compression::Raw));
        for wrong in ["gzip:0", "gzip:10", "zstd:20", "none:1", "lz4", "gzip:", ""] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn packages_to_mount_from_are_in_the_workspace() {
        let found = mount_from(Some("base acme/web,base"), &["team/api"], Some("acme"));
        assert_eq!(found.unwrap(), ["acme/base", "acme/web", "acme/team/api"]);
        assert!(mount_from(Some("Base"), &[], Some("acme")).is_err());
    }

    #[test]
    fn images_that_may_have_layers_have_a_tag() {
        let found = cache_from(Some("base:3 acme/web"), &["app:main"], Some("acme")).unwrap();
        let found: Vec<String> =
            found.iter().map(|cache| format!("{}:{}", cache.repository, cache.tag)).collect();
        assert_eq!(found, ["acme/base:3", "acme/web:latest", "acme/app:main"]);
        for wrong in ["base:", "Base:1", "base:.x", "reg.example:5000/base:1"] {
            assert!(cache_from(Some(wrong), &[], Some("acme")).is_err(), "{wrong}");
        }
    }
}
