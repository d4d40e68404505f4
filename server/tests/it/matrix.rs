//! The access matrix: every route of the router's table, asked by everybody, about something private
//! and something public.
//!
//! What each may do is said once more here, on purpose: [`need`] says what a route takes, [`expected`]
//! what comes of it. A route without a line in [`need`] fails, and so does a line without a route.
//! Whoever is refused must have changed nothing, which the audit log tells, and what is private must
//! look like what does not exist, in status, headers and body.

use crate::harness::{Answer, Client, World, digest};
use crate::oidc::Builds;
use axum::http::Method;
use serde_json::{Value, json};
use standpipe_server::domain::Role;
use standpipe_server::http::{Route, routes};
use standpipe_server::metadata::AuditFilter;
use std::collections::BTreeSet;

/// What a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Nothing; credentials are not even looked at.
    Nothing,
    /// Nothing, but a credential that is shown must be good.
    NoBadCredential,
    /// Nothing, but a credential that is shown must be one's own, not a registry token.
    OwnCredential,
    /// Any credential.
    Credential,
    /// A credential that may list packages.
    Catalog,
    /// A login that may use the API.
    Login,
    /// The same, of a person.
    Person,
    /// A role on the repository, or its being public.
    Role(Role),
    /// A role on the repository; without one the list is empty, as it is where there is nothing.
    Referrers,
    /// Any part in the workspace.
    Member,
    /// This role, and a token that may do the same over the distribution API.
    Scoped(Role),
    /// To administer the workspace.
    Workspace,
    /// To administer the instance.
    Instance,
}

/// Every route and what it takes. Deny by default: what is not here fails the test.
fn need(route: &Route) -> Option<Need> {
    let method = route.method.as_str();
    let api = route.path.strip_prefix("/api/v1").unwrap_or(&route.path);
    if let Some(rest) = api.strip_prefix("/workspaces/{workspace}/repositories/{repository}") {
        return of_repository(method, rest);
    }
    if let Some(rest) = api.strip_prefix("/workspaces/{workspace}/packages/{package}") {
        return of_package(method, rest);
    }
    if let Some(rest) = api.strip_prefix("/workspaces/{workspace}") {
        return of_workspace(method, rest);
    }
    if api.starts_with("/v2/") {
        return of_registry(method, api);
    }
    Some(match (method, api) {
        ("GET", "/healthz" | "/readyz" | "/metrics" | "/openapi.json") => Need::Nothing,
        ("GET", "/token") => Need::OwnCredential,
        // The login is in the form.
        ("POST", "/token") => Need::Nothing,
        ("POST", "/invitations/accept") => Need::NoBadCredential,
        ("GET", "/workspaces") => Need::Login,
        ("POST", "/workspaces") => Need::Instance,
        ("GET", "/audit" | "/backup" | "/users" | "/users/{user}" | "/verification") => {
            Need::Instance
        }
        ("POST", "/backup" | "/invitations" | "/users" | "/users/{user}/reset") => Need::Instance,
        ("POST", "/verification") | ("PATCH", "/users/{user}") => Need::Instance,
        ("DELETE", "/users/{user}/invitation") => Need::Instance,
        ("GET" | "POST", "/tokens") | ("DELETE", "/tokens/{token}") => Need::Person,
        ("GET", "/user") | ("PUT", "/user/password") => Need::Person,
        _ => return None,
    })
}

fn of_repository(method: &str, rest: &str) -> Option<Need> {
    Some(match (method, rest) {
        ("GET", "") => Need::Role(Role::Read),
        ("DELETE" | "PATCH", "") => Need::Role(Role::Admin),
        ("GET", "/permissions" | "/pipeline-tokens") => Need::Role(Role::Admin),
        ("POST", "/pipeline-tokens") => Need::Role(Role::Admin),
        ("DELETE", "/pipeline-tokens/{token}") => Need::Role(Role::Admin),
        ("DELETE" | "PUT", "/permissions/{user}") => Need::Role(Role::Admin),
        ("GET" | "POST", "/oidc-bindings") => Need::Workspace,
        ("DELETE", "/oidc-bindings/{binding}") => Need::Workspace,
        _ => return None,
    })
}

