//! Each wrong token: its status, words that say what to do, and never the token.

use super::issuer::{Issuer, Key, Manner};
use super::{NOW, SOURCE, basic, bind, bound, build, exchange, trusted, trusting};
use crate::harness::{Answer, World};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::io::Write;
use std::sync::{Arc, Mutex};

/// Shows the token on every way in; each refuses alike, in words with `words`, and asks for what one
/// logs in with there.
async fn refused(world: &World, token: &str, words: &str) {
    let direct = build(world, token).get("/v2/acme/shop/tags/list").await;
    let by_get = build(world, token).get("/token?service=standpipe").await;
    for (way, answer, challenge) in [
        ("exchange", exchange(world, token).await, "Basic "),
        ("token endpoint", by_get, "Basic "),
        ("directly", direct, "Bearer "),
    ] {
        let answer = answer.refused(401, "UNAUTHORIZED");
        assert!(answer.message().contains(words), "{way}: {}", answer.message());
        assert!(answer.header("www-authenticate").starts_with(challenge), "{way}: {answer:?}");
        assert_says_nothing_of(&answer, token);
    }
}

fn assert_says_nothing_of(answer: &Answer, token: &str) {
    let all = format!("{:?} {}", answer.headers, answer.text());
    for part in token.split('.').filter(|part| part.len() > 10) {
        assert!(!all.contains(part), "{all}");
    }
}

fn altered(token: &str, head: &Value) -> String {
    let (_, rest) = token.split_once('.').expect("a token");
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(head.to_string()))
}

#[tokio::test]
async fn a_token_with_wrong_times() {
    let (issuer, world) = bound().await;
    let key = issuer.fresh_key();
    for (claims, words) in [
        (json!({ "exp": NOW }), "has expired; a step gets a fresh one"),
        (json!({ "exp": NOW - 1 }), "has expired"),
        (json!({ "exp": 0 }), "has expired"),
        (json!({ "exp": null }), "claim exp"),
        (json!({ "exp": (NOW + 60).to_string() }), "claim exp"),
        (json!({ "exp": -1 }), "claim exp"),
        (json!({ "nbf": NOW + 61 }), "not valid yet; compare the clocks"),
        (json!({ "iat": NOW + 61 }), "not valid yet"),
        (json!({ "nbf": "tomorrow" }), "claim nbf"),
    ] {
        refused(&world, &issuer.token(&key, claims), words).await;
    }
    for claims in [
        json!({ "exp": NOW + 1 }),
        json!({ "exp": NOW as f64 + 1.5 }),
        json!({ "nbf": NOW + 60, "iat": NOW + 60 }),
        json!({ "iat": null }),
    ] {
        let token = issuer.token(&key, claims);
        let _ = build(&world, &token).get("/v2/").await.expect(200);
    }
}

#[tokio::test]
async fn a_token_of_or_for_somebody_else() {
    let (issuer, world) = bound().await;
    let key = issuer.fresh_key();
    for claims in [
        json!({ "iss": format!("{}/", issuer.url) }),
        json!({ "iss": issuer.url.to_uppercase() }),
        json!({ "iss": format!("{}x", issuer.url) }),
        json!({ "iss": issuer.url.trim_end_matches("oidc") }),
        json!({ "iss": null }),
        json!({ "iss": [issuer.url] }),
        json!({ "iss": "" }),
    ] {
        let words = "is not one that this server trusts; whoever runs the server adds it";
        refused(&world, &issuer.token(&key, claims), words).await;
    }
    for claims in [
        json!({ "aud": "somebody" }),
        json!({ "aud": ["somebody", "https://registry.example.com/"] }),
        json!({ "aud": null }),
        json!({ "aud": [] }),
        json!({ "aud": { "a": super::AUDIENCE } }),
    ] {
        let words = r#"set in the step oidc: { audiences: ["https://registry.example.com"] }"#;
        refused(&world, &issuer.token(&key, claims), words).await;
    }
    for claims in [
        json!({ "repositoryUuid": "{00000000-4f4f-4c6e-8a2e-0b7f6f3f2f10}" }),
        json!({ "repositoryUuid": SOURCE.to_uppercase() }),
        json!({ "repositoryUuid": "*" }),
    ] {
        refused(&world, &issuer.token(&key, claims), "admin oidc bind").await;
    }
    for claims in [
        json!({ "repositoryUuid": null }),
        json!({ "repositoryUuid": "" }),
        json!({ "repositoryUuid": [SOURCE] }),
    ] {
        refused(&world, &issuer.token(&key, claims), "claim repositoryUuid").await;
    }
    refused(&world, &issuer.token(&key, json!({ "sub": null })), "claim sub").await;
}

