//! `/`: what this is and how to use it. One page, no script.

use super::challenge;
use super::table::Table;
use crate::app::App;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::Digest as _;
use std::sync::Arc;

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem;color:#1b1f24;background:#fff}code{font-family:ui-monospace,monospace}pre{padding:.75rem 1rem;background:#f2f4f6;overflow-x:auto}@media(prefers-color-scheme:dark){body{color:#e6e8ea;background:#15181b}pre{background:#22272c}a{color:#8ab4f8}}";

/// The home page.
pub(super) fn routes() -> Table {
    Table::default().get("/", home)
}

async fn home(State(app): State<Arc<App>>) -> Response {
    let origin = challenge::origin(&app.http);
    let page = page(origin.as_deref().map(host));
    // Only this very style sheet may act; it is named by its digest.
    let style = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
    ];
    (headers, page.into_string()).into_response()
}

/// What clients call this server: its origin without the scheme. It is never taken from the request.
fn host(origin: &str) -> &str {
    origin.split_once("://").map_or(origin, |(_, host)| host)
}

fn page(host: Option<&str>) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Standpipe" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "Standpipe" }
                p { "This is a container registry. Images are pushed and pulled with docker, podman and their like." }
                @if let Some(host) = host {
                    pre { code {
                        "docker login " (host) "\n"
                        "docker push " (host) "/<workspace>/<package>:<tag>"
                    } }
                } @else {
                    p { "Log in with " code { "docker login" } " and the address of this server. Images are called " code { "<workspace>/<package>:<tag>" } "." }
                }
                p { "Workspaces, repositories, permissions, packages and tokens are administered over the REST API: " a href="/api/v1/openapi.json" { "its description" } "." }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_the_address_it_was_configured_with_and_escapes_it() {
        let text = page(Some(host("https://registry.example.com"))).into_string();
        assert!(text.contains("docker login registry.example.com"), "{text}");
        assert!(text.contains("&lt;workspace&gt;/&lt;package&gt;:&lt;tag&gt;"), "{text}");
        assert!(!text.contains("<script"), "{text}");
        assert!(page(Some("<b>")).into_string().contains("docker login &lt;b&gt;"));
    }
}
