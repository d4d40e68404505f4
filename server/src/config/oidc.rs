//! Whose OIDC tokens are taken: the settings under `oidc`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The most issuers.
const MOST_ISSUERS: usize = 100;
/// The longest URL, audience and claim name in bytes.
const LONGEST: usize = 512;

/// Logins of builds with tokens of other systems.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Oidc {
    /// Who is believed.
    pub issuers: Vec<Issuer>,
}

/// One who issues tokens to builds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// Its URL, exactly as its tokens name it.
    pub issuer: String,
    /// For whom tokens must be: one of these.
    pub audiences: Vec<String>,
    /// Where its keys are; otherwise its discovery document says.
    #[serde(default)]
    pub jwks_uri: Option<String>,
    /// What its tokens may be signed with.
    #[serde(default = "usual_algorithms")]
    pub algorithms: Vec<SigningAlgorithm>,
    /// What it calls which claim.
    #[serde(default)]
    pub claims: Claims,
}

/// What tokens may be signed with. Nothing with a shared secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SigningAlgorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
}

fn usual_algorithms() -> Vec<SigningAlgorithm> {
    vec![SigningAlgorithm::Rs256, SigningAlgorithm::Es256]
}

/// Names of claims; Bitbucket's unless said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Claims {
    /// The source repository, by an id that is never used again.
    pub repository: String,
    /// The branch.
    pub branch: String,
    /// The deployment environment.
    pub environment: String,
    /// The run of the pipeline.
    pub pipeline: String,
    /// The commit; Bitbucket does not tell.
    pub commit: Option<String>,
    /// The build number; Bitbucket does not tell.
    pub build: Option<String>,
}

impl Default for Claims {
    fn default() -> Self {
        Self {
            repository: "repositoryUuid".to_owned(),
            branch: "branchName".to_owned(),
            environment: "deploymentEnvironmentUuid".to_owned(),
            pipeline: "pipelineUuid".to_owned(),
            commit: None,
            build: None,
        }
    }
}

/// What is wrong, in words.
pub(super) fn check(oidc: &Oidc) -> Vec<String> {
    let mut wrong = Vec::new();
    if oidc.issuers.len() > MOST_ISSUERS {
        wrong.push(format!("oidc.issuers has at most {MOST_ISSUERS}"));
    }
    let mut seen = BTreeSet::new();
    for (index, issuer) in oidc.issuers.iter().enumerate() {
        let place = format!("oidc.issuers[{index}]");
        if !seen.insert(issuer.issuer.as_str()) {
            wrong.push(format!("{place}: the issuer {} is there twice", issuer.issuer));
        }
        let words = check_issuer(issuer);
        wrong.extend(words.into_iter().map(|words| format!("{place}.{words}")));
    }
    wrong
}

fn check_issuer(issuer: &Issuer) -> Vec<&'static str> {
    let local = is_url(&issuer.issuer, true) && !is_url(&issuer.issuer, false);
    let keys_fit = issuer.jwks_uri.as_deref().is_none_or(|url| is_url(url, local));
    let names = &issuer.claims;
    let told = [&names.commit, &names.build].into_iter().flatten();
    let mut names = [&names.repository, &names.branch, &names.environment, &names.pipeline]
        .into_iter()
        .chain(told);
    let text =
        |text: &String| (1..=LONGEST).contains(&text.len()) && !text.chars().any(char::is_control);
    [
        (
            is_url(&issuer.issuer, true) && !issuer.issuer.contains(['?', '#']),
            "issuer is an https URL as the issuer's tokens have it (http only on this machine)",
        ),
        (
            !issuer.audiences.is_empty() && issuer.audiences.iter().all(text),
            "audiences has at least one, such as the address of this registry",
        ),
        (keys_fit, "jwks_uri is an https URL (http only if the issuer is on this machine)"),
        (!issuer.algorithms.is_empty(), "algorithms has at least one"),
        (names.all(text), "claims has names of claims"),
    ]
    .into_iter()
    .filter_map(|(holds, words)| (!holds).then_some(words))
    .collect()
}

/// Whether this is where one may ask: over HTTPS, or on this machine if that is allowed.
fn is_url(text: &str, local: bool) -> bool {
    let Ok(url) = reqwest::Url::parse(text) else { return false };
    let plain = url.username().is_empty() && url.password().is_none() && text.len() <= LONGEST;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let loopback =
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    let allowed = match url.scheme() {
        "https" => true,
        "http" => local && loopback,
        _ => false,
    };
    plain && allowed && !host.is_empty()
}
