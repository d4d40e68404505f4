//! From the first start to the last request: passwords, readiness, stopping with requests in flight.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use reqwest::{Body, Method};
use standpipe_tests::environment;
use standpipe_tests::payload::Payload;
use standpipe_tests::poll;
use standpipe_tests::process::Program;
use standpipe_tests::raw::{Raw, answered};
use standpipe_tests::rest::Rest;
use standpipe_tests::server::{ADMIN, Server, ServerOptions};
use tokio::sync::oneshot;

use crate::world::{World, location};

#[tokio::test]
async fn the_first_start_prints_a_password_that_works_and_later_ones_print_none() {
    let options = ServerOptions {
        // Empty is unset: the server has to make one up.
        environment: vec![("STANDPIPE_ADMIN_PASSWORD", String::new())],
        ..ServerOptions::default()
    };
    let mut server = Server::start_with(options).await;
    let log = server.stderr();
    let password = log
        .lines()
        .skip_while(|line| !line.contains("one-time password"))
        .skip(1)
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or_else(|| panic!("no password in {log}"));
    let rest = Rest::new(&server.url(), ADMIN, password);
    rest.workspace("acme").await;
    assert!(!server.stdout().contains(password), "passwords are not for pipes and files");

    assert!(server.stop().await.success());
    server.start_again().await;
    assert_eq!(server.stderr().matches("one-time password").count(), 1);
    let workspace = rest.fetch("/workspaces/acme").await;
    assert_eq!(workspace["slug"], "acme");
}

#[tokio::test]
async fn the_address_is_announced_in_the_data_directory() {
    let server = Server::start().await;
    let path = server.data().join("listen");
    let text = std::fs::read_to_string(path).expect("the file is there once the server is ready");
    assert_eq!(text.trim(), server.url());
}

#[tokio::test]
async fn health_tells_a_server_that_works_from_one_that_does_not() {
    let mut server = Server::start().await;
    // The announced port is found by the data directory alone.
    let health = |data: &Path| {
        Program::new(environment::server_binary()).args(["health", "--data-dir"]).args([data])
    };
    let well = health(&server.data()).finish().await.succeeded();
    assert_eq!(well.stdout.trim(), format!("the server at {} is ready", server.url()));
    let told = ["health", "--listen", server.authority(), "--data-dir", "nowhere"];
    let _ = Program::new(environment::server_binary()).args(told).finish().await.succeeded();

    assert!(server.stop().await.success());
    let gone = health(&server.data()).finish().await.ended_with(1);
    assert!(gone.stderr.contains("no server answers at http://127.0.0.1:"), "{gone}");
}

#[tokio::test]
async fn health_says_no_while_the_server_is_stopping() {
    let options = ServerOptions {
        environment: vec![("STANDPIPE_HTTP_NOTICE_SECONDS", "120".to_owned())],
        ..ServerOptions::default()
    };
    let server = Server::start_with(options).await;
    server.ask_to_stop();
    poll::until("refusal", Duration::from_secs(60), async || {
        let asked = ["health", "--listen", server.authority(), "--data-dir", "nowhere"];
        let health = Program::new(environment::server_binary()).args(asked).finish().await;
        match health.code {
            Some(1) if health.stderr.contains("not ready: it is stopping") => Ok(()),
            _ => Err(health.to_string()),
        }
    })
    .await;
}

#[tokio::test]
async fn a_stop_lets_a_request_in_flight_end_and_loses_none_of_it() {
    let mut world = World::with_packages(&["shop-api"]).await;
    let raw = world.raw();
    let (body, halting) = Halting::body(1);
    let upload = location(&answered(raw.start_upload("acme/shop-api").await).expect(202));
    let in_flight = tokio::spawn(async move { raw.send(Method::PATCH, &upload, &[], body).await });
    halting.begun.await.expect("the first half is sent");
    world.server.ask_to_stop();
    let refusing = poll::until("closed door", Duration::from_secs(60), async || {
        let probe = Raw::anonymous(&world.server.url()).send(Method::GET, "/readyz", &[], "").await;
        match probe {
            Ok(answer) if answer.status == 200 => Err("still ready"),
            _ => Ok(()),
        }
    });
    refusing.await;
    halting.go_on.send(()).expect("the request in flight still waits");
    let sent = answered(in_flight.await.expect("the request does not panic")).expect(202);
    assert!(world.server.ended().await.success());

    world.server.start_again().await;
    let raw = world.raw();
    let finished = raw.finish_upload(&location(&sent), &halting.payload.digest(), "").await;
    let _ = answered(finished).expect(201);
}

/// A body in two halves that stops between them until it is told to go on.
pub(crate) struct Halting {
    pub(crate) payload: Payload,
    /// Resolves when the first half is on its way. It is larger than all buffers between client and
    /// server, so the server is then in the middle of the request.
    pub(crate) begun: oneshot::Receiver<()>,
    /// Lets the second half go.
    pub(crate) go_on: oneshot::Sender<()>,
}

impl Halting {
    /// The body, and the hands on it.
    pub(crate) fn body(seed: u64) -> (Body, Self) {
        let payload = Payload::new(seed, 2 * HALF);
        let (begin, begun) = oneshot::channel::<()>();
        let (go_on, wait) = oneshot::channel::<()>();
        let pause = stream::once(async move {
            // A test that failed meanwhile has dropped the other ends; then nobody looks any more.
            let _ = begin.send(());
            let _ = wait.await;
            Ok(Bytes::new())
        });
        let (first, second) = (payload.stream(0, HALF), payload.stream(HALF, 2 * HALF));
        let body = Body::wrap_stream(first.chain(pause).chain(second));
        (body, Self { payload, begun, go_on })
    }
}

const HALF: u64 = 32 * 1024 * 1024;
