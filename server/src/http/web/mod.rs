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
mod audit;
mod bindings;
mod compare;
mod create;
pub(super) mod error;
mod fields;
mod form;
mod history;
mod image;
mod instance;
mod invitation;
mod layers;
mod package;
mod packages;
pub(super) mod page;
mod parts;
mod people;
mod profile;
mod reclaim;
mod repository;
mod rights;
mod robots;
mod selection;
mod settings;
mod sign_in;
mod sizes;
mod storage;
mod viewer;
mod workspaces;

use super::table::Table;
use error::percent;

/// How many rows a page of a list has.
const PAGE: usize = 50;
/// How many tags a page of a package has; each brings its manifest.
const TAGS: usize = 30;

/// All pages.
pub(super) fn routes() -> Table {
    Table::default()
        .get("/", workspaces::home)
        .get("/assets/{name}", assets::serve)
        .get("/sign-in", sign_in::form)
        .post("/sign-in", sign_in::begin)
        .post("/sign-out", sign_in::end)
        .get("/invitation", invitation::form)
        .post("/invitation", invitation::accept)
        .merge(of_workspace())
        .merge(of_storage())
        .merge(of_robots())
        .merge(of_repository())
        .merge(of_package())
        .merge(of_instance())
        .merge(of_profile())
}

fn of_workspace() -> Table {
    Table::default()
        .get("/w/{workspace}", packages::of_workspace)
        .get("/w/{workspace}/projects/{project}", packages::of_project)
        .get("/w/{workspace}/create-package", create::form)
        .post("/w/{workspace}/create-package", create::create)
        .get("/w/{workspace}/repositories", repository::list)
        .get("/w/{workspace}/activity", activity::show)
        .get("/w/{workspace}/audit", audit::of_workspace)
        .get("/w/{workspace}/settings", settings::show)
        .post("/w/{workspace}/settings", settings::change)
        .post("/w/{workspace}/settings/administrators", settings::add_admin)
        .post("/w/{workspace}/settings/administrators/{user}/end", settings::remove_admin)
        .get("/w/{workspace}/create-project", settings::project_form)
        .post("/w/{workspace}/create-project", settings::create_project)
        .get("/w/{workspace}/create-repository", settings::repository_form)
        .post("/w/{workspace}/create-repository", settings::create_repository)
}

fn of_storage() -> Table {
    let at = |rest: &str| format!("/w/{{workspace}}/storage{rest}");
    Table::default()
        .get(&at(""), storage::show)
        .get(&at("/packages"), sizes::list)
        .get(&at("/reclaim"), reclaim::all_form)
        .post(&at("/reclaim"), reclaim::all)
        .post(&at("/uploads/{upload}/cancel"), storage::cancel)
        .get(&at("/deleted/{package}"), storage::deleted)
        .post(&at("/deleted/{package}/restore"), storage::restore)
        .post(&at("/deleted/{package}/reclaim"), reclaim::of_deleted)
}

fn of_robots() -> Table {
    let at = |rest: &str| format!("/w/{{workspace}}/robots{rest}");
    Table::default()
        .get(&at(""), robots::list)
        .post(&at(""), robots::create)
        .get(&at("/{robot}"), robots::show)
        .post(&at("/{robot}"), robots::change)
        .post(&at("/{robot}/delete"), robots::delete)
        .post(&at("/{robot}/roles"), robots::give_role)
        .post(&at("/{robot}/roles/{repository}/end"), robots::end_role)
        .get(&at("/{robot}/tokens"), robots::show)
        .post(&at("/{robot}/tokens"), robots::create_token)
        .post(&at("/{robot}/tokens/{token}/end"), robots::end_token)
}

fn of_repository() -> Table {
    let at = |rest: &str| format!("/w/{{workspace}}/repositories/{{repository}}{rest}");
    Table::default()
        .get(&at(""), repository::show)
        .get(&at("/permissions"), rights::permissions)
        .post(&at("/permissions"), rights::permit)
        .post(&at("/permissions/{user}/end"), rights::forbid)
        .get(&at("/tokens"), rights::tokens)
        .post(&at("/tokens"), rights::create_token)
        .post(&at("/tokens/{token}/end"), rights::end_token)
        .get(&at("/oidc"), bindings::list)
        .post(&at("/oidc"), bindings::bind)
        .post(&at("/oidc/{binding}/end"), bindings::unbind)
        .get(&at("/settings"), rights::fields)
        .post(&at("/settings"), rights::change_fields)
        .post(&at("/delete"), rights::delete)
}

fn of_instance() -> Table {
    Table::default()
        .get("/instance", instance::workspaces)
        .get("/instance/create-workspace", instance::workspace_form)
        .post("/instance/create-workspace", instance::create_workspace)
        .get("/instance/people", people::list)
        .post("/instance/people", people::create)
        .get("/instance/people/{user}", people::show)
        .post("/instance/people/{user}", people::change)
        .post("/instance/people/{user}/reset", people::reset)
        .post("/instance/people/{user}/withdraw", people::withdraw)
        .get("/instance/storage", instance::storage_page)
        .post("/instance/verify", instance::verify)
        .get("/instance/health", instance::health)
        .get("/instance/audit", audit::of_instance)
}

fn of_profile() -> Table {
    Table::default()
        .get("/profile", profile::show)
        .post("/profile/password", profile::password)
        .post("/profile/sessions/{session}/end", profile::end_session)
        .get("/profile/tokens", profile::tokens)
        .post("/profile/tokens", profile::create_token)
        .post("/profile/tokens/{token}/end", profile::end_token)
}

fn of_package() -> Table {
    let base = "/w/{workspace}/packages/{package}";
    let at = |rest: &str| format!("{base}{rest}");
    Table::default()
        .get(base, package::show)
        .get(&at("/version"), package::version)
        .get(&at("/tags/{tag}"), image::of_tag)
        .get(&at("/manifests/{digest}"), image::of_manifest)
        .get(&at("/compare"), compare::show)
        .get(&at("/reclaim"), reclaim::form)
        .post(&at("/reclaim"), reclaim::of_package)
        .get(&at("/delete-tags"), selection::preview)
        .post(&at("/delete-tags"), selection::delete)
        .post(&at("/restore-tags"), selection::restore)
        .get(&at("/delete"), selection::preview_package)
        .post(&at("/delete"), selection::delete_package)
}
