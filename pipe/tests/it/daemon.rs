//! A Docker daemon with the few endpoints that a push needs.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, stream};
use serde_json::json;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;

use crate::image::{Image, Layout};

/// A running daemon; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    /// The value for `DOCKER_HOST`.
    pub(crate) host: String,
    /// What was asked for that changes something: method, path and query, login.
    calls: Arc<Mutex<Vec<String>>>,
    /// Exports that were asked for, and bytes of them that were taken.
    exported: Arc<Mutex<(usize, usize)>>,
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
    /// The size that each layer but the one at the top has in the history of an image.
    pub(crate) history: Option<u64>,
    /// The builder never answers.
    pub(crate) builder_hangs: bool,
    /// What becomes of an archive without layers that is loaded.
    pub(crate) load: Load,
    /// Why the daemon cannot push.
    pub(crate) refuse_push: Option<&'static str>,
}

/// What becomes of an archive without layers that is loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Load {
    /// An image of the layers that are there.
    #[default]
    Loaded,
    /// The same, and its export is never begun.
    Stuck,
    /// The same, and its export is cut off.
    Cut,
    /// The same, and at first the disk has no room for the export of the whole.
    Full,
    /// The status is good, and the body says what is wrong.
    Refused,
}

#[derive(Debug)]
struct Store {
    images: Vec<Image>,
    /// IDs and layers of those that were loaded.
    loaded: Mutex<Vec<Image>>,
    /// Whether an export was refused because the disk was full.
    refused: AtomicBool,
    faults: Faults,
    calls: Arc<Mutex<Vec<String>>>,
    exported: Arc<Mutex<(usize, usize)>>,
}

impl Daemon {
    pub(crate) async fn start(images: Vec<Image>) -> Self {
        Self::with_faults(images, Faults::default()).await
    }

    pub(crate) async fn with_faults(images: Vec<Image>, faults: Faults) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = format!("tcp://{}", listener.local_addr().unwrap());
        let (calls, exported) = Default::default();
        let router = router(images, faults, &calls, &exported);
        let server = tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        Self { host, calls, exported, server }
    }

    pub(crate) fn on_socket(images: Vec<Image>, path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let host = format!("unix://{}", path.display());
        let (calls, exported) = Default::default();
        let router = router(images, Faults::default(), &calls, &exported);
        let server = tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        Self { host, calls, exported, server }
    }

    /// How many exports were asked for, and how many bytes of them were taken.
    pub(crate) fn exported(&self) -> (usize, usize) {
        *self.exported.lock().unwrap()
    }

    /// What was asked for that changes something.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn router(
    images: Vec<Image>,
    faults: Faults,
    calls: &Arc<Mutex<Vec<String>>>,
    exported: &Arc<Mutex<(usize, usize)>>,
) -> Router {
    let (calls, exported) = (Arc::clone(calls), Arc::clone(exported));
    Router::new().fallback(answer).with_state(Arc::new(Store {
        images,
        loaded: Mutex::default(),
        refused: AtomicBool::default(),
        faults,
        calls,
        exported,
    }))
}

/// `tag`, `push` and the removal of a name.
fn change(store: &Store, request: &Request) -> Response {
    let login = request.headers().get("x-registry-auth");
    let login = login.map(|login| login.to_str().unwrap().to_owned()).unwrap_or_default();
    let call = format!("{} {} {login}", request.method(), request.uri());
    store.calls.lock().unwrap().push(call.trim_end().to_owned());
    let path = request.uri().path();
    if path.ends_with("/tag") {
        return StatusCode::CREATED.into_response();
    }
    if request.method() == Method::DELETE {
        return "[]".into_response();
    }
    let mut lines = vec![json!({"status": "The push refers to repository [somewhere]"})];
    for (id, status) in [("aaaaaaaaaaaa", "Pushed"), ("bbbbbbbbbbbb", "Layer already exists")] {
        lines.push(json!({"status": "Preparing", "id": id, "progressDetail": {}}));
        lines.push(json!({"status": status, "id": id, "progressDetail": {}}));
    }
    lines.push(match store.faults.refuse_push {
        Some(reason) => json!({"errorDetail": {"message": reason}, "error": reason}),
        None => {
            let digest = crate::image::digest(b"what the daemon pushed");
            json!({"progressDetail": {}, "aux": {"Tag": "1", "Digest": digest, "Size": 1}})
        }
    });
    lines.iter().map(|line| format!("{line}\r\n")).collect::<String>().into_response()
}

