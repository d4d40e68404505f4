//! Exports that are built by a script: right names and digests, wrong order, links, repeats, long
//! names, odd entries, cut ends. A script that does nothing wrong must give its image.

use serde_json::json;
use standpipe_pipe::fuzzing::source::Found;
use tar::{EntryType, Header};

use crate::pipe_archive::{digest, read};
use crate::script::Script;

/// A list of decisions about layers, their layout, and what else is in the export.
pub fn pipe_archive_built(data: &[u8]) {
    let mut script = Script::new(data);
    let export = Export::new(&mut script);
    let mut entries = export.entries(&mut script);
    let spoilt = spoil(&mut entries, &mut script);
    let mut tar = written(&entries);
    let step = usize::from(script.byte()) * 5 + 1;
    let cut = script.byte();
    let kept = match cut {
        0 => tar.len(),
        cut => tar.len() * usize::from(cut) / 256,
    };
    tar.truncate(kept);
    let found = read(&tar, &export.diff_ids(), step);
    if !spoilt && cut == 0 {
        let found = found.expect("nothing is wrong with this export");
        export.is(&found);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// Folders with `layer.tar`.
    Legacy,
    /// Raw layers under their digests.
    Raw,
    /// Compressed layers under their digests, with the manifest they came with.
    Compressed,
}

struct Export {
    layout: Layout,
    layers: Vec<Vec<u8>>,
    config: Vec<u8>,
}

#[derive(Clone)]
struct Entry {
    kind: EntryType,
    name: String,
    target: String,
    content: Vec<u8>,
}

impl Export {
    fn new(script: &mut Script<'_>) -> Self {
        let layout = *script.pick(&[Layout::Legacy, Layout::Raw, Layout::Compressed]);
        let count = script.below(4);
        let layers: Vec<Vec<u8>> = (0..count)
            .map(|_| {
                let (length, times) = (script.below(24), script.below(80) + 1);
                // A tar begins with the name of a file; what begins as gzip or zstd do is taken for that.
                let bytes = script.bytes(length);
                let is_odd = bytes.first().is_some_and(|first| [0x1f, 0x28].contains(first));
                let start: &[u8] = if is_odd { b"t" } else { b"" };
                [start, &bytes.repeat(times)].concat()
            })
            .collect();
        let diff_ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
        let config = json!({"os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        Self { layout, layers, config: config.to_string().into_bytes() }
    }

    fn diff_ids(&self) -> Vec<String> {
        self.layers.iter().map(|layer| digest(layer)).collect()
    }

    /// The layers as they are stored.
    fn stored(&self) -> Vec<Vec<u8>> {
        match self.layout {
            Layout::Legacy | Layout::Raw => self.layers.clone(),
            Layout::Compressed => self.layers.iter().map(|layer| gzip(layer)).collect(),
        }
    }

    fn manifest(&self) -> Vec<u8> {
        let described = |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()});
        let stored = self.stored();
        let layers = stored
            .iter()
            .map(|layer| described("application/vnd.docker.image.rootfs.diff.tar.gzip", layer));
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": described("application/vnd.docker.container.image.v1+json", &self.config),
            "layers": layers.collect::<Vec<_>>(),
        })
        .to_string()
        .into_bytes()
    }

    fn entries(&self, script: &mut Script<'_>) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut paths = Vec::new();
        for (index, layer) in self.stored().iter().enumerate() {
            let path = match self.layout {
                // A long folder takes an extension header.
                Layout::Legacy => format!("{}{index}/layer.tar", "f".repeat(script.below(2) * 120)),
                Layout::Raw | Layout::Compressed => blob(layer),
            };
            paths.push(path.clone());
            entries.push(file(&path, layer));
        }
        let config = match self.layout {
            Layout::Legacy => format!("{}.json", &digest(&self.config)[7..]),
            Layout::Raw => blob(&self.config),
            Layout::Compressed => {
                entries.push(file(&blob(&self.manifest()), &self.manifest()));
                blob(&self.config)
            }
        };
        entries.push(file(&config, &self.config));
        let listed = json!([{"Config": config, "RepoTags": null, "Layers": paths}]).to_string();
        entries.push(file("manifest.json", listed.as_bytes()));
        // The containerd store names what it has; the other stores of engine 25 may name nothing.
        let named = match self.layout {
            Layout::Compressed => vec![json!({
                "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                "digest": digest(&self.manifest()),
                "size": self.manifest().len(),
            })],
            Layout::Legacy | Layout::Raw => Vec::new(),
        };
        let index = json!({"schemaVersion": 2, "manifests": named}).to_string();
        entries.push(file("index.json", index.as_bytes()));
        entries
    }

    /// Holds what was read against what was written.
    fn is(&self, found: &Found) {
        assert_eq!(found.config.bytes, self.config);
        if self.layout == Layout::Compressed && !self.layers.is_empty() {
            let stored = self.stored();
            assert!(found.layers.iter().map(|layer| &layer.bytes).eq(&stored));
            assert_eq!(found.manifest.bytes, self.manifest(), "the manifest it came with");
        }
    }
}

/// Makes some entries wrong, or others; tells whether an image may be missed after that.
fn spoil(entries: &mut Vec<Entry>, script: &mut Script<'_>) -> bool {
    let mut spoilt = false;
    for _ in 0..script.below(6) {
        let (at, other) = (script.below(entries.len()), script.below(entries.len()));
        match script.below(9) {
            0 => entries.swap(at, other),
            1 => entries.insert(0, Entry { kind: EntryType::Directory, ..file("blobs/", b"") }),
            2 => {
                // What says what everything else is may be said once only.
                let name = entries[at].name.trim_start_matches("./");
                spoilt |= matches!(name, "manifest.json" | "index.json");
                entries.push(entries[at].clone());
            }
            3 => entries[at].name.insert_str(0, "./"),
            4 => {
                // A layer that is there already comes as a link.
                let target = format!("/{}", entries[other].name);
                let kind = *script.pick(&[EntryType::Symlink, EntryType::Link]);
                entries[at] = Entry { kind, target, content: Vec::new(), ..entries[at].clone() };
                spoilt = true;
            }
            5 => {
                let byte = script.byte();
                entries[at].content.push(byte);
                spoilt = true;
            }
            6 => {
                entries.remove(at);
                spoilt = true;
                if entries.is_empty() {
                    break;
                }
            }
            7 => {
                entries[at].kind = EntryType::new(script.byte());
                spoilt = true;
            }
            _ => {
                let length = script.below(40);
                entries[at].name = String::from_utf8_lossy(script.bytes(length)).into_owned();
                spoilt = true;
            }
        }
    }
    spoilt
}

fn file(name: &str, content: &[u8]) -> Entry {
    let (name, target) = (name.to_owned(), String::new());
    Entry { kind: EntryType::Regular, name, target, content: content.to_vec() }
}

fn blob(content: &[u8]) -> String {
    format!("blobs/sha256/{}", &digest(content)[7..])
}

fn gzip(layer: &[u8]) -> Vec<u8> {
    use std::io::Write as _;

    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(layer).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

/// The tar of these entries. Names that cannot stand in a tar are left out.
fn written(entries: &[Entry]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(entry.kind);
        header.set_size(entry.content.len() as u64);
        // Why the result is of no interest: an entry that is not written is one that is missing, and
        // names are odd only in spoilt exports.
        let _ = match entry.kind {
            EntryType::Symlink | EntryType::Link => {
                builder.append_link(&mut header, &entry.name, &entry.target)
            }
            _ => builder.append_data(&mut header, &entry.name, &entry.content[..]),
        };
    }
    builder.into_inner().expect("memory takes everything")
}
