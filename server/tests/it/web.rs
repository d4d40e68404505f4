//! The pages over HTTP: sessions, forms from elsewhere, what they cost.

mod accounts;
mod cost;
mod forms;
mod sessions;
mod space;

use crate::harness::{Answer, Client, World};
use axum::http::Method;
use standpipe_server::auth::{NewAccount, Secret};
use standpipe_server::domain::{Caller, Change, Principal};

/// Everybody's password.
const PASSWORD: &str = "correct horse battery staple";

/// A browser: it keeps its cookies and sends forms as one does.
pub(crate) struct Browser {
    client: Client,
    cookies: Vec<(String, String)>,
}

impl Browser {
    fn new(world: &World) -> Self {
        Self { client: world.anonymous(), cookies: Vec::new() }
    }

    /// Somebody with a new account who has signed in.
    async fn signed_in(world: &World, username: &str) -> Self {
        account(world, username).await;
        let mut browser = Self::new(world);
        let answer = browser.sign_in(username, PASSWORD).await;
        assert_eq!(answer.status, 303, "{}", answer.text());
        browser
    }

    async fn sign_in(&mut self, username: &str, password: &str) -> Answer {
        let page = self.get("/sign-in").await.expect(200);
        let token = token_of(&page);
        let body = form(&[("form_token", &token), ("username", username), ("password", password)]);
        self.send(Method::POST, "/sign-in", &[], body).await
    }

    fn cookie(&self) -> String {
        let pairs: Vec<_> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("; ")
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Answer {
        let cookie = self.cookie();
        let mut all = vec![("accept", "text/html"), ("cookie", cookie.as_str())];
        if method == Method::POST {
            all.push(("content-type", "application/x-www-form-urlencoded"));
        }
        all.extend_from_slice(headers);
        let answer = self.client.send(method, path, &all, body).await;
        for set in answer.headers.get_all("set-cookie") {
            let text = set.to_str().expect("visible ASCII");
            assert!(text.contains("; HttpOnly; SameSite="), "{text}");
            let (name, value) =
                text.split(';').next().and_then(|pair| pair.split_once('=')).expect("a pair");
            self.cookies.retain(|(known, _)| known != name);
            if !value.is_empty() {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        answer
    }

    async fn get(&mut self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], String::new()).await
    }

    /// Sends a form with the token of the page it is on.
    async fn submit(&mut self, page: &str, action: &str, fields: &[(&str, &str)]) -> Answer {
        let token = token_of(&self.get(page).await.expect(200));
        let mut all = vec![("form_token", token.as_str())];
        all.extend_from_slice(fields);
        self.send(Method::POST, action, &[], form(&all)).await
    }

    /// Whether the browser is signed in.
    async fn is_in(&mut self) -> bool {
        self.get("/profile").await.status == 200
    }
}

/// The token of the last form of a page.
fn token_of(page: &Answer) -> String {
    let text = page.text();
    let at = text.rfind("name=\"form_token\" value=\"").expect("a form") + 25;
    text[at - 1..].trim_start_matches('"').split('"').next().expect("a value").to_owned()
}

/// Fields as a form sends them.
fn form(fields: &[(&str, &str)]) -> String {
    let escape =
        |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02X}")).collect() };
    let pairs: Vec<_> =
        fields.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
    pairs.join("&")
}

/// An account with a password, or a password for one that is there.
async fn account(world: &World, username: &str) {
    let admin = Caller::of(Principal::User("admin".parse().expect("a name")));
    let app = &world.app;
    let proof = app.registry.instance_admin(&admin).await.expect("the administrator");
    let change = Change::by_server("test");
    let name = username.parse().expect("a name");
    let password = Secret::new(PASSWORD.to_owned());
    if app.auth.account(proof, &name).await.is_ok() {
        let changes = standpipe_server::auth::AccountChanges {
            password: Some(password),
            ..Default::default()
        };
        app.auth.change_account(proof, &change, &name, changes).await.expect("a new password");
    } else {
        let new = NewAccount { username: name, password, instance_admin: false };
        app.auth.create_account(proof, &change, new).await.expect("a new account");
    }
}

/// The id of a package of the harness.
async fn package_id(world: &World, name: &str) -> String {
    let admin = world.client("admin").await;
    let (workspace, package) = name.split_once('/').expect("a name");
    let path = format!("/api/v1/workspaces/{workspace}/packages?name={package}");
    admin.get(&path).await.expect(200).json()["items"][0]["id"].to_string()
}
