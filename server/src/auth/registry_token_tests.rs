use super::*;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::time::Duration;

const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn signer(service: &str) -> TokenSigner {
    let key = Key::read(&new_key().expect("a key")).expect("a key");
    TokenSigner {
        service: service.to_owned(),
        seconds: 300,
        keys: vec![key],
        passes: UploadPasses::new([]),
        verified: VerifiedTokens::new(),
    }
}

fn grants() -> Vec<Grant> {
    let name = "acme/shop".parse().expect("a name");
    let package = PackageGrant { name, pull: true, push: true, delete: false };
    vec![Grant::Package(package), Grant::Catalog]
}

fn basis() -> Basis {
    Basis::Password { username: "ann".to_owned(), version: 3 }
}

fn sign(signer: &TokenSigner) -> Secret {
    signer.sign("user:ann", &basis(), &grants(), NOW).expect("a token")
}

/// A token with any header and claims, signed with the signer's own key.
fn forge(signer: &TokenSigner, header: &Value, claims: &Value) -> Secret {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(header), part(claims));
    let pair = Ed25519KeyPair::from_pkcs8(signer.keys[0].signing.as_bytes()).expect("a key");
    let signature = URL_SAFE_NO_PAD.encode(pair.sign(text.as_bytes()));
    Secret::new(format!("{text}.{signature}"))
}

fn header(signer: &TokenSigner) -> Value {
    json!({ "typ": "JWT", "alg": "EdDSA", "kid": signer.keys[0].id })
}

fn claims() -> Value {
    let now = NOW.seconds();
    json!({
        "iss": "standpipe", "sub": "user:ann", "aud": "standpipe", "jti": "1",
        "exp": now + 300, "nbf": now, "iat": now, "access": [],
        "basis": { "token": { "id": "1" } },
    })
}

#[test]
fn a_signed_token_says_what_it_was_signed_for() {
    let signer = signer("standpipe");
    let verified = signer.verify(&sign(&signer), NOW).expect("ours");
    assert_eq!(verified.basis, basis());
    assert_eq!(verified.grants, grants());
    assert!(signer.verify(&forge(&signer, &header(&signer), &claims()), NOW).is_ok());
}

#[test]
fn a_token_lives_for_its_time_and_half_a_minute() {
    let signer = signer("standpipe");
    let token = sign(&signer);
    let at = |seconds| signer.verify(&token, NOW.plus(Duration::from_secs(seconds))).map(|_| ());
    assert!(at(329).is_ok());
    assert!(matches!(at(330), Err(AuthError::Expired)));
    let early = Timestamp(NOW.0 - 31_000);
    assert!(matches!(signer.verify(&token, early), Err(AuthError::Invalid)));
}

#[test]
fn a_token_of_another_key_or_service_is_not_ours() {
    let ours = signer("standpipe");
    assert!(ours.verify(&sign(&signer("standpipe")), NOW).is_err());
    let other_service = TokenSigner { service: "other".to_owned(), ..signer("standpipe") };
    let ours = TokenSigner { keys: other_service.keys, ..ours };
    let foreign = TokenSigner {
        keys: vec![Key::read(ours.keys[0].signing.as_bytes()).expect("a key")],
        ..signer("other")
    };
    assert!(matches!(ours.verify(&sign(&foreign), NOW), Err(AuthError::Invalid)));
}

#[test]
fn every_claim_is_needed_and_has_its_type() {
    let signer = signer("standpipe");
    let header = header(&signer);
    for claim in ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "access", "basis"] {
        let mut without = claims();
        without.as_object_mut().expect("claims").remove(claim);
        assert!(signer.verify(&forge(&signer, &header, &without), NOW).is_err(), "no {claim}");
        let mut strange = claims();
        strange[claim] = json!({ "strange": [1] });
        assert!(signer.verify(&forge(&signer, &header, &strange), NOW).is_err(), "strange {claim}");
    }
    for (claim, value) in [
        ("exp", json!("9999999999")),
        ("exp", json!(-1)),
        ("aud", json!(["standpipe", "other"])),
        ("aud", json!("other")),
        ("iss", json!("standpipe/")),
    ] {
        let mut changed = claims();
        changed[claim] = value.clone();
        assert!(signer.verify(&forge(&signer, &header, &changed), NOW).is_err(), "{claim} {value}");
    }
}

#[test]
fn a_header_that_brings_its_own_key_or_rules_is_refused() {
    let signer = signer("standpipe");
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": "AAAA" });
    for (field, value) in [
        ("jwk", jwk),
        ("jku", json!("https://evil.example/keys")),
        ("x5u", json!("https://evil.example/cert")),
        ("x5c", json!(["AAAA"])),
        ("crit", json!(["exp"])),
        ("kid", json!("other")),
        ("kid", Value::Null),
        ("alg", json!("none")),
        ("alg", json!("HS256")),
        ("alg", json!("ES256")),
    ] {
        let mut changed = header(&signer);
        changed[field] = value.clone();
        let token = forge(&signer, &changed, &claims());
        assert!(signer.verify(&token, NOW).is_err(), "{field} {value}");
    }
}

