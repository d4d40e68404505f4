//! Files that people copy: each is run or parsed here, and a new one without a check fails.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use standpipe_tests::clients;
use standpipe_tests::disk::{files_below, temporary_directory};
use standpipe_tests::environment;
use standpipe_tests::pipeline;
use standpipe_tests::process::Program;

#[test]
fn every_example_has_a_test() {
    let root = environment::repository_root().join("examples");
    let found: BTreeSet<String> = files_below(&root)
        .iter()
        .filter_map(|path| path.strip_prefix(&root).ok())
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    // Run by `quickstart`, `pipelines`, `images` and `proxy`; the others below.
    let run =
        ["quickstart.sh", "bitbucket-pipelines.yml", "compose.yaml", "nginx.conf", "Caddyfile"];
    let tested = run.into_iter().chain(["server.yaml", "standpipe.service"]);
    assert_eq!(found, tested.map(str::to_owned).collect());
}

#[tokio::test]
async fn the_example_settings_are_the_defaults_and_name_every_one() {
    let check = || {
        Program::new(environment::server_binary()).args(["check-config"]).current_dir(&examples())
    };
    let defaults = check().finish().await.succeeded().stdout;
    let example = check().args(["--config", "server.yaml"]).finish().await.succeeded().stdout;
    assert_eq!(example, defaults);

    let text = fs::read_to_string(examples().join("server.yaml")).expect("the example exists");
    for line in defaults.lines() {
        let key = line.split(':').next().unwrap_or_default().trim();
        let named = text
            .lines()
            .any(|line| line.trim_start_matches(['#', ' ']).starts_with(&format!("{key}:")));
        assert!(named, "examples/server.yaml does not explain {key}");
    }
}

#[test]
fn the_pipelines_example_uses_variables_that_the_pipe_has() {
    let pipelines = yaml("examples/bitbucket-pipelines.yml");
    let pipe = yaml("pipe.yml");
    let known: BTreeSet<&str> =
        list(&pipe["variables"]).iter().filter_map(|variable| variable["name"].as_str()).collect();
    let mut steps = Vec::new();
    collect(&pipelines["pipelines"], "step", &mut steps);
    assert_eq!(steps.len(), 6, "one step for each way to push");
    let mut used = 0;
    for item in steps.iter().flat_map(|step| list(&step["script"])) {
        let Some(variables) = item["variables"].as_object() else { continue };
        for name in variables.keys() {
            assert!(known.contains(name.as_str()), "{name} is not in pipe.yml");
            used += 1;
        }
    }
    assert!(used > 0, "a step uses the pipe");
    let text = fs::read_to_string(examples().join("bitbucket-pipelines.yml")).expect("it exists");
    assert!(text.contains("docker login"), "a step logs in without the pipe");
}

#[tokio::test]
async fn systemd_takes_the_service_and_finds_it_well_locked_up() {
    if !clients::is_installed("systemd-analyze") {
        return clients::skip("systemd-analyze is not installed (Debian: systemd)");
    }
    let text = fs::read_to_string(examples().join("standpipe.service")).expect("it exists");
    let folder = temporary_directory("unit");
    let unit = folder.path().join("standpipe.service");
    let installed = "/usr/local/bin/standpipe-server";
    assert!(text.contains(installed), "{text}");
    let server = environment::server_binary();
    let text = text.replace(installed, &server.to_string_lossy());
    fs::write(&unit, text).expect("our own folder is writable");
    let analyze = |arguments: &[&str]| {
        let program = Program::new("systemd-analyze").args(arguments);
        program.args([&unit]).current_dir(folder.path())
    };
    let verified = analyze(&["verify", "--man=no"]).finish().await.succeeded();
    assert!(verified.stderr.is_empty(), "{verified}");
    // Exposure in tenths of systemd's own scale, where 100 is a service without any locks.
    let _ = analyze(&["security", "--offline=true", "--threshold=15"]).finish().await.succeeded();
}

/// All values under this key, at any depth.
fn collect<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == key {
                    found.push(value);
                }
                collect(value, key, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, key, found)),
        _ => {}
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn yaml(path: &str) -> Value {
    pipeline::yaml(&environment::repository_root().join(path))
}

fn examples() -> PathBuf {
    environment::repository_root().join("examples")
}
