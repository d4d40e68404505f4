//! What the pages are looked at with: a workspace of a small team.

use crate::world::World;
use bytes::Bytes;
use reqwest::Method;
use serde_json::{Value, json};
use standpipe_tests::manifest::{Manifest, descriptor};
use standpipe_tests::payload::{Payload, digest_of};
use standpipe_tests::raw::{Raw, answered};
use standpipe_tests::rest::Rest;
use standpipe_tests::server::ServerOptions;

/// Everybody's but the administrator's.
pub(crate) const PASSWORD: &str = "a long enough password";
/// Where builds come from; nobody asks it.
pub(crate) const ISSUER: &str =
    "https://api.bitbucket.org/2.0/workspaces/acme/pipelines-config/identity/oidc";
/// The bindings of the repository `shop`.
pub(crate) const BINDINGS: &str = "/workspaces/acme/repositories/shop/oidc-bindings";
const NAME: &str = "acme/shop-api";
const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// A server with people and images.
pub(crate) struct Shelf {
    pub(crate) world: World,
    pub(crate) admin_password: String,
    /// The package with images, one without, and one that only administrators see.
    pub(crate) package: String,
    pub(crate) empty: String,
    pub(crate) hidden: String,
    /// Digest of the image of `1.2`.
    pub(crate) digest: String,
    /// The path of a link with which Ivy, who was invited, chooses a password.
    pub(crate) invitation: String,
}

impl Shelf {
    /// Rita reads, Will writes, Anna administers the repository `shop`; Nora has no role.
    pub(crate) async fn filled() -> Self {
        let config =
            format!("oidc:\n  issuers:\n    - issuer: {ISSUER}\n      audiences: [acme]\n");
        let options = ServerOptions { config: Some(config), ..ServerOptions::default() };
        let world = World::with_options(options, &[]).await;
        let admin = &world.admin;
        for repository in ["office", "site"] {
            admin.repository("acme", repository, "private").await;
        }
        let package = admin.package("acme", "shop-api", "shop").await;
        let empty = admin.package("acme", "shop/worker", "shop").await;
        admin.package("acme", "shop-web", "shop").await;
        let hidden = admin.package("acme", "payroll", "office").await;
        for (user, role) in [("rita", "read"), ("will", "write"), ("anna", "admin"), ("nora", "")] {
            admin.user(user, PASSWORD).await;
            if !role.is_empty() {
                admin.permit("acme", "shop", user, role).await;
            }
        }
        let will = Pusher::new(Raw::basic(&world.server.url(), "will", PASSWORD));
        let mut digest = String::new();
        for version in 0..=2 {
            let tag = format!("1.{version}");
            digest = will.release(NAME, &tag).await;
        }
        will.attach(NAME, &digest).await;
        will.image("acme/shop-web", "main", 7, "amd64", "tidy").await;
        will.image(NAME, "feature-checkout-redesign-with-a-rather-long-name", 9, "amd64", "x")
            .await;
        let _ = answered(
            will.raw.send(Method::DELETE, &format!("/v2/{NAME}/manifests/1.0"), &[], "").await,
        )
        .expect(202);
        let invitation = machines_and_guests(admin).await;
        let admin_password = world.admin.credential().secret;
        Self { world, admin_password, package, empty, hidden, digest, invitation }
    }
}

/// A robot, a binding, somebody who was invited and somebody who left; returns the path of the link.
async fn machines_and_guests(admin: &Rest) -> String {
    let robots = "/workspaces/acme/robots";
    admin
        .create(robots, json!({"name": "deployer", "description": "the cluster in Frankfurt"}))
        .await;
    admin.create(robots, json!({"name": "scanner"})).await;
    let role = Some(json!({"role": "read"}));
    let path = format!("{robots}/deployer/roles/shop");
    let _ = admin.call(Method::PUT, &path, role).await.expect(200);
    let token = json!({"name": "production", "scopes": ["pull"]});
    admin.create(&format!("{robots}/deployer/tokens"), token).await;
    let binding = json!({
        "issuer": ISSUER, "source_repository": "{9b21ae2c-4f4f-4c6e-8a2e-0b7f6f3f2f10}",
        "branches": ["main", "release/*"], "claims": {"workspaceUuid": ["{1f0c}"]},
        "tag_rules": [{"tags": ["latest", "v*"], "branches": ["main"]}, {"tags": ["*"]}],
    });
    admin.create(BINDINGS, binding).await;
    admin.user("lars", PASSWORD).await;
    let off = Some(json!({"disabled": true}));
    let _ = admin.call(Method::PATCH, "/users/lars", off).await.expect(200);
    let invited = admin.create("/invitations", json!({"username": "ivy"})).await;
    let secret = invited["secret"].as_str().expect("a secret");
    format!("/invitation?user=ivy&secret={secret}")
}

/// Somebody who pushes as the pipe does.
pub(crate) struct Pusher {
    pub(crate) raw: Raw,
    agent: String,
}

