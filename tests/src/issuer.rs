//! An OIDC issuer for builds: two documents on a loopback port, and a key that signs tokens.
//!
//! Invariant: it is stopped when the value is dropped, and is asked by nobody but the server under test.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The issuer.
#[derive(Debug)]
pub struct Issuer {
    url: String,
    key: EcdsaKeyPair,
    serving: JoinHandle<()>,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Issuer {
    /// Starts one with a fresh key.
    ///
    /// # Panics
    /// Without a free port or random bytes.
    pub async fn start() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("random bytes");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/oidc", listener.local_addr().expect("bound"));
        let (x, y) = key.public_key().as_ref()[1..].split_at(32);
        let [x, y] = [x, y].map(|half| BASE64_URL_SAFE_NO_PAD.encode(half));
        let keys = json!({"keys": [{"kty": "EC", "kid": "1", "crv": "P-256", "x": x, "y": y}]});
        let discovery = json!({"issuer": url, "jwks_uri": format!("{url}/keys.json")});
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // One that goes away early is the other side's business.
                let _: std::io::Result<()> = answer(stream, &discovery, &keys).await;
            }
        });
        Self { url, key, serving }
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The token that a step of this branch gets, for an hour from now.
    ///
    /// # Panics
    /// Without random bytes.
    #[must_use]
    pub fn token(&self, audience: &str, repository: &str, branch: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let claims = json!({
            "iss": self.url,
            "aud": audience,
            "sub": format!("{repository}:{{step}}"),
            "iat": now,
            "exp": now + 3600,
            "repositoryUuid": repository,
            "pipelineUuid": "{the-pipeline}",
            "branchName": branch,
        });
        let head = json!({"alg": "ES256", "kid": "1", "typ": "JWT"});
        let text = |part: &Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
        let message = format!("{}.{}", text(&head), text(&claims));
        let signature = self.key.sign(&SystemRandom::new(), message.as_bytes());
        let signature = signature.expect("random bytes");
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

async fn answer(mut stream: TcpStream, discovery: &Value, keys: &Value) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 8192 {
        head.push(stream.read_u8().await?);
    }
    let path = String::from_utf8_lossy(&head);
    let body = if path.starts_with("GET /oidc/keys.json ") { keys } else { discovery }.to_string();
    let length = body.len();
    let text =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).await
}
