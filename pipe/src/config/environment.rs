//! What was typed: the variables as they stand in the environment, before anything is judged.
//!
//! Invariant: the environment of the process is read here and nowhere else; an empty value is
//! the same as none, because Pipelines passes unset defaults as empty strings; names are in
//! upper case.
//! Must not know: what a value means.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The variables the pipe looks at. Field names are the variables' names in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Environment {
    pub(crate) image_name: Option<String>,
    pub(crate) tags: Option<String>,
    pub(crate) registry: Option<String>,
    pub(crate) workspace: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) auth: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) insecure: Option<String>,
    pub(crate) ca_cert: Option<String>,
    pub(crate) parallel: Option<String>,
    pub(crate) retries: Option<String>,
    pub(crate) chunk_size: Option<String>,
    pub(crate) timeout: Option<String>,
    pub(crate) debug: Option<String>,

    pub(crate) bitbucket_packages_username: Option<String>,
    pub(crate) bitbucket_packages_token: Option<String>,
    pub(crate) bitbucket_workspace: Option<String>,
    pub(crate) bitbucket_build_number: Option<String>,
    pub(crate) bitbucket_commit: Option<String>,
    pub(crate) bitbucket_branch: Option<String>,
    pub(crate) bitbucket_pipeline_uuid: Option<String>,
    pub(crate) bitbucket_docker_host_internal: Option<String>,
    pub(crate) bitbucket_pipelines_variables_path: Option<String>,
    pub(crate) docker_host: Option<String>,
    pub(crate) tmpdir: Option<String>,
    pub(crate) no_color: Option<String>,

    /// `TAGS_COUNT`, `TAGS_0`, …: how Pipelines passes a list.
    #[serde(skip)]
    pub(crate) tag_list: BTreeMap<String, String>,
}

impl Environment {
    /// Sorts the given variables into their places; unknown ones are ignored.
    pub(crate) fn from_variables(
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, envy::Error> {
        // envy does not tell upper from lower case: `debug` of some other tool would count as ours,
        // and with `DEBUG` besides it neither could be read.
        let is_ours = |name: &str| !name.contains(|c: char| c.is_lowercase());
        let given: BTreeMap<String, String> = variables
            .into_iter()
            .filter(|(name, value)| is_ours(name) && !value.is_empty())
            .collect();
        let tag_list = given
            .iter()
            .filter(|(name, _)| name.starts_with(LIST_PREFIX))
            .map(|(name, value)| (name[LIST_PREFIX.len()..].to_owned(), value.clone()))
            .collect();
        let environment: Self = envy::from_iter(given)?;
        Ok(Self { tag_list, ..environment })
    }

    /// The environment of this process. Bytes that are not UTF-8 become U+FFFD, which no
    /// variable accepts, so that they are reported by name instead of ending the process.
    pub(crate) fn variables() -> Vec<(String, String)> {
        std::env::vars_os()
            .map(|(name, value)| {
                (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
            })
            .collect()
    }
}

const LIST_PREFIX: &str = "TAGS_";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variables::VARIABLES;

    #[test]
    fn every_variable_of_the_table_is_read() {
        for variable in VARIABLES {
            let given = [(variable.name.to_owned(), "x".to_owned())];
            let environment = Environment::from_variables(given).unwrap();
            assert_ne!(environment, Environment::default(), "{}", variable.name);
        }
    }

    #[test]
    fn a_variable_in_lower_case_is_another_one() {
        let given = [("TAGS", "1.2"), ("tags", "other"), ("Debug", "x"), ("username", "me")];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment = Environment::from_variables(given).unwrap();
        let expected = Environment { tags: Some("1.2".to_owned()), ..Environment::default() };
        assert_eq!(environment, expected);
    }

    #[test]
    fn an_empty_value_is_no_value() {
        let given = VARIABLES.iter().map(|variable| (variable.name.to_owned(), String::new()));
        assert_eq!(Environment::from_variables(given).unwrap(), Environment::default());
    }
}
