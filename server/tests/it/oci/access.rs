//! Who gets which answer where: every route of `/v2/`, asked by everybody.

use crate::harness::{Answer, Client, Halting, Manifest, Settings, World, digest, halting};
use axum::http::Method;
use standpipe_server::domain::{CreateOnPush, Role};

/// A request to a package, by what it takes.
struct Row {
    method: Method,
    path: String,
    body: Vec<u8>,
    content_type: &'static str,
}

fn row(method: Method, path: String) -> Row {
    Row { method, path, body: Vec::new(), content_type: "application/octet-stream" }
}

/// All routes of a package that read.
fn reading(name: &str, manifest: &Manifest, blob: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for method in [Method::GET, Method::HEAD] {
        for rest in [
            "tags/list".to_owned(),
            "manifests/latest".to_owned(),
            format!("manifests/{}", manifest.digest()),
            format!("blobs/{blob}"),
        ] {
            rows.push(row(method.clone(), format!("/v2/{name}/{rest}")));
        }
    }
    rows
}

/// All routes of a package that change something or belong to an upload.
fn writing(name: &str, manifest: &Manifest, blob: &str, upload: &str) -> Vec<Row> {
    let uploads = format!("/v2/{name}/blobs/uploads/");
    let mut rows = vec![
        row(Method::POST, uploads.clone()),
        row(Method::POST, format!("{uploads}?digest={}", digest(b""))),
        row(Method::POST, format!("{uploads}?mount={blob}&from={name}")),
        row(Method::DELETE, format!("/v2/{name}/manifests/latest")),
        row(Method::DELETE, format!("/v2/{name}/manifests/{}", manifest.digest())),
        row(Method::DELETE, format!("/v2/{name}/blobs/{blob}")),
    ];
    for method in [Method::GET, Method::HEAD, Method::PATCH, Method::DELETE] {
        rows.push(row(method, upload.to_owned()));
    }
    rows.push(row(Method::PUT, format!("{upload}?digest={}", digest(b""))));
    for reference in ["latest", &manifest.digest()] {
        rows.push(Row {
            body: manifest.bytes.clone(),
            content_type: manifest.media_type,
            ..row(Method::PUT, format!("/v2/{name}/manifests/{reference}"))
        });
    }
    rows
}

async fn ask(client: &Client, row: &Row) -> Answer {
    let headers = [("content-type", row.content_type)];
    client.send(row.method.clone(), &row.path, &headers, row.body.clone()).await
}

/// Asks for everything and expects one status; the code is looked at where there is a body.
async fn all(client: &Client, rows: &[Row], status: u16, code: &str) {
    for row in rows {
        let what = format!("{} {}", row.method, row.path);
        let answer = ask(client, row).await;
        assert_eq!(answer.status.as_u16(), status, "{what}: {}", answer.text());
        if row.method != Method::HEAD {
            assert_eq!(answer.json()["errors"][0]["code"], code, "{what}");
        }
    }
}

#[tokio::test]
async fn strangers_are_asked_to_log_in_whether_something_exists_or_not() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let manifest = ann.push_image("acme/shop", "latest", "one").await;
    let (blob, upload) = (digest(b"one"), ann.start_upload("acme/shop").await);
    let nobody = world.anonymous();
    for name in ["acme/shop", "acme/nothing", "nowhere/nothing"] {
        let upload = upload.replace("acme/shop", name);
        all(&nobody, &reading(name, &manifest, &blob), 401, "UNAUTHORIZED").await;
        all(&nobody, &writing(name, &manifest, &blob, &upload), 401, "UNAUTHORIZED").await;
    }
}

#[tokio::test]
async fn without_a_role_everything_looks_like_nothing() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let manifest = ann.push_image("acme/shop", "latest", "one").await;
    let (blob, upload) = (digest(b"one"), ann.start_upload("acme/shop").await);
    let foreign = world.pipeline("acme", "vault").await;
    for client in [world.client("eve").await, foreign] {
        for name in ["acme/shop", "acme/nothing"] {
            let upload = upload.replace("acme/shop", name);
            all(&client, &reading(name, &manifest, &blob), 404, "NAME_UNKNOWN").await;
            all(&client, &writing(name, &manifest, &blob, &upload), 404, "NAME_UNKNOWN").await;
        }
        // Even the words are the same.
        let words = async |name: &str| {
            let answer = client.get(&format!("/v2/{name}/tags/list")).await.expect(404);
            answer.text().replace(name, "<name>")
        };
        assert_eq!(words("acme/shop").await, words("acme/nothing").await);
    }
    assert_eq!(ann.get("/v2/acme/shop/manifests/latest").await.expect(200).body, manifest.bytes);
    let _ = ann.get(&upload).await.expect(204);
}

