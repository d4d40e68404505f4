//! Typed calls of the REST API: tests build their state as a user would.

use reqwest::Method;
use serde_json::{Value, json};

use crate::http::{self, Answer};

/// REST calls as one user.
#[derive(Clone, Debug)]
pub struct Rest {
    client: reqwest::Client,
    url: String,
    username: String,
    password: String,
}

/// A credential that the server handed out, to be used with Basic or `docker login`.
#[derive(Clone, Debug)]
pub struct Credential {
    /// User name to send.
    pub username: String,
    /// Password or token.
    pub secret: String,
}

impl Rest {
    /// Calls to the server at `url` with Basic authentication.
    #[must_use]
    pub fn new(url: &str, username: &str, password: &str) -> Self {
        Self {
            client: http::client(),
            url: url.to_owned(),
            username: username.to_owned(),
            password: password.to_owned(),
        }
    }

    /// One call below `/api/v1`, whatever its answer.
    ///
    /// # Panics
    /// When the server cannot be reached.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let url = format!("{}/api/v1{path}", self.url);
        let asked = format!("{method} {url}");
        let mut request =
            self.client.request(method, &url).basic_auth(&self.username, Some(&self.password));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap_or_else(|error| panic!("{asked}: {error}"));
        Answer::read(asked, response).await.expect("an answer of the REST API arrives whole")
    }

    /// `GET` that must succeed.
    pub async fn fetch(&self, path: &str) -> Value {
        self.call(Method::GET, path, None).await.expect(200).json()
    }

    /// `POST` that must create something; returns the representation.
    pub async fn create(&self, path: &str, body: Value) -> Value {
        self.call(Method::POST, path, Some(body)).await.expect(201).json()
    }

    /// Creates a workspace with one project `WEB` and in it the private repository `shop`.
    pub async fn workspace(&self, slug: &str) {
        self.create("/workspaces", json!({"slug": slug, "name": slug})).await;
        let path = format!("/workspaces/{slug}/projects");
        self.create(&path, json!({"key": "WEB", "name": "Web"})).await;
        self.repository(slug, "shop", "private").await;
    }

    /// Changes settings of a workspace.
    pub async fn settings(&self, workspace: &str, settings: Value) {
        let _ = self
            .call(Method::PATCH, &format!("/workspaces/{workspace}"), Some(settings))
            .await
            .expect(200);
    }

    /// Creates a repository in project `WEB`.
    pub async fn repository(&self, workspace: &str, slug: &str, visibility: &str) {
        self.create(
            &format!("/workspaces/{workspace}/repositories"),
            json!({"slug": slug, "project": "WEB", "visibility": visibility}),
        )
        .await;
    }

    /// Creates a package linked to a repository; returns its id as paths take it.
    pub async fn package(&self, workspace: &str, name: &str, repository: &str) -> String {
        let package = self
            .create(
                &format!("/workspaces/{workspace}/packages"),
                json!({"name": name, "repository": repository}),
            )
            .await;
        id_of(&package)
    }

    /// Creates a user; returns the calls as that user.
    pub async fn user(&self, username: &str, password: &str) -> Self {
        self.create("/users", json!({"username": username, "password": password})).await;
        Self::new(&self.url, username, password)
    }

    /// Gives a user a role on a repository.
    pub async fn permit(&self, workspace: &str, repository: &str, user: &str, role: &str) {
        let path = format!("/workspaces/{workspace}/repositories/{repository}/permissions/{user}");
        let answer = self.call(Method::PUT, &path, Some(json!({"role": role}))).await;
        assert!(
            matches!(answer.status, 200 | 201 | 204),
            "{}: {} {}",
            answer.asked,
            answer.status,
            answer.text()
        );
    }

    /// Creates a pipeline token of a repository that lives an hour.
    pub async fn pipeline_token(&self, workspace: &str, repository: &str) -> Credential {
        let token = self
            .create(
                &format!("/workspaces/{workspace}/repositories/{repository}/pipeline-tokens"),
                json!({"name": "ci", "lifetime_seconds": 3600}),
            )
            .await;
        Credential { username: text_of(&token, "username"), secret: text_of(&token, "token") }
    }

    /// The credential that this caller uses itself.
    #[must_use]
    pub fn credential(&self) -> Credential {
        Credential { username: self.username.clone(), secret: self.password.clone() }
    }
}

/// One text field of a representation.
///
/// # Panics
/// When it is absent or not text.
#[must_use]
#[track_caller]
pub fn text_of(representation: &Value, field: &str) -> String {
    representation[field]
        .as_str()
        .unwrap_or_else(|| panic!("no text {field:?} in {representation}"))
        .to_owned()
}

/// The id of a representation, as it is written in paths.
///
/// # Panics
/// When it has none.
#[must_use]
#[track_caller]
pub fn id_of(representation: &Value) -> String {
    match &representation["id"] {
        Value::String(id) => id.clone(),
        Value::Number(id) => id.to_string(),
        _ => panic!("no id in {representation}"),
    }
}
