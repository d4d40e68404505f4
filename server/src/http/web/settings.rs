//! Settings of a workspace: its name, what happens on a push, how long things are held, who
//! administers it; and its projects and repositories.

use super::error::{WebError, go};
use super::fields::{At, Fields};
use super::form::{Field, Form, Kind, Refusal, again, sure};
use super::page::{Html, Page, Tab};
use super::parts::empty;
use super::viewer::{Submitted, Viewer};
use crate::app::App;
use crate::domain::{ProjectKey, Slug, Username, Visibility};
use crate::metadata::{self, RepositoryFields, Workspace};
use crate::registry::access::Administered;
use crate::registry::projects::Project;
use crate::registry::{RegistryError, Result};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use std::sync::Arc;
use std::time::Duration;

/// How many administrators and projects are listed.
const MOST_LISTED: usize = 200;
const LONGEST_NAME: usize = 100;
/// The longest time that can be set, in hours: a hundred years.
const MOST_HOURS: u64 = 24 * 366 * 100;

/// A display name: what was given, else another one.
pub(super) fn display_name(fields: &Fields, otherwise: &str) -> Result<String> {
    let name = fields.some("name").unwrap_or(otherwise);
    if name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
        let reason = format!("at most {LONGEST_NAME} characters, without control characters");
        return Err(RegistryError::Invalid { field: "name", reason });
    }
    Ok(name.to_owned())
}

/// The page.
pub(super) async fn show(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    At((slug,)): At<(Slug,)>,
) -> std::result::Result<Html, WebError> {
    let access = app.registry.workspace_admin(viewer.caller(), &slug).await?;
    let admins = admins(&app, &access).await?;
    Ok(page(&viewer, access.subject(), &admins, None))
}

async fn admins(app: &App, access: &Administered<Workspace>) -> Result<Vec<String>> {
    let page = metadata::Page { after: None, limit: MOST_LISTED };
    let roles = app.registry.workspace_roles(access, page).await?;
    Ok(roles.into_iter().map(|(user, _)| user).collect())
}

fn page(
    viewer: &Viewer,
    workspace: &Workspace,
    admins: &[String],
    refusal: Option<&Refusal<'_>>,
) -> Html {
    let base = format!("/w/{}", workspace.slug);
    let content = html! {
        h1 { "Settings" }
        div.columns {
            section { h2 { "Workspace" } (settings_form(viewer, workspace).show(refusal)) }
            section {
                h2 { "Administrators" }
                p { "They may do everything in this workspace. People who only pull or push get a role on a repository instead." }
                (admin_table(viewer, &base, admins))
                (Form {
                    viewer,
                    action: format!("{base}/settings/administrators"),
                    submit: "Make administrator",
                    fields: vec![Field::text("username", "User name").required()],
                }.show(None))
            }
        }
    };
    Page::in_workspace(viewer, "Settings", workspace, true, Tab::Settings).show(&content)
}

fn admin_table(viewer: &Viewer, base: &str, admins: &[String]) -> Markup {
    html! {
        @if admins.is_empty() { (empty("Nobody but the administrators of the instance", &html! {})) }
        @else {
            table.list {
                thead { tr { th scope="col" { "User" } th scope="col" { "Do" } } }
                tbody {
                    @for user in admins {
                        tr {
                            th scope="row" { (user) }
                            td.whole data-label="Do" { (sure(viewer, &format!("{base}/settings/administrators/{user}/end"), "Remove", "They keep the roles that they have on repositories.", &[])) }
                        }
                    }
                }
            }
        }
    }
}

fn settings_form<'a>(viewer: &'a Viewer, workspace: &Workspace) -> Form<'a> {
    let settings = &workspace.settings;
    let hours = |time: Duration| (time.as_secs() as f64 / 3600.0).to_string();
    let default = settings.default_repository.as_ref().map(ToString::to_string);
    let cap = settings.keep_bytes.map(|bytes| bytes.to_string());
    Form {
        viewer,
        action: format!("/w/{}/settings", workspace.slug),
        submit: "Save",
        fields: vec![
            Field::text("name", "Display name").value(&workspace.name).required(),
            Field::text("create_on_push", "A push creates its package")
                .choice([
                    ("never", "Never; packages are created here"),
                    ("admins", "For admins of the repository"),
                    ("writers", "For everybody who may write"),
                ])
                .value(settings.create_on_push.as_str()),
            Field::text("default_repository", "Repository of such a package")
                .value(default.unwrap_or_default())
                .hint(
                    "Used when no repository is called like the first part of the package's name.",
                ),
            Field::text("keep", "Hours for which what was released can be put back")
                .value(hours(settings.keep))
                .required()
                .hint("168 hours are a week. 0 for not at all."),
            Field::text("keep_bytes", "Most bytes held for that")
                .kind(Kind::Number)
                .value(cap.unwrap_or_default())
                .hint("The oldest go first beyond it. Empty for no limit."),
            Field::text("lease", "Hours for which a push may pause")
                .value(hours(settings.lease))
                .required(),
            Field::text("purge", "Hours until a file is removed")
                .value(hours(settings.purge))
                .required(),
            Field::text("sparse_indexes", "An index may name images that are not in the package")
                .kind(Kind::Tick)
                .value(if settings.sparse_indexes { "yes" } else { "" }),
        ],
    }
}

