//! Where settings come from, and which win.

use super::*;
use std::io::Write as _;

fn variables(pairs: &[(&str, &str)]) -> std::vec::IntoIter<(String, String)> {
    let pairs: Vec<_> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    pairs.into_iter()
}

fn file(text: &str) -> (tempfile::NamedTempFile, Flags) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let flags = Flags { config: Some(file.path().to_owned()), ..Flags::default() };
    (file, flags)
}

#[test]
fn nothing_at_all_is_enough() {
    let loaded = load_from(&Flags::default(), variables(&[])).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert_eq!(loaded.admin_password, None);
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let (_file, mut flags) = file("listen: 127.0.0.1:1\ndata_dir: a\nlimits:\n  blob_bytes: 7\n");
    let environment = [
        ("STANDPIPE_LISTEN", "127.0.0.1:2"),
        ("STANDPIPE_DATA_DIR", "b"),
        ("STANDPIPE_LOG_FILTER", ""),
    ];
    flags.listen = Some("127.0.0.1:3".parse().unwrap());
    let config = load_from(&flags, variables(&environment)).unwrap().config;
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.data_dir, Path::new("b"));
    assert_eq!(config.limits.blob_bytes, Some(7));
    assert_eq!(config.log.filter, "info");
}

#[test]
fn unknown_keys_are_errors_with_their_place() {
    let (_file, flags) = file("limits:\n  blob_byte: 7\n");
    let error = load_from(&flags, variables(&[])).unwrap_err().to_string();
    assert!(error.contains("blob_byte"), "{error}");
    let wrong = variables(&[("STANDPIPE_LISTENING", "x")]);
    let error = load_from(&Flags::default(), wrong).unwrap_err().to_string();
    assert!(error.contains("listening"), "{error}");
}

