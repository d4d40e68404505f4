//! A registry with people in it, and clients that talk HTTP to its router.
//!
//! The workspace `acme` has the private repository `shop` with the packages `shop` and `shop-web`,
//! the private repository `vault` with the package `vault`, and the public repository `site` with
//! the package `site`. The workspace `other` has the repository and package `tool`. Ann writes and
//! Bob reads `shop`; Ann also writes `tool` in the other workspace; Eve has an account and nothing
//! else. Admin may do everything.

mod disk;
mod images;
mod pushing;
mod random;

pub(crate) use disk::{Calls, Gate, Hook, stores};
pub(crate) use images::{
    BOTH, IMAGE, INDEX, Manifest, described, digest, digest512, image, image_in, index_in, sum,
};
pub(crate) use random::Random;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use standpipe_server::app::{App, HttpSettings};
use standpipe_server::auth::{AuthSettings, Authenticator, IssuerSettings, NewToken};
use standpipe_server::clock::Clock;
use standpipe_server::domain::{
    Action, Caller, Change, CreateOnPush, Principal, Role, Timestamp, Visibility, WorkspaceSettings,
};
use standpipe_server::http::pace::Pace;
use standpipe_server::http::{RouterOptions, router_with};
use standpipe_server::metadata::documents::{Body as _, User};
use standpipe_server::metadata::{DocumentKind, NewWorkspace, Repository, RepositoryFields};
use standpipe_server::registry::access::Administered;
use standpipe_server::registry::{Limits, Registry};
use std::sync::Arc;
use tokio::sync::oneshot;
use tower::ServiceExt as _;

/// A registry with people in it.
pub(crate) struct World {
    pub(crate) app: Arc<App>,
    pub(crate) router: Router,
    pub(crate) clock: Clock,
    settings: Settings,
    directory: tempfile::TempDir,
}

/// What differs from one test's registry to another's.
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) http: HttpSettings,
    pub(crate) create_on_push: CreateOnPush,
    pub(crate) pace: Pace,
    /// Whose OIDC tokens are taken.
    pub(crate) issuers: Vec<IssuerSettings>,
    /// What each call to the disk does first.
    pub(crate) disk: Option<Hook>,
    /// Files that requests may hold open at once, on a disk without a hook.
    pub(crate) files_held: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            http: HttpSettings { loopback: true, port: 5000, ..HttpSettings::default() },
            create_on_push: CreateOnPush::Admins,
            pace: Pace::default(),
            issuers: Vec::new(),
            disk: None,
            files_held: usize::MAX,
        }
    }
}

fn user(name: &str) -> Caller {
    let principal = Principal::User(name.parse().expect("a name of the grammar"));
    Caller::of(principal)
}

