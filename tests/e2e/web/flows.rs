//! What people do, each with and without scripts.

use super::shelf::{ISSUER, PASSWORD, Pusher, Shelf, rest};
use super::{PHONE, WIDE};
use fantoccini::Locator;
use standpipe_tests::browser::{self, Browser, Look};
use standpipe_tests::raw::{Raw, answered};

async fn browser(scripts: bool, width: u32) -> Option<Browser> {
    let browser = Browser::start().await?;
    browser.look(Look { width, dark: false }).await;
    browser.scripts(scripts).await;
    Some(browser)
}

/// A picture of a page that is seen once, on the way, and what axe says of it.
async fn seen(browser: &Browser, scripts: bool, name: &str) {
    browser.picture(name).await;
    let Some(axe) = browser::axe() else { return };
    // The driver's own scripts need them, too.
    browser.scripts(true).await;
    assert_eq!(browser.barriers(&axe).await, Vec::<String>::new(), "{name}");
    browser.scripts(scripts).await;
}

#[tokio::test]
async fn tags_are_chosen_previewed_deleted_and_put_back_with_scripts() {
    deletes_and_undoes(true, WIDE).await;
}

#[tokio::test]
async fn tags_are_chosen_previewed_deleted_and_put_back_without_scripts() {
    deletes_and_undoes(false, PHONE).await;
}

async fn deletes_and_undoes(scripts: bool, width: u32) {
    let Some(browser) = browser(scripts, width).await else { return };
    let shelf = Shelf::filled().await;
    let url = shelf.world.server.url();
    let package = format!("{url}/w/acme/packages/{}", shelf.package);
    browser.sign_in(&url, "will", PASSWORD).await;
    browser.go(&package).await;
    for tag in ["1.1", "1.2"] {
        browser.click(&format!("input[name=tag][value='{tag}']")).await;
    }
    if scripts {
        browser.shows("Preview deletion (2)").await;
    }
    browser.submit("button[data-counts]").await;
    browser.shows("Delete 2 tags?").await;
    browser.shows("because latest points to it").await;
    browser.shows("come back").await;
    seen(&browser, scripts, &format!("tags-before-deletion-{width}")).await;
    browser.submit("main button.bad").await;
    browser.shows("1.2, 1.1 are deleted").await;
    seen(&browser, scripts, &format!("tags-deleted-{width}")).await;
    let will = Raw::basic(&url, "will", PASSWORD);
    assert_eq!(will.manifest("acme/shop-api", "1.1").await.status, 404);
    browser.submit(".notice.good button").await;
    browser.shows("Last push").await;
    let _ = will.manifest("acme/shop-api", "1.1").await.expect(200);
    let _ = will.manifest("acme/shop-api", "1.2").await.expect(200);
    // Back to what a tag was before, from its history.
    browser.go(&format!("{package}/tags/latest")).await;
    let was = will.manifest("acme/shop-api", "latest").await.header("docker-content-digest");
    browser.submit("table form.inline button").await;
    browser.shows("History").await;
    let is = will.manifest("acme/shop-api", "latest").await.header("docker-content-digest");
    assert_ne!(was, is);
    browser.close().await;
}

#[tokio::test]
async fn a_package_is_created_pushed_to_and_deleted_with_scripts() {
    creates_and_deletes(true, WIDE).await;
}

#[tokio::test]
async fn a_package_is_created_pushed_to_and_deleted_without_scripts() {
    creates_and_deletes(false, PHONE).await;
}

