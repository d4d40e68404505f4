//! From what a registry answered to what the reader of the log can do, in Bitbucket's words.
//!
//! Invariant: the same cause has the same exit code wherever it was met.
//! Must not know: how requests are made.

use super::error::{Action, ClientError, Refusal};
use crate::config::{Config, CredentialsOrigin, Tag};
use crate::error::{Error, Failure};

/// Who pushes what where.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// `host[:port]`.
    pub(super) registry: String,
    /// `workspace/name`.
    pub(super) path: String,
    workspace: String,
    package: String,
    login: Option<CredentialsOrigin>,
    bitbucket: bool,
    insecure: bool,
}

impl Target {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            registry: config.registry.as_str().to_owned(),
            path: config.repository(),
            workspace: config.workspace.clone(),
            package: config.image.name.clone(),
            login: config.credentials.as_ref().map(|credentials| credentials.origin),
            bitbucket: config.registry.is_bitbucket(),
            insecure: config.insecure,
        }
    }
}

/// Words a failure that has nothing to do with a tag.
pub(super) fn explain(target: &Target, error: ClientError) -> Error {
    match error {
        ClientError::Connection(reason) => unreachable_registry(target, &reason),
        ClientError::Refused(refusal) => refused(target, &refusal),
        ClientError::Protocol(reason) => {
            let failure = Failure::new(format!("{}: {reason}", target.registry));
            if !reason.contains("not a container registry") {
                return Error::Registry(failure);
            }
            let failure = failure.hint(
                "REGISTRY must be the host of a registry, without a path. Is the port right?",
            );
            Error::Registry(match target.insecure {
                true => failure.hint(INSECURE_MAY_BE_WRONG),
                false => failure,
            })
        }
        ClientError::Local(error) => Error::local("read a layer from disk", &error),
    }
}

/// Words a failure to put a manifest under a tag.
pub(super) fn tag(target: &Target, tag: &Tag, error: ClientError) -> Error {
    match &error {
        ClientError::Refused(refusal) if is_immutable(refusal) => {
            let message = format!(
                "tag {tag} of {} exists and may not be overwritten ({refusal})",
                target.path
            );
            Error::Tag(Failure::new(message).hint(
                "Tags are immutable in this workspace: push under a new tag, such as the build number or commit.",
            ))
        }
        // A rule about tags, not the role: Standpipe says which.
        ClientError::Refused(refusal) if is_tag_rule(refusal) => {
            let message = format!("tag {tag} of {} is not for this build ({refusal})", target.path);
            Error::Access(Failure::new(message).hint(
                "Leave the tag out of TAGS in this build, or ask an administrator of the registry's workspace to change the tag rules of the OIDC binding.",
            ))
        }
        _ => explain(target, error),
    }
}

fn is_tag_rule(refusal: &Refusal) -> bool {
    refusal.status == 403 && refusal.mentions("may not move the tag")
}

fn is_immutable(refusal: &Refusal) -> bool {
    let words = ["immutable", "already exists", "overwrit"];
    let said = words.iter().any(|word| refusal.mentions(word));
    let may_mean_it = matches!(refusal.status, 400 | 403 | 405 | 409 | 412 | 423);
    (may_mean_it && said) || refusal.status == 409 || refusal.has_code("TAG_IMMUTABLE")
}

fn refused(target: &Target, refusal: &Refusal) -> Error {
    let Target { registry, path, .. } = target;
    if is_quota(refusal) {
        let message = format!("{registry} has no space left for {path} ({refusal})");
        return Error::Registry(Failure::new(message).hint(
            "Delete tags or packages that are not needed, or ask who runs the registry for a larger quota.",
        ));
    }
    let missing = refusal.has_code("NAME_UNKNOWN")
        || (refusal.status == 404
            && matches!(refusal.action, Action::UploadBlob | Action::PutManifest)
            && !refusal.has_code("BLOB_UPLOAD_UNKNOWN"));
    match refusal.status {
        _ if missing => missing_package(target, refusal),
        401 if refusal.action == Action::Token || target.login.is_none() => login(target, refusal),
        401 | 403 => denied(target, refusal),
        413 => Error::Registry(
            Failure::new(format!("{registry} refuses a layer as too large ({refusal})"))
                .hint("If a proxy stands before the registry, it limits the size of a request. Who runs it changes that; in nginx: client_max_body_size 0; (see examples/nginx.conf).")
                .hint("Until then, a CHUNK_SIZE below the limit gets through: nginx takes 1 MB unless told otherwise, so CHUNK_SIZE=900K.")
                .hint("Bitbucket's registry takes layers of at most 32 GB."),
        ),
        429 => Error::Registry(
            Failure::new(format!(
                "{registry} still asks to slow down after all retries ({refusal})"
            ))
            .hint("Set PARALLEL lower or RETRIES higher."),
        ),
        500..=599 => Error::Registry(
            Failure::new(format!("{registry} failed, retries included ({refusal})"))
                .hint("What was uploaded stays there; running the step again goes on from it."),
        ),
        _ => Error::Registry(Failure::new(format!("{registry} refuses {path} ({refusal})"))),
    }
}

