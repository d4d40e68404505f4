//! The instance: workspaces, storage, health; for its administrators.

use super::error::{WebError, go};
use super::fields::Fields;
use super::form::{Field, Form, Refusal, again};
use super::page::{Html, Page, Tab};
use super::parts::{badge, bytes, empty, grouped, notice, pager, span, time};
use super::viewer::{Submitted, Viewer};
use super::{PAGE, form, storage};
use crate::app::App;
use crate::domain::{Timestamp, WorkspaceSettings};
use crate::metadata::{self, Backlog, NewWorkspace, Workspace, WorkspaceUsage};
use crate::registry::Result;
use crate::registry::verify::{Verification, VerifyOptions};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use std::sync::Arc;

/// How many findings of a verification are shown.
const MOST_FINDINGS: usize = 50;

/// All workspaces with what they use.
pub(super) async fn workspaces(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    query: Fields,
) -> std::result::Result<Html, WebError> {
    app.registry.instance_admin(viewer.caller()).await?;
    let (found, more) = used(&app, &viewer, &query).await?;
    let content = html! {
        div.head { h1 { "Workspaces" } a.button href="/instance/create-workspace" { "Create workspace" } }
        @if found.is_empty() {
            (empty("There is no workspace yet", &html! { p { a.button.main href="/instance/create-workspace" { "Create the first workspace" } } }))
        } @else { (usage_table(&found)) }
        (list_pager("/instance", &query, &found, more))
    };
    Ok(Page::of_instance(&viewer, "Workspaces", Tab::Workspaces).show(&content))
}

async fn used(
    app: &App,
    viewer: &Viewer,
    query: &Fields,
) -> Result<(Vec<(Workspace, WorkspaceUsage)>, bool)> {
    let page = metadata::Page { after: query.some("after").map(str::to_owned), limit: PAGE + 1 };
    let mut found = app.registry.workspaces(viewer.caller(), page).await?;
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    let mut used = Vec::new();
    for workspace in found {
        let usage = app.registry.workspace_usage(&workspace).await?;
        used.push((workspace, usage));
    }
    Ok((used, more))
}

fn list_pager(
    base: &str,
    query: &Fields,
    found: &[(Workspace, WorkspaceUsage)],
    more: bool,
) -> Markup {
    let next =
        found.last().filter(|_| more).map(|(last, _)| storage::after(base, last.slug.as_str()));
    pager(query.some("after").map(|_| base), next.as_deref())
}

fn usage_table(found: &[(Workspace, WorkspaceUsage)]) -> Markup {
    html! {
        table.list {
            thead { tr { th scope="col" { "Workspace" } th scope="col" { "Name" } th.right scope="col" { "Stored" } th.right scope="col" { "On its way out" } th scope="col" { "More" } } }
            tbody {
                @for (workspace, usage) in found {
                    tr {
                        th scope="row" { a href={ "/w/" (workspace.slug) } { (workspace.slug) } }
                        td data-label="Name" { (workspace.name) }
                        td.right data-label="Stored" { (bytes(usage.blob_bytes + usage.manifest_bytes)) }
                        td.right data-label="On its way out" { (bytes(usage.doomed_bytes)) }
                        td data-label="More" { a href={ "/w/" (workspace.slug) "/storage" } aria-label={ "Storage of " (workspace.slug) } { "Storage" } }
                    }
                }
            }
        }
    }
}

/// The form of a new workspace.
pub(super) async fn workspace_form(
    viewer: Viewer,
    State(app): State<Arc<App>>,
) -> std::result::Result<Html, WebError> {
    app.registry.instance_admin(viewer.caller()).await?;
    Ok(workspace_page(&viewer, None))
}