async fn creates_and_deletes(scripts: bool, width: u32) {
    let Some(browser) = browser(scripts, width).await else { return };
    let shelf = Shelf::filled().await;
    let url = shelf.world.server.url();
    browser.sign_in(&url, "admin", &shelf.admin_password).await;
    browser.go(&format!("{url}/w/acme/create-package?repository=shop")).await;
    browser.fill("#field-name", "Not A Name").await;
    browser.submit("main button.main").await;
    browser.shows("a name is parts joined by").await;
    browser.fill("#field-name", "fresh").await;
    browser.submit("main button.main").await;
    browser.shows("There is no tag yet").await;
    let page = browser.client.current_url().await.expect("an address");
    let admin = Pusher::new(shelf.world.raw());
    admin.image("acme/fresh", "first", 3, "amd64", "x").await;
    if scripts {
        browser.shows("Something was pushed since this page was made").await;
        browser.click(".notice.live a").await;
    } else {
        browser.go(page.as_str()).await;
    }
    browser.shows("first").await;
    browser.shows("build #128").await;
    browser.submit("a.button.bad").await;
    browser.shows("Delete the image fresh?").await;
    browser.submit("main button.bad").await;
    browser.shows("The image fresh is deleted").await;
    assert_eq!(shelf.world.raw().manifest("acme/fresh", "first").await.status, 404);
    browser.submit("form.inline button").await;
    browser.shows("How to push").await;
    let _ = shelf.world.raw().manifest("acme/fresh", "first").await.expect(200);
    browser.close().await;
}

#[tokio::test]
async fn a_list_follows_what_is_typed_with_scripts_and_the_button_without() {
    let shelf = Shelf::filled().await;
    let url = shelf.world.server.url();
    for scripts in [true, false] {
        let Some(browser) = browser(scripts, WIDE).await else { return };
        browser.sign_in(&url, "will", PASSWORD).await;
        browser.go(&format!("{url}/w/acme")).await;
        browser.shows("shop-web").await;
        browser.fill("#prefix", "shop-a").await;
        if !scripts {
            browser.click("form.search button").await;
        }
        standpipe_tests::poll::until(
            "only what is typed",
            std::time::Duration::from_secs(60),
            async || {
                let found = browser.client.find_all(Locator::Css("#list tbody tr")).await;
                let count = found.map_err(|error| error.to_string())?.len();
                if count == 1 { Ok(()) } else { Err(format!("{count} packages")) }
            },
        )
        .await;
        browser.close().await;
    }
}

#[tokio::test]
async fn a_token_is_shown_once_works_and_ends() {
    let Some(browser) = browser(false, WIDE).await else { return };
    let shelf = Shelf::filled().await;
    let url = shelf.world.server.url();
    browser.sign_in(&url, "rita", PASSWORD).await;
    browser.go(&format!("{url}/profile/tokens")).await;
    browser.fill("#field-name", "laptop").await;
    browser.submit("main button.main").await;
    browser.shows("Copy it now").await;
    seen(&browser, false, "token-shown-once").await;
    let page = browser.text().await.expect("a page");
    assert!(page.contains("docker login --username rita --password-stdin 127.0.0.1:"), "{page}");
    let token = page.split_whitespace().find(|word| word.starts_with("sp_")).expect("a token");
    let holder = Raw::basic(&url, "rita", token);
    let _ = holder.manifest("acme/shop-api", "latest").await.expect(200);
    browser.go(&format!("{url}/profile/tokens")).await;
    let page = browser.text().await.expect("a page");
    assert!(page.contains("laptop") && !page.contains(token), "{page}");
    browser.click("details.sure summary").await;
    browser.submit("details.sure button").await;
    browser.shows("There is no token yet").await;
    assert_eq!(holder.manifest("acme/shop-api", "latest").await.status, 401);
    browser.close().await;
}

