//! Doors for the fuzz targets: what an engine says to a relay, and what it sends.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::door::{Inspected, Started};
use super::intake::Intake;
use super::login::Login;
use super::registry::Registry;
use crate::config::Compression;
use crate::image::Digest;
use crate::progress::Progress;
use crate::source::files::Reading;
use crate::spool::Spool;

/// What an engine's answers about containers mean: our own address, and a port.
pub fn container(body: &[u8]) -> (Option<std::net::Ipv4Addr>, Option<u16>) {
    let inspected = serde_json::from_slice::<Inspected>(body).ok();
    let started = serde_json::from_slice::<Started>(body).ok();
    (inspected.and_then(|own| own.address()), started.and_then(|started| started.port()))
}

/// The error in a line about a push.
pub fn error_in(line: &str) -> Option<String> {
    super::engine::error_in(line)
}

/// What a relay answers to bytes on a connection, and the layers that it took: the digest of the tar, and
/// what would be sent. `layers` are those that are needed, `limit` is how many raw bytes may pass. Where
/// the bytes have a `~` stands the header of the engine's login.
pub async fn relayed(
    bytes: &[u8],
    layers: &[&[u8]],
    limit: u64,
    parent: &Path,
) -> (Vec<u8>, Vec<(String, Vec<u8>)>) {
    let spool = Arc::new(Spool::create(parent).expect("a spool"));
    let reading = Reading::new(&spool, &Progress::default(), Compression::default());
    let (found, mut receive) = mpsc::unbounded_channel();
    let layers = layers.iter().map(|layer| Digest::of(layer)).collect();
    let intake = Arc::new(Intake::new(layers, limit, reading, found));
    let login = Login::random().expect("random bytes");
    let registry = Arc::new(Registry::new(&login, intake));
    let json = login.json("");
    let word = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
    let pair = STANDARD.encode(format!("{}:{}", word("username"), word("password")));
    let shown = format!("Basic {pair}");
    let parts: Vec<&[u8]> = bytes.split(|byte| *byte == b'~').collect();
    let mut bytes = parts.join(shown.as_bytes());
    // While there is more to read, what came before is not given up because the connection ends.
    bytes.extend_from_slice(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let (ours, theirs) = tokio::io::duplex(4 << 10);
    let (mut answers, mut requests) = tokio::io::split(ours);
    let mut answered = Vec::new();
    let asking = async {
        // It may hang up before it has read everything.
        let _ = requests.write_all(&bytes).await;
        let _ = requests.shutdown().await;
    };
    let _ = tokio::join!(registry.talk(theirs), asking, answers.read_to_end(&mut answered));
    let mut taken = Vec::new();
    while let Ok((digest, blob)) = receive.try_recv() {
        let file = blob.file().expect("it is here");
        taken.push((digest.to_string(), file.read(1 << 30).expect("a spool that can be read")));
    }
    (answered, taken)
}
