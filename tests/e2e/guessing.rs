//! Ten thousand guesses at passwords, in three shapes, against the built server over real sockets.
//!
//! A guess that was checked gets 401, one that was not 429. All guesses differ.

use std::net::IpAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use standpipe_tests::server::{Server, ServerOptions};
use standpipe_tests::wire::{Wire, WireAnswer};

const GUESSES: usize = 10_000;
/// What an account answers at most in an hour, and a source in a minute.
const MOST_OF_AN_ACCOUNT: usize = 100;
const MOST_OF_A_SOURCE: usize = 30;
const PASSWORD: &str = "the-password-of-ann";

/// The owner's address: her password was right from there before the attack.
const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 1, 1));

fn request(user: &str, password: &str) -> String {
    let credential = BASE64_STANDARD.encode(format!("{user}:{password}"));
    format!(
        "GET /token?service=standpipe HTTP/1.1\r\nhost: x\r\nauthorization: Basic {credential}\r\n\r\n"
    )
}

async fn server_with_ann(options: ServerOptions) -> Server {
    let server = Server::start_with(options).await;
    let body = json!({"username": "ann", "password": PASSWORD});
    let made = server.admin().call(Method::POST, "/users", Some(body)).await;
    let _ = made.expect(201);
    assert_eq!(log_in(&server, HOME, PASSWORD).await.status, 200);
    server
}

async fn log_in(server: &Server, from: IpAddr, password: &str) -> WireAnswer {
    let mut wire = Wire::connect_from(from, server.authority()).await;
    wire.send(request("ann", password)).await;
    wire.answer().await.expect("an answer")
}

/// Guesses one after the other on each connection, as fast as the server answers; returns how many
/// were checked on each.
async fn attack(
    server: &Server,
    sources: usize,
    guesses: usize,
    user: impl Fn(usize) -> String,
) -> Vec<usize> {
    let user = &user;
    let attackers = (0..sources).map(|number| async move {
        let last = u8::try_from(number + 2).expect("few sources");
        let source = IpAddr::from([127, 0, 0, last]);
        let mut wire = Wire::connect_from(source, server.authority()).await;
        let mut checked = 0;
        for guess in 0..guesses {
            wire.send(request(&user(guess), &format!("guess-{number}-{guess}"))).await;
            let answer = wire.answer().await.expect("an answer");
            match answer.status {
                401 => checked += 1,
                429 => assert!(answer.header("retry-after").parse::<u64>().is_ok(), "{answer:?}"),
                _ => panic!("{answer:?}"),
            }
        }
        checked
    });
    join_all(attackers).await
}

/// The owner gets in from where she was before, also when what was right is not remembered any more
/// (a minute), and nowhere else.
async fn only_the_owner_gets_in(server: &Server) {
    assert_eq!(log_in(server, HOME, PASSWORD).await.status, 200);
    assert_eq!(log_in(server, HOME, "a-slip-of-the-pen").await.status, 401);
    let elsewhere = log_in(server, IpAddr::from([127, 0, 2, 1]), "another-slip").await;
    assert_eq!(elsewhere.status, 429, "the account is closed to strangers");
}

#[tokio::test]
async fn ten_thousand_guesses_at_one_account_from_one_source() {
    let server = server_with_ann(ServerOptions::default()).await;
    let checked: usize = attack(&server, 1, GUESSES, |_| "ann".to_owned()).await.iter().sum();
    assert!((10..=MOST_OF_AN_ACCOUNT).contains(&checked), "{checked} were checked");
    only_the_owner_gets_in(&server).await;
}

#[tokio::test]
async fn ten_thousand_guesses_at_one_account_from_a_hundred_sources() {
    let server = server_with_ann(ServerOptions::default()).await;
    let each = attack(&server, 100, GUESSES / 100, |_| "ann".to_owned()).await;
    let checked: usize = each.iter().sum();
    assert!((10..=MOST_OF_AN_ACCOUNT).contains(&checked), "{checked} were checked");
    only_the_owner_gets_in(&server).await;
}

#[tokio::test]
async fn ten_thousand_guesses_at_a_thousand_accounts_from_one_source() {
    let server = server_with_ann(ServerOptions::default()).await;
    let start = std::time::Instant::now();
    let name = |guess: usize| match guess % 1000 {
        0 => "ann".to_owned(),
        number => format!("user-{number}"),
    };
    let checked: usize = attack(&server, 1, GUESSES, name).await.iter().sum();
    let minutes = usize::try_from(start.elapsed().as_secs() / 60 + 1).expect("not that long");
    assert!(checked <= MOST_OF_A_SOURCE * (minutes + 1), "{checked} in {minutes} minutes");
    assert!(checked >= MOST_OF_A_SOURCE, "{checked} were checked");
    // Other sources are not touched by it, and the owner least of all.
    assert_eq!(log_in(&server, HOME, PASSWORD).await.status, 200);
    assert_eq!(log_in(&server, IpAddr::from([127, 0, 2, 1]), PASSWORD).await.status, 200);
}

