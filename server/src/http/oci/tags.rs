//! The list of tags (distribution-spec, "Listing Tags").

use super::{Answer, Call, linked};
use crate::domain::Name;
use crate::http::error::Code;
use crate::metadata::Page;
use axum::Json;
use serde_json::json;

/// The most tags of one answer.
const MOST: usize = 1000;

pub(super) async fn list(call: Call, name: Name) -> Answer {
    let access = call.registry().readable(&call.requester.caller, &name).await?;
    let query = call.query();
    let count = query.count(MOST)?;
    let after = query.one("last", Code::Unsupported)?.map(str::to_owned);
    // One more than wanted tells whether there is a next page; nothing wanted has none.
    let limit = if count == 0 { 0 } else { count + 1 };
    let mut rows = match limit {
        0 => Vec::new(),
        _ => call.registry().tags(&access, Page { after, limit }).await?,
    };
    let more = rows.len() > count;
    rows.truncate(count);
    let tags: Vec<&str> = rows.iter().map(|row| row.tag.as_str()).collect();
    let body = Json(json!({ "name": name.to_string(), "tags": tags }));
    let next = tags.last().filter(|_| more);
    let next = next.map(|last| format!("/v2/{name}/tags/list?n={count}&last={last}"));
    Ok(linked(body, next))
}
