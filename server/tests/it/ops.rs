//! Health, the home page, request ids, refusals outside the API.

use crate::harness::{Settings, World};
use axum::http::Method;
use serde_json::json;
use standpipe_server::app::HttpSettings;

#[tokio::test]
async fn orchestrators_learn_whether_it_lives_and_can_work() {
    let world = World::new().await;
    let nobody = world.anonymous();
    assert_eq!(nobody.get("/healthz").await.expect(200).text(), "ok\n");
    let ready = nobody.get("/readyz").await.expect(200);
    assert_eq!(ready.json(), json!({ "ready": true, "uploads": true }));
}

#[tokio::test]
async fn the_home_page_tells_how_to_log_in_and_runs_no_script() {
    let world = World::new().await;
    let page = world.anonymous().get("/").await.expect(200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.text().contains("docker login 127.0.0.1:5000"), "{}", page.text());
    assert!(page.text().contains("/api/v1/openapi.json"), "{}", page.text());
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
}

#[tokio::test]
async fn the_home_page_does_not_repeat_the_host_it_was_asked_by() {
    let http = HttpSettings::default();
    let world = World::with(Settings { http, ..Settings::default() }).await;
    let headers = [("host", "evil.example")];
    let page = world.anonymous().send(Method::GET, "/", &headers, "").await.expect(200);
    assert!(!page.text().contains("evil.example"), "{}", page.text());
}

#[tokio::test]
async fn what_is_not_there_is_a_problem() {
    let world = World::new().await;
    let answer = world.anonymous().get("/nowhere").await.expect(404);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let problem = answer.json();
    assert_eq!(problem["type"], "urn:standpipe:problem:not-found");
    assert_eq!(problem["title"], "Not found");
    assert_eq!(problem["status"], 404);
    assert_eq!(problem["request_id"], answer.header("x-request-id"));
    let wrong = world.anonymous().delete("/healthz").await.expect(405);
    assert_eq!(wrong.json()["type"], "urn:standpipe:problem:method-not-allowed");
    assert_eq!(wrong.header("allow"), "GET,HEAD");
}

#[tokio::test]
async fn a_request_keeps_the_id_it_came_with_if_that_is_harmless() {
    let world = World::new().await;
    let ask = async |id: &str| {
        let headers = [("x-request-id", id)];
        let answer = world.anonymous().send(Method::GET, "/healthz", &headers, "").await;
        answer.header("x-request-id").to_owned()
    };
    assert_eq!(ask("build-42").await, "build-42");
    for bad in ["", "a b", "<b>", &"x".repeat(65)] {
        let id = ask(bad).await;
        assert!(id.len() == 36 && id != bad, "{bad:?} became {id}");
    }
}
