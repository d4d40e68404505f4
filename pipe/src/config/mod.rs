//! What was meant: variables judged and turned into types, all problems in one answer.
//!
//! Invariant: past [`Config`] no raw string is a name, a tag, a size or a secret.
//! Must not know: daemons and registries; nothing here talks to anybody.

mod annotations;
mod auth;
mod build;
mod certificates;
mod credentials;
mod docker_config;
mod environment;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod names;
mod options;
mod platforms;
mod source;
mod tags;
mod values;

use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::CertificateDer;

pub use self::build::Build;
pub use self::credentials::{Credentials, CredentialsOrigin};
pub use self::names::{ImageName, RegistryAddress};
pub use self::options::{CacheSource, Compression, IfTagExists, Mode, Options};
pub use self::platforms::Platform;
pub use self::source::{ImageSource, PathKind};
pub use self::tags::Tag;

pub(crate) use self::environment::Environment;
pub(crate) use self::names::is_loopback_host;

use self::auth::Auth;
use crate::error::{Error, Problem};
use crate::source::Endpoint;

/// Everything a push needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// The local image, which is also the package.
    pub image: ImageName,
    /// The tags of `TAGS`; empty if it was not given.
    pub tags: Vec<Tag>,
    /// `SOURCE`: where the image is read from.
    pub source: ImageSource,
    /// `SOURCE_IMAGE`: which image of the source; none if it is to be found by its name.
    pub source_image: Option<String>,
    /// `PLATFORMS`; empty if all that there are are wanted.
    pub platforms: Vec<Platform>,
    /// Where to push to.
    pub registry: RegistryAddress,
    /// First part of the path in the registry.
    pub workspace: String,
    /// Who pushes; nobody if no credentials were given.
    pub credentials: Option<Credentials>,
    /// `INSECURE=true`: plain HTTP.
    pub insecure: bool,
    /// Certificates trusted besides the system's.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Where the Docker daemon may be.
    pub docker: DockerHosts,
    /// How to send.
    pub transfer: Transfer,
    /// How the push goes about it.
    pub options: Options,
    /// Directory for the layers on their way.
    pub spool_parent: PathBuf,
    /// `OUTPUT_FILE`: where the result goes as JSON.
    pub output_file: Option<PathBuf>,
    /// A folder that may be there again when the step is run again.
    pub storage: Option<PathBuf>,
    /// The folder that the pipes of a pipeline share.
    pub shared_storage: Option<PathBuf>,
    /// The file that passes variables to later steps.
    pub variables_path: Option<PathBuf>,
    /// Which build this is.
    pub build: Build,
    /// What the reader of the log should know about the variables.
    pub notes: Vec<String>,
}

/// The variables that lead to the Docker daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DockerHosts {
    /// `DOCKER_HOST`.
    pub host: Option<Endpoint>,
    /// `BITBUCKET_DOCKER_HOST_INTERNAL`: an address without a port.
    pub internal: Option<String>,
}

/// How blobs are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// Uploads at a time.
    pub parallel: usize,
    /// Further attempts after a failed one.
    pub retries: u32,
    /// Most bytes of one request of an upload in pieces.
    pub chunk_size: u64,
    /// How long a request may go without moving a byte.
    pub timeout: Duration,
}

/// How the log looks; known even when the rest of the variables is wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogStyle {
    /// No colours: `NO_COLOR` is set.
    pub plain: bool,
    /// `DEBUG` is true.
    pub debug: bool,
}

impl Config {
    /// Reads the environment of this process; what was `given` otherwise wins over it. The style of
    /// the log is there even if the configuration is not.
    pub fn from_process(given: Vec<(String, String)>) -> (LogStyle, Result<Self, Error>) {
        let mut variables = Environment::variables();
        // A list in the environment goes under another name, and would be added.
        let replaced = |name: &str| {
            let list = name.strip_suffix("_COUNT").unwrap_or(name);
            given.iter().any(|(given, _)| given == list)
        };
        variables.retain(|(name, _)| !replaced(name));
        variables.extend(given);
        Self::from_variables(variables)
    }

