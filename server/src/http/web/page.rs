//! The frame around every page.
//!
//! Invariant: a page is whole without a script, and nothing in it is inline: the policy sent with it
//! forbids that, so a text that somehow came through as markup could still do nothing.

use super::assets;
use super::viewer::{TOKEN_FIELD, Viewer};
use crate::metadata::Workspace;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

/// What a page may do. Everything else is forbidden, other frames around it included.
pub(in crate::http) const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);
/// htmx must make no style of its own, evaluate nothing and keep no copies of pages.
const HTMX_SETTINGS: &str = r#"{"includeIndicatorStyles":false,"allowEval":false,"allowScriptTags":false,"selfRequestsOnly":true,"historyCacheSize":0,"refreshOnHistoryMiss":true}"#;

/// A page that is ready to be sent.
#[derive(Debug)]
pub(super) struct Html {
    status: StatusCode,
    markup: Markup,
}

impl Html {
    /// The same page as an answer to a form that was refused.
    pub(super) const fn with(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }
}

impl IntoResponse for Html {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.markup.into_string()).into_response();
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("text/html; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, kind);
        headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
        headers.insert(header::VARY, HeaderValue::from_static("cookie"));
        response
    }
}

/// A tab beside others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tab {
    Packages,
    Repositories,
    Robots,
    Storage,
    Activity,
    Settings,
    Workspaces,
    People,
    Health,
    Audit,
}

impl Tab {
    const fn label(self) -> &'static str {
        match self {
            Self::Packages => "Packages",
            Self::Repositories => "Repositories",
            Self::Robots => "Robots",
            Self::Storage => "Storage",
            Self::Activity => "Activity",
            Self::Settings => "Settings",
            Self::Workspaces => "Workspaces",
            Self::People => "People",
            Self::Health => "Health",
            Self::Audit => "Audit log",
        }
    }
}

/// Where a page is.
pub(super) enum Place<'a> {
    /// Beside everything.
    Nowhere,
    /// In a workspace, which the viewer may administer.
    Workspace(&'a Workspace, bool, Tab),
    /// Among the pages of the instance.
    Instance(Tab),
}

/// A page of somebody who is signed in.
pub(super) struct Page<'a> {
    /// Who looks.
    pub(super) viewer: &'a Viewer,
    /// What the browser's title and the heading of the page say.
    pub(super) title: &'a str,
    /// Where it is.
    pub(super) place: Place<'a>,
    /// What is above it: names and addresses.
    pub(super) crumbs: Vec<(String, String)>,
}

impl<'a> Page<'a> {
    /// A page of a workspace.
    pub(super) fn in_workspace(
        viewer: &'a Viewer,
        title: &'a str,
        workspace: &'a Workspace,
        admin: bool,
        tab: Tab,
    ) -> Self {
        let crumbs = vec![(workspace.slug.to_string(), format!("/w/{}", workspace.slug))];
        Self { viewer, title, place: Place::Workspace(workspace, admin, tab), crumbs }
    }

    /// A page of the instance.
    pub(super) fn of_instance(viewer: &'a Viewer, title: &'a str, tab: Tab) -> Self {
        Self { viewer, title, place: Place::Instance(tab), crumbs: Vec::new() }
    }

    /// Adds something that is above it.
    pub(super) fn below(mut self, name: impl ToString, url: impl ToString) -> Self {
        self.crumbs.push((name.to_string(), url.to_string()));
        self
    }

    /// The page around its content.
    pub(super) fn show(&self, content: &Markup) -> Html {
        let body = html! {
            header.top {
                div.wide {
                    a.brand href="/" { "Standpipe" }
                    nav aria-label="Main" {
                        a href="/" { "Workspaces" }
                        @if self.viewer.is_instance_admin() { a href="/instance" { "Instance" } }
                    }
                    div.who {
                        a href="/profile" title="Your profile, tokens and sessions" { (self.viewer.name()) }
                        form method="post" action="/sign-out" {
                            (token(self.viewer))
                            button.plain type="submit" { "Sign out" }
                        }
                    }
                }
            }
            (self.crumbs())
            (self.tabs())
            main #main tabindex="-1" { div.wide { (content) } }
            (footer())
        };
        Html { status: StatusCode::OK, markup: document(self.title, &body) }
    }

    fn crumbs(&self) -> Markup {
        html! {
            @if !self.crumbs.is_empty() {
                nav.crumbs aria-label="You are here" {
                    ol.wide {
                        li { a href="/" { "Workspaces" } }
                        @for (name, url) in &self.crumbs { li { a href=(url) { (name) } } }
                    }
                }
            }
        }
    }

    fn tabs(&self) -> Markup {
        let (label, current, tabs) = match &self.place {
            Place::Nowhere => return html! {},
            Place::Workspace(workspace, admin, current) => {
                let base = format!("/w/{}", workspace.slug);
                let mut tabs = vec![
                    (Tab::Packages, base.clone()),
                    (Tab::Repositories, format!("{base}/repositories")),
                ];
                if *admin {
                    tabs.push((Tab::Robots, format!("{base}/robots")));
                    tabs.push((Tab::Storage, format!("{base}/storage")));
                    tabs.push((Tab::Activity, format!("{base}/activity")));
                    tabs.push((Tab::Settings, format!("{base}/settings")));
                }
                (workspace.slug.as_str(), *current, tabs)
            }
            Place::Instance(current) => {
                let tabs = [
                    (Tab::Workspaces, "/instance"),
                    (Tab::People, "/instance/people"),
                    (Tab::Storage, "/instance/storage"),
                    (Tab::Health, "/instance/health"),
                    (Tab::Audit, "/instance/audit"),
                ];
                ("Instance", *current, tabs.map(|(tab, url)| (tab, url.to_owned())).to_vec())
            }
        };
        html! {
            nav.tabs aria-label=(label) {
                ul.wide {
                    @for (tab, url) in tabs {
                        li { a href=(url) aria-current=[(tab == current).then_some("page")] { (tab.label()) } }
                    }
                }
            }
        }
    }
}

/// The hidden field that every form has.
pub(super) fn token(viewer: &Viewer) -> Markup {
    token_field(viewer.form_token())
}

/// The same for a form of somebody who is not signed in.
pub(super) fn token_field(token: &str) -> Markup {
    html! { input type="hidden" name=(TOKEN_FIELD) value=(token); }
}

/// A page of nobody in particular.
pub(super) fn open(title: &str, content: &Markup) -> Html {
    Html { status: StatusCode::OK, markup: bare(title, content) }
}

/// The same as a document.
pub(super) fn bare(title: &str, content: &Markup) -> Markup {
    let body = html! {
        header.top { div.wide { a.brand href="/" { "Standpipe" } } }
        main #main tabindex="-1" { div.narrow { (content) } }
        (footer())
    };
    document(title, &body)
}

fn footer() -> Markup {
    html! {
        footer {
            div.wide {
                "Standpipe " (env!("CARGO_PKG_VERSION"))
                a href="/api/v1/openapi.json" { "REST API" }
            }
        }
    }
}

fn document(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="htmx-config" content=(HTMX_SETTINGS);
                title { (title) " · Standpipe" }
                link rel="icon" type="image/svg+xml" href=(assets::ICON.url());
                link rel="stylesheet" href=(assets::STYLE.url());
                script defer src=(assets::HTMX.url()) {}
                script defer src=(assets::SCRIPT.url()) {}
            }
            body {
                a.skip href="#main" { "Skip to content" }
                (body)
            }
        }
    }
}
