//! `MODE=daemon`: the Docker daemon pushes by itself, `images/{name}/tag` and `images/{name}/push`.
//!
//! Invariant: the login is in the header of the request only; a name that was not there before the
//! push is not there after it.
//! Must not know: how the image was found.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use futures_util::TryStreamExt as _;
use reqwest::header::CONTENT_LENGTH;
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio_util::io::StreamReader;

use super::daemon::Daemon;
use crate::client::clean;
use crate::config::{Config, Tag};
use crate::error::{Error, Failure};
use crate::image::is_digest;

/// A line of the stream with which the daemon answers (Engine API, ImagePush).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    status: String,
    id: Option<String>,
    error: Option<String>,
    #[serde(rename = "errorDetail")]
    detail: Option<Detail>,
    aux: Option<Aux>,
}

#[derive(Debug, Deserialize)]
struct Detail {
    message: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Aux {
    digest: Option<String>,
}

impl Daemon {
    /// Pushes the image with this ID under `tag` and returns the digest that the registry gave it.
    pub(super) async fn push(&self, id: &str, config: &Config, tag: &Tag) -> Result<String, Error> {
        let name = format!("{}/{}", config.registry, config.repository());
        let full = format!("{name}:{tag}");
        let was_there = self.inspect(&full).await?.is_some_and(|known| known.id == id);
        self.tag(id, &name, tag.as_str()).await?;
        let pushed = self.push_name(config, &name, tag).await;
        if !was_there {
            self.forget(&full).await;
        }
        pushed
    }

    /// Gives the image with this ID one more name.
    pub(super) async fn tag(&self, id: &str, name: &str, tag: &str) -> Result<(), Error> {
        let mut url = self.url(&["images", id, "tag"]);
        url.query_pairs_mut().append_pair("repo", name).append_pair("tag", tag);
        let tagging = self.request(Method::POST, url).header(CONTENT_LENGTH, 0);
        let tagging = tagging.timeout(self.timeout()).send().await;
        self.checked(tagging.map_err(|error| self.lost(&error))?).await?;
        Ok(())
    }

    async fn push_name(&self, config: &Config, name: &str, tag: &Tag) -> Result<String, Error> {
        let response = self.begin_push(name, tag.as_str(), &login(config)).await?;
        self.follow(response, config, tag).await
    }

    /// Begins a push of a local name; what becomes of it is said in lines of the body.
    pub(super) async fn begin_push(
        &self,
        name: &str,
        tag: &str,
        login: &str,
    ) -> Result<Response, Error> {
        let path: Vec<&str> =
            ["images"].into_iter().chain(name.split('/')).chain(["push"]).collect();
        let mut url = self.url(&path);
        url.query_pairs_mut().append_pair("tag", tag);
        // An explicit length: the authorization plugin of Pipelines looks at bodies.
        let request = self.request(Method::POST, url).header(CONTENT_LENGTH, 0);
        let request = request.header("X-Registry-Auth", login);
        self.checked(request.send().await.map_err(|error| self.lost(&error))?).await
    }

    /// Reads the daemon's lines to the end: success is the digest, since the status is always 200.
    async fn follow(
        &self,
        response: Response,
        config: &Config,
        tag: &Tag,
    ) -> Result<String, Error> {
        let stream = response.bytes_stream().map_err(std::io::Error::other);
        let mut lines = BufReader::new(StreamReader::new(stream)).lines();
        let mut told = Told::default();
        loop {
            let next = tokio::time::timeout(self.timeout(), lines.next_line()).await;
            let next = next.map_err(|_| self.odd("stopped telling about the push"))?;
            let text = match next {
                Ok(Some(text)) => text,
                Ok(None) => break,
                Err(_) => return Err(self.odd("was lost while it pushed")),
            };
            told.hear(&text).map_err(|reason| refused(config, tag, &reason))?;
        }
        told.digest.ok_or_else(|| self.odd("pushed without saying what"))
    }

    /// Takes back a name that only the push needed.
    pub(super) async fn forget(&self, full: &str) {
        if !self.remove_image(full).await {
            tracing::warn!("the local name {full} could not be removed again");
        }
    }

