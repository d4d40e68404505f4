//! OIDC bindings: which builds of another system act in a repository, without a stored secret.

use super::input::{At, BindingId, Call, Json, Paging, Query, parse};
use super::output::{Created, Items, Refusals, time};
use crate::app::App;
use crate::domain::{self, Conditions, Role, Slug};
use crate::http::error::ApiError;
use crate::registry::bindings::{BindingView, NewBinding};
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;
use utoipa::ToSchema;

/// Which tags which builds may move.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TagRule {
    /// Tags; `*` stands for any letters, a claim in braces for its value.
    #[schema(example = json!(["latest", "v*"]))]
    tags: Vec<String>,
    /// Branches of which builds may move them, by pattern; all unless given.
    #[serde(default)]
    #[schema(example = json!(["main", "release/*"]))]
    branches: Vec<String>,
    /// Deployment environments, likewise.
    #[serde(default)]
    environments: Vec<String>,
    /// Other claims of the token and the patterns for their values.
    #[serde(default)]
    claims: BTreeMap<String, Vec<String>>,
}

/// A binding.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OidcBinding {
    /// Its id.
    id: String,
    /// The issuer's URL.
    issuer: String,
    /// The audience that tokens must name.
    audience: String,
    /// The source repository as the issuer calls it.
    source_repository: String,
    /// `read` or `write`.
    #[schema(example = "write")]
    role: &'static str,
    /// Branches of which builds may log in, by pattern; all if there is none.
    branches: Vec<String>,
    /// Deployment environments, likewise.
    environments: Vec<String>,
    /// Other claims of the token and the patterns for their values.
    claims: BTreeMap<String, Vec<String>>,
    /// Which tags its builds may move: the first rule that names a tag decides about it, and a tag
    /// that none names is not moved. Without rules all tags may be moved.
    tag_rules: Vec<TagRule>,
    /// Who made it.
    #[schema(example = "user:ann")]
    created_by: String,
    /// When it was made (RFC 3339).
    created_at: String,
}

/// A binding to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewOidcBinding {
    /// The issuer's URL, as the server's settings have it.
    #[schema(
        example = "https://api.bitbucket.org/2.0/workspaces/acme/pipelines-config/identity/oidc"
    )]
    issuer: String,
    /// The audience that tokens must name; the issuer's in the settings, if that has only one.
    audience: Option<String>,
    /// The id of the repository that builds, as the issuer calls it; for Bitbucket its UUID.
    #[schema(example = "{9b21ae2c-4f4f-4c6e-8a2e-0b7f6f3f2f10}")]
    source_repository: String,
    /// `read` or `write`; `write` unless given.
    #[schema(example = "write")]
    role: Option<String>,
    /// Branches of which builds may log in, by pattern (`release/*`); all unless given.
    #[serde(default)]
    branches: Vec<String>,
    /// Deployment environments, likewise.
    #[serde(default)]
    environments: Vec<String>,
    /// Other claims of the token and the patterns for their values.
    #[serde(default)]
    claims: BTreeMap<String, Vec<String>>,
    /// Which tags its builds may move: the first rule that names a tag decides about it, and a tag
    /// that none names is not moved. Without rules all tags may be moved.
    #[serde(default)]
    tag_rules: Vec<TagRule>,
}

impl From<BindingView> for OidcBinding {
    fn from(view: BindingView) -> Self {
        let binding = view.binding;
        let rule = |rule: &domain::TagRule| TagRule {
            tags: texts(&rule.tags),
            branches: texts(&rule.when.branches),
            environments: texts(&rule.when.environments),
            claims: claims(&rule.when),
        };
        Self {
            branches: texts(&binding.when.branches),
            environments: texts(&binding.when.environments),
            claims: claims(&binding.when),
            tag_rules: binding.tag_rules.iter().map(rule).collect(),
            id: binding.id,
            issuer: binding.issuer,
            audience: binding.audience,
            source_repository: binding.source,
            role: binding.role.as_str(),
            created_by: view.by,
            created_at: time(view.created),
        }
    }
}

