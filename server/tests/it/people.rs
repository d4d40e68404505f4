//! People and machines: invitations, resets, robots, and tokens with scopes.

use crate::api::{column, delete, get, patch, post, problem, put};
use crate::harness::{Client, World};
use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::time::Duration;

fn basic(world: &World, name: &str, secret: &str) -> Client {
    world.holder(&format!("Basic {}", STANDARD.encode(format!("{name}:{secret}"))))
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("{field} of {value}")).to_owned()
}

fn acceptance(invitation: &Value, password: &str) -> Value {
    let (username, secret) = (&invitation["username"], &invitation["secret"]);
    json!({"username": username, "secret": secret, "password": password})
}

#[tokio::test]
async fn an_invitation_sets_a_password_once_and_before_that_nobody_logs_in() {
    let world = World::new().await;
    let (admin, nobody) = (world.client("admin").await, world.anonymous());
    let made = post(&admin, "/invitations", json!({"username": "zoe"})).await.expect(201);
    assert_eq!(made.header("location"), "/api/v1/users/zoe");
    let invitation = made.json();
    assert_eq!(invitation["expires_at"], "2027-01-22T08:00:00.000Z");
    let secret = text(&invitation, "secret");
    assert_eq!((secret.len(), &secret[..4]), (68, "spi_"));
    let shown = get(&admin, "/users/zoe").await.expect(200);
    assert!(!shown.text().contains(&secret[4..]));
    assert_eq!(shown.json()["has_password"], false);
    assert_eq!(shown.json()["invited_until"], invitation["expires_at"]);
    for guess in ["", &secret] {
        let _ = basic(&world, "zoe", guess).get("/v2/").await.expect(401);
    }

    let path = "/invitations/accept";
    for (field, value) in [("secret", "spi_0"), ("username", "ann"), ("username", "nobody")] {
        let mut wrong = acceptance(&invitation, "her own password");
        wrong[field] = value.into();
        problem(post(&nobody, path, wrong).await, 400, "ask an administrator for another one");
    }
    let short = acceptance(&invitation, "short");
    problem(post(&nobody, path, short).await, 400, "a password has 8 to 1024 bytes");
    let right = acceptance(&invitation, "her own password");
    let _ = post(&nobody, path, right.clone()).await.expect(204);
    let _ = basic(&world, "zoe", "her own password").get("/v2/").await.expect(200);
    problem(post(&nobody, path, right).await, 400, "was used");
    assert_eq!(get(&admin, "/users/zoe").await.expect(200).json()["has_password"], true);
    problem(
        post(&admin, "/invitations", json!({"username": "zoe"})).await,
        409,
        "user zoe exists already",
    );
    problem(post(&admin, "/invitations", json!({"username": "oidc"})).await, 400, "username");
    problem(
        post(&admin, "/invitations", json!({"username": "y", "lifetime_seconds": 59})).await,
        400,
        "lifetime_seconds: 60 to 2592000 seconds",
    );
}

#[tokio::test]
async fn an_invitation_ends_with_its_time_and_with_the_account() {
    let world = World::new().await;
    let (admin, nobody) = (world.client("admin").await, world.anonymous());
    let wanted = json!({"username": "zoe", "lifetime_seconds": 60});
    let invitation = post(&admin, "/invitations", wanted).await.expect(201).json();
    world.clock.advance(Duration::from_secs(60));
    let late = acceptance(&invitation, "her own password");
    problem(post(&nobody, "/invitations/accept", late).await, 400, "is over");
    let again = post(&admin, "/users/zoe/reset", json!({})).await.expect(200).json();
    let _ = patch(&admin, "/users/zoe", json!({"disabled": true})).await.expect(200);
    let off = acceptance(&again, "her own password");
    problem(post(&nobody, "/invitations/accept", off.clone()).await, 400, "not valid");
    let _ = patch(&admin, "/users/zoe", json!({"disabled": false})).await.expect(200);
    let _ = post(&nobody, "/invitations/accept", off).await.expect(204);
}

