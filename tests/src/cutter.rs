//! A line between a client and a server that counts what goes to the server, and is cut where the test
//! says so.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::payload::Random;

/// A line; it ends when this is dropped.
#[derive(Debug)]
pub struct Cutter {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    /// Bytes that went to the server.
    sent: AtomicU64,
    /// Bytes after which nothing goes through.
    most: AtomicU64,
    /// The seed by which connections are cut; 0 for none.
    nasty: AtomicU64,
    /// Connections so far.
    number: AtomicU64,
    cut: watch::Sender<bool>,
}

impl Cutter {
    /// A line on a free port of loopback. Nothing goes through before it has an end.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn open() -> (Self, Lead) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (cut, _) = watch::channel(false);
        let state = Arc::new(State {
            sent: AtomicU64::new(0),
            most: AtomicU64::new(u64::MAX),
            nasty: AtomicU64::new(0),
            number: AtomicU64::new(0),
            cut,
        });
        let (lead, end) = watch::channel(None);
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state), end));
        (Self { address, state, accepting }, Lead(lead))
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// Bytes that went to the server so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::SeqCst)
    }

    /// Cuts the line when so many bytes more have gone through; it stays cut.
    pub fn cut_after(&self, bytes: u64) {
        self.state.most.store(self.sent() + bytes, Ordering::SeqCst);
    }

    /// From now on most connections are cut after some bytes, in one direction or the other.
    pub fn cut_at_random(&self, seed: u64) {
        self.state.nasty.store(seed.max(1), Ordering::SeqCst);
    }

    /// Mends the line.
    pub fn mend(&self) {
        self.state.nasty.store(0, Ordering::SeqCst);
        self.state.most.store(u64::MAX, Ordering::SeqCst);
        self.state.cut.send_replace(false);
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The end of the line that is not laid yet.
#[derive(Debug)]
pub struct Lead(watch::Sender<Option<String>>);

impl Lead {
    /// Lays the line to a server at `HOST:PORT`.
    pub fn to(&self, authority: &str) {
        self.0.send_replace(Some(authority.to_owned()));
    }
}

impl State {
    /// How many bytes the next connection carries to the client and to the server.
    fn next_limits(&self) -> (u64, u64) {
        let seed = self.nasty.load(Ordering::SeqCst);
        let number = self.number.fetch_add(1, Ordering::SeqCst);
        let mut random = Random::new(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        if seed == 0 || random.chance(40) {
            return (u64::MAX, u64::MAX);
        }
        match random.chance(30) {
            true => (random.between(0, 900), u64::MAX),
            false => (u64::MAX, random.between(100, 500_000)),
        }
    }
}

async fn accept(
    listener: TcpListener,
    state: Arc<State>,
    mut end: watch::Receiver<Option<String>>,
) {
    while let Ok((client, _)) = listener.accept().await {
        let Ok(target) = end.wait_for(Option::is_some).await else { return };
        let target = target.clone().unwrap_or_default();
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let mut cut = state.cut.subscribe();
            tokio::select! {
                _ = cut.wait_for(|cut| *cut) => {}
                () = join(client, &target, &state) => {}
            }
        });
    }
}

async fn join(client: TcpStream, target: &str, state: &State) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (most_back, most_forth) = state.next_limits();
    let back = async {
        let _ = tokio::io::copy(&mut (&mut from_server).take(most_back), &mut to_client).await;
        let _ = to_client.shutdown().await;
    };
    let mut gone = 0;
    let forth = async {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = match from_client.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(count) => count,
            };
            gone += count as u64;
            if gone > most_forth {
                break;
            }
            let before = state.sent.fetch_add(count as u64, Ordering::SeqCst);
            if before + count as u64 > state.most.load(Ordering::SeqCst) {
                state.cut.send_replace(true);
                break;
            }
            if to_server.write_all(&buffer[..count]).await.is_err() {
                break;
            }
        }
        let _ = to_server.shutdown().await;
    };
    // A line that is cut is cut both ways.
    tokio::select! {
        () = back => {}
        () = forth => {}
    }
}
