//! What an administrator of a repository does: permissions, pipeline tokens, its own fields.

use super::error::{WebError, go};
use super::fields::{At, Fields};
use super::form::{Field, Form, Refusal, again, sure};
use super::page::Html;
use super::parts::{empty, pager};
use super::profile::{new_token, shown_once, token_form, token_page, token_table};
use super::repository::Opened;
use super::settings::{projects, repository_fields, repository_inputs, settled};
use super::viewer::{Submitted, Viewer};
use super::{PAGE, storage};
use crate::app::App;
use crate::auth::TokenView;
use crate::domain::{Action, Role, Slug, Username};
use crate::metadata::Repository;
use crate::registry::access::Administered;
use crate::registry::{RegistryError, Result};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use std::sync::Arc;

/// The way to a repository in the address.
type Way = At<(Slug, Slug)>;

async fn managed(
    app: &App,
    viewer: &Viewer,
    workspace: &Slug,
    slug: &Slug,
) -> Result<(Opened, Administered<Repository>)> {
    let opened = Opened::of(app, viewer, workspace, slug).await?;
    let action = Action::Manage;
    let access = app.registry.repository_for(viewer.caller(), workspace, slug, action).await?;
    Ok((opened, access))
}

/// A page of the repository with the links to its others.
pub(super) fn frame(viewer: &Viewer, opened: &Opened, title: &str, content: &Markup) -> Html {
    let content = html! {
        h1 { (opened.slug()) " " span.quiet { (title) } }
        (opened.links())
        (content)
    };
    opened.page(viewer, title).below(opened.slug(), opened.url()).show(&content)
}

/// Who has which role.
pub(super) async fn permissions(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    At((workspace, slug)): Way,
    query: Fields,
) -> std::result::Result<Html, WebError> {
    let (opened, access) = managed(&app, &viewer, &workspace, &slug).await?;
    let roles = app.registry.roles(&access, token_page(&query)).await?;
    Ok(permissions_page(&viewer, &opened, roles, &query, None))
}

fn permissions_page(
    viewer: &Viewer,
    opened: &Opened,
    mut roles: Vec<(String, Role)>,
    query: &Fields,
    refusal: Option<&Refusal<'_>>,
) -> Html {
    let base = format!("{}/permissions", opened.url());
    let more = roles.len() > PAGE;
    roles.truncate(PAGE);
    let next = roles.last().filter(|_| more).map(|(last, _)| storage::after(&base, last));
    let form = Form {
        viewer,
        action: base.clone(),
        submit: "Give the role",
        fields: vec![
            Field::text("username", "User name").required(),
            Field::text("role", "Role").choice([
                ("read", "read: pulls"),
                ("write", "write: also pushes and deletes tags"),
                ("admin", "admin: also creates and deletes packages, and manages this"),
            ]),
        ],
    };
    let content = html! {
        @if roles.is_empty() { (empty("Nobody has a role here yet", &html! { p { "Administrators of the workspace may do everything anyway. Give the first role below." } })) }
        @else {
            table.list {
                thead { tr { th scope="col" { "User" } th scope="col" { "Role" } th scope="col" { "Do" } } }
                tbody {
                    @for (user, role) in &roles {
                        tr {
                            th scope="row" { (user) }
                            td data-label="Role" { (role.as_str()) }
                            td.whole data-label="Do" { (sure(viewer, &format!("{base}/{user}/end"), "Remove", "From the next request on they have no role here.", &[])) }
                        }
                    }
                }
            }
        }
        (pager(query.some("after").map(|_| base.as_str()), next.as_deref()))
        h2 { "Give or change a role" }
        (form.show(refusal))
    };
    frame(viewer, opened, "Permissions", &content)
}

/// Gives a role.
pub(super) async fn permit(
    State(app): State<Arc<App>>,
    At((workspace, slug)): Way,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    let (opened, access) = managed(&app, &sent.viewer, &workspace, &slug).await?;
    let given = async {
        let user: Username = sent.fields.parse("username")?;
        let role: Role = sent.fields.parse("role")?;
        settled(app.registry.set_role(&access, &sent.change(), &user, Some(role)).await, &user)
    };
    if let Err(error) = given.await {
        let query = Fields::default();
        let roles = app.registry.roles(&access, token_page(&query)).await?;
        let again = again(error.into(), |why| {
            let refusal = Refusal { sent: &sent.fields, why };
            permissions_page(&sent.viewer, &opened, roles, &query, Some(&refusal))
        });
        return again.map(|html| html.into_response());
    }
    Ok(go(&format!("{}/permissions", opened.url())))
}

/// Takes a role away.
pub(super) async fn forbid(
    State(app): State<Arc<App>>,
    At((workspace, slug, user)): At<(Slug, Slug, Username)>,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    let (opened, access) = managed(&app, &sent.viewer, &workspace, &slug).await?;
    match app.registry.set_role(&access, &sent.change(), &user, None).await {
        Ok(()) | Err(RegistryError::NotFound(_)) => {
            Ok(go(&format!("{}/permissions", opened.url())))
        }
        Err(error) => Err(error.into()),
    }
}

/// Pipeline tokens.
pub(super) async fn tokens(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    At((workspace, slug)): Way,
    query: Fields,
) -> std::result::Result<Html, WebError> {
    let (opened, access) = managed(&app, &viewer, &workspace, &slug).await?;
    let found = app.auth.pipeline_tokens(&access, token_page(&query)).await?;
    Ok(tokens_page(&viewer, &opened, found, &query, None))
}

