//! Settings: defaults < YAML file < environment < flags. The only file that reads the environment.
//!
//! Invariant: a [`Config`] has been checked; what is wrong is told all at once, with the place it
//! came from. Unknown keys are errors, in the file and in the environment, because a misspelt limit
//! is a limit that does not hold.

mod networks;
pub mod oidc;

pub use oidc::Oidc;

use crate::domain::Network;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Prefix of the environment variables.
const PREFIX: &str = "STANDPIPE_";
/// Variables with our prefix that are not settings of the server.
const NOT_SETTINGS: [&str; 7] = [
    "STANDPIPE_INVITATION",
    "STANDPIPE_NEW_PASSWORD",
    "STANDPIPE_PASSWORD",
    "STANDPIPE_PIPE_BIN",
    "STANDPIPE_SERVER",
    "STANDPIPE_SERVER_BIN",
    "STANDPIPE_USERNAME",
];

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// The address clients use, such as `https://registry.example.com`.
    pub public_url: Option<String>,
    /// Logs.
    pub log: Log,
    /// Limits on what is pushed.
    pub limits: LimitSettings,
    /// The metadata database.
    pub database: Database,
    /// Free space that must stay.
    pub space: SpaceSettings,
    /// Backups made by the running server.
    pub backup: BackupSettings,
    /// The audit log.
    pub audit: Audit,
    /// Registry tokens.
    pub tokens: Tokens,
    /// Logins of builds with tokens of other systems.
    pub oidc: Oidc,
    /// Connections.
    pub http: Http,
    /// TLS of the listener.
    pub tls: Tls,
    /// Numbers for those who watch the server.
    pub metrics: Metrics,
    /// Whether workspaces may set leases under ten minutes. For tests only: a push that takes longer
    /// than the lease can then lose its blobs.
    pub unsafe_short_delays: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 5000)),
            data_dir: PathBuf::from("standpipe-data"),
            public_url: None,
            log: Log::default(),
            limits: LimitSettings::default(),
            database: Database::default(),
            space: SpaceSettings::default(),
            backup: BackupSettings::default(),
            audit: Audit::default(),
            tokens: Tokens::default(),
            oidc: Oidc::default(),
            http: Http::default(),
            tls: Tls::default(),
            metrics: Metrics::default(),
            unsafe_short_delays: false,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    #[default]
    Text,
}

/// Logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// What is logged, such as `info` or `standpipe_server=debug`.
    pub filter: String,
    /// How it looks.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Text }
    }
}

/// Limits on what is pushed. Off unless said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitSettings {
    /// Largest manifest, in bytes.
    pub manifest_bytes: usize,
    /// Most descriptors in a manifest.
    pub manifest_descriptors: usize,
    /// Largest layer, in bytes.
    pub blob_bytes: Option<u64>,
    /// Longest upload, in seconds.
    pub upload_seconds: Option<u64>,
    /// For how long a blob that was hashed whole is not hashed again when it is pulled, in seconds.
    pub rehash_seconds: u64,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            manifest_bytes: 4 << 20,
            manifest_descriptors: 4000,
            blob_bytes: None,
            upload_seconds: None,
            rehash_seconds: 3600,
        }
    }
}

/// The metadata database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// Memory for cached pages, in bytes.
    pub cache_bytes: usize,
}

impl Default for Database {
    fn default() -> Self {
        Self { cache_bytes: 24 << 20 }
    }
}

/// Free space that must stay, in bytes; on small disks less, in proportion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpaceSettings {
    /// Below this, uploads are refused.
    pub soft_bytes: u64,
    /// Below this, only deletions are done.
    pub hard_bytes: u64,
    /// Space set aside and released below the hard mark, so that deletions can be written.
    pub ballast_bytes: u64,
}

impl Default for SpaceSettings {
    fn default() -> Self {
        Self { soft_bytes: 1 << 30, hard_bytes: 256 << 20, ballast_bytes: 64 << 20 }
    }
}

/// Backups that the running server makes when it is asked over REST.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BackupSettings {
    /// Below which directory they are written; `None` refuses them.
    pub directory: Option<PathBuf>,
}

/// The audit log, which is always kept in the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// A file that a JSON line is added to for each event; `None` for no file.
    pub file: Option<PathBuf>,
    /// Whether the same lines go to the server's own log.
    pub log: bool,
    /// How long events stay in the database, in days.
    pub keep_days: u64,
}

