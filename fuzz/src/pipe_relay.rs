//! What comes on a connection to a relay: nothing is done for who does not have the secret, and a layer is
//! taken only if its tar hashes to one that is needed.

use std::io::{Read as _, Write as _};
use std::sync::LazyLock;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use standpipe_pipe::Digest;
use standpipe_pipe::fuzzing::source::relay::relayed;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::script::Script;

const METHODS: [&str; 5] = ["GET", "POST", "PATCH", "PUT", "HEAD"];
const PATHS: [&str; 5] =
    ["/v2/", "/v2/a/blobs/uploads/", "/v2/a/blobs/uploads/0", "/v2/a/manifests/1", "/"];
/// Raw bytes that may pass.
const LIMIT: u64 = 1 << 20;

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
}
static FOLDER: LazyLock<TempDir> =
    LazyLock::new(|| tempfile::tempdir().expect("a temporary directory"));

/// A layer, and requests: any bytes, or right ones with the layer as it is or edited.
pub fn pipe_relay(data: &[u8]) {
    let mut script = Script::new(data);
    let layer = script.until(b'\n');
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(layer).expect("a buffer takes everything");
    let packed = packed.finish().expect("a buffer takes everything");
    let mut requests = Vec::new();
    for _ in 0..4 {
        match script.below(4) {
            0 => requests.extend_from_slice(script.until(b'\xff')),
            kind => {
                let (method, path) = (*script.pick(&METHODS), *script.pick(&PATHS));
                let login =
                    if script.byte().is_multiple_of(4) { "" } else { "authorization: ~\r\n" };
                let mut body = packed.clone();
                if kind == 3 {
                    let at = script.below(body.len());
                    body[at] ^= script.byte();
                    body.truncate(body.len() - script.below(3));
                }
                let length = body.len();
                let head = format!("{method} {path} HTTP/1.1\r\nhost: a\r\n{login}");
                requests.extend(format!("{head}content-length: {length}\r\n\r\n").into_bytes());
                requests.extend(body);
            }
        }
        if script.is_over() {
            break;
        }
    }
    let (answers, taken) = RUNTIME
        .with(|runtime| runtime.block_on(relayed(&requests, &[layer], LIMIT, FOLDER.path())));
    let answers = String::from_utf8_lossy(&answers);
    if !requests.contains(&b'~') {
        assert!(taken.is_empty() && !answers.contains("HTTP/1.1 2"), "{answers}");
        assert!(!answers.contains("HTTP/1.0 2"), "{answers}");
    }
    for (digest, blob) in taken {
        assert_eq!(digest, Digest::of(layer).to_string());
        let mut raw = Vec::new();
        MultiGzDecoder::new(&blob[..]).read_to_end(&mut raw).expect("gzip");
        assert!(raw == layer, "another layer than {digest}");
    }
}