    /// Reads the given variables; those that are empty or unknown are ignored.
    pub fn from_variables(
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> (LogStyle, Result<Self, Error>) {
        match Environment::from_variables(variables) {
            Ok(environment) => {
                let style = LogStyle {
                    plain: environment.no_color.is_some(),
                    debug: matches!(values::boolean(environment.debug.as_deref()), Ok(true)),
                };
                (style, Self::judge(&environment))
            }
            Err(error) => {
                let message = format!("could not be read: {error}");
                let problem = Problem { variable: "environment".to_owned(), message };
                (LogStyle::default(), Err(Error::Variables(vec![problem])))
            }
        }
    }

    /// The path in the registry: `WORKSPACE/NAME`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.workspace, self.image.name)
    }

    fn judge(given: &Environment) -> Result<Self, Error> {
        let (mut problems, mut notes) = (Problems::default(), Vec::new());
        let registry = given.registry.as_deref().unwrap_or(BITBUCKET_REGISTRY);
        let registry = problems.take("REGISTRY", RegistryAddress::parse(registry.trim()));
        let workspace = problems.take("WORKSPACE", workspace(given));
        let target = registry.as_ref().zip(workspace.as_ref());
        let target = target.map(|(registry, workspace)| format!("{registry}/{workspace}"));
        let image = problems.take("IMAGE_NAME", image(given, target.as_deref()));
        let tags = problems.take_all("TAGS", tags(given));
        let auth = problems.take("AUTH", Auth::parse(given.auth.as_deref()));
        let credentials = auth.and_then(|auth| {
            auth::choose(given, auth, registry.as_ref(), &mut problems, &mut notes)
        });
        let source = sources(given, &mut problems);
        problems.take("OUTPUT_FILE", options::output_file(given.output_file.as_deref()));
        let insecure = problems.take("INSECURE", values::boolean(given.insecure.as_deref()));
        let certificates = problems.take("CA_CERT", certificates::parse(given.ca_cert.as_deref()));
        let docker = problems.take("DOCKER_HOST", docker(given));
        let transfer = transfer(given, &mut problems);
        let build = Build::new(given);
        let options = Options::judge(given, &build, workspace.as_deref(), &mut problems);
        problems.take("DEBUG", values::boolean(given.debug.as_deref()));
        problems.add(refuse_long_path(workspace.as_deref(), image.as_ref()));
        let path = |path: &Option<String>| path.as_ref().map(PathBuf::from);

        // Each value is missing only if its problem was noted, so the last arm is reached only
        // with a list that is not empty.
        let target = registry.zip(workspace);
        match (image, tags, source, target, insecure, certificates, docker, transfer, options) {
            (
                Some(image),
                Some(tags),
                Some((source, source_image, platforms)),
                Some((registry, workspace)),
                Some(insecure),
                Some(certificates),
                Some(docker),
                Some(transfer),
                Some(options),
            ) if problems.0.is_empty() => Ok(Self {
                image,
                tags,
                source,
                source_image,
                platforms,
                registry,
                workspace,
                credentials,
                insecure,
                certificates,
                docker,
                transfer,
                options,
                spool_parent: given.tmpdir.as_deref().unwrap_or("/tmp").into(),
                output_file: path(&given.output_file),
                storage: path(&given.bitbucket_pipe_storage_dir)
                    .or_else(|| path(&given.bitbucket_pipe_shared_storage_dir)),
                shared_storage: path(&given.bitbucket_pipe_shared_storage_dir),
                variables_path: path(&given.bitbucket_pipelines_variables_path),
                build,
                notes,
            }),
            _ => Err(Error::Variables(problems.0)),
        }
    }
}

