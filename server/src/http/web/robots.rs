//! Robots: machine accounts of a workspace with their roles and tokens, for its administrators.
//!
//! Invariant: a token's secret is in one answer and nowhere else.

use super::error::{WebError, go};
use super::fields::{At, Fields};
use super::form::{Field, Form, Refusal, again, button, sure};
use super::page::{Html, Page, Tab};
use super::parts::{badge, empty, pager, time};
use super::profile::{last_used, new_token, shown_once, token_form, token_page, token_table};
use super::rights::step;
use super::storage::after;
use super::viewer::{Submitted, Viewer};
use crate::app::App;
use crate::auth::TokenView;
use crate::domain::{Role, Slug, Timestamp};
use crate::metadata::{self, Workspace};
use crate::registry::access::Administered;
use crate::registry::robots::{Robot, RobotChanges};
use crate::registry::{RegistryError, Result};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use std::sync::Arc;

/// How many robots a page lists; each brings the last use of its tokens.
const ROBOTS: usize = 25;
/// How many tokens of a robot are looked at for that.
const TOKENS: usize = 20;
/// How many repositories the form of a role offers.
const MOST_OFFERED: usize = 200;

/// The way to a robot in the address.
type Way = At<(Slug, Slug)>;

/// A robot in a list.
struct Row {
    robot: Robot,
    tokens: usize,
    last_used: Option<Timestamp>,
}

fn page<'a>(viewer: &'a Viewer, workspace: &'a Workspace, title: &'a str) -> Page<'a> {
    Page::in_workspace(viewer, title, workspace, true, Tab::Robots)
}

/// The robots.
pub(super) async fn list(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    At((slug,)): At<(Slug,)>,
    query: Fields,
) -> std::result::Result<Html, WebError> {
    let access = app.registry.workspace_admin(viewer.caller(), &slug).await?;
    Ok(list_page(&app, &viewer, &access, &query, None).await?)
}

async fn list_page(
    app: &App,
    viewer: &Viewer,
    access: &Administered<Workspace>,
    query: &Fields,
    refusal: Option<&Refusal<'_>>,
) -> Result<Html> {
    let workspace = access.subject();
    let base = format!("/w/{}/robots", workspace.slug);
    let wanted = metadata::Page { limit: ROBOTS + 1, ..token_page(query) };
    let mut robots = app.registry.robots(access, wanted).await?;
    let more = robots.len() > ROBOTS;
    robots.truncate(ROBOTS);
    let next = robots.last().filter(|_| more).map(|last| after(&base, last.name.as_str()));
    let rows = rows(app, viewer, &workspace.slug, robots).await?;
    let form = Form {
        viewer,
        action: base.clone(),
        submit: "Make robot",
        fields: vec![
            Field::text("name", "Name")
                .required()
                .hint("What it logs in as, such as deployer: lower-case letters, digits, and dashes between them."),
            Field::text("description", "What it is for").hint("For people, such as the machine it runs on."),
        ],
    };
    let content = html! {
        h1 { "Robots" }
        p { "A robot is an account for a machine that is no build: a deployment, a scanner, a mirror. It has the roles on repositories that you give it, and tokens of its own." }
        @if rows.is_empty() { (empty("There is no robot yet", &html! { p { "Make one below, then give it a role on a repository and a token." } })) }
        @else { (table(&base, &rows)) }
        (pager(query.some("after").map(|_| base.as_str()), next.as_deref()))
        h2 { "New robot" }
        (form.show(refusal))
    };
    Ok(page(viewer, workspace, "Robots").show(&content))
}

/// The robots with what their tokens say. One that was deleted meanwhile is left out.
async fn rows(
    app: &App,
    viewer: &Viewer,
    workspace: &Slug,
    robots: Vec<Robot>,
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for robot in robots {
        let access = match app.registry.robot_for(viewer.caller(), workspace, &robot.name).await {
            Ok(access) => access,
            Err(RegistryError::NotFound(_)) => continue,
            Err(error) => return Err(error),
        };
        let page = metadata::Page { after: None, limit: TOKENS };
        let tokens = app.auth.robot_tokens(&access, page).await?;
        let last_used = tokens.iter().filter_map(|token| token.last_used).max();
        rows.push(Row { robot, tokens: tokens.len(), last_used });
    }
    Ok(rows)
}

