//! OIDC bindings of a repository, for administrators of its workspace.
//!
//! Invariant: what a list shows of a binding is written as the form reads it.

use super::error::{WebError, go};
use super::fields::{At, Fields, parse};
use super::form::{Field, Form, Kind, Refusal, again, sure};
use super::page::Html;
use super::parts::{empty, pager, time};
use super::profile::token_page;
use super::repository::Opened;
use super::rights::frame;
use super::viewer::{Submitted, Viewer};
use super::{PAGE, storage};
use crate::app::App;
use crate::domain::{Conditions, Slug, TagRule};
use crate::registry::bindings::{BindingView, NewBinding};
use crate::registry::{RegistryError, Result};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, html};
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

/// What stands before a deployment environment in the conditions of a tag rule.
const ENVIRONMENT: &str = "environment";

/// The way to a repository in the address.
type Way = At<(Slug, Slug)>;

/// OIDC bindings.
pub(super) async fn list(
    viewer: Viewer,
    State(app): State<Arc<App>>,
    At((workspace, slug)): Way,
    query: Fields,
) -> std::result::Result<Html, WebError> {
    let access = app.registry.bindable(viewer.caller(), &workspace, &slug).await?;
    let opened = Opened::of(&app, &viewer, &workspace, &slug).await?;
    let found = app.registry.bindings(&access, token_page(&query)).await?;
    Ok(list_page(&viewer, &opened, found, &query, None))
}

fn list_page(
    viewer: &Viewer,
    opened: &Opened,
    mut found: Vec<BindingView>,
    query: &Fields,
    refusal: Option<&Refusal<'_>>,
) -> Html {
    let base = format!("{}/oidc", opened.url());
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    let next = found.last().filter(|_| more).map(|last| storage::after(&base, &last.binding.id));
    let content = html! {
        p { "A binding lets the builds of one source repository push without a stored secret: the build shows a token of its issuer, such as Bitbucket." }
        @if found.is_empty() { (empty("No build may log in by OIDC yet", &html! { p { "Make the first binding below. The issuer must be in the server's settings." } })) }
        @else {
            table.list {
                thead { tr { th scope="col" { "Source repository" } th scope="col" { "Role" } th scope="col" { "Only when" } th scope="col" { "Tags" } th scope="col" { "Made" } th scope="col" { "Do" } } }
                tbody { @for view in &found { (row(viewer, &base, view)) } }
            }
        }
        (pager(query.some("after").map(|_| base.as_str()), next.as_deref()))
        h2 { "New binding" }
        (form(viewer, &base).show(refusal))
    };
    frame(viewer, opened, "OIDC", &content)
}

fn row(viewer: &Viewer, base: &str, view: &BindingView) -> Markup {
    let binding = &view.binding;
    html! {
        tr {
            th scope="row" { code { (binding.source) } div.below.quiet { "of " (binding.issuer) ", for " (binding.audience) } }
            td.whole data-label="Role" { (binding.role.as_str()) }
            td data-label="Only when" { (conditions(&binding.when)) }
            td data-label="Tags" { (rules(&binding.tag_rules)) }
            td data-label="Made" { (time(view.created)) div.below.quiet { "by " (view.by.strip_prefix("user:").unwrap_or(&view.by)) } }
            td.whole data-label="Do" { (sure(viewer, &format!("{base}/{}/end", binding.id), "End", "From the next request on, its builds are refused.", &[])) }
        }
    }
}

/// What a build must be, one condition a line.
fn conditions(when: &Conditions) -> Markup {
    let known = [("branch", &when.branches), (ENVIRONMENT, &when.environments)];
    let known = known.into_iter().map(|(word, patterns)| (word.to_owned(), patterns));
    let claims = when.claims.iter().map(|(name, patterns)| (format!("claim {name}"), patterns));
    let all: Vec<_> = known.chain(claims).filter(|(_, patterns)| !patterns.is_empty()).collect();
    html! {
        @if all.is_empty() { span.quiet { "always" } }
        @else {
            ul.items { @for (word, patterns) in &all { li { (word) " " @for (place, pattern) in patterns.iter().enumerate() { @if place > 0 { " or " } code { (pattern) } } } } }
        }
    }
}

