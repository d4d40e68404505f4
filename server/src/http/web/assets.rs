//! The files that pages load: one style sheet, one script of our own, htmx, an icon.
//!
//! Invariant: a file's URL contains a hash of its content, so it may be kept for ever and a new server
//! is never seen with an old style. There is nothing else to load: the policy of pages allows no other
//! origin and nothing inline.

use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

/// A file of the program.
pub(super) struct Asset {
    name: &'static str,
    extension: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
    hash: u64,
}

macro_rules! asset {
    ($name:literal, $extension:literal, $media_type:literal, $path:literal) => {
        Asset {
            name: $name,
            extension: $extension,
            media_type: $media_type,
            bytes: include_bytes!(concat!("../../../assets/", $path)),
            hash: hash(include_bytes!(concat!("../../../assets/", $path))),
        }
    };
}

/// The style of all pages, dark and light.
pub(super) const STYLE: Asset = asset!("standpipe", "css", "text/css; charset=utf-8", "style.css");
/// Times in the reader's zone, buttons that copy, selecting several.
pub(super) const SCRIPT: Asset =
    asset!("standpipe", "js", "text/javascript; charset=utf-8", "standpipe.js");
/// htmx: lists that follow what is typed.
pub(super) const HTMX: Asset =
    asset!("htmx", "js", "text/javascript; charset=utf-8", "vendor/htmx-2.0.11.min.js");
/// What a browser shows beside the title.
pub(super) const ICON: Asset = asset!("icon", "svg", "image/svg+xml", "icon.svg");

const ALL: [Asset; 4] = [STYLE, SCRIPT, HTMX, ICON];

impl Asset {
    /// Where it is.
    pub(super) fn url(&self) -> String {
        format!("/assets/{}", self.file_name())
    }

    fn file_name(&self) -> String {
        format!("{}-{:016x}.{}", self.name, self.hash, self.extension)
    }
}

/// FNV-1a with 64 bits, which a constant can be made of. It tells versions of our own files apart and
/// protects nothing.
const fn hash(bytes: &[u8]) -> u64 {
    let (mut hash, mut at) = (0xcbf2_9ce4_8422_2325_u64, 0);
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    hash
}

/// Answers with a file.
pub(super) async fn serve(Path(name): Path<String>) -> Response {
    let Some(asset) = ALL.into_iter().find(|asset| asset.file_name() == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.media_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
    ];
    (headers, asset.bytes).into_response()
}
