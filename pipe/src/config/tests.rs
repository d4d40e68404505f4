//! Tests of the whole configuration: defaults, precedence, and problems reported together.

use super::*;

fn config(variables: &[(&str, &str)]) -> Result<Config, Error> {
    let minimal = [("IMAGE_NAME", "app"), ("BITBUCKET_WORKSPACE", "acme")];
    let given = minimal.iter().chain(variables);
    let given = given.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    // Later ones win, as in an environment.
    let given: std::collections::BTreeMap<_, _> = given.collect();
    Config::from_variables(given).1
}

fn problems(variables: &[(&str, &str)]) -> Vec<String> {
    match config(variables) {
        Err(Error::Variables(problems)) => problems.iter().map(Problem::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

fn token() -> String {
    "ATATTexample".to_owned()
}

#[test]
fn a_name_and_a_workspace_are_enough() {
    let config = config(&[]).unwrap();
    assert_eq!(config.registry.as_str(), "crg.apkg.io");
    assert_eq!(config.repository(), "acme/app");
    assert_eq!(config.tags, []);
    assert_eq!(config.credentials, None);
    assert_eq!(config.transfer.parallel, 4);
    assert_eq!(config.transfer.timeout, Duration::from_secs(300));
}

#[test]
fn all_problems_are_reported_at_once() {
    let problems = problems(&[
        ("IMAGE_NAME", ""),
        ("TAGS", "ok /bad -bad"),
        ("REGISTRY", "https://a"),
        ("PARALLEL", "0"),
        ("USERNAME", "ann"),
        ("SOURCE", "tar:dir"),
    ]);
    let named: Vec<&str> = problems.iter().filter_map(|line| line.split(':').next()).collect();
    let expected = ["REGISTRY", "IMAGE_NAME", "TAGS", "TAGS", "PASSWORD", "SOURCE", "PARALLEL"];
    assert_eq!(named, expected, "{problems:#?}");
}

#[test]
fn explicit_credentials_win_over_those_of_the_step() {
    let config = config(&[
        ("USERNAME", "ann"),
        ("PASSWORD", "hunter22"),
        ("BITBUCKET_PACKAGES_USERNAME", "bot"),
        ("BITBUCKET_PACKAGES_TOKEN", "other"),
    ]);
    let credentials = config.unwrap().credentials.unwrap();
    assert_eq!(credentials.username, "ann");
    assert_eq!(credentials.origin, CredentialsOrigin::Explicit);
}

#[test]
fn a_token_of_atlassian_goes_to_bitbucket_only() {
    let token = token();
    let pair = [("BITBUCKET_PACKAGES_USERNAME", "bot"), ("BITBUCKET_PACKAGES_TOKEN", &token)];
    assert!(config(&pair).is_ok());
    let elsewhere = [&pair[..], &[("REGISTRY", "registry.example")]].concat();
    let problem = problems(&elsewhere);
    assert!(problem[0].starts_with("BITBUCKET_PACKAGES_TOKEN: looks like"), "{problem:?}");
    assert!(!problem[0].contains(&token), "{problem:?}");
    let forced = [&elsewhere[..], &[("AUTH", "basic")]].concat();
    assert!(config(&forced).is_ok());
    let own = [&elsewhere[..], &[("USERNAME", "ann"), ("PASSWORD", "hunter22")]].concat();
    assert!(config(&own).is_ok());
}

#[test]
fn a_configuration_does_not_print_its_password() {
    let config = config(&[("USERNAME", "ann"), ("PASSWORD", "hunter22")]).unwrap();
    assert!(!format!("{config:?}").contains("hunter22"));
}

#[test]
fn tags_may_be_text_and_list_together() {
    let list = [("TAGS", "a b"), ("TAGS_COUNT", "2"), ("TAGS_0", "b"), ("TAGS_1", "c")];
    let tags = config(&list).unwrap().tags;
    assert_eq!(tags.iter().map(Tag::as_str).collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[test]
fn a_line_end_after_the_registry_does_no_harm() {
    let config = config(&[("REGISTRY", "registry.example:5000\n")]).unwrap();
    assert_eq!(config.registry.as_str(), "registry.example:5000");
}

#[test]
fn a_login_that_is_asked_for_must_be_there() {
    assert!(problems(&[("AUTH", "basic")])[0].contains("USERNAME"));
    assert!(problems(&[("AUTH", "oidc")])[0].contains("oidc: true"));
    assert!(problems(&[("AUTH", "token")])[0].contains("none of auto, basic, oidc, none"));
}

#[test]
fn the_first_login_that_the_registry_may_see_is_used() {
    let token = token();
    let folder = tempfile::tempdir().unwrap();
    // ann:hunter22
    let file = r#"{"auths":{"registry.example":{"auth":"YW5uOmh1bnRlcjIy"}}}"#;
    std::fs::write(folder.path().join("config.json"), file).unwrap();
    let elsewhere = ("REGISTRY", "registry.example");
    let step = [("BITBUCKET_PACKAGES_USERNAME", "bot"), ("BITBUCKET_PACKAGES_TOKEN", &token)];
    let oidc = ("BITBUCKET_STEP_OIDC_TOKEN", "a.b.c");
    let docker = ("DOCKER_CONFIG", folder.path().to_str().unwrap());
    let origin = |variables: &[(&str, &str)]| {
        config(variables).unwrap().credentials.map(|credentials| credentials.origin)
    };
    let all = [step[0], step[1], oidc, docker];
    assert_eq!(origin(&all), Some(CredentialsOrigin::Step));
    let all = [elsewhere, step[0], step[1], oidc, docker];
    assert_eq!(origin(&all), Some(CredentialsOrigin::Oidc));
    let all = [elsewhere, step[0], step[1], docker];
    assert_eq!(origin(&all), Some(CredentialsOrigin::DockerConfig));
    let nobody = [elsewhere, step[0], step[1], oidc, docker, ("AUTH", "none")];
    assert_eq!(origin(&nobody), None);
    let basic = [elsewhere, step[0], step[1], oidc, docker, ("AUTH", "basic")];
    assert_eq!(origin(&basic), Some(CredentialsOrigin::Step));
}

#[test]
fn what_the_daemon_cannot_do_is_refused() {
    for (name, value) in [
        ("COMPRESSION", "zstd"),
        ("ANNOTATIONS", "a=b"),
        ("DRY_RUN", "true"),
        ("MOUNT_FROM", "base"),
    ] {
        let problems = problems(&[("MODE", "daemon"), (name, value)]);
        assert!(problems[0].starts_with(name), "{problems:?}");
        assert!(problems[0].contains("MODE=daemon"), "{problems:?}");
    }
    assert_eq!(config(&[("MODE", "daemon")]).unwrap().options.mode, Mode::Daemon);
}

#[test]
fn an_output_file_needs_its_folder() {
    assert!(problems(&[("OUTPUT_FILE", "/none/here/result.json")])[0].contains("no folder"));
    assert!(problems(&[("OUTPUT_FILE", "/tmp")])[0].contains("is a folder"));
}

#[test]
fn a_path_longer_than_255_is_refused() {
    let name = "a".repeat(251);
    assert!(problems(&[("IMAGE_NAME", &name)])[0].contains("256 characters"));
}

#[test]
fn platforms_may_be_text_and_list_together() {
    let list = [
        ("PLATFORMS", "linux/amd64, linux/arm64"),
        ("PLATFORMS_COUNT", "2"),
        ("PLATFORMS_0", "linux/arm/v7"),
        ("PLATFORMS_1", "linux/amd64"),
    ];
    let shown: Vec<String> =
        config(&list).unwrap().platforms.iter().map(Platform::to_string).collect();
    assert_eq!(shown, ["linux/amd64", "linux/arm64", "linux/arm/v7"]);
    assert!(problems(&[("PLATFORMS", "amd64")])[0].contains("linux/amd64"));
}

#[test]
fn a_daemon_that_pushes_by_itself_chooses_neither_source_nor_platform() {
    for variable in [("SOURCE", "oci:out"), ("PLATFORMS", "linux/amd64")] {
        let problems = problems(&[("MODE", "daemon"), variable]);
        assert!(problems[0].starts_with(variable.0) && problems[0].contains("MODE=daemon"));
    }
    assert!(config(&[("MODE", "daemon"), ("SOURCE_IMAGE", "built:7")]).is_ok());
}
