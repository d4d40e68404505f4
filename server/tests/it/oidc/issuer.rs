//! An OIDC issuer of the tests' own: a server on loopback whose keys and manners a test changes.

use super::{AUDIENCE, NOW, SOURCE};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RSA_PSS_SHA256,
};
use axum::Router;
use axum::body::Body;
use axum::http::{Response, StatusCode, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How an issuer answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    Well,
    /// Like something that is broken.
    Down,
    /// Not before a test is over.
    Never,
    /// With more than anybody wants.
    Huge,
    /// With a redirect of the keys to there.
    Elsewhere(String),
    /// With a discovery document of this issuer.
    As(String),
    /// With these words.
    Saying(String),
}

pub(super) struct Issuer {
    pub(super) url: String,
    state: Arc<Mutex<State>>,
    serving: tokio::task::JoinHandle<()>,
}

struct State {
    keys: Vec<Value>,
    manner: Manner,
    max_age: Option<u64>,
    asked: usize,
    requests: usize,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Issuer {
    /// One without keys.
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        // A path, as Bitbucket's issuers have.
        let origin = format!("http://{}", listener.local_addr().expect("an address"));
        let url = format!("{origin}/workspaces/acme/oidc");
        let state =
            State { keys: Vec::new(), manner: Manner::Well, max_age: None, asked: 0, requests: 0 };
        let state = Arc::new(Mutex::new(state));
        let (shared, own) = (Arc::clone(&state), url.clone());
        let router = Router::new().fallback(move |uri: Uri| {
            let (shared, own) = (Arc::clone(&shared), own.clone());
            async move { answer(&shared, &own, uri.path()).await }
        });
        let serving = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("serving does not end by itself");
        });
        Self { url, state, serving }
    }

    pub(super) fn publish(&self, keys: &[&Key]) {
        self.state.lock().expect("unpoisoned").keys =
            keys.iter().map(|key| key.jwk.clone()).collect();
    }

    pub(super) fn publish_raw(&self, keys: Vec<Value>) {
        self.state.lock().expect("unpoisoned").keys = keys;
    }

    pub(super) fn behave(&self, manner: Manner) {
        self.state.lock().expect("unpoisoned").manner = manner;
    }

    pub(super) fn max_age(&self, seconds: u64) {
        self.state.lock().expect("unpoisoned").max_age = Some(seconds);
    }

    /// How often it was asked where its keys are.
    pub(super) fn asked(&self) -> usize {
        self.state.lock().expect("unpoisoned").asked
    }

    /// How many requests it got.
    pub(super) fn requests(&self) -> usize {
        self.state.lock().expect("unpoisoned").requests
    }

    /// A new RSA key, published alone.
    pub(super) fn fresh_key(&self) -> Key {
        let key = Key::rsa("key-1");
        self.publish(&[&key]);
        key
    }

    /// What a token of this issuer says unless a test says otherwise; `null` takes a claim away.
    pub(super) fn claims(&self, more: Value) -> Value {
        let mut claims = json!({
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": format!("{SOURCE}:{{step-1}}"),
            "iat": NOW,
            "exp": NOW + 3600,
            "repositoryUuid": SOURCE,
            "workspaceUuid": "{workspace-1}",
            "pipelineUuid": "{pipeline-1}",
            "stepUuid": "{step-1}",
            "branchName": "main",
        });
        for (name, value) in more.as_object().expect("claims") {
            claims[name] = value.clone();
        }
        claims.as_object_mut().expect("claims").retain(|_, value| !value.is_null());
        claims
    }

    /// A token with these claims besides.
    pub(super) fn token(&self, key: &Key, more: Value) -> String {
        key.sign(&self.claims(more))
    }
}

