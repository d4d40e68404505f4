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
    pub(crate) source_image: Option<String>,
    pub(crate) platforms: Option<String>,
    pub(crate) insecure: Option<String>,
    pub(crate) ca_cert: Option<String>,
    pub(crate) parallel: Option<String>,
    pub(crate) retries: Option<String>,
    pub(crate) chunk_size: Option<String>,
    pub(crate) timeout: Option<String>,
    pub(crate) debug: Option<String>,
    pub(crate) mode: Option<String>,
    pub(crate) compression: Option<String>,
    pub(crate) if_tag_exists: Option<String>,
    pub(crate) annotations: Option<String>,
    pub(crate) provenance: Option<String>,
    pub(crate) mount_from: Option<String>,
    pub(crate) cache_from: Option<String>,
    pub(crate) output_file: Option<String>,
    pub(crate) dry_run: Option<String>,

    pub(crate) bitbucket_packages_username: Option<String>,
    pub(crate) bitbucket_packages_token: Option<String>,
    pub(crate) bitbucket_step_oidc_token: Option<String>,
    pub(crate) bitbucket_workspace: Option<String>,
    pub(crate) bitbucket_build_number: Option<String>,
    pub(crate) bitbucket_commit: Option<String>,
    pub(crate) bitbucket_branch: Option<String>,
    pub(crate) bitbucket_pipeline_uuid: Option<String>,
    pub(crate) bitbucket_step_uuid: Option<String>,
    pub(crate) bitbucket_tag: Option<String>,
    pub(crate) bitbucket_git_http_origin: Option<String>,
    pub(crate) bitbucket_clone_dir: Option<String>,
    pub(crate) bitbucket_pipe_storage_dir: Option<String>,
    pub(crate) bitbucket_pipe_shared_storage_dir: Option<String>,
    pub(crate) bitbucket_docker_host_internal: Option<String>,
    pub(crate) bitbucket_pipelines_variables_path: Option<String>,
    pub(crate) docker_host: Option<String>,
    pub(crate) docker_config: Option<String>,
    pub(crate) home: Option<String>,
    pub(crate) tmpdir: Option<String>,
    pub(crate) no_color: Option<String>,

    /// `TAGS_COUNT`, `TAGS_0`, …: how Pipelines passes a list. By whole name.
    #[serde(skip)]
    pub(super) lists: BTreeMap<String, String>,
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
        let is_listed = |name: &str| {
            LISTS
                .iter()
                .any(|list| name.strip_prefix(list).is_some_and(|rest| rest.starts_with('_')))
        };
        let lists = given.iter().filter(|(name, _)| is_listed(name));
        let lists = lists.map(|(name, value)| (name.clone(), value.clone())).collect();
        let environment: Self = envy::from_iter(given)?;
        Ok(Self { lists, ..environment })
    }

    /// The elements of a list that was given as `NAME_COUNT`, `NAME_0`, `NAME_1`, …; those that are
    /// empty are left out. Elements are not split again: whoever writes a list says where one ends.
    pub(crate) fn list(&self, name: &str) -> Result<Vec<&str>, String> {
        let Some(count) = self.lists.get(&format!("{name}_COUNT")) else {
            return Ok(Vec::new());
        };
        let count: usize = match count.trim().parse() {
            Ok(count) if count <= MOST => count,
            _ => return Err(format!("{name}_COUNT is {count:?}; it must be 0 to {MOST}")),
        };
        let elements = (0..count).filter_map(|index| self.lists.get(&format!("{name}_{index}")));
        Ok(elements.map(|element| element.trim()).filter(|element| !element.is_empty()).collect())
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

/// Variables that may be lists.
const LISTS: [&str; 5] = ["TAGS", "PLATFORMS", "ANNOTATIONS", "MOUNT_FROM", "CACHE_FROM"];

/// More elements than this is a mistake in a template.
const MOST: usize = 1000;

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
    fn lists_are_read_by_their_count() {
        let given = [("TAGS_COUNT", "3"), ("TAGS_0", " a "), ("TAGS_2", "c d"), ("TAGS_3", "no")];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment = Environment::from_variables(given).unwrap();
        assert_eq!(environment.list("TAGS").unwrap(), ["a", "c d"]);
        assert_eq!(environment.list("ANNOTATIONS").unwrap(), [""; 0]);
        let given = [("TAGS_COUNT".to_owned(), "x".to_owned())];
        assert!(Environment::from_variables(given).unwrap().list("TAGS").is_err());
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
