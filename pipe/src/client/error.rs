//! What can come back from a registry, read once, here.
//!
//! Invariant: no address and no header is kept, because both may carry secrets; text that a
//! registry wrote is shortened and stripped of control characters.
//! Must not know: what the pipe tells its user; that is `explain`.

use std::time::Duration;

use oci_distribution::errors::{OciDistributionError, OciErrorCode};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;

use super::retry::parse_retry_after;

/// Why a request to the registry did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// No answer: refused, cut, too slow. Another attempt may help.
    #[error("{0}")]
    Connection(String),
    /// An answer that says no.
    #[error("{0}")]
    Refused(Refusal),
    /// An answer that a registry does not give. Another attempt does not help.
    #[error("{0}")]
    Protocol(String),
    /// A file of our own could not be read.
    #[error("could not read a layer from disk: {0}")]
    Local(#[from] std::io::Error),
}

/// What was asked for when the registry said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Whether this is a registry.
    Ping,
    /// A login.
    Token,
    /// Whether a blob is there.
    FindBlob,
    /// An upload of a blob.
    UploadBlob,
    /// A manifest under a tag.
    PutManifest,
    /// What a tag or digest names.
    ReadManifest,
    /// What the registry has, to be spared sending it.
    Lookup,
}

/// An answer with an error status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) action: Action,
    pub(crate) status: u16,
    /// Codes and messages of the body (distribution-spec, "Error Codes").
    pub(crate) reasons: Vec<Reason>,
    /// How long the registry asks to wait.
    pub(crate) retry_after: Option<Duration>,
}

/// One entry of an error body.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Reason {
    #[serde(default)]
    pub(crate) code: String,
    #[serde(default)]
    pub(crate) message: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let status = reqwest::StatusCode::from_u16(self.status).ok();
        let words = status.and_then(|status| status.canonical_reason()).unwrap_or("unknown status");
        write!(formatter, "{} {words}", self.status)?;
        for reason in &self.reasons {
            match (reason.code.as_str(), reason.message.as_str()) {
                ("", message) => write!(formatter, ": {message}")?,
                (code, "") => write!(formatter, ": {code}")?,
                (code, message) => write!(formatter, ": {code} ({message})")?,
            }
        }
        Ok(())
    }
}

impl Refusal {
    /// Reads an error answer.
    pub(super) fn new(action: Action, status: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        let retry_after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        Self {
            action,
            status,
            reasons: reasons(body),
            retry_after: retry_after.and_then(parse_retry_after),
        }
    }

    /// Whether the body has this code.
    pub(crate) fn has_code(&self, code: &str) -> bool {
        self.reasons.iter().any(|reason| reason.code.eq_ignore_ascii_case(code))
    }

    /// Whether something on the way refused the request for its size. A registry that says so itself
    /// means the layer, which no smaller piece makes smaller.
    pub(crate) fn is_about_size(&self) -> bool {
        self.status == 413 && self.reasons.iter().all(|reason| reason.code.is_empty())
    }

    /// Whether code or message contain this word, in lower case.
    pub(crate) fn mentions(&self, word: &str) -> bool {
        self.reasons.iter().any(|reason| {
            reason.message.to_lowercase().contains(word)
                || reason.code.to_lowercase().contains(word)
        })
    }
}

impl ClientError {
    /// Whether the same request may succeed later. 507 is a full disk: it stays full.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Connection(_) => true,
            Self::Refused(refusal) => {
                matches!(refusal.status, 408 | 429 | 500..=506 | 508..=599)
            }
            Self::Protocol(_) | Self::Local(_) => false,
        }
    }

    /// Whether the token was not accepted.
    pub(crate) fn is_unauthorized(&self) -> bool {
        self.status() == Some(401)
    }

    /// The status of the answer, if there was one.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Refused(refusal) => Some(refusal.status),
            Self::Connection(_) | Self::Protocol(_) | Self::Local(_) => None,
        }
    }

    /// Whether another way of asking the same could get another answer.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Refused(refusal) => {
                matches!(refusal.status, 401 | 403 | 507) || refusal.has_code("NAME_UNKNOWN")
            }
            Self::Local(_) => true,
            Self::Connection(_) | Self::Protocol(_) => false,
        }
    }

    /// Translates an error of a request that we made ourselves.
    pub(super) fn from_reqwest(error: &reqwest::Error) -> Self {
        Self::Connection(innermost(error))
    }

    /// Translates an error of the OCI client.
    pub(super) fn from_oci(action: Action, error: OciDistributionError) -> Self {
        let refused =
            |status, reasons| Self::Refused(Refusal { action, status, reasons, retry_after: None });
        match error {
            OciDistributionError::RequestError(error) => match error.status() {
                Some(status) => refused(status.as_u16(), Vec::new()),
                None => Self::from_reqwest(&error),
            },
            OciDistributionError::ServerError { code, message, .. } => {
                refused(code, reasons(message.as_bytes()))
            }
            OciDistributionError::RegistryError { envelope, .. } => {
                let status = envelope.errors.first().map_or(400, |error| status_of(&error.code));
                let reasons = envelope.errors.iter().map(|error| Reason {
                    code: code_of(&error.code),
                    message: clean(&error.message),
                });
                refused(status, reasons.collect())
            }
            OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_) => refused(401, Vec::new()),
            OciDistributionError::IoError(error) => Self::Local(error),
            OciDistributionError::RegistryNoLocationError => {
                Self::Protocol("the registry did not say where to upload to".to_owned())
            }
            // The text of the others may quote an address.
            _ => Self::Protocol(
                "the registry does not keep to the OCI distribution rules".to_owned(),
            ),
        }
    }
}

