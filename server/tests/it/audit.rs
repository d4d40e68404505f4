//! The audit log: each change has its event, logins are summarised, and nothing in it is a secret.

use crate::api::{delete, get, package_id, patch, post, problem, put};
use crate::harness::{Client, World};
use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use standpipe_server::domain::{Role, Timestamp};
use standpipe_server::metadata::AuditFilter;
use standpipe_server::tasks::{AuditSettings, Tasks};
use std::time::Duration;

async fn events(client: &Client, query: &str) -> Vec<Value> {
    let found = get(client, &format!("/audit?{query}")).await.expect(200).json();
    found["items"].as_array().expect("items").clone()
}

/// What the newest event says: action, target, workspace.
async fn newest(admin: &Client) -> (String, String, String) {
    let event = events(admin, "limit=1").await.remove(0);
    let text = |field: &str| event[field].as_str().unwrap_or("-").to_owned();
    assert_eq!(event["count"], 1, "{event}");
    (text("action"), text("target"), text("workspace"))
}

/// Calls and the event that each must leave: action, target, workspace.
const STORY: &str = r#"
POST /workspaces {"slug":"new"} => workspace.create new new
PATCH /workspaces/new {"name":"New"} => workspace.change new new
POST /workspaces/new/projects {"key":"WEB","name":"Web"} => project.create WEB new
POST /workspaces/new/repositories {"slug":"shop"} => repository.create shop new
PATCH /workspaces/new/repositories/shop {"visibility":"public"} => repository.change shop new
PUT /workspaces/new/repositories/shop/permissions/ann {"role":"write"} => role.set shop new
DELETE /workspaces/new/repositories/shop/permissions/ann {} => role.remove shop new
PUT /workspaces/new/permissions/ann {"role":"admin"} => admin.add ann new
DELETE /workspaces/new/permissions/ann {} => admin.remove ann new
POST /workspaces/new/robots {"name":"bot"} => robot.create bot new
PATCH /workspaces/new/robots/bot {"description":"x"} => robot.change bot new
PUT /workspaces/new/robots/bot/roles/shop {"role":"read"} => robot.role bot new
DELETE /workspaces/new/robots/bot {} => robot.delete bot new
POST /workspaces/new/packages {"name":"shop","repository":"shop"} => package.create shop new
POST /users {"username":"zoe","password":"canary-4711"} => user.create zoe -
PATCH /users/zoe {"disabled":true} => user.change zoe -
POST /users/zoe/reset {} => user.reset zoe -
DELETE /users/zoe/invitation {} => user.withdraw zoe -
POST /invitations {"username":"yan"} => user.invite yan -
"#;

#[tokio::test]
async fn each_change_over_rest_leaves_one_event_that_says_what_it_was() {
    let world = World::new().await;
    let admin = world.client("admin").await;
    for step in STORY.trim().lines() {
        let (request, event) = step.split_once(" => ").expect("a call and its event");
        let mut parts = request.splitn(3, ' ');
        let mut part = || parts.next().expect("a method, a path and a body");
        let (method, path, body): (Method, _, _) =
            (part().parse().expect("a method"), part(), part());
        let before = events(&admin, "limit=1000").await.len();
        let kind = [("content-type", "application/json")];
        let answer = admin.send(method, &format!("/api/v1{path}"), &kind, body.to_owned()).await;
        assert!(answer.status.is_success(), "{step}: {}", answer.text());
        let (action, target, workspace) = newest(&admin).await;
        assert_eq!(format!("{action} {target} {workspace}"), event);
        assert_eq!(events(&admin, "limit=1000").await.len(), before + 1, "{step}");
    }
    let all = get(&admin, "/audit?limit=1000").await.expect(200).text();
    assert!(!all.contains("canary") && !all.contains("argon2"), "{all}");
    assert_sound(&world).await;
}

async fn assert_sound(world: &World) {
    let wrong = world.app.registry.metadata().check().await.expect("readable");
    assert_eq!(wrong, Vec::<String>::new());
}

