//! The web UI: pages made here, usable without a script.
//!
//! Invariant: a page asks the registry as the REST API does, with the same proofs of access, and has
//! no way of its own to what is stored. What comes from people or images becomes text, never markup
//! (`maud` escapes; nothing here un-escapes). A change takes a form with the token of its session
//! ([`viewer::Submitted`]). What is not there and what the viewer may not see is the same page.
//!
//! This folder must not know how anything is stored.

mod assets;
mod create;
pub(super) mod error;
mod fields;
mod form;
mod package;
mod packages;
pub(super) mod page;
mod parts;
mod repository;
mod selection;
mod sign_in;
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
        .merge(of_package())
}

fn of_workspace() -> Router<Arc<App>> {
    Router::new()
        .route("/w/{workspace}", get(packages::of_workspace))
        .route("/w/{workspace}/projects/{project}", get(packages::of_project))
        .route("/w/{workspace}/create-package", get(create::form).post(create::create))
        .route("/w/{workspace}/repositories", get(repository::list))
        .route("/w/{workspace}/repositories/{repository}", get(repository::show))
}

fn of_package() -> Router<Arc<App>> {
    let base = "/w/{workspace}/packages/{package}";
    let at = |rest: &str| format!("{base}{rest}");
    Router::new()
        .route(base, get(package::show))
        .route(&at("/version"), get(package::version))
        .route(&at("/delete-tags"), get(selection::preview).post(selection::delete))
        .route(&at("/restore-tags"), post(selection::restore))
        .route(&at("/delete"), get(selection::preview_package).post(selection::delete_package))
}
