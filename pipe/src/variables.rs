//! The one table of variables: `--help`, `pipe.yml` and the tests are derived from it.
//!
//! Invariant: a variable exists for users only if it has a row here.
//! Must not know: how a value is parsed; that is `config`.

use std::fmt::Write as _;

/// One variable of the pipe.
#[derive(Debug)]
pub struct Variable {
    /// Its name in the environment and in `pipe.yml`.
    pub name: &'static str,
    /// The value it has when it is not given, in words if it is not a constant.
    pub default: DefaultValue,
    /// What it does.
    pub description: &'static str,
}

/// Where the value comes from when the user of the pipe does not write one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultValue {
    /// Nowhere: it must be written.
    Required,
    /// This constant.
    Constant(&'static str),
    /// The variable of the same name in the step; where that is not set either, what the text
    /// says. In `pipe.yml` this is `default: "${NAME}"`.
    Step(&'static str),
}

impl Variable {
    /// What it is called on the command line. Secrets, and what Bitbucket sets, are no flags.
    pub fn flag(&self) -> Option<String> {
        let is_flag = self.name != "PASSWORD" && !self.name.starts_with("BITBUCKET_");
        is_flag.then(|| self.name.to_ascii_lowercase().replace('_', "-"))
    }

    /// Whether it is true or false.
    pub(crate) fn is_switch(&self) -> bool {
        matches!(self.default, DefaultValue::Constant("false") | DefaultValue::Step("false"))
    }

    /// Whether it has several elements, which may stand on lines.
    pub(crate) fn is_list(&self) -> bool {
        ["TAGS", "PLATFORMS", "ANNOTATIONS", "MOUNT_FROM", "CACHE_FROM"].contains(&self.name)
    }
}

/// Every variable, in the order in which `--help` and `pipe.yml` show them.
pub const VARIABLES: &[Variable] = &[
    Variable {
        name: "IMAGE_NAME",
        default: DefaultValue::Required,
        description: "Local image and package name: NAME or NAME:TAG, without a registry host. NAME may contain slashes.",
    },
    Variable {
        name: "TAGS",
        default: DefaultValue::Constant(""),
        description: "Tags to push, separated by spaces, commas or line ends, or a list. Without it the tag of IMAGE_NAME is pushed, else latest.",
    },
    Variable {
        name: "REGISTRY",
        default: DefaultValue::Step("crg.apkg.io"),
        description: "Host of the registry, with :PORT if it is not the usual one.",
    },
    Variable {
        name: "WORKSPACE",
        default: DefaultValue::Step("BITBUCKET_WORKSPACE"),
        description: "Workspace in the registry: the first part of the path. The default is the workspace of the build.",
    },
    Variable {
        name: "USERNAME",
        default: DefaultValue::Constant(""),
        description: "User name for the registry. Goes together with PASSWORD and wins over BITBUCKET_PACKAGES_USERNAME.",
    },
    Variable {
        name: "PASSWORD",
        default: DefaultValue::Constant(""),
        description: "Password or token for USERNAME. Keep it in a secured variable.",
    },
    Variable {
        name: "BITBUCKET_PACKAGES_USERNAME",
        default: DefaultValue::Step("set by Bitbucket"),
        description: "User name that Bitbucket gives to every step for its own packages.",
    },
    Variable {
        name: "BITBUCKET_PACKAGES_TOKEN",
        default: DefaultValue::Step("set by Bitbucket"),
        description: "Token that goes with BITBUCKET_PACKAGES_USERNAME. It is sent to another registry only with AUTH=basic.",
    },
    Variable {
        name: "BITBUCKET_STEP_OIDC_TOKEN",
        default: DefaultValue::Step("set by Bitbucket in a step with oidc: true"),
        description: "Token that says which repository and branch is building. It is a login for registries that trust it.",
    },
    Variable {
        name: "AUTH",
        default: DefaultValue::Constant("auto"),
        description: "auto: USERNAME and PASSWORD, else the pair of the step, else its OIDC token, else a docker configuration, else no login. basic: the first two, sent to REGISTRY even if they look like Atlassian's. oidc: the OIDC token. none: no login.",
    },
    Variable {
        name: "SOURCE",
        default: DefaultValue::Constant("daemon"),
        description: "Where the image is read from. daemon: the Docker daemon of the step. docker-archive:PATH: what docker save wrote. oci-archive:PATH or oci:DIRECTORY: an OCI image layout. A path is relative to the working directory; :REFERENCE after it is the same as SOURCE_IMAGE.",
    },
    Variable {
        name: "SOURCE_IMAGE",
        default: DefaultValue::Constant(""),
        description: "Which image of SOURCE to push: NAME:TAG, or sha256:ID. Without it each tag means the image IMAGE_NAME:TAG, else IMAGE_NAME:latest, else the only one called IMAGE_NAME. An archive with one image needs no name.",
    },
    Variable {
        name: "PLATFORMS",
        default: DefaultValue::Constant(""),
        description: "Platforms to push from an image that has several, such as linux/amd64 linux/arm64, separated by spaces, commas or line ends, or a list. Without it all that are there. One platform is pushed alone, several with an index.",
    },
    Variable {
        name: "MODE",
        default: DefaultValue::Constant("direct"),
        description: "direct: the pipe reads, compresses and uploads the image. daemon: the Docker daemon pushes it, as docker push does.",
    },
    Variable {
        name: "COMPRESSION",
        default: DefaultValue::Constant("gzip:3"),
        description: "For layers that are not compressed: gzip or gzip:1 to gzip:9, zstd or zstd:1 to zstd:19, none.",
    },
    Variable {
        name: "IF_TAG_EXISTS",
        default: DefaultValue::Constant("overwrite"),
        description: "overwrite: the tag moves. skip: a tag that exists stays as it is. fail: exit code 6, unless it names the same image already.",
    },
    Variable {
        name: "ANNOTATIONS",
        default: DefaultValue::Constant(""),
        description: "Annotations for the image: KEY=VALUE, one per line, or a list. They change its digest.",
    },
    Variable {
        name: "PROVENANCE",
        default: DefaultValue::Constant("false"),
        description: "true: annotate commit, repository, build and time. The digest is another one at every build.",
    },
    Variable {
        name: "MOUNT_FROM",
        default: DefaultValue::Constant(""),
        description: "Packages of the workspace that may have layers already, separated by spaces, commas or line ends, or a list. Those layers are not sent.",
    },
    Variable {
        name: "CACHE_FROM",
        default: DefaultValue::Constant(""),
        description: "Images of the workspace that may have layers of this one, such as the one it is built on: NAME or NAME:TAG, separated by spaces, commas or line ends, or a list. Those layers are neither read nor sent. The tags that are pushed, latest and the tag of the branch are looked at anyway.",
    },
    Variable {
        name: "OUTPUT_FILE",
        default: DefaultValue::Constant(""),
        description: "File that gets the result as JSON: references, digests, layers, bytes, seconds.",
    },
    Variable {
        name: "DRY_RUN",
        default: DefaultValue::Constant("false"),
        description: "true: find the image, log in, say what would be sent, and write nothing to the registry.",
    },
    Variable {
        name: "INSECURE",
        default: DefaultValue::Constant("false"),
        description: "true: talk plain HTTP to the registry. Passwords travel readably. A loopback registry may answer plain HTTP without it.",
    },
    Variable {
        name: "CA_CERT",
        default: DefaultValue::Step("the system's certificates"),
        description: "Certificates to trust besides the system's: PEM text, or the path of a PEM file.",
    },
    Variable {
        name: "PARALLEL",
        default: DefaultValue::Constant("4"),
        description: "Uploads at a time, 1 to 32.",
    },
    Variable {
        name: "RETRIES",
        default: DefaultValue::Constant("5"),
        description: "Further attempts after a failure of the network or the registry, 0 to 20. Attempts that move bytes do not count.",
    },
    Variable {
        name: "CHUNK_SIZE",
        default: DefaultValue::Constant("64M"),
        description: "Most bytes of one request: a larger layer is sent in pieces, so that a break costs no more than one. 64K to 1G. Pieces are smaller on a slow line, and after a proxy refused one as too large.",
    },
    Variable {
        name: "TIMEOUT",
        default: DefaultValue::Constant("300"),
        description: "Seconds a request may go without moving a byte before it is given up, 1 to 3600.",
    },
    Variable {
        name: "DEBUG",
        default: DefaultValue::Step("false"),
        description: "true: log more. Secrets are never logged.",
    },
];

/// The text of `--help`.
pub fn help() -> String {
    let mut text = format!(
        "standpipe-pipe {}\n\n\
         Pushes the container image that a Bitbucket Pipelines step has just built.\n\
         Everything is set by variables; an empty one counts as not set. By hand there is a flag for\n\
         each, which wins over the variable: --tags 1.2 --tags latest, --dry-run, --retries=9.\n\n\
         Usage: standpipe-pipe [FLAGS] [IMAGE]\n\n\
         \u{20} IMAGE             the same as --image-name\n\
         \u{20} --password-stdin  reads PASSWORD from standard input\n\
         \u{20} --help, --version\n\nVariables and flags:\n",
        env!("CARGO_PKG_VERSION")
    );
    for variable in VARIABLES {
        let default = match variable.default {
            DefaultValue::Required => "required".to_owned(),
            DefaultValue::Constant("") => "optional".to_owned(),
            DefaultValue::Constant(value) | DefaultValue::Step(value) => {
                format!("default: {value}")
            }
        };
        // Writing to a String cannot fail.
        let flag = variable.flag().map(|flag| format!("  --{flag}")).unwrap_or_default();
        let (name, description) = (variable.name, variable.description);
        let _ = writeln!(text, "  {name} ({default}){flag}\n      {description}");
    }
    text.push_str(
        "\nA list is passed as NAME_COUNT, NAME_0, NAME_1, …, which is what Pipelines makes of a YAML list.\n\
         Finding the daemon: DOCKER_HOST, else BITBUCKET_DOCKER_HOST_INTERNAL, the default gateway\n\
         (both port 2375), /var/run/docker.sock. Layers are kept in TMPDIR while they are sent.\n\
         Proxies: HTTPS_PROXY, HTTP_PROXY and NO_PROXY are honoured on the way to the registry.\n\
         Docker configurations: DOCKER_CONFIG, else .docker/config.json in HOME and in the clone.\n\
         For later steps: IMAGE_REF, IMAGE_DIGEST, IMAGE_TAGS and IMAGE_ID, as output-variables of\n\
         the step and in _shared_variables.json of the pipes' shared folder. NO_COLOR: no colours.\n\n\
         Exit codes: 0 done, 1 unexpected, 2 bad variables, 3 image or daemon not found,\n\
         4 login, permission or package missing, 5 network or registry failure after retries,\n\
         6 tag exists or is immutable.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_variable_with_its_default() {
        let help = help();
        for variable in VARIABLES {
            assert!(help.contains(&format!("  {} (", variable.name)), "{}", variable.name);
            assert!(help.contains(variable.description), "{}", variable.name);
        }
        assert!(help.contains("REGISTRY (default: crg.apkg.io)"));
    }
}