fn table(base: &str, rows: &[Row]) -> Markup {
    html! {
        table.list {
            thead { tr { th scope="col" { "Robot" } th scope="col" { "For" } th scope="col" { "Roles" } th scope="col" { "Tokens" } th scope="col" { "Last used" } } }
            tbody {
                @for Row { robot, tokens, last_used: used } in rows {
                    tr {
                        th scope="row" { a href={ (base) "/" (robot.name) } { (robot.name) } @if robot.disabled { " " (off()) } }
                        td data-label="For" { @if robot.description.is_empty() { span.quiet { "not said" } } @else { (robot.description) } }
                        td data-label="Roles" { @match robot.roles.len() { 0 => { span.quiet { "none yet" } } 1 => { "on 1 repository" } count => { "on " (count) " repositories" } } }
                        td data-label="Tokens" { @match *tokens { 0 => { span.quiet { "none yet" } } TOKENS => { (TOKENS) " or more" } count => { (count) } } }
                        td data-label="Last used" { (last_used(*used)) }
                    }
                }
            }
        }
    }
}

fn off() -> Markup {
    badge("bad", "switched off", "None of its tokens works")
}

/// Makes a robot.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    At((slug,)): At<(Slug,)>,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    let access = app.registry.workspace_admin(sent.caller(), &slug).await?;
    let made = async {
        let name: Slug = sent.fields.parse("name")?;
        let description = sent.fields.one("description").to_owned();
        app.registry.create_robot(&access, &sent.change(), &name, description).await
    };
    match made.await {
        Ok(robot) => Ok(go(&format!("/w/{slug}/robots/{}", robot.name))),
        Err(error) => refused(error.into(), &sent, async |refusal| {
            list_page(&app, &sent.viewer, &access, &Fields::default(), Some(refusal)).await
        })
        .await
        .map(|html| html.into_response()),
    }
}

/// A page again, with what was sent and why it was refused.
async fn refused(
    error: WebError,
    sent: &Submitted,
    page: impl AsyncFnOnce(&Refusal<'_>) -> Result<Html>,
) -> std::result::Result<Html, WebError> {
    let Some((_, why)) = error.words() else { return Err(error) };
    let html = page(&Refusal { sent: &sent.fields, why: &why }).await?;
    again(error, |_| html)
}

/// Which form of a robot's page was refused.
#[derive(Clone, Copy)]
enum Refused<'a> {
    Nothing,
    Description(&'a Refusal<'a>),
    Role(&'a Refusal<'a>),
    Token(&'a Refusal<'a>),
}

/// One robot.
pub(super) async fn show(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    At((slug, name)): Way,
    query: Fields,
) -> std::result::Result<Html, WebError> {
    let access = app.registry.robot_for(viewer.caller(), &slug, &name).await?;
    Ok(Shown::of(&app, &viewer, &slug, &access, query).await?.page(&viewer, Refused::Nothing))
}

/// Everything on a robot's page.
struct Shown {
    workspace: Workspace,
    robot: Robot,
    roles: Vec<(Slug, Role)>,
    tokens: Vec<TokenView>,
    offered: Vec<String>,
    query: Fields,
}

impl Shown {
    async fn of(
        app: &App,
        viewer: &Viewer,
        workspace: &Slug,
        access: &Administered<Robot>,
        query: Fields,
    ) -> Result<Self> {
        let within = app.registry.workspace_admin(viewer.caller(), workspace).await?;
        let robot = access.subject().clone();
        let all = metadata::Page { after: None, limit: MOST_OFFERED };
        let offered = app.registry.repositories(viewer.caller(), within.subject(), all).await?;
        Ok(Self {
            roles: app.registry.robot_roles(&robot).await?,
            tokens: app.auth.robot_tokens(access, token_page(&query)).await?,
            offered: offered.into_iter().map(|found| found.fields.slug.to_string()).collect(),
            workspace: within.subject().clone(),
            robot,
            query,
        })
    }