/// Creates a workspace.
pub(super) async fn create_workspace(
    State(app): State<Arc<App>>,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    let made = async {
        let proof = app.registry.instance_admin(sent.caller()).await?;
        let slug: crate::domain::Slug = sent.fields.parse("slug")?;
        let name = super::settings::display_name(&sent.fields, slug.as_str())?;
        let new = NewWorkspace { slug, name, settings: WorkspaceSettings::default() };
        app.registry.create_workspace(proof, &sent.change(), new).await
    };
    match made.await {
        Ok(workspace) => Ok(go(&format!("/w/{}/repositories", workspace.slug))),
        Err(error) => {
            let again = again(error.into(), |why| {
                workspace_page(&sent.viewer, Some(&Refusal { sent: &sent.fields, why }))
            });
            again.map(|html| html.into_response())
        }
    }
}

fn workspace_page(viewer: &Viewer, refusal: Option<&Refusal<'_>>) -> Html {
    let form = Form {
        viewer,
        action: "/instance/create-workspace".to_owned(),
        submit: "Create workspace",
        fields: vec![
            Field::text("slug", "Short name").required().hint("As in Bitbucket's addresses, such as acme. It is the first part of image names and stays for ever."),
            Field::text("name", "Display name").hint("The short name unless given."),
        ],
    };
    let content = html! { h1 { "Create workspace" } (form.show(refusal)) };
    Page::of_instance(viewer, "Create workspace", Tab::Workspaces).show(&content)
}

/// The disk, what is due, the last verification, all uploads.
pub(super) async fn storage_page(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    query: Fields,
) -> std::result::Result<Html, WebError> {
    let proof = app.registry.instance_admin(viewer.caller()).await?;
    let running = app.registry.is_verifying();
    let last = app.registry.verification(proof).await?;
    let uploads = app.registry.all_running_uploads(proof).await?;
    let backlog = app.registry.backlog().await?;
    let (found, more) = used(&app, &viewer, &query).await?;
    let content = html! {
        h1 { "Storage" }
        dl.cards {
            @if let Some(space) = app.registry.space() {
                div { dt { "Free on the disk" } dd { (bytes(space.free)) small { "of " (bytes(space.total)) } } }
            }
            (behind(&backlog))
        }
        h2 { "Workspaces" }
        (usage_table(&found))
        (list_pager("/instance/storage", &query, &found, more))
        h2 { "Running uploads" }
        @if uploads.is_empty() { p.quiet { "Nothing is being uploaded." } } @else { (storage::uploads_table(&uploads, &|_| None)) }
        (verification(&viewer, last.as_ref(), running))
    };
    Ok(Page::of_instance(&viewer, "Storage", Tab::Storage).show(&content))
}

fn behind(backlog: &Backlog) -> Markup {
    html! {
        div { dt { "Due now" } dd { (grouped(backlog.due)) small { @match backlog.oldest { Some(at) => { "oldest: " (time(at)) } None => { "collection is up to date" } } } } }
        div { dt { "Files to remove now" } dd { (grouped(backlog.doomed)) small {
            @match backlog.pinned_until { Some(until) => { "held by a backup; that ends " (time(until)) } None => { "no backup holds them" } }
        } } }
    }
}

fn verification(viewer: &Viewer, last: Option<&Verification>, running: bool) -> Markup {
    html! {
        h2 { "Verification" }
        p { "Reads every blob and compares it with its digest, and every record with every other. It runs beside the service." }
        @match last {
            None => { p.quiet { "None has run yet." } }
            Some(run) => {
                @let good = run.wrong == 0 && run.failure.is_none();
                (notice(if good { "good" } else { "bad" }, &html! {
                    p {
                        @if running { "It runs since " (time(Timestamp(run.started))) ". " }
                        @else if let Some(at) = run.finished { "It ended " (time(Timestamp(at))) ". " }
                        @else { "It was cut off. " }
                        (grouped(run.objects)) " blobs, " (bytes(run.bytes)) ": "
                        @if run.wrong == 0 { "nothing is wrong." } @else { strong { (grouped(run.wrong)) " things are wrong." } }
                    }
                    @if let Some(why) = &run.failure { p { "It could not go on: " (why) } }
                }))
                @if !run.findings.is_empty() {
                    ul { @for finding in run.findings.iter().take(MOST_FINDINGS) { li { (badge("bad", finding.kind.as_str(), "Kind")) " " (finding.what) br; span.quiet { (finding.kind.advice()) } } } }
                }
            }
        }
        @if !running { (form::button(viewer, "/instance/verify", "", "Verify now", &[])) }
    }
}

