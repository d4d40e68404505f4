//! No other site sends our forms or shows our pages.

use super::{Browser, form, package_id, token_of};
use crate::harness::World;
use axum::http::Method;
use standpipe_server::http::routes;

/// Every address that changes something, with what stands for its parts.
fn actions() -> Vec<String> {
    let starts = ["/sign-out", "/invitation", "/profile", "/instance", "/w/"];
    let posts = routes().into_iter().filter(|route| route.method == "POST");
    let pages = posts.filter(|route| starts.iter().any(|start| route.path.starts_with(start)));
    let parts = [
        ("{workspace}", "acme"),
        ("{repository}", "shop"),
        ("{robot}", "deployer"),
        ("{package}", "1"),
        ("{user}", "bob"),
        ("{upload}", "00000000-0000-4000-8000-000000000000"),
        ("{session}", "x"),
        ("{token}", "x"),
        ("{binding}", "x"),
    ];
    let actions: Vec<String> = pages
        .map(|page| parts.iter().fold(page.path, |path, (part, value)| path.replace(part, value)))
        .collect();
    assert!(actions.len() >= 40 && !actions.iter().any(|path| path.contains('{')), "{actions:?}");
    actions
}

#[tokio::test]
async fn a_form_without_the_token_of_its_session_changes_nothing() {
    let world = World::new().await;
    let mut admin = Browser::signed_in(&world, "admin").await;
    let mut ann = Browser::signed_in(&world, "ann").await;
    let foreign = token_of(&ann.get("/").await.expect(200));
    for action in actions() {
        for token in ["", "0", foreign.as_str()] {
            let answer =
                admin.send(Method::POST, &action, &[], form(&[("form_token", token)])).await;
            assert_eq!(answer.status, 403, "{action}: {}", answer.text());
            assert!(answer.text().contains("nothing was done"), "{}", answer.text());
        }
    }
    assert!(admin.is_in().await);
}

#[tokio::test]
async fn a_form_from_another_site_changes_nothing_even_with_the_token() {
    let world = World::new().await;
    let mut ann = Browser::signed_in(&world, "ann").await;
    let token = token_of(&ann.get("/").await.expect(200));
    let body = form(&[("form_token", &token)]);
    for headers in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("sec-fetch-site", "same-site")],
        &[("origin", "https://evil.example"), ("host", "127.0.0.1:5000")],
    ] {
        let answer = ann.send(Method::POST, "/sign-out", headers, body.clone()).await;
        assert_eq!(answer.status, 403, "{headers:?}");
    }
    assert!(ann.is_in().await);
    let ours = [("sec-fetch-site", "same-origin"), ("origin", "null")];
    assert_eq!(ann.send(Method::POST, "/sign-out", &ours, body).await.status, 303);
}

#[tokio::test]
async fn nobody_can_be_signed_in_by_another_site() {
    let world = World::new().await;
    super::account(&world, "ann").await;
    let mut victim = Browser::new(&world);
    let mut evil = Browser::new(&world);
    let token = token_of(&evil.get("/sign-in").await.expect(200));
    let _ = victim.get("/sign-in").await.expect(200);
    let fields =
        [("form_token", token.as_str()), ("username", "ann"), ("password", super::PASSWORD)];
    let answer = victim.send(Method::POST, "/sign-in", &[], form(&fields)).await;
    assert_eq!(answer.status, 403, "{}", answer.text());
}

#[tokio::test]
async fn every_page_forbids_frames_foreign_scripts_and_keeping() {
    let world = World::new().await;
    let mut ann = Browser::signed_in(&world, "ann").await;
    let package = package_id(&world, "acme/shop").await;
    for path in ["/", "/w/acme", &format!("/w/acme/packages/{package}"), "/nowhere", "/w/x"] {
        let answer = ann.get(path).await;
        let policy = answer.header("content-security-policy");
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
}

#[tokio::test]
async fn files_of_pages_are_named_by_their_content_and_kept() {
    let world = World::new().await;
    let mut browser = Browser::new(&world);
    let page = browser.get("/").await.expect(200).text();
    let urls: Vec<&str> = page.split('"').filter(|text| text.starts_with("/assets/")).collect();
    assert_eq!(urls.len(), 4, "{urls:?}");
    for url in urls {
        let file = browser.get(url).await.expect(200);
        assert_eq!(file.header("cache-control"), "public, max-age=31536000, immutable", "{url}");
    }
    let _ = browser.get("/assets/standpipe-0000000000000000.css").await.expect(404);
}

#[tokio::test]
async fn the_pages_never_take_text_for_markup_in_the_source() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/web");
    for entry in std::fs::read_dir(folder).expect("the folder of pages") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a source");
        assert!(!text.contains("PreEscaped"), "{}", path.display());
    }
}
