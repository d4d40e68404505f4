//! `standpipe-server admin …` and `check-config`, run as an operator does.

use serde_json::Value;
use standpipe_tests::environment;
use standpipe_tests::process::Program;
use standpipe_tests::raw::{Raw, answered};
use standpipe_tests::server::{ADMIN_PASSWORD, Server};

#[tokio::test]
async fn the_command_line_sets_up_everything_a_push_needs_and_takes_it_away_again() {
    let server = Server::start().await;
    let admin = async |words: &[&str]| run(&server, words).finish().await.succeeded().stdout;
    admin(&["workspace", "create", "acme", "--name", "Acme"]).await;
    admin(&["project", "create", "acme", "WEB", "--name", "Web"]).await;
    admin(&["repository", "create", "acme", "shop", "--project", "WEB"]).await;
    let told = admin(&["package", "create", "acme", "shop/api", "--repository", "shop"]).await;
    assert!(told.contains(&format!("{}/acme/shop/api", server.authority())), "{told}");
    let create = ["--json", "token", "create", "acme", "shop", "ci", "--lifetime", "3600"];
    let token: Value = serde_json::from_str(&admin(&create).await).expect("--json prints JSON");
    let secret = token["token"].as_str().expect("a new token is shown once");
    let raw = Raw::basic(&server.url(), token["username"].as_str().unwrap_or_default(), secret);
    let _ = raw.push_image("acme/shop/api", "v1", 1).await;

    let tags = admin(&["tag", "list", "acme", "shop/api"]).await;
    assert!(tags.contains("v1"), "{tags}");
    let history = admin(&["history", "acme", "shop/api"]).await;
    assert!(history.contains("v1"), "{history}");
    admin(&["tag", "delete", "acme", "shop/api", "v1"]).await;
    let _ = raw.manifest("acme/shop/api", "v1").await.expect(404);
    let id = token["id"].as_str().expect("a token has an id");
    admin(&["token", "revoke", "acme", "shop", id]).await;
    answered(raw.start_upload("acme/shop/api").await).refused(401, "UNAUTHORIZED");
    admin(&["package", "delete", "acme", "shop/api"]).await;
    let listed = admin(&["package", "list", "acme"]).await;
    assert!(!listed.contains("shop/api"), "{listed}");
}

#[tokio::test]
async fn users_and_roles_are_given_and_taken_by_the_command_line() {
    let server = Server::start().await;
    let admin = async |words: &[&str]| run(&server, words).finish().await.succeeded().stdout;
    server.admin().workspace("acme").await;
    server.admin().package("acme", "api", "shop").await;
    let create = run(&server, &["user", "create", "ann", "--new-password-stdin"]);
    let _ = create.input("a long enough password\n").finish().await.succeeded();
    let ann = Raw::basic(&server.url(), "ann", "a long enough password");
    answered(ann.start_upload("acme/api").await).refused(404, "NAME_UNKNOWN");
    admin(&["permission", "set", "acme", "shop", "ann", "write"]).await;
    let _ = answered(ann.start_upload("acme/api").await).expect(202);
    let listed = admin(&["permission", "list", "acme", "shop"]).await;
    assert!(listed.contains("ann") && listed.contains("write"), "{listed}");
    admin(&["user", "disable", "ann"]).await;
    answered(ann.start_upload("acme/api").await).refused(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn a_refusal_is_a_sentence_and_not_a_success() {
    let server = Server::start().await;
    let refused = run(&server, &["workspace", "show", "nowhere"]).finish().await;
    assert!(refused.code.is_some_and(|code| code != 0), "{refused}");
    assert!(refused.stderr.contains("nowhere"), "{refused}");
    let wrong = run(&server, &["workspace", "list"]).env("STANDPIPE_PASSWORD", "wrong-password");
    let wrong = wrong.finish().await;
    assert!(wrong.code.is_some_and(|code| code != 0), "{wrong}");
    assert!(!wrong.output().contains("wrong-password"), "{wrong}");
    let nobody = run(&server, &["workspace", "list"]).env("STANDPIPE_SERVER", "http://127.0.0.1:1");
    let nobody = nobody.finish().await;
    assert!(nobody.stderr.contains("127.0.0.1:1"), "{nobody}");
}

fn run(server: &Server, words: &[&str]) -> Program {
    Program::new(environment::server_binary())
        .args(["admin"])
        .args(words)
        .env("STANDPIPE_SERVER", server.url())
        .env("STANDPIPE_USERNAME", "admin")
        .env("STANDPIPE_PASSWORD", ADMIN_PASSWORD)
}