fn of_package(method: &str, rest: &str) -> Option<Need> {
    Some(match (method, rest) {
        ("GET", "" | "/tags" | "/tags/{tag}" | "/history" | "/kept") => Need::Role(Role::Read),
        ("GET", "/deletion-preview" | "/pending" | "/holders") => Need::Role(Role::Read),
        ("DELETE", "/tags/{tag}") | ("POST", "/restore") => Need::Role(Role::Write),
        ("DELETE", "") | ("POST", "/reclaim") => Need::Role(Role::Admin),
        _ => return None,
    })
}

fn of_workspace(method: &str, rest: &str) -> Option<Need> {
    Some(match (method, rest) {
        ("GET", "" | "/packages" | "/projects" | "/repositories") => Need::Member,
        ("POST", "/packages") => Need::Role(Role::Admin),
        ("POST", "/known-layers") => Need::Scoped(Role::Read),
        ("GET", "/uploads") => Need::Scoped(Role::Write),
        ("PATCH", "") | ("POST", "/projects" | "/repositories") => Need::Workspace,
        ("GET", "/audit" | "/receipts" | "/deleted-packages" | "/permissions") => Need::Workspace,
        ("DELETE" | "PUT", "/permissions/{user}") => Need::Workspace,
        ("GET" | "POST", "/robots" | "/robots/{robot}/tokens") => Need::Workspace,
        ("DELETE" | "GET" | "PATCH", "/robots/{robot}") => Need::Workspace,
        ("DELETE" | "PUT", "/robots/{robot}/roles/{repository}") => Need::Workspace,
        ("DELETE", "/robots/{robot}/tokens/{token}") => Need::Workspace,
        _ => return None,
    })
}

fn of_registry(method: &str, path: &str) -> Option<Need> {
    let reads = matches!(method, "GET" | "HEAD");
    Some(match (method, path) {
        (_, "/v2/") if reads => Need::Credential,
        (_, "/v2/_catalog") if reads => Need::Catalog,
        (_, "/v2/{name}/referrers/{digest}") if reads => Need::Referrers,
        (_, "/v2/{name}/tags/list" | "/v2/{name}/blobs/{digest}") if reads => {
            Need::Role(Role::Read)
        }
        (_, "/v2/{name}/manifests/{reference}") if reads => Need::Role(Role::Read),
        ("DELETE", "/v2/{name}/blobs/{digest}") => Need::Role(Role::Write),
        ("DELETE" | "PUT", "/v2/{name}/manifests/{reference}") => Need::Role(Role::Write),
        ("POST", "/v2/{name}/blobs/uploads/") => Need::Role(Role::Write),
        ("DELETE" | "GET" | "HEAD" | "PATCH" | "PUT", "/v2/{name}/blobs/uploads/{upload}") => {
            Need::Role(Role::Write)
        }
        _ => return None,
    })
}

/// How the credential narrows whoever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Narrowed {
    Not,
    /// A registry token to pull from the package.
    ToPull,
    /// A personal token with this scope.
    Scope(&'static str),
}

/// Somebody who asks.
#[derive(Clone)]
struct Who {
    called: &'static str,
    client: Client,
    anonymous: bool,
    /// The credential was good once.
    bad: bool,
    role: Option<Role>,
    person: bool,
    member: bool,
    workspace_admin: bool,
    instance_admin: bool,
    narrowed: Narrowed,
}

/// What comes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It is let in; what becomes of it is another question.
    Let,
    Refused(u16),
}