    fn page(self, viewer: &Viewer, refused: Refused<'_>) -> Html {
        let url = format!("/w/{}/robots/{}", self.workspace.slug, self.robot.name);
        let (mut description, mut role, mut token) = (None, None, None);
        match refused {
            Refused::Nothing => {}
            Refused::Description(refusal) => description = Some(refusal),
            Refused::Role(refusal) => role = Some(refusal),
            Refused::Token(refusal) => token = Some(refusal),
        }
        let tokens_url = format!("{url}/tokens");
        let content = html! {
            h1 { (self.robot.name) @if self.robot.disabled { " " (off()) } }
            @if !self.robot.description.is_empty() { p { (self.robot.description) } }
            p.quiet { "Made " (time(self.robot.created)) "." }
            h2 { "Roles" }
            (self.roles_table(viewer, &url))
            (self.role_form(viewer, &url, role))
            h2 { "Tokens" }
            (token_table(viewer, self.tokens, &self.query, &tokens_url))
            h3 { "New token" }
            (token_form(viewer, &tokens_url).show(token))
            h2 { "Robot" }
            (description_form(viewer, &url, &self.robot).show(description))
            (switches(viewer, &url, &self.robot))
        };
        let base = format!("/w/{}/robots", self.workspace.slug);
        page(viewer, &self.workspace, self.robot.name.as_str()).below("Robots", base).show(&content)
    }

    fn roles_table(&self, viewer: &Viewer, url: &str) -> Markup {
        html! {
            @if self.roles.is_empty() { (empty("It may do nothing yet", &html! { p { "Give it a role on a repository below." } })) }
            @else {
                table.list {
                    thead { tr { th scope="col" { "Repository" } th scope="col" { "Role" } th scope="col" { "Do" } } }
                    tbody {
                        @for (repository, role) in &self.roles {
                            tr {
                                th scope="row" { a href={ "/w/" (self.workspace.slug) "/repositories/" (repository) } { (repository) } }
                                td data-label="Role" { (role.as_str()) }
                                td.whole data-label="Do" { (sure(viewer, &format!("{url}/roles/{repository}/end"), "Remove", "From the next request on it has no role there.", &[])) }
                            }
                        }
                    }
                }
            }
        }
    }

    fn role_form(&self, viewer: &Viewer, url: &str, refusal: Option<&Refusal<'_>>) -> Markup {
        let form = Form {
            viewer,
            action: format!("{url}/roles"),
            submit: "Give the role",
            fields: vec![
                Field::text("repository", "Repository")
                    .choice(self.offered.iter().map(|slug| (slug.clone(), slug.clone()))),
                Field::text("role", "Role").choice([
                    ("read", "read: pulls"),
                    ("write", "write: also pushes and deletes tags"),
                    ("admin", "admin: also creates and deletes packages, and manages this"),
                ]),
            ],
        };
        html! {
            h3 { "Give or change a role" }
            @if self.offered.is_empty() {
                p { "There is no repository yet. " a href={ "/w/" (self.workspace.slug) "/create-repository" } { "Create one first" } }
            } @else { (form.show(refusal)) }
        }
    }
}

fn description_form<'a>(viewer: &'a Viewer, url: &str, robot: &Robot) -> Form<'a> {
    let field = Field::text("description", "What it is for").value(&robot.description);
    Form { viewer, action: url.to_owned(), submit: "Save", fields: vec![field] }
}

fn switches(viewer: &Viewer, url: &str, robot: &Robot) -> Markup {
    html! {
        div.actions {
            @if robot.disabled { (button(viewer, url, "", "Switch on", &[("disabled", "no")])) }
            @else { (sure(viewer, url, "Switch off", "None of its tokens works until it is switched on again.", &[("disabled", "yes")])) }
            (sure(viewer, &format!("{url}/delete"), "Delete robot", "It goes with its roles, and its tokens work no more. A robot that is made later under the same name has none of them.", &[]))
        }
    }
}

