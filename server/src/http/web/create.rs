//! Create → Package: a name and the repository that it is linked to.

use super::error::{WebError, go};
use super::fields::{At, Fields};
use super::form::{Field, Form, Refusal, again};
use super::page::{Html, Page, Tab};
use super::parts::empty;
use super::viewer::{Submitted, Viewer};
use super::workspaces::{Room, room};
use crate::app::App;
use crate::domain::{Action, PackageName, Role, Slug};
use crate::metadata::{self, Repository};
use crate::registry::Result;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use maud::html;
use std::sync::Arc;

/// The most repositories that the form offers.
const MOST_OFFERED: usize = 500;

/// The form.
pub(super) async fn form(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    At((slug,)): At<(Slug,)>,
    query: Fields,
) -> std::result::Result<Html, WebError> {
    let room = room(&app, &viewer, &slug).await?;
    let offered = offered(&app, &viewer, &room).await?;
    Ok(page(&viewer, &room, &offered, query.one("repository"), None))
}

/// Creates it.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    At((slug,)): At<(Slug,)>,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    let room = room(&app, &sent.viewer, &slug).await?;
    match make(&app, &slug, &sent).await {
        Ok(package) => Ok(go(&format!("/w/{slug}/packages/{}", package.id))),
        Err(error) => {
            let offered = offered(&app, &sent.viewer, &room).await?;
            let again = again(error.into(), |why| {
                let refusal = Refusal { sent: &sent.fields, why };
                page(&sent.viewer, &room, &offered, "", Some(&refusal))
            });
            again.map(|html| html.into_response())
        }
    }
}

async fn make(app: &App, workspace: &Slug, sent: &Submitted) -> Result<metadata::Package> {
    let name: PackageName = sent.fields.parse("name")?;
    let repository: Slug = sent.fields.parse("repository")?;
    let (caller, action) = (sent.caller(), Action::CreatePackage);
    let access = app.registry.repository_for(caller, workspace, &repository, action).await?;
    app.registry.create_package(&access, &sent.change(), &name).await
}

/// The repositories that the viewer may create packages for.
async fn offered(app: &App, viewer: &Viewer, room: &Room) -> Result<Vec<Repository>> {
    let page = metadata::Page { after: None, limit: MOST_OFFERED };
    let all = app.registry.repositories(viewer.caller(), &room.workspace, page).await?;
    if room.is_admins() {
        return Ok(all);
    }
    let mut offered = Vec::new();
    for repository in all {
        if app.registry.role_on(viewer.caller(), &repository).await? == Some(Role::Admin) {
            offered.push(repository);
        }
    }
    Ok(offered)
}

fn page(
    viewer: &Viewer,
    room: &Room,
    offered: &[Repository],
    chosen: &str,
    refusal: Option<&Refusal<'_>>,
) -> Html {
    let slug = &room.workspace.slug;
    let host = viewer.host.as_deref().unwrap_or("<this server>");
    let choices = offered
        .iter()
        .map(|repository| (repository.fields.slug.to_string(), repository.fields.slug.to_string()));
    let form = Form {
        viewer,
        action: format!("/w/{slug}/create-package"),
        submit: "Create package",
        fields: vec![
            Field::text("name", "Name").required().hint(format!(
                "Lower-case letters, digits, and . _ - / between them, such as shop-api. The image is then called {host}/{slug}/<name>."
            )),
            Field::text("repository", "Repository").choice(choices).value(chosen).hint(
                "Who may read this repository may pull; who may write to it may push and delete tags.",
            ),
        ],
    };
    let content = html! {
        h1 { "Create package" }
        @if offered.is_empty() {
            (empty("There is no repository that you could link a package to", &html! {
                @if room.is_admins() {
                    p { a.button.main href={ "/w/" (slug) "/create-repository" } { "Create a repository first" } }
                } @else {
                    p { "Creating a package takes the role admin on a repository. Ask an administrator of the workspace for it, or to create the package." }
                }
            }))
        } @else { (form.show(refusal)) }
    };
    Page::in_workspace(viewer, "Create package", &room.workspace, room.is_admins(), Tab::Packages)
        .show(&content)
}
