//! Passes of uploads: only the one that was made for this upload and this principal fits.

use std::sync::LazyLock;

use standpipe_server::domain::{Principal, UploadId};
use standpipe_server::fuzzing::auth::Passes;

use crate::script::Script;

static PASSES: LazyLock<Passes> = LazyLock::new(|| Passes::new(b"secret"));

/// An upload, a name, and a text or an edit of the pass.
pub fn server_pass(data: &[u8]) {
    let mut script = Script::new(data);
    let upload = UploadId(uuid::Uuid::from_u64_pair(script.number(), script.number()));
    let Ok(name) = script.text_until(b'\n').parse() else { return };
    let principal = Principal::User(name);
    let pass = PASSES.make(upload, &principal).expect("a key");
    assert!(PASSES.fits(&pass, upload, &principal));
    let other = UploadId(uuid::Uuid::from_u128(upload.0.as_u128() ^ 1));
    assert!(!PASSES.fits(&pass, other, &principal), "of another upload");
    assert!(!PASSES.fits(&pass, upload, &Principal::Anonymous), "of somebody else");
    let at = script.below(pass.len());
    let text = script.text_until(b'\n');
    let edited = format!("{}{text}{}", &pass[..at], &pass[at..]);
    for text in [text, edited] {
        assert_eq!(PASSES.fits(&text, upload, &principal), text == pass, "{text:?}");
    }
}
