//! The registry of a relay as an engine sees it, and as others do.

use std::io::Write as _;
use std::net::Ipv4Addr;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::{StreamExt as _, stream};
use reqwest::header::LOCATION;
use reqwest::{Body, Client, Method, Response, StatusCode};
use tokio::net::TcpListener;

use super::*;
use crate::config;
use crate::progress::Progress;
use crate::spool::Spool;

struct Relayed {
    base: String,
    header: String,
    http: Client,
    intake: Arc<Intake>,
    found: UnboundedReceiver<(Digest, Blob)>,
    spool: Arc<Spool>,
    _place: tempfile::TempDir,
    _server: tokio::task::JoinHandle<()>,
}

impl Relayed {
    async fn new(layers: &[&[u8]], limit: u64) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let place = tempfile::tempdir().unwrap();
        let spool = Arc::new(Spool::create(place.path()).unwrap());
        let reading = Reading::new(&spool, &Progress::default(), config::Compression::default());
        let (send, found) = mpsc::unbounded_channel();
        let layers = layers.iter().map(|layer| Digest::of(layer)).collect();
        let intake = Arc::new(Intake::new(layers, limit, reading, send));
        let login = Login::random().unwrap();
        let registry = Arc::new(Registry::new(&login, Arc::clone(&intake)));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(registry.serve(listener));
        let json = login.json("here");
        let [user, password] = ["username", "password"].map(|key| json[key].as_str().unwrap());
        let pair = base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            format!("{user}:{password}"),
        );
        let (header, http) = (format!("Basic {pair}"), Client::new());
        Self { base, header, http, intake, found, spool, _place: place, _server: server }
    }

    async fn ask(&self, method: Method, path: &str, body: impl Into<Body>) -> Response {
        let request = self.http.request(method, format!("{}{path}", self.base)).body(body);
        request.header("authorization", &self.header).send().await.unwrap()
    }

    async fn upload(&self, body: impl Into<Body>) -> StatusCode {
        let started = self.ask(Method::POST, "/v2/app/blobs/uploads/", "").await;
        assert_eq!(started.status(), 202);
        let location = started.headers()[LOCATION].to_str().unwrap().to_owned();
        let sent = self.ask(Method::PATCH, &location, body).await;
        if sent.status() == 202 {
            assert_eq!(sent.headers()[LOCATION], location.as_str());
            assert!(sent.headers()["range"].to_str().unwrap().starts_with("0-"));
            let path = format!("{location}?digest=sha256:0");
            assert_eq!(self.ask(Method::PUT, &path, "").await.status(), 201);
        }
        sent.status()
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_is_needed_comes_out_as_one_of_an_export_does_and_others_leave_nothing() {
    let (wanted, other) = (b"wanted ".repeat(9000), b"other ".repeat(9000));
    let mut relay = Relayed::new(&[&wanted], 1 << 20).await;
    assert_eq!(relay.upload(gzip(&other)).await, 202);
    assert_eq!(relay.upload(gzip(&wanted)).await, 202);
    let (raw, blob) = relay.found.recv().await.unwrap();
    assert_eq!((raw, blob.raw), (Digest::of(&wanted), Some(wanted.len() as u64)));
    let reading = Reading::new(&relay.spool, &Progress::default(), config::Compression::default());
    let exported = crate::source::pack::pack(&mut wanted.as_slice(), &reading).unwrap();
    assert_eq!(exported.blob, blob);
    assert!(relay.found.try_recv().is_err());
    let folder = blob.file().unwrap().path.parent().unwrap().to_owned();
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_layer_is_refused() {
    let wanted = b"wanted ".repeat(9000);
    let mut relay = Relayed::new(&[&wanted], 1 << 20).await;
    let whole = gzip(&wanted);
    let mut changed = whole.clone();
    changed[100] ^= 1;
    let cut = whole[..whole.len() - 9].to_vec();
    for rubbish in [changed, cut, wanted.clone(), b"rubbish".to_vec(), Vec::new()] {
        let status = relay.upload(rubbish).await;
        assert!(status == 400 || status == 202, "{status}");
    }
    assert!(relay.found.try_recv().is_err());
    assert_eq!(relay.upload(whole).await, 202);
    assert!(relay.found.recv().await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_given_out_and_nothing_is_done_without_the_secret() {
    let relay = Relayed::new(&[b"wanted"], 1 << 20).await;
    assert_eq!(relay.ask(Method::GET, "/v2/", "").await.status(), 200);
    for (method, path) in [
        (Method::HEAD, "/v2/app/blobs/sha256:0"),
        (Method::GET, "/v2/app/blobs/sha256:0"),
        (Method::GET, "/v2/app/manifests/relay"),
        (Method::PUT, "/v2/app/manifests/relay"),
        (Method::DELETE, "/v2/app/blobs/uploads/0"),
        (Method::GET, "/"),
    ] {
        assert_eq!(relay.ask(method.clone(), path, "").await.status(), 404, "{method} {path}");
    }
    let stranger = Relayed { header: "Basic c3RhbmRwaXBlOng=".to_owned(), ..relay };
    for (method, path) in
        [(Method::GET, "/v2/"), (Method::POST, "/v2/app/blobs/uploads/"), (Method::GET, "/")]
    {
        assert_eq!(stranger.ask(method, path, "").await.status(), 401);
    }
    let sent = stranger.ask(Method::PATCH, "/v2/app/blobs/uploads/0", gzip(b"wanted")).await;
    assert_eq!(sent.status(), 401);
    assert_eq!(stranger.intake.worked(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_by_which_too_much_comes_ends() {
    let wanted = vec![7; 3 << 20];
    let relay = Relayed::new(&[&wanted], 2 << 20).await;
    let (status, ()) = tokio::join!(relay.upload(gzip(&wanted)), relay.intake.exceeded());
    assert_eq!(status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_is_found_while_longer_ones_are_still_on_their_way() {
    let (short, long) = (vec![1; 3 << 20], gzip(&vec![2; 8 << 20]));
    let mut relay = Relayed::new(&[&short], 1 << 30).await;
    let (found, nothing) = mpsc::unbounded_channel();
    let mut found_here = std::mem::replace(&mut relay.found, nothing);
    drop(found);
    let unfinished = || {
        let begun = stream::iter([Ok::<_, std::io::Error>(long[..long.len() - 9].to_vec())]);
        Body::wrap_stream(begun.chain(stream::pending()))
    };
    let uploads = async {
        let long = [unfinished(), unfinished()].map(|body| relay.upload(body));
        tokio::join!(futures_util::future::join_all(long), relay.upload(gzip(&short)))
    };
    tokio::select! {
        found = found_here.recv() => assert_eq!(found.unwrap().0, Digest::of(&short)),
        _ = uploads => panic!("a stream ended that has no end"),
    }
    relay.intake.close();
}