#[tokio::test]
async fn pushes_deletions_and_what_puts_them_back_are_told_with_who_and_what() {
    let world = World::new().await;
    let (admin, ann) = (world.client("admin").await, world.client("ann").await);
    let one = ann.push_image("acme/shop", "v1", "one").await;
    let event = events(&admin, "limit=1").await.remove(0);
    assert_eq!(event["action"], "manifest.push");
    assert_eq!((&event["actor"], &event["target"]), (&json!("user:ann"), &json!("shop:v1")));
    assert_eq!(event["details"], json!({"digest": one.digest(), "tag": "v1"}));
    assert!(event["request_id"].as_str().is_some_and(|id| !id.is_empty()));
    assert!(event["credential"].as_str().is_some_and(|id| id.len() == 24), "{event}");
    // The same again changes nothing, so there is nothing to tell.
    let before = events(&admin, "limit=1000").await.len();
    let _ = ann.put_manifest("acme/shop", "v1", &one).await.expect(201);
    assert_eq!(events(&admin, "limit=1000").await.len(), before);
    let two = ann.push_image("acme/shop", "v1", "two").await;
    let event = events(&admin, "limit=1").await.remove(0);
    let details = json!({"digest": two.digest(), "tag": "v1", "from": one.digest()});
    assert_eq!(event["details"], details);

    let id = package_id(&admin, "acme", "shop").await;
    let path = format!("/workspaces/acme/packages/{id}");
    let _ = post(&admin, &format!("{path}/restore"), json!({"tag": "v1"})).await.expect(204);
    let expected = |action: &str, target: String| (action.to_owned(), target, "acme".to_owned());
    assert_eq!(newest(&admin).await, expected("tag.restore", "shop:v1".to_owned()));
    let _ = delete(&ann, &format!("{path}/tags/v1")).await.expect(204);
    assert_eq!(newest(&admin).await, expected("tag.delete", "shop:v1".to_owned()));
    let _ = ann.delete(&format!("/v2/acme/shop/manifests/{}", two.digest())).await.expect(202);
    let target = format!("shop@{}", two.digest());
    assert_eq!(newest(&admin).await, expected("manifest.delete", target.clone()));
    let _ =
        post(&admin, &format!("{path}/restore"), json!({"digest": two.digest()})).await.expect(204);
    assert_eq!(newest(&admin).await, expected("manifest.restore", target));
    let blob = ann.push_blob("acme/shop", b"loose").await;
    let _ = ann.delete(&format!("/v2/acme/shop/blobs/{blob}")).await.expect(202);
    assert_eq!(newest(&admin).await, expected("blob.delete", format!("shop@{blob}")));
    let _ = post(&admin, &format!("{path}/reclaim"), json!({})).await.expect(200);
    assert_eq!(newest(&admin).await, expected("space.reclaim", "shop".to_owned()));
    let _ = delete(&admin, &path).await.expect(204);
    assert_eq!(newest(&admin).await, expected("package.delete", "shop".to_owned()));
    let _ = post(&admin, &format!("{path}/restore"), json!({})).await.expect(200);
    assert_eq!(newest(&admin).await, expected("package.restore", "shop".to_owned()));
    assert_sound(&world).await;
}

#[tokio::test]
async fn what_was_refused_leaves_no_event() {
    let world = World::new().await;
    let (admin, bob) = (world.client("admin").await, world.client("bob").await);
    let before = events(&admin, "limit=1000").await;
    let _ = bob.post("/v2/acme/shop/blobs/uploads/").await.expect(403);
    let _ = post(&admin, "/workspaces", json!({"slug": "acme"})).await.expect(409);
    let _ =
        put(&bob, "/workspaces/acme/permissions/bob", json!({"role": "admin"})).await.expect(403);
    let _ = delete(&admin, "/workspaces/acme/repositories/shop").await.expect(409);
    let _ = patch(&admin, "/users/admin", json!({"disabled": true})).await.expect(400);
    assert_eq!(events(&admin, "limit=1000").await, before);
}

