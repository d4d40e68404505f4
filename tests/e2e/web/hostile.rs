//! What people store is text on every page, whatever it looks like; and no other site gets at anything.

use super::shelf::{BINDINGS, ISSUER, PASSWORD, Pusher, Shelf};
use super::{WIDE, admin_pages, pages};
use serde_json::json;
use standpipe_tests::browser::{Browser, Look};
use standpipe_tests::raw::Raw;
use standpipe_tests::rest::Rest;

/// Each sets `document.documentElement.dataset.hit` or the title if it ever runs.
const CORPUS: [&str; 7] = [
    "<script>document.documentElement.dataset.hit=1</script>",
    "\"><svg onload=document.documentElement.dataset.hit=2>",
    "'><img src=x onerror=document.documentElement.dataset.hit=3>",
    "</title></code></pre></textarea><script>document.documentElement.dataset.hit=4</script>",
    "javascript:document.documentElement.dataset.hit=5",
    "<a href=\"javascript:document.documentElement.dataset.hit=6\" hx-get=/ hx-trigger=load autofocus onfocus=alert(1)>x</a>",
    "{{7*7}}<iframe srcdoc='<script>parent.document.documentElement.dataset.hit=7</script>'></iframe>",
];

#[tokio::test]
async fn hostile_text_is_text_on_every_page() {
    let Some(browser) = Browser::start().await else { return };
    let shelf = Shelf::filled().await;
    let url = shelf.world.server.url();
    let will = Raw::basic(&url, "will", PASSWORD);
    let admin = &shelf.world.admin;
    for (number, text) in (0..).zip(CORPUS) {
        let escaped: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let agent = format!("standpipe-pipe/0 build/{escaped} commit/{escaped} branch/{escaped}");
        let pusher = Pusher::called(will.clone(), &agent);
        pusher.image("acme/shop-api", &format!("x{number}"), 40 + number, "amd64", text).await;
        pusher.image("acme/shop-api", "latest", 60 + number, "amd64", text).await;
        let browser = Pusher::called(will.clone(), text);
        browser.image("acme/shop-web", &format!("x{number}"), 80 + number, "amd64", text).await;
        admin
            .create(
                "/workspaces/acme/projects",
                json!({"key": format!("X{number}"), "name": cut(text)}),
            )
            .await;
        let path = "/workspaces/acme/repositories";
        admin.create(path, json!({"slug": format!("x{number}"), "name": cut(text), "project": format!("X{number}")})).await;
        admin
            .create(
                "/workspaces/acme/repositories/shop/pipeline-tokens",
                json!({"name": cut(text), "lifetime_seconds": 3600}),
            )
            .await;
        machine(admin, number, text).await;
        admin.create("/tokens", json!({"name": cut(text), "lifetime_seconds": 3600})).await;
    }
    admin.create("/workspaces", json!({"slug": "hostile", "name": cut(CORPUS[0])})).await;
    browser.look(Look { width: WIDE, dark: false }).await;
    browser.sign_in(&url, "admin", &shelf.admin_password).await;
    let package = format!("/w/acme/packages/{}", shelf.package);
    let mut all: Vec<String> =
        pages(&shelf).into_iter().chain(admin_pages(&shelf)).map(|(_, path)| path).collect();
    all.extend((0..CORPUS.len()).map(|number| format!("{package}/tags/x{number}")));
    all.push(format!("{package}/compare?tag=x0&tag=x1"));
    all.extend((0..CORPUS.len()).map(|number| format!("/w/acme/projects/X{number}")));
    all.extend((0..CORPUS.len()).map(|number| format!("/w/acme/repositories/x{number}")));
    all.extend((0..CORPUS.len()).map(|number| format!("/w/acme/robots/x{number}")));
    let hit = "/invitation?user=%3Cscript%3E&secret=%22%3E%3Csvg%20onload%3Ddocument.documentElement.dataset.hit%3D8%3E";
    all.push(hit.to_owned());
    all.push("/w/hostile".to_owned());
    let mut seen = String::new();
    for path in all {
        browser.go(&format!("{url}{path}")).await;
        let found = browser.evaluate("const bad = [...document.querySelectorAll('script:not([src^=\"/assets/\"]), svg, img, iframe, [onload], [onerror], [onfocus], [href^=\"javascript:\"], style, [style]')].map((e) => e.outerHTML.slice(0, 200)); return [document.documentElement.dataset.hit || '', bad]").await;
        assert_eq!(found, json!(["", []]), "{path}");
        seen.push_str(&browser.text().await.expect("a page"));
    }
    // It was there to be seen, as it was written.
    for text in CORPUS {
        assert!(seen.contains(text), "{text} is on no page");
    }
    browser.picture("hostile").await;
    browser.close().await;
}

/// A robot, its token and a binding that say the text.
async fn machine(admin: &Rest, number: u64, text: &str) {
    let robots = "/workspaces/acme/robots";
    let robot = json!({"name": format!("x{number}"), "description": text});
    admin.create(robots, robot).await;
    let token = json!({"name": cut(text), "lifetime_seconds": 3600});
    admin.create(&format!("{robots}/x{number}/tokens"), token).await;
    let binding = json!({
        "issuer": ISSUER, "source_repository": text.replace('*', "+"), "branches": [text],
        "tag_rules": [{"tags": ["v*"], "environments": [text]}],
    });
    admin.create(BINDINGS, binding).await;
}

/// Names have at most 100 characters.
fn cut(text: &str) -> String {
    text.chars().take(100).collect()
}

#[tokio::test]
async fn no_other_page_can_frame_ours_or_send_our_forms() {
    let Some(browser) = Browser::start().await else { return };
    let shelf = Shelf::filled().await;
    let url = shelf.world.server.url();
    browser.look(Look { width: WIDE, dark: false }).await;
    browser.sign_in(&url, "admin", &shelf.admin_password).await;
    let package = format!("{url}/w/acme/packages/{}", shelf.package);
    browser.go(&package).await;
    browser.shows("Delete image").await;
    let elsewhere = "data:text/html,<title>another site</title>";
    browser.go(elsewhere).await;
    let script = format!(
        "const done = arguments[arguments.length - 1]; const frame = document.createElement('iframe'); frame.onload = () => setTimeout(() => {{ let text = 'closed'; try {{ text = frame.contentDocument.body.innerText; }} catch {{ }} done(text); }}, 500); frame.src = '{package}'; document.body.append(frame);"
    );
    let framed = browser.client.execute_async(&script, Vec::new()).await.expect("a frame");
    assert!(!framed.as_str().unwrap_or_default().contains("shop-api"), "{framed}");
    browser.picture("framed").await;
    browser.go(elsewhere).await;
    let script = format!(
        "const form = document.createElement('form'); form.method = 'post'; form.action = '{package}/delete'; document.body.append(form); form.submit();"
    );
    browser.evaluate(&script).await;
    // The browser does not send the session along with that, so it is led to sign in, and there it is
    // signed in already.
    browser.shows("Create workspace").await;
    let _ = shelf.world.raw().manifest("acme/shop-api", "latest").await.expect(200);
    browser.close().await;
}