#[tokio::test]
async fn a_reset_ends_the_password_and_what_was_fetched_with_it_at_once() {
    let world = World::new().await;
    let (admin, nobody) = (world.client("admin").await, world.anonymous());
    let user = json!({"username": "zoe", "password": "the first one"});
    let _ = post(&admin, "/users", user).await.expect(201);
    let zoe = basic(&world, "zoe", "the first one");
    let token = post(&zoe, "/tokens", json!({"name": "t"})).await.expect(201).json();
    let by_token = basic(&world, "x", &text(&token, "token"));
    let fetched = world.narrowed(&zoe, &["repository:acme/site:pull"]).await;
    let _ = fetched.get("/v2/acme/site/tags/list").await.expect(200);
    let first = post(&admin, "/users/zoe/reset", json!({})).await.expect(200).json();
    let reset = post(&admin, "/users/zoe/reset", json!({"lifetime_seconds": 600})).await;
    let reset = reset.expect(200).json();
    let _ = zoe.get("/v2/").await.expect(401);
    let _ = fetched.get("/v2/acme/site/tags/list").await.expect(401);
    let _ = by_token.get("/v2/").await.expect(200);
    let older = acceptance(&first, "the second one");
    problem(post(&nobody, "/invitations/accept", older).await, 400, "not valid");
    let newest = acceptance(&reset, "the second one");
    let _ = post(&nobody, "/invitations/accept", newest).await.expect(204);
    let _ = basic(&world, "zoe", "the second one").get("/v2/").await.expect(200);
    // Who would let the last administrator in again?
    problem(post(&admin, "/users/admin/reset", json!({})).await, 400, "the last administrator");
    problem(post(&admin, "/users/nobody/reset", json!({})).await, 404, "there is no user nobody");
}

#[tokio::test]
async fn a_robot_does_what_its_roles_say_until_it_is_switched_off_or_deleted() {
    let world = World::new().await;
    let admin = world.client("admin").await;
    let robots = "/workspaces/acme/robots";
    let wanted = json!({"name": "deployer", "description": "Deploys the shop"});
    let made = post(&admin, robots, wanted.clone()).await.expect(201);
    assert_eq!(made.header("location"), "/api/v1/workspaces/acme/robots/deployer");
    assert_eq!(made.json()["roles"], json!([]));
    problem(post(&admin, robots, wanted.clone()).await, 409, "robot deployer exists already");
    let one = format!("{robots}/deployer");
    let made = post(&admin, &format!("{one}/tokens"), json!({"name": "cluster"})).await;
    let made = made.expect(201).json();
    assert_eq!(made["username"], "deployer");
    let robot = basic(&world, "deployer", &text(&made, "token"));
    let _ = robot.get("/v2/acme/shop/tags/list").await.refused(404, "NAME_UNKNOWN");

    let role = |role: &str| json!({"role": role});
    let _ = put(&admin, &format!("{one}/roles/shop"), role("read")).await.expect(200);
    let _ = robot.get("/v2/acme/shop/tags/list").await.expect(200);
    let _ = robot.post("/v2/acme/shop/blobs/uploads/").await.refused(403, "DENIED");
    let changed = put(&admin, &format!("{one}/roles/shop"), role("write")).await.expect(200);
    assert_eq!(changed.json()["roles"], json!([{"repository": "shop", "role": "write"}]));
    let _ = robot.push_image("acme/shop", "v1", "one").await;
    let _ = robot.get("/v2/acme/vault/tags/list").await.refused(404, "NAME_UNKNOWN");
    let _ = robot.get("/v2/other/tool/tags/list").await.refused(404, "NAME_UNKNOWN");
    let bearer = world.narrowed(&robot, &["repository:acme/shop:pull,push"]).await;
    let _ = bearer.get("/v2/acme/shop/tags/list").await.expect(200);
    // It sees its workspace over REST, is no person, and administers nothing.
    assert_eq!(column(&get(&robot, "/workspaces").await.expect(200), "slug"), ["acme"]);
    problem(get(&robot, "/user").await, 404, "there is no account of a machine");
    problem(get(&robot, robots).await, 403, "an administrator of the workspace");
    problem(get(&robot, "/users").await, 403, "an administrator of the instance");

    let _ = patch(&admin, &one, json!({"disabled": true})).await.expect(200);
    for client in [&robot, &bearer] {
        let _ = client.get("/v2/acme/shop/tags/list").await.refused(401, "UNAUTHORIZED");
    }
    let _ = patch(&admin, &one, json!({"disabled": false})).await.expect(200);
    let _ = delete(&admin, &format!("{one}/roles/shop")).await.expect(204);
    let _ = bearer.get("/v2/acme/shop/tags/list").await.refused(404, "NAME_UNKNOWN");
    problem(delete(&admin, &format!("{one}/roles/shop")).await, 404, "there is no role");
    problem(put(&admin, &format!("{one}/roles/nowhere"), role("read")).await, 404, "nowhere");

    let _ = put(&admin, &format!("{one}/roles/shop"), role("read")).await.expect(200);
    let _ = delete(&admin, &one).await.expect(204);
    let _ = robot.get("/v2/").await.expect(401);
    // Another one of the same name has neither its roles nor its tokens.
    assert_eq!(post(&admin, robots, wanted).await.expect(201).json()["roles"], json!([]));
    let _ = robot.get("/v2/").await.expect(401);
    let listed = get(&admin, &format!("{one}/tokens")).await.expect(200);
    assert!(column(&listed, "id").is_empty());
}

