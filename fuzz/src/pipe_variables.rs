//! The variables of a step: names, tags, the registry, credentials, sizes, and what is told about
//! wrong ones.

use reqwest::header::HeaderValue;
use standpipe_pipe::config::Config;
use standpipe_pipe::error::Error;
use standpipe_server::domain::{Name, Tag};

use crate::script::Script;

/// Variables as `NAME=value`, each ended by a zero byte.
pub fn pipe_variables(data: &[u8]) {
    let mut script = Script::new(data);
    let mut given: Vec<(String, String)> = Vec::new();
    while !script.is_over() {
        let entry = script.text_until(0);
        let Some((name, value)) = entry.split_once('=') else { continue };
        // Without a PEM block it is the path of a file, which this target must not open.
        if name == "CA_CERT" && !value.contains("-----BEGIN") {
            continue;
        }
        given.push((name.to_owned(), value.to_owned()));
    }
    let secrets = secrets(&given);
    match Config::from_variables(given).1 {
        Ok(config) => accepted(&config, &secrets),
        Err(error) => {
            let Error::Variables(problems) = &error else { panic!("{error:?}") };
            assert!(!problems.is_empty() && error.exit_code() == 2, "{error}");
            let own = |name: &str| name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
            assert!(problems.iter().all(|problem| own(&problem.variable)), "{problems:?}");
            for line in error.hints().into_iter().chain([error.to_string()]) {
                assert!(!line.contains(char::is_control), "{line:?}");
                silent(&line, &secrets);
            }
        }
    }
}

fn accepted(config: &Config, secrets: &[String]) {
    let registry = config.registry.as_str();
    let host = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-_:[]".contains(c);
    assert!(!registry.is_empty() && registry.chars().all(host), "{registry:?}");
    let url = reqwest::Url::parse(&format!("https://{registry}/v2/")).expect("an address");
    assert_eq!(url.path(), "/v2/", "{registry:?}");
    assert!(url.username().is_empty() && url.password().is_none(), "{registry:?}");
    let repository = config.repository();
    // Other registries have longer workspaces.
    let long = repository.split('/').next().is_some_and(|workspace| workspace.len() > 62);
    assert!(long || repository.parse::<Name>().is_ok(), "the server refuses {repository:?}");
    for tag in &config.tags {
        assert!(tag.as_str().parse::<Tag>().is_ok(), "the server refuses {tag:?}");
    }
    assert!(HeaderValue::try_from(config.build.user_agent()).is_ok());
    assert!((1..=32).contains(&config.transfer.parallel));
    assert!((64 << 10..=1 << 30).contains(&config.transfer.chunk_size));
    silent(&format!("{config:?}"), secrets);
}

/// The values that must not be shown, as far as no other variable has them too.
fn secrets(given: &[(String, String)]) -> Vec<String> {
    let secret = |name: &str| matches!(name, "PASSWORD" | "BITBUCKET_PACKAGES_TOKEN");
    let open = || given.iter().filter(|(name, _)| !secret(name));
    given
        .iter()
        .filter(|(name, value)| secret(name) && value.len() >= 12)
        .map(|(_, value)| value.clone())
        .filter(|value| open().all(|(_, other)| !other.contains(value) && !value.contains(other)))
        .collect()
}

fn silent(text: &str, secrets: &[String]) {
    for secret in secrets {
        // Words of our own may happen to be somebody's password.
        assert!(
            !text.contains(secret) || !secret.contains(['$', '%']),
            "a secret is shown: {text}"
        );
    }
}