/// Which tags it may move, one rule a line.
fn rules(rules: &[TagRule]) -> Markup {
    html! {
        @if rules.is_empty() { span.quiet { "all" } }
        @else { ol.items { @for rule in rules { li { code { (written(rule)) } } } } }
    }
}

/// A rule as the form reads it.
fn written(rule: &TagRule) -> String {
    let environments = texts(&rule.when.environments);
    let environments = environments.into_iter().map(|text| format!("{ENVIRONMENT}={text}"));
    let claims = rule.when.claims.iter().flat_map(|(name, patterns)| {
        texts(patterns).into_iter().map(move |text| format!("{name}={text}"))
    });
    let when: Vec<_> =
        texts(&rule.when.branches).into_iter().chain(environments).chain(claims).collect();
    let at = if when.is_empty() { "" } else { " @ " };
    format!("{}{at}{}", texts(&rule.tags).join(", "), when.join(", "))
}

fn texts<T: ToString>(patterns: &[T]) -> Vec<String> {
    patterns.iter().map(T::to_string).collect()
}

fn form<'a>(viewer: &'a Viewer, base: &str) -> Form<'a> {
    Form {
        viewer,
        action: base.to_owned(),
        submit: "Make binding",
        fields: vec![
            Field::text("issuer", "Issuer")
                .required()
                .hint("Its URL, exactly as the server's settings have it."),
            Field::text("audience", "Audience")
                .hint("The issuer's in the settings, if that has only one."),
            Field::text("source_repository", "Source repository")
                .required()
                .hint("Its id as the issuer calls it; for Bitbucket the repository's UUID."),
            Field::text("role", "Role")
                .choice([("write", "write: pushes"), ("read", "read: pulls")]),
            Field::text("branches", "Branches")
                .kind(Kind::Lines)
                .hint("One pattern a line, such as main or release/*. All if empty."),
            Field::text("environments", "Deployment environments")
                .kind(Kind::Lines)
                .hint("One pattern a line; for Bitbucket the UUID of the environment. All if empty."),
            Field::text("claims", "Other claims of the token")
                .kind(Kind::Lines)
                .hint("One a line, as name=pattern, such as projectUuid={9b21ae2c-…}. Of several lines with one name, one must fit."),
            Field::text("tag_rules", "Tag rules")
                .kind(Kind::Lines)
                .hint("Which builds move which tags, one rule a line: tags, then @ and what the build must be, such as latest, v* @ main, release/*. After the @ stand branches, environment=pattern, or claim=pattern. The first rule that names a tag decides about it; a tag that none names is not moved. All tags may be moved if this is empty."),
        ],
    }
}

/// Makes a binding.
pub(super) async fn bind(
    State(app): State<Arc<App>>,
    At((workspace, slug)): Way,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    let access = app.registry.bindable(sent.caller(), &workspace, &slug).await?;
    let opened = Opened::of(&app, &sent.viewer, &workspace, &slug).await?;
    let made = match new_binding(&app, &sent.fields) {
        Ok(new) => app.auth.bind(&access, &sent.change(), new).await,
        Err(error) => Err(error),
    };
    match made {
        Ok(_) => Ok(go(&format!("{}/oidc", opened.url()))),
        Err(error) => {
            let query = Fields::default();
            let found = app.registry.bindings(&access, token_page(&query)).await?;
            let again = again(error.into(), |why| {
                let refusal = Refusal { sent: &sent.fields, why };
                list_page(&sent.viewer, &opened, found, &query, Some(&refusal))
            });
            again.map(|html| html.into_response())
        }
    }
}

