//! The REST API as the command line sees it: JSON in, JSON or a problem out.

use super::print::printable;
use crate::auth::Secret;
use reqwest::{Method, Response, StatusCode, Url, header};
use serde_json::Value;
use std::time::Duration;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(60);
/// Items per request of a list.
const PAGE: &str = "1000";

/// Why a command of the administration did not end well.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address is none.
    #[error("--server {0}: this is not the address of a server; it looks like http://host:5000")]
    Address(String),
    /// Something that answers, but not a Standpipe.
    #[error("{server} answered {status}, but not like a Standpipe server; is the address right?")]
    NotStandpipe {
        /// Who.
        server: String,
        /// What.
        status: StatusCode,
    },
    /// Standard input or output is gone.
    #[error("standard input or output failed")]
    Output(#[source] std::io::Error),
    /// There is no password to log in with.
    #[error("{0}")]
    Password(&'static str),
    /// The server said no.
    #[error("{0}")]
    Refused(String),
    /// The server did not answer.
    #[error("{server} cannot be reached; is the server running there?")]
    Unreachable {
        /// Who.
        server: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// Something is wrong with the server's data.
    #[error("{0} things are wrong; see above")]
    Wrong(u64),
}

/// A server and a login.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    server: Url,
    username: String,
    password: Option<Secret>,
}

impl Client {
    /// Prepares the login; nothing is sent yet.
    pub(super) fn new(
        server: &str,
        username: String,
        password: Option<Secret>,
    ) -> Result<Self, AdminError> {
        let wrong = || AdminError::Address(server.to_owned());
        let url = Url::parse(server).map_err(|_| wrong())?;
        let plain = matches!(url.scheme(), "http" | "https") && url.has_host();
        if !plain || !url.username().is_empty() || url.password().is_some() {
            return Err(wrong());
        }
        // A redirect would be followed with the password to who knows where.
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .user_agent(concat!("standpipe-admin/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|source| AdminError::Unreachable { server: server.to_owned(), source })?;
        Ok(Self { http, server: url, username, password })
    }

    /// Who logs in.
    pub(super) fn username(&self) -> &str {
        &self.username
    }

    /// The password that is sent, if there is a login.
    pub(super) const fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    /// The server's address as it was given.
    pub(super) fn address(&self) -> &str {
        self.server.as_str().trim_end_matches('/')
    }

    /// What `docker login` calls the server.
    pub(super) fn host(&self) -> String {
        let host = self.server.host_str().unwrap_or_default();
        self.server.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// Asks for one thing.
    pub(super) async fn get(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Value, AdminError> {
        self.send(Method::GET, path, query, None).await
    }

    /// Asks for all pages of a list.
    pub(super) async fn list(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Vec<Value>, AdminError> {
        let mut items = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let mut query = query.to_vec();
            query.push(("limit", PAGE));
            if let Some(after) = &after {
                query.push(("after", after));
            }
            let mut page = self.get(path, &query).await?;
            if let Some(found) = page["items"].as_array_mut() {
                items.append(found);
            }
            let next = page["next"].as_str().map(str::to_owned);
            // A server that repeats a cursor must not keep us here for ever.
            if next.is_none() || next == after {
                return Ok(items);
            }
            after = next;
        }
    }

    /// Creates something.
    pub(super) async fn post(&self, path: &[&str], body: Value) -> Result<Value, AdminError> {
        self.send(Method::POST, path, &[], Some(body)).await
    }

    /// Sets something.
    pub(super) async fn put(&self, path: &[&str], body: Value) -> Result<Value, AdminError> {
        self.send(Method::PUT, path, &[], Some(body)).await
    }

    /// Changes something.
    pub(super) async fn patch(&self, path: &[&str], body: Value) -> Result<Value, AdminError> {
        self.send(Method::PATCH, path, &[], Some(body)).await
    }

    /// Deletes something.
    pub(super) async fn delete(&self, path: &[&str]) -> Result<Value, AdminError> {
        self.send(Method::DELETE, path, &[], None).await
    }

    async fn send(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<Value>,
    ) -> Result<Value, AdminError> {
        let mut request = self.http.request(method, self.url(path)?);
        if let Some(password) = &self.password {
            request = request.basic_auth(&self.username, Some(password.expose()));
        }
        if !query.is_empty() {
            request = request.query(query);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.map_err(|source| self.unreachable(source))?;
        self.read(response).await
    }

    fn url(&self, path: &[&str]) -> Result<Url, AdminError> {
        // `..` would climb out of the path, whoever typed it.
        if path.iter().any(|part| matches!(*part, "" | "." | "..")) {
            return Err(AdminError::Refused("a name must not be empty, '.' or '..'".to_owned()));
        }
        let mut url = self.server.clone();
        url.path_segments_mut()
            .map_err(|()| AdminError::Address(self.server.to_string()))?
            .pop_if_empty()
            .extend(["api", "v1"])
            .extend(path);
        Ok(url)
    }

    async fn read(&self, response: Response) -> Result<Value, AdminError> {
        let status = response.status();
        if status == StatusCode::NO_CONTENT {
            return Ok(Value::Null);
        }
        let kind = response.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
        let text = response.bytes().await.map_err(|source| self.unreachable(source))?;
        self.understood(status, &kind, &text)
    }

    /// What an answer with this content type and body means.
    pub(super) fn understood(
        &self,
        status: StatusCode,
        kind: &str,
        text: &[u8],
    ) -> Result<Value, AdminError> {
        let json = serde_json::from_slice::<Value>(text).ok();
        let foreign = || AdminError::NotStandpipe { server: self.server.to_string(), status };
        match json {
            Some(value) if status.is_success() && kind.starts_with("application/json") => Ok(value),
            Some(problem) if kind.starts_with("application/problem+json") => {
                Err(AdminError::Refused(self.refusal(status, &problem)))
            }
            _ => Err(foreign()),
        }
    }

    /// A problem in words for the person at the keyboard.
    fn refusal(&self, status: StatusCode, problem: &Value) -> String {
        let detail = match &problem["detail"] {
            detail @ Value::String(_) => printable(detail),
            _ => "the server refused without saying why".to_owned(),
        };
        if status == StatusCode::UNAUTHORIZED {
            return format!("{detail} (logged in as {})", self.username);
        }
        if status.is_server_error() {
            let id = match &problem["request_id"] {
                id @ Value::String(_) => printable(id),
                _ => "unknown".to_owned(),
            };
            return format!("{detail} (request {id})");
        }
        detail
    }

    fn unreachable(&self, source: reqwest::Error) -> AdminError {
        // The address is in the message already, and an URL in it may be long.
        AdminError::Unreachable { server: self.server.to_string(), source: source.without_url() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_refuses_with_does_not_act_on_the_terminal() {
        let client =
            Client::new("http://localhost:5000", "ann".to_owned(), None).expect("a client");
        let problem = br#"{"detail":"no\u001b[2J\n","request_id":"\u0007"}"#;
        for status in [StatusCode::CONFLICT, StatusCode::INTERNAL_SERVER_ERROR] {
            let told = client.understood(status, "application/problem+json", problem);
            let told = told.expect_err("a refusal").to_string();
            assert!(told.starts_with("no") && !told.contains(char::is_control), "{told:?}");
        }
    }
}
