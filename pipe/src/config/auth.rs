//! `AUTH`: which of the logins that are there is used.
//!
//! The order of `auto`: `USERNAME` and `PASSWORD`, the pair of the step, the OIDC token of the
//! step, a docker configuration, nobody.
//! Invariant: a token that Atlassian issued to the step goes to Bitbucket's registry only, unless the
//! user says `AUTH=basic`.

use super::credentials::{Credentials, CredentialsOrigin, looks_like_atlassian};
use super::names::RegistryAddress;
use super::{Environment, Problems, docker_config};
use crate::secret::Secret;

/// What `AUTH` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Auth {
    Auto,
    Basic,
    Oidc,
    Nobody,
}

impl Auth {
    pub(super) fn parse(text: Option<&str>) -> Result<Self, String> {
        match text.map(str::trim) {
            None | Some("auto") => Ok(Self::Auto),
            Some("basic") => Ok(Self::Basic),
            Some("oidc") => Ok(Self::Oidc),
            Some("none") => Ok(Self::Nobody),
            Some(other) => Err(format!("{other:?} is none of auto, basic, oidc, none")),
        }
    }
}

/// The login to use for `registry`, if that is one; what is wrong with it goes to `problems`, what the reader of the log should
/// know to `notes`.
pub(super) fn choose(
    given: &Environment,
    auth: Auth,
    registry: Option<&RegistryAddress>,
    problems: &mut Problems,
    notes: &mut Vec<String>,
) -> Option<Credentials> {
    match auth {
        Auth::Nobody => None,
        Auth::Basic => {
            let found = explicit(given, problems).or_else(|| step(given, problems));
            if found.is_none() && problems.is_silent_on(&PAIRS) {
                let message = "is basic, but there are no USERNAME and PASSWORD";
                problems.add(Some(("AUTH", message.to_owned())));
            }
            found
        }
        Auth::Oidc => {
            if given.bitbucket_step_oidc_token.is_none() {
                problems.add(Some(("AUTH", NO_OIDC.to_owned())));
            }
            oidc(given)
        }
        Auth::Auto => automatic(given, registry, problems, notes),
    }
}

fn automatic(
    given: &Environment,
    registry: Option<&RegistryAddress>,
    problems: &mut Problems,
    notes: &mut Vec<String>,
) -> Option<Credentials> {
    if let Some(found) = explicit(given, problems) {
        problems.add(registry.and_then(|registry| refuse_foreign(&found, registry)));
        return Some(found);
    }
    let of_step = step(given, problems);
    // What is wrong with the registry is told already.
    let registry = registry?;
    let refused = of_step.as_ref().and_then(|found| refuse_foreign(found, registry));
    if of_step.is_some() && refused.is_none() {
        return of_step;
    }
    // Bitbucket's registry takes the pair of the step; an OIDC token is for others.
    let other = match registry.is_bitbucket() {
        true => None,
        false => oidc(given),
    };
    let other = other.or_else(|| match docker_config::find(given, registry, notes) {
        Ok(found) => found,
        Err(message) => {
            problems.add(Some(("DOCKER_CONFIG", message)));
            None
        }
    });
    if other.is_none() {
        problems.add(refused);
    }
    other
}

fn explicit(given: &Environment, problems: &mut Problems) -> Option<Credentials> {
    pair((&given.username, &given.password), CredentialsOrigin::Explicit, problems)
}

fn step(given: &Environment, problems: &mut Problems) -> Option<Credentials> {
    if given.username.is_some() || given.password.is_some() {
        return None;
    }
    let pair_of_step = (&given.bitbucket_packages_username, &given.bitbucket_packages_token);
    pair(pair_of_step, CredentialsOrigin::Step, problems)
}

fn oidc(given: &Environment) -> Option<Credentials> {
    Some(Credentials {
        username: OIDC_USER.to_owned(),
        password: Secret::new(given.bitbucket_step_oidc_token.clone()?),
        origin: CredentialsOrigin::Oidc,
    })
}

/// Both halves or none; one alone is a problem.
fn pair(
    (username, password): (&Option<String>, &Option<String>),
    origin: CredentialsOrigin,
    problems: &mut Problems,
) -> Option<Credentials> {
    let (username_variable, password_variable) = origin.variables();
    match (username, password) {
        (Some(username), Some(password)) => Some(Credentials {
            username: username.clone(),
            password: Secret::new(password.clone()),
            origin,
        }),
        (None, None) => None,
        (Some(_), None) => {
            problems
                .add(Some((password_variable, format!("is needed: {username_variable} is set"))));
            None
        }
        (None, Some(_)) => {
            problems
                .add(Some((username_variable, format!("is needed: {password_variable} is set"))));
            None
        }
    }
}

fn refuse_foreign(
    credentials: &Credentials,
    registry: &RegistryAddress,
) -> Option<(&'static str, String)> {
    if registry.is_bitbucket() || !looks_like_atlassian(credentials.password.expose()) {
        return None;
    }
    let (_, variable) = credentials.origin.variables();
    let message = format!(
        "looks like a token of Atlassian, and {registry} is not Bitbucket's registry, so it is not \
         sent there. Add \"oidc: true\" to the step if {registry} takes OIDC tokens (Standpipe does), \
         or set USERNAME and PASSWORD to credentials of {registry} (for Standpipe: a pipeline token \
         of the repository), or AUTH=basic if {registry} really takes this one"
    );
    Some((variable, message))
}

/// The user name that goes with an OIDC token.
const OIDC_USER: &str = "oidc";

const NO_OIDC: &str = "is oidc, but BITBUCKET_STEP_OIDC_TOKEN is not set: add \"oidc: true\" to the \
    step; the docker:// form of a pipe needs the variable passed, too";

const PAIRS: [&str; 4] =
    ["USERNAME", "PASSWORD", "BITBUCKET_PACKAGES_USERNAME", "BITBUCKET_PACKAGES_TOKEN"];
