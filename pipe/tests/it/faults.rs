//! The ways in which the registry of these tests misbehaves.

use std::collections::VecDeque;

/// What the registry does wrong.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// Each request with a blob in it takes one: the connection ends after so many bytes.
    pub(crate) cuts: VecDeque<usize>,
    /// So many requests for an upload get 503, with this `Retry-After`.
    pub(crate) busy: usize,
    pub(crate) retry_after: Option<&'static str>,
    /// The answer to every request that opens an upload.
    pub(crate) refuse_upload: Option<(u16, &'static str)>,
    /// The answer to every manifest.
    pub(crate) refuse_manifest: Option<(u16, &'static str)>,
    /// The least size of a piece in bytes, which is announced.
    pub(crate) least_piece: Option<u64>,
    /// PATCH is not known.
    pub(crate) no_pieces: bool,
    /// Uploads cannot be cancelled.
    pub(crate) no_cancelling: bool,
    /// The largest body in bytes that a proxy before the registry lets through.
    pub(crate) largest_body: Option<u64>,
    /// Uploads are sent to this address, which is another host.
    pub(crate) foreign_storage: Option<String>,
    /// Logins are sent to this address.
    pub(crate) foreign_realm: Option<String>,
    /// After a challenge for Basic, the next one is for a token from there.
    pub(crate) turncoat_realm: Option<String>,
    /// The digest in the answers about manifests.
    pub(crate) wrong_digest: Option<&'static str>,
    /// `/v2/` is a web page.
    pub(crate) page: bool,
    /// Everything is redirected there.
    pub(crate) redirect: Option<String>,
    /// A token is good for so many requests.
    pub(crate) token_uses: Option<usize>,
    /// Bodies of blobs are read this far and then no further, once.
    pub(crate) stall_after: Option<usize>,
    /// Every blob can be mounted from this repository.
    pub(crate) mountable: Option<&'static str>,
    /// So many blobs are lost right after they were said to be there.
    pub(crate) losing: usize,
    /// Blobs are sent short.
    pub(crate) garbles: bool,
    /// The status of every answer to whoever asks for a manifest.
    pub(crate) no_manifests: Option<u16>,
    /// One request in so many is answered with an error that passes; the seed says which.
    pub(crate) flaky: Option<(u64, u64)>,
    /// What the token server answers instead of a token.
    pub(crate) token_answer: Option<String>,
}