#[tokio::test]
async fn logins_are_counted_together_and_say_nothing_that_could_be_a_secret() {
    let world = World::new().await;
    let admin = world.client("admin").await;
    let made = json!({"username": "zoe", "password": "canary-4711"});
    let _ = post(&admin, "/users", made).await.expect(201);
    let login = |name: &str, secret: &str| {
        world.holder(&format!("Basic {}", STANDARD.encode(format!("{name}:{secret}"))))
    };
    for _ in 0..3 {
        let _ = login("zoe", "canary-4711").get("/v2/").await.expect(200);
    }
    world.clock.advance(Duration::from_secs(7));
    for _ in 0..2 {
        let _ = login("zoe", "canary-guess").get("/v2/").await.expect(401);
    }
    // A password typed where the name belongs.
    let _ = login("canary-4711", "zoe-or-so").get("/v2/").await.expect(401);
    let _ = login("oidc", "canary.no.token").get("/v2/").await.expect(401);
    let _ = post(&admin, "/workspaces/acme/robots", json!({"name": "bot"})).await.expect(201);
    let token = post(&admin, "/workspaces/acme/robots/bot/tokens", json!({"name": "t"})).await;
    let token = token.expect(201).json()["token"].as_str().expect("a token").to_owned();
    let _ = login("bot", &token).get("/v2/").await.expect(200);
    world.app.auth.write_logins().await.expect("written");
    let found = events(&admin, "action=login&limit=1000").await;
    let shown = Value::from(found.clone()).to_string();
    assert!(!shown.contains("canary") && !shown.contains(&token), "{shown}");
    let count = |action: &str, target: &str| {
        let fits = |event: &&Value| event["action"] == action && event["target"] == target;
        found.iter().find(fits).map(|event| event["count"].as_u64().expect("a number"))
    };
    assert_eq!(count("login.success", "user:zoe"), Some(3));
    assert_eq!(count("login.failure", "user:zoe"), Some(2));
    assert_eq!(count("login.failure", "unknown"), Some(1));
    assert_eq!(count("login.failure", "oidc"), Some(1));
    assert_eq!(count("login.success", "robot:1:bot"), Some(1));
    let zoe = found.iter().find(|event| event["actor"] == "user:zoe").expect("her logins");
    assert_eq!(zoe["first_at"], "2027-01-15T08:00:00.000Z");
    assert_eq!(zoe["at"], "2027-01-15T08:00:07.000Z");
    assert_eq!(
        (&zoe["credential"], &zoe["details"]["kind"]),
        (&json!("password"), &json!("password"))
    );
    // Nothing happened since but what the test itself asked.
    world.app.auth.write_logins().await.expect("written");
    let again = events(&admin, "action=login.failure").await;
    assert_eq!(again.len(), 3, "{again:?}");
    let own = get(&admin, "/workspaces/acme/audit?action=login").await.expect(200).json();
    assert_eq!(own["items"].as_array().map(Vec::len), Some(1), "the robot's are its workspace's");
}

