//! Those who push: images with shared layers, indexes over shared images, images already known,
//! signatures, and uploads that nobody finishes.

use serde_json::json;
use standpipe_tests::manifest::Manifest;

use super::client::{Client, Target};
use super::request::Request;
use crate::artifacts::{Blob, Image};

/// Pushes until it is time to stop.
pub(crate) async fn push(number: u64, mut client: Client) {
    let mut known: Vec<(String, Image)> = Vec::new();
    let mut next = 0;
    while !client.shared.is_over() {
        next += 1;
        let seed = (number + 1) << 32 | next << 8;
        let name = client.shared.package(client.random.next_u64());
        let tag = format!("push-{number}-{}", client.random.between(0, TAGS));
        match client.random.between(0, 100) {
            0..15 if !known.is_empty() => {
                let picked = client.random.between(0, known.len() as u64) as usize;
                let (name, image) = known[picked].clone();
                client.deliver_again(&name, &image, Target::Tag(&tag)).await;
            }
            15..35 => {
                let index = index(&mut client, seed);
                client.shared.memory.remember(&name, &index.manifest, false);
                client.deliver(&name, &index, Target::Tag(&tag)).await;
                client.shared.memory.count("indexes");
            }
            35..45 => {
                let image = image(&mut client, seed, None);
                client.shared.memory.remember(&name, &image.manifest, false);
                client.deliver(&name, &image, Target::Tag(&tag)).await;
                sign(&mut client, seed, &name, &image).await;
            }
            45..50 => abandon(&mut client, &name).await,
            _ => {
                let image = image(&mut client, seed, None);
                client.shared.memory.remember(&name, &image.manifest, false);
                client.deliver(&name, &image, Target::Tag(&tag)).await;
                known.push((name, image));
                if known.len() > 5 {
                    known.remove(0);
                }
            }
        }
    }
}

/// Overwrites one tag, as others do at the same time, until it is time to stop.
pub(crate) async fn overwrite(number: u64, mut client: Client) {
    let name = client.shared.package(0);
    let mut next = 0;
    while !client.shared.is_over() {
        next += 1;
        let image = image(&mut client, (number + 1) << 32 | next << 8, None);
        client.shared.memory.remember(&name, &image.manifest, true);
        client.deliver(&name, &image, Target::Contested(LATEST)).await;
        client.shared.memory.count("overwrites of one tag");
    }
}

/// An image of some shared layers and one of its own.
fn image(client: &mut Client, seed: u64, subject: Option<&Manifest>) -> Image {
    let count = client.random.between(1, 4);
    let shared = &client.shared.layers;
    let mut layers: Vec<Blob> = (0..count)
        .map(|_| shared[client.random.between(0, shared.len() as u64) as usize].clone())
        .collect();
    layers.push(Blob::new(seed, client.random.between(500, 30_000)));
    Image::new(Blob::new(seed + 1, 300), layers, subject)
}

/// An index over images that other indexes have as well.
fn index(client: &mut Client, seed: u64) -> Image {
    let layers = &client.shared.layers;
    let first = client.random.between(0, SHARED_CHILDREN);
    let children = [first, (first + 1) % SHARED_CHILDREN].map(|number| {
        let place = number as usize * 2 % layers.len();
        let layers = vec![layers[place].clone(), layers[(place + 3) % layers.len()].clone()];
        let child = Image::new(Blob::new(CHILD_SEED + number, 200), layers, None);
        (child, json!({}))
    });
    Image::index(seed, children.to_vec())
}

/// Pushes a signature of an image, which goes with it.
async fn sign(client: &mut Client, seed: u64, name: &str, image: &Image) {
    let layers = vec![Blob::new(seed + 2, 400)];
    let signature = Image::new(Blob::new(seed + 3, 100), layers, Some(&image.manifest));
    client.shared.memory.refer(name, &image.manifest.digest(), &signature.manifest);
    client.deliver(name, &signature, Target::Digest).await;
    client.shared.memory.count("signatures");
}

/// Starts an upload and forgets it.
async fn abandon(client: &mut Client, name: &str) {
    let blob = Blob::new(client.random.next_u64(), 20_000);
    let (_, answer, _) = client.ask(Request::Half { name, blob: &blob }).await;
    let _ = answer.expect(202);
    client.shared.memory.count("uploads abandoned");
}

/// The tag that the overwriters share.
pub(crate) const LATEST: &str = "latest";
const TAGS: u64 = 2;
const SHARED_CHILDREN: u64 = 6;
const CHILD_SEED: u64 = 7_000_000;