/// Changes the settings.
pub(super) async fn change(
    State(app): State<Arc<App>>,
    At((slug,)): At<(Slug,)>,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    let access = app.registry.workspace_admin(sent.caller(), &slug).await?;
    match apply(&app, &access, &sent).await {
        Ok(()) => Ok(go(&format!("/w/{slug}/settings"))),
        Err(error) => {
            let admins = admins(&app, &access).await?;
            let again = again(error.into(), |why| {
                let refusal = Refusal { sent: &sent.fields, why };
                page(&sent.viewer, access.subject(), &admins, Some(&refusal))
            });
            again.map(|html| html.into_response())
        }
    }
}

async fn apply(app: &App, access: &Administered<Workspace>, sent: &Submitted) -> Result<()> {
    let fields = &sent.fields;
    let name = display_name(fields, access.subject().slug.as_str())?;
    let mut settings = access.subject().settings.clone();
    settings.create_on_push = fields.parse("create_on_push")?;
    settings.default_repository = fields.parse_some("default_repository")?;
    settings.keep = hours(fields, "keep")?;
    settings.lease = hours(fields, "lease")?;
    settings.purge = hours(fields, "purge")?;
    settings.keep_bytes = fields.parse_some("keep_bytes")?;
    settings.sparse_indexes = fields.is_ticked("sparse_indexes");
    let short = app.http.short_delays;
    app.registry.update_workspace(access, &sent.change(), name, settings, short).await?;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a bound far below where it matters")]
fn hours(fields: &Fields, name: &'static str) -> Result<Duration> {
    let hours: f64 = fields.parse(name)?;
    if !(0.0..=MOST_HOURS as f64).contains(&hours) {
        let reason = "a number of hours, such as 24 or 0.5".to_owned();
        return Err(RegistryError::Invalid { field: name, reason });
    }
    Ok(Duration::from_secs_f64((hours * 3600.0).round()))
}

/// Makes somebody an administrator of the workspace.
pub(super) async fn add_admin(
    State(app): State<Arc<App>>,
    At((slug,)): At<(Slug,)>,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    let access = app.registry.workspace_admin(sent.caller(), &slug).await?;
    let user: Username = sent.fields.parse("username")?;
    let outcome = app.registry.set_workspace_admin(&access, &sent.change(), &user, true).await;
    settled(outcome, &user)?;
    Ok(go(&format!("/w/{slug}/settings")))
}

/// A user who is not there is told about in words, because an administrator may know.
pub(super) fn settled(outcome: Result<()>, user: &Username) -> Result<()> {
    match outcome {
        Err(RegistryError::NotFound(_)) => {
            let reason =
                format!("there is no user {user}; an administrator of the instance makes accounts");
            Err(RegistryError::Invalid { field: "username", reason })
        }
        other => other,
    }
}

/// Takes that away.
pub(super) async fn remove_admin(
    State(app): State<Arc<App>>,
    At((slug, user)): At<(Slug, Username)>,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    let access = app.registry.workspace_admin(sent.caller(), &slug).await?;
    match app.registry.set_workspace_admin(&access, &sent.change(), &user, false).await {
        Ok(()) | Err(RegistryError::NotFound(_)) => Ok(go(&format!("/w/{slug}/settings"))),
        Err(error) => Err(error.into()),
    }
}

/// The form of a new project.
pub(super) async fn project_form(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    At((slug,)): At<(Slug,)>,
) -> std::result::Result<Html, WebError> {
    let access = app.registry.workspace_admin(viewer.caller(), &slug).await?;
    Ok(project_page(&viewer, access.subject(), None))
}

/// Creates a project.
pub(super) async fn create_project(
    State(app): State<Arc<App>>,
    At((slug,)): At<(Slug,)>,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    let access = app.registry.workspace_admin(sent.caller(), &slug).await?;
    let made = async {
        let key: ProjectKey = sent.fields.parse("key")?;
        let name = display_name(&sent.fields, key.as_str())?;
        app.registry.create_project(&access, &sent.change(), &key, name).await
    };
    match made.await {
        Ok(_) => Ok(go(&format!("/w/{slug}/repositories"))),
        Err(error) => {
            let again = again(error.into(), |why| {
                let refusal = Refusal { sent: &sent.fields, why };
                project_page(&sent.viewer, access.subject(), Some(&refusal))
            });
            again.map(|html| html.into_response())
        }
    }
}

fn project_page(viewer: &Viewer, workspace: &Workspace, refusal: Option<&Refusal<'_>>) -> Html {
    let form = Form {
        viewer,
        action: format!("/w/{}/create-project", workspace.slug),
        submit: "Create project",
        fields: vec![
            Field::text("key", "Key")
                .required()
                .hint("As in Bitbucket: upper-case letters, digits and _, such as WEB."),
            Field::text("name", "Display name").hint("The key unless given."),
        ],
    };
    let content = html! { h1 { "Create project" } p { "A project groups repositories and carries no rights." } (form.show(refusal)) };
    Page::in_workspace(viewer, "Create project", workspace, true, Tab::Repositories).show(&content)
}

/// The form of a new repository.
pub(super) async fn repository_form(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    At((slug,)): At<(Slug,)>,
) -> std::result::Result<Html, WebError> {
    let access = app.registry.workspace_admin(viewer.caller(), &slug).await?;
    let projects = projects(&app, access.subject()).await?;
    Ok(repository_page(&viewer, access.subject(), &projects, None))
}

/// Creates a repository.
pub(super) async fn create_repository(
    State(app): State<Arc<App>>,
    At((slug,)): At<(Slug,)>,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    let access = app.registry.workspace_admin(sent.caller(), &slug).await?;
    let made = async {
        let fields = repository_fields(&sent.fields)?;
        app.registry.create_repository(&access, &sent.change(), fields).await
    };
    match made.await {
        Ok(made) => Ok(go(&format!("/w/{slug}/repositories/{}", made.fields.slug))),
        Err(error) => {
            let projects = projects(&app, access.subject()).await?;
            let again = again(error.into(), |why| {
                let refusal = Refusal { sent: &sent.fields, why };
                repository_page(&sent.viewer, access.subject(), &projects, Some(&refusal))
            });
            again.map(|html| html.into_response())
        }
    }
}

/// The projects of a workspace.
pub(super) async fn projects(app: &App, workspace: &Workspace) -> Result<Vec<Project>> {
    let page = metadata::Page { after: None, limit: MOST_LISTED };
    app.registry.projects(workspace, page).await
}

/// What a form says about a repository.
pub(super) fn repository_fields(fields: &Fields) -> Result<RepositoryFields> {
    let slug: Slug = fields.parse("slug")?;
    let visibility: Visibility = fields.parse("visibility")?;
    let name = display_name(fields, slug.as_str())?;
    Ok(RepositoryFields { slug, name, project: fields.parse_some("project")?, visibility })
}

/// The fields of a repository's form.
pub(super) fn repository_inputs(
    projects: &[Project],
    now: Option<&RepositoryFields>,
) -> Vec<Field> {
    let none = (String::new(), "None".to_owned());
    let all = projects.iter().map(|project| (project.key.clone(), project.name.clone()));
    let project = now.and_then(|now| now.project.as_ref()).map(ToString::to_string);
    let visibility = now.map_or(Visibility::Private, |now| now.visibility);
    vec![
        Field::text("slug", "Short name")
            .required()
            .value(now.map(|now| now.slug.to_string()).unwrap_or_default())
            .hint("As the source repository is called in Bitbucket's addresses."),
        Field::text("name", "Display name")
            .value(now.map(|now| now.name.clone()).unwrap_or_default()),
        Field::text("project", "Project")
            .choice(std::iter::once(none).chain(all))
            .value(project.unwrap_or_default()),
        Field::text("visibility", "Who may pull")
            .choice([
                ("private", "People and builds with a role"),
                ("public", "Everybody, without signing in"),
            ])
            .value(visibility.as_str()),
    ]
}

fn repository_page(
    viewer: &Viewer,
    workspace: &Workspace,
    projects: &[Project],
    refusal: Option<&Refusal<'_>>,
) -> Html {
    let form = Form {
        viewer,
        action: format!("/w/{}/create-repository", workspace.slug),
        submit: "Create repository",
        fields: repository_inputs(projects, None),
    };
    let content = html! { h1 { "Create repository" } p { "It says who may pull and push the images of the packages that are linked to it." } (form.show(refusal)) };
    Page::in_workspace(viewer, "Create repository", workspace, true, Tab::Repositories)
        .show(&content)
}
