//! The REST API under `/api/v1`.
//!
//! Invariant: a route exists exactly if `openapi.json` describes it, because both come from one
//! router. Everything but that description and accepting an invitation takes a login; cookies are never read and no header
//! invites other origins. Wire bodies are structs of this folder, so that the API changes only when
//! somebody means it. This folder decides nothing about rights: a handler gets its proof from the
//! registry, and for anything addressed by an id the proof names the parent too.

mod audit;
mod collection;
mod history;
mod input;
mod invitations;
mod maintenance;
mod oidc_bindings;
mod output;
mod packages;
mod permissions;
mod pipeline_tokens;
mod projects;
mod pushes;
mod repositories;
mod robots;
mod tags;
mod tokens;
mod undo;
mod users;
mod workspaces;

use crate::app::App;
use crate::http::table::{Route, Table};
use std::sync::Arc;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The longest JSON body in bytes.
const LONGEST_BODY: usize = 64 << 10;
/// Where the API begins.
const BASE: &str = "/api/v1";

/// All routes of the API and its description.
pub(super) fn routes() -> Table {
    let (router, description) = described().split_for_parts();
    let routes = listed(&description);
    // Why this cannot fail: the description is plain data, the same at every start, and a test
    // serialises it. It is made once, since it does not change while the server runs.
    let description: Arc<str> =
        description.to_json().expect("the description is plain data").into();
    let describe = move || async move { output::json_text(&description) };
    Table::default()
        .described(router, routes)
        .get(&format!("{BASE}/openapi.json"), describe)
        .longest_body(LONGEST_BODY)
}

/// The routes as the description has them.
fn listed(description: &utoipa::openapi::OpenApi) -> Vec<Route> {
    let mut routes = Vec::new();
    for (path, item) in &description.paths.paths {
        for (method, operation) in [
            ("DELETE", &item.delete),
            ("GET", &item.get),
            ("HEAD", &item.head),
            ("OPTIONS", &item.options),
            ("PATCH", &item.patch),
            ("POST", &item.post),
            ("PUT", &item.put),
            ("TRACE", &item.trace),
        ] {
            routes.extend(operation.as_ref().map(|_| Route::new(method, path)));
        }
    }
    routes
}

fn described() -> OpenApiRouter<Arc<App>> {
    let entities = OpenApiRouter::new()
        .routes(routes!(workspaces::list, workspaces::create))
        .routes(routes!(workspaces::show, workspaces::change))
        .routes(routes!(permissions::list_workspace_admins))
        .routes(routes!(permissions::add_workspace_admin, permissions::remove_workspace_admin))
        .routes(routes!(projects::list, projects::create))
        .routes(routes!(repositories::list, repositories::create))
        .routes(routes!(repositories::show, repositories::change, repositories::delete))
        .routes(routes!(permissions::list))
        .routes(routes!(permissions::set, permissions::remove))
        .routes(routes!(pipeline_tokens::list, pipeline_tokens::create))
        .routes(routes!(pipeline_tokens::revoke))
        .routes(routes!(oidc_bindings::list, oidc_bindings::create))
        .routes(routes!(oidc_bindings::end))
        .routes(routes!(robots::list, robots::create))
        .routes(routes!(robots::one, robots::change, robots::delete))
        .routes(routes!(robots::set_role, robots::remove_role))
        .routes(routes!(robots::tokens, robots::create_token))
        .routes(routes!(robots::revoke_token))
        .routes(routes!(audit::list))
        .routes(routes!(audit::of_workspace))
        .routes(routes!(packages::list, packages::create))
        .routes(routes!(packages::show, packages::delete))
        .routes(routes!(pushes::known_layers))
        .routes(routes!(pushes::open_uploads))
        .routes(routes!(tags::list))
        .routes(routes!(tags::show, tags::delete))
        .routes(routes!(history::list))
        .routes(routes!(undo::kept))
        .routes(routes!(undo::restore))
        .routes(routes!(undo::deleted_packages))
        .routes(routes!(collection::preview))
        .routes(routes!(collection::reclaim))
        .routes(routes!(collection::pending))
        .routes(routes!(collection::holders))
        .routes(routes!(collection::receipts))
        .routes(routes!(maintenance::verify, maintenance::verification))
        .routes(routes!(maintenance::back_up, maintenance::backup))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::show, users::change))
        .routes(routes!(users::own))
        .routes(routes!(invitations::create))
        .routes(routes!(invitations::accept))
        .routes(routes!(invitations::reset))
        .routes(routes!(invitations::withdraw))
        .routes(routes!(users::change_own_password));
    OpenApiRouter::with_openapi(Description::openapi()).nest(BASE, entities)
}

/// The description without its routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Standpipe",
        description = "Workspaces, projects, repositories, packages, users and tokens of a Standpipe \
            server. Log in with Basic (a password, or a token as the password) or send a token as \
            Bearer. Lists are cut into pages: send `next` of one answer as `after` of the next \
            request. Refusals are RFC 9457 problems. What was deleted or replaced is kept for the \
            workspace's keep_seconds and can be put back; then its bytes are freed by themselves, and \
            a receipt says whose event freed how much.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    modifiers(&Logins),
    security(("basic" = []), ("bearer" = [])),
)]
struct Description;

/// The ways to log in.
struct Logins;

impl utoipa::Modify for Logins {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        for (name, scheme) in [("basic", HttpAuthScheme::Basic), ("bearer", HttpAuthScheme::Bearer)]
        {
            let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(scheme).build());
            components.add_security_scheme(name, scheme);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn the_description_is_whole() {
        let text = described().into_openapi().to_json().expect("JSON");
        let description: Value = serde_json::from_str(&text).expect("JSON");
        let paths = description["paths"].as_object().expect("paths");
        assert!(paths.keys().all(|path| path.starts_with("/api/v1/")), "{paths:?}");
        let mut operations = 0;
        for (path, item) in paths {
            for (method, operation) in item.as_object().expect("operations") {
                operations += 1;
                let what = format!("{method} {path}");
                assert!(operation["summary"].is_string(), "{what} has no summary");
                assert!(operation["responses"]["401"].is_object(), "{what} does not mention 401");
                // Every {parameter} of the path is described.
                let named = operation["parameters"].as_array().cloned().unwrap_or_default();
                for parameter in path.split('/').filter_map(|part| part.strip_prefix('{')) {
                    let parameter = parameter.trim_end_matches('}');
                    let found = named.iter().any(|n| n["name"] == parameter && n["in"] == "path");
                    assert!(found, "{what} does not describe {parameter}");
                }
            }
        }
        assert_eq!(operations, 70, "a route was added or removed: look at the description too");
        assert_references_lead_somewhere(&description, &description);
    }

    fn assert_references_lead_somewhere(root: &Value, value: &Value) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    let pointer = reference.trim_start_matches('#');
                    assert!(root.pointer(pointer).is_some(), "{reference} leads nowhere");
                }
                fields.values().for_each(|value| assert_references_lead_somewhere(root, value));
            }
            Value::Array(items) => {
                items.iter().for_each(|value| assert_references_lead_somewhere(root, value));
            }
            _ => {}
        }
    }
}
