//! Holds `tests/clauses.toml` against the sources: each clause of the specifications has a test that is
//! there, or a reason.
//!
//! Whether a test drives its clause is for people to judge; what can be counted is counted here.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const LEVELS: [&str; 5] = ["MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY"];
/// The fewest clauses that the specification can be told in; fewer were lost.
const FEWEST: usize = 150;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Clauses {
    clause: Vec<Clause>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Clause {
    id: String,
    #[serde(default)]
    source: Option<String>,
    section: String,
    #[serde(default)]
    since: Option<String>,
    level: String,
    #[serde(default)]
    party: Option<String>,
    says: String,
    #[serde(default)]
    tests: Vec<String>,
    #[serde(default)]
    algorithms: BTreeSet<String>,
    #[serde(default)]
    reason: Option<String>,
}

/// The functions of a source that are tests, each with its text.
pub(crate) fn tests(source: &str) -> BTreeMap<&str, String> {
    let lines: Vec<&str> = source.lines().collect();
    let mut found = BTreeMap::new();
    for (number, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let Some(name) = line
            .trim_start()
            .strip_prefix("async ")
            .unwrap_or(line.trim_start())
            .strip_prefix("fn ")
        else {
            continue;
        };
        let before =
            lines[..number].iter().rev().take_while(|line| line.trim_start().starts_with("#["));
        if !before.into_iter().any(|line| line.contains("test")) {
            continue;
        }
        let name = name.split(['(', '<']).next().unwrap_or(name);
        let end = format!("{}}}", " ".repeat(indent));
        let body = lines[number..].iter().take_while(|line| **line != end).copied();
        found.insert(name, body.collect::<Vec<_>>().join("\n"));
    }
    found
}

/// What is wrong with a file of clauses, given the sources by their paths.
fn problems(text: &str, source: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let clauses = match toml::from_str::<Clauses>(text) {
        Ok(clauses) => clauses.clause,
        Err(error) => return vec![error.to_string()],
    };
    let mut ids = BTreeSet::new();
    let mut wrong = Vec::new();
    for clause in &clauses {
        let id = &clause.id;
        let mut bad = |words: String| wrong.push(format!("{id}: {words}"));
        if !ids.insert(id) {
            bad("the id stands twice".to_owned());
        }
        if !id
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        {
            bad("an id is lower-case letters, digits and dashes".to_owned());
        }
        if !LEVELS.contains(&clause.level.as_str()) {
            bad(format!("there is no level {}", clause.level));
        }
        for (field, allowed) in [(&clause.party, "client"), (&clause.since, "main")] {
            if field.as_deref().is_some_and(|value| value != allowed) {
                bad(format!("only {allowed} can stand there"));
            }
        }
        let words =
            [&clause.says, &clause.section].into_iter().chain(&clause.source).chain(&clause.reason);
        if words.into_iter().any(|text| text.trim().is_empty()) {
            bad("something is empty".to_owned());
        }
        if clause.tests.is_empty() && clause.reason.is_none() {
            bad("it has neither a test nor a reason".to_owned());
        }
        let bodies = bodies(clause, source, &mut bad);
        for algorithm in &clause.algorithms {
            if !bodies.contains("BOTH") && !bodies.contains(algorithm) {
                bad(format!("none of its tests runs with {algorithm}"));
            }
        }
    }
    wrong
}

/// The text of a clause's tests.
fn bodies(
    clause: &Clause,
    source: &dyn Fn(&str) -> Option<String>,
    bad: &mut impl FnMut(String),
) -> String {
    let mut bodies = String::new();
    for test in &clause.tests {
        let Some((file, name)) = test.split_once("::") else {
            bad(format!("{test} is not file::function"));
            continue;
        };
        let Some(text) = source(file) else {
            bad(format!("there is no file {file}"));
            continue;
        };
        match tests(&text).remove(name) {
            Some(body) => bodies.push_str(&body),
            None => bad(format!("{file} has no test {name}")),
        }
    }
    bodies
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[test]
fn every_clause_has_a_test_that_exists_or_a_reason() {
    let text =
        std::fs::read_to_string(root().join("tests/clauses.toml")).expect("the file is there");
    let source = |file: &str| std::fs::read_to_string(root().join(file)).ok();
    let wrong = problems(&text, &source);
    assert!(wrong.is_empty(), "tests/clauses.toml:\n{}", wrong.join("\n"));
    let count = text.matches("[[clause]]").count();
    assert!(count >= FEWEST, "{count} clauses are too few");
}

#[test]
fn a_gap_in_the_clauses_is_found() {
    let source = |file: &str| {
        let text = "#[tokio::test]\nasync fn good() {\n    sha256;\n}\n\nfn helper() {\n}\n";
        (file == "a.rs").then(|| text.to_owned())
    };
    let found = |fields: &str| {
        let head = "[[clause]]\nid = \"x\"\nsection = \"s\"\nsays = \"w\"\n";
        problems(&format!("{head}{fields}"), &source).join("; ")
    };
    let must = "level = \"MUST\"\n";
    assert_eq!(found(&format!("{must}tests = [\"a.rs::good\"]")), "");
    assert_eq!(found(&format!("{must}reason = \"because\"")), "");
    for (fields, expected) in [
        (must.to_owned(), "neither a test nor a reason"),
        (format!("{must}reason = \" \""), "empty"),
        (format!("{must}tests = [\"a.rs::bad\"]"), "no test bad"),
        (format!("{must}tests = [\"a.rs::helper\"]"), "no test helper"),
        (format!("{must}tests = [\"b.rs::good\"]"), "no file b.rs"),
        (format!("{must}tests = [\"good\"]"), "not file::function"),
        (format!("{must}tests = [\"a.rs::good\"]\nalgorithms = [\"sha512\"]"), "runs with sha512"),
        (format!("{must}tests = [\"a.rs::good\"]\nparty = \"pipe\""), "only client"),
        (format!("{must}tests = [\"a.rs::good\"]\ntest = []"), "unknown field"),
        ("level = \"SHALL\"\nreason = \"because\"".to_owned(), "no level SHALL"),
    ] {
        let words = found(&fields);
        assert!(words.contains(expected), "{fields}: {words}");
    }
}