/// Begins a verification.
pub(super) async fn verify(
    State(app): State<Arc<App>>,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    let proof = app.registry.instance_admin(sent.caller()).await?;
    let begun = app.registry.begin_verification(proof)?;
    let registry = app.registry.clone();
    tokio::spawn(async move {
        if let Err(error) = registry.verify_begun(begun, VerifyOptions::default(), |_| {}).await {
            tracing::error!(error = ?error, "verification failed: {error}");
        }
    });
    Ok(go("/instance/storage"))
}

/// What an operator wants to see of `/metrics`.
pub(super) async fn health(
    viewer: Viewer,
    State(app): State<Arc<App>>,
) -> std::result::Result<Html, WebError> {
    app.registry.instance_admin(viewer.caller()).await?;
    let backlog = app.registry.backlog().await?;
    let ready = app.registry.readiness().await?;
    let content = html! {
        h1 { "Health" }
        @if app.stopping.has_begun() { (notice("bad", &html! { p { "The server is stopping." } })) }
        @else if ready.uploads { (notice("good", &html! { p { "The server takes pushes and pulls." } })) }
        @else { (notice("bad", &html! { p { "The disk is nearly full, so pushes are refused. Delete images, reclaim, or make the disk larger." } })) }
        (numbers(&app, &backlog))
        p { "All of it in Prometheus' format: " a href="/metrics" { "/metrics" } ". For load balancers: " a href="/readyz" { "/readyz" } "." }
    };
    Ok(Page::of_instance(&viewer, "Health", Tab::Health).show(&content))
}

fn numbers(app: &App, backlog: &Backlog) -> Markup {
    let requests = app.requests.read();
    let [_, good, moved, refused, failed] = requests.answered;
    let writer = app.registry.writer_statistics();
    let reader = app.registry.reader_statistics();
    let done = app.registry.collection_statistics();
    html! {
        h2 { "Requests since the start" }
        dl.cards {
            div { dt { "Answered" } dd { (grouped(good + moved)) } }
            div { dt { "Refused" } dd { (grouped(refused)) small { "status 4xx" } } }
            div { dt { "Failed" } dd { (grouped(failed)) small { "status 5xx; the log says why" } } }
            div { dt { "In flight" } dd { (grouped(requests.in_flight)) } }
            div { dt { "Sent" } dd { (bytes(requests.sent)) small { "of blobs" } } }
            div { dt { "Received" } dd { (bytes(requests.received)) small { "of blobs" } } }
            div { dt { "Uploads going on" } dd { (app.registry.uploads_in_progress()) } }
        }
        h2 { "Metadata" }
        dl.cards {
            div { dt { "Changes written" } dd { (grouped(writer.operations)) small { "in " (grouped(writer.batches)) " transactions" } } }
            div { dt { "Waiting to be written" } dd { (grouped(writer.waiting)) } }
            div { dt { "Writer was busy" } dd { (span(writer.busy_micros / 1_000_000)) } }
            div { dt { "Records read" } dd { (grouped(reader.rows)) small { "in " (grouped(reader.transactions)) " transactions" } } }
        }
        h2 { "Collection" }
        dl.cards {
            div { dt { "Freed" } dd { (bytes(done.bytes)) small { (grouped(done.manifests)) " manifests, " (grouped(done.blobs)) " blobs" } } }
            div { dt { "Files removed" } dd { (grouped(done.objects)) } }
            div { dt { "Abandoned uploads ended" } dd { (grouped(done.uploads)) } }
            div { dt { "Failures" } dd { (grouped(done.failures)) } }
            div { dt { "Damaged blobs met" } dd { (grouped(done.damaged)) } }
            (behind(backlog))
            @if let Some(space) = app.registry.space() { div { dt { "Free on the disk" } dd { (bytes(space.free)) small { "of " (bytes(space.total)) } } } }
        }
    }
}
