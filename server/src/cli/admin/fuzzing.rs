//! Doors for the fuzz targets: what a server answers to `admin`.

use super::AdminError;
use super::client::Client;
use super::print::{Form, fields, table};
use crate::auth::Secret;
use reqwest::StatusCode;
use serde_json::Value;

/// Somebody with a login at a server.
#[derive(Debug)]
pub struct Asking(Client);

impl Asking {
    /// Prepares it. Nothing is sent.
    #[must_use]
    pub fn new(server: &str, username: &str, password: &str) -> Option<Self> {
        let password = Some(Secret::new(password.to_owned()));
        Client::new(server, username.to_owned(), password).ok().map(Self)
    }

    /// What an answer means.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn understood(&self, status: u16, kind: &str, text: &[u8]) -> Result<Value, AdminError> {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT);
        self.0.understood(status, kind, text)
    }
}

/// An answer as people read it: the fields, and the items as a table with these columns.
#[must_use]
pub fn printed(answer: &Value, columns: &[&str]) -> Vec<String> {
    let items = answer["items"].as_array().cloned().unwrap_or_default();
    let (mut one, mut many) = (Vec::new(), Vec::new());
    fields(&mut one, Form::Text, answer).expect("a buffer takes everything");
    table(&mut many, Form::Text, items, columns).expect("a buffer takes everything");
    [one, many].map(|text| String::from_utf8_lossy(&text).into_owned()).to_vec()
}
