//! Thousands of connections that ask for nothing: what they cost, and that others do not notice.

use std::fs;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use standpipe_tests::environment;
use standpipe_tests::server::{Server, ServerOptions};
use standpipe_tests::wire::Wire;

use crate::world::{say, turn};

/// What one may cost in the memory of the server.
const MOST_OF_A_CONNECTION: u64 = 32 << 10;
const CONFIG: &str = "http:\n  most_connections: 12000\n  most_connections_per_source: 12000\n  head_seconds: 300\n  idle_body_seconds: 300\nlog:\n  filter: warn\n";
const REQUEST: &str = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_idle_connections_cost_little_and_nobody_waits_for_them() {
    let _turn = turn().await;
    let options = ServerOptions { config: Some(CONFIG.to_owned()), ..ServerOptions::default() };
    let server = Server::start_with(options).await;
    let wanted: u64 = if environment::is_soak() { 10_000 } else { 3_000 };
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let count = limit.map_or(wanted, |limit| wanted.min(limit.saturating_sub(300)));
    let alone = live(&server).await;
    let before = resident(server.pid());
    let mut idle = Vec::new();
    for number in 0..count {
        let last = u8::try_from(2 + number % 200).expect("few sources");
        let mut wire =
            Wire::connect_from(IpAddr::from([127, 0, 0, last]), server.authority()).await;
        // Each has asked for something once, as a client that keeps its connection.
        wire.send(REQUEST).await;
        assert_eq!(wire.answer().await.expect("an answer").status, 200);
        idle.push(wire);
    }
    let each = resident(server.pid()).saturating_sub(before) / count.max(1);
    let crowded = live(&server).await;
    say(&format!(
        "{count} idle connections: {each} bytes each; 99 of 100 live requests take {alone:?} without them and {crowded:?} with them"
    ));
    assert!(each < MOST_OF_A_CONNECTION, "{each} bytes each");
    // Twice as long, and what a busy machine adds to anything.
    assert!(crowded < alone * 2 + Duration::from_millis(100), "{alone:?} became {crowded:?}");
    drop(idle);
}

/// The time that 99 of 100 requests of a few live clients take at most.
async fn live(server: &Server) -> Duration {
    let clients = (0..4).map(|_| async {
        let mut wire = Wire::connect(server.authority()).await;
        let mut times = Vec::new();
        for _ in 0..250 {
            let start = Instant::now();
            wire.send(REQUEST).await;
            assert_eq!(wire.answer().await.expect("an answer").status, 200);
            times.push(start.elapsed());
        }
        times
    });
    let mut times: Vec<_> = join_all(clients).await.into_iter().flatten().collect();
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// The memory that a process has resident now, in bytes.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").trim().parse().expect("a number");
    kibibytes * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_few_open_files_goes_on_for_those_who_are_there_and_recovers() {
    let launcher = ["sh", "-c", "ulimit -n 256; exec \"$@\"", "sh"].map(str::to_owned).into();
    let config = "http:\n  head_seconds: 10\n".to_owned();
    let options = ServerOptions { launcher, config: Some(config), ..ServerOptions::default() };
    let server = Server::start_with(options).await;
    let mut there = Wire::connect(server.authority()).await;
    there.send(REQUEST).await;
    assert_eq!(there.answer().await.expect("an answer").status, 200);
    let mut crowd = Vec::new();
    for _ in 0..150 {
        crowd.push(Wire::connect(server.authority()).await);
    }
    // Work that needs files goes on, on a connection that was there.
    there.send(REQUEST).await;
    assert_eq!(there.answer().await.expect("an answer").status, 200);
    // Those who say nothing are closed, so that the next one gets its turn.
    let mut next = Wire::connect(server.authority()).await;
    next.send(REQUEST).await;
    assert_eq!(next.answer().await.expect("an answer").status, 200);
    drop(crowd);
    assert!(server.stderr().contains("open files"), "{}", server.stderr());
    assert!(!server.stderr().contains("Too many open files"), "{}", server.stderr());
}