#[tokio::test]
async fn a_reader_reads_and_is_denied_the_rest() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let manifest = ann.push_image("acme/shop", "latest", "one").await;
    let (blob, upload) = (digest(b"one"), ann.start_upload("acme/shop").await);
    let bob = world.client("bob").await;
    for row in reading("acme/shop", &manifest, &blob) {
        assert_eq!(ask(&bob, &row).await.status, 200, "{} {}", row.method, row.path);
    }
    all(&bob, &writing("acme/shop", &manifest, &blob, &upload), 403, "DENIED").await;
    assert_eq!(ann.get("/v2/acme/shop/manifests/latest").await.expect(200).body, manifest.bytes);
}

#[tokio::test]
async fn everybody_reads_what_is_public_and_nobody_writes_it() {
    let world = World::new().await;
    let admin = world.client("admin").await;
    let manifest = admin.push_image("acme/site", "latest", "one").await;
    let (blob, upload) = (digest(b"one"), admin.start_upload("acme/site").await);
    for client in [world.anonymous(), world.client("eve").await] {
        for row in reading("acme/site", &manifest, &blob) {
            assert_eq!(ask(&client, &row).await.status, 200, "{} {}", row.method, row.path);
        }
    }
    let rows = writing("acme/site", &manifest, &blob, &upload);
    all(&world.anonymous(), &rows, 401, "UNAUTHORIZED").await;
    all(&world.client("eve").await, &rows, 403, "DENIED").await;
}

#[tokio::test]
async fn a_token_is_never_worth_more_than_its_scope() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let manifest = ann.push_image("acme/shop", "latest", "one").await;
    let (blob, upload) = (digest(b"one"), ann.start_upload("acme/shop").await);
    let reader = world.narrowed(&ann, &["repository:acme/shop:pull"]).await;
    for row in reading("acme/shop", &manifest, &blob) {
        assert_eq!(ask(&reader, &row).await.status, 200, "{} {}", row.method, row.path);
    }
    let elsewhere = world.narrowed(&ann, &["repository:acme/shop-web:pull,push,delete"]).await;
    let rows = writing("acme/shop", &manifest, &blob, &upload);
    for client in [&reader, &elsewhere] {
        all(client, &rows, 401, "UNAUTHORIZED").await;
        let refused = client.post("/v2/acme/shop/blobs/uploads/").await.expect(401);
        let challenge = refused.header("www-authenticate");
        let wanted = "scope=\"repository:acme/shop:pull,push\",error=\"insufficient_scope\"";
        assert!(challenge.ends_with(wanted), "{challenge}");
    }
    let refused = reader.delete(&format!("/v2/acme/shop/blobs/{blob}")).await.expect(401);
    let challenge = refused.header("www-authenticate");
    assert!(challenge.contains("scope=\"repository:acme/shop:delete\""), "{challenge}");
}

#[tokio::test]
async fn a_role_that_is_taken_away_holds_for_tokens_that_are_out_already() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let token = world.narrowed(&ann, &["repository:acme/shop:pull,push,delete"]).await;
    let upload = token.start_upload("acme/shop").await;
    let _ = token.send(Method::PATCH, &upload, &[], "0123").await.expect(202);
    let close = format!("{upload}&digest={}", digest(b"0123"));
    world.grant("acme", "shop", "ann", Role::Read).await;
    let _ = token.send(Method::PUT, &close, &[], "").await.refused(403, "DENIED");
    world.revoke("acme", "shop", "ann").await;
    let _ = token.send(Method::PUT, &close, &[], "").await.refused(404, "NAME_UNKNOWN");
    world.grant("acme", "shop", "ann", Role::Write).await;
    let _ = token.send(Method::PUT, &close, &[], "").await.expect(201);
}

#[tokio::test]
async fn a_role_taken_away_during_a_body_keeps_the_blob_out() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let upload = ann.start_upload("acme/shop").await;
    let Halting { body, reached, rest } = halting("01");
    let close = format!("{upload}?digest={}", digest(b"0123"));
    let sent = tokio::spawn({
        let ann = ann.clone();
        async move { ann.send(Method::PUT, &close, &[], body).await }
    });
    reached.await.expect("the request was let in");
    world.grant("acme", "shop", "ann", Role::Read).await;
    rest.send("23").expect("the body is still awaited");
    let _ = sent.await.expect("an answer").refused(403, "DENIED");
    let path = format!("/v2/acme/shop/blobs/{}", digest(b"0123"));
    let _ = ann.get(&path).await.refused(404, "BLOB_UNKNOWN");
}

