//! The issuer's keys: rotation, and issuers that are down, slow, or not what they should be.

use super::issuer::{Issuer, Key, Manner};
use super::{bind, bound, build, exchange, trusted, trusting};
use crate::harness::World;
use serde_json::json;
use standpipe_server::auth::IssuerSettings;
use std::time::Duration;

async fn accepted(world: &World, token: &str) {
    let _ = build(world, token).get("/v2/").await.expect(200);
}

/// The issuer cannot be asked: that is told as such, with a time to try again.
async fn unavailable(world: &World, token: &str) {
    let answer = exchange(world, token).await.refused(503, "UNAVAILABLE");
    assert!(answer.message().contains("cannot be fetched now; try again in"), "{}", answer.text());
    let seconds: u64 = answer.header("retry-after").parse().expect("seconds");
    assert!((1..=31).contains(&seconds), "{seconds}");
    let _ = build(world, token).get("/v2/").await.refused(503, "UNAVAILABLE");
}

fn valid_for_days(issuer: &Issuer, key: &Key) -> String {
    issuer.token(key, json!({ "exp": super::NOW + 10 * 24 * 3600 }))
}

#[tokio::test]
async fn keys_rotate_and_a_new_one_is_fetched_when_it_is_first_seen() {
    let (issuer, world) = bound().await;
    let (first, second) = (Key::rsa("2026-11"), Key::ec("2026-12"));
    issuer.publish(&[&first]);
    accepted(&world, &issuer.token(&first, json!({}))).await;
    accepted(&world, &issuer.token(&first, json!({}))).await;
    assert_eq!(issuer.asked(), 1);
    world.clock.advance(Duration::from_secs(30));
    issuer.publish(&[&first, &second]);
    accepted(&world, &issuer.token(&second, json!({}))).await;
    accepted(&world, &issuer.token(&first, json!({}))).await;
    assert_eq!(issuer.asked(), 2);
    // A key that was withdrawn is not believed any more once the keys were fetched again.
    issuer.publish(&[&second]);
    world.clock.advance(Duration::from_secs(3600));
    let old = exchange(&world, &valid_for_days(&issuer, &first)).await;
    assert!(old.refused(401, "UNAUTHORIZED").message().contains("does not publish"));
    accepted(&world, &valid_for_days(&issuer, &second)).await;
    assert_eq!(issuer.asked(), 3);
}

#[tokio::test]
async fn unknown_keys_make_the_issuer_be_asked_once_in_a_while_only() {
    let (issuer, world) = bound().await;
    let key = issuer.fresh_key();
    accepted(&world, &issuer.token(&key, json!({}))).await;
    let stranger = Key::rsa("stranger");
    for round in 0..20 {
        let answer = exchange(&world, &issuer.token(&stranger, json!({}))).await;
        let message = answer.refused(401, "UNAUTHORIZED").message();
        assert!(message.contains("try again in"), "{round}: {message}");
        accepted(&world, &issuer.token(&key, json!({}))).await;
    }
    assert_eq!(issuer.asked(), 1);
    world.clock.advance(Duration::from_secs(30));
    for _ in 0..20 {
        let _ = exchange(&world, &issuer.token(&stranger, json!({}))).await.expect(401);
    }
    assert_eq!(issuer.asked(), 2);
}

#[tokio::test]
async fn many_at_once_ask_once() {
    let (issuer, world) = bound().await;
    let key = issuer.fresh_key();
    let token = issuer.token(&key, json!({}));
    let step = build(&world, &token);
    let all = (0..32).map(|_| step.get("/v2/"));
    for answer in futures_util::future::join_all(all).await {
        let _ = answer.expect(200);
    }
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test]
async fn known_keys_go_on_being_used_for_a_day_while_the_issuer_is_down() {
    let (issuer, world) = bound().await;
    let key = issuer.fresh_key();
    let token = valid_for_days(&issuer, &key);
    accepted(&world, &token).await;
    issuer.behave(Manner::Down);
    for _ in 0..23 {
        world.clock.advance(Duration::from_secs(3600));
        accepted(&world, &token).await;
        accepted(&world, &token).await;
    }
    assert!((20..=24).contains(&issuer.asked()), "{}", issuer.asked());
    world.clock.advance(Duration::from_secs(3600));
    unavailable(&world, &token).await;
    // Others are not concerned.
    let _ = world.client("ann").await.get("/v2/").await.expect(200);
    issuer.behave(Manner::Well);
    world.clock.advance(Duration::from_secs(30));
    accepted(&world, &token).await;
}

#[tokio::test]
async fn an_issuer_that_was_never_reached_is_asked_again_after_some_seconds() {
    let (issuer, world) = bound().await;
    let key = issuer.fresh_key();
    let token = issuer.token(&key, json!({}));
    issuer.behave(Manner::Down);
    unavailable(&world, &token).await;
    issuer.behave(Manner::Well);
    unavailable(&world, &token).await;
    world.clock.advance(Duration::from_secs(5));
    accepted(&world, &token).await;
}

