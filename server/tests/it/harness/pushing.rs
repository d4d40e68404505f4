//! Pushing with either digest algorithm, and reading lists page by page.

use super::{Answer, Client, Manifest, image_in, sum};
use axum::http::Method;
use serde_json::json;
use standpipe_server::domain::Algorithm;

impl Client {
    /// Pushes a blob in one request under a digest of this algorithm; returns the digest.
    pub(crate) async fn push_blob_in(
        &self,
        algorithm: Algorithm,
        name: &str,
        content: &[u8],
    ) -> String {
        let digest = sum(algorithm, content);
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        let _ = self.send(Method::POST, &path, &[], content.to_vec()).await.expect(201);
        digest
    }

    /// Pushes an image that differs by `seed`, with digests of this algorithm everywhere.
    pub(crate) async fn push_image_in(
        &self,
        algorithm: Algorithm,
        name: &str,
        seed: &str,
    ) -> Manifest {
        let _ = self.push_blob_in(algorithm, name, b"{}").await;
        let _ = self.push_blob_in(algorithm, name, seed.as_bytes()).await;
        let manifest = image_in(algorithm, &[seed.as_bytes()], &json!({}));
        let _ =
            self.put_manifest(name, &manifest.digest_in(algorithm), &manifest).await.expect(201);
        manifest
    }

    /// The pages of a list, as their `Link` headers lead to them.
    pub(crate) async fn pages(&self, path: &str) -> Vec<Answer> {
        let mut pages = Vec::new();
        let mut path = path.to_owned();
        loop {
            let page = self.get(&path).await.expect(200);
            let next = page.header("link").strip_suffix(">; rel=\"next\"").map(str::to_owned);
            pages.push(page);
            match next {
                Some(next) => path = next.strip_prefix('<').expect("a link").to_owned(),
                None => return pages,
            }
            assert!(pages.len() < 1000, "the pages have no end");
        }
    }

    /// Changes a setting of the workspace `acme`; takes the administrator.
    pub(crate) async fn set(&self, setting: &serde_json::Value) {
        let headers = [("content-type", "application/json")];
        let body = setting.to_string();
        let path = "/api/v1/workspaces/acme";
        let _ = self.send(Method::PATCH, path, &headers, body).await.expect(200);
    }
}