fn tokens_page(
    viewer: &Viewer,
    opened: &Opened,
    found: Vec<TokenView>,
    query: &Fields,
    refusal: Option<&Refusal<'_>>,
) -> Html {
    let base = format!("{}/tokens", opened.url());
    let content = html! {
        p { "A pipeline token acts as this repository with the role write, whoever started the build." }
        (token_table(viewer, found, query, &base))
        h2 { "New token" }
        (token_form(viewer, &base).show(refusal))
    };
    frame(viewer, opened, "Pipeline tokens", &content)
}

/// Makes a pipeline token and shows it, once.
pub(super) async fn create_token(
    State(app): State<Arc<App>>,
    At((workspace, slug)): Way,
    sent: Submitted,
) -> std::result::Result<Html, WebError> {
    let (opened, access) = managed(&app, &sent.viewer, &workspace, &slug).await?;
    let made = match new_token(&sent.fields) {
        Ok(new) => app.auth.create_pipeline_token(&access, &sent.change(), new).await,
        Err(error) => Err(error),
    };
    match made {
        Ok((view, secret)) => {
            let step = step(&sent.viewer, &workspace, "pipeline");
            let shown = shown_once(&sent.viewer, &view, &secret, "pipeline", Some(&step));
            Ok(opened.page(&sent.viewer, "New token").show(&shown))
        }
        Err(error) => {
            let query = Fields::default();
            let found = app.auth.pipeline_tokens(&access, token_page(&query)).await?;
            again(error.into(), |why| {
                let refusal = Refusal { sent: &sent.fields, why };
                tokens_page(&sent.viewer, &opened, found, &query, Some(&refusal))
            })
        }
    }
}

/// The lines of a pipeline that push with a stored token.
pub(super) fn step(viewer: &Viewer, workspace: &Slug, username: &str) -> String {
    let host = viewer.host.as_deref().unwrap_or("<this server>");
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "- pipe: your-workspace/standpipe-pipe:{version}\n  variables:\n    IMAGE_NAME: my-image\n    REGISTRY: {host}\n    WORKSPACE: {workspace}\n    USERNAME: {username}\n    PASSWORD: $REGISTRY_TOKEN"
    )
}

/// Ends a pipeline token.
pub(super) async fn end_token(
    State(app): State<Arc<App>>,
    At((workspace, slug, id)): At<(Slug, Slug, String)>,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    let (opened, access) = managed(&app, &sent.viewer, &workspace, &slug).await?;
    match app.auth.revoke_pipeline_token(&access, &sent.change(), &id).await {
        Ok(()) | Err(RegistryError::NotFound(_)) => Ok(go(&format!("{}/tokens", opened.url()))),
        Err(error) => Err(error.into()),
    }
}

/// The repository's own fields.
pub(super) async fn fields(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    At((workspace, slug)): Way,
) -> std::result::Result<Html, WebError> {
    app.registry.workspace_admin(viewer.caller(), &workspace).await?;
    let (opened, _) = managed(&app, &viewer, &workspace, &slug).await?;
    fields_page(&app, &viewer, &opened, None).await.map_err(WebError::from)
}

async fn fields_page(
    app: &App,
    viewer: &Viewer,
    opened: &Opened,
    refusal: Option<&Refusal<'_>>,
) -> Result<Html> {
    let projects = projects(app, &opened.room.workspace).await?;
    let form = Form {
        viewer,
        action: format!("{}/settings", opened.url()),
        submit: "Save",
        fields: repository_inputs(&projects, Some(&opened.access.subject().fields)),
    };
    let content = html! {
        (form.show(refusal))
        h2 { "Delete" }
        p { "A repository can be deleted when no package is linked to it any more." }
        (sure(viewer, &format!("{}/delete", opened.url()), "Delete repository", "Its permissions and pipeline tokens go with it.", &[]))
    };
    Ok(frame(viewer, opened, "Settings", &content))
}

/// Changes them.
pub(super) async fn change_fields(
    State(app): State<Arc<App>>,
    At((workspace, slug)): Way,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    app.registry.workspace_admin(sent.caller(), &workspace).await?;
    let (opened, access) = managed(&app, &sent.viewer, &workspace, &slug).await?;
    let changed = match repository_fields(&sent.fields) {
        Ok(fields) => app.registry.update_repository(&access, &sent.change(), fields).await,
        Err(error) => Err(error),
    };
    match changed {
        Ok(found) => Ok(go(&format!("/w/{workspace}/repositories/{}", found.fields.slug))),
        Err(error) => match WebError::from(error).words() {
            Some((status, why)) => {
                let refusal = Refusal { sent: &sent.fields, why: &why };
                let page = fields_page(&app, &sent.viewer, &opened, Some(&refusal)).await?;
                Ok(page.with(status).into_response())
            }
            None => Err(WebError::not_found()),
        },
    }
}

/// Deletes a repository.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    At((workspace, slug)): Way,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    app.registry.workspace_admin(sent.caller(), &workspace).await?;
    let (_, access) = managed(&app, &sent.viewer, &workspace, &slug).await?;
    app.registry.delete_repository(&access, &sent.change()).await?;
    Ok(go(&format!("/w/{workspace}/repositories")))
}