#[tokio::test]
async fn an_administrator_makes_a_place_people_and_rights_without_leaving_the_pages() {
    let Some(browser) = browser(true, WIDE).await else { return };
    let shelf = Shelf::filled().await;
    let url = shelf.world.server.url();
    browser.sign_in(&url, "admin", &shelf.admin_password).await;
    for (path, fields, then) in [
        (
            "/instance/create-workspace",
            [("slug", "globex"), ("name", "Globex")],
            "There is no repository here yet",
        ),
        ("/w/globex/create-project", [("key", "OPS"), ("name", "Operations")], "Operations"),
        ("/w/globex/create-repository", [("slug", "probe"), ("name", "Probe")], "Probe"),
    ] {
        browser.go(&format!("{url}{path}")).await;
        for (field, value) in fields {
            browser.fill(&format!("#field-{field}"), value).await;
        }
        browser.submit("main button.main").await;
        browser.shows(then).await;
    }
    browser.go(&format!("{url}/instance/people")).await;
    browser.fill("#field-username", "otto").await;
    browser.fill("#field-password", PASSWORD).await;
    browser.submit("main button.main").await;
    browser.shows("Has the roles that are given").await;
    browser.go(&format!("{url}/w/globex/repositories/probe/permissions")).await;
    browser.fill("#field-username", "nobody-like-that").await;
    browser.submit("main button.main").await;
    browser.shows("there is no user nobody-like-that").await;
    seen(&browser, true, "permission-refused").await;
    browser.fill("#field-username", "otto").await;
    browser.submit("main button.main").await;
    browser.shows("otto").await;
    let otto = rest(&shelf, "otto");
    otto.fetch("/workspaces/globex").await;
    browser.go(&format!("{url}/w/globex/repositories/probe/tokens")).await;
    browser.fill("#field-name", "ci").await;
    browser.submit("main button.main").await;
    browser.shows("PASSWORD: $REGISTRY_TOKEN").await;
    seen(&browser, true, "pipeline-token-shown-once").await;
    browser.go(&format!("{url}/w/globex/settings")).await;
    browser.fill("#field-keep", "12").await;
    browser.submit("main button.main").await;
    browser.go(&format!("{url}/w/globex/storage")).await;
    browser.shows("held for 12 hours").await;
    browser.close().await;
}

#[tokio::test]
async fn an_upload_that_goes_on_is_seen_and_cancelled() {
    let Some(browser) = browser(true, WIDE).await else { return };
    let shelf = Shelf::filled().await;
    let url = shelf.world.server.url();
    let will = Raw::basic(&url, "will", PASSWORD);
    let started = answered(will.start_upload("acme/shop-api").await).expect(202);
    browser.sign_in(&url, "admin", &shelf.admin_password).await;
    browser.go(&format!("{url}/w/acme/storage")).await;
    browser.picture("running-upload").await;
    browser.click("details.sure summary").await;
    browser.submit("details.sure[open] button").await;
    browser.shows("Nothing is being uploaded").await;
    let status = answered(will.upload_status(&started.header("location")).await);
    assert_eq!(status.status, 404);
    browser.close().await;
}

#[tokio::test]
async fn somebody_is_invited_by_a_link_and_chooses_a_password_with_scripts() {
    invites(true, WIDE).await;
}

#[tokio::test]
async fn somebody_is_invited_by_a_link_and_chooses_a_password_without_scripts() {
    invites(false, PHONE).await;
}

async fn invites(scripts: bool, width: u32) {
    let Some(browser) = browser(scripts, width).await else { return };
    let shelf = Shelf::filled().await;
    let url = shelf.world.server.url();
    browser.sign_in(&url, "admin", &shelf.admin_password).await;
    browser.go(&format!("{url}/instance/people")).await;
    browser.fill("#field-username", "olga").await;
    browser.submit("main button.main").await;
    browser.shows("Copy it now").await;
    let link = link_of(&browser).await;
    browser.client.delete_all_cookies().await.expect("cookies can be deleted");
    browser.go(&link).await;
    browser.shows("Choose a password").await;
    browser.fill("#field-password", "short").await;
    browser.submit("main button.main").await;
    browser.shows("A password has 8 to 1024 bytes").await;
    seen(&browser, scripts, &format!("invitation-refused-{width}")).await;
    browser.fill("#field-password", PASSWORD).await;
    browser.submit("main button.main").await;
    browser.shows("You have no part in any workspace yet").await;
    browser.go(&link).await;
    browser.shows("This link does not work").await;
    // A reset ends that password, and its link can be withdrawn.
    browser.sign_in(&url, "admin", &shelf.admin_password).await;
    browser.go(&format!("{url}/instance/people/olga")).await;
    browser.click("details.sure summary").await;
    browser.submit("details.sure[open] button").await;
    browser.shows("Copy it now").await;
    seen(&browser, scripts, &format!("link-shown-once-{width}")).await;
    let link = link_of(&browser).await;
    browser.go(&format!("{url}/instance/people/olga")).await;
    browser.shows("waits for them. It ends").await;
    browser.click("details.sure + details.sure summary").await;
    browser.submit("details.sure[open] button").await;
    browser.shows("no link waits for them").await;
    browser.go(&link).await;
    browser.shows("This link does not work").await;
    browser.close().await;
}

