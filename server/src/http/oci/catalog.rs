//! The list of packages (Docker Registry HTTP API V2, "Listing Repositories"; the OCI specification
//! leaves it to each registry).
//!
//! Invariant: a name is shown only to those who may pull from it, and pages lead from one shown name to
//! the next, so that nobody learns of the others.

use super::{Answer, Call, linked};
use crate::http::error::Code;
use crate::registry::catalog::Position;
use axum::Json;
use serde_json::json;

/// The most names of one answer.
const MOST: usize = 1000;

pub(super) async fn list(call: Call) -> Answer {
    let query = call.query();
    let count = query.count(MOST)?;
    let after = query.one("last", Code::Unsupported)?.map(Position::after);
    // One more than wanted tells whether there is a next page; nothing wanted has none.
    let limit = if count == 0 { 0 } else { count + 1 };
    let found = call.registry().catalog(&call.requester.caller, after, limit).await?;
    let more = found.len() > count;
    let names: Vec<String> = found.iter().take(count).map(ToString::to_string).collect();
    let next = names.last().filter(|_| more);
    let next = next.map(|last| format!("/v2/_catalog?n={count}&last={last}"));
    Ok(linked(Json(json!({ "repositories": names })), next))
}