#[tokio::test]
async fn the_log_is_read_page_by_page_and_by_filters() {
    let world = World::new().await;
    let (admin, ann) = (world.client("admin").await, world.client("ann").await);
    for seed in ["a", "b", "c"] {
        world.clock.advance(Duration::from_secs(60));
        let _ = ann.push_image("acme/shop", seed, seed).await;
        let _ = ann.push_image("other/tool", seed, seed).await;
    }
    let mine = events(&admin, "actor=user:ann&action=manifest").await;
    let targets: Vec<_> =
        mine.iter().map(|event| event["target"].as_str().expect("text")).collect();
    assert_eq!(targets, ["tool:c", "shop:c", "tool:b", "shop:b", "tool:a", "shop:a"]);
    assert!(events(&admin, "actor=user:an").await.is_empty(), "an actor is meant exactly");
    assert!(events(&admin, "action=mani").await.is_empty(), "a thing is meant exactly");
    assert_eq!(events(&admin, "target=shop:b").await.len(), 1);
    let query = "since=2027-01-15T08:02:00Z&until=2027-01-15T08:03:00Z&actor=user:ann";
    let between = events(&admin, query).await;
    assert_eq!(between.len(), 2, "{between:?}");
    assert!(between.iter().all(|event| event["at"] == "2027-01-15T08:02:00.000Z"));

    let all = events(&admin, "limit=1000").await;
    let (mut paged, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/audit?limit=4{after}");
        let page = get(&admin, &path).await.expect(200).json();
        paged.extend(page["items"].as_array().expect("items").clone());
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(paged, all);
    for bad in ["limit=0", "limit=1001", "after=x", "since=yesterday", "colour=red"] {
        let answer = get(&admin, &format!("/audit?{bad}")).await;
        let _ = problem(answer, 400, bad.split('=').next().expect("a name"));
    }
}

#[tokio::test]
async fn who_administers_a_workspace_sees_what_was_done_there_and_nothing_else() {
    let world = World::new().await;
    let (admin, ann) = (world.client("admin").await, world.client("ann").await);
    let _ = ann.push_image("other/tool", "v1", "one").await;
    problem(get(&ann, "/workspaces/acme/audit").await, 403, "administrator of the workspace");
    problem(get(&ann, "/audit").await, 403, "administrator of the instance");
    let eve = world.client("eve").await;
    problem(get(&eve, "/workspaces/other/audit").await, 404, "there is no workspace other");
    world.grant("acme", "shop", "ann", Role::Admin).await;
    problem(get(&ann, "/workspaces/acme/audit").await, 403, "administrator of the workspace");
    let path = "/workspaces/acme/permissions/ann";
    let _ = put(&admin, path, json!({"role": "admin"})).await.expect(200);
    let seen = get(&ann, "/workspaces/acme/audit?limit=1000").await.expect(200).json();
    let items = seen["items"].as_array().expect("items");
    assert!(items.len() > 5 && items.iter().all(|event| event["workspace"] == "acme"), "{seen}");
    problem(get(&ann, "/audit").await, 403, "administrator of the instance");
}

#[tokio::test]
async fn what_is_done_to_a_token_is_told_in_the_workspace_where_it_works_and_a_persons_in_none() {
    let world = World::new().await;
    let admin = world.client("admin").await;
    let _ = post(&admin, "/workspaces/acme/robots", json!({"name": "bot"})).await.expect(201);
    for (tokens, workspace) in [
        ("/workspaces/acme/repositories/shop/pipeline-tokens", "acme"),
        ("/workspaces/acme/robots/bot/tokens", "acme"),
        ("/tokens", "-"),
    ] {
        let made = post(&admin, tokens, json!({"name": "t"})).await.expect(201).json();
        let id = made["id"].as_str().expect("an id");
        let expected = |action: &str| (action.to_owned(), id.to_owned(), workspace.to_owned());
        assert_eq!(newest(&admin).await, expected("token.create"), "{tokens}");
        let _ = delete(&admin, &format!("{tokens}/{id}")).await.expect(204);
        assert_eq!(newest(&admin).await, expected("token.revoke"), "{tokens}");
    }
    assert_sound(&world).await;
}

#[tokio::test]
async fn every_event_is_written_to_the_file_as_a_line_even_if_it_is_moved_away() {
    let world = World::new().await;
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let file = elsewhere.path().join("audit.log");
    let settings =
        AuditSettings { file: Some(file.clone()), log: true, keep: Duration::from_secs(3600) };
    let ann = world.client("ann").await;
    let run = async || {
        let (registry, auth) = (world.app.registry.clone(), world.app.auth.clone());
        Tasks::start(registry, auth, settings.clone(), Duration::ZERO).await.stop().await;
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let _ = std::fs::remove_file(&file);
        let line = |line: &str| serde_json::from_str::<Value>(line).expect("JSON");
        text.lines().map(line).collect::<Vec<_>>()
    };
    let first = run().await;
    let pushed = ann.push_image("acme/shop", "v1", "one").await;
    let second = run().await;
    assert!(first.iter().any(|event| event["action"] == "workspace.create"));
    let push = &second[0];
    assert_eq!((&push["action"], &push["workspace"]), (&json!("manifest.push"), &json!("acme")));
    assert_eq!(push["details"]["digest"], pushed.digest());
    let metadata = world.app.registry.metadata();
    let all = metadata.audit(&AuditFilter::default(), None, 1000).await.expect("readable");
    let ids: Vec<_> = all.events.iter().rev().map(|event| event.place.to_string()).collect();
    let written: Vec<_> =
        first.iter().chain(&second).map(|event| event["id"].as_str().expect("an id")).collect();
    assert_eq!(written, ids, "each once, in order");

    // Old ones go, but none that is not written yet.
    world.clock.advance(Duration::from_secs(7200));
    let _ = ann.push_image("acme/shop", "v2", "two").await;
    let far = Timestamp(u64::MAX);
    let unwritten = world.app.registry.audit_written().await.expect("readable");
    world.app.registry.forget_audit(far, Some(&unwritten)).await.expect("forgotten");
    let left = metadata.audit(&AuditFilter::default(), None, 1000).await.expect("readable");
    assert!(left.events.iter().any(|event| event.target == "shop:v2"), "{left:?}");
    let third = run().await;
    assert_eq!(third.iter().filter(|event| event["target"] == "shop:v2").count(), 1);
    world.app.registry.forget_audit(far, None).await.expect("forgotten");
    let left = metadata.audit(&AuditFilter::default(), None, 1000).await.expect("readable");
    assert_eq!(left.events, Vec::new());
    assert_sound(&world).await;
}