#[tokio::test]
async fn keys_are_good_for_as_long_as_the_issuer_says_within_limits() {
    for (said, good_for) in [(0, 300), (600, 600), (u64::MAX, 24 * 3600)] {
        let (issuer, world) = bound().await;
        issuer.max_age(said);
        let key = issuer.fresh_key();
        let token = valid_for_days(&issuer, &key);
        accepted(&world, &token).await;
        world.clock.advance(Duration::from_secs(good_for - 1));
        accepted(&world, &token).await;
        assert_eq!(issuer.asked(), 1, "{said}");
        world.clock.advance(Duration::from_secs(1));
        accepted(&world, &token).await;
        assert_eq!(issuer.asked(), 2, "{said}");
    }
}

#[tokio::test]
async fn an_issuer_that_does_not_answer_is_not_waited_for_long() {
    let (issuer, world) = bound().await;
    let key = issuer.fresh_key();
    issuer.behave(Manner::Never);
    let token = issuer.token(&key, json!({}));
    let others = world.client("ann").await;
    let waiting = tokio::time::timeout(Duration::from_secs(60), unavailable(&world, &token));
    let (waited, meanwhile) = tokio::join!(waiting, others.get("/v2/acme/shop/tags/list"));
    waited.expect("an answer in time");
    let _ = meanwhile.expect(200);
}

#[tokio::test]
async fn documents_that_are_not_what_they_should_be_are_not_used() {
    let elsewhere = Issuer::start().await;
    let stolen = elsewhere.fresh_key();
    for manner in [
        Manner::Huge,
        Manner::Elsewhere(format!("{}/keys.json", elsewhere.url)),
        Manner::Elsewhere("https://registry.example.com/keys.json".to_owned()),
        Manner::As("https://issuer.example.com".to_owned()),
        Manner::As(String::new()),
        Manner::Saying("<html>".to_owned()),
        Manner::Saying(r#"{"keys":{}}"#.to_owned()),
        Manner::Saying(r#"{"keys":[]}"#.to_owned()),
        Manner::Saying("[".repeat(60_000)),
    ] {
        let (issuer, world) = bound().await;
        issuer.behave(manner.clone());
        let key = issuer.fresh_key();
        unavailable(&world, &issuer.token(&key, json!({}))).await;
        unavailable(&world, &issuer.token(&stolen, json!({}))).await;
    }
    assert_eq!(elsewhere.requests(), 0, "a redirect to another host was followed");
}

#[tokio::test]
async fn a_redirect_within_the_same_origin_is_followed() {
    let (issuer, world) = bound().await;
    let key = issuer.fresh_key();
    issuer.behave(Manner::Elsewhere("moved/keys.json".to_owned()));
    accepted(&world, &issuer.token(&key, json!({}))).await;
}

#[tokio::test]
async fn an_issuer_of_this_machine_is_not_followed_to_plain_http_elsewhere() {
    let issuer = Issuer::start().await;
    for bad in ["http://192.0.2.1/keys.json", "ftp://127.0.0.1/keys.json", "keys.json"] {
        let settings = IssuerSettings { jwks_uri: Some(bad.to_owned()), ..trusted(&issuer) };
        let world = crate::harness::World::new().await;
        let settings = standpipe_server::auth::AuthSettings {
            service: "standpipe".to_owned(),
            token_seconds: 300,
            issuers: vec![settings],
        };
        let registry = world.app.registry.clone();
        let opened = standpipe_server::auth::Authenticator::open(registry, settings).await;
        assert!(opened.is_err(), "{bad}");
    }
}

#[tokio::test]
async fn keys_that_are_for_something_else_verify_nothing() {
    let issuer = Issuer::start().await;
    let world = trusting(vec![trusted(&issuer)]).await;
    let _ = bind(&world, &issuer, json!({})).await;
    let (key, good) = (Key::rsa("key-1"), Key::ec("key-2"));
    let alter = |name: &str, value: serde_json::Value| {
        let mut jwk = key.jwk.clone();
        jwk[name] = value;
        jwk
    };
    let mut number = 0;
    for jwk in [
        alter("use", "enc".into()),
        alter("key_ops", json!(["encrypt"])),
        alter("alg", "RS512".into()),
        alter("alg", "HS256".into()),
        alter("kty", "oct".into()),
        alter("kid", json!(7)),
        alter("e", json!(null)),
        alter("n", "AQAB".into()),
        alter("n", "x".repeat(6000).into()),
        alter("n", "not base64!".into()),
        json!({ "kty": "oct", "kid": "key-1", "k": "AAAA", "alg": "RS256" }),
        json!("key-1"),
    ] {
        number += 1;
        // One that cannot be used does not spoil the others.
        issuer.publish_raw(vec![jwk, good.jwk.clone()]);
        world.clock.advance(Duration::from_secs(30));
        let answer = exchange(&world, &valid_for_days(&issuer, &key)).await;
        let message = answer.refused(401, "UNAUTHORIZED").message();
        assert!(message.contains("does not publish"), "{number}: {message}");
        accepted(&world, &valid_for_days(&issuer, &good)).await;
    }
}
