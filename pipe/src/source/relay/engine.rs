//! What a relay asks of the engine, besides what every push does.
//!
//! Invariant: every question has an end; a push has one when it is dropped.
//! Must not know: why it is asked.

use futures_util::TryStreamExt as _;
use reqwest::header::CONTENT_LENGTH;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio_util::io::StreamReader;

use crate::client::clean;
use crate::error::Error;
use crate::source::daemon::Daemon;

impl Daemon {
    /// The size of each step of an image in bytes, the newest first.
    pub(in crate::source) async fn history(&self, id: &str) -> Result<Vec<u64>, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Step {
            #[serde(default)]
            size: u64,
        }
        let response = self.get(self.url(&["images", id, "history"])).await?;
        let steps: Vec<Step> = self.json(response).await?;
        Ok(steps.into_iter().map(|step| step.size).collect())
    }

    /// Lets the engine try a login at a registry.
    pub(super) async fn log_in(&self, login: &Value) -> Result<(), String> {
        let request = self.request(Method::POST, self.url(&["auth"]));
        self.done(request.json(login), "try the relay").await
    }

    /// Lets the engine push until it gives up; says why it did.
    pub(super) async fn push_until_error(&self, name: &str, tag: &str, login: &str) -> String {
        let response = match self.begin_push(name, tag, login).await {
            Ok(response) => response,
            Err(error) => return error.to_string(),
        };
        let stream = response.bytes_stream().map_err(std::io::Error::other);
        let mut lines = BufReader::new(StreamReader::new(stream)).lines();
        while let Ok(Some(text)) = lines.next_line().await {
            if let Some(error) = error_in(&text) {
                return format!("the engine cannot push: {error}");
            }
        }
        "the engine's push ended".to_owned()
    }

    /// What the engine says of a container.
    pub(super) async fn container<T: DeserializeOwned>(&self, name: &str) -> Result<T, String> {
        let asked = async {
            let response = self.get(self.url(&["containers", name, "json"])).await?;
            self.json(response).await
        };
        asked.await.map_err(|error: Error| error.to_string())
    }

    /// Makes a container; its ID.
    pub(super) async fn create_container(&self, content: &Value) -> Result<String, String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Created {
            id: String,
        }
        let url = self.url(&["containers", "create"]);
        let request = self.request(Method::POST, url).json(content).timeout(SOON);
        let response = request.send().await.map_err(|error| self.lost(&error).to_string())?;
        let created = self.json::<Created>(response).await;
        created.map(|created| created.id).map_err(|error| error.to_string())
    }

    pub(super) async fn start_container(&self, id: &str) -> Result<(), String> {
        let url = self.url(&["containers", id, "start"]);
        self.done(self.request(Method::POST, url).header(CONTENT_LENGTH, 0), "start it").await
    }

    /// Removes a container, whether it runs or not.
    pub(super) async fn remove_container(&self, id: &str) {
        let mut url = self.url(&["containers", id]);
        url.query_pairs_mut().append_pair("force", "true");
        let response = self.request(Method::DELETE, url).timeout(SOON).send().await;
        let removed = response.is_ok_and(|response| {
            // It goes by itself too, and may be on its way.
            let gone = [StatusCode::NOT_FOUND, StatusCode::CONFLICT];
            response.status().is_success() || gone.contains(&response.status())
        });
        if !removed {
            tracing::warn!("the container {id} of a relay could not be removed");
        }
    }

    async fn done(&self, request: RequestBuilder, what: &str) -> Result<(), String> {
        let response = request.timeout(SOON).send().await;
        match response.map_err(|error| self.lost(&error).to_string())? {
            response if response.status().is_success() => Ok(()),
            // Its words may repeat what it was told.
            response => {
                Err(format!("the engine answers {} when told to {what}", response.status()))
            }
        }
    }
}

/// The error in a line about a push.
pub(super) fn error_in(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Line {
        error: String,
    }
    serde_json::from_str::<Line>(text).ok().map(|line| clean(&line.error))
}

const SOON: Duration = Duration::from_secs(10);