fn new_binding(app: &App, fields: &Fields) -> Result<NewBinding> {
    let issuer = fields.one("issuer").to_owned();
    let only = app.auth.only_audience(&issuer).map(str::to_owned);
    let mut when = Conditions {
        branches: patterns("branches", fields.lines("branches"))?,
        environments: patterns("environments", fields.lines("environments"))?,
        ..Conditions::default()
    };
    for line in fields.lines("claims") {
        let (name, pattern) = line.split_once('=').ok_or_else(|| {
            refused("claims", line, "a claim and its pattern are written as name=pattern")
        })?;
        let pattern = one("claims", pattern.trim())?;
        when.claims.entry(name.trim().to_owned()).or_default().push(pattern);
    }
    Ok(NewBinding {
        audience: fields.some("audience").map(str::to_owned).or(only).unwrap_or_default(),
        source: fields.one("source_repository").to_owned(),
        role: fields.parse("role")?,
        when,
        tag_rules: fields.lines("tag_rules").map(tag_rule).collect::<Result<_>>()?,
        issuer,
    })
}

/// Reads a rule: tags, and after an `@` what the build must be. A tag cannot hold an `@`.
fn tag_rule(line: &str) -> Result<TagRule> {
    const FIELD: &str = "tag_rules";
    let (tags, when) = match line.split_once('@') {
        Some((_, when)) if when.trim().is_empty() => {
            return Err(refused(FIELD, line, "after @ come branches, such as v* @ main"));
        }
        Some((tags, when)) => (tags, items(when).collect()),
        None => (line, Vec::new()),
    };
    let mut rule = TagRule { tags: patterns(FIELD, items(tags))?, when: Conditions::default() };
    for item in when {
        match item.split_once('=') {
            None => rule.when.branches.push(one(FIELD, item)?),
            Some((ENVIRONMENT, pattern)) => rule.when.environments.push(one(FIELD, pattern)?),
            Some((name, pattern)) => {
                let patterns = rule.when.claims.entry(name.to_owned()).or_default();
                patterns.push(one(FIELD, pattern)?);
            }
        }
    }
    Ok(rule)
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn patterns<'a, T: FromStr<Err: Display>>(
    field: &'static str,
    texts: impl Iterator<Item = &'a str>,
) -> Result<Vec<T>> {
    texts.map(|text| one(field, text)).collect()
}

/// A pattern; a refusal says which of several it is about.
fn one<T: FromStr<Err: Display>>(field: &'static str, text: &str) -> Result<T> {
    parse(field, text).map_err(|error| match error {
        RegistryError::Invalid { field, reason } => refused(field, text, &reason),
        other => other,
    })
}

fn refused(field: &'static str, text: &str, reason: &str) -> RegistryError {
    RegistryError::Invalid { field, reason: format!("“{text}”: {reason}") }
}

/// Ends a binding.
pub(super) async fn unbind(
    State(app): State<Arc<App>>,
    At((workspace, slug, id)): At<(Slug, Slug, String)>,
    sent: Submitted,
) -> std::result::Result<Response, WebError> {
    let access = app.registry.bindable(sent.caller(), &workspace, &slug).await?;
    match app.registry.end_binding(&access, &sent.change(), &id).await {
        Ok(()) | Err(RegistryError::NotFound(_)) => {
            Ok(go(&format!("/w/{workspace}/repositories/{slug}/oidc")))
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_written_as_it_is_read() {
        for text in [
            "*",
            "latest, v*",
            "latest, v* @ main, release/*",
            "{branchName}-* @ main, environment=e1, environment=e2, aud=x, team=y",
        ] {
            assert_eq!(written(&tag_rule(text).expect("a rule")), text);
        }
        assert_eq!(written(&tag_rule(" v*,w@main ").expect("a rule")), "v*, w @ main");
    }

    #[test]
    fn a_rule_that_is_wrong_is_named() {
        for (text, reason) in [
            ("v* @", "after @ come branches"),
            ("v* @ main, environment=", "“”"),
            ("latest, no/tag", "“no/tag”"),
        ] {
            let error = tag_rule(text).expect_err(text).to_string();
            assert!(error.starts_with("tag_rules: ") && error.contains(reason), "{error}");
        }
    }
}
