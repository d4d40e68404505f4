//! Holds `docs/VULNERABILITIES.md` against the sources: each row has a test that is there, or a reason.

use crate::clauses::tests;
use std::path::Path;

/// What the page calls the folders of tests.
const FOLDERS: [(&str, &str); 4] = [
    ("it/", "server/tests/it/"),
    ("src/", "server/src/"),
    ("e2e/", "tests/e2e/"),
    ("pipe/", "pipe/tests/it/"),
];
/// Fewer rows were lost.
const FEWEST: usize = 45;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The last column of each row of the page's tables.
fn rows(page: &str) -> Vec<&str> {
    let cells = page.lines().filter(|line| line.starts_with("| ") && line.ends_with(" |"));
    let cells = cells.map(|line| line.trim_end_matches(" |").rsplit(" | ").next().unwrap_or(line));
    cells.filter(|cell| *cell != "tests, or why not").collect()
}

/// What is wrong with a row.
fn problem(row: &str, source: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let named: Vec<(&str, &str)> =
        row.split('`').filter_map(|word| word.split_once(".rs::")).collect();
    if named.is_empty() && !row.contains("*Reason:*") {
        return Some(format!("neither a test nor a reason: {row}"));
    }
    named.into_iter().find_map(|(file, name)| {
        let folder = FOLDERS.iter().find_map(|(short, folder)| {
            file.strip_prefix(short).map(|rest| format!("{folder}{rest}.rs"))
        });
        let text = folder.and_then(|path| source(&path));
        let there = text.is_some_and(|text| tests(&text).contains_key(name));
        (!there).then(|| format!("there is no test {file}.rs::{name}"))
    })
}

#[test]
fn every_vulnerability_has_a_test_that_exists_or_a_reason() {
    let page = std::fs::read_to_string(root().join("docs/VULNERABILITIES.md")).expect("the page");
    let source = |file: &str| std::fs::read_to_string(root().join(file)).ok();
    let rows = rows(&page);
    assert!(rows.len() >= FEWEST, "{} rows are too few", rows.len());
    let wrong: Vec<_> = rows.iter().filter_map(|row| problem(row, &source)).collect();
    assert!(wrong.is_empty(), "docs/VULNERABILITIES.md:\n{}", wrong.join("\n"));
}

#[test]
fn a_row_without_a_test_is_found() {
    let source = |file: &str| {
        (file == "tests/e2e/a.rs").then(|| "#[test]\nfn good() {\n}\nfn helper() {\n}\n".to_owned())
    };
    assert_eq!(problem("`e2e/a.rs::good`", &source), None);
    assert_eq!(problem("*Reason:* there is none", &source), None);
    for row in ["nothing", "`e2e/a.rs::helper`", "`e2e/b.rs::good`", "`a.rs::good`"] {
        assert!(problem(row, &source).is_some(), "{row}");
    }
}
