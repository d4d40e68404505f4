//! People with their links, robots, tokens and bindings, made and ended in pages.

use super::{Browser, PASSWORD, form, token_of};
use crate::harness::{Answer, Client, World};
use crate::oidc::Builds;
use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use standpipe_server::domain::Role;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Adds somebody without a password; returns the path of the link.
async fn invite(admin: &mut Browser, name: &str, days: &str) -> String {
    let fields = [("username", name), ("password", ""), ("days", days)];
    link_of(&admin.submit("/instance/people", "/instance/people", &fields).await.expect(200))
}

/// The path of the link that a page shows.
fn link_of(page: &Answer) -> String {
    let text = page.text();
    let at = text.find("/invitation?user=").unwrap_or_else(|| panic!("no link: {text}"));
    text[at..].split('<').next().expect("an end").replace("&amp;", "&")
}

/// Sends the form behind a link.
async fn accept(browser: &mut Browser, link: &str, password: &str) -> Answer {
    let page = browser.get(link).await.expect(200);
    let (_, query) = link.split_once('?').expect("a query");
    let part = |name: &str| {
        let found = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        found.expect("in the link").to_owned()
    };
    let (token, user, secret) = (token_of(&page), part("user"), part("secret"));
    let fields = [
        ("form_token", token.as_str()),
        ("user", &user),
        ("secret", &secret),
        ("password", password),
    ];
    browser.send(Method::POST, "/invitation", &[], form(&fields)).await
}

fn basic(world: &World, name: &str, secret: &str) -> Client {
    world.holder(&format!("Basic {}", STANDARD.encode(format!("{name}:{secret}"))))
}

/// The token that a page shows.
fn secret_of(page: &Answer) -> String {
    let text = page.text();
    let at = text.find("<code>sp_").unwrap_or_else(|| panic!("no token: {text}"));
    text[at + 6..].split('<').next().expect("an end").to_owned()
}

#[tokio::test]
async fn whoever_opens_an_invitation_chooses_a_password_and_is_signed_in() {
    let world = World::new().await;
    let mut admin = Browser::signed_in(&world, "admin").await;
    let link = invite(&mut admin, "zoe", "7").await;
    let people = admin.get("/instance/people").await.expect(200).text();
    assert!(people.contains("invited") && !people.contains("spi_"), "{people}");
    let mut zoe = Browser::new(&world);
    let short = accept(&mut zoe, &link, "short").await.expect(400);
    assert!(short.text().contains("A password has 8 to 1024 bytes."), "{}", short.text());
    assert!(!zoe.is_in().await);
    let done = accept(&mut zoe, &link, PASSWORD).await;
    assert_eq!((done.status.as_u16(), done.header("location")), (303, "/"));
    assert!(zoe.is_in().await);
    let mut again = Browser::new(&world);
    assert_eq!(again.sign_in("zoe", PASSWORD).await.status, 303);
    let people = admin.get("/instance/people/zoe").await.expect(200).text();
    assert!(people.contains("active"), "{people}");
}

#[tokio::test]
async fn a_reset_ends_the_password_and_its_link_gives_another_one() {
    let world = World::new().await;
    let mut admin = Browser::signed_in(&world, "admin").await;
    let mut ann = Browser::signed_in(&world, "ann").await;
    let page = "/instance/people/ann";
    let link = link_of(&admin.submit(page, "/instance/people/ann/reset", &[]).await.expect(200));
    assert!(!ann.is_in().await);
    assert_eq!(ann.sign_in("ann", PASSWORD).await.status, 401);
    assert_eq!(accept(&mut ann, &link, "another long password").await.status, 303);
    assert!(ann.is_in().await);
    let last = admin.submit("/instance/people/admin", "/instance/people/admin/reset", &[]).await;
    assert!(last.expect(400).text().contains("the last administrator"));
}

