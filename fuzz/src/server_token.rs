//! Registry tokens as clients present them: only what we signed counts, and only what it says.

use std::sync::LazyLock;

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;
use standpipe_server::domain::{Grant, PackageGrant, Timestamp};
use standpipe_server::fuzzing::auth::Signer;

use crate::script::Script;

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const SERVICE: &str = "standpipe";
/// What a header may not have: it would say where the key is to be taken from.
const ELSEWHERE: [&str; 5] = ["crit", "jku", "jwk", "x5c", "x5u"];

struct Keys {
    pair: Ed25519KeyPair,
    signer: Signer,
    signed: String,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a seed of 32 bytes");
    let pkcs8 = pair.to_pkcs8().expect("a private key");
    let signer = Signer::new(SERVICE, pkcs8.as_ref()).expect("a signer");
    let name = "acme/shop".parse().expect("a name");
    let package = PackageGrant { name, pull: true, push: true, delete: false };
    let grants = [Grant::Package(package)];
    let signed = signer.sign("user:ann", &grants, NOW).expect("a token");
    Keys { pair, signer, signed }
});

/// A token: any text, an edited one of ours, or any header and claims under our signature.
pub fn server_token(data: &[u8]) {
    let mut script = Script::new(data);
    match script.below(3) {
        0 => {
            let text = String::from_utf8_lossy(script.rest());
            assert!(KEYS.signer.verify(&text, NOW).is_err(), "never signed: {text:?}");
        }
        1 => edited(&mut script),
        _ => forged(&script.text_until(b'\n'), &script.text_until(b'\n')),
    }
}

fn edited(script: &mut Script<'_>) {
    let whole = &KEYS.signed;
    let mut bytes = whole.clone().into_bytes();
    while !script.is_over() {
        let at = usize::try_from(script.number()).unwrap_or(0) % bytes.len();
        bytes[at] = script.byte();
    }
    let text = String::from_utf8_lossy(&bytes);
    assert_eq!(KEYS.signer.verify(&text, NOW).is_ok(), text == **whole, "{text:?}");
}

fn forged(header: &str, claims: &str) {
    // The id of the key depends on the key; a seed cannot know it.
    let header = header.replace("KID", KEYS.signer.key_id());
    let text = [header.as_str(), claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part)).join(".");
    let signature = BASE64_URL_SAFE_NO_PAD.encode(KEYS.pair.sign(text.as_bytes()));
    let Ok(grants) = KEYS.signer.verify(&format!("{text}.{signature}"), NOW) else { return };
    let header: Value = serde_json::from_str(&header).expect("an accepted header is JSON");
    assert_eq!(header["alg"], "EdDSA");
    assert_eq!(header["kid"], KEYS.signer.key_id());
    for key in ELSEWHERE {
        assert!(header.get(key).is_none_or(Value::is_null), "{header}");
    }
    let claims: Value = serde_json::from_str(claims).expect("accepted claims are JSON");
    assert_eq!((&claims["iss"], &claims["aud"]), (&SERVICE.into(), &SERVICE.into()));
    let time = |key: &str| claims[key].as_u64().expect("a time");
    let now = NOW.seconds();
    assert!(time("nbf") <= now + 30 && time("exp").saturating_add(30) > now, "{claims}");
    for grant in grants {
        let Grant::Package(grant) = grant else {
            assert!(claims["access"].to_string().contains("catalog"), "{claims}");
            continue;
        };
        let named = claims["access"].as_array().into_iter().flatten();
        let has = |access: &Value, action: &str| {
            access["actions"].as_array().is_some_and(|all| all.iter().any(|one| one == action))
        };
        let asked = [("pull", grant.pull), ("push", grant.push), ("delete", grant.delete)];
        let mut written = named.filter(|access| {
            access["type"] == "repository" && access["name"] == grant.name.to_string()
        });
        assert!(
            written.any(|access| asked
                .iter()
                .all(|(action, granted)| has(access, action) == *granted)),
            "{grant:?} of {claims}"
        );
    }
}
