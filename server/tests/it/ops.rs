//! Health, the home page, request ids, refusals outside the API.

use crate::harness::{Settings, World};
use axum::http::Method;
use serde_json::json;
use standpipe_server::app::HttpSettings;
use std::collections::{HashMap, HashSet};

#[tokio::test]
async fn orchestrators_learn_whether_it_lives_and_can_work() {
    let world = World::new().await;
    let nobody = world.anonymous();
    assert_eq!(nobody.get("/healthz").await.expect(200).text(), "ok\n");
    let ready = nobody.get("/readyz").await.expect(200);
    assert_eq!(ready.json(), json!({ "ready": true, "uploads": true }));
}

#[tokio::test]
async fn the_home_page_tells_how_to_log_in_and_runs_nothing_inline() {
    let world = World::new().await;
    let page = world.anonymous().get("/").await.expect(200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.text().contains("docker login 127.0.0.1:5000"), "{}", page.text());
    assert!(page.text().contains("/api/v1/openapi.json"), "{}", page.text());
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    assert!(!page.text().contains("<style") && !page.text().contains(" style="), "{}", page.text());
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
}

#[tokio::test]
async fn the_home_page_does_not_repeat_the_host_it_was_asked_by() {
    let http = HttpSettings::default();
    let world = World::with(Settings { http, ..Settings::default() }).await;
    let headers = [("host", "evil.example")];
    let page = world.anonymous().send(Method::GET, "/", &headers, "").await.expect(200);
    assert!(!page.text().contains("evil.example"), "{}", page.text());
}

#[tokio::test]
async fn what_is_not_there_is_a_problem() {
    let world = World::new().await;
    let answer = world.anonymous().get("/nowhere").await.expect(404);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let problem = answer.json();
    assert_eq!(problem["type"], "urn:standpipe:problem:not-found");
    assert_eq!(problem["title"], "Not found");
    assert_eq!(problem["status"], 404);
    assert_eq!(problem["request_id"], answer.header("x-request-id"));
    let wrong = world.anonymous().delete("/healthz").await.expect(405);
    assert_eq!(wrong.json()["type"], "urn:standpipe:problem:method-not-allowed");
    assert_eq!(wrong.header("allow"), "GET,HEAD");
}

#[tokio::test]
async fn a_request_keeps_the_id_it_came_with_if_that_is_harmless() {
    let world = World::new().await;
    let ask = async |id: &str| {
        let headers = [("x-request-id", id)];
        let answer = world.anonymous().send(Method::GET, "/healthz", &headers, "").await;
        answer.header("x-request-id").to_owned()
    };
    assert_eq!(ask("build-42").await, "build-42");
    for bad in ["", "a b", "<b>", &"x".repeat(65)] {
        let id = ask(bad).await;
        assert!(id.len() == 36 && id != bad, "{bad:?} became {id}");
    }
}

/// What a scraper makes of the text: the value of each sample by name and labels. Fails on whatever
/// breaks the rules of the format.
fn scraped(text: &str) -> HashMap<String, f64> {
    let legal = |name: &str| {
        let mut bytes = name.bytes();
        bytes.next().is_some_and(|first| first.is_ascii_lowercase())
            && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let (mut helped, mut kinds) = (HashSet::new(), HashMap::new());
    let mut samples = HashMap::new();
    assert!(text.ends_with('\n'), "the last line ends");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a name and a help");
            assert!(!help.is_empty() && !help.contains('\\'), "{line}");
            assert!(helped.insert(name.to_owned()), "{name} is written twice");
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            assert!(helped.contains(name), "{name} has no help");
            assert!(matches!(kind, "counter" | "gauge" | "histogram"), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').expect("a sample and a value");
        let name = sample.split('{').next().unwrap_or_default();
        assert!(legal(name) && name.starts_with("standpipe_"), "{line}");
        if let Some(labels) = sample.strip_prefix(name).filter(|labels| !labels.is_empty()) {
            let inner = labels.strip_prefix('{').and_then(|labels| labels.strip_suffix('}'));
            let (key, value) = inner.and_then(|pair| pair.split_once('=')).expect("a label");
            assert!(legal(key) && value.len() > 2, "{line}");
            assert!(value.starts_with('"') && value.ends_with('"'), "{line}");
        }
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| {
            let family = name.strip_suffix(end)?;
            kinds.get(family).filter(|kind| *kind == "histogram")
        });
        assert!(of_histogram.is_some() || kinds.contains_key(name), "{name} has no type");
        let value: f64 = value.parse().expect("a number");
        assert!(value >= 0.0, "{line}");
        assert!(samples.insert(sample.to_owned(), value).is_none(), "{sample} is there twice");
    }
    assert_eq!(helped.len(), kinds.len(), "each help has a type");
    samples
}

