//! One HTTP answer, read whole, with the questions that tests ask of it.

use bytes::Bytes;
use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::process::LIMIT;

/// Status, headers and body of an answer, and what was asked.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Method and URL, for messages.
    pub asked: String,
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// Reads a response to its end.
    ///
    /// # Errors
    /// When the connection breaks before the body is complete.
    pub async fn read(asked: String, response: reqwest::Response) -> Result<Self, reqwest::Error> {
        Ok(Self {
            asked,
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.bytes().await?,
        })
    }

    /// The same, once it is known to have this status.
    ///
    /// # Panics
    /// When it does not; the message holds the body.
    #[must_use]
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert!(
            self.status == status,
            "expected {status}, got {} for {}: {}",
            self.status,
            self.asked,
            self.text()
        );
        self
    }

    /// Checks status and the first error code of an OCI error body.
    ///
    /// # Panics
    /// When either differs.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) {
        let answer = self.expect(status);
        assert_eq!(answer.error_code(), code, "{}: {}", answer.asked, answer.text());
    }

    /// Code of the first error in an OCI error body; empty when there is none.
    #[must_use]
    pub fn error_code(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// One header as text; empty when absent.
    #[must_use]
    pub fn header(&self, name: &str) -> String {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{}: {error}: {}", self.asked, self.text()))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A client that follows no redirect, and for which a server that has gone silent is a failure.
///
/// # Panics
/// Never: it has no settings that could fail.
#[must_use]
pub fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .read_timeout(LIMIT)
        .build()
        .expect("the client has no settings that could fail")
}