#[tokio::test]
async fn every_link_that_does_not_work_leads_to_the_same_page() {
    let world = World::new().await;
    let mut admin = Browser::signed_in(&world, "admin").await;
    let mut nobody = Browser::new(&world);
    let short = invite(&mut admin, "yan", "1").await;
    world.clock.advance(DAY);
    admin = Browser::signed_in(&world, "admin").await;
    let used = invite(&mut admin, "zoe", "7").await;
    assert_eq!(accept(&mut nobody, &used, PASSWORD).await.status, 303);
    let replaced = invite(&mut admin, "tom", "7").await;
    let _ = admin.submit("/instance/people/tom", "/instance/people/tom/reset", &[]).await;
    let withdrawn = invite(&mut admin, "una", "7").await;
    let done = admin.submit("/instance/people/una", "/instance/people/una/withdraw", &[]).await;
    assert_eq!(done.status, 303, "{}", done.text());
    let off = invite(&mut admin, "vic", "7").await;
    let _ =
        admin.submit("/instance/people/vic", "/instance/people/vic", &[("disabled", "yes")]).await;
    let unknown = used.replace("user=zoe", "user=nobody");
    let mut nobody = Browser::new(&world);
    let shown = nobody.get("/invitation").await.expect(404).text();
    assert!(shown.contains("ask an administrator of this registry for another link"), "{shown}");
    let token = token_of(&nobody.get("/sign-in").await.expect(200));
    for link in [short, used, replaced, withdrawn, off, unknown, "/invitation?user=%3C".to_owned()]
    {
        assert_eq!(nobody.get(&link).await.expect(404).text(), shown, "{link}");
        let query = link.split_once('?').expect("a query").1;
        let body = format!("{}&password=long+enough&{query}", form(&[("form_token", &token)]));
        let sent = nobody.send(Method::POST, "/invitation", &[], body).await.expect(404);
        assert_eq!(sent.text(), shown, "{link}");
    }
}

#[tokio::test]
async fn a_withdrawn_invitation_stays_withdrawn_when_the_account_is_switched_on_again() {
    let world = World::new().await;
    let mut admin = Browser::signed_in(&world, "admin").await;
    let link = invite(&mut admin, "una", "7").await;
    let page = "/instance/people/una";
    for (action, fields) in [
        ("/instance/people/una/withdraw", &[][..]),
        ("/instance/people/una/withdraw", &[]),
        (page, &[("disabled", "yes")]),
        (page, &[("disabled", "no")]),
    ] {
        assert_eq!(admin.submit(page, action, fields).await.status, 303, "{action}");
    }
    let _ = Browser::new(&world).get(&link).await.expect(404);
    let shown = admin.get(page).await.expect(200).text();
    assert!(shown.contains("no password") && shown.contains("Make a new link"), "{shown}");
}

#[tokio::test]
async fn a_robot_is_made_given_a_role_and_a_token_switched_off_and_deleted() {
    let world = World::new().await;
    let _ = world.client("ann").await.push_image("acme/shop", "latest", "one").await;
    let mut admin = Browser::signed_in(&world, "admin").await;
    let base = "/w/acme/robots";
    let wrong = admin.submit(base, base, &[("name", "Not A Name")]).await.expect(400).text();
    assert!(wrong.contains("id=\"wrong-name\""), "{wrong}");
    let fields = [("name", "deployer"), ("description", "the cluster")];
    let made = admin.submit(base, base, &fields).await;
    let robot = "/w/acme/robots/deployer";
    assert_eq!((made.status.as_u16(), made.header("location")), (303, robot));
    let tokens = format!("{robot}/tokens");
    let fields = [("name", "prod"), ("days", "30"), ("scopes", "pull")];
    let shown = admin.submit(robot, &tokens, &fields).await.expect(200);
    assert!(shown.text().contains("docker login --username deployer"), "{}", shown.text());
    assert!(shown.text().contains("USERNAME: deployer"), "{}", shown.text());
    let holder = basic(&world, "deployer", &secret_of(&shown));
    let manifest = "/v2/acme/shop/manifests/latest";
    let _ = holder.get(manifest).await.expect(404);
    let give = format!("{robot}/roles");
    let role = [("repository", "shop"), ("role", "write")];
    assert_eq!(admin.submit(robot, &give, &role).await.status, 303);
    let _ = holder.get(manifest).await.expect(200);
    let _ = holder.delete(manifest).await.expect(403);
    let renewed = admin.submit(robot, &tokens, &fields).await.expect(200);
    assert_ne!(secret_of(&renewed), secret_of(&shown));
    let list = admin.get(base).await.expect(200).text();
    assert!(list.contains("on 1 repository") && list.contains("the cluster"), "{list}");
    for (disabled, status) in [("yes", 401), ("no", 200)] {
        assert_eq!(admin.submit(robot, robot, &[("disabled", disabled)]).await.status, 303);
        let _ = holder.get(manifest).await.expect(status);
    }
    let end = format!("{robot}/roles/shop/end");
    assert_eq!(admin.submit(robot, &end, &[]).await.status, 303);
    let _ = holder.get(manifest).await.expect(404);
    let id = secret_of(&shown).split('_').nth(1).expect("an id").to_owned();
    let page = admin.get(robot).await.expect(200).text();
    let at = page.find(&format!("{tokens}/")).expect("a token");
    let end = page[at..].split('"').next().expect("an action").to_owned();
    assert_eq!(admin.submit(robot, &end, &[]).await.status, 303, "{id}");
    assert_eq!(admin.submit(robot, &format!("{robot}/delete"), &[]).await.status, 303);
    let _ = holder.get(manifest).await.expect(401);
    let _ = admin.get(robot).await.expect(404);
}