#[test]
fn our_public_key_is_no_secret_to_sign_with() {
    let signer = signer("standpipe");
    let pair = Ed25519KeyPair::from_pkcs8(signer.keys[0].signing.as_bytes()).expect("a key");
    let secret = EncodingKey::from_secret(pair.public_key().as_ref());
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some(signer.keys[0].id.clone());
    let token = jsonwebtoken::encode(&header, &claims(), &secret).expect("a token");
    assert!(matches!(signer.verify(&Secret::new(token), NOW), Err(AuthError::Invalid)));
}

#[test]
fn a_changed_or_oversized_token_is_refused() {
    let signer = signer("standpipe");
    let token = sign(&signer);
    let text = token.expose();
    for at in (0..text.len()).step_by(7) {
        let mut changed = text.to_owned();
        let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
        changed.replace_range(at..=at, other);
        assert!(signer.verify(&Secret::new(changed), NOW).is_err(), "byte {at}");
    }
    for bad in ["", ".", "..", "a.b.c", &"x".repeat(20_000), &format!("{text}.x")] {
        assert!(signer.verify(&Secret::new((*bad).to_owned()), NOW).is_err(), "{bad}");
    }
}

#[test]
fn neither_keys_nor_tokens_show_in_debug_output() {
    let signer = signer("standpipe");
    let shown = format!("{signer:?}");
    assert!(shown.contains(&signer.keys[0].id));
    assert!(shown.len() < 100, "{shown}");
}

#[test]
fn a_token_of_the_future_is_refused_beyond_half_a_minute_by_either_of_its_times() {
    let signer = signer("standpipe");
    for claim in ["nbf", "iat"] {
        let at = |seconds: u64| {
            let mut claims = claims();
            claims[claim] = json!(NOW.seconds() + seconds);
            signer.verify(&forge(&signer, &header(&signer), &claims), NOW).map(|_| ())
        };
        assert!(at(30).is_ok(), "{claim}");
        assert!(matches!(at(31), Err(AuthError::Invalid)), "{claim}");
    }
}

#[test]
fn a_token_may_be_as_long_as_the_limit_and_no_longer() {
    let signer = signer("standpipe");
    // Base 64 has no text of some lengths; two parts that grow reach them all.
    let of_length = |length: usize| {
        let mut sizes = (0..4).flat_map(|kind| (0..length).map(move |id| (kind, id)));
        let grown = |(kind, id): (usize, usize)| {
            let (mut header, mut claims) = (header(&signer), claims());
            header["typ"] = json!("J".repeat(kind));
            claims["jti"] = json!("1".repeat(id));
            (header, claims)
        };
        let text = |(header, claims): &(Value, Value)| {
            let part = |value: &Value| (value.to_string().len() * 4).div_ceil(3);
            // Two dots and a signature of 64 bytes.
            part(header) + part(claims) + 2 + 86
        };
        let found = sizes.find(|sizes| text(&grown(*sizes)) == length).map(grown);
        let (header, claims) = found.expect("some are of that length");
        let token = forge(&signer, &header, &claims);
        assert_eq!(token.expose().len(), length);
        signer.verify(&token, NOW).map(|_| ())
    };
    assert!(of_length(LONGEST).is_ok());
    assert!(matches!(of_length(LONGEST + 1), Err(AuthError::Invalid)));
}

#[test]
fn a_grant_of_an_unknown_kind_is_none() {
    for (kind, name, action) in
        [("registry", "catalog", "pull"), ("registry", "other", "*"), ("plugin", "a/b", "pull")]
    {
        let (kind, name) = (kind.to_owned(), name.to_owned());
        let access = Access { kind, name, actions: vec![action.to_owned()] };
        assert_eq!(access.grant(), None, "{access:?}");
    }
}

#[tokio::test]
async fn two_that_make_the_first_key_at_once_end_up_with_the_same() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let clock = crate::clock::Clock::manual(NOW);
    let options = crate::metadata::redb::RedbOptions::default();
    let path = directory.path().join("meta.redb");
    let store = crate::metadata::redb::RedbStore::open(&path, options, clock).expect("a database");
    let (one, other) = tokio::join!(stored_keys(&store), stored_keys(&store));
    let (one, other) = (one.expect("keys"), other.expect("keys"));
    assert_eq!(one.pkcs8, other.pkcs8);
    assert_eq!(stored_keys(&store).await.expect("keys").pkcs8, one.pkcs8);
}
