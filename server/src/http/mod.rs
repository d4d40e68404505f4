//! HTTP: the only folder that names axum.
//!
//! A request goes router → handler (parse, authorise, one verb, render) → verb of the registry. The
//! raw request path is parsed, never the percent-decoded one.
//!
//! Layers, from the outside in, each with the reason for its place:
//! 1. [`boundary`]: the request id, the log line, the body of every refusal, the headers of every
//!    answer. Outermost, so that nothing leaves without them.
//! 2. catching panics: inside the boundary, so that a panic is answered and logged like any fault.
//! 3. [`limits`]: refuses what is too long before anything is made of it.
//! 4. the minimum rate of request bodies ([`pace`]): innermost, because it wraps the body that handlers
//!    read. A large upload may take as long as it moves.
//!
//! Outside of them all, [`occupancy`] counts a request for its connection until its answer has ended.
//!
//! This folder must not know how anything is stored, and decides nothing about rights.

pub mod api;
mod boundary;
pub(crate) mod challenge;
mod connection;
pub mod error;
pub mod extract;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod limits;
mod metrics;
mod occupancy;
pub mod oci;
mod ops;
pub mod pace;
mod permits;
pub mod serve;
mod source;
pub mod table;
pub mod tls;
pub mod token;
mod web;

use crate::app::App;
use axum::Router;
use error::ApiError;
use pace::Pace;
use std::sync::Arc;
pub use table::Route;
use table::Table;
use tower_http::catch_panic::CatchPanicLayer;

/// How the router treats requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouterOptions {
    /// How slow a request's body may be.
    pub pace: Pace,
}

/// Everything this server answers.
pub fn router(app: Arc<App>) -> Router {
    router_with(app, RouterOptions::default())
}

/// The same with other limits.
pub fn router_with(app: Arc<App>, options: RouterOptions) -> Router {
    let routes = table()
        .into_router()
        .fallback(nothing)
        .method_not_allowed_fallback(not_like_that)
        .with_state(Arc::clone(&app))
        .merge(oci::routes(Arc::clone(&app)));
    routes
        .layer(axum::middleware::from_fn(move |request, next| {
            pace::pace(options.pace, request, next)
        }))
        .layer(axum::middleware::from_fn(limits::check))
        .layer(CatchPanicLayer::custom(boundary::panicked))
        .layer(axum::middleware::from_fn_with_state(app, boundary::boundary))
        .layer(axum::middleware::from_fn(occupancy::hold))
}

/// All routes but those of the distribution API, which parses its paths itself.
fn table() -> Table {
    ops::routes().merge(web::routes()).merge(token::routes()).merge(api::routes())
}

/// Every route there is, in the order of path and method.
#[must_use]
pub fn routes() -> Vec<Route> {
    let mut routes = table().into_routes();
    for (methods, path) in oci::endpoint::TEMPLATES {
        routes.extend(methods.split(", ").map(|method| Route::new(method, path)));
    }
    routes.sort_by(|one, other| (&one.path, &one.method).cmp(&(&other.path, &other.method)));
    routes
}

/// A browser is shown a page, anything else a problem.
async fn nothing(headers: axum::http::HeaderMap) -> axum::response::Response {
    use axum::response::IntoResponse as _;
    let wanted = headers.get(axum::http::header::ACCEPT).and_then(|value| value.to_str().ok());
    if wanted.is_some_and(|wanted| wanted.contains("text/html")) {
        return web::error::nothing().into_response();
    }
    ApiError::not_found("such page").into_response()
}

async fn not_like_that() -> ApiError {
    let status = axum::http::StatusCode::METHOD_NOT_ALLOWED;
    ApiError::new(status, "method-not-allowed", "this method makes no sense here")
}