#[tokio::test]
async fn a_token_that_is_not_signed_by_its_issuer() {
    let (issuer, world) = bound().await;
    let key = issuer.fresh_key();
    let good = issuer.token(&key, json!({}));
    let (message, signature) = good.rsplit_once('.').expect("a token");
    let claims = issuer.claims(json!({}));
    let unaccepted = "signed in a way that is not accepted";
    for algorithm in ["none", "None", "HS256", "HS512", "RS384", "PS256", "ES384", "EdDSA", ""] {
        let head = json!({ "alg": algorithm, "kid": key.id() });
        refused(&world, &altered(&good, &head), unaccepted).await;
    }
    let none = altered(&good, &json!({ "alg": "none", "kid": key.id() }));
    let (unsigned, _) = none.rsplit_once('.').expect("a token");
    refused(&world, &format!("{unsigned}."), unaccepted).await;
    refused(&world, &format!("{message}."), "signature is wrong").await;
    // Signed with the public key as a shared secret.
    let head = json!({ "alg": "HS256", "typ": "JWT", "kid": key.id() });
    let text = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let to_sign = format!("{}.{}", text(&head), text(&claims));
    for secret in [key.jwk.to_string(), key.jwk["n"].as_str().expect("a modulus").to_owned()] {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let tag = URL_SAFE_NO_PAD.encode(hmac::sign(&secret, to_sign.as_bytes()));
        refused(&world, &format!("{to_sign}.{tag}"), unaccepted).await;
    }
    // A key that the issuer does not have, under the id of one that it has.
    let stranger = Key::rsa(key.id());
    refused(&world, &stranger.sign(&claims), "signature is wrong").await;
    let head = json!({ "alg": "RS256", "kid": key.id(), "jwk": stranger.jwk, "jku": "http://127.0.0.1:1/",
        "x5u": "http://127.0.0.1:1/", "x5c": ["AAAA"] });
    refused(&world, &stranger.sign_with(&head, &claims), "signature is wrong").await;
    // The algorithm must be one of the key's kind.
    let curve = Key::ec(key.id());
    refused(&world, &curve.sign(&claims), "a key that its issuer does not publish").await;
    // Other claims under a good signature.
    let other = issuer.claims(json!({ "repositoryUuid": SOURCE, "branchName": "other" }));
    let (head, _) = message.split_once('.').expect("two parts");
    let swapped = format!("{head}.{}.{signature}", text(&other));
    refused(&world, &swapped, "signature is wrong").await;
    refused(&world, &Key::rsa("unknown").sign(&claims), "does not publish").await;
    let head = json!({ "alg": "RS256" });
    refused(&world, &key.sign_with(&head, &claims), "claim kid").await;
    let _ = build(&world, &good).get("/v2/").await.expect(200);
}

#[tokio::test]
async fn a_key_of_another_issuer_signs_for_that_one_only() {
    let (issuer, other) = (Issuer::start().await, Issuer::start().await);
    let world = trusting(vec![trusted(&issuer), trusted(&other)]).await;
    let _ = bind(&world, &issuer, json!({})).await;
    let (own, foreign) = (Key::rsa("same"), Key::rsa("same"));
    issuer.publish(&[&own]);
    other.publish(&[&foreign]);
    refused(&world, &issuer.token(&foreign, json!({})), "signature is wrong").await;
    // The same source repository of another issuer is another one.
    refused(&world, &other.token(&foreign, json!({})), "admin oidc bind").await;
    let _ = build(&world, &issuer.token(&own, json!({}))).get("/v2/").await.expect(200);
}

