//! What operators and orchestrators ask: does it live, can it work?

use super::error::ApiError;
use super::extract::Requester;
use super::metrics;
use super::table::Table;
use crate::app::App;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use std::sync::Arc;

/// `/healthz`, `/readyz` and `/metrics`.
pub(super) fn routes() -> Table {
    Table::default().get("/healthz", health).get("/readyz", readiness).get("/metrics", numbers)
}

/// The process lives. A storage fault is no reason to restart it: the store heals itself or not.
async fn health() -> &'static str {
    "ok\n"
}

/// Whether requests can be answered. A full disk refuses uploads only; pulls and deletions go on, so
/// the server stays ready and the body says so. A server that was told to stop still answers, but
/// whoever distributes requests should look elsewhere.
async fn readiness(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    if app.stopping.has_begun() {
        let body = Json(json!({ "ready": false, "stopping": true }));
        return Ok((StatusCode::SERVICE_UNAVAILABLE, body).into_response());
    }
    match app.registry.readiness().await {
        Ok(ready) => Ok(Json(json!({ "ready": true, "uploads": ready.uploads })).into_response()),
        Err(error) => {
            let cause = super::error::chain(&error);
            tracing::error!(cause, "not ready: {cause}");
            let body = Json(json!({ "ready": false, "uploads": false }));
            Ok((StatusCode::SERVICE_UNAVAILABLE, body).into_response())
        }
    }
}

/// Numbers for Prometheus. They tell how busy everybody is, so they are for administrators, unless
/// the settings say otherwise or nobody beyond this machine can ask. A loopback listener with a public
/// address stands behind a proxy, which anybody may ask.
async fn numbers(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let local = app.http.loopback && app.http.public_url.is_none();
    if !app.http.public_metrics && !local {
        let (parts, _) = request.into_parts();
        let requester = Requester::identify(&app.auth, &parts).await?;
        app.registry.instance_admin(&requester.caller).await?;
    }
    let backlog = app.registry.backlog().await?;
    let text = metrics::render(&app, &backlog);
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}
