//! The secret with which the engine, and nobody else, comes to a relay.
//!
//! Invariant: it is new for each relay, of 256 random bits, and in no log.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Value, json};

use crate::image::Digest;

/// A login that nobody can guess.
pub(super) struct Login {
    secret: String,
    /// Makes the name of the repository one that nobody has.
    name: String,
}

impl Login {
    pub(super) fn random() -> Result<Self, String> {
        let [mut secret, mut name] = [[0; 32], [0; 32]];
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        for bytes in [&mut secret, &mut name] {
            provider.secure_random.fill(bytes).map_err(|_| "no random bytes".to_owned())?;
        }
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        Ok(Self { secret: hex(&secret), name: format!("{PREFIX}{}", hex(&name[..8])) })
    }

    /// The name of the repository.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What a digest of the right `Authorization` header is: digests can be compared in any time.
    pub(super) fn digest(&self) -> Digest {
        let pair = STANDARD.encode(format!("{USER}:{}", self.secret));
        Digest::of(format!("Basic {pair}").as_bytes())
    }

    /// For the engine, as JSON.
    pub(super) fn json(&self, address: &str) -> Value {
        json!({ "username": USER, "password": self.secret, "serveraddress": address })
    }

    /// For the engine, as the header `X-Registry-Auth`.
    pub(super) fn for_engine(&self, address: &str) -> String {
        URL_SAFE.encode(self.json(address).to_string())
    }
}

const USER: &str = "standpipe";
const PREFIX: &str = "standpipe-relay-";