fn expected(need: Need, oci: bool, reads: bool, who: &Who, public: bool) -> Outcome {
    use Outcome::{Let, Refused};
    let registry_token = who.narrowed == Narrowed::ToPull;
    match need {
        Need::Nothing => return Let,
        _ if who.bad => return Refused(401),
        Need::NoBadCredential => return Let,
        Need::OwnCredential => return if registry_token { Refused(401) } else { Let },
        Need::Credential => return if who.anonymous { Refused(401) } else { Let },
        Need::Catalog if who.anonymous || registry_token => return Refused(401),
        Need::Catalog if who.narrowed == Narrowed::Scope("api") => return Refused(403),
        Need::Catalog => return Let,
        _ => {}
    }
    if !oci && (who.anonymous || registry_token) {
        return Refused(401);
    }
    if !oci && who.narrowed == Narrowed::Scope("pull") {
        return Refused(403);
    }
    let (member, role) = (who.member || public, who.role.or(public.then_some(Role::Read)));
    let only_if = |holds: bool, otherwise: u16| if holds { Let } else { Refused(otherwise) };
    match need {
        Need::Person => only_if(who.person, 404),
        Need::Member => only_if(member, 404),
        Need::Workspace if !member => Refused(404),
        Need::Workspace => only_if(who.workspace_admin, 403),
        Need::Instance => only_if(who.instance_admin, 403),
        Need::Referrers if role.is_none() && !who.anonymous => Refused(200),
        Need::Referrers => by_role(Role::Read, role, oci, reads, who),
        Need::Role(needed) => by_role(needed, role, oci, reads, who),
        Need::Scoped(needed) => by_role(needed, role, true, needed == Role::Read, who),
        _ => Let,
    }
}

fn by_role(needed: Role, role: Option<Role>, oci: bool, reads: bool, who: &Who) -> Outcome {
    use Outcome::{Let, Refused};
    match (role, who.narrowed) {
        (None, _) => Refused(if who.anonymous { 401 } else { 404 }),
        (Some(role), _) if role < needed => Refused(if who.anonymous { 401 } else { 403 }),
        _ if !oci => Let,
        (_, Narrowed::Scope("api")) => Refused(403),
        (_, Narrowed::Scope("pull")) if !reads => Refused(403),
        (_, Narrowed::ToPull) if !reads => Refused(401),
        _ => Let,
    }
}

/// What is asked about.
#[derive(Clone, Copy)]
struct Target {
    workspace: &'static str,
    repository: &'static str,
    public: bool,
}

const PRIVATE: Target = Target { workspace: "other", repository: "tool", public: false };
const PUBLIC: Target = Target { workspace: "acme", repository: "site", public: true };

/// The words that stand for the target in a request.
#[derive(Clone)]
struct Words {
    workspace: String,
    repository: String,
    package: String,
    upload: String,
    digest: String,
    binding: Value,
}

/// A world with everybody in it.
struct Stage {
    world: World,
    people: Vec<Who>,
    words: Words,
}

impl Stage {
    async fn set(target: Target, builds: &Builds) -> Self {
        let Target { workspace, repository, .. } = target;
        let world = builds.world().await;
        let admin = world.client("admin").await;
        let name = format!("{workspace}/{repository}");
        let pushed = admin.push_image(&name, "latest", "one").await;
        let upload = admin.start_upload(&name).await;
        let upload = upload.rsplit('/').next().expect("an id").to_owned();
        let found =
            call(&admin, "GET", &format!("/workspaces/{workspace}/packages"), json!({})).await;
        let found = found.expect(200).json();
        let mut items = found["items"].as_array().expect("items").iter();
        let id = items.find(|item| item["name"] == repository).expect("it")["id"].clone();
        let words = Words {
            workspace: workspace.to_owned(),
            repository: repository.to_owned(),
            package: id.to_string(),
            upload: upload.split('?').next().expect("an id").to_owned(),
            digest: pushed.digest(),
            binding: builds.binding(),
        };
        let people = people(&world, &admin, target, builds).await;
        Self { world, people, words }
    }

