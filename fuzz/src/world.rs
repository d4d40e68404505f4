//! A small registry in a temporary directory, with its router: what requests are sent to.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Method, Request, StatusCode, header, response};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use standpipe_server::app::{App, HttpSettings};
use standpipe_server::auth::{AuthSettings, Authenticator, NewToken};
use standpipe_server::blobs::fs::FsBlobStore;
use standpipe_server::blobs::fs::files::SystemFiles;
use standpipe_server::clock::Clock;
use standpipe_server::domain::manifest::OCI_MANIFEST;
use standpipe_server::domain::{
    Action, Caller, Change, Principal, Timestamp, Visibility, WorkspaceSettings,
};
use standpipe_server::http::router;
use standpipe_server::metadata::documents::{Body as _, Session, User, session_key};
use standpipe_server::metadata::redb::{RedbOptions, RedbStore};
use standpipe_server::metadata::{DocumentKind, NewWorkspace, RepositoryFields};
use standpipe_server::registry::{Limits, Registry};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt as _;

/// Inputs that one world is for: they change it, and one without its package is of little use.
const USES: u32 = 500;
const NOW: Timestamp = Timestamp(1_800_000_000_000);

/// A world with what runs it, made anew now and then.
pub(crate) struct Server {
    runtime: Runtime,
    world: World,
    uses: u32,
}

impl Server {
    pub(crate) fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let world = runtime.block_on(World::new());
        Self { runtime, world, uses: 0 }
    }

    /// The world for the next input.
    pub(crate) fn next(&mut self) -> &World {
        if self.uses >= USES {
            self.world = self.runtime.block_on(World::new());
            self.uses = 0;
        }
        self.uses += 1;
        &self.world
    }

    /// Sends a request and reads the answer, which is never a fault of the server's.
    pub(crate) fn ask(&self, request: Request<Body>, what: &str) -> (response::Parts, Bytes) {
        let router = self.world.router.clone();
        let (parts, body) = self.runtime.block_on(async {
            let response = router.oneshot(request).await.expect("the router answers");
            let (parts, body) = response.into_parts();
            (parts, body.collect().await.expect("a whole body").to_bytes())
        });
        let status = parts.status;
        assert!(
            !status.is_server_error() || status == StatusCode::SERVICE_UNAVAILABLE,
            "{status} {what}"
        );
        assert!(parts.headers.contains_key("x-request-id"), "{what}");
        (parts, body)
    }

    /// The same for what answers in JSON.
    pub(crate) fn ask_for_json(&self, request: Request<Body>, what: &str) -> StatusCode {
        let (parts, body) = self.ask(request, what);
        let kind = parts.headers.get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if parts.status.is_client_error() {
            let ours = matches!(kind, "application/json" | "application/problem+json");
            assert!(ours, "{kind} {what}");
        }
        // A manifest is what somebody pushed, byte for byte, under the type that they gave.
        let pushed = parts.headers.contains_key("docker-content-digest");
        if kind.contains("json") && !body.is_empty() && !kind.contains("vnd.") && !pushed {
            let json = serde_json::from_slice::<Value>(&body);
            assert!(json.is_ok(), "{what}: {}", String::from_utf8_lossy(&body));
        }
        parts.status
    }
}

/// A registry with the workspace `acme`, its public repository `shop` and the package `shop` with an image.
pub(crate) struct World {
    pub(crate) router: Router,
    /// `Authorization` headers: of nobody, of the administrator, of somebody without any role.
    pub(crate) shown: [Option<String>; 3],
    /// The sessions of the two.
    pub(crate) sessions: [SignedIn; 2],
    _directory: TempDir,
}

/// A session in a browser.
#[derive(Clone, Debug)]
pub(crate) struct SignedIn {
    pub(crate) name: &'static str,
    pub(crate) cookie: String,
    pub(crate) form_token: String,
}

