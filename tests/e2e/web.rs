//! The pages in a real browser: each page and flow as reader, writer, administrator and stranger, with
//! and without scripts, on a phone and on a wide screen, light and dark.
//!
//! Pictures of all pages are written to `pictures/` in the target folder, to be looked at.

mod flows;
mod hostile;
mod shelf;

use crate::world::say;
use serde_json::Value;
use shelf::{PASSWORD, Shelf};
use standpipe_tests::browser::{Browser, Look, axe};

const PHONE: u32 = 390;
const WIDE: u32 = 1440;

/// Pages, as the part of the address behind the server's, and what they are called as pictures.
fn pages(shelf: &Shelf) -> Vec<(&'static str, String)> {
    let package = format!("/w/acme/packages/{}", shelf.package);
    let at = |rest: &str| format!("{package}{rest}");
    vec![
        ("workspaces", "/".to_owned()),
        ("packages", "/w/acme".to_owned()),
        ("packages-found", "/w/acme?sort=name&prefix=shop".to_owned()),
        ("packages-none", "/w/acme?prefix=zzz".to_owned()),
        ("project", "/w/acme/projects/WEB".to_owned()),
        ("repositories", "/w/acme/repositories".to_owned()),
        ("repository", "/w/acme/repositories/shop".to_owned()),
        ("create-package", "/w/acme/create-package".to_owned()),
        ("package", package.clone()),
        ("package-by-name", at("?sort=name&prefix=1.")),
        ("package-empty", format!("/w/acme/packages/{}", shelf.empty)),
        ("tag", at("/tags/latest")),
        ("tag-platform", at("/tags/latest?platform=linux/arm64/v8")),
        ("tag-deleted", at("/tags/1.0")),
        ("manifest", at(&format!("/manifests/{}", shelf.digest))),
        ("compare", at("/compare?tag=1.1&tag=1.2")),
        ("delete-tags", at("/delete-tags?tag=1.1&tag=latest")),
        ("delete-image", at("/delete")),
        ("profile", "/profile".to_owned()),
        ("tokens", "/profile/tokens".to_owned()),
        ("nothing", "/w/nowhere".to_owned()),
        ("invitation", shelf.invitation.clone()),
        ("invitation-over", "/invitation?user=ivy&secret=spi_0".to_owned()),
    ]
}

/// Pages of administrators.
fn admin_pages(shelf: &Shelf) -> Vec<(&'static str, String)> {
    let repository = "/w/acme/repositories/shop";
    let mut all: Vec<(&'static str, String)> = [
        ("storage", "/w/acme/storage"),
        ("storage-packages", "/w/acme/storage/packages"),
        ("reclaim-workspace", "/w/acme/storage/reclaim"),
        ("robots", "/w/acme/robots"),
        ("robot", "/w/acme/robots/deployer"),
        ("robot-empty", "/w/acme/robots/scanner"),
        ("activity", "/w/acme/activity"),
        ("audit", "/w/acme/audit"),
        ("instance-audit", "/instance/audit?action=login"),
        ("settings", "/w/acme/settings"),
        ("create-project", "/w/acme/create-project"),
        ("create-repository", "/w/acme/create-repository"),
        ("instance", "/instance"),
        ("create-workspace", "/instance/create-workspace"),
        ("people", "/instance/people"),
        ("person", "/instance/people/rita"),
        ("person-invited", "/instance/people/ivy"),
        ("person-off", "/instance/people/lars"),
        ("instance-storage", "/instance/storage"),
        ("health", "/instance/health"),
    ]
    .map(|(name, path)| (name, path.to_owned()))
    .to_vec();
    for name in ["permissions", "oidc"] {
        all.push((name, format!("{repository}/{name}")));
    }
    all.push(("pipeline-tokens", format!("{repository}/tokens")));
    all.push(("repository-settings", format!("{repository}/settings")));
    all.push(("reclaim", format!("/w/acme/packages/{}/reclaim", shelf.package)));
    all
}