/// Everything that is wrong, in the order of the variables.
#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn take<T>(&mut self, variable: &str, result: Result<T, String>) -> Option<T> {
        self.take_all(variable, result.map_err(|message| vec![message]))
    }

    fn take_all<T>(&mut self, variable: &str, result: Result<T, Vec<String>>) -> Option<T> {
        let messages = match result {
            Ok(value) => return Some(value),
            Err(messages) => messages,
        };
        let problem = |message| Problem { variable: variable.to_owned(), message };
        self.0.extend(messages.into_iter().map(problem));
        None
    }

    /// Whether nothing was found wrong with these variables.
    fn is_silent_on(&self, variables: &[&str]) -> bool {
        !self.0.iter().any(|problem| variables.contains(&problem.variable.as_str()))
    }

    fn add(&mut self, problem: Option<(&str, String)>) {
        if let Some((variable, message)) = problem {
            self.0.push(Problem { variable: variable.to_owned(), message });
        }
    }
}

fn workspace(given: &Environment) -> Result<String, String> {
    let Some(workspace) = given.workspace.as_ref().or(given.bitbucket_workspace.as_ref()) else {
        return Err("is needed: BITBUCKET_WORKSPACE is not set here".to_owned());
    };
    names::check_workspace(workspace)?;
    Ok(workspace.clone())
}

fn image(given: &Environment, target: Option<&str>) -> Result<ImageName, String> {
    match given.image_name.as_deref() {
        Some(name) => ImageName::parse(name.trim(), target),
        None => Err("is needed: the name of the image that the step has built".to_owned()),
    }
}

fn tags(given: &Environment) -> Result<Vec<Tag>, Vec<String>> {
    let mut tags = tags::parse_text(given.tags.as_deref().unwrap_or_default())?;
    let list = given.list("TAGS").map_err(|problem| vec![problem])?;
    for tag in tags::parse_list(&list)? {
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Ok(tags)
}

/// Where the image is, which of those there, and which of its platforms.
fn sources(
    given: &Environment,
    problems: &mut Problems,
) -> Option<(ImageSource, Option<String>, Vec<Platform>)> {
    let source = problems.take("SOURCE", source::parse(given.source.as_deref()));
    let named = source::parse_image(given.source_image.as_deref());
    let named = problems.take("SOURCE_IMAGE", named);
    let platforms = problems.take_all("PLATFORMS", platforms::parse(given));
    Some((source?, named?, platforms?))
}

fn refuse_long_path(
    workspace: Option<&str>,
    image: Option<&ImageName>,
) -> Option<(&'static str, String)> {
    // The limit that clients keep for <name> (distribution-spec, "Pulling manifests").
    let length = workspace?.len() + 1 + image?.name.len();
    (length > 255).then(|| {
        ("IMAGE_NAME", format!("with the workspace has {length} characters; 255 are allowed"))
    })
}

fn docker(given: &Environment) -> Result<DockerHosts, String> {
    let host = given.docker_host.as_deref().map(Endpoint::parse).transpose()?;
    Ok(DockerHosts { host, internal: given.bitbucket_docker_host_internal.clone() })
}

fn transfer(given: &Environment, problems: &mut Problems) -> Option<Transfer> {
    let parallel = problems.take("PARALLEL", values::number(given.parallel.as_deref(), 4, 1..=32));
    let retries = problems.take("RETRIES", values::number(given.retries.as_deref(), 5, 0..=20));
    let chunk_size = problems.take(
        "CHUNK_SIZE",
        values::bytes(given.chunk_size.as_deref(), 64 << 20, 64 << 10..=1 << 30),
    );
    let timeout =
        problems.take("TIMEOUT", values::seconds(given.timeout.as_deref(), 300, 1..=3600));
    Some(Transfer {
        parallel: usize::try_from(parallel?).unwrap_or(1),
        retries: u32::try_from(retries?).unwrap_or(0),
        chunk_size: chunk_size?,
        timeout: Duration::from_secs(timeout?),
    })
}

/// The registry of Bitbucket Packages.
pub(crate) const BITBUCKET_REGISTRY: &str = "crg.apkg.io";

#[cfg(test)]
mod tests;
