//! Runs every target over its corpus, as an ordinary test.

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use standpipe_fuzz::TARGETS;

/// All corpora together, in bytes: they are read by everybody who clones the repository.
const MOST: u64 = 1 << 20;

fn below(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
}

/// The names in a folder, in order.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let name = |entry: fs::DirEntry| entry.file_name().into_string().expect("a name is text");
    entries.map(|entry| name(entry.expect("an entry"))).collect()
}

#[test]
fn every_target_stands_its_corpus() {
    let mut failed = Vec::new();
    for (target, run) in TARGETS {
        let folder = below("corpus").join(target);
        let inputs = names(&folder);
        assert!(!inputs.is_empty(), "{target} has no corpus");
        for input in inputs {
            let bytes = fs::read(folder.join(&input)).expect("an input");
            if catch_unwind(|| run(&bytes)).is_err() {
                failed.push(format!("{target}/{input}"));
            }
        }
    }
    assert_eq!(failed, Vec::<String>::new(), "the reasons stand above");
}

#[test]
fn every_target_stands_nothing_and_noise() {
    // A generator of our own: the same bytes in every run.
    let mut state = 1_u64;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    };
    for (target, run) in TARGETS {
        for length in [0, 1, 2, 3, 9, 40, 600] {
            let bytes: Vec<u8> = (0..length).map(|_| byte()).collect();
            let outcome = catch_unwind(|| run(&bytes));
            assert!(outcome.is_ok(), "{target} of {bytes:?}");
        }
    }
}

#[test]
fn every_target_has_a_binary_and_a_corpus_and_nothing_else_has() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&below("corpus")), targets);
    let binaries = names(&below("fuzz_targets"));
    let binaries: BTreeSet<String> =
        binaries.iter().map(|name| name.trim_end_matches(".rs").to_owned()).collect();
    assert_eq!(binaries, targets);
    let manifest = fs::read_to_string(below("Cargo.toml")).expect("a manifest");
    let named = |target: &String| manifest.contains(&format!("\nname = \"{target}\"\n"));
    assert_eq!(targets.iter().filter(|target| !named(target)).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn the_corpora_are_small() {
    let mut bytes = 0;
    for target in names(&below("corpus")) {
        let folder = below("corpus").join(target);
        let inputs = names(&folder);
        bytes += inputs
            .iter()
            .map(|input| fs::metadata(folder.join(input)).expect("an input").len())
            .sum::<u64>();
    }
    assert!(bytes < MOST, "{bytes} bytes");
}