#[tokio::test]
async fn a_robots_tokens_are_revoked_one_by_one_and_belong_to_it_alone() {
    let world = World::new().await;
    let admin = world.client("admin").await;
    for name in ["one", "two"] {
        let wanted = json!({"name": name});
        let _ = post(&admin, "/workspaces/acme/robots", wanted).await.expect(201);
    }
    let tokens = "/workspaces/acme/robots/one/tokens";
    let first = post(&admin, tokens, json!({"name": "a"})).await.expect(201).json();
    let second = post(&admin, tokens, json!({"name": "b"})).await.expect(201).json();
    let id = text(&first, "id");
    problem(
        delete(&admin, &format!("/workspaces/acme/robots/two/tokens/{id}")).await,
        404,
        "there is no token",
    );
    let _ = delete(&admin, &format!("{tokens}/{id}")).await.expect(204);
    let _ = basic(&world, "one", &text(&first, "token")).get("/v2/").await.expect(401);
    let _ = basic(&world, "one", &text(&second, "token")).get("/v2/").await.expect(200);
    for (method, path) in [
        (Method::GET, "/workspaces/acme/robots"),
        (Method::GET, "/workspaces/acme/robots/one"),
        (Method::DELETE, "/workspaces/acme/robots/one"),
        (Method::GET, tokens),
    ] {
        let ann = world.client("ann").await;
        let answer = ann.send(method, &format!("/api/v1{path}"), &[], "").await;
        problem(answer, 403, "an administrator of the workspace");
    }
}