impl Pusher {
    pub(crate) fn new(raw: Raw) -> Self {
        Self::called(
            raw,
            "standpipe-pipe/0.1.0 build/128 commit/4f2a9c1de0b7aa branch/main pipeline/{1}",
        )
    }

    pub(crate) fn called(raw: Raw, agent: &str) -> Self {
        Self { raw, agent: agent.to_owned() }
    }

    pub(crate) async fn blob(&self, name: &str, kind: &str, bytes: Bytes) -> Value {
        let pushed = answered(self.raw.push_bytes(name, bytes.clone()).await);
        let _ = pushed.expect(201);
        descriptor(kind, &digest_of(&bytes), bytes.len() as u64)
    }

    pub(crate) async fn manifest(&self, name: &str, tag: &str, manifest: &Manifest) -> Value {
        let reference = if tag.is_empty() { manifest.digest() } else { tag.to_owned() };
        let path = format!("/v2/{name}/manifests/{reference}");
        let headers =
            [("content-type", manifest.media_type.as_str()), ("user-agent", self.agent.as_str())];
        let answer = self.raw.send(Method::PUT, &path, &headers, manifest.bytes.clone()).await;
        let _ = answered(answer).expect(201);
        descriptor(&manifest.media_type, &manifest.digest(), manifest.bytes.len() as u64)
    }

    /// An image whose config says how it was built; `label` is a label and an environment variable.
    pub(crate) async fn image(
        &self,
        name: &str,
        tag: &str,
        seed: u64,
        architecture: &str,
        label: &str,
    ) -> Value {
        let base = if architecture == "amd64" { 1 } else { 2 };
        let mut layers = Vec::new();
        for (seed, size) in [(base, 400_000), (base + 10, 150_000), (seed + 100, 30_000)] {
            layers.push(self.blob(name, LAYER, Payload::new(seed, size).bytes()).await);
        }
        let config = json!({
            "os": "linux", "architecture": architecture, "created": "2026-11-20T10:00:00Z",
            "config": {
                "Entrypoint": ["/usr/bin/shop-api"], "Cmd": ["serve", "--port", "8080"],
                "Env": ["PATH=/usr/local/bin:/usr/bin", format!("BUILD={seed}"), format!("NOTE={label}")],
                "User": "65532", "WorkingDir": "/app", "ExposedPorts": {"8080/tcp": {}},
                "Labels": {"org.opencontainers.image.source": "https://bitbucket.example/acme/shop", "note": label},
            },
            "rootfs": {"type": "layers", "diff_ids": []},
            "history": [
                {"created_by": "/bin/sh -c #(nop) ADD file:4f2a in / "},
                {"created_by": "/bin/sh -c #(nop)  CMD [\"bash\"]", "empty_layer": true},
                {"created_by": format!("RUN apt-get install -y --no-install-recommends ca-certificates libssl3 && echo {label} # buildkit")},
                {"created_by": "COPY target/release/shop-api /usr/bin/shop-api # buildkit"},
            ],
        });
        let config = self.blob(name, CONFIG, config.to_string().into()).await;
        let content = json!({
            "schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": layers,
            "annotations": {"org.opencontainers.image.version": tag, "note": label},
        });
        self.manifest(name, tag, &Manifest::of(IMAGE, &content)).await
    }

    /// An index for two platforms under a version and `latest`; returns its digest.
    async fn release(&self, name: &str, tag: &str) -> String {
        let seed = tag.bytes().map(u64::from).sum::<u64>() * 4;
        let mut images = Vec::new();
        for (architecture, variant) in [("amd64", None), ("arm64", Some("v8"))] {
            let mut image = self.image(name, "", seed, architecture, tag).await;
            image["platform"] = json!({"os": "linux", "architecture": architecture});
            if let Some(variant) = variant {
                image["platform"]["variant"] = json!(variant);
            }
            images.push(image);
        }
        let content = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": images});
        let index = Manifest::of(INDEX, &content);
        for tag in [tag, "latest"] {
            self.manifest(name, tag, &index).await;
        }
        index.digest()
    }

    /// A signature and a bill of materials.
    async fn attach(&self, name: &str, digest: &str) {
        let found = self.raw.manifest(name, digest).await.expect(200);
        let subject = descriptor(INDEX, digest, found.body.len() as u64);
        let empty = self.blob(name, EMPTY, Bytes::from_static(b"{}")).await;
        for kind in ["application/spdx+json", "application/vnd.dev.cosign.artifact.sig.v1+json"] {
            let content = json!({
                "schemaVersion": 2, "mediaType": IMAGE, "artifactType": kind, "config": empty,
                "layers": [empty], "subject": subject,
            });
            self.manifest(name, "", &Manifest::of(IMAGE, &content)).await;
        }
    }
}

/// Calls of REST as somebody of the shelf.
pub(crate) fn rest(shelf: &Shelf, user: &str) -> Rest {
    Rest::new(&shelf.world.server.url(), user, PASSWORD)
}