/// The link that the page shows.
async fn link_of(browser: &Browser) -> String {
    let page = browser.text().await.expect("a page");
    let link = page.split_whitespace().find(|word| word.contains("/invitation?user="));
    link.unwrap_or_else(|| panic!("no link: {page}")).to_owned()
}

#[tokio::test]
async fn a_robot_gets_a_role_and_a_token_and_is_switched_off_without_scripts() {
    let Some(browser) = browser(false, PHONE).await else { return };
    let shelf = Shelf::filled().await;
    let url = shelf.world.server.url();
    browser.sign_in(&url, "admin", &shelf.admin_password).await;
    browser.go(&format!("{url}/w/acme/robots")).await;
    browser.fill("#field-name", "mirror").await;
    browser.submit("main button.main").await;
    browser.shows("It may do nothing yet").await;
    browser.click("#field-repository option[value=shop]").await;
    browser.submit("form[action$='/roles'] button").await;
    browser.shows("Remove").await;
    browser.fill("#field-name", "rack 4").await;
    browser.click("#field-scopes-api").await;
    browser.submit("form[action$='/tokens'] button.main").await;
    browser.shows("docker login --username mirror").await;
    seen(&browser, false, "robot-token-shown-once").await;
    let page = browser.text().await.expect("a page");
    assert!(page.contains("It may do: pull, push, delete."), "{page}");
    let token = page.split_whitespace().find(|word| word.starts_with("sp_")).expect("a token");
    let holder = Raw::basic(&url, "mirror", token);
    let _ = holder.manifest("acme/shop-api", "latest").await.expect(200);
    browser.go(&format!("{url}/w/acme/robots/mirror")).await;
    browser.click("main > div > div.actions details.sure summary").await;
    browser.submit("details.sure[open] button").await;
    browser.shows("switched off").await;
    assert_eq!(holder.manifest("acme/shop-api", "latest").await.status, 401);
    browser.close().await;
}

#[tokio::test]
async fn a_binding_is_refused_beside_its_field_and_then_made_without_scripts() {
    let Some(browser) = browser(false, WIDE).await else { return };
    let shelf = Shelf::filled().await;
    let url = shelf.world.server.url();
    browser.sign_in(&url, "admin", &shelf.admin_password).await;
    browser.go(&format!("{url}/w/acme/repositories/shop/oidc")).await;
    browser.fill("#field-issuer", ISSUER).await;
    browser.fill("#field-source_repository", "{another}").await;
    browser.fill("#field-tag_rules", "no/tag @ main").await;
    browser.submit("main button.main").await;
    browser.shows("a tag pattern is made of").await;
    seen(&browser, false, "oidc-refused").await;
    browser.fill("#field-tag_rules", "v* @ main, environment=live").await;
    browser.submit("main button.main").await;
    browser.shows("another").await;
    browser.shows("v* @ main, environment=live").await;
    browser.close().await;
}

#[tokio::test]
async fn a_workspace_is_reclaimed_after_it_was_said_what_goes() {
    let Some(browser) = browser(true, WIDE).await else { return };
    let shelf = Shelf::filled().await;
    let url = shelf.world.server.url();
    browser.sign_in(&url, "admin", &shelf.admin_password).await;
    browser.go(&format!("{url}/w/acme/storage")).await;
    browser.submit("main a.button[href$='/storage/reclaim']").await;
    browser.shows("are held without a tag").await;
    browser.submit("main form.inline button.bad").await;
    browser.shows("Reclaimed").await;
    seen(&browser, true, "reclaimed-workspace").await;
    browser.close().await;
}