#[tokio::test]
async fn a_personal_token_does_only_what_it_was_made_for() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let holder = async |scopes: Value| {
        let made = post(&ann, "/tokens", json!({"name": "t", "scopes": scopes})).await;
        basic(&world, "ann", &text(&made.expect(201).json(), "token"))
    };
    let pull = holder(json!(["pull"])).await;
    let _ = pull.get("/v2/acme/shop/tags/list").await.expect(200);
    let refused = pull.post("/v2/acme/shop/blobs/uploads/").await.refused(403, "DENIED");
    assert_eq!(refused.message(), "the token was made without the scope push; use one that has it");
    problem(get(&pull, "/workspaces").await, 403, "without the scope api");
    problem(post(&pull, "/tokens", json!({"name": "x"})).await, 403, "without the scope api");
    let path = "/token?service=standpipe&scope=repository:acme/shop:pull,push,delete";
    assert_eq!(pull.get(path).await.expect(200).json()["scope"], "repository:acme/shop:pull");
    let bearer = world.narrowed(&pull, &["repository:acme/shop:pull,push"]).await;
    let _ = bearer.get("/v2/acme/shop/tags/list").await.expect(200);
    let _ = bearer.post("/v2/acme/shop/blobs/uploads/").await.refused(403, "DENIED");

    let push = holder(json!(["push"])).await;
    let pushed = push.push_image("acme/shop", "v1", "one").await;
    let manifest = format!("/v2/acme/shop/manifests/{}", pushed.digest());
    let _ = push.get(&manifest).await.expect(200);
    let _ = push.delete(&manifest).await.refused(403, "DENIED");
    let gone = holder(json!(["delete"])).await;
    let _ = gone.get(&manifest).await.refused(403, "DENIED");
    let _ = gone.delete(&manifest).await.expect(202);
    let _ = gone.get("/v2/_catalog").await.refused(403, "DENIED");
    // What it was made without is not told to those who may not even know of the package.
    let _ = pull.post("/v2/acme/vault/blobs/uploads/").await.refused(404, "NAME_UNKNOWN");

    let api = holder(json!(["api"])).await;
    let _ = get(&api, "/workspaces/acme/packages").await.expect(200);
    let _ = api.get("/v2/acme/shop/tags/list").await.refused(403, "DENIED");
    let inherited = post(&api, "/tokens", json!({"name": "x"})).await.expect(201).json();
    assert_eq!(inherited["scopes"], json!(["api"]));
    let more = json!({"name": "x", "scopes": ["api", "pull"]});
    problem(post(&api, "/tokens", more).await, 400, "scopes: this login has only api");
    for bad in [json!([]), json!(["fly"])] {
        let bad = json!({"name": "x", "scopes": bad});
        problem(post(&ann, "/tokens", bad).await, 400, "scopes: ");
    }
}

#[tokio::test]
async fn when_a_token_was_last_used_is_shown_and_outlives_a_restart_of_the_counter() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let made = post(&ann, "/tokens", json!({"name": "t"})).await.expect(201).json();
    let id = text(&made, "id");
    let used = async || {
        let listed = get(&ann, "/tokens").await.expect(200).json();
        let items = listed["items"].as_array().expect("items");
        items.iter().find(|item| item["id"] == id.as_str()).expect("it")["last_used_at"].clone()
    };
    assert_eq!(used().await, Value::Null);
    world.clock.advance(Duration::from_secs(5));
    let holder = basic(&world, "ann", &text(&made, "token"));
    let bearer = world.narrowed(&holder, &["repository:acme/shop:pull"]).await;
    assert_eq!(used().await, "2027-01-15T08:00:05.000Z");
    world.app.auth.write_logins().await.expect("written");
    assert_eq!(used().await, "2027-01-15T08:00:05.000Z");
    world.clock.advance(Duration::from_secs(5));
    let _ = bearer.get("/v2/acme/shop/tags/list").await.expect(200);
    assert_eq!(used().await, "2027-01-15T08:00:10.000Z", "also behind a registry token");
    world.app.auth.write_logins().await.expect("written");
    let _ = delete(&ann, &format!("/tokens/{id}")).await.expect(204);
    let left = world.app.registry.metadata().token_use(&id).await.expect("readable");
    assert_eq!(left, None, "nothing is left of a token that is gone");
}

#[tokio::test]
async fn a_token_that_ended_is_listed_for_a_week_and_forgotten_when_the_next_is_made() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let make = async |name: &str| {
        post(&ann, "/tokens", json!({"name": name, "lifetime_seconds": 60})).await
    };
    let names = async || {
        let mut names = column(&get(&ann, "/tokens").await.expect(200), "name");
        // Of the one that she logs in with.
        names.retain(|name| name != "test");
        names.sort();
        names
    };
    let longest = "x".repeat(100);
    let _ = make(&longest).await.expect(201);
    problem(make(&"x".repeat(101)).await, 400, "name: ");
    world.clock.advance(Duration::from_secs(60 + 7 * 24 * 3600));
    let _ = make("second").await.expect(201);
    assert_eq!(names().await, ["second", &longest]);
    world.clock.advance(Duration::from_millis(1));
    let _ = make("third").await.expect(201);
    assert_eq!(names().await, ["second", "third"]);
}