async fn answer(State(store): State<Arc<Store>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    if request.method() != Method::GET {
        if path == "/grpc" && store.faults.builder_hangs {
            std::future::pending::<()>().await;
        }
        if path == "/images/load" {
            return load(&store, request).await;
        }
        return change(&store, &request);
    }
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
            "Architecture": "amd64", "RepoDigests": image.seen_as,
            "RootFS": {"Type": "layers", "Layers": image.diff_ids()},
        });
        if image.layout == Layout::Containerd {
            inspected["Descriptor"] = json!({"digest": image.id()});
        }
        return inspected.to_string().into_response();
    }
    if let (Some(image), Some(size)) =
        (rest.strip_suffix("/history").and_then(find), store.faults.history)
    {
        let below = image.layers.iter().skip(1).map(|_| json!({"Size": size}));
        let steps: Vec<_> = std::iter::once(json!({"Size": 1000})).chain(below).collect();
        return json!(steps).to_string().into_response();
    }
    match rest.strip_suffix("/get") {
        Some(name) => export_called(&store, name, find(name)).await,
        None => missing(),
    }
}

async fn export_called(store: &Store, name: &str, image: Option<&Image>) -> Response {
    let loaded = store.loaded.lock().unwrap().iter().find(|image| image.id() == name).cloned();
    match (image, loaded) {
        (Some(_), _)
            if store.faults.load == Load::Full && !store.refused.swap(true, Ordering::SeqCst) =>
        {
            let body = json!({"message": "no space left on device"}).to_string();
            (StatusCode::INTERNAL_SERVER_ERROR, body).into_response()
        }
        (Some(image), _) => export(image.export(), store.faults, &store.exported),
        (None, Some(image)) => {
            if store.faults.load == Load::Stuck {
                std::future::pending::<()>().await;
            }
            let cut_export = (store.faults.load == Load::Cut).then_some(70_000);
            export(image.export(), Faults { cut_export, ..store.faults }, &store.exported)
        }
        (None, None) => missing(),
    }
}

/// Takes an image whose layers are those at the bottom of one that is there.
async fn load(store: &Store, request: Request) -> Response {
    let call = format!("{} {}", request.method(), request.uri());
    store.calls.lock().unwrap().push(call);
    if store.faults.load == Load::Refused {
        let reason = json!({"errorDetail": {"message": "no such layer"}, "error": "no such layer"});
        return reason.to_string().into_response();
    }
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let mut archive = tar::Archive::new(&body[..]);
    let files = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        (entry.path().unwrap().to_string_lossy().into_owned(), content)
    });
    let files: std::collections::HashMap<String, Vec<u8>> = files.collect();
    let list: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    assert_eq!(list[0]["RepoTags"], json!(null));
    let config = files[list[0]["Config"].as_str().unwrap()].clone();
    let read: serde_json::Value = serde_json::from_slice(&config).unwrap();
    let wanted = &read["rootfs"]["diff_ids"];
    let count = list[0]["Layers"].as_array().unwrap().len();
    let whole = store.images.iter().find(|image| json!(&image.diff_ids()[..count]) == *wanted);
    let whole = whole.expect("an image with these layers");
    let layers = whole.layers[..count].to_vec();
    let image = Image { names: Vec::new(), layers, config, ..whole.clone() };
    let said = json!({"stream": format!("Loaded image ID: {}\n", image.id())});
    store.loaded.lock().unwrap().push(image);
    said.to_string().into_response()
}

/// Streams the export in pieces of an odd size.
fn export(mut tar: Vec<u8>, faults: Faults, exported: &Arc<Mutex<(usize, usize)>>) -> Response {
    let exported = Arc::clone(exported);
    exported.lock().unwrap().0 += 1;
    tar.truncate(faults.cut_export.unwrap_or(tar.len()));
    let pieces: Vec<_> =
        tar.chunks(65_521).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    let end: Vec<std::io::Result<Bytes>> = match faults.cut_export {
        Some(_) => vec![Err(std::io::Error::other("cut"))],
        None => Vec::new(),
    };
    let body = stream::iter(pieces.into_iter().chain(end));
    let body = body.inspect(move |piece| {
        exported.lock().unwrap().1 += piece.as_ref().map_or(0, Bytes::len);
    });
    if faults.hang {
        return Body::from_stream(body.take(1).chain(stream::pending())).into_response();
    }
    Body::from_stream(body).into_response()
}

fn missing() -> Response {
    let body = json!({"message": "reference does not exist"}).to_string();
    (StatusCode::NOT_FOUND, body).into_response()
}
