//! The table of variables in README.md is the one of the code. After a change of the code,
//! `STANDPIPE_UPDATE=1 cargo test -p standpipe-pipe --test it readme` writes it anew.

use std::fs;
use std::path::Path;

use standpipe_pipe::variables::{DefaultValue, VARIABLES};

#[test]
fn the_readme_has_the_table_of_variables() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("README.md marks where the table begins");
    let (_, after) = rest.split_once(END).expect("README.md marks where the table ends");
    let expected = format!("{before}{BEGIN}\n{}{END}{after}", table());
    #[expect(clippy::disallowed_methods, reason = "how a person asks for the file to be written")]
    if std::env::var("STANDPIPE_UPDATE").is_ok_and(|value| !value.is_empty()) {
        fs::write(&path, &expected).unwrap();
        return;
    }
    assert_eq!(text, expected, "write it anew with STANDPIPE_UPDATE=1");
}

fn table() -> String {
    let rows = VARIABLES.iter().map(|variable| {
        let default = match variable.default {
            DefaultValue::Required => "*required*".to_owned(),
            DefaultValue::Constant("") => String::new(),
            DefaultValue::Constant(value) => format!("`{value}`"),
            DefaultValue::Step(words) => format!("{words} †"),
        };
        let description = variable.description.replace('|', "\\|");
        format!("| `{}` | {default} | {description} |\n", variable.name)
    });
    let head = "| variable | default | meaning |\n|---|---|---|\n";
    [head.to_owned()].into_iter().chain(rows).collect()
}

const BEGIN: &str = "<!-- variables: made from pipe/src/variables.rs -->";
const END: &str = "<!-- end of variables -->";
