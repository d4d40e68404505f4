//! A session ends when it must, and a cookie is good for pages only.

use super::{Browser, PASSWORD, account};
use crate::harness::{Settings, World};
use axum::http::Method;
use serde_json::json;
use standpipe_server::app::HttpSettings;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn signing_out_ends_the_session_for_whoever_has_the_cookie() {
    let world = World::new().await;
    let mut ann = Browser::signed_in(&world, "ann").await;
    let mut copy = Browser::new(&world);
    copy.cookies.clone_from(&ann.cookies);
    assert!(copy.is_in().await);
    let answer = ann.submit("/", "/sign-out", &[]).await;
    assert_eq!(answer.status, 303);
    assert!(!ann.is_in().await);
    assert!(!copy.is_in().await);
}

#[tokio::test]
async fn a_session_ends_after_twelve_idle_hours_and_thirty_days() {
    let world = World::new().await;
    let mut ann = Browser::signed_in(&world, "ann").await;
    for _ in 0..3 {
        world.clock.advance(11 * HOUR);
        assert!(ann.is_in().await, "it is used");
    }
    world.clock.advance(12 * HOUR);
    assert!(!ann.is_in().await);
    let mut ann = Browser::signed_in(&world, "ann").await;
    for _ in 0..72 {
        assert!(ann.is_in().await);
        world.clock.advance(10 * HOUR);
    }
    assert!(!ann.is_in().await, "thirty days");
}

#[tokio::test]
async fn a_new_password_or_a_switched_off_account_ends_every_session() {
    let world = World::new().await;
    let admin = world.client("admin").await;
    let mut ann = Browser::signed_in(&world, "ann").await;
    let mut other = Browser::new(&world);
    assert_eq!(other.sign_in("ann", PASSWORD).await.status, 303);
    let fields = [("current_password", PASSWORD), ("password", "another long password")];
    let answer = ann.submit("/profile", "/profile/password", &fields).await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (303, "/profile"));
    assert!(ann.is_in().await, "whoever changed it goes on");
    assert!(!other.is_in().await);
    assert_eq!(other.sign_in("ann", PASSWORD).await.status, 401);
    let off = json!({"disabled": true}).to_string();
    let headers = [("content-type", "application/json")];
    let _ = admin.send(Method::PATCH, "/api/v1/users/ann", &headers, off).await.expect(200);
    assert!(!ann.is_in().await);
}

#[tokio::test]
async fn a_session_can_be_ended_from_another_one() {
    let world = World::new().await;
    let mut ann = Browser::signed_in(&world, "ann").await;
    let mut lost = Browser::new(&world);
    assert_eq!(lost.sign_in("ann", PASSWORD).await.status, 303);
    let page = ann.get("/profile").await.expect(200).text();
    let at = page.find("/profile/sessions/").expect("another session");
    let action = page[at..].split('"').next().expect("an action").to_owned();
    assert_eq!(ann.submit("/profile", &action, &[]).await.status, 303);
    assert!(ann.is_in().await);
    assert!(!lost.is_in().await);
}

#[tokio::test]
async fn the_cookie_is_no_credential_elsewhere() {
    let world = World::new().await;
    let mut ann = Browser::signed_in(&world, "ann").await;
    for path in ["/v2/", "/v2/acme/shop/tags/list", "/api/v1/workspaces", "/token"] {
        let answer = ann.get(path).await;
        let anonymous = world.anonymous().get(path).await;
        assert_eq!(answer.status, anonymous.status, "{path}");
    }
}

#[tokio::test]
async fn tokens_and_wrong_passwords_do_not_sign_in() {
    let world = World::new().await;
    account(&world, "ann").await;
    let token = world.client("ann").await.authorization.expect("a header");
    let token = token.strip_prefix("Bearer ").expect("a token").to_owned();
    let mut browser = Browser::new(&world);
    for wrong in [token.as_str(), "wrong", ""] {
        let answer = browser.sign_in("ann", wrong).await.expect(401);
        assert!(answer.text().contains("name or the password is wrong"), "{}", answer.text());
    }
}

#[tokio::test]
async fn over_https_cookies_are_bound_to_the_host_and_to_https() {
    let public_url = Some("https://registry.example.com".to_owned());
    let http = HttpSettings { public_url, ..HttpSettings::default() };
    let world = World::with(Settings { http, ..Settings::default() }).await;
    let mut ann = Browser::new(&world);
    account(&world, "ann").await;
    let answer = ann.sign_in("ann", PASSWORD).await.expect(303);
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("__Host-standpipe_session="), "{cookie}");
    assert!(cookie.contains("; Path=/; HttpOnly; SameSite=Lax; Secure"), "{cookie}");
    assert!(!cookie.contains("Domain"), "{cookie}");
}