#[tokio::test]
async fn what_is_no_token_at_all_is_asked_for() {
    let (issuer, world) = bound().await;
    let key = issuer.fresh_key();
    let good = issuer.token(&key, json!({}));
    let claims = issuer.claims(json!({}));
    let critical = json!({ "alg": "RS256", "kid": key.id(), "crit": ["b64"], "b64": false });
    let access = json!({ "alg": "RS256", "kid": key.id(), "typ": "at+jwt" });
    let long = issuer.token(&key, json!({ "padding": "x".repeat(12 << 10) }));
    for token in [
        "",
        "x",
        "a.b.c",
        "..",
        "hunter2-hunter2",
        &good.replace('.', ":"),
        &format!("{good}="),
        &format!("{good}.{good}"),
        &good.replacen('.', "..", 1),
        &key.sign_with(&critical, &claims),
        &key.sign_with(&access, &claims),
        &key.sign_with(&json!([]), &claims),
        &key.sign_with(&json!({ "alg": "RS256", "kid": 7 }), &claims),
        &key.sign(&json!(["iss"])),
    ] {
        refused(&world, token, "set oidc: true on the step").await;
    }
    let answer = exchange(&world, &long).await.refused(401, "UNAUTHORIZED");
    assert!(answer.message().contains("set oidc: true"), "{}", answer.message());
}

#[tokio::test]
async fn a_build_that_its_binding_is_not_for() {
    let issuer = Issuer::start().await;
    let world = trusting(vec![trusted(&issuer)]).await;
    let more = json!({
        "branches": ["main", "release/*"],
        "environments": ["{e-1}"],
        "claims": { "workspaceUuid": ["{workspace-1}"] },
    });
    let _ = bind(&world, &issuer, more).await;
    let key = issuer.fresh_key();
    let token = |more: Value| issuer.token(&key, more);
    let environment = |name: &str| json!({ "deploymentEnvironmentUuid": name });
    for name in ["{e-1}", "e-1"] {
        let _ = build(&world, &token(environment(name))).get("/v2/").await.expect(200);
    }
    refused(
        &world,
        &token(environment("{e-2}")),
        "the deployment environment {e-1}, and this build has {e-2}",
    )
    .await;
    refused(&world, &token(json!({})), "the token of this build names none").await;
    let branch = |name: &str| json!({ "deploymentEnvironmentUuid": "{e-1}", "branchName": name });
    let _ = build(&world, &token(branch("release/1.2"))).get("/v2/").await.expect(200);
    for name in ["feature", "Main", "main2", "xmain", "release"] {
        let words = format!("it takes the branch main or release/*, and this build has {name}");
        refused(&world, &token(branch(name)), &words).await;
    }
    refused(&world, &token(branch("")), "the token of this build names none").await;
    let elsewhere = json!({ "deploymentEnvironmentUuid": "e-1", "workspaceUuid": "{workspace-2}" });
    refused(&world, &token(elsewhere), "the claim workspaceUuid {workspace-1}").await;
}

#[tokio::test]
async fn a_server_without_issuers_says_so() {
    let issuer = Issuer::start().await;
    let world = trusting(Vec::new()).await;
    let key = issuer.fresh_key();
    refused(&world, &issuer.token(&key, json!({})), "under oidc.issuers in its settings").await;
}

/// A place for log lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("unpoisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn nothing_of_a_token_is_in_the_log() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // With one subscriber alone, tracing lets the thread that first meets a log line decide whether
    // it is of interest, and other tests' threads have none.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let _logging = tracing::subscriber::set_default(subscriber);
    let (issuer, world) = bound().await;
    let key = issuer.fresh_key();
    let good = issuer.token(&key, json!({}));
    let expired = issuer.token(&key, json!({ "exp": 1 }));
    let forged = Key::rsa(key.id()).sign(&issuer.claims(json!({})));
    let mut shown = vec![good.clone(), expired, forged];
    let exchanged = exchange(&world, &good).await.expect(200);
    shown.push(exchanged.json()["token"].as_str().expect("a token").to_owned());
    for token in &shown {
        let _ = build(&world, token).get("/v2/acme/shop/tags/list").await;
        let _ = world.holder(&format!("Bearer {token}")).get("/v2/acme/shop/tags/list").await;
        let _ = exchange(&world, token).await;
        let _ = build(&world, token).get("/api/v1/workspaces").await;
    }
    issuer.behave(Manner::Down);
    let _ = build(&world, &Key::rsa("new").sign(&issuer.claims(json!({})))).get("/v2/").await;
    let text = String::from_utf8_lossy(&lines.0.lock().expect("unpoisoned")).into_owned();
    assert!(text.contains("keys of an OIDC issuer fetched"), "{text}");
    for token in &shown {
        let encoded = basic(token);
        let secrets = token.split('.').skip(1).chain([&encoded[100..]]);
        for secret in secrets {
            assert!(!text.contains(secret), "a token is in the log");
        }
    }
}
