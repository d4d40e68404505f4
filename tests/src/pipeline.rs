//! Runs a step of a `bitbucket-pipelines.yml` as Bitbucket does: its script by a shell, its pipes by
//! `docker container run`.
//!
//! A pipe becomes a command line with the fixed list of variables and mounts, in which the values of
//! `variables:` stand between double quotes, so the shell expands them. Invariant: nothing here knows our
//! pipe; `account/repo` is looked up in a `pipe.yml`, as everywhere.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::clients::Client;
use crate::disk::temporary_directory;
use crate::environment;
use crate::pipe::STEP;
use crate::process::Finished;
use crate::step::GATEWAY;

/// The folders of one step, and what its script finds in the environment.
#[derive(Debug)]
pub struct StepRun {
    folder: TempDir,
    variables: Vec<(String, String)>,
    /// The variables that every pipe gets.
    fixed: Vec<String>,
    /// Options for `docker container run` that Bitbucket gives too.
    options: Vec<String>,
    pipe_yml: Value,
}

impl StepRun {
    /// A step of workspace `acme` and repository `shop`, in an empty clone.
    #[must_use]
    pub fn new() -> Self {
        let folder = temporary_directory("step");
        for name in ["build", "ssh", "storage"] {
            fs::create_dir(folder.path().join(name)).expect("our own folder is writable");
        }
        let variables = STEP.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut run = Self {
            folder,
            variables: variables.into(),
            fixed: Vec::new(),
            options: vec![format!("--add-host=host.docker.internal:{GATEWAY}")],
            pipe_yml: yaml(&environment::repository_root().join("pipe.yml")),
        };
        run = run
            .set("BITBUCKET_CLONE_DIR", CLONE)
            .set("BITBUCKET_DOCKER_HOST_INTERNAL", GATEWAY)
            // Named, but not mounted into pipes.
            .set("BITBUCKET_PIPELINES_VARIABLES_PATH", "/opt/atlassian/pipelines/agent/tmp/vars")
            .set("BITBUCKET_PIPE_STORAGE_DIR", &format!("{CLONE}/{STORAGE}/own"))
            .set("BITBUCKET_PIPE_SHARED_STORAGE_DIR", &format!("{CLONE}/{STORAGE}"));
        run.fixed = run.variables.iter().map(|(name, _)| name.clone()).collect();
        run
    }

    /// Sets a variable of the repository or the step.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A step of which the pipes do not know the name `host.docker.internal`.
    #[must_use]
    pub fn without_host_name(mut self) -> Self {
        self.options.clear();
        self
    }

    /// The folder of the clone.
    #[must_use]
    pub fn clone_directory(&self) -> PathBuf {
        self.folder.path().join("build")
    }

    /// Runs a script, which stops at the first item that fails.
    pub async fn run(&self, docker: &Client, script: &[Value]) -> Finished {
        let lines: Vec<String> = script.iter().map(|item| self.line(item)).collect();
        let mut shell = docker.run_by("bash");
        for (name, value) in &self.variables {
            shell = shell.env(name, value);
        }
        let script = lines.join("\n");
        shell.current_dir(&self.clone_directory()).args(["-e", "-c", &script]).finish().await
    }

    fn line(&self, item: &Value) -> String {
        match item.as_str() {
            Some(command) => command.to_owned(),
            None => self.pipe(item),
        }
    }

    /// The command line of a pipe.
    fn pipe(&self, item: &Value) -> String {
        let name =
            item["pipe"].as_str().unwrap_or_else(|| panic!("no command and no pipe: {item}"));
        let given = item["variables"].as_object().cloned().unwrap_or_default();
        let mut variables: Vec<(String, Value)> = given.into_iter().collect();
        let image = match name.strip_prefix("docker://") {
            Some(image) => image.to_owned(),
            None => self.looked_up(name, &mut variables),
        };
        let mut words = vec!["docker container run --rm".to_owned()];
        words.extend(self.options.iter().cloned());
        words.extend(self.mounts());
        words.push(format!("--workdir={CLONE}"));
        words.push("--label=org.bitbucket.pipelines.system=true".to_owned());
        // Everything else that the step has is for those who pass it on.
        words.extend(self.fixed.iter().map(|name| format!("--env={name}=\"${name}\"")));
        words.push("--env=DOCKER_HOST=tcp://host.docker.internal:2375".to_owned());
        // The registries of these tests have no certificates.
        variables.push(("INSECURE".to_owned(), Value::from("true")));
        words.extend(variables.iter().flat_map(|(name, value)| pasted(name, value)));
        words.push(image);
        words.join(" ")
    }

    /// `account/repo:version`: the image that its `pipe.yml` names, and the defaults in it.
    fn looked_up(&self, name: &str, variables: &mut Vec<(String, Value)>) -> String {
        let image = self.pipe_yml["image"].as_str().expect("pipe.yml names an image");
        let version = |name: &str| name.rsplit_once(':').map(|(_, version)| version.to_owned());
        assert_eq!(version(name), version(image), "{name} is not the version of pipe.yml");
        for variable in self.pipe_yml["variables"].as_array().expect("pipe.yml has variables") {
            let name = variable["name"].as_str().expect("a variable has a name").to_owned();
            let known = variables.iter().any(|(given, _)| *given == name);
            if !known && let Some(default) = variable["default"].as_str() {
                variables.push((name, Value::from(default)));
            }
        }
        image.to_owned()
    }

    fn mounts(&self) -> Vec<String> {
        let folder = self.folder.path().display();
        let docker = environment::search_path();
        let docker = docker.split(':').map(|folder| Path::new(folder).join("docker"));
        let docker = { docker }.find(|path| path.is_file()).expect("docker is installed");
        vec![
            format!("--volume={folder}/build:{CLONE}:rw"),
            format!("--volume={folder}/ssh:/opt/atlassian/pipelines/agent/ssh:ro"),
            format!("--volume={}:/usr/local/bin/docker:ro", docker.display()),
            format!("--volume={folder}/storage:{CLONE}/{STORAGE}:rw"),
        ]
    }
}

impl Default for StepRun {
    fn default() -> Self {
        Self::new()
    }
}

/// A variable as it stands on the command line: a list becomes several.
fn pasted(name: &str, value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => {
            let count = format!("--env={name}_COUNT=\"{}\"", items.len());
            let items = items.iter().enumerate();
            let items = items.flat_map(|(index, item)| pasted(&format!("{name}_{index}"), item));
            [count].into_iter().chain(items).collect()
        }
        Value::String(text) => vec![format!("--env={name}=\"{text}\"")],
        other => vec![format!("--env={name}=\"{other}\"")],
    }
}

/// A YAML file of the repository.
///
/// # Panics
/// When it cannot be read.
#[must_use]
pub fn yaml(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

/// Where the clone is for the step and its pipes.
const CLONE: &str = "/opt/atlassian/pipelines/agent/build";
/// Below the clone: what pipes keep for the whole pipeline.
const STORAGE: &str = ".bitbucket/pipelines/generated/pipeline/pipes";