/// The innermost cause of an error, which is what says "connection refused"; the outer ones
/// quote the URL.
pub(crate) fn innermost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if std::ptr::eq(cause, error as &dyn std::error::Error) {
        return "the connection failed".to_owned();
    }
    clean(&cause.to_string())
}

fn reasons(body: &[u8]) -> Vec<Reason> {
    #[derive(Deserialize)]
    struct Envelope {
        errors: Vec<Reason>,
    }
    /// Token servers and proxies answer in other forms.
    #[derive(Deserialize)]
    struct Other {
        #[serde(alias = "details", alias = "detail", alias = "error")]
        message: String,
    }
    if let Ok(envelope) = serde_json::from_slice::<Envelope>(body) {
        let cleaned = envelope
            .errors
            .into_iter()
            .take(MOST_REASONS)
            .map(|reason| Reason { code: clean(&reason.code), message: clean(&reason.message) });
        return cleaned.collect();
    }
    match serde_json::from_slice::<Other>(body) {
        Ok(other) => vec![Reason { code: String::new(), message: clean(&other.message) }],
        Err(_) => Vec::new(),
    }
}

fn status_of(code: &OciErrorCode) -> u16 {
    match code {
        OciErrorCode::Unauthorized => 401,
        OciErrorCode::Denied => 403,
        OciErrorCode::NameUnknown | OciErrorCode::ManifestUnknown | OciErrorCode::NotFound => 404,
        OciErrorCode::Toomanyrequests => 429,
        _ => 400,
    }
}

fn code_of(code: &OciErrorCode) -> String {
    match serde_json::to_value(code) {
        Ok(serde_json::Value::String(code)) => clean(&code),
        _ => String::new(),
    }
}

/// Text of a stranger, fit for one log line.
pub(crate) fn clean(text: &str) -> String {
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = printable.take(LONGEST).collect();
    if text.chars().count() > LONGEST {
        short.push('…');
    }
    short.trim().to_owned()
}

const LONGEST: usize = 300;
const MOST_REASONS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, body: &str) -> Refusal {
        Refusal::new(Action::UploadBlob, status, &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn the_codes_of_the_specification_are_read() {
        let refusal =
            refusal(403, r#"{"errors":[{"code":"DENIED","message":"no\nway","detail":1}]}"#);
        assert!(refusal.has_code("denied"));
        assert_eq!(refusal.to_string(), "403 Forbidden: DENIED (no way)");
    }

    #[test]
    fn bodies_of_other_forms_do_no_harm() {
        for body in ["", "<html>", "[]", r#"{"errors":7}"#, "\u{0}"] {
            assert_eq!(refusal(502, body).to_string(), "502 Bad Gateway", "{body}");
        }
        assert_eq!(
            refusal(401, r#"{"details":"wrong password"}"#).reasons[0].message,
            "wrong password"
        );
        assert!(
            refusal(400, &format!(r#"{{"message":"{}"}}"#, "x".repeat(9999))).to_string().len()
                < 400
        );
    }

    #[test]
    fn what_may_be_tried_again_is_decided_by_status() {
        let transient = |status| ClientError::Refused(refusal(status, "")).is_transient();
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(transient(status), "{status}");
        }
        for status in [400, 401, 403, 404, 409, 413, 416, 507] {
            assert!(!transient(status), "{status}");
        }
        assert!(ClientError::Connection(String::new()).is_transient());
    }

    #[test]
    fn an_error_of_the_oci_client_keeps_its_status_and_loses_its_address() {
        let error = OciDistributionError::ServerError {
            code: 404,
            url: "https://a/?token=hunter22".to_owned(),
            message: r#"{"errors":[{"code":"NAME_UNKNOWN","message":"m"}]}"#.to_owned(),
        };
        let error = ClientError::from_oci(Action::UploadBlob, error);
        assert!(error.is_final());
        assert_eq!(error.to_string(), "404 Not Found: NAME_UNKNOWN (m)");
    }
}
