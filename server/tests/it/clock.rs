//! A server that is started again at another time, as after a wrong clock was set right.
//!
//! While it runs, its clock counts by itself; that is shown on the built server in `tests/e2e/clock.rs`.

use crate::harness::{Client, Settings, World, digest};
use axum::http::Method;
use standpipe_server::clock::Clock;
use standpipe_server::domain::Timestamp;
use standpipe_server::registry::Limits;
use std::time::Duration;

const NAME: &str = "acme/shop";
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a client has in hand while the clock changes.
struct InHand {
    token: String,
    short: String,
    upload: String,
}

impl InHand {
    /// An image, half an upload, and a token for the registry that lives for five minutes.
    async fn take(world: &World) -> Self {
        let ann = world.client("ann").await;
        let _ = ann.push_image(NAME, "latest", "seed").await;
        let upload = ann.start_upload(NAME).await;
        let _ = ann.send(Method::PATCH, &upload, &[], "0123").await.expect(202);
        let narrowed = world.narrowed(&ann, &["repository:acme/shop:pull,push"]).await;
        let [token, short] = [ann, narrowed].map(|client| client.authorization.expect("a token"));
        Self { token, short, upload }
    }

    async fn finish_upload(&self, client: &Client) {
        assert_eq!(client.get(&self.upload).await.expect(204).header("range"), "0-3");
        let path = format!("{}?digest={}", self.upload, digest(b"01234567"));
        let _ = client.send(Method::PUT, &path, &[], "4567").await.expect(201);
    }
}

async fn everything_is_there(client: &Client) {
    let path = format!("/v2/{NAME}/manifests/latest");
    let _ = client.get(&path).await.expect(200);
    let _ = client.get(&format!("/v2/{NAME}/blobs/{}", digest(b"seed"))).await.expect(200);
}

fn at(time: Timestamp) -> Clock {
    Clock::manual(time)
}

#[tokio::test]
async fn a_clock_that_was_set_back_does_not_turn_time_back() {
    let limits = Limits { upload_duration: Some(60 * MINUTE), ..Limits::default() };
    let world = World::with(Settings { limits, ..Settings::default() }).await;
    world.clock.advance(10 * MINUTE);
    let hand = InHand::take(&world).await;
    let before = world.clock.now();

    let world = world.restart(at(Timestamp(before.0 - Timestamp(0).plus(DAY).0))).await;
    assert!(world.clock.now() >= before, "what has happened is not in the future");
    let [ann, short] = [&hand.token, &hand.short].map(|token| world.holder(token));
    everything_is_there(&ann).await;
    everything_is_there(&short).await;
    hand.finish_upload(&short).await;
    // A token is not good for a day longer: its five minutes and half a minute of leeway are over.
    world.clock.advance(Duration::from_secs(331));
    let expired = short.get(&format!("/v2/{NAME}/manifests/latest")).await;
    let expired = expired.refused(401, "UNAUTHORIZED");
    assert!(expired.header("www-authenticate").contains("invalid_token"), "{expired:?}");
    let _ = ann.push_image(NAME, "later", "another seed").await;
    let usage = world.app.registry.metadata().check().await.expect("rows");
    assert_eq!(usage, Vec::<String>::new());
}

#[tokio::test]
async fn a_token_from_after_the_last_change_is_never_good_for_longer() {
    let world = World::new().await;
    let before = world.clock.now();
    // Nothing is written from here on, so the database does not see the time in which it is issued.
    let ann = world.client("ann").await;
    world.clock.advance(60 * MINUTE);
    let short = world.narrowed(&ann, &["repository:acme/shop:pull"]).await;
    let issued = world.clock.now();
    let [token, short] = [ann, short].map(|client| client.authorization.expect("a token"));

    let world = world.restart(at(Timestamp(before.0 - Timestamp(0).plus(DAY).0))).await;
    let [ann, short] = [&token, &short].map(|token| world.holder(token));
    let asked = short.get(&format!("/v2/{NAME}/tags/list")).await;
    // It is from the future, or in time; either way a new one can be had.
    assert!(matches!(asked.status.as_u16(), 200 | 401), "{asked:?}");
    let fresh = world.narrowed(&ann, &["repository:acme/shop:pull"]).await;
    let _ = fresh.get(&format!("/v2/{NAME}/tags/list")).await.expect(200);
    let left = issued.plus(Duration::from_secs(331)).0 - world.clock.now().0;
    world.clock.advance(Duration::from_millis(left));
    let _ = short.get(&format!("/v2/{NAME}/tags/list")).await.refused(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn ten_years_forward_expire_what_has_an_end_and_lose_nothing() {
    let world = World::new().await;
    let hand = InHand::take(&world).await;
    let later = world.clock.now().plus(10 * YEAR);

    let world = world.restart(at(later)).await;
    for token in [&hand.token, &hand.short] {
        let expired = world.holder(token).get(&format!("/v2/{NAME}/tags/list")).await;
        let _ = expired.refused(401, "UNAUTHORIZED");
    }
    let ann = world.client("ann").await;
    everything_is_there(&ann).await;
    // An upload without a limit of its own goes on: nothing was done meanwhile that would end it.
    hand.finish_upload(&ann).await;
    assert_eq!(world.objects().len(), 3, "config, layer and what was uploaded over the years");
    let _ = ann.push_image(NAME, "later", "another seed").await;

    // The clock is set right again; the database has seen the future and stays there.
    let token = ann.authorization.clone().expect("a token");
    drop(ann);
    let right = Timestamp(later.0 - Timestamp(0).plus(10 * YEAR).0);
    let world = world.restart(at(right)).await;
    assert!(world.clock.now() >= later);
    let ann = world.holder(&token);
    everything_is_there(&ann).await;
    let _ = ann.push_image(NAME, "latest", "a third seed").await;
}

#[tokio::test]
async fn a_jump_while_an_upload_runs_counts_for_nothing_but_its_own_limit() {
    let limits = Limits { upload_duration: Some(60 * MINUTE), ..Limits::default() };
    let world = World::with(Settings { limits, ..Settings::default() }).await;
    let hand = InHand::take(&world).await;
    world.clock.advance(59 * MINUTE);
    let ann = world.holder(&hand.token);
    let _ = ann.send(Method::PATCH, &hand.upload, &[], "45").await.expect(202);
    world.clock.advance(2 * MINUTE);
    let late = ann.send(Method::PATCH, &hand.upload, &[], "67").await;
    let late = late.refused(400, "BLOB_UPLOAD_INVALID");
    assert!(late.message().contains("3600 seconds"), "{}", late.message());
    everything_is_there(&ann).await;
}