    async fn changes(&self) -> usize {
        let metadata = self.world.app.registry.metadata();
        let filter = AuditFilter::default();
        metadata.audit(&filter, None, 100_000).await.expect("readable").events.len()
    }
}

async fn call(client: &Client, method: &str, path: &str, body: Value) -> Answer {
    let method: Method = method.parse().expect("a method");
    let kind = [("content-type", "application/json")];
    client.send(method, &format!("/api/v1{path}"), &kind, body.to_string()).await
}

/// Gives everybody the role that they are called by; returns the robot.
async fn give_roles(world: &World, admin: &Client, target: Target) -> Client {
    let Target { workspace, repository, .. } = target;
    for user in ["carl", "wanda", "dan"] {
        let _ = call(admin, "POST", "/invitations", json!({"username": user})).await.expect(201);
    }
    let roles =
        [("bob", Role::Read), ("ann", Role::Write), ("carl", Role::Admin), ("dan", Role::Write)];
    for (user, role) in roles {
        world.grant(workspace, repository, user, role).await;
    }
    let path = format!("/workspaces/{workspace}/permissions/wanda");
    let _ = call(admin, "PUT", &path, json!({"role": "admin"})).await.expect(200);
    let robots = format!("/workspaces/{workspace}/robots");
    let _ = call(admin, "POST", &robots, json!({"name": "bot"})).await.expect(201);
    let path = format!("{robots}/bot/roles/{repository}");
    let _ = call(admin, "PUT", &path, json!({"role": "write"})).await.expect(200);
    let path = format!("{robots}/bot/tokens");
    let made = call(admin, "POST", &path, json!({"name": "t"})).await.expect(201);
    bearer(world, &made)
}

/// Somebody with the token of an answer.
fn bearer(world: &World, answer: &Answer) -> Client {
    let token = answer.json()["token"].as_str().expect("a token").to_owned();
    world.holder(&format!("Bearer {token}"))
}

/// A writer's tokens: revoked, and made for some scopes only.
async fn writers_tokens(world: &World, ann: &Client) -> [Client; 3] {
    let made = async |body: Value| call(ann, "POST", "/tokens", body).await.expect(201);
    let lost = made(json!({"name": "lost"})).await;
    let id = lost.json()["id"].as_str().expect("an id").to_owned();
    let _ = call(ann, "DELETE", &format!("/tokens/{id}"), json!({})).await.expect(204);
    let pull = made(json!({"name": "pull", "scopes": ["pull"]})).await;
    let api = made(json!({"name": "api", "scopes": ["api"]})).await;
    [lost, pull, api].map(|answer| bearer(world, &answer))
}

async fn people(world: &World, admin: &Client, target: Target, builds: &Builds) -> Vec<Who> {
    let Target { workspace, repository, .. } = target;
    let name = format!("{workspace}/{repository}");
    let robot = give_roles(world, admin, target).await;
    let ann = world.client("ann").await;
    let [lost, pull, api] = writers_tokens(world, &ann).await;
    let dan = world.client("dan").await;
    let _ = call(admin, "PATCH", "/users/dan", json!({"disabled": true})).await.expect(200);
    let (pipeline, build) =
        (world.pipeline(workspace, repository).await, builds.bound_to(world, &name).await);
    let narrowed = world.narrowed(&ann, &[&format!("repository:{name}:pull")]).await;

    let who = |called, client: Client, role| Who {
        called,
        anonymous: client.authorization.is_none(),
        client,
        bad: false,
        role,
        person: true,
        member: role.is_some(),
        workspace_admin: false,
        instance_admin: false,
        narrowed: Narrowed::Not,
    };
    let (write, full) = (Some(Role::Write), Some(Role::Admin));
    let machine = |called, client| Who { person: false, ..who(called, client, write) };
    let by_scope = |called, client, scope| Who {
        narrowed: Narrowed::Scope(scope),
        ..who(called, client, write)
    };
    vec![
        who("anonymous", world.anonymous(), None),
        who("a stranger", world.client("eve").await, None),
        who("a reader", world.client("bob").await, Some(Role::Read)),
        who("a writer", ann.clone(), write),
        machine("a pipeline", pipeline),
        machine("a robot", robot),
        machine("a build with an OIDC token", build),
        Who {
            narrowed: Narrowed::ToPull,
            ..who("a writer's registry token to pull", narrowed, write)
        },
        by_scope("a writer's token for pull", pull, "pull"),
        by_scope("a writer's token for api", api, "api"),
        who("an admin of the repository", world.client("carl").await, full),
        Who {
            workspace_admin: true,
            ..who("an admin of the workspace", world.client("wanda").await, full)
        },
        Who {
            workspace_admin: true,
            instance_admin: true,
            ..who("an admin of the instance", admin.clone(), full)
        },
        Who { bad: true, ..who("somebody switched off", dan, write) },
        Who { bad: true, ..who("a revoked token", lost, write) },
    ]
}