impl Default for Audit {
    fn default() -> Self {
        Self { file: None, log: false, keep_days: 365 }
    }
}

/// Registry tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tokens {
    /// What the service is called in Docker's token protocol.
    pub service: String,
    /// How long a token lives, in seconds.
    pub lifetime_seconds: u64,
}

impl Default for Tokens {
    fn default() -> Self {
        Self { service: "standpipe".to_owned(), lifetime_seconds: 300 }
    }
}

/// Connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// How long a body may bring nothing, or fall behind the minimum rate, in seconds. There is no
    /// limit on the whole.
    pub idle_body_seconds: u64,
    /// The rate at which a body may go on for ever, in bytes per second; 0: any byte is enough.
    pub minimum_bytes_per_second: u64,
    /// A request's head must be complete within this, in seconds.
    pub head_seconds: u64,
    /// Most connections at once, as far as the limit on open files allows.
    pub most_connections: usize,
    /// Most connections at once from one source.
    pub most_connections_per_source: usize,
    /// Which proxies may say for whom they pass a request on; an empty list: there are none.
    #[serde(with = "networks")]
    pub trusted_proxies: Option<Vec<Network>>,
    /// How long the server says that it is not ready before it refuses connections, when it is told
    /// to stop, in seconds.
    pub notice_seconds: u64,
    /// How long requests in flight may take to end when the server is told to stop, in seconds.
    pub drain_seconds: u64,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            idle_body_seconds: 60,
            minimum_bytes_per_second: 1024,
            head_seconds: 15,
            most_connections: 4096,
            most_connections_per_source: 1024,
            trusted_proxies: None,
            notice_seconds: 1,
            drain_seconds: 60,
        }
    }
}

/// TLS of the listener; off unless both files are named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// The file with the certificate and those between it and a root, in PEM form.
    pub certificate: Option<PathBuf>,
    /// The file with its private key, in PEM form.
    pub key: Option<PathBuf>,
}

impl Tls {
    /// Both files, if TLS is on.
    #[must_use]
    pub fn files(&self) -> Option<TlsFiles> {
        let (certificate, key) = (self.certificate.clone()?, self.key.clone()?);
        Some(TlsFiles { certificate, key })
    }
}

/// The two files of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain of certificates.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Numbers for those who watch the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Whether `/metrics` can be read without a login.
    pub public: bool,
}

/// The environment's overlay: flat, because envy cannot nest.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Environment {
    listen: Option<SocketAddr>,
    data_dir: Option<PathBuf>,
    public_url: Option<String>,
    log_filter: Option<String>,
    log_format: Option<LogFormat>,
    limits_manifest_bytes: Option<usize>,
    limits_manifest_descriptors: Option<usize>,
    limits_blob_bytes: Option<u64>,
    limits_upload_seconds: Option<u64>,
    limits_rehash_seconds: Option<u64>,
    database_cache_bytes: Option<usize>,
    space_soft_bytes: Option<u64>,
    space_hard_bytes: Option<u64>,
    space_ballast_bytes: Option<u64>,
    backup_directory: Option<PathBuf>,
    audit_file: Option<PathBuf>,
    audit_log: Option<bool>,
    audit_keep_days: Option<u64>,
    tokens_service: Option<String>,
    tokens_lifetime_seconds: Option<u64>,
    http_idle_body_seconds: Option<u64>,
    http_minimum_bytes_per_second: Option<u64>,
    http_head_seconds: Option<u64>,
    http_most_connections: Option<usize>,
    http_most_connections_per_source: Option<usize>,
    #[serde(deserialize_with = "networks::deserialize")]
    http_trusted_proxies: Option<Vec<Network>>,
    http_notice_seconds: Option<u64>,
    http_drain_seconds: Option<u64>,
    tls_certificate: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    metrics_public: Option<bool>,
    unsafe_short_delays: Option<bool>,
    // Not a setting that is shown: see `admin_password`.
    admin_password: Option<String>,
    admin_password_file: Option<PathBuf>,
}

/// Flags of the command line, which win over everything.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--listen`.
    pub listen: Option<SocketAddr>,
}

