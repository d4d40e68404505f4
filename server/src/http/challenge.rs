//! The `WWW-Authenticate` header (Docker's token protocol; RFC 7617).
//!
//! Invariant: the realm comes from the configuration, never from the request. A realm made of the
//! `Host` header would let whoever forges one have credentials sent elsewhere (CVE-2020-15157 and
//! its kin), so without a `public_url` only a loopback listener names a token endpoint.

use super::error::Challenge;
use crate::app::HttpSettings;
use crate::domain::Action;

/// What a client must show, as a header value.
pub(crate) fn header(
    settings: &HttpSettings,
    service: &str,
    challenge: &Challenge,
    scope: Option<&str>,
    bearer_shown: bool,
) -> String {
    let Some(origin) = origin(settings) else { return "Basic realm=\"Standpipe\"".to_owned() };
    let mut text = format!("Bearer realm=\"{origin}/token\",service=\"{service}\"");
    let (scope, error) = match challenge {
        Challenge::Missing => (scope, None),
        // A client that showed a password gets a challenge it can answer with another password.
        Challenge::Invalid => (scope, bearer_shown.then_some("invalid_token")),
        Challenge::Scope(wanted) => (Some(wanted.as_str()), Some("insufficient_scope")),
    };
    for (key, value) in [("scope", scope), ("error", error)] {
        if let Some(value) = value {
            text.push_str(&format!(",{key}=\"{value}\""));
        }
    }
    text
}

/// Where clients find this server, as far as it knows.
pub(crate) fn origin(settings: &HttpSettings) -> Option<String> {
    match &settings.public_url {
        Some(url) => Some(url.clone()),
        None if settings.loopback => {
            let scheme = if settings.tls { "https" } else { "http" };
            Some(format!("{scheme}://127.0.0.1:{}", settings.port))
        }
        None => None,
    }
}

/// The actions of a scope that lets somebody do this.
pub(crate) const fn actions(action: Action) -> &'static str {
    match action {
        Action::Pull => "pull",
        Action::Push => "pull,push",
        Action::Delete => "delete",
        // Not to be had with a token; the name still tells what it was about.
        Action::CreatePackage | Action::DeletePackage | Action::Manage => "pull",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback() -> HttpSettings {
        HttpSettings { loopback: true, port: 5000, ..HttpSettings::default() }
    }

    #[test]
    fn the_realm_is_the_public_url_or_the_loopback_listener() {
        let ask = |settings: &HttpSettings| {
            header(settings, "standpipe", &Challenge::Missing, Some("repository:a/b:pull"), false)
        };
        assert_eq!(
            ask(&loopback()),
            "Bearer realm=\"http://127.0.0.1:5000/token\",service=\"standpipe\",scope=\"repository:a/b:pull\""
        );
        let public_url = Some("https://registry.example.com".to_owned());
        assert_eq!(
            ask(&HttpSettings { public_url, ..HttpSettings::default() }),
            "Bearer realm=\"https://registry.example.com/token\",service=\"standpipe\",scope=\"repository:a/b:pull\""
        );
        assert_eq!(ask(&HttpSettings::default()), "Basic realm=\"Standpipe\"");
    }

    #[test]
    fn a_refused_token_says_why_so_that_clients_fetch_a_new_one() {
        let ask = |challenge, bearer| header(&loopback(), "standpipe", &challenge, None, bearer);
        assert!(ask(Challenge::Invalid, true).ends_with(",error=\"invalid_token\""));
        assert!(!ask(Challenge::Invalid, false).contains("error"));
        assert!(
            ask(Challenge::Scope("repository:a/b:pull,push".to_owned()), true)
                .ends_with(",scope=\"repository:a/b:pull,push\",error=\"insufficient_scope\"")
        );
    }
}