fn is_quota(refusal: &Refusal) -> bool {
    refusal.status == 507
        || (matches!(refusal.status, 400 | 403 | 413 | 422)
            && (refusal.mentions("quota") || refusal.mentions("storage limit")))
}

fn unreachable_registry(target: &Target, reason: &str) -> Error {
    let failure = Failure::new(format!("registry {} cannot be reached: {reason}", target.registry));
    let failure = if reason.contains("CaUsedAsEndEntity") {
        failure.hint(
            "The registry shows a certificate of an authority as its own. Make its certificate with basicConstraints=CA:FALSE, or sign one with the authority.",
        )
    } else if reason.contains("certificate") {
        failure.hint("A certificate of your own authority goes into CA_CERT (PEM text or path).")
    } else if reason.contains("corrupt message") || reason.contains("InvalidContentType") {
        failure.hint("The registry does not talk TLS there; INSECURE=true allows plain HTTP.")
    } else if target.insecure {
        failure.hint(INSECURE_MAY_BE_WRONG)
    } else {
        failure.hint(
            "Check REGISTRY, and that the step may reach it (proxy, firewall, private address).",
        )
    };
    Error::Registry(failure)
}

fn login(target: &Target, refusal: &Refusal) -> Error {
    let registry = &target.registry;
    let failure = match target.login {
        None => Failure::new(format!("{registry} wants a login, and no credentials are set"))
            .hint("Set USERNAME and PASSWORD as variables of the pipe, the password from a secured variable.")
            .hint("The docker:// form of a pipe gets no credentials by itself: pass BITBUCKET_PACKAGES_USERNAME and BITBUCKET_PACKAGES_TOKEN too."),
        Some(origin) => {
            let (username, password) = origin.variables();
            let failure = Failure::new(match origin {
                CredentialsOrigin::Oidc => format!("{registry} does not accept {password} ({refusal})"),
                _ => format!("{registry} does not accept {username} and {password} ({refusal})"),
            });
            match origin {
                CredentialsOrigin::Oidc => failure.hint(
                    "The registry must trust the OIDC issuer of this workspace and bind this repository to a role. The token ends an hour after the step began.",
                ),
                CredentialsOrigin::DockerConfig => failure.hint(
                    "The login in the docker configuration is refused: has it expired? USERNAME and PASSWORD win over it.",
                ),
                CredentialsOrigin::Step => failure.hint(
                    "The token is valid only while its step runs, and only for Bitbucket's own registry.",
                ),
                CredentialsOrigin::Explicit if target.bitbucket => failure.hint(
                    "Bitbucket wants the e-mail of the account and an API token with write:package:bitbucket; access tokens of repositories, projects and workspaces do not work.",
                ),
                CredentialsOrigin::Explicit => {
                    failure.hint("Has the token expired or been revoked? Is a secured variable missing in this deployment?")
                }
            }
        }
    };
    Error::Access(failure)
}

fn denied(target: &Target, refusal: &Refusal) -> Error {
    let Target { path, package, .. } = target;
    let failure = Failure::new(format!("no permission to push {path} ({refusal})"));
    let failure = match target.login {
        None => failure.hint("No credentials are set: set USERNAME and PASSWORD."),
        Some(origin) => {
            let username = match origin {
                CredentialsOrigin::Oidc => "this build",
                origin => origin.variables().0,
            };
            failure.hint(format!(
                "Pushing needs the role Write on the repository that package {package} is linked to; {username} does not have it, or its token is narrower."
            ))
        }
    };
    let failure = match target.login {
        Some(CredentialsOrigin::Step) => failure.hint(
            "The token of a step reaches only packages that are linked to the same repository.",
        ),
        _ => failure,
    };
    Error::Access(failure)
}