#[tokio::test]
async fn what_the_administrators_of_a_repository_may_is_offered_to_them_alone() {
    let world = World::new().await;
    world.grant("acme", "shop", "eve", Role::Admin).await;
    for (who, offered) in [("bob", false), ("ann", false), ("eve", true)] {
        let mut browser = Browser::signed_in(&world, who).await;
        let repository = browser.get("/w/acme/repositories/shop").await.expect(200).text();
        let link = "href=\"/w/acme/repositories/shop/permissions\"";
        assert_eq!(repository.contains(link), offered, "{who}: {repository}");
        let create = browser.get("/w/acme/create-package").await.expect(200).text();
        let nothing = "There is no repository that you could link a package to";
        assert_eq!(!create.contains(nothing), offered, "{who}: {create}");
    }
}

#[tokio::test]
async fn a_token_is_made_for_what_is_ticked_and_the_list_says_so() {
    let world = World::new().await;
    let _ = world.client("ann").await.push_image("acme/shop", "latest", "one").await;
    let mut ann = Browser::signed_in(&world, "ann").await;
    let path = "/profile/tokens";
    let none = ann.submit(path, path, &[("name", "ci"), ("days", "1")]).await.expect(400).text();
    assert!(none.contains("id=\"wrong-scopes\""), "{none}");
    let fields = [("name", "ci"), ("days", "1"), ("scopes", "pull"), ("scopes", "push")];
    let shown = ann.submit(path, path, &fields).await.expect(200);
    assert!(shown.text().contains("It may do: pull, push"), "{}", shown.text());
    let list = ann.get(path).await.expect(200).text();
    assert!(list.contains("pull, push") && list.contains("never"), "{list}");
    let holder = basic(&world, "ann", &secret_of(&shown));
    let _ = holder.get("/v2/acme/shop/manifests/latest").await.expect(200);
    let _ = holder.delete("/v2/acme/shop/manifests/latest").await.expect(403);
    let _ = holder.get("/api/v1/workspaces").await.expect(403);
}

#[tokio::test]
async fn a_binding_with_conditions_and_rules_is_made_and_shown_and_refused_beside_its_field() {
    let builds = Builds::start().await;
    let world = builds.world().await;
    let mut admin = Browser::signed_in(&world, "admin").await;
    let issuer = builds.binding()["issuer"].as_str().expect("an issuer").to_owned();
    let path = "/w/acme/repositories/shop/oidc";
    let good = [
        ("issuer", issuer.as_str()),
        ("source_repository", "another"),
        ("role", "write"),
        ("branches", "main\r\nrelease/*"),
        ("environments", "production"),
        ("claims", "team = blue\r\nteam=green"),
        ("tag_rules", "latest, v* @ main, environment=production\r\n*"),
    ];
    for (field, wrong, reason) in [
        ("issuer", "https://nobody.example", "issuer"),
        ("source_repository", "", "the repository that builds"),
        ("claims", "no pattern", "name=pattern"),
        ("tag_rules", "no/tag", "no/tag"),
    ] {
        let fields = good.map(|(name, value)| (name, if name == field { wrong } else { value }));
        let page = admin.submit(path, path, &fields).await.expect(400).text();
        let at = page.find(&format!("id=\"wrong-{field}\"")).unwrap_or_else(|| panic!("{page}"));
        assert!(page[at..].contains(reason), "{page}");
        assert!(page.contains("release/*"), "what was typed is there again: {page}");
    }
    assert_eq!(admin.submit(path, path, &good).await.status, 303);
    let list = admin.get(path).await.expect(200).text();
    for part in [
        "<code>main</code> or <code>release/*</code>",
        "claim team",
        "<code>blue</code> or <code>green</code>",
        "latest, v* @ main, environment=production",
        "another",
    ] {
        assert!(list.contains(part), "{part}: {list}");
    }
}