#[tokio::test]
async fn a_build_with_an_old_password_locks_nobody_out() {
    let server = server_with_ann(ServerOptions::default()).await;
    let mut wire = Wire::connect(server.authority()).await;
    for _ in 0..200 {
        wire.send(request("ann", "the-password-of-last-year")).await;
        assert_eq!(wire.answer().await.expect("an answer").status, 401);
    }
    assert_eq!(log_in(&server, IpAddr::from([127, 0, 2, 1]), PASSWORD).await.status, 200);
}

/// What a proxy sends for a client.
fn forwarded(client: &str, password: &str) -> String {
    request("ann", password)
        .replace("host: x\r\n", &format!("host: x\r\nx-forwarded-for: {client}\r\n"))
}

#[tokio::test]
async fn behind_a_listed_proxy_each_client_is_counted_for_itself_and_named_in_the_log() {
    let config =
        "public_url: https://registry.example.com\nhttp:\n  trusted_proxies: [127.0.0.2]\n";
    let options = ServerOptions { config: Some(config.to_owned()), ..ServerOptions::default() };
    let server = server_with_ann(options).await;
    let proxy = IpAddr::from([127, 0, 0, 2]);
    let mut wire = Wire::connect_from(proxy, server.authority()).await;
    wire.send(forwarded("192.0.2.1", PASSWORD)).await;
    assert_eq!(wire.answer().await.expect("an answer").status, 200);
    for guess in 0..60 {
        wire.send(forwarded("203.0.113.66, 198.51.100.1", &format!("a-guess-{guess}"))).await;
        let _ = wire.answer().await.expect("an answer");
    }
    wire.send(forwarded("198.51.100.1", PASSWORD)).await;
    assert_eq!(wire.answer().await.expect("an answer").status, 200, "remembered for a minute");
    wire.send(forwarded("198.51.100.2", "a-slip-of-the-pen")).await;
    assert_eq!(wire.answer().await.expect("an answer").status, 429, "a stranger");
    wire.send(forwarded("192.0.2.1", "a-slip-of-the-pen")).await;
    assert_eq!(wire.answer().await.expect("an answer").status, 401, "the owner");
    let log = server.stderr();
    assert!(log.contains("peer=198.51.100.1") && log.contains("proxy=127.0.0.2"), "{log}");
    assert!(!log.contains("203.0.113.66"), "an address that the client made up");
}

#[tokio::test]
async fn forged_forwarding_headers_change_no_answer() {
    let config =
        "public_url: https://registry.example.com\nhttp:\n  trusted_proxies: [127.0.0.2]\n";
    let options = ServerOptions { config: Some(config.to_owned()), ..ServerOptions::default() };
    let server = server_with_ann(options).await;
    let forged = "x-forwarded-for: 203.0.113.66\r\nx-forwarded-proto: http\r\nx-forwarded-host: evil.example\r\nx-forwarded-user: admin\r\nx-remote-user: admin\r\nforwarded: for=203.0.113.66;host=evil.example;proto=http\r\nx-real-ip: 203.0.113.66\r\n";
    for from in [[127, 0, 0, 1], [127, 0, 0, 2]] {
        let mut wire = Wire::connect_from(IpAddr::from(from), server.authority()).await;
        let mut answers = Vec::new();
        for headers in ["", forged] {
            wire.send(format!(
                "GET /v2/ HTTP/1.1\r\nhost: evil.example\r\nx-request-id: same\r\n{headers}\r\n"
            ))
            .await;
            let mut answer = wire.answer().await.expect("an answer");
            answer.headers.retain(|(name, _)| name != "date");
            assert_eq!(answer.status, 401);
            assert!(
                answer.header("www-authenticate").contains("https://registry.example.com/token")
            );
            answers.push(format!("{answer:?}"));
        }
        assert_eq!(answers[0], answers[1]);
    }
    let mut wire = Wire::connect(server.authority()).await;
    for guess in 0..30 {
        let text = forwarded(&format!("198.51.100.{guess}"), &format!("a-guess-{guess}"));
        wire.send(text.replace("Basic", "bAsic")).await;
        let _ = wire.answer().await.expect("an answer");
    }
    // They all came from one source, whatever they said.
    assert!(!server.stderr().contains("198.51.100."), "{}", server.stderr());
}
