//! User name and password, and whether they are Atlassian's.
//!
//! Bitbucket puts its own pair into every step. A build with `REGISTRY` set must not hand that token
//! to whoever runs that registry, so its form is recognised here; `auth` keeps the rule.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::secret::Secret;

/// A user name and a password, and the variables they came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user name.
    pub username: String,
    /// The password or token.
    pub password: Secret,
    /// Where they came from.
    pub origin: CredentialsOrigin,
}

/// What gave the credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialsOrigin {
    /// `USERNAME` and `PASSWORD`.
    Explicit,
    /// `BITBUCKET_PACKAGES_USERNAME` and `BITBUCKET_PACKAGES_TOKEN`.
    Step,
    /// `BITBUCKET_STEP_OIDC_TOKEN`.
    Oidc,
    /// A `config.json` of docker.
    DockerConfig,
}

impl CredentialsOrigin {
    /// What the two halves are called in messages: the names of variables, if there are any.
    pub fn variables(self) -> (&'static str, &'static str) {
        match self {
            Self::Explicit => ("USERNAME", "PASSWORD"),
            Self::Step => ("BITBUCKET_PACKAGES_USERNAME", "BITBUCKET_PACKAGES_TOKEN"),
            Self::Oidc => ("oidc", "BITBUCKET_STEP_OIDC_TOKEN"),
            Self::DockerConfig => ("the user", "the password of the docker configuration"),
        }
    }
}

/// Whether `token` has the form of one that Atlassian or Bitbucket issued: by its prefix, or
/// because it is a JWT that names them.
pub(super) fn looks_like_atlassian(token: &str) -> bool {
    PREFIXES.iter().any(|prefix| token.starts_with(prefix)) || is_atlassian_jwt(token)
}

fn is_atlassian_jwt(token: &str) -> bool {
    let mut parts = token.split('.');
    let (Some(header), Some(payload), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    [header, payload].iter().any(|part| {
        let part = part.trim_end_matches('=');
        URL_SAFE_NO_PAD.decode(part).is_ok_and(|json| {
            let text = String::from_utf8_lossy(&json).to_ascii_lowercase();
            ISSUERS.iter().any(|issuer| text.contains(issuer))
        })
    })
}

/// API tokens, access tokens, app passwords and service tokens of Atlassian.
const PREFIXES: [&str; 4] = ["ATATT", "ATCTT", "ATBB", "ATSTT"];

/// Words that a JWT of Bitbucket or Atlassian carries in its issuer, audience or claims.
const ISSUERS: [&str; 3] = ["bitbucket", "atlassian", "ari:cloud:"];

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(claims: &str) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode("{}"), URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn tokens_of_atlassian_are_recognised() {
        for token in ["ATATTexample", "ATCTTexample", "ATBBexample"] {
            assert!(looks_like_atlassian(token), "{token}");
        }
        assert!(looks_like_atlassian(&jwt(r#"{"iss":"https://api.bitbucket.org/2.0"}"#)));
        assert!(looks_like_atlassian(&jwt(r#"{"aud":"ari:cloud:bitbucket::workspace/1"}"#)));
    }

    #[test]
    fn other_tokens_are_not() {
        for token in ["hunter22", "sp_Zm9v", "a.b.c", "ghp_ATATT"] {
            assert!(!looks_like_atlassian(token), "{token}");
        }
        assert!(!looks_like_atlassian(&jwt(r#"{"iss":"https://registry.example"}"#)));
    }
}
