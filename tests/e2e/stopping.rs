//! Being told to stop: announced first, then without new connections, in flight to the end; told twice,
//! at once. Whatever the way, what was acknowledged holds.

use std::process::Stdio;
use std::time::{Duration, Instant};

use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use standpipe_tests::environment;
use standpipe_tests::payload::Payload;
use standpipe_tests::poll;
use standpipe_tests::raw::{Raw, answered, last_byte};
use standpipe_tests::server::ServerOptions;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::lifecycle::Halting;
use crate::world::{World, location};

/// There was a moment in which a signal killed the server instead.
#[tokio::test]
async fn a_stop_as_soon_as_the_address_is_told_is_graceful() {
    for _ in 0..10 {
        let folder = tempfile::tempdir().expect("a folder");
        let mut server = Command::new(environment::server_binary())
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.path().join("data"))
            .env("STANDPIPE_ADMIN_PASSWORD", "a-password-for-once")
            .env("STANDPIPE_HTTP_NOTICE_SECONDS", "0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the server starts");
        let output = server.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(output).lines();
        while let Some(line) = lines.next_line().await.expect("a line") {
            if line.starts_with("listening on ") {
                break;
            }
        }
        let id = server.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        kill_process(id.expect("it runs"), Signal::TERM).expect("our own process");
        let status = timeout(PATIENCE, server.wait()).await.expect("in time").expect("a status");
        assert!(status.success(), "{status}");
    }
}

const NAME: &str = "acme/shop-api";
const CHUNK: u64 = 300_000;
/// Far from the fraction of a second that it takes, because the machine may be busy with other tests.
const READY_LIMIT: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that says for so long that it will stop.
async fn noticing(seconds: u64) -> World {
    let config = Some(format!("http:\n  notice_seconds: {seconds}\n"));
    World::with_options(ServerOptions { config, ..ServerOptions::default() }, &["shop-api"]).await
}

/// Waits until somebody who distributes requests would look elsewhere.
async fn not_ready(url: &str) {
    poll::until("readiness to end", PATIENCE, async || {
        let answer = answered(Raw::anonymous(url).send(Method::GET, "/readyz", &[], "").await);
        match answer.status {
            503 => {
                assert_eq!(answer.json()["stopping"], true, "{}", answer.text());
                Ok(())
            }
            other => Err(other),
        }
    })
    .await;
}

#[tokio::test]
async fn a_stop_is_announced_before_connections_are_refused() {
    // Long enough for all that is done meanwhile, also on a machine that is busy.
    let mut world = noticing(8).await;
    let raw = world.raw();
    let (body, halting) = Halting::body(1);
    let upload = location(&answered(raw.start_upload(NAME).await).expect(202));
    let in_flight = tokio::spawn({
        let raw = raw.clone();
        async move { raw.send(Method::PATCH, &upload, &[], body).await }
    });
    halting.begun.await.expect("the first half is sent");
    let _ = raw.get("/readyz").await.expect(200);
    world.server.ask_to_stop();
    not_ready(&world.server.url()).await;
    // Everything else is as before, on old connections and on new ones.
    let _ = raw.get("/healthz").await.expect(200);
    let manifest = world.raw().push_image(NAME, "late", 7).await;

    let refused = poll::until("closed door", PATIENCE, async || {
        let probe = Raw::anonymous(&world.server.url()).send(Method::GET, "/readyz", &[], "").await;
        probe.map_or(Ok(()), |answer| Err(answer.status))
    });
    refused.await;
    halting.go_on.send(()).expect("the request in flight still waits");
    let sent = answered(in_flight.await.expect("the request does not panic")).expect(202);
    let status = world.server.ended().await;
    assert!(status.success(), "{status}");

    world.server.start_again().await;
    let raw = world.raw();
    let _ = raw.get("/readyz").await.expect(200);
    let finished = raw.finish_upload(&location(&sent), &halting.payload.digest(), "").await;
    let _ = answered(finished).expect(201);
    assert_eq!(raw.manifest(NAME, "late").await.expect(200).body, manifest.bytes);
}

/// An image, an acknowledged chunk, and a request that does not come to its end by itself.
struct Interrupted {
    digest: String,
    upload: String,
    payload: Payload,
    in_flight: tokio::task::JoinHandle<bool>,
    // Held, so that the body in flight goes on waiting.
    _halting: Halting,
}

impl Interrupted {
    async fn begin(world: &World) -> Self {
        let raw = world.raw();
        let digest = raw.push_image(NAME, "latest", 1).await.digest();
        let payload = Payload::new(2, 2 * CHUNK);
        let upload = location(&answered(raw.start_upload(NAME).await).expect(202));
        let sent = raw.append_chunk(&upload, &payload, 0, CHUNK).await;
        let upload = location(&answered(sent).expect(202));
        let other = location(&answered(raw.start_upload(NAME).await).expect(202));
        let (body, mut halting) = Halting::body(3);
        let in_flight =
            tokio::spawn(async move { raw.send(Method::PATCH, &other, &[], body).await.is_ok() });
        (&mut halting.begun).await.expect("the first half is sent");
        Self { digest, upload, payload, in_flight, _halting: halting }
    }

    /// After the restart: nothing acknowledged is gone, and the client goes on where it was.
    async fn goes_on(self, world: &World) {
        assert!(!self.in_flight.await.expect("the request does not panic"), "it was cut off");
        let raw = world.raw();
        let manifest = raw.manifest(NAME, "latest").await.expect(200);
        assert_eq!(manifest.header("docker-content-digest"), self.digest);
        let status = answered(raw.upload_status(&self.upload).await).expect(204);
        assert_eq!(last_byte(&status), Some(CHUNK - 1));
        let rest = raw.append_chunk(&self.upload, &self.payload, CHUNK, 2 * CHUNK).await;
        let rest = answered(rest).expect(202);
        let finished = raw.finish_upload(&location(&rest), &self.payload.digest(), "").await;
        let _ = answered(finished).expect(201);
    }
}

#[tokio::test]
async fn a_second_signal_ends_at_once_and_loses_nothing_acknowledged() {
    for notice in [0, 30] {
        let mut world = noticing(notice).await;
        let interrupted = Interrupted::begin(&world).await;
        world.server.ask_to_stop();
        if notice > 0 {
            not_ready(&world.server.url()).await;
        } else {
            poll::until("the first signal to be heard", PATIENCE, async || {
                world.server.stderr().contains("asked to stop").then_some(()).ok_or("not yet")
            })
            .await;
        }
        let start = Instant::now();
        let status = world.server.stop().await;
        assert_eq!(status.code(), Some(1), "{status}");
        // Notice and drain together are a minute and more.
        assert!(start.elapsed() < Duration::from_secs(45), "{:?}", start.elapsed());
        assert!(world.server.stderr().contains("stopped at once"), "it says why");
        world.server.start_again().await;
        interrupted.goes_on(&world).await;
    }
}

#[tokio::test]
async fn a_server_that_is_killed_while_it_stops_loses_nothing_acknowledged() {
    let mut world = noticing(0).await;
    let interrupted = Interrupted::begin(&world).await;
    world.server.ask_to_stop();
    poll::until("the signal to be heard", PATIENCE, async || {
        world.server.stderr().contains("asked to stop").then_some(()).ok_or("not yet")
    })
    .await;
    world.server.kill();
    let took = world.server.start_again().await;
    assert!(took < READY_LIMIT, "ready only after {took:?}");
    interrupted.goes_on(&world).await;
}