    /// Removes a name, or an image that has none, and nothing below it; whether it is gone.
    pub(super) async fn remove_image(&self, name: &str) -> bool {
        let path: Vec<&str> = ["images"].into_iter().chain(name.split('/')).collect();
        let mut url = self.url(&path);
        url.query_pairs_mut().append_pair("noprune", "true");
        let response = self.request(Method::DELETE, url).timeout(self.timeout()).send().await;
        response.is_ok_and(|response| {
            response.status().is_success() || response.status() == StatusCode::NOT_FOUND
        })
    }
}

/// What a daemon has told about a push.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The digest that the registry gave to what was pushed.
    pub(super) digest: Option<String>,
}

impl Told {
    /// Takes a line.
    ///
    /// # Errors
    /// The reason, if it says that the push failed.
    pub(super) fn hear(&mut self, text: &str) -> Result<(), String> {
        let line: Line = serde_json::from_str(text).unwrap_or_default();
        if let Some(reason) = line.detail.map(|detail| detail.message).or(line.error) {
            return Err(clean(&reason));
        }
        // It becomes a part of references.
        if let Some(digest) = line.aux.and_then(|aux| aux.digest).filter(|text| is_digest(text)) {
            self.digest = Some(digest);
        }
        if let Some(id) = line.id.filter(|_| is_outcome(&line.status)) {
            tracing::info!("layer {}: {}", clean(&id), clean(&line.status.to_lowercase()));
        }
        Ok(())
    }
}

fn is_outcome(status: &str) -> bool {
    ["Pushed", "Layer already exists", "Mounted from"].iter().any(|word| status.starts_with(word))
}

/// The header in which the daemon takes a login.
fn login(config: &Config) -> String {
    let json = match &config.credentials {
        Some(credentials) => json!({
            "username": credentials.username,
            "password": credentials.password.expose(),
            "serveraddress": config.registry.as_str(),
        }),
        None => json!({}),
    };
    URL_SAFE.encode(json.to_string())
}

/// The daemon passes the registry's words on; the status is lost, so the words decide.
pub(super) fn refused(config: &Config, tag: &Tag, reason: &str) -> Error {
    let path = config.repository();
    let said = reason.to_ascii_lowercase();
    let any = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let message = format!("the Docker daemon could not push {path}:{tag}: {reason}");
    let failure = Failure::new(message);
    if any(&["immutable", "already exists and cannot", "overwrit"]) {
        return Error::Tag(
            failure.hint("Push under a new tag, such as the build number or commit."),
        );
    }
    if any(&["name unknown", "not found", "does not exist"]) {
        return Error::Access(failure.hint(
            "The package is missing, or these credentials cannot see it: somebody with the role Admin creates it once.",
        ));
    }
    if any(&["denied", "unauthorized", "authentication required", "no basic auth", "forbidden"]) {
        return Error::Access(failure.hint(
            "Pushing needs the role Write on the repository that the package is linked to.",
        ));
    }
    if any(&["x509", "certificate", "server gave http response"]) {
        return Error::Registry(failure.hint(
            "With MODE=daemon it is the daemon that must trust the registry; MODE=direct takes CA_CERT and INSECURE.",
        ));
    }
    Error::Registry(failure.hint("MODE=direct resumes uploads and says more about failures."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_of_a_daemon_that_is_none_becomes_no_reference() {
        let mut told = Told::default();
        let right = format!("sha256:{}", "a".repeat(64));
        for said in ["sha256:a\\nPATH=/tmp", "", "$(id)", &right, "a:b c"] {
            told.hear(&format!("{{\"aux\":{{\"Digest\":\"{said}\"}}}}")).unwrap();
        }
        assert_eq!(told.digest, Some(right));
    }

    #[test]
    fn the_words_of_a_daemon_are_one_line() {
        let refused = Told::default().hear(r#"{"error":"no\n\u001b[31mBuild passed"}"#);
        assert_eq!(refused, Err("no  [31mBuild passed".to_owned()));
    }

    #[test]
    fn the_words_of_the_registry_decide_the_exit_code() {
        let given = [("IMAGE_NAME", "app"), ("BITBUCKET_WORKSPACE", "acme")];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = Config::from_variables(given).1.unwrap();
        for (reason, code) in [
            ("denied: requested access to the resource is denied", 4),
            ("name unknown: package does not exist", 4),
            ("unauthorized: authentication required", 4),
            ("tag 1 is immutable", 6),
            ("x509: certificate signed by unknown authority", 5),
            ("received unexpected HTTP status: 500", 5),
        ] {
            assert_eq!(refused(&config, &Tag::latest(), reason).exit_code(), code, "{reason}");
        }
    }
}
