//! OIDC tokens of builds, the keys of their issuers, and the patterns of bindings: only what the
//! issuer signed counts, and only while it says so.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use standpipe_server::domain::{Pattern, Tag, TagPattern, Timestamp};
use standpipe_server::fuzzing::auth::{OidcKeys, OidcVerifier};

use crate::script::Script;

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const ISSUER: &str = "https://issuer.example.com";
const AUDIENCE: &str = "https://registry.example.com";
/// How far an issuer's clock may be ahead, in seconds.
const LEEWAY: f64 = 60.0;

struct Known {
    pair: EcdsaKeyPair,
    x: String,
    keys: OidcKeys,
    verifier: OidcVerifier,
    signed: String,
}

static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    // Nothing that is promised depends on which key it is.
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let [x, y] = [x, y].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
    let keys = json!({ "keys": [{ "kty": "EC", "kid": "k", "crv": "P-256", "x": x, "y": y }] });
    let keys = OidcKeys::parse(keys.to_string().as_bytes()).expect("a key set");
    let verifier = OidcVerifier::new(ISSUER, AUDIENCE).expect("a verifier");
    let header = json!({ "alg": "ES256", "kid": "k", "typ": "JWT" });
    let claims = json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "s", "repositoryUuid": "{r}",
        "exp": NOW.seconds() + 1, "branchName": "main" });
    let signed = sign(&pair, &header.to_string(), &claims.to_string());
    Known { pair, x, keys, verifier, signed }
});

fn sign(pair: &EcdsaKeyPair, header: &str, claims: &str) -> String {
    let text = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part)).join(".");
    let signature = pair.sign(&SystemRandom::new(), text.as_bytes()).expect("a signature");
    format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

fn verified(token: &str, keys: &OidcKeys) -> Option<(String, u64)> {
    KNOWN.verifier.verify(token, keys, NOW)
}

/// A token (any text, an edited one, any header and claims under the issuer's signature), a key set,
/// or a pattern.
pub fn server_oidc(data: &[u8]) {
    let mut script = Script::new(data);
    match script.below(5) {
        0 => {
            let text = String::from_utf8_lossy(script.rest());
            assert_eq!(verified(&text, &KNOWN.keys), None, "never signed: {text:?}");
        }
        1 => edited(&mut script),
        2 => signed(&script.text_until(b'\n'), &script.text_until(b'\n')),
        3 => keys(&String::from_utf8_lossy(script.rest())),
        _ => patterns(&mut script),
    }
}

fn edited(script: &mut Script<'_>) {
    let whole = &KNOWN.signed;
    let mut bytes = whole.clone().into_bytes();
    while !script.is_over() {
        let at = usize::try_from(script.number()).unwrap_or(0) % bytes.len();
        bytes[at] = script.byte();
    }
    let text = String::from_utf8_lossy(&bytes);
    assert_eq!(verified(&text, &KNOWN.keys).is_some(), text == **whole, "{text:?}");
}

fn signed(header: &str, claims: &str) {
    let token = sign(&KNOWN.pair, header, claims);
    let Some((source, expires)) = verified(&token, &KNOWN.keys) else { return };
    let header: Value = serde_json::from_str(header).expect("an accepted header is JSON");
    assert_eq!((&header["alg"], &header["kid"]), (&"ES256".into(), &"k".into()));
    assert!(header.get("crit").is_none_or(Value::is_null), "{header}");
    let claims: Value = serde_json::from_str(claims).expect("accepted claims are JSON");
    assert_eq!(claims["iss"], ISSUER);
    let all = claims["aud"].as_array().cloned().unwrap_or_else(|| vec![claims["aud"].clone()]);
    assert!(all.contains(&AUDIENCE.into()), "{claims}");
    assert!(claims["sub"].is_string(), "{claims}");
    let said = &claims["repositoryUuid"];
    let said = said.as_str().map_or_else(|| said.to_string(), str::to_owned);
    assert!(!source.is_empty() && said.contains(&source), "{source} of {claims}");
    assert!(expires > NOW.seconds(), "{claims}");
    let now = i32::try_from(NOW.seconds()).map(f64::from).expect("a time before 2038");
    for name in ["nbf", "iat"] {
        let time = claims.get(name).map(|time| time.as_f64().expect("a time"));
        assert!(time.is_none_or(|time| time.floor() <= now + LEEWAY), "{claims}");
    }
}

fn keys(text: &str) {
    // Its own key depends on the run; an input names it so.
    let text = text.replace("OWN-X", &KNOWN.x);
    let Some(keys) = OidcKeys::parse(text.as_bytes()) else { return };
    assert!(keys.len() <= 100);
    if verified(&KNOWN.signed, &keys).is_some() {
        assert!(text.contains(&KNOWN.x) || text.contains("\\u"), "not its key: {text}");
    }
}

fn patterns(script: &mut Script<'_>) {
    let (pattern, value) = (script.text_until(b'\n'), script.text_until(b'\n'));
    let claims = BTreeMap::from([("c".to_owned(), script.text_until(b'\n'))]);
    if let Ok(read) = pattern.parse::<Pattern>() {
        assert_eq!(read.to_string(), pattern);
        let found = read.matches(&value);
        if !pattern.contains(['*', '{']) && !value.contains('{') {
            assert_eq!(found, pattern == value, "{pattern:?} {value:?}");
        }
    }
    let (Ok(read), Ok(tag)) = (pattern.parse::<TagPattern>(), value.parse::<Tag>()) else { return };
    assert_eq!(read.to_string(), pattern);
    let found = read.matches(&tag, &claims);
    if !pattern.contains(['*', '{']) {
        assert_eq!(found, pattern == value, "{pattern:?} {value:?}");
    }
    if pattern.contains("{c}") && claims["c"].is_empty() {
        assert!(!found, "{pattern:?} {value:?}");
    }
}
