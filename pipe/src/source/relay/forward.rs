//! The program in the second container of a relay: passes connections on.
//!
//! Invariant: it goes to one address, and ends when nobody is there any more.
//! Must not know: what it passes on.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The first argument of this program, if it is that one. Nobody calls it but a relay.
pub const COMMAND: &str = "--pass-on-to-relay";

/// Passes on what comes until the other side is gone.
///
/// # Errors
/// Whatever stopped it.
pub fn run(target: &str) -> std::io::Result<()> {
    let target: SocketAddr = target.parse().map_err(std::io::Error::other)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // A connection that says nothing lasts as long as the other side.
        let mut life = TcpStream::connect(target).await?;
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
        let mut byte = [0];
        tokio::select! {
            _ = life.read(&mut byte) => Ok(()),
            () = pass_on(&listener, target) => Ok(()),
        }
    })
}

async fn pass_on(listener: &TcpListener, target: SocketAddr) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((mut from, _)) = listener.accept().await else { return };
        connections.spawn(async move {
            let Ok(mut to) = TcpStream::connect(target).await else { return };
            let _ = copy_bidirectional_with_sizes(&mut from, &mut to, BUFFER, BUFFER).await;
        });
    }
}

/// As `door` asks for it.
const PORT: u16 = 5000;
const BUFFER: usize = 64 << 10;
