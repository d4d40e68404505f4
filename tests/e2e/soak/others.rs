//! Those who delete, and those who read and compare.

use std::time::{Duration, Instant};

use reqwest::Method;
use standpipe_tests::manifest::Manifest;
use standpipe_tests::payload::digest_of;
use standpipe_tests::raw::Raw;
use tokio::time::sleep;

use super::Shared;
use super::client::Client;
use super::memory::Key;
use super::request::Request;
use crate::space::{blobs_of, children_of};

/// Deletes tags and manifests of others until it is time to stop.
pub(crate) async fn delete(mut client: Client) {
    while !client.shared.is_over() {
        // Between deletions, so that there is something left to delete.
        sleep(Duration::from_millis(client.random.between(50, 700))).await;
        let shared = client.shared.clone();
        let memory = &shared.memory;
        if client.random.chance(60) {
            let Some((_claim, tag, _)) = memory.claim_tag(&mut client.random) else { continue };
            delete_manifest(&mut client, &tag, std::slice::from_ref(&tag)).await;
            memory.count("tags deleted");
        } else {
            let claimed = memory.claim_manifest(&mut client.random);
            let Some((_claim, manifest, tags)) = claimed else { continue };
            if tags.is_empty() {
                continue;
            }
            delete_manifest(&mut client, &manifest, &tags).await;
            memory.count("manifests deleted");
        }
    }
}

/// Deletes by tag or digest, which takes these tags away.
async fn delete_manifest(client: &mut Client, key: &Key, tags: &[Key]) {
    let shared = client.shared.clone();
    let path = format!("/v2/{}/manifests/{}", key.0, key.1);
    let begun: Vec<_> = tags.iter().map(|tag| shared.memory.begin(tag, None)).collect();
    let request = Request::Plain(Method::DELETE, path);
    let (_, answer, repeated) = client.ask(request).await;
    // The one before, which got no answer, did take effect.
    if !(repeated && answer.status == 404) {
        let _ = answer.expect(202);
    }
    begun.iter().for_each(|begun| shared.memory.end(begun));
}

/// Pulls by tag and by digest until it is time to stop.
pub(crate) async fn read(mut client: Client) {
    while !client.shared.is_over() {
        // So that the readers leave something of the machine to the others.
        sleep(Duration::from_millis(client.random.between(5, 40))).await;
        let shared = client.shared.clone();
        let Some((tag, digest)) = shared.memory.some_tag(&mut client.random) else { continue };
        let by_digest = client.random.chance(40);
        let reference = if by_digest { &digest } else { &tag.1 };
        let path = format!("/v2/{}/manifests/{reference}", tag.0);
        let (sent, answer, _) = client.ask(Request::Plain(Method::GET, path)).await;
        let answered = Instant::now();
        let seen = (answer.status == 200).then(|| digest_of(&answer.body));
        if by_digest {
            // Only if the tag led to it all the time was there something to rely on.
            let all_the_time = shared.memory.settled(&tag).as_ref() == Some(&digest);
            assert!(
                seen.as_ref() == Some(&digest) || !all_the_time && answer.status == 404,
                "{tag:?} points to {digest}, but {}: {}",
                answer.asked,
                answer.status
            );
        } else {
            assert!(
                shared.memory.allows(&tag, seen.as_deref(), sent, answered)
                    && matches!(answer.status, 200 | 404),
                "{tag:?} was seen as {seen:?} ({}): nobody was told so",
                answer.status
            );
        }
        if answer.status == 200 && !by_digest {
            pull_content(&mut client, &tag.0, &answer.body, sent).await;
        }
    }
}

/// Pulls all that a manifest needs. What a tag led to when it was asked for stays for `keep` at least.
async fn pull_content(client: &mut Client, name: &str, manifest: &[u8], sent: Instant) {
    let kept = |shared: &Shared| sent.elapsed() <= shared.keep;
    let mut needed: Vec<String> = blobs_in(manifest);
    for child in children_of(manifest) {
        let path = format!("/v2/{name}/manifests/{child}");
        let Some(bytes) = pull(client, &path, &child, kept).await else { return };
        needed.extend(blobs_in(&bytes));
    }
    for blob in needed {
        let path = format!("/v2/{name}/blobs/{blob}");
        if pull(client, &path, &blob, kept).await.is_none() {
            return;
        }
    }
    client.shared.memory.count("images pulled whole");
}

/// Pulls one thing; `None` if it was gone, but we were too slow to rely on it.
async fn pull(
    client: &mut Client,
    path: &str,
    digest: &str,
    kept: impl Fn(&Shared) -> bool,
) -> Option<Vec<u8>> {
    let request = Request::Plain(Method::GET, path.to_owned());
    let (_, answer, _) = client.ask(request).await;
    if answer.status == 404 && !kept(&client.shared) {
        client.shared.memory.count("pulls slower than keep, not counted");
        return None;
    }
    let answer = answer.expect(200);
    assert_eq!(digest_of(&answer.body), digest, "{}", answer.asked);
    Some(answer.body.to_vec())
}

/// Pulls all that a tag leads to, with nothing else going on; returns the manifest's digest.
pub(crate) async fn pull_whole(raw: &Raw, name: &str, reference: &str) -> String {
    let top = raw.manifest(name, reference).await.expect(200);
    let mut open = vec![top.body.clone()];
    while let Some(manifest) = open.pop() {
        for child in children_of(&manifest) {
            let answer = raw.manifest(name, &child).await.expect(200);
            assert_eq!(digest_of(&answer.body), child, "{}", answer.asked);
            open.push(answer.body);
        }
        for blob in blobs_in(&manifest) {
            assert_eq!(raw.pull_blob(name, &blob).await, blob, "{name}:{reference}");
        }
    }
    digest_of(&top.body)
}

fn blobs_in(manifest: &[u8]) -> Vec<String> {
    let manifest = Manifest { media_type: String::new(), bytes: manifest.to_vec() };
    blobs_of(&manifest).into_iter().map(|(digest, _)| digest).collect()
}