#[test]
fn wrong_values_are_told_all_at_once() {
    let (_file, flags) =
        file("public_url: ftp://x\nlimits:\n  manifest_bytes: 1\n  upload_seconds: 0\n");
    let error = load_from(&flags, variables(&[])).unwrap_err().to_string();
    for part in ["public_url", "manifest_bytes", "upload_seconds"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn the_clients_variables_are_not_the_servers() {
    let environment = [
        ("STANDPIPE_PASSWORD", "x"),
        ("STANDPIPE_SERVER", "y"),
        ("STANDPIPE_ADMIN_PASSWORD", "secret-1"),
    ];
    let loaded = load_from(&Flags::default(), variables(&environment)).unwrap();
    assert_eq!(loaded.admin_password.as_deref(), Some("secret-1"));
    assert!(!format!("{loaded:?}").contains("secret-1"));
}

#[test]
fn the_written_form_of_the_defaults_is_read_back() {
    let text = serde_yaml::to_string(&Config::default()).unwrap();
    let (_file, flags) = file(&text);
    assert_eq!(load_from(&flags, variables(&[])).unwrap().config, Config::default());
}

#[test]
fn what_would_break_the_challenge_to_clients_is_refused() {
    for (name, bad) in [
        ("STANDPIPE_PUBLIC_URL", "http://a\nb"),
        ("STANDPIPE_PUBLIC_URL", "https://a\\b"),
        ("STANDPIPE_PUBLIC_URL", "https://registry.exämple"),
        ("STANDPIPE_PUBLIC_URL", "http://a:99999"),
        ("STANDPIPE_PUBLIC_URL", "http://a:"),
        ("STANDPIPE_PUBLIC_URL", "http://"),
        ("STANDPIPE_PUBLIC_URL", "http://a/b"),
        ("STANDPIPE_PUBLIC_URL", "http://ann@a"),
        ("STANDPIPE_TOKENS_SERVICE", "a\\"),
        ("STANDPIPE_TOKENS_SERVICE", "a\nb"),
        ("STANDPIPE_TOKENS_SERVICE", "a\"b"),
        ("STANDPIPE_TOKENS_SERVICE", "ä"),
    ] {
        let refused = load_from(&Flags::default(), variables(&[(name, bad)]));
        assert!(matches!(refused, Err(ConfigError::Values(_))), "{name}={bad:?}: {refused:?}");
    }
    for good in ["https://[::1]:5000", "http://my_registry:5000/", "https://Registry.Example.com//"]
    {
        let loaded = load_from(&Flags::default(), variables(&[("STANDPIPE_PUBLIC_URL", good)]));
        let url = loaded.unwrap().config.public_url;
        assert_eq!(url.as_deref(), Some(good.trim_end_matches('/')));
    }
}

#[test]
fn proxies_are_networks_in_the_file_and_in_the_environment() {
    let (_file, flags) = file("http:\n  trusted_proxies: [127.0.0.1, 10.0.0.0/8]\n");
    let read = |flags: &Flags, pairs: &[(&str, &str)]| {
        let loaded = load_from(flags, variables(pairs));
        loaded.map(|loaded| loaded.config.http.trusted_proxies)
    };
    let networks = |texts: &[&str]| Some(texts.iter().map(|text| text.parse().unwrap()).collect());
    assert_eq!(read(&flags, &[]).unwrap(), networks(&["127.0.0.1", "10.0.0.0/8"]));
    let variable = |text| read(&flags, &[("STANDPIPE_HTTP_TRUSTED_PROXIES", text)]);
    assert_eq!(variable("::1, 192.0.2.0/24").unwrap(), networks(&["::1", "192.0.2.0/24"]));
    assert!(variable("10.0.0.1/8").unwrap_err().to_string().contains("10.0.0.0/8"));
    let (_none, flags) = file("http:\n  trusted_proxies: []\n");
    assert_eq!(read(&flags, &[]).unwrap(), Some(Vec::new()));
    let (_wrong, flags) = file("http:\n  trusted_proxies: ['*']\n");
    assert!(read(&flags, &[]).unwrap_err().to_string().contains("a network is"));
    assert_eq!(read(&Flags::default(), &[]).unwrap(), None);
}

const ISSUER: &str = "https://api.bitbucket.org/2.0/workspaces/acme/pipelines-config/identity/oidc";

fn with_issuers(text: &str) -> Result<Config, ConfigError> {
    let (_file, flags) = file(&format!("oidc:\n  issuers:\n{text}"));
    load_from(&flags, variables(&[])).map(|loaded| loaded.config)
}

#[test]
fn an_issuer_needs_its_url_and_an_audience_and_has_bitbuckets_claims() {
    let text = format!("    - issuer: {ISSUER}\n      audiences: [https://registry.example.com]\n");
    let config = with_issuers(&text).unwrap();
    let issuer = &config.oidc.issuers[0];
    assert_eq!(issuer.claims.repository, "repositoryUuid");
    assert_eq!(issuer.claims.environment, "deploymentEnvironmentUuid");
    assert_eq!(issuer.algorithms, [oidc::SigningAlgorithm::Rs256, oidc::SigningAlgorithm::Es256]);
    let written = serde_yaml::to_string(&config).unwrap();
    let (_file, flags) = file(&written);
    assert_eq!(load_from(&flags, variables(&[])).unwrap().config, config);
}

#[test]
fn an_issuer_that_could_be_somebody_else_is_refused() {
    let good = |url: &str| with_issuers(&format!("    - {{issuer: '{url}', audiences: [a]}}\n"));
    for url in ["http://127.0.0.1:8080/x", "http://[::1]:1", "http://localhost/", "https://a.b"] {
        assert!(good(url).is_ok(), "{url}");
    }
    for url in [
        "http://issuer.example.com",
        "http://127.0.0.1.example.com",
        "https://ann@issuer.example.com",
        "https://issuer.example.com?x",
        "https://issuer.example.com#x",
        "ftp://issuer.example.com",
        "issuer.example.com",
        "",
    ] {
        let refused = good(url).unwrap_err().to_string();
        assert!(refused.contains("oidc.issuers[0].issuer"), "{url}: {refused}");
    }
    for (more, word) in [
        ("audiences: []", "audiences"),
        ("audiences: ['']", "audiences"),
        ("audiences: [a], jwks_uri: 'http://issuer.example.com/keys'", "jwks_uri"),
        ("audiences: [a], jwks_uri: 'http://127.0.0.1/keys'", "jwks_uri"),
        ("audiences: [a], algorithms: []", "algorithms"),
        ("audiences: [a], algorithms: [HS256]", "HS256"),
        ("audiences: [a], algorithms: [none]", "none"),
        ("audiences: [a], claims: {repository: ''}", "claims"),
        ("audiences: [a], claims: {repo: x}", "repo"),
        ("audiences: [a], audience: a", "audience"),
    ] {
        let refused = with_issuers(&format!("    - {{issuer: '{ISSUER}', {more}}}\n"));
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(word), "{more}: {refused}");
    }
    let twice = format!("    - {{issuer: '{ISSUER}', audiences: [a]}}\n").repeat(2);
    let refused = with_issuers(&twice).unwrap_err().to_string();
    assert!(refused.contains("is there twice"), "{refused}");
}
