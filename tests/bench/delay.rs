//! A line with a delay, for machines whose kernel has none (`tc … netem`): passes connections on.
//!
//! What is read goes on after the delay, in each direction, and however much is on its way, so that the
//! line is slow to answer and as fast as before. The first bytes of a client come a round trip later,
//! because its own kernel has answered the handshake at once.

use std::io::{Error, Result};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

const USAGE: &str = "usage: standpipe-delay LISTEN TARGET MILLISECONDS (of each direction)";

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, target, delay] = arguments.as_slice() else { return Err(Error::other(USAGE)) };
    let target: SocketAddr = target.parse().map_err(|_| Error::other(USAGE))?;
    let delay = delay.parse().map(Duration::from_millis).map_err(|_| Error::other(USAGE))?;
    let listener = TcpListener::bind(listen.as_str()).await?;
    loop {
        let (client, _) = listener.accept().await?;
        // A line that breaks is seen at its ends.
        tokio::spawn(async move { line(client, target, delay).await });
    }
}

async fn line(client: TcpStream, target: SocketAddr, delay: Duration) -> Result<()> {
    let open = Instant::now() + 3 * delay;
    let server = TcpStream::connect(target).await?;
    for end in [&client, &server] {
        end.set_nodelay(true)?;
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::try_join!(
        direction(from_client, to_server, delay, open),
        direction(from_server, to_client, delay, open),
    )?;
    Ok(())
}

/// Passes on what comes, each piece after the delay and nothing before `open`.
async fn direction(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    delay: Duration,
    open: Instant,
) -> Result<()> {
    let (pieces, mut received) = mpsc::channel::<(Instant, Bytes)>(PIECES);
    let reading = async move {
        loop {
            let mut piece = BytesMut::with_capacity(PIECE);
            if from.read_buf(&mut piece).await? == 0 {
                return Ok(());
            }
            let due = (Instant::now() + delay).max(open);
            if pieces.send((due, piece.freeze())).await.is_err() {
                return Ok(());
            }
        }
    };
    let writing = async move {
        while let Some((due, piece)) = received.recv().await {
            sleep_until(due).await;
            to.write_all(&piece).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(reading, writing)?;
    Ok(())
}

const PIECE: usize = 128 << 10;
/// 128 MiB on the way at most: at 10 ms no limit that loopback could meet.
const PIECES: usize = 1024;