/// Settings and the password that the first start may be given.
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// `STANDPIPE_ADMIN_PASSWORD`, or the content of `STANDPIPE_ADMIN_PASSWORD_FILE`.
    pub admin_password: Option<String>,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Loaded").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The environment holds something that is not a setting.
    #[error("environment: {0}")]
    Environment(String),
    /// The file cannot be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{path}: {reason}")]
    Yaml {
        /// The file.
        path: PathBuf,
        /// Where and what.
        reason: String,
    },
    /// Values that cannot be; all of them.
    #[error("settings: {}", .0.join("; "))]
    Values(Vec<String>),
}

/// Reads all sources.
///
/// # Errors
/// [`ConfigError`].
pub fn load(flags: &Flags) -> Result<Loaded, ConfigError> {
    #[expect(clippy::disallowed_methods, reason = "this file is where the environment is read")]
    let environment = std::env::vars();
    load_from(flags, environment)
}

fn load_from(
    flags: &Flags,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Loaded, ConfigError> {
    let config = match &flags.config {
        Some(path) => parse_file(path, &read_text(path)?)?,
        None => Config::default(),
    };
    overlaid(config, flags, environment)
}

/// Everything that stands above the file.
fn overlaid(
    mut config: Config,
    flags: &Flags,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Loaded, ConfigError> {
    let environment = read_environment(environment)?;
    let admin_password =
        match (environment.admin_password.clone(), &environment.admin_password_file) {
            (None, Some(path)) => Some(read_text(path)?.trim_end_matches(['\r', '\n']).to_owned()),
            (given, _) => given,
        };
    environment.overlay(&mut config);
    if let Some(data_dir) = &flags.data_dir {
        config.data_dir.clone_from(data_dir);
    }
    if let Some(listen) = flags.listen {
        config.listen = listen;
    }
    check(&config)?;
    config.public_url = config.public_url.map(|url| url.trim_end_matches('/').to_owned());
    Ok(Loaded { config, admin_password })
}

/// Reads a file's text and an environment, for the fuzz targets.
///
/// # Errors
/// [`ConfigError`].
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn load_texts(
    yaml: &str,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Loaded, ConfigError> {
    overlaid(parse_file(Path::new("server.yaml"), yaml)?, &Flags::default(), environment)
}

fn read_text(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path)
        .map_err(|source| ConfigError::File { path: path.to_owned(), source })
}

fn parse_file(path: &Path, text: &str) -> Result<Config, ConfigError> {
    if text.trim().is_empty() {
        return Ok(Config::default());
    }
    serde_yaml::from_str(text)
        .map_err(|error| ConfigError::Yaml { path: path.to_owned(), reason: error.to_string() })
}

fn read_environment(
    variables: impl Iterator<Item = (String, String)>,
) -> Result<Environment, ConfigError> {
    // An empty variable is an unset one: CI systems pass them for what nobody set.
    let ours = variables.filter(|(name, value)| {
        name.starts_with(PREFIX) && !NOT_SETTINGS.contains(&name.as_str()) && !value.is_empty()
    });
    envy::prefixed(PREFIX)
        .from_iter(ours)
        .map_err(|error| ConfigError::Environment(error.to_string()))
}

impl Environment {
    fn overlay(self, config: &mut Config) {
        fn set<T>(slot: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *slot = value;
            }
        }
        set(&mut config.listen, self.listen);
        set(&mut config.data_dir, self.data_dir);
        set(&mut config.public_url, self.public_url.map(Some));
        set(&mut config.log.filter, self.log_filter);
        set(&mut config.log.format, self.log_format);
        set(&mut config.limits.manifest_bytes, self.limits_manifest_bytes);
        set(&mut config.limits.manifest_descriptors, self.limits_manifest_descriptors);
        set(&mut config.limits.blob_bytes, self.limits_blob_bytes.map(Some));
        set(&mut config.limits.upload_seconds, self.limits_upload_seconds.map(Some));
        set(&mut config.limits.rehash_seconds, self.limits_rehash_seconds);
        set(&mut config.database.cache_bytes, self.database_cache_bytes);
        set(&mut config.space.soft_bytes, self.space_soft_bytes);
        set(&mut config.space.hard_bytes, self.space_hard_bytes);
        set(&mut config.space.ballast_bytes, self.space_ballast_bytes);
        set(&mut config.backup.directory, self.backup_directory.map(Some));
        set(&mut config.audit.file, self.audit_file.map(Some));
        set(&mut config.audit.log, self.audit_log);
        set(&mut config.audit.keep_days, self.audit_keep_days);
        set(&mut config.tokens.service, self.tokens_service);
        set(&mut config.tokens.lifetime_seconds, self.tokens_lifetime_seconds);
        set(&mut config.http.idle_body_seconds, self.http_idle_body_seconds);
        set(&mut config.http.minimum_bytes_per_second, self.http_minimum_bytes_per_second);
        set(&mut config.http.head_seconds, self.http_head_seconds);
        set(&mut config.http.most_connections, self.http_most_connections);
        set(&mut config.http.most_connections_per_source, self.http_most_connections_per_source);
        set(&mut config.http.trusted_proxies, self.http_trusted_proxies.map(Some));
        set(&mut config.http.notice_seconds, self.http_notice_seconds);
        set(&mut config.http.drain_seconds, self.http_drain_seconds);
        set(&mut config.tls.certificate, self.tls_certificate.map(Some));
        set(&mut config.tls.key, self.tls_key.map(Some));
        set(&mut config.metrics.public, self.metrics_public);
        set(&mut config.unsafe_short_delays, self.unsafe_short_delays);
    }
}

/// Whether this is a scheme, a host and perhaps a port, in letters that every client reads the same
/// and that can stand in a header.
fn is_origin(url: &str) -> bool {
    let url = url.trim_end_matches('/');
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let plain = |letter: char| letter.is_ascii_alphanumeric() || ".-_:[]".contains(letter);
    let whole = reqwest::Url::parse(url).is_ok_and(|url| url.path() == "/");
    whole && rest.is_some_and(|rest| !rest.ends_with(':') && rest.chars().all(plain))
}

/// Whether this can stand between quotes in a header as it is.
fn is_quotable(text: &str) -> bool {
    let plain = |letter: u8| matches!(letter, b' '..=b'~') && !matches!(letter, b'"' | b'\\');
    !text.is_empty() && text.bytes().all(plain)
}

/// Holds every value against what it may be.
fn check(config: &Config) -> Result<(), ConfigError> {
    let mut wrong = Vec::new();
    let mut require = |holds: bool, words: &str| {
        if !holds {
            wrong.push(words.to_owned());
        }
    };
    require(
        config.public_url.as_deref().is_none_or(is_origin),
        "public_url is http:// or https:// and a host in plain letters (xn--… for others), no path",
    );
    require(config.limits.manifest_bytes >= 4096, "limits.manifest_bytes is at least 4096");
    require(config.limits.manifest_bytes <= 64 << 20, "limits.manifest_bytes is at most 64 MiB");
    require(config.limits.manifest_descriptors >= 1, "limits.manifest_descriptors is at least 1");
    require(
        config.limits.manifest_descriptors <= 20_000,
        "limits.manifest_descriptors is at most 20000",
    );
    require(
        config.backup.directory.as_ref().is_none_or(|directory| directory.is_absolute()),
        "backup.directory is an absolute path",
    );
    require(
        config.audit.file.as_ref().is_none_or(|file| file.is_absolute()),
        "audit.file is an absolute path",
    );
    require((1..=3650).contains(&config.audit.keep_days), "audit.keep_days is 1 to 3650");
    require(config.limits.blob_bytes != Some(0), "limits.blob_bytes is above 0");
    require(config.limits.upload_seconds != Some(0), "limits.upload_seconds is above 0");
    require(config.database.cache_bytes >= 1 << 20, "database.cache_bytes is at least 1 MiB");
    require(
        config.space.hard_bytes <= config.space.soft_bytes,
        "space.hard_bytes is at most space.soft_bytes",
    );
    require(
        (60..=3600).contains(&config.tokens.lifetime_seconds),
        "tokens.lifetime_seconds is 60 to 3600",
    );
    require(
        is_quotable(&config.tokens.service),
        "tokens.service is some text of plain letters without quotes and backslashes",
    );
    require(config.http.idle_body_seconds >= 1, "http.idle_body_seconds is at least 1");
    require(config.http.head_seconds >= 1, "http.head_seconds is at least 1");
    require(config.http.most_connections >= 1, "http.most_connections is at least 1");
    require(
        config.http.most_connections_per_source >= 1,
        "http.most_connections_per_source is at least 1",
    );
    require(
        config.tls.certificate.is_some() == config.tls.key.is_some(),
        "tls.certificate and tls.key are both set or neither",
    );
    wrong.extend(oidc::check(&config.oidc));
    if wrong.is_empty() { Ok(()) } else { Err(ConfigError::Values(wrong)) }
}

#[cfg(test)]
mod tests;
