//! Groups of options that several commands share, and the bodies that are made of them.

use crate::auth::Secret;

/// What to change of a workspace.
#[derive(clap::Args, Clone, Debug, serde::Serialize)]
#[group(required = true, multiple = true)]
pub(super) struct WorkspaceSettings {
    /// The display name
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Who creates packages by pushing
    #[arg(long, value_parser = ["never", "admins", "writers"])]
    #[serde(skip_serializing_if = "Option::is_none")]
    create_on_push: Option<String>,
    /// The repository for packages created by a push whose name says nothing else; "none" clears it
    #[arg(long, value_name = "SLUG")]
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "none_is_null")]
    default_repository: Option<String>,
    /// How long what was confirmed to a client stays although nothing refers to it yet
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_seconds: Option<u64>,
    /// How long what an overwrite or a deletion released can be restored
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_seconds: Option<u64>,
    /// The most bytes held for restoring; "none" for no cap
    #[arg(long, value_name = "BYTES", value_parser = bytes_or_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_bytes: Option<serde_json::Value>,
    /// From forgetting an object to removing its file
    #[arg(long, value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    purge_seconds: Option<u64>,
    /// Whether an index may name manifests that are not in the package
    #[arg(long, value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    sparse_indexes: Option<bool>,
}

/// What a repository has besides its slug.
#[derive(clap::Args, Clone, Debug, serde::Serialize)]
pub(super) struct RepositoryFields {
    /// Its display name
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The key of its project; "none" for no project
    #[arg(long, value_name = "KEY")]
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "none_is_null")]
    project: Option<String>,
    /// Who may pull without a role
    #[arg(long, value_parser = ["private", "public"])]
    #[serde(skip_serializing_if = "Option::is_none")]
    visibility: Option<String>,
}

/// Where a new password comes from.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct NewPassword {
    /// The user's new password
    #[arg(
        long,
        value_name = "PASSWORD",
        env = "STANDPIPE_NEW_PASSWORD",
        hide_env_values = true,
        value_parser = secret
    )]
    pub(super) new_password: Option<Secret>,
    /// Read the user's new password from standard input
    #[arg(long, conflicts_with = "password_stdin")]
    pub(super) new_password_stdin: bool,
}

/// Takes a secret as it is.
pub(super) fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text.to_owned()))
}

fn bytes_or_none(text: &str) -> Result<serde_json::Value, String> {
    if text == "none" {
        return Ok(serde_json::Value::Null);
    }
    text.parse::<u64>().map(Into::into).map_err(|_| "a number of bytes, or none".to_owned())
}

/// The word `none` clears; it is a legal slug, but nobody who calls a repository so can want it here.
fn none_is_null<S: serde::Serializer>(text: &Option<String>, to: S) -> Result<S::Ok, S::Error> {
    match text.as_deref() {
        None | Some("none") => to.serialize_none(),
        Some(text) => to.serialize_str(text),
    }
}
