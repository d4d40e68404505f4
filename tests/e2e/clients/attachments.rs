//! Artifacts, and what is attached to images: pushed, found, pulled, copied and deleted by the Python
//! package oras, and read by other clients.

use serde_json::Value;
use standpipe_tests::clients::{Client, Kind};
use standpipe_tests::http::Answer;
use standpipe_tests::manifest::IMAGE;
use standpipe_tests::oras::Oras;
use standpipe_tests::payload::{Payload, digest_of};
use standpipe_tests::process::Finished;

use crate::soak::others::pull_whole;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_that_oras_pushed_is_pulled_copied_and_deleted() {
    let Some(oras) = Oras::find() else { return };
    let Some(skopeo) = Client::find(Kind::Skopeo).await else { return };
    let world = World::with_packages(&["files", "copies"]).await;
    let token = world.pipeline_token().await;
    oras.login(world.server.authority(), &token).await;
    skopeo.sign_in(world.server.authority(), &token).await;
    let target = world.reference("files", "1");
    let large = Payload::new(5, 3_000_000).bytes();
    oras.write("notes.txt", b"what is new");
    oras.write("model.bin", &large);
    oras.write("config.json", br#"{"trained": true}"#);
    let config = "config.json:application/vnd.example.model.config+json";
    let files = ["notes.txt:text/plain", "model.bin:application/vnd.example.model"];
    let push = ["push", "--config", config, &target];
    let digest = told(&oras.run(&[&push[..], &files].concat()).await, "digest");
    assert_eq!(pull_whole(&world.raw(), "acme/files", "1").await, digest);
    // In pieces, the same bytes under another tag.
    let chunked = ["push", "--chunked", "1000000", "--config", config];
    let again = world.reference("copies", "chunked");
    let again = oras.run(&[&chunked[..], &[&again], &files].concat()).await;
    assert_eq!(told(&again, "digest"), digest);

    let _ = oras.run(&["pull", &target, "pulled"]).await;
    assert_eq!(oras.read("pulled/notes.txt"), b"what is new");
    assert!(oras.read("pulled/model.bin") == large, "the model came back as it was");
    let copy = ["copy", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false"];
    let places = [("files", "1"), ("copies", "1")];
    let places = places.map(|(package, tag)| format!("docker://{}", world.reference(package, tag)));
    let _ = skopeo.run(&[&copy[..], &[&places[0], &places[1]]].concat()).await;
    assert_eq!(pull_whole(&world.raw(), "acme/copies", "1").await, digest, "skopeo's copy");
    let tags = oras.run(&["tags", &world.reference("copies", "1")]).await;
    assert_eq!(tags.stdout.trim(), "1 chunked");

    let _ = oras.run(&["--auth=basic", "delete", &target, "1"]).await;
    world.raw().manifest("acme/files", "1").await.refused(404, "MANIFEST_UNKNOWN");
    world.raw().manifest("acme/files", &digest).await.refused(404, "MANIFEST_UNKNOWN");
    let gone = oras.command(&["pull", &target, "gone"]).finish().await.ended_with(1);
    assert!(gone.output().contains("the package has no manifest 1"), "{gone}");
    assert_eq!(pull_whole(&world.raw(), "acme/copies", "1").await, digest, "the copy is its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_oras_attaches_to_an_image_is_found_and_read_until_it_is_deleted() {
    let Some(oras) = Oras::find() else { return };
    let Some(skopeo) = Client::find(Kind::Skopeo).await else { return };
    let world = World::with_packages(&["app"]).await;
    let token = world.pipeline_token().await;
    oras.login(world.server.authority(), &token).await;
    skopeo.sign_in(world.server.authority(), &token).await;
    let raw = world.raw();
    let image = raw.push_image("acme/app", "1", 1).await;
    let subject = image.digest();
    let mut attached = Vec::new();
    for (kind, text) in [("sbom", "all the parts"), ("scan", "nothing found"), ("sbom", "again")] {
        let name = format!("{kind}.txt");
        oras.write(&name, text.as_bytes());
        oras.write("empty.json", b"{}");
        let target = world.reference("app", &format!("{kind}-{}", attached.len()));
        let config = format!("empty.json:application/vnd.example.{kind}");
        let size = image.bytes.len().to_string();
        let push = ["push", "--config", &config, &target, &name];
        let about = ["--subject", IMAGE, &subject, &size];
        let pushed = oras.run(&[&push[..], &about[..]].concat()).await;
        assert_eq!(told(&pushed, "subject"), subject);
        attached.push(told(&pushed, "digest"));
    }
    let path = format!("/v2/acme/app/referrers/{subject}");
    let listed = raw.get(&path).await.expect(200);
    assert_eq!(digests(&listed), sorted(&attached));
    let filter = format!("{path}?artifactType=application%2Fvnd.example.sbom");
    let boms = raw.get(&filter).await.expect(200);
    assert_eq!(boms.header("oci-filters-applied"), "artifactType");
    assert_eq!(digests(&boms), sorted(&[attached[0].clone(), attached[2].clone()]));

    let named = format!("{}/acme/app@{}", world.server.authority(), attached[1]);
    let remote = format!("docker://{named}");
    let shown = skopeo.run(&["inspect", "--raw", "--tls-verify=false", &remote]).await.stdout;
    assert_eq!(digest_of(shown.as_bytes()), attached[1], "skopeo reads it");
    let shown: Value = serde_json::from_str(&shown).expect("a manifest is JSON");
    assert_eq!(shown["subject"]["digest"], subject);
    let _ = oras.run(&["pull", &named, "pulled"]).await;
    assert_eq!(oras.read("pulled/scan.txt"), b"nothing found");

    let _ = oras.run(&["--auth=basic", "delete", &world.reference("app", "1"), "scan-1"]).await;
    raw.manifest("acme/app", &attached[1]).await.refused(404, "MANIFEST_UNKNOWN");
    let left = raw.get(&path).await.expect(200);
    assert_eq!(digests(&left), sorted(&[attached[0].clone(), attached[2].clone()]));
    assert_eq!(pull_whole(&raw, "acme/app", "1").await, subject, "the image stays");
}

/// What the command line of oras says behind a word.
fn told(finished: &Finished, word: &str) -> String {
    let label = format!("{word}: ");
    let line = finished.stdout.lines().find_map(|line| line.strip_prefix(&label));
    line.unwrap_or_else(|| panic!("no {word} in {finished}")).to_owned()
}

fn digests(index: &Answer) -> Vec<String> {
    let index = index.json();
    let entries = index["manifests"].as_array().cloned().unwrap_or_default();
    let found: Vec<String> = entries
        .iter()
        .map(|entry| entry["digest"].as_str().unwrap_or_default().to_owned())
        .collect();
    sorted(&found)
}

fn sorted(digests: &[String]) -> Vec<String> {
    let mut digests = digests.to_vec();
    digests.sort();
    digests
}