#[tokio::test]
async fn an_upload_is_its_owners_alone_and_of_its_package_alone() {
    let world = World::new().await;
    let (ann, admin) = (world.client("ann").await, world.client("admin").await);
    let upload = ann.start_upload("acme/shop").await;
    let elsewhere = upload.replace("acme/shop", "acme/shop-web");
    for (client, path) in [(&admin, &upload), (&ann, &elsewhere)] {
        for method in [Method::GET, Method::PATCH, Method::DELETE] {
            let answer = client.send(method, path, &[], "").await;
            if answer.status != 404 {
                panic!("{path}: {}", answer.status);
            }
        }
        let close = format!("{path}?digest={}", digest(b""));
        let _ = client.send(Method::PUT, &close, &[], "").await.refused(404, "BLOB_UPLOAD_UNKNOWN");
    }
    // Another credential of the same person goes on with it.
    let _ = world.client("ann").await.get(&upload).await.expect(204);
}

#[tokio::test]
async fn content_of_other_packages_cannot_be_reached_by_its_digest() {
    let world = World::new().await;
    let (ann, admin) = (world.client("ann").await, world.client("admin").await);
    let manifest = admin.push_image("acme/vault", "latest", "secret").await;
    let blob = digest(b"secret");
    let _ = ann.get(&format!("/v2/acme/shop/blobs/{blob}")).await.refused(404, "BLOB_UNKNOWN");
    let _ = ann
        .get(&format!("/v2/acme/shop/manifests/{}", manifest.digest()))
        .await
        .refused(404, "MANIFEST_UNKNOWN");
    let refused = ann.put_manifest("acme/shop", "latest", &manifest).await;
    let _ = refused.refused(404, "MANIFEST_BLOB_UNKNOWN");
    let _ = ann.get(&format!("/v2/acme/shop/blobs/{blob}")).await.refused(404, "BLOB_UNKNOWN");
}

#[tokio::test]
async fn a_push_to_a_new_name_creates_the_package_or_says_how_to() {
    for (create_on_push, ann_may, words) in [
        (CreateOnPush::Never, false, "does not create packages by a push"),
        (CreateOnPush::Admins, false, "the role admin on the repository shop"),
        (CreateOnPush::Writers, true, ""),
    ] {
        let world = World::with(Settings { create_on_push, ..Settings::default() }).await;
        let ann = world.client("ann").await;
        let new = "/v2/acme/shop/api/blobs/uploads/";
        if !ann_may {
            let refused = ann.post(new).await.refused(404, "NAME_UNKNOWN");
            assert!(refused.message().contains(words), "{}", refused.message());
            continue;
        }
        let _ = ann.push_image("acme/shop/api", "latest", "one").await;
        let _ = ann.get("/v2/acme/shop/api/manifests/latest").await.expect(200);
        let _ = ann.push_blob("acme/shop/whole", b"in one request").await;
        let eve = world.client("eve").await.post(new).await.refused(404, "NAME_UNKNOWN");
        assert!(eve.message().contains("may not see"), "{}", eve.message());
    }
}

#[tokio::test]
async fn an_admin_is_told_when_no_repository_fits_a_new_name() {
    let world = World::new().await;
    let admin = world.client("admin").await;
    let refused =
        admin.post("/v2/acme/unheard-of/blobs/uploads/").await.refused(404, "NAME_UNKNOWN");
    assert!(refused.message().contains("no repository fits"), "{}", refused.message());
}

#[tokio::test]
async fn a_pipeline_pushes_to_its_repository_and_nowhere_else() {
    let world = World::new().await;
    let pipeline = world.pipeline("acme", "shop").await;
    let _ = pipeline.push_image("acme/shop", "latest", "one").await;
    let _ = pipeline.post("/v2/acme/vault/blobs/uploads/").await.refused(404, "NAME_UNKNOWN");
    let _ = pipeline.post("/v2/other/tool/blobs/uploads/").await.refused(404, "NAME_UNKNOWN");
    let _ = pipeline.post("/v2/acme/site/blobs/uploads/").await.refused(403, "DENIED");
}

#[tokio::test]
async fn what_a_pipeline_creates_belongs_to_its_repository_and_is_in_no_other_workspace() {
    let create_on_push = CreateOnPush::Writers;
    let world = World::with(Settings { create_on_push, ..Settings::default() }).await;
    let pipeline = world.pipeline("acme", "shop").await;
    let _ = pipeline.push_image("acme/vault/new", "latest", "one").await;
    let path = "/api/v1/workspaces/acme/packages?repository=shop";
    let packages = world.client("admin").await.get(path).await.expect(200).text();
    assert!(packages.contains("\"vault/new\""), "{packages}");
    let _ = pipeline.post("/v2/other/new/blobs/uploads/").await.refused(404, "NAME_UNKNOWN");
}
