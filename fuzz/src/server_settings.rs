//! `server.yaml` and the environment: settings that are accepted can be written down and read again,
//! and the headers made of them are read by the pipe as they were meant.

use reqwest::header::HeaderValue;
use standpipe_pipe::fuzzing::client::{Asked, challenge};
use standpipe_server::fuzzing;

use crate::script::Script;

const SCOPE: &str = "repository:acme/shop:pull";

/// A file, then a zero byte, then variables without their prefix, one a line.
pub fn server_settings(data: &[u8]) {
    let mut script = Script::new(data);
    let yaml = script.text_until(0);
    let mut variables = Vec::new();
    while !script.is_over() {
        let line = script.text_until(b'\n');
        let Some((name, value)) = line.split_once('=') else { continue };
        // It names a file, which this target must not open.
        if !name.to_ascii_lowercase().contains("password_file") {
            variables.push((format!("STANDPIPE_{name}"), value.to_owned()));
        }
    }
    let Ok(loaded) = fuzzing::load_texts(&yaml, variables.into_iter()) else { return };
    if let Some(password) = loaded.admin_password.as_deref().filter(|text| text.len() > 8) {
        let config = format!("{:?}", loaded.config);
        let shown = format!("{loaded:?}");
        assert!(config.contains(password) || !shown.contains(password), "a password is shown");
    }
    let config = loaded.config;
    let again = serde_yaml::to_string(&config).expect("settings can be written down");
    let again = fuzzing::load_texts(&again, std::iter::empty()).expect("and are read again");
    assert_eq!(again.config, config);
    let origin = config.public_url.clone().unwrap_or_else(|| "http://127.0.0.1:5000".to_owned());
    let header = fuzzing::challenge(config.public_url, &config.tokens.service, SCOPE);
    let value = HeaderValue::try_from(&header);
    assert!(value.is_ok_and(|value| value.to_str().is_ok()), "no header: {header:?}");
    let asked = Asked::Bearer(format!("{origin}/token"), Some(config.tokens.service));
    assert_eq!(challenge(&[&header]), Some(asked), "{header}");
    let realm = format!("{origin}/token");
    let realm = reqwest::Url::parse(&realm).unwrap_or_else(|error| panic!("{realm:?}: {error}"));
    assert_eq!(realm.path(), "/token");
}