/// The path and body of a request that is whole, so that only rights can be in its way.
fn request(route: &Route, words: &Words) -> (String, &'static str, String) {
    let mut path = route
        .path
        .replace("/assets/{name}", "/assets/x")
        .replace("{project}", "WEB")
        .replace("{session}", "0")
        .replace("{workspace}", &words.workspace)
        .replace("{repository}", &words.repository)
        .replace("{package}", &words.package)
        .replace("{name}", &format!("{}/{}", words.workspace, words.repository))
        .replace("{upload}", &words.upload)
        .replace("{reference}", "latest")
        .replace("{robot}", "bot")
        .replace("{user}", "bob")
        .replace("{tag}", "latest")
        .replace("{token}", &"0".repeat(24))
        .replace("{binding}", "0");
    let blob = digest(b"one");
    path = path.replace("{digest}", if path.contains("/blobs/") { &blob } else { &words.digest });
    if path.ends_with("/uploads") {
        path = format!("{path}?package={}&digest={blob}", words.repository);
    } else if path.ends_with("/holders") {
        path = format!("{path}?digest={blob}");
    } else if path.ends_with("/deletion-preview") {
        path.push_str("?tag=latest");
    } else if route.method == "PUT" && path.contains("/uploads/") {
        path = format!("{path}?digest={}", digest(b""));
    }
    if route.path.starts_with("/v2/") {
        return (path, "application/vnd.oci.image.manifest.v1+json", String::new());
    }
    if route.path == "/token" {
        return (path, "application/x-www-form-urlencoded", String::new());
    }
    (path, "application/json", body(route, words).to_string())
}

fn body(route: &Route, words: &Words) -> Value {
    let last = route.path.rsplit('/').next().unwrap_or_default();
    let password = "correct horse";
    match (route.method.as_str(), last) {
        ("PUT", "{user}") if route.path.contains("repositories") => json!({"role": "read"}),
        ("PUT", "{user}") => json!({"role": "admin"}),
        ("PUT", "{repository}") => json!({"role": "read"}),
        ("PUT", "password") => json!({"current_password": password, "new_password": password}),
        ("POST", "workspaces" | "repositories") => json!({"slug": "fresh"}),
        ("POST", "projects") => json!({"key": "NEW", "name": "New"}),
        ("POST", "packages") => json!({"name": "fresh", "repository": words.repository}),
        ("POST", "oidc-bindings") => words.binding.clone(),
        ("POST", "robots") => json!({"name": "fresh"}),
        ("POST", "tokens" | "pipeline-tokens" | "backup") => json!({"name": "fresh"}),
        ("POST", "known-layers") => json!({"package": words.repository, "diff_ids": []}),
        ("POST", "restore") => json!({"tag": "latest"}),
        ("POST", "users") => json!({"username": "fresh", "password": password}),
        ("POST", "invitations") => json!({"username": "fresh"}),
        ("POST", "accept") => json!({"username": "bob", "secret": "x", "password": password}),
        _ => json!({}),
    }
}