/// Changes what it is for, or switches it on or off.
pub(super) async fn change(
    State(app): State<Arc<App>>,
    At((slug, name)): Way,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    let access = app.registry.robot_for(sent.caller(), &slug, &name).await?;
    let disabled = sent.fields.some("disabled").map(|text| text == "yes");
    let description = disabled.is_none().then(|| sent.fields.one("description").to_owned());
    let changes = RobotChanges { description, disabled };
    match app.registry.change_robot(&access, &sent.change(), changes).await {
        Ok(_) => Ok(go(&format!("/w/{slug}/robots/{name}"))),
        Err(error) => refused(error.into(), &sent, async |refusal| {
            let shown = Shown::of(&app, &sent.viewer, &slug, &access, Fields::default()).await?;
            Ok(shown.page(&sent.viewer, Refused::Description(refusal)))
        })
        .await
        .map(|html| html.into_response()),
    }
}

/// Ends a robot.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    At((slug, name)): Way,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    let access = app.registry.robot_for(sent.caller(), &slug, &name).await?;
    match app.registry.delete_robot(&access, &sent.change()).await {
        Ok(()) | Err(RegistryError::NotFound(_)) => Ok(go(&format!("/w/{slug}/robots"))),
        Err(error) => Err(error.into()),
    }
}

/// Gives it a role.
pub(super) async fn give_role(
    State(app): State<Arc<App>>,
    At((slug, name)): Way,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    let access = app.registry.robot_for(sent.caller(), &slug, &name).await?;
    let given = async {
        let repository: Slug = sent.fields.parse("repository")?;
        let role: Role = sent.fields.parse("role")?;
        app.registry.set_robot_role(&access, &sent.change(), &repository, Some(role)).await
    };
    match given.await {
        Ok(_) => Ok(go(&format!("/w/{slug}/robots/{name}"))),
        Err(error) => refused(error.into(), &sent, async |refusal| {
            let shown = Shown::of(&app, &sent.viewer, &slug, &access, Fields::default()).await?;
            Ok(shown.page(&sent.viewer, Refused::Role(refusal)))
        })
        .await
        .map(|html| html.into_response()),
    }
}

/// Takes a role away.
pub(super) async fn end_role(
    State(app): State<Arc<App>>,
    At((slug, name, repository)): At<(Slug, Slug, Slug)>,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    let access = app.registry.robot_for(sent.caller(), &slug, &name).await?;
    match app.registry.set_robot_role(&access, &sent.change(), &repository, None).await {
        Ok(_) | Err(RegistryError::NotFound(_)) => Ok(go(&format!("/w/{slug}/robots/{name}"))),
        Err(error) => Err(error.into()),
    }
}

/// Makes a token of it and shows it, once.
pub(super) async fn create_token(
    State(app): State<Arc<App>>,
    At((slug, name)): Way,
    sent: Submitted,
) -> std::result::Result<Html, WebError> {
    let access = app.registry.robot_for(sent.caller(), &slug, &name).await?;
    let made = match new_token(&sent.fields) {
        Ok(new) => app.auth.create_robot_token(&access, &sent.change(), new).await,
        Err(error) => Err(error),
    };
    match made {
        Ok((view, secret)) => {
            let within = app.registry.workspace_admin(sent.caller(), &slug).await?;
            let step = step(&sent.viewer, &slug, name.as_str());
            let shown = shown_once(&sent.viewer, &view, &secret, name.as_str(), Some(&step));
            let base = format!("/w/{slug}/robots");
            Ok(page(&sent.viewer, within.subject(), "New token")
                .below("Robots", &base)
                .below(&name, format!("{base}/{name}"))
                .show(&shown))
        }
        Err(error) => {
            refused(error.into(), &sent, async |refusal| {
                let shown =
                    Shown::of(&app, &sent.viewer, &slug, &access, Fields::default()).await?;
                Ok(shown.page(&sent.viewer, Refused::Token(refusal)))
            })
            .await
        }
    }
}

/// Ends a token of it.
pub(super) async fn end_token(
    State(app): State<Arc<App>>,
    At((slug, name, id)): At<(Slug, Slug, String)>,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    let access = app.registry.robot_for(sent.caller(), &slug, &name).await?;
    match app.auth.revoke_robot_token(&access, &sent.change(), &id).await {
        Ok(()) | Err(RegistryError::NotFound(_)) => Ok(go(&format!("/w/{slug}/robots/{name}"))),
        Err(error) => Err(error.into()),
    }
}
