//! `pipe.yml` and the table of variables say the same.

use std::collections::BTreeMap;

use serde::Deserialize;
use standpipe_pipe::variables::{DefaultValue, VARIABLES};

#[derive(Debug, Deserialize)]
struct Pipe {
    image: String,
    variables: Vec<Variable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Variable {
    name: String,
    default: Option<String>,
    description: String,
    required: bool,
}

fn pipe() -> Pipe {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../pipe.yml");
    serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn the_same_variables_in_the_same_order_with_the_same_words() {
    let listed: Vec<_> = pipe()
        .variables
        .into_iter()
        .map(|variable| (variable.name, variable.default, variable.description, variable.required))
        .collect();
    let expected: Vec<_> = VARIABLES
        .iter()
        .map(|variable| {
            let default = match variable.default {
                DefaultValue::Required => None,
                DefaultValue::Constant(value) => Some(value.to_owned()),
                DefaultValue::Step(_) => Some(format!("${{{}}}", variable.name)),
            };
            let required = variable.default == DefaultValue::Required;
            (variable.name.to_owned(), default, variable.description.to_owned(), required)
        })
        .collect();
    assert_eq!(listed, expected);
}

#[test]
fn no_variable_is_listed_twice() {
    let variables = pipe().variables;
    let names: BTreeMap<_, _> = variables.iter().map(|variable| (&variable.name, ())).collect();
    assert_eq!(names.len(), variables.len());
}

#[test]
fn the_image_carries_the_version_of_the_package() {
    let image = pipe().image;
    assert_eq!(image.rsplit_once(':').unwrap().1, env!("CARGO_PKG_VERSION"));
}