async fn ask(client: &Client, route: &Route, words: &Words) -> Answer {
    let (path, kind, body) = request(route, words);
    let method: Method = route.method.parse().expect("a method");
    client.send(method, &path, &[("content-type", kind)], body).await
}

/// Whether an answer says that there is no such workspace, repository or package.
fn hides(answer: &Answer) -> bool {
    let text = answer.text();
    let words = ["there is no workspace", "there is no repository", "there is no package"];
    answer.status == 404 && words.iter().any(|words| text.contains(words))
}

/// Whether a request got past the question of rights. Without a body a 404 says nothing, but only
/// uploads are not there for those who may push, because they are somebody else's.
fn let_in(route: &Route, answer: &Answer) -> bool {
    if route.method == "HEAD" && !route.path.contains("/uploads/") {
        return answer.status == 200;
    }
    !matches!(answer.status.as_u16(), 401 | 403) && !hides(answer) && answer.status.as_u16() < 500
}

/// An answer without what differs from request to request, and without the names in it.
fn masked(answer: &Answer, words: &Words) -> String {
    let mut lines = vec![answer.status.to_string()];
    for (name, value) in &answer.headers {
        if !matches!(name.as_str(), "x-request-id" | "date" | "content-length") {
            lines.push(format!("{name}: {}", value.to_str().expect("visible ASCII")));
        }
    }
    let mut text = answer.text();
    if let Ok(mut problem) = serde_json::from_str::<Value>(&text) {
        if problem.get("request_id").is_some() {
            problem["request_id"] = "masked".into();
        }
        text = problem.to_string();
    }
    lines.push(text);
    let name = format!("{}/{}", words.workspace, words.repository);
    lines
        .join("\n")
        .replace(&name, "<name>")
        .replace(&format!("repository {}", words.repository), "repository <slug>")
        .replace(&format!("package {}", words.package), "package <id>")
        .replace(&format!("workspace {}", words.workspace), "workspace <slug>")
}

async fn hold(target: Target) {
    let builds = Builds::start().await;
    let stage = Stage::set(target, &builds).await;
    for route in routes() {
        let what = format!("{} {}", route.method, route.path);
        if is_page(&route) {
            nobody_gets_in(&stage, &route).await;
            continue;
        }
        let need = need(&route).unwrap_or_else(|| panic!("{what} is not in the access matrix"));
        let oci = route.path.starts_with("/v2/");
        let safe = matches!(route.method.as_str(), "GET" | "HEAD");
        let reads = safe && !route.path.contains("/uploads/");
        let outcome = |who: &Who| expected(need, oci, reads, who, target.public);
        let before = stage.changes().await;
        for who in &stage.people {
            match outcome(who) {
                Outcome::Refused(status) => {
                    let answer = ask(&who.client, &route, &stage.words).await;
                    let told = format!("{what} by {}: {}", who.called, answer.text());
                    assert_eq!(answer.status.as_u16(), status, "{told}");
                    let challenged = answer.headers.contains_key("www-authenticate");
                    assert_eq!(challenged, status == 401, "{told}");
                    if !target.public && who.role.is_none() {
                        same_as_unknown(&stage, &route, who, &answer).await;
                    }
                }
                Outcome::Let if safe => {
                    let answer = ask(&who.client, &route, &stage.words).await;
                    let told =
                        format!("{what} by {}: {} {}", who.called, answer.status, answer.text());
                    assert!(let_in(&route, &answer), "{told}");
                }
                Outcome::Let => {}
            }
        }
        assert_eq!(stage.changes().await, before, "{what} changed something for those refused");
        if !safe {
            // Whoever comes first on the list of those let in has the least that suffices.
            let fresh = Stage::set(target, &builds).await;
            let least = fresh.people.iter().find(|who| outcome(who) == Outcome::Let);
            let who = least.unwrap_or_else(|| panic!("nobody may {what}"));
            let answer = ask(&who.client, &route, &fresh.words).await;
            let told = format!("{what} by {}: {} {}", who.called, answer.status, answer.text());
            assert!(let_in(&route, &answer), "{told}");
        }
    }
}

