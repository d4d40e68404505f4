//! What was typed: the variables as they stand in the environment, before anything is judged.
//!
//! Invariant: the environment of the process is read here and nowhere else; an empty value is
//! the same as none, because Pipelines passes unset defaults as empty strings.
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
    pub(crate) source_image: Option<String>,
    pub(crate) platforms: Option<String>,
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
    /// `PLATFORMS_COUNT`, `PLATFORMS_0`, …
    #[serde(skip)]
    pub(crate) platform_list: BTreeMap<String, String>,
}

impl Environment {
    /// Sorts the given variables into their places; unknown ones are ignored.
    pub(crate) fn from_variables(
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, envy::Error> {
        let given: BTreeMap<String, String> =
            variables.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let list = |prefix: &str| {
            let elements = given.iter().filter_map(|(name, value)| {
                Some((name.strip_prefix(prefix)?.to_owned(), value.clone()))
            });
            elements.collect::<BTreeMap<_, _>>()
        };
        let (tag_list, platform_list) = (list("TAGS_"), list("PLATFORMS_"));
        let environment: Self = envy::from_iter(given)?;
        Ok(Self { tag_list, platform_list, ..environment })
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
    fn an_empty_value_is_no_value() {
        let given = VARIABLES.iter().map(|variable| (variable.name.to_owned(), String::new()));
        assert_eq!(Environment::from_variables(given).unwrap(), Environment::default());
    }
}