async fn answer(state: &Mutex<State>, own: &str, path: &str) -> Response<Body> {
    let (keys, manner, max_age) = {
        let mut state = state.lock().expect("unpoisoned");
        state.asked += usize::from(path.ends_with("/openid-configuration"));
        state.requests += 1;
        (state.keys.clone(), state.manner.clone(), state.max_age)
    };
    let wanted = path.ends_with("/keys.json");
    let mut body = match path.strip_prefix("/workspaces/acme/oidc") {
        Some("/.well-known/openid-configuration") => {
            json!({ "issuer": own, "jwks_uri": format!("{own}/keys.json") })
        }
        Some("/keys.json" | "/moved/keys.json") => json!({ "keys": keys }),
        _ => return status(StatusCode::NOT_FOUND),
    };
    match manner {
        Manner::Well => {}
        Manner::Down => return status(StatusCode::BAD_GATEWAY),
        Manner::Never => tokio::time::sleep(Duration::from_secs(3600)).await,
        Manner::Huge if wanted => body["padding"] = "x".repeat(70_000).into(),
        Manner::Elsewhere(to) if path.ends_with("oidc/keys.json") => {
            let redirect = Response::builder().status(302).header("location", to);
            return redirect.body(Body::empty()).expect("a response");
        }
        Manner::As(other) if !wanted => body["issuer"] = other.into(),
        Manner::Saying(words) if wanted => return Response::new(words.into()),
        Manner::Huge | Manner::Elsewhere(_) | Manner::As(_) | Manner::Saying(_) => {}
    }
    let mut response = Response::builder();
    if let Some(seconds) = max_age {
        response = response.header("cache-control", format!("public, max-age={seconds}"));
    }
    response.body(body.to_string().into()).expect("a response")
}

fn status(status: StatusCode) -> Response<Body> {
    Response::builder().status(status).body("broken".into()).expect("a response")
}

/// A signing key.
pub(super) struct Key {
    pub(super) jwk: Value,
    algorithm: &'static str,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Key {
    pub(super) fn rsa(id: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        // RSAPublicKey in DER: two headers and a zero, 256 bytes of modulus, then 65537.
        let public = pair.public_key().as_ref();
        assert_eq!((public.len(), public[8]), (270, 0));
        let jwk = json!({
            "kty": "RSA", "kid": id, "use": "sig", "n": text(&public[9..265]), "e": "AQAB",
        });
        Self { jwk, algorithm: "RS256", pair: Pair::Rsa(pair) }
    }

    pub(super) fn ec(id: &str) -> Self {
        Self::curve(id, "ES256", "P-256", &ECDSA_P256_SHA256_FIXED_SIGNING)
    }

    pub(super) fn ec_384(id: &str) -> Self {
        Self::curve(id, "ES384", "P-384", &ECDSA_P384_SHA384_FIXED_SIGNING)
    }

    fn curve(
        id: &str,
        algorithm: &'static str,
        curve: &str,
        signing: &'static aws_lc_rs::signature::EcdsaSigningAlgorithm,
    ) -> Self {
        let pair = EcdsaKeyPair::generate(signing).expect("a key");
        let point = &pair.public_key().as_ref()[1..];
        let (x, y) = point.split_at(point.len() / 2);
        let jwk = json!({
            "kty": "EC", "kid": id, "alg": algorithm, "crv": curve, "x": text(x), "y": text(y),
        });
        Self { jwk, algorithm, pair: Pair::Ec(pair) }
    }

    /// The same key, signing with RSASSA-PSS.
    pub(super) fn pss(self) -> Self {
        Self { algorithm: "PS256", ..self }
    }

    pub(super) fn id(&self) -> &str {
        self.jwk["kid"].as_str().expect("an id")
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        let head = json!({ "alg": self.algorithm, "typ": "JWT", "kid": self.id() });
        self.sign_with(&head, claims)
    }

    /// A token with any header.
    pub(super) fn sign_with(&self, head: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", text(head.to_string()), text(claims.to_string()));
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Rsa(pair) => {
                let padding: &'static dyn aws_lc_rs::signature::RsaEncoding =
                    if self.algorithm == "PS256" { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message.as_bytes(), &mut signature).expect("signed");
                signature
            }
            Pair::Ec(pair) => {
                pair.sign(&random, message.as_bytes()).expect("signed").as_ref().to_vec()
            }
        };
        format!("{message}.{}", text(signature))
    }
}
