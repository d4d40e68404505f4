//! The list of tags (distribution-spec, "Listing Tags").

use super::{Answer, Call};
use crate::domain::Name;
use crate::http::error::Code;
use crate::metadata::{Page, TagNames};
use axum::http::header;
use axum::response::IntoResponse as _;

/// The most tags of one answer: at most 1.3 MB, and few packages have more. Each further page is a round
/// trip that clients make one after the other.
const MOST: usize = 10_000;

pub(super) async fn list(call: Call, name: Name) -> Answer {
    let access = call.registry().readable(&call.requester.caller, &name).await?;
    let query = call.query();
    let limit = query.count(MOST)?;
    let after = query.one("last", Code::Unsupported)?.map(str::to_owned);
    // Nothing wanted is nothing found, and has no next page.
    let found = match limit {
        0 => TagNames::default(),
        _ => call.registry().tag_names(&access, Page { after, limit }).await?,
    };
    let body = ([(header::CONTENT_TYPE, "application/json")], render(&name, &found));
    let next = found
        .iter()
        .last()
        .filter(|_| found.more)
        .map(|last| format!("</v2/{name}/tags/list?n={limit}&last={last}>; rel=\"next\""));
    Ok(match next {
        Some(next) => ([(header::LINK, next)], body).into_response(),
        None => body.into_response(),
    })
}

/// The list as JSON. No letter that a name or a tag may have needs to be escaped there.
fn render(name: &Name, found: &TagNames) -> String {
    let letters: usize = found.iter().map(|tag| tag.len() + 3).sum();
    let mut text = String::with_capacity(letters + 320);
    text.push_str("{\"name\":\"");
    text.push_str(&name.to_string());
    text.push_str("\",\"tags\":[");
    for (number, tag) in found.iter().enumerate() {
        if number > 0 {
            text.push(',');
        }
        text.push('"');
        text.push_str(tag);
        text.push('"');
    }
    text.push_str("]}");
    text
}