impl NewOidcBinding {
    fn read(self, app: &App) -> Result<NewBinding, ApiError> {
        let only = app.auth.only_audience(&self.issuer).map(str::to_owned);
        let rule = |rule: TagRule| {
            let tags = patterns("tag_rules", &rule.tags)?;
            let when = conditions(&rule.branches, &rule.environments, &rule.claims)?;
            Ok::<_, ApiError>(domain::TagRule { tags, when })
        };
        Ok(NewBinding {
            audience: self.audience.or(only).unwrap_or_default(),
            source: self.source_repository,
            role: self.role.map_or(Ok(Role::Write), |role| parse("role", &role))?,
            when: conditions(&self.branches, &self.environments, &self.claims)?,
            tag_rules: self.tag_rules.into_iter().map(rule).collect::<Result<_, _>>()?,
            issuer: self.issuer,
        })
    }
}

fn conditions(
    branches: &[String],
    environments: &[String],
    claims: &BTreeMap<String, Vec<String>>,
) -> Result<Conditions, ApiError> {
    let claim =
        |(name, values): (&String, &Vec<String>)| Ok((name.clone(), patterns("claims", values)?));
    Ok(Conditions {
        branches: patterns("branches", branches)?,
        environments: patterns("environments", environments)?,
        claims: claims.iter().map(claim).collect::<Result<_, ApiError>>()?,
    })
}

fn patterns<T: FromStr<Err: Display>>(
    field: &'static str,
    texts: &[String],
) -> Result<Vec<T>, ApiError> {
    texts.iter().map(|text| parse(field, text)).collect()
}

fn texts<T: ToString>(patterns: &[T]) -> Vec<String> {
    patterns.iter().map(T::to_string).collect()
}

fn claims(when: &Conditions) -> BTreeMap<String, Vec<String>> {
    when.claims.iter().map(|(name, values)| (name.clone(), texts(values))).collect()
}

/// A repository's OIDC bindings, by id. Takes an administrator of the workspace.
#[utoipa::path(get, path = "/workspaces/{workspace}/repositories/{repository}/oidc-bindings",
    tag = "oidc",
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("repository" = String, Path, description = "The repository's slug"), Paging),
    responses((status = 200, body = Items<OidcBinding>), Refusals))]
pub(super) async fn list(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, slug)): At<(Slug, Slug)>,
    Query(paging): Query<Paging>,
) -> Result<Items<OidcBinding>, ApiError> {
    let wanted = paging.wanted()?;
    let access = app.registry.bindable(call.caller(), &workspace, &slug).await?;
    let found = app.registry.bindings(&access, wanted.page()).await?;
    let id = |view: &BindingView| view.binding.id.clone();
    Ok(Items::page(found, &wanted, id, OidcBinding::from))
}

/// Lets the builds of a source repository act in a repository. Takes an administrator of the
/// workspace.
#[utoipa::path(post, path = "/workspaces/{workspace}/repositories/{repository}/oidc-bindings",
    tag = "oidc", request_body = NewOidcBinding,
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("repository" = String, Path, description = "The repository's slug")),
    responses((status = 201, body = OidcBinding), Refusals))]
pub(super) async fn create(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, slug)): At<(Slug, Slug)>,
    Json(body): Json<NewOidcBinding>,
) -> Result<Created<OidcBinding>, ApiError> {
    let access = app.registry.bindable(call.caller(), &workspace, &slug).await?;
    let made = app.auth.bind(&access, &call.change(), body.read(&app)?).await?;
    let path = format!("/api/v1/workspaces/{workspace}/repositories/{slug}/oidc-bindings");
    let body = OidcBinding::from(made);
    Ok(Created { location: format!("{path}/{}", body.id), body })
}

/// Ends a binding. Holds from the next request on, also for builds that have logged in.
#[utoipa::path(delete,
    path = "/workspaces/{workspace}/repositories/{repository}/oidc-bindings/{binding}",
    tag = "oidc",
    params(("workspace" = String, Path, description = "The workspace's slug"),
        ("repository" = String, Path, description = "The repository's slug"),
        ("binding" = String, Path, description = "The binding's id")),
    responses((status = 204, description = "It is gone"), Refusals))]
pub(super) async fn end(
    call: Call,
    State(app): State<Arc<App>>,
    At((workspace, slug, BindingId(id))): At<(Slug, Slug, BindingId)>,
) -> Result<StatusCode, ApiError> {
    let access = app.registry.bindable(call.caller(), &workspace, &slug).await?;
    app.registry.end_binding(&access, &call.change(), &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
