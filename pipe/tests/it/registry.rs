//! A registry in memory that keeps to the distribution-spec, until it is told not to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub(crate) use crate::faults::Faults;
use crate::image::digest;

pub(crate) const USER: &str = "ann";
pub(crate) const PASSWORD: &str = "correct-horse";
/// What every token begins with.
pub(crate) const TOKEN: &str = "registry-token-";

/// How the registry wants callers to identify.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Login {
    /// Not at all.
    #[default]
    Nobody,
    Basic,
    Bearer,
}

/// A request that was received.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) authorization: Option<String>,
    pub(crate) user_agent: String,
    pub(crate) content_range: Option<String>,
}

/// Everything the registry holds.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
    /// By tag and by digest: media type and bytes.
    pub(crate) manifests: BTreeMap<String, (String, Vec<u8>)>,
    uploads: BTreeMap<String, Vec<u8>>,
    /// The query that was given out last for an upload.
    states: BTreeMap<String, String>,
    opened: usize,
    /// Bytes of blobs that came in.
    pub(crate) uploaded: usize,
    tokens: BTreeMap<String, usize>,
    pub(crate) seen: Vec<Seen>,
    faults: Faults,
}

#[derive(Debug)]
struct Shared {
    login: Login,
    address: String,
    content: Mutex<Content>,
}

impl Content {
    fn keep(&mut self, id: &str, piece: &[u8]) {
        self.uploaded += piece.len();
        self.uploads.entry(id.to_owned()).or_default().extend(piece);
    }

    /// As a registry does after some hours.
    pub(crate) fn forget_uploads(&mut self) {
        self.uploads.clear();
    }

    pub(crate) const fn faults(&mut self) -> &mut Faults {
        &mut self.faults
    }
}

/// A running registry; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Registry {
    /// `127.0.0.1:port`, for `REGISTRY`.
    pub(crate) address: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl Registry {
    pub(crate) async fn start(login: Login) -> Self {
        Self::with_faults(login, Faults::default()).await
    }

    pub(crate) async fn with_faults(login: Login, faults: Faults) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let content = Mutex::new(Content { faults, ..Content::default() });
        let shared = Arc::new(Shared { login, address: address.clone(), content });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        Self { address, shared, server }
    }

    pub(crate) fn content(&self) -> MutexGuard<'_, Content> {
        self.shared.content.lock().unwrap()
    }

    /// How many requests had this method and a path with this in it.
    pub(crate) fn count(&self, method: &Method, part: &str) -> usize {
        let content = self.content();
        content
            .seen
            .iter()
            .filter(|seen| seen.method == *method && seen.path.contains(part))
            .count()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let seen = Seen::of(&parts.method, &parts.uri, &parts.headers);
    let faults = {
        let mut content = shared.content.lock().unwrap();
        content.seen.push(seen.clone());
        content.faults.clone()
    };
    if let Some(target) = &faults.redirect
        && seen.path != "/v2/"
        && seen.path != "/token"
    {
        let location = format!("{target}{}", seen.path);
        return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response();
    }
    if let Some(error) = passing_error(&shared, &faults) {
        return error;
    }
    if seen.path == "/token" {
        return token(&shared, &seen, &faults);
    }
    if let Some(refusal) = challenge(&shared, &seen, &faults) {
        return refusal;
    }
    if seen.path == "/v2/" {
        return match faults.page {
            true => ([(header::CONTENT_TYPE, "text/html")], "<html>hello</html>").into_response(),
            false => "{}".into_response(),
        };
    }
    let kinds = ["/blobs/", "/manifests/"];
    let start = kinds.iter().find_map(|kind| seen.path.find(kind)).unwrap_or_default();
    let path = seen.path[start..].trim_start_matches('/').to_owned();
    match path.split_once('/') {
        Some(("blobs", "uploads/")) => {
            let length = parts.headers.get(header::CONTENT_LENGTH);
            assert_eq!(length.unwrap(), "0", "an upload is opened without a body");
            mounted(&seen, &faults).unwrap_or_else(|| open(&shared, &faults))
        }
        Some(("blobs", rest)) => match rest.strip_prefix("uploads/") {
            Some(id) => upload(&shared, id, &seen, &parts.headers, body).await,
            None => blob(&shared, rest, &seen),
        },
        Some(("manifests", name)) => {
            manifest(&shared, name, &seen, &parts.headers, &faults, body).await
        }
        _ => error(404, "UNSUPPORTED"),
    }
}