fn missing_package(target: &Target, refusal: &Refusal) -> Error {
    let Target { workspace, package, registry, .. } = target;
    let message = format!(
        "package {package} does not exist in workspace {workspace} of {registry} ({refusal})"
    );
    let failure = Failure::new(message);
    Error::Access(if target.bitbucket {
        failure.hint(format!(
            "Somebody with the role Admin on the repository creates it once: Create > Package, name {package}, linked to this repository."
        ))
    } else {
        failure.hint(format!(
            "Somebody with the role Admin on the repository creates package {package} once and links it to the repository."
        )).hint(format!(
            "On a Standpipe server: POST /api/v1/workspaces/{workspace}/packages, or create_on_push: writers for the workspace. Is WORKSPACE right?"
        ))
    })
}

const INSECURE_MAY_BE_WRONG: &str =
    "INSECURE=true talks plain HTTP; a registry with TLS must be asked without it.";

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;

    use super::*;

    fn target(login: Option<CredentialsOrigin>) -> Target {
        Target {
            registry: "reg.example".to_owned(),
            path: "acme/app".to_owned(),
            workspace: "acme".to_owned(),
            package: "app".to_owned(),
            login,
            bitbucket: false,
            insecure: false,
        }
    }

    fn refusal(action: Action, status: u16, code: &str, message: &str) -> ClientError {
        let body = format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#);
        ClientError::Refused(Refusal::new(action, status, &HeaderMap::new(), body.as_bytes()))
    }

    fn told(error: &Error) -> String {
        format!("{} {error} {}", error.exit_code(), error.hints().join(" "))
    }

    #[test]
    fn every_cause_has_its_exit_code_and_its_advice() {
        use Action::{FindBlob, PutManifest, Token, UploadBlob};
        let table = [
            (Token, 401, "UNAUTHORIZED", "", "4", "does not accept USERNAME and PASSWORD"),
            (UploadBlob, 401, "UNAUTHORIZED", "insufficient_scope", "4", "role Write"),
            (FindBlob, 403, "DENIED", "", "4", "role Write"),
            (UploadBlob, 404, "NAME_UNKNOWN", "", "4", "role Admin"),
            (UploadBlob, 404, "", "", "4", "does not exist in workspace acme"),
            (UploadBlob, 413, "", "", "5", "CHUNK_SIZE"),
            (UploadBlob, 403, "DENIED", "quota exceeded", "5", "no space left"),
            (UploadBlob, 507, "", "", "5", "no space left"),
            (UploadBlob, 429, "TOOMANYREQUESTS", "", "5", "PARALLEL"),
            (UploadBlob, 503, "", "", "5", "running the step again"),
            (PutManifest, 400, "MANIFEST_INVALID", "", "5", "refuses acme/app"),
        ];
        for (action, status, code, message, exit, advice) in table {
            let error = refusal(action, status, code, message);
            let told = told(&explain(&target(Some(CredentialsOrigin::Explicit)), error));
            assert!(told.starts_with(exit) && told.contains(advice), "{status} {code}: {told}");
        }
    }

    #[test]
    fn an_immutable_tag_is_not_a_missing_permission() {
        let tag_name = Tag::parse("1.2").unwrap();
        let table = [
            (403, "DENIED", "tag 1.2 is immutable", 6),
            (400, "TAG_INVALID", "The image tag already exists and cannot be overwritten", 6),
            (412, "PRECONDITION", "configured as immutable", 6),
            (409, "CONFLICT", "", 6),
            (403, "DENIED", "requested access is denied", 4),
            (404, "NAME_UNKNOWN", "", 4),
        ];
        for (status, code, message, exit) in table {
            let error = refusal(Action::PutManifest, status, code, message);
            let told = tag(&target(None), &tag_name, error);
            assert_eq!(told.exit_code(), exit, "{status} {code}: {told}");
        }
    }

    #[test]
    fn without_credentials_the_variables_are_named() {
        let error = refusal(Action::Ping, 401, "UNAUTHORIZED", "");
        let told = told(&explain(&target(None), error));
        assert!(told.starts_with('4') && told.contains("BITBUCKET_PACKAGES_TOKEN"), "{told}");
    }

    #[test]
    fn a_registry_that_cannot_be_reached_is_told_apart_by_reason() {
        for (reason, advice) in [
            ("invalid peer certificate: UnknownIssuer", "CA_CERT"),
            ("invalid peer certificate: Other(CaUsedAsEndEntity)", "CA:FALSE"),
            ("received corrupt message of type InvalidContentType", "INSECURE=true"),
            ("Connection refused (os error 111)", "REGISTRY"),
        ] {
            let error = ClientError::Connection(reason.to_owned());
            let told = told(&explain(&target(None), error));
            assert!(told.starts_with('5') && told.contains(advice), "{told}");
        }
    }
}
