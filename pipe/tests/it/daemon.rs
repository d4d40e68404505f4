//! A Docker daemon with the few endpoints that a push needs.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::json;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;

use crate::image::{Image, Layout};

/// A running daemon; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    /// The value for `DOCKER_HOST`.
    pub(crate) host: String,
    server: JoinHandle<()>,
}

/// What goes wrong in the daemon.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// The export ends after so many bytes.
    pub(crate) cut_export: Option<usize>,
    /// The export never ends.
    pub(crate) hang: bool,
    /// The size that the daemon claims the image has.
    pub(crate) claimed_size: Option<u64>,
}

#[derive(Debug)]
struct Store {
    images: Vec<Image>,
    faults: Faults,
}

impl Daemon {
    pub(crate) async fn start(images: Vec<Image>) -> Self {
        Self::with_faults(images, Faults::default()).await
    }

    pub(crate) async fn with_faults(images: Vec<Image>, faults: Faults) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = format!("tcp://{}", listener.local_addr().unwrap());
        let router = router(images, faults);
        let server = tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        Self { host, server }
    }

    pub(crate) fn on_socket(images: Vec<Image>, path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let host = format!("unix://{}", path.display());
        let router = router(images, Faults::default());
        let server = tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        Self { host, server }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn router(images: Vec<Image>, faults: Faults) -> Router {
    Router::new().fallback(answer).with_state(Arc::new(Store { images, faults }))
}

async fn answer(State(store): State<Arc<Store>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    if path == "/_ping" {
        return "OK".into_response();
    }
    if path == "/images/json" {
        let listed: Vec<_> = store
            .images
            .iter()
            .map(|image| json!({"Id": image.id(), "RepoTags": image.names}))
            .collect();
        return json!(listed).to_string().into_response();
    }
    let Some(rest) = path.strip_prefix("/images/") else {
        return missing();
    };
    let find = |name: &str| {
        store
            .images
            .iter()
            .find(|image| image.names.iter().any(|known| known == name) || image.id() == name)
    };
    if let Some(name) = rest.strip_suffix("/json") {
        let Some(image) = find(name) else {
            return missing();
        };
        let size: usize = image.layers.iter().map(Vec::len).sum();
        let size = store.faults.claimed_size.unwrap_or(size as u64);
        let mut inspected = json!({
            "Id": image.id(), "RepoTags": image.names, "Size": size, "Os": "linux",
            "Architecture": "amd64", "RootFS": {"Type": "layers", "Layers": image.diff_ids()},
        });
        if image.layout == Layout::Containerd {
            inspected["Descriptor"] = json!({"digest": image.id()});
        }
        return inspected.to_string().into_response();
    }
    match rest.strip_suffix("/get").and_then(find) {
        Some(image) => export(image.export(), store.faults),
        None => missing(),
    }
}

/// Streams the export in pieces of an odd size.
fn export(mut tar: Vec<u8>, faults: Faults) -> Response {
    tar.truncate(faults.cut_export.unwrap_or(tar.len()));
    let pieces: Vec<_> =
        tar.chunks(65_521).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    let end: Vec<std::io::Result<Bytes>> = match faults.cut_export {
        Some(_) => vec![Err(std::io::Error::other("cut"))],
        None => Vec::new(),
    };
    let body = stream::iter(pieces.into_iter().chain(end));
    if faults.hang {
        use futures_util::StreamExt as _;
        return Body::from_stream(body.take(1).chain(stream::pending())).into_response();
    }
    Body::from_stream(body).into_response()
}

fn missing() -> Response {
    let body = json!({"message": "reference does not exist"}).to_string();
    (StatusCode::NOT_FOUND, body).into_response()
}