impl World {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        // It stands still, so that the same input meets the same registry.
        let clock = Clock::manual(NOW);
        let database = directory.path().join("meta.redb");
        let metadata = RedbStore::open(&database, RedbOptions::default(), clock.clone());
        let blobs = FsBlobStore::open(directory.path(), clock.clone(), SystemFiles);
        let (metadata, blobs) = (metadata.expect("a database"), blobs.expect("blobs"));
        let limits = Limits { manifest_bytes: 64 << 10, ..Limits::default() };
        let registry = Registry::new(Arc::new(metadata), Arc::new(blobs), clock, limits, None);
        registry.check_identity().await.expect("two halves of one");
        let settings = AuthSettings {
            service: "standpipe".to_owned(),
            token_seconds: 300,
            issuers: Vec::new(),
        };
        let auth = Authenticator::open(registry.clone(), settings).await.expect("no accounts yet");
        let http = HttpSettings { loopback: true, port: 5000, ..HttpSettings::default() };
        let (requests, stopping) = Default::default();
        let app = Arc::new(App { registry, auth, http, requests, stopping });
        populate(&app.registry).await;
        let admin = token(&app, "admin").await;
        let eve = token(&app, "eve").await;
        let sessions = [signed_in(&app, "admin").await, signed_in(&app, "eve").await];
        let router = router(app);
        push(&router, &admin).await;
        Self { router, shown: [None, Some(admin), Some(eve)], sessions, _directory: directory }
    }
}

/// Pushes an image of a configuration `{}` and no layers as `v1`.
async fn push(router: &Router, shown: &str) {
    let digest = crate::pipe_archive::digest(b"{}");
    let blob = format!("/v2/acme/shop/blobs/uploads/?digest={digest}");
    let config = json!({"mediaType": "application/json", "digest": digest, "size": 2});
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": []}).to_string();
    for (method, path, body) in [
        (Method::POST, blob.as_str(), "{}"),
        (Method::PUT, "/v2/acme/shop/manifests/v1", &manifest),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, shown)
            .header(header::CONTENT_TYPE, OCI_MANIFEST)
            .body(Body::from(body.to_owned()))
            .expect("a legal request");
        let answer = router.clone().oneshot(request).await.expect("the router answers");
        assert_eq!(answer.status(), StatusCode::CREATED, "{path}");
    }
}

fn user(name: &str) -> Caller {
    let principal = Principal::User(name.parse().expect("a user name"));
    Caller::of(principal)
}

async fn populate(registry: &Registry) {
    let change = Change::by_server("fuzz");
    for name in ["admin", "eve"] {
        let user = User { instance_admin: name == "admin", ..User::default() };
        let documents = registry.metadata();
        let written =
            documents.put_document(&change, DocumentKind::User, name, None, user.encode());
        written.await.expect("a new user");
    }
    let admin = user("admin");
    let slug: standpipe_server::domain::Slug = "acme".parse().expect("a slug");
    let proof = registry.instance_admin(&admin).await.expect("the administrator");
    let settings = WorkspaceSettings::default();
    let new = NewWorkspace { slug: slug.clone(), name: "Acme".to_owned(), settings };
    registry.create_workspace(proof, &change, new).await.expect("a new workspace");
    let access = registry.workspace_admin(&admin, &slug).await.expect("access");
    let shop: standpipe_server::domain::Slug = "shop".parse().expect("a slug");
    let fields = RepositoryFields {
        slug: shop.clone(),
        name: "Shop".to_owned(),
        project: None,
        visibility: Visibility::Public,
    };
    registry.create_repository(&access, &change, fields).await.expect("a new repository");
    let access = registry.repository_for(&admin, &slug, &shop, Action::CreatePackage);
    let access = access.await.expect("access");
    let name = "shop".parse().expect("a package name");
    registry.create_package(&access, &change, &name).await.expect("a new package");
}

async fn token(app: &App, name: &str) -> String {
    let new = NewToken { name: "fuzz".to_owned(), lifetime: None, scopes: None };
    let change = Change::by_server("fuzz");
    let made = app.auth.create_personal_token(&user(name), &change, new).await;
    format!("Bearer {}", made.expect("a token").1.expose())
}

/// Begins a session as signing in does, without a password, whose hash takes its time.
async fn signed_in(app: &App, name: &'static str) -> SignedIn {
    let user: standpipe_server::domain::Username = name.parse().expect("a user name");
    let documents = app.registry.metadata();
    let account = documents.document(DocumentKind::User, name).await.expect("a read");
    let version = account.expect("an account").version;
    let secret = hex(&Sha256::digest(name.as_bytes()));
    let key = session_key(&user, &hex(&Sha256::digest(secret.as_bytes())));
    let session = Session { version, created: NOW.0, seen: NOW.0, agent: None };
    let change = Change::by_server("fuzz");
    let written =
        documents.put_document(&change, DocumentKind::Session, &key, None, session.encode());
    written.await.expect("a new session");
    let cookie = format!("{secret}.{name}");
    let session = app.auth.session(&cookie).await.expect("a read").expect("a session");
    SignedIn { name, cookie, form_token: session.form_token }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