/// Whether people look at it in a browser. Pages know sessions only (`it/web` has those).
fn is_page(route: &Route) -> bool {
    let below = ["/w/", "/instance", "/profile", "/sign-in", "/sign-out", "/assets/"];
    matches!(route.path.as_str(), "/" | "/invitation")
        || below.iter().any(|start| route.path.starts_with(start))
}

/// Whatever credential is shown to a page, it is answered as to nobody, and changes nothing.
async fn nobody_gets_in(stage: &Stage, route: &Route) {
    let what = format!("{} {}", route.method, route.path);
    let open = matches!(route.path.as_str(), "/" | "/sign-in" | "/assets/{name}");
    let before = stage.changes().await;
    let mut told = Vec::new();
    for who in &stage.people {
        let answer = ask(&who.client, route, &stage.words).await;
        let status = answer.status.as_u16();
        let place = answer.headers.get("location").map(|place| place.to_str().expect("ASCII"));
        let away = status == 303 && place.is_some_and(|place| place.starts_with("/sign-in"));
        let refused = away || matches!(status, 400..=499);
        let says = format!("{what} by {}: {status} {place:?} {}", who.called, answer.text());
        assert!(open && status < 500 || refused, "{says}");
        told.push((status, place.map(ToOwned::to_owned)));
    }
    assert!(told.iter().all(|one| *one == told[0]), "{what}: {told:?}");
    assert_eq!(stage.changes().await, before, "{what} changed something");
}

/// What is private looks like what does not exist.
async fn same_as_unknown(stage: &Stage, route: &Route, who: &Who, seen: &Answer) {
    let unknown = Words {
        workspace: stage.words.workspace.clone(),
        repository: "nothing".to_owned(),
        package: "9999".to_owned(),
        ..stage.words.clone()
    };
    let nowhere = Words { workspace: "nowhere".to_owned(), ..unknown.clone() };
    for words in [unknown, nowhere] {
        let answer = ask(&who.client, route, &words).await;
        let (one, other) = (masked(seen, &stage.words), masked(&answer, &words));
        assert_eq!(one, other, "{} {} by {}", route.method, route.path, who.called);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_what_is_private_everybody_gets_what_their_role_gives_and_others_see_nothing() {
    hold(PRIVATE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_what_is_public_everybody_pulls_and_nothing_else() {
    hold(PUBLIC).await;
}

#[tokio::test]
async fn a_path_answers_to_the_methods_in_the_table_and_to_no_other() {
    let world = World::new().await;
    let admin = world.client("admin").await;
    let words = Words {
        workspace: "acme".to_owned(),
        repository: "nothing".to_owned(),
        package: "9999".to_owned(),
        upload: "0f8fad5b-d9cb-469f-a165-70867728950e".to_owned(),
        digest: digest(b"x"),
        binding: json!({}),
    };
    let all = routes();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "a route is listed twice");
    let paths: BTreeSet<&str> = all.iter().map(|route| route.path.as_str()).collect();
    for path in paths {
        for method in ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"] {
            let has = |method: &str| all.iter().any(|one| one.path == path && one.method == method);
            if has(method) || method == "HEAD" && has("GET") {
                continue;
            }
            let route = Route { method: method.to_owned(), path: path.to_owned() };
            let answer = ask(&admin, &route, &words).await;
            assert_eq!(answer.status.as_u16(), 405, "{method} {path}");
        }
    }
}
