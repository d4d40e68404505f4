//! The web UI: pages made here, usable without a script.
//!
//! Invariant: a page asks the registry as the REST API does, with the same proofs of access, and has
//! no way of its own to what is stored. What comes from people or images becomes text, never markup
//! (`maud` escapes; nothing here un-escapes). A change takes a form with the token of its session
//! ([`viewer::Submitted`]). What is not there and what the viewer may not see is the same page.
//!
//! This folder must not know how anything is stored.

mod activity;
mod assets;
mod compare;
mod create;
pub(super) mod error;
mod fields;
mod form;
mod history;
mod image;
mod instance;
mod layers;
mod package;
mod packages;
pub(super) mod page;
mod parts;
mod people;
mod profile;
mod repository;
mod rights;
mod selection;
mod settings;
mod sign_in;
mod storage;
mod viewer;
mod workspaces;

use crate::app::App;
use axum::Router;
use axum::routing::{get, post};
use error::percent;
use std::sync::Arc;

/// How many rows a page of a list has.
const PAGE: usize = 50;
/// How many tags a page of a package has; each brings its manifest.
const TAGS: usize = 30;

/// All pages.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(workspaces::home))
        .route("/assets/{name}", get(assets::serve))
        .route("/sign-in", get(sign_in::form).post(sign_in::begin))
        .route("/sign-out", post(sign_in::end))
        .merge(of_workspace())
        .merge(of_storage())
        .merge(of_repository())
        .merge(of_package())
        .merge(of_instance())
        .merge(of_profile())
}

fn of_workspace() -> Router<Arc<App>> {
    Router::new()
        .route("/w/{workspace}", get(packages::of_workspace))
        .route("/w/{workspace}/projects/{project}", get(packages::of_project))
        .route("/w/{workspace}/create-package", get(create::form).post(create::create))
        .route("/w/{workspace}/repositories", get(repository::list))
        .route("/w/{workspace}/activity", get(activity::show))
        .route("/w/{workspace}/settings", get(settings::show).post(settings::change))
        .route("/w/{workspace}/settings/administrators", post(settings::add_admin))
        .route("/w/{workspace}/settings/administrators/{user}/end", post(settings::remove_admin))
        .route(
            "/w/{workspace}/create-project",
            get(settings::project_form).post(settings::create_project),
        )
        .route(
            "/w/{workspace}/create-repository",
            get(settings::repository_form).post(settings::create_repository),
        )
}

fn of_storage() -> Router<Arc<App>> {
    let at = |rest: &str| format!("/w/{{workspace}}/storage{rest}");
    Router::new()
        .route(&at(""), get(storage::show))
        .route(&at("/uploads/{upload}/cancel"), post(storage::cancel))
        .route(&at("/deleted/{package}"), get(storage::deleted))
        .route(&at("/deleted/{package}/restore"), post(storage::restore))
        .route(&at("/deleted/{package}/reclaim"), post(storage::reclaim_deleted))
}

fn of_repository() -> Router<Arc<App>> {
    let at = |rest: &str| format!("/w/{{workspace}}/repositories/{{repository}}{rest}");
    Router::new()
        .route(&at(""), get(repository::show))
        .route(&at("/permissions"), get(rights::permissions).post(rights::permit))
        .route(&at("/permissions/{user}/end"), post(rights::forbid))
        .route(&at("/tokens"), get(rights::tokens).post(rights::create_token))
        .route(&at("/tokens/{token}/end"), post(rights::end_token))
        .route(&at("/oidc"), get(rights::bindings).post(rights::bind))
        .route(&at("/oidc/{binding}/end"), post(rights::unbind))
        .route(&at("/settings"), get(rights::fields).post(rights::change_fields))
        .route(&at("/delete"), post(rights::delete))
}

fn of_instance() -> Router<Arc<App>> {
    Router::new()
        .route("/instance", get(instance::workspaces))
        .route(
            "/instance/create-workspace",
            get(instance::workspace_form).post(instance::create_workspace),
        )
        .route("/instance/people", get(people::list).post(people::create))
        .route("/instance/people/{user}", get(people::show).post(people::change))
        .route("/instance/storage", get(instance::storage_page))
        .route("/instance/verify", post(instance::verify))
        .route("/instance/health", get(instance::health))
}

fn of_profile() -> Router<Arc<App>> {
    Router::new()
        .route("/profile", get(profile::show))
        .route("/profile/password", post(profile::password))
        .route("/profile/sessions/{session}/end", post(profile::end_session))
        .route("/profile/tokens", get(profile::tokens).post(profile::create_token))
        .route("/profile/tokens/{token}/end", post(profile::end_token))
}

fn of_package() -> Router<Arc<App>> {
    let base = "/w/{workspace}/packages/{package}";
    let at = |rest: &str| format!("{base}{rest}");
    Router::new()
        .route(base, get(package::show))
        .route(&at("/version"), get(package::version))
        .route(&at("/tags/{tag}"), get(image::of_tag))
        .route(&at("/manifests/{digest}"), get(image::of_manifest))
        .route(&at("/compare"), get(compare::show))
        .route(&at("/reclaim"), get(storage::reclaim_form).post(storage::reclaim))
        .route(&at("/delete-tags"), get(selection::preview).post(selection::delete))
        .route(&at("/restore-tags"), post(selection::restore))
        .route(&at("/delete"), get(selection::preview_package).post(selection::delete_package))
}
