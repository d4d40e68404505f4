//! What operators and orchestrators ask: does it live, can it work?

use super::error::ApiError;
use crate::app::App;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use std::sync::Arc;

/// `/healthz` and `/readyz`.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/healthz", get(health)).route("/readyz", get(readiness))
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