/// What is wrong with the page as it is shown: wider than the window, failed, or with barriers.
async fn faults(browser: &Browser, axe: Option<&str>) -> Vec<String> {
    let mut faults = Vec::new();
    let script = "const cut = [...document.querySelectorAll('main *, header *, nav *')].filter((e) => { const box = e.getBoundingClientRect(); return box.width > 0 && e.checkVisibility() && box.right > innerWidth + 1 && !e.closest('pre') && getComputedStyle(e).position !== 'absolute'; }); return [document.documentElement.scrollWidth - innerWidth, document.title, cut.slice(0, 3).map((e) => e.outerHTML.slice(0, 120))];";
    let found = browser.evaluate(script).await;
    if found[0].as_i64().unwrap_or(0) > 0 {
        faults.push(format!("{} pixels too wide", found[0]));
    }
    if let Some(cut) = found[2].as_array().filter(|cut| !cut.is_empty()) {
        faults.push(format!("beyond the edge: {}", Value::from(cut.clone())));
    }
    if !found[1].as_str().unwrap_or_default().ends_with("Standpipe") {
        faults.push(format!("no page of ours: {}", found[1]));
    }
    if let Some(axe) = axe {
        faults.extend(browser.barriers(axe).await);
    }
    faults
}

#[tokio::test]
async fn every_page_is_whole_and_without_barriers_on_phone_and_wide_screen_in_light_and_dark() {
    let Some(browser) = Browser::start().await else { return };
    let Some(axe) = axe() else { return };
    let shelf = Shelf::filled().await;
    let url = shelf.world.server.url();
    let mut wrong = Vec::new();
    browser.sign_in(&url, "admin", &shelf.admin_password).await;
    let all: Vec<_> = pages(&shelf).into_iter().chain(admin_pages(&shelf)).collect();
    for (width, dark) in [(PHONE, false), (PHONE, true), (WIDE, false), (WIDE, true)] {
        browser.look(Look { width, dark }).await;
        // What axe looks at differs by colours and by layout, so two of the four are enough for it.
        let axe = (dark == (width == PHONE)).then_some(axe.as_str());
        for (name, path) in &all {
            browser.go(&format!("{url}{path}")).await;
            let found = faults(&browser, axe).await;
            let colours = if dark { "dark" } else { "light" };
            browser.picture(&format!("admin-{name}-{width}-{colours}")).await;
            wrong
                .extend(found.iter().map(|fault| format!("{path} at {width}, {colours}: {fault}")));
        }
    }
    browser.close().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn readers_writers_and_strangers_are_offered_what_they_may_do() {
    let Some(browser) = Browser::start().await else { return };
    let Some(axe) = axe() else { return };
    let shelf = Shelf::filled().await;
    let url = shelf.world.server.url();
    let package = format!("{url}/w/acme/packages/{}", shelf.package);
    let mut wrong = Vec::new();
    for (user, may_delete, manages) in
        [("rita", false, false), ("will", true, false), ("anna", true, true)]
    {
        browser.sign_in(&url, user, PASSWORD).await;
        for width in [PHONE, WIDE] {
            browser.look(Look { width, dark: false }).await;
            for (name, path) in pages(&shelf) {
                browser.go(&format!("{url}{path}")).await;
                let axe = (width == PHONE).then_some(axe.as_str());
                let found = faults(&browser, axe).await;
                browser.picture(&format!("{user}-{name}-{width}")).await;
                wrong.extend(found.iter().map(|fault| format!("{path} as {user}: {fault}")));
            }
        }
        browser.go(&package).await;
        let page = browser.text().await.expect("a page");
        assert_eq!(page.contains("Preview deletion"), may_delete, "{user}: {page}");
        assert_eq!(page.contains("Delete image"), manages, "{user}: {page}");
        assert!(!page.contains("Storage"), "{user}: {page}");
        browser.go(&format!("{package}/delete-tags?tag=1.1")).await;
        let page = browser.text().await.expect("a page");
        assert_eq!(page.contains("Delete the tag"), may_delete, "{user}: {page}");
        browser.go(&format!("{package}/delete")).await;
        let page = browser.text().await.expect("a page");
        assert_eq!(page.contains("only a preview for you"), !manages, "{user}: {page}");
        browser.go(&format!("{url}/w/acme/repositories/shop")).await;
        let page = browser.text().await.expect("a page");
        assert_eq!(page.contains("Pipeline tokens"), manages, "{user}: {page}");
    }
    for path in admin_pages(&shelf).into_iter().map(|(_, path)| path) {
        if path.starts_with("/instance")
            || path.starts_with("/w/acme/s")
            || path.starts_with("/w/acme/robots")
        {
            browser.go(&format!("{url}{path}")).await;
            browser.shows("That is not for you to do").await;
        }
    }
    browser.close().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn what_is_not_there_and_what_is_not_yours_is_the_same_page() {
    let Some(browser) = Browser::start().await else { return };
    let shelf = Shelf::filled().await;
    let url = shelf.world.server.url();
    let page = async |path: &str| {
        browser.go(&format!("{url}{path}")).await;
        browser.evaluate("for (const e of document.querySelectorAll('main code')) e.remove(); return document.documentElement.outerHTML").await
    };
    browser.look(Look { width: WIDE, dark: false }).await;
    browser.sign_in(&url, "nora", PASSWORD).await;
    browser.picture("stranger-workspaces").await;
    let nothing = page("/w/nowhere").await;
    let (package, digest) = (shelf.package.clone(), shelf.digest.clone());
    for path in [
        "/w/acme".to_owned(),
        "/w/acme/storage".to_owned(),
        "/w/acme/storage/packages".to_owned(),
        "/w/acme/storage/reclaim".to_owned(),
        "/w/acme/robots".to_owned(),
        "/w/acme/robots/deployer".to_owned(),
        "/w/acme/repositories/shop".to_owned(),
        "/w/acme/projects/WEB".to_owned(),
        format!("/w/acme/packages/{package}"),
        format!("/w/acme/packages/{package}/tags/latest"),
        format!("/w/acme/packages/{package}/manifests/{digest}"),
        format!("/w/acme/packages/{package}/compare?tag=1.1&tag=1.2"),
        format!("/w/acme/packages/{package}/delete"),
        "/w/acme/packages/999999".to_owned(),
        "/no/such/page".to_owned(),
    ] {
        assert_eq!(page(&path).await, nothing, "{path}");
    }
    // Inside the workspace, for what a reader of another repository may not see.
    browser.sign_in(&url, "rita", PASSWORD).await;
    let nothing = page("/w/acme/packages/999999").await;
    assert_eq!(page(&format!("/w/acme/packages/{}", shelf.hidden)).await, nothing);
    assert_eq!(page("/w/acme/repositories/office").await, nothing);
    assert_eq!(page("/w/acme/repositories/no-such").await, nothing);
    // Without a session everything leads to signing in, and comes back.
    browser.client.delete_all_cookies().await.expect("cookies can be deleted");
    browser.go(&format!("{url}/w/acme/packages/{package}?sort=name")).await;
    browser.shows("Sign in").await;
    browser.picture("stranger-sign-in").await;
    browser.fill("#username", "rita").await;
    browser.fill("#password", "not her password").await;
    browser.submit("form.stack button").await;
    browser.shows("The name or the password is wrong").await;
    browser.fill("#password", PASSWORD).await;
    browser.submit("form.stack button").await;
    browser.shows("How to push").await;
    let address = browser.client.current_url().await.expect("an address");
    assert!(
        address.as_str().ends_with(&format!("/w/acme/packages/{package}?sort=name")),
        "{address}"
    );
    say("pages for nobody and for somebody are the same where they must be");
    browser.close().await;
}
