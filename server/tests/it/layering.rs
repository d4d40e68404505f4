//! The map of ARCHITECTURE.md, held against the sources: what may name what.

use std::fs;
use std::path::{Path, PathBuf};

/// Each part of the server and the parts it may name besides itself. A part that is not here is new
/// and has to be put on the map.
const MAP: [(&str, &[&str]); 16] = [
    ("domain", &[]),
    ("mutants", &[]),
    ("clock", &["domain"]),
    ("fault", &[]),
    ("metadata", &["clock", "domain", "fault"]),
    ("blobs", &["clock", "domain", "fault"]),
    ("registry", &["blobs", "clock", "data_dir", "domain", "metadata"]),
    ("auth", &["clock", "domain", "metadata", "registry"]),
    ("app", &["auth", "domain", "registry", "tasks"]),
    ("tasks", &["auth", "clock", "domain", "metadata", "registry"]),
    ("http", &["app", "auth", "blobs", "clock", "domain", "metadata", "registry", "tasks"]),
    ("config", &["domain"]),
    ("telemetry", &["config"]),
    ("data_dir", &[]),
    // Doors for the fuzz targets, which no other part may name.
    ("fuzzing", &["auth", "blobs", "cli", "config", "http", "metadata", "registry"]),
    (
        "cli",
        &[
            "app",
            "auth",
            "blobs",
            "clock",
            "config",
            "data_dir",
            "domain",
            "fault",
            "http",
            "metadata",
            "registry",
            "tasks",
            "telemetry",
        ],
    ),
];

/// Who alone may say a word, as path prefixes below `src`.
const WORDS: [(&str, &[&str]); 7] = [
    ("axum::", &["http/"]),
    ("redb::", &["metadata/redb"]),
    ("object_store::", &["blobs/"]),
    ("SystemTime", &["clock.rs"]),
    ("Instant", &["clock.rs"]),
    ("std::env", &["config.rs", "mutants.rs"]),
    (
        "std::fs",
        &[
            "blobs/",
            "cli",
            "config",
            "data_dir.rs",
            "metadata/redb/copy.rs",
            "metadata/redb/open.rs",
            "tasks/audit.rs",
        ],
    ),
];

/// Tests beside the code stand on whatever they need.
fn is_test(path: &str) -> bool {
    path.ends_with("tests.rs") || path.split('/').any(|part| part.starts_with("suite"))
}

/// The sources, by their path below `src`, without comments.
fn sources() -> Vec<(String, Vec<String>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory of sources") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source");
                let code = text.lines().map(str::trim).filter(|line| !line.starts_with("//"));
                let code = code.map(str::to_owned).collect();
                let below = path.strip_prefix(&root).expect("below the root");
                let below = below.to_str().expect("UTF-8").to_owned();
                if !is_test(&below) {
                    found.push((below, code));
                }
            }
        }
    }
    found.sort();
    assert!(found.len() > 50, "the sources were found");
    found
}

/// The words of a line of code: paths, identifiers.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|character: char| !(character.is_alphanumeric() || matches!(character, '_' | ':')))
}

fn part(path: &str) -> &str {
    path.split(['/', '.']).next().unwrap_or(path)
}

#[test]
fn each_part_names_only_what_stands_below_it() {
    let mut wrong = Vec::new();
    for (path, code) in sources() {
        if matches!(path.as_str(), "lib.rs" | "main.rs") {
            continue;
        }
        let own = part(&path);
        let Some((_, allowed)) = MAP.iter().find(|(name, _)| *name == own) else {
            wrong.push(format!("{path} is not on the map"));
            continue;
        };
        for line in code {
            for word in words(&line).filter_map(|word| word.strip_prefix("crate::")) {
                let named = word.split("::").next().unwrap_or_default();
                let known = MAP.iter().any(|(name, _)| *name == named);
                if known && named != own && !allowed.contains(&named) {
                    wrong.push(format!("{path} names {named}: {line}"));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// Whether a path of the code names a crate, a module or a type.
fn says(found: &str, word: &str) -> bool {
    match word.strip_suffix("::") {
        Some(_) => found.starts_with(word),
        None if word.contains("::") => found.starts_with(word),
        None => found.split("::").any(|part| part == word),
    }
}

#[test]
fn each_outside_thing_is_named_by_its_owner_only() {
    let mut wrong = Vec::new();
    for (path, code) in sources() {
        for line in code {
            for (word, owners) in WORDS {
                if words(&line).any(|found| says(found, word))
                    && !owners.iter().any(|owner| path.starts_with(owner))
                {
                    wrong.push(format!("{path} says {word}: {line}"));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn the_map_has_no_way_round() {
    // What may be named must not be able to name back, directly or through others.
    for (start, _) in MAP {
        let mut reached = vec![start];
        let mut at = 0;
        while at < reached.len() {
            let (_, next) = MAP.iter().find(|(name, _)| *name == reached[at]).expect("on the map");
            for name in *next {
                assert!(*name != start, "{start} reaches itself through {}", reached[at]);
                if !reached.contains(name) {
                    reached.push(name);
                }
            }
            at += 1;
        }
    }
}