fn change() -> Change {
    Change::by_server("test")
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let create_on_push = settings.create_on_push;
        let world = Self::open(directory, settings).await;
        world.populate(create_on_push).await;
        world
    }

    /// The registry of a data directory, with whoever is in it.
    pub(crate) async fn open(directory: tempfile::TempDir, settings: Settings) -> Self {
        // It stands still, so that nothing expires unless a test says so.
        let clock = Clock::manual(Timestamp(1_800_000_000_000));
        Self::open_at(directory, clock, settings).await
    }

    /// The same with a clock of the test's.
    async fn open_at(directory: tempfile::TempDir, clock: Clock, settings: Settings) -> Self {
        let (hook, held) = (settings.disk.as_ref(), settings.files_held);
        let (metadata, blobs) = disk::stores(directory.path(), &clock, hook, held);
        let limits = settings.limits.clone();
        let registry = Registry::new(metadata, blobs, clock.clone(), limits, None);
        registry.check_identity().await.expect("two halves of one");
        let service = "standpipe".to_owned();
        let accounts =
            AuthSettings { service, token_seconds: 300, issuers: settings.issuers.clone() };
        let auth = Authenticator::open(registry.clone(), accounts).await.expect("no accounts yet");
        let http = settings.http.clone();
        let (requests, stopping) = Default::default();
        let app = Arc::new(App { registry, auth, http, requests, stopping });
        let options = RouterOptions { pace: settings.pace };
        let router = router_with(Arc::clone(&app), options);
        Self { app, router, clock, settings, directory }
    }

    /// Its data directory.
    pub(crate) fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// Closes the registry, if no client is left, and gives its directory back.
    pub(crate) fn close(self) -> tempfile::TempDir {
        self.directory
    }

    async fn populate(&self, create_on_push: CreateOnPush) {
        for name in ["admin", "ann", "bob", "eve"] {
            // Nobody logs in by password here; hashing one would take longer than a test.
            let user = User { instance_admin: name == "admin", ..User::default() };
            let metadata = self.app.registry.metadata();
            let body = user.encode();
            metadata
                .put_document(&change(), DocumentKind::User, name, None, body)
                .await
                .expect("new");
        }
        for (workspace, repository, visibility, packages) in [
            ("acme", "shop", Visibility::Private, &["shop", "shop-web"][..]),
            ("acme", "vault", Visibility::Private, &["vault"]),
            ("acme", "site", Visibility::Public, &["site"]),
            ("other", "tool", Visibility::Private, &["tool"]),
        ] {
            self.repository(workspace, repository, visibility, create_on_push).await;
            for package in packages {
                self.package(workspace, repository, package).await;
            }
        }
        self.grant("acme", "shop", "ann", Role::Write).await;
        self.grant("other", "tool", "ann", Role::Write).await;
        self.grant("acme", "shop", "bob", Role::Read).await;
    }

    async fn repository(
        &self,
        workspace: &str,
        repository: &str,
        visibility: Visibility,
        create_on_push: CreateOnPush,
    ) {
        let registry = &self.app.registry;
        let slug = workspace.parse().expect("a slug");
        if registry.visible_workspace(&user("admin"), &slug).await.is_err() {
            let proof = registry.instance_admin(&user("admin")).await.expect("the administrator");
            let settings = WorkspaceSettings { create_on_push, ..WorkspaceSettings::default() };
            let new = NewWorkspace { slug: slug.clone(), name: workspace.to_owned(), settings };
            registry.create_workspace(proof, &change(), new).await.expect("a new workspace");
        }
        let access = registry.workspace_admin(&user("admin"), &slug).await.expect("access");
        let fields = RepositoryFields {
            slug: repository.parse().expect("a slug"),
            name: repository.to_owned(),
            project: None,
            visibility,
        };
        registry.create_repository(&access, &change(), fields).await.expect("a new repository");
    }

    async fn package(&self, workspace: &str, repository: &str, package: &str) {
        let access = self.administered(workspace, repository, Action::CreatePackage).await;
        let name = package.parse().expect("a package name");
        self.app.registry.create_package(&access, &change(), &name).await.expect("a new package");
    }

    async fn administered(
        &self,
        workspace: &str,
        repository: &str,
        action: Action,
    ) -> Administered<Repository> {
        let workspace = workspace.parse().expect("a slug");
        let repository = repository.parse().expect("a slug");
        let admin = user("admin");
        let access = self.app.registry.repository_for(&admin, &workspace, &repository, action);
        access.await.expect("access")
    }

    /// Gives somebody a role.
    pub(crate) async fn grant(&self, workspace: &str, repository: &str, name: &str, role: Role) {
        self.set_role(workspace, repository, name, Some(role)).await;
    }

    /// Takes somebody's role away.
    pub(crate) async fn revoke(&self, workspace: &str, repository: &str, name: &str) {
        self.set_role(workspace, repository, name, None).await;
    }

    async fn set_role(&self, workspace: &str, repository: &str, name: &str, role: Option<Role>) {
        let access = self.administered(workspace, repository, Action::Manage).await;
        let name = name.parse().expect("a name");
        self.app.registry.set_role(&access, &change(), &name, role).await.expect("a role");
    }

    /// A client with a personal token.
    pub(crate) async fn client(&self, name: &str) -> Client {
        let new = NewToken { name: "test".to_owned(), lifetime: None, scopes: None };
        let made = self.app.auth.create_personal_token(&user(name), &change(), new).await;
        let (_, token) = made.expect("a token");
        self.holder(&format!("Bearer {}", token.expose()))
    }

    /// A client with the pipeline token of a repository.
    pub(crate) async fn pipeline(&self, workspace: &str, repository: &str) -> Client {
        let access = self.administered(workspace, repository, Action::Manage).await;
        let new = NewToken { name: "ci".to_owned(), lifetime: None, scopes: None };
        let made = self.app.auth.create_pipeline_token(&access, &change(), new).await;
        self.holder(&format!("Bearer {}", made.expect("a token").1.expose()))
    }

    /// A client without any credential.
    pub(crate) fn anonymous(&self) -> Client {
        Client { router: self.router.clone(), authorization: None }
    }

    /// A client with this `Authorization` header.
    pub(crate) fn holder(&self, authorization: &str) -> Client {
        Client { authorization: Some(authorization.to_owned()), ..self.anonymous() }
    }

    /// A client with a registry token of somebody for some scopes.
    pub(crate) async fn narrowed(&self, client: &Client, scopes: &[&str]) -> Client {
        let scopes: Vec<String> = scopes.iter().map(|scope| format!("scope={scope}")).collect();
        let path = format!("/token?service=standpipe&{}", scopes.join("&"));
        let token = client.get(&path).await.expect(200).json()["token"].clone();
        self.holder(&format!("Bearer {}", token.as_str().expect("a token")))
    }
}