#[tokio::test]
async fn the_metrics_are_in_the_format_and_count() {
    let world = World::new().await;
    let ann = world.client("ann").await;
    let nobody = world.anonymous();
    let before = nobody.get("/metrics").await.expect(200);
    assert_eq!(before.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let before = scraped(&before.text());
    let pushed = ann.push_image("acme/shop", "v1", "a layer of some bytes").await;
    let layer = crate::harness::digest(b"a layer of some bytes");
    let _ = ann.get(&format!("/v2/acme/shop/blobs/{layer}")).await.expect(200);
    let _ = ann.get("/v2/acme/shop/manifests/missing").await.expect(404);
    // An upload whose content is not what it should be has ended.
    let other = format!("/v2/acme/shop/blobs/uploads/?digest={layer}");
    let _ = ann.send(Method::POST, &other, &[], "x").await.expect(400);
    let _open = ann.start_upload("acme/shop").await;
    world.clock.advance(std::time::Duration::from_secs(9 * 24 * 3600));
    let after = scraped(&nobody.get("/metrics").await.expect(200).text());
    let grew = |name: &str| after[name] - before[name];
    assert!((grew("standpipe_blob_received_bytes_total") - 24.0).abs() < 0.5);
    assert!((grew("standpipe_blob_sent_bytes_total") - 21.0).abs() < 0.5);
    assert!(grew("standpipe_http_requests_total{status=\"2xx\"}") >= 5.0);
    assert!((grew("standpipe_http_requests_total{status=\"4xx\"}") - 2.0).abs() < 0.5);
    assert!(grew("standpipe_writer_operations_total") >= 4.0);
    assert!((after["standpipe_http_requests_in_flight"] - 1.0).abs() < 0.5, "this very request");
    assert!((after["standpipe_uploads_in_progress"] - 1.0).abs() < 0.5);
    assert!(
        after["standpipe_collection_due"] > 0.0
            && after["standpipe_collection_oldest_due_seconds"] > 0.0
    );
    let batches = after["standpipe_writer_batch_duration_seconds_count"];
    let last = after["standpipe_writer_batch_duration_seconds_bucket{le=\"+Inf\"}"];
    assert!(batches > 0.0 && (batches - last).abs() < 0.5);

    let _ = ann.delete(&format!("/v2/acme/shop/manifests/{}", pushed.digest())).await.expect(202);
    for _ in 0..10 {
        world.clock.advance(std::time::Duration::from_secs(24 * 3600));
        while world.app.registry.collect().await.expect("a round").more {}
    }
    let last = scraped(&nobody.get("/metrics").await.expect(200).text());
    let number = |name: &str| last[&format!("standpipe_collection_{name}_total")];
    assert!((number("freed_manifests") - 1.0).abs() < 0.5 && number("freed_blobs") > 1.5);
    assert!(number("freed_bytes") > 23.0 && number("removed_objects") > 1.5);
    assert!((number("ended_uploads") - 1.0).abs() < 0.5 && number("reviewed") > 0.5);
    assert!(last["standpipe_uploads_in_progress"] < 0.5);
}

#[tokio::test]
async fn metrics_are_for_administrators_unless_nobody_else_can_ask() {
    let refused = |http: HttpSettings| async move {
        let world = World::with(Settings { http, ..Settings::default() }).await;
        let (admin, ann) = (world.client("admin").await, world.client("ann").await);
        let _ = admin.get("/metrics").await.expect(200);
        let asked = [
            world.anonymous().get("/metrics").await,
            ann.get("/metrics").await,
            world.holder("Basic eDp5").get("/metrics").await,
        ];
        asked.map(|answer| answer.status.as_u16())
    };
    assert_eq!(refused(HttpSettings::default()).await, [401, 403, 401]);
    // A loopback listener with a public address is behind a proxy.
    let public_url = Some("https://registry.example.com".to_owned());
    let proxied = HttpSettings { loopback: true, public_url, ..HttpSettings::default() };
    assert_eq!(refused(proxied.clone()).await, [401, 403, 401]);
    let opened = HttpSettings { public_metrics: true, ..proxied };
    assert_eq!(refused(opened).await, [200, 200, 200]);
    let local = HttpSettings { loopback: true, ..HttpSettings::default() };
    assert_eq!(refused(local).await, [200, 200, 200]);
}