/// An error as overloaded registries and the proxies before them give.
fn passing_error(shared: &Shared, faults: &Faults) -> Option<Response> {
    let (seed, one_in) = faults.flaky?;
    let number = shared.content.lock().unwrap().seen.len() as u64;
    let dice = (number ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    if !dice.is_multiple_of(one_in) {
        return None;
    }
    let status = [500, 502, 503, 429][(dice / one_in % 4) as usize];
    let mut answer = error(status, "UNKNOWN");
    if status >= 429 {
        answer.headers_mut().insert(header::RETRY_AFTER, "0".parse().unwrap());
    }
    Some(answer)
}

impl Seen {
    fn of(method: &Method, uri: &axum::http::Uri, headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        Self {
            method: method.clone(),
            path: uri.path().to_owned(),
            query: uri.query().unwrap_or_default().to_owned(),
            authorization: text(header::AUTHORIZATION),
            user_agent: text(header::USER_AGENT).unwrap_or_default(),
            content_range: text(header::CONTENT_RANGE),
        }
    }
}

fn basic() -> String {
    format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")))
}

fn token(shared: &Shared, seen: &Seen, faults: &Faults) -> Response {
    if seen.authorization != Some(basic()) {
        return error(401, "UNAUTHORIZED");
    }
    assert!(seen.query.contains("scope=repository%3Aacme%2F"), "{}", seen.query);
    assert!(seen.query.contains("%3Apull%2Cpush"), "{}", seen.query);
    assert!(seen.query.contains("service=test"), "{}", seen.query);
    if let Some(answer) = &faults.token_answer {
        return answer.clone().into_response();
    }
    let mut content = shared.content.lock().unwrap();
    let token = format!("{TOKEN}{}", content.tokens.len());
    content.tokens.insert(token.clone(), faults.token_uses.unwrap_or(usize::MAX));
    json!({"token": token, "expires_in": 300}).to_string().into_response()
}

/// The refusal, unless the caller may go on.
fn challenge(shared: &Shared, seen: &Seen, faults: &Faults) -> Option<Response> {
    let given = seen.authorization.as_deref().unwrap_or_default();
    let welcome = match shared.login {
        Login::Nobody => true,
        Login::Basic => given == basic(),
        Login::Bearer => {
            let mut content = shared.content.lock().unwrap();
            let token = given.strip_prefix("Bearer ").unwrap_or_default();
            match content.tokens.get_mut(token) {
                Some(uses) if *uses > 0 => {
                    *uses -= 1;
                    true
                }
                _ => false,
            }
        }
    };
    if welcome {
        return None;
    }
    let own = format!("http://{}/token", shared.address);
    let bearer = |realm: &str| format!(r#"Bearer realm="{realm}",service="test""#);
    let pings = {
        let content = shared.content.lock().unwrap();
        content.seen.iter().filter(|seen| seen.path == "/v2/").count()
    };
    let challenge = match (&faults.turncoat_realm, shared.login) {
        (Some(realm), _) if pings > 1 => bearer(realm),
        (_, Login::Bearer) => bearer(faults.foreign_realm.as_ref().unwrap_or(&own)),
        _ => r#"Basic realm="test""#.to_owned(),
    };
    let mut refusal = error(401, "UNAUTHORIZED");
    refusal.headers_mut().insert(header::WWW_AUTHENTICATE, challenge.parse().unwrap());
    Some(refusal)
}

fn blob(shared: &Shared, digest: &str, seen: &Seen) -> Response {
    let mut content = shared.content.lock().unwrap();
    let content = &mut *content;
    let Some(blob) = content.blobs.get(digest) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let mut length = blob.len();
    if seen.method == Method::HEAD {
        if content.faults.losing > 0 {
            content.faults.losing -= 1;
            content.blobs.remove(digest);
        }
        return ([(header::CONTENT_LENGTH, length)], Body::empty()).into_response();
    }
    if content.faults.garbles {
        length = length.saturating_sub(1);
    }
    blob[..length].to_vec().into_response()
}

/// The answer to a mount that succeeds.
fn mounted(seen: &Seen, faults: &Faults) -> Option<Response> {
    let source = faults.mountable?.replace('/', "%2F");
    let digest = seen.query.strip_prefix("mount=")?.split('&').next()?.replace("%3A", ":");
    seen.query.ends_with(&format!("from={source}")).then_some(())?;
    let location = format!("/v2/acme/app/blobs/{digest}");
    Some((StatusCode::CREATED, [(header::LOCATION, location)]).into_response())
}

fn open(shared: &Shared, faults: &Faults) -> Response {
    if let Some((status, body)) = faults.refuse_upload {
        return (StatusCode::from_u16(status).unwrap(), body).into_response();
    }
    let mut content = shared.content.lock().unwrap();
    if content.faults.busy > 0 {
        content.faults.busy -= 1;
        let mut busy = StatusCode::SERVICE_UNAVAILABLE.into_response();
        if let Some(seconds) = faults.retry_after {
            busy.headers_mut().insert(header::RETRY_AFTER, seconds.parse().unwrap());
        }
        return busy;
    }
    content.opened += 1;
    let id = format!("u{}", content.opened);
    content.uploads.insert(id.clone(), Vec::new());
    content.states.insert(id.clone(), "state=secret".to_owned());
    let path = format!("/v2/acme/app/blobs/uploads/{id}?state=secret");
    let location = match &faults.foreign_storage {
        Some(storage) => format!("{storage}{path}"),
        None => path,
    };
    let mut opened = (StatusCode::ACCEPTED, [(header::LOCATION, location)]).into_response();
    if let Some(least) = faults.least_piece {
        opened.headers_mut().insert("oci-chunk-min-length", least.into());
    }
    opened
}

async fn upload(
    shared: &Shared,
    id: &str,
    seen: &Seen,
    headers: &HeaderMap,
    body: Body,
) -> Response {
    let known = shared.content.lock().unwrap().uploads.contains_key(id);
    // The storage of another registry takes what it gets.
    if !known && seen.method != Method::PUT {
        return error(404, "BLOB_UPLOAD_UNKNOWN");
    }
    if known {
        assert_location(shared, id, seen);
    }
    let no_pieces = shared.content.lock().unwrap().faults.no_pieces;
    if seen.method == Method::PATCH && no_pieces {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    if seen.method == Method::DELETE && shared.content.lock().unwrap().faults.no_cancelling {
        return error(405, "UNSUPPORTED");
    }
    if seen.method == Method::DELETE {
        shared.content.lock().unwrap().uploads.remove(id);
        return StatusCode::NO_CONTENT.into_response();
    }
    if let Some(range) = &seen.content_range {
        let (start, last) = range.split_once('-').unwrap();
        let [start, last] = [start, last].map(|text| text.parse::<usize>().unwrap());
        let length: usize = headers[header::CONTENT_LENGTH].to_str().unwrap().parse().unwrap();
        assert_eq!(last - start + 1, length, "both ends of {range} belong to it");
        if shared.content.lock().unwrap().uploads[id].len() != start {
            return progress(shared, id, StatusCode::RANGE_NOT_SATISFIABLE);
        }
    }
    if seen.method != Method::GET
        && let Err(refusal) = receive(shared, id, body).await
    {
        return refusal;
    }
    match seen.method {
        Method::PUT => close(shared, id, seen),
        Method::PATCH => progress(shared, id, StatusCode::ACCEPTED),
        _ => progress(shared, id, StatusCode::NO_CONTENT),
    }
}

/// What was given out as a location is used as it is; what adds to an upload uses the latest.
fn assert_location(shared: &Shared, id: &str, seen: &Seen) {
    let latest = shared.content.lock().unwrap().states[id].clone();
    let state = seen.query.split('&').next().unwrap();
    assert!(state.starts_with("state=secret"), "{} {}", seen.path, seen.query);
    if seen.method == Method::PATCH || seen.method == Method::PUT {
        assert_eq!(state, latest, "{} {}", seen.method, seen.path);
    }
}

/// Appends a body as it comes, so that what came before a cut is kept.
async fn receive(shared: &Shared, id: &str, body: Body) -> Result<(), Response> {
    let largest = shared.content.lock().unwrap().faults.largest_body;
    let mut pieces = body.into_data_stream();
    let (mut cut, mut stall, mut got) = (None, None, 0);
    while let Some(piece) = pieces.next().await {
        let Ok(piece) = piece else {
            return Err(error(400, "SIZE_INVALID"));
        };
        if got == 0 {
            let mut content = shared.content.lock().unwrap();
            cut = content.faults.cuts.pop_front();
            stall = content.faults.stall_after.take();
        }
        got += piece.len();
        if largest.is_some_and(|most| got as u64 > most) {
            return Err((StatusCode::PAYLOAD_TOO_LARGE, "<html>").into_response());
        }
        let mut kept = &piece[..];
        if let Some(end) = cut
            && got > end
        {
            kept = &piece[..piece.len() - (got - end).min(piece.len())];
        }
        shared.content.lock().unwrap().keep(id, kept);
        if cut.is_some_and(|end| got > end) {
            // Unwinding ends the connection without an answer, as a crash does.
            std::panic::resume_unwind(Box::new("cut"));
        }
        if stall.is_some_and(|end| got > end) {
            std::future::pending::<()>().await;
        }
    }
    Ok(())
}

fn close(shared: &Shared, id: &str, seen: &Seen) -> Response {
    let mut content = shared.content.lock().unwrap();
    let blob = content.uploads.remove(id).unwrap_or_default();
    let claimed = seen.query.rsplit_once("digest=").unwrap().1.replace("%3A", ":");
    if digest(&blob) != claimed {
        return error(400, "DIGEST_INVALID");
    }
    content.blobs.insert(claimed.clone(), blob);
    let location = format!("/v2/acme/app/blobs/{claimed}");
    (StatusCode::CREATED, [(header::LOCATION, location)]).into_response()
}

fn progress(shared: &Shared, id: &str, status: StatusCode) -> Response {
    let mut content = shared.content.lock().unwrap();
    let received = content.uploads[id].len();
    content.states.insert(id.to_owned(), format!("state=secret{received}"));
    let location = format!("/v2/acme/app/blobs/uploads/{id}?state=secret{received}");
    let range = format!("0-{}", received.saturating_sub(1));
    (status, [(header::LOCATION, location), (header::RANGE, range)]).into_response()
}

async fn manifest(
    shared: &Shared,
    name: &str,
    seen: &Seen,
    headers: &HeaderMap,
    faults: &Faults,
    body: Body,
) -> Response {
    if seen.method == Method::PUT {
        if let Some((status, body)) = faults.refuse_manifest {
            return (StatusCode::from_u16(status).unwrap(), body).into_response();
        }
        let bytes = axum::body::to_bytes(body, 4 << 20).await.unwrap().to_vec();
        let mut content = shared.content.lock().unwrap();
        let parsed: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        for child in parsed["manifests"].as_array().into_iter().flatten() {
            let stored = content.manifests.get(child["digest"].as_str().unwrap());
            if stored.map(|(_, bytes)| bytes.len() as u64) != child["size"].as_u64() {
                return error(400, "MANIFEST_UNKNOWN");
            }
        }
        let layers = parsed["layers"].as_array().into_iter().flatten();
        let config = parsed.get("config");
        // What may not be handed on is fetched from elsewhere (image-spec, layer.md).
        let is_ours = |blob: &&serde_json::Value| blob.get("urls").is_none();
        for blob in layers.chain(config).filter(is_ours) {
            let stored = content.blobs.get(blob["digest"].as_str().unwrap());
            let mounted = faults.mountable.is_some();
            if !mounted && stored.map(|stored| stored.len() as u64) != blob["size"].as_u64() {
                return error(400, "MANIFEST_BLOB_UNKNOWN");
            }
        }
        let kind = headers[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        assert!(parsed.get("mediaType").is_none_or(|written| *written == *kind), "{kind}");
        assert!(config.is_some() || parsed.get("manifests").is_some(), "neither image nor index");
        let digest = digest(&bytes);
        assert!(!name.starts_with("sha256:") || name == digest, "{name} is not {digest}");
        content.manifests.insert(name.to_owned(), (kind.clone(), bytes.clone()));
        content.manifests.insert(digest.clone(), (kind, bytes));
        let location = format!("/v2/acme/app/manifests/{digest}");
        return (StatusCode::CREATED, [(header::LOCATION, location)]).into_response();
    }
    if let Some(status) = faults.no_manifests {
        return error(status, "UNKNOWN");
    }
    let accepted: Vec<_> = headers.get_all(header::ACCEPT).iter().collect();
    for kind in ["oci.image.manifest.v1", "oci.image.index.v1", "distribution.manifest.v2"] {
        assert!(format!("{accepted:?}").contains(kind), "{} {name}: {accepted:?}", seen.method);
    }
    let content = shared.content.lock().unwrap();
    let Some((kind, bytes)) = content.manifests.get(name) else {
        return error(404, "MANIFEST_UNKNOWN");
    };
    let named = faults.wrong_digest.map_or_else(|| digest(bytes), str::to_owned);
    let headers = [
        (header::CONTENT_TYPE, kind.clone()),
        (header::CONTENT_LENGTH, bytes.len().to_string()),
        (header::HeaderName::from_static("docker-content-digest"), named),
    ];
    (headers, bytes.clone()).into_response()
}

fn error(status: u16, code: &str) -> Response {
    let body = json!({"errors": [{"code": code, "message": "as the test wants it"}]});
    (StatusCode::from_u16(status).unwrap(), body.to_string()).into_response()
}