/// Somebody who talks HTTP.
#[derive(Clone)]
pub(crate) struct Client {
    router: Router,
    pub(crate) authorization: Option<String>,
}

/// What a client got.
#[derive(Clone, Debug)]
#[must_use]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Client {
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).expect("a legal request");
        let response = self.router.clone().oneshot(request).await.expect("the router answers");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], Body::empty()).await
    }

    pub(crate) async fn head(&self, path: &str) -> Answer {
        self.send(Method::HEAD, path, &[], Body::empty()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, &[], Body::empty()).await
    }

    pub(crate) async fn post(&self, path: &str) -> Answer {
        self.send(Method::POST, path, &[], Body::empty()).await
    }

    /// Opens an upload; returns its path.
    pub(crate) async fn start_upload(&self, name: &str) -> String {
        let started = self.post(&format!("/v2/{name}/blobs/uploads/")).await.expect(202);
        started.header("location").to_owned()
    }

    /// Pushes a blob in one request; returns its digest.
    pub(crate) async fn push_blob(&self, name: &str, content: &[u8]) -> String {
        let digest = digest(content);
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        let _ = self.send(Method::POST, &path, &[], content.to_vec()).await.expect(201);
        digest
    }

    pub(crate) async fn put_manifest(
        &self,
        name: &str,
        reference: &str,
        manifest: &Manifest,
    ) -> Answer {
        let path = format!("/v2/{name}/manifests/{reference}");
        let headers = [("content-type", manifest.media_type)];
        self.send(Method::PUT, &path, &headers, manifest.bytes.clone()).await
    }

    /// Pushes a whole image that differs by `seed`.
    pub(crate) async fn push_image(&self, name: &str, tag: &str, seed: &str) -> Manifest {
        let manifest = image(&[seed.as_bytes()], &json!({}));
        let _ = self.push_blob(name, b"{}").await;
        let _ = self.push_blob(name, seed.as_bytes()).await;
        let _ = self.put_manifest(name, tag, &manifest).await.expect(201);
        manifest
    }
}

impl Answer {
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        self
    }

    /// A refusal of the distribution API.
    #[track_caller]
    pub(crate) fn refused(self, status: u16, code: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.header("content-type"), "application/json");
        let errors = answer.json()["errors"].clone();
        assert_eq!(errors.as_array().map(Vec::len), Some(1), "{errors}");
        assert_eq!(errors[0]["code"], code, "{errors}");
        assert!(errors[0]["message"].as_str().is_some_and(|text| !text.is_empty()), "{errors}");
        answer
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("visible ASCII"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The message of a refusal.
    #[track_caller]
    pub(crate) fn message(&self) -> String {
        self.json()["errors"][0]["message"].as_str().expect("a message").to_owned()
    }
}

/// A body of two pieces, the second of which is the test's to send.
pub(crate) struct Halting {
    pub(crate) body: Body,
    /// Done as soon as the server waits for the second piece: the request is being worked on.
    pub(crate) reached: oneshot::Receiver<()>,
    pub(crate) rest: oneshot::Sender<&'static str>,
}

pub(crate) fn halting(first: &'static str) -> Halting {
    let (arrived, reached) = oneshot::channel();
    let (rest, wait) = oneshot::channel();
    let second = stream::once(async move {
        let _ = arrived.send(());
        wait.await.map_err(std::io::Error::other)
    });
    let body = Body::from_stream(stream::iter([Ok(first)]).chain(second));
    Halting { body, reached, rest }
}
