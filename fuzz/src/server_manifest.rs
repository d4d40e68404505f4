//! Manifests: what is admitted can be read in one way only.
//!
//! The other reader here takes the last of keys that differ in case only, as the clients in Go do.
//! It must find the same content in every document that the server admits.

use standpipe_server::domain::ManifestView;
use standpipe_server::domain::manifest::{
    DOCKER_INDEX, DOCKER_MANIFEST, Descriptor, OCI_INDEX, OCI_MANIFEST,
};

use crate::script::Script;
use crate::tree::Tree;

const TYPES: [&str; 5] = [
    OCI_MANIFEST,
    OCI_INDEX,
    DOCKER_MANIFEST,
    DOCKER_INDEX,
    "application/vnd.oci.artifact.manifest.v1+json",
];
const MOST: usize = 40;

/// A Content-Type and a body.
pub fn server_manifest(data: &[u8]) {
    let mut script = Script::new(data);
    let content_type = *script.pick(&TYPES);
    let body = script.rest();
    let Ok(view) = ManifestView::parse(content_type, body, MOST) else { return };
    assert!(view.blobs.len() + view.children.len() <= MOST + 1, "a config and {MOST} descriptors");
    // What the server skips unread may be what this reader refuses: numbers beyond all bounds, text
    // that is none, fields within fields without end.
    let Ok(tree) = serde_json::from_slice::<Tree>(body) else { return };
    assert!(matches!(tree, Tree::Map(_)), "what was admitted is an object");
    if let Some(inside) = tree.loosely("mediaType").filter(|found| **found != Tree::Other) {
        assert_eq!(inside.text(), Some(content_type));
    }
    same_content(&view, &tree);
    let config = tree.loosely("config").and_then(digest_of);
    assert_eq!(view.config.map(|digest| digest.to_string()), config);
    let subject = tree.loosely("subject").and_then(digest_of);
    assert_eq!(view.subject.map(|subject| subject.digest.to_string()), subject);
    let named = tree.loosely("artifactType").and_then(Tree::text).filter(|text| !text.is_empty());
    if named.is_some() {
        assert_eq!(view.artifact_type.as_deref(), named);
    }
}

/// Each blob and child that the other reader finds is known by its digest and size, and no other.
fn same_content(view: &ManifestView, tree: &Tree) {
    let lists = ["layers", "blobs"].map(|key| tree.loosely(key).map_or(&[][..], Tree::list));
    assert!(lists.iter().any(|list| list.is_empty()), "both layers and blobs");
    let config = tree.loosely("config").filter(|config| **config != Tree::Other);
    let blobs: Vec<&Tree> = config.into_iter().chain(lists.into_iter().flatten()).collect();
    // Layers that live elsewhere by licence need not be here.
    let foreign = |blob: &Tree| {
        let kind = blob.loosely("mediaType").and_then(Tree::text).unwrap_or_default();
        kind.contains("foreign") || kind.contains("nondistributable")
    };
    for blob in &blobs {
        assert!(foreign(blob) || view.blobs.iter().any(|known| is(known, blob)), "{blob:?}");
    }
    assert!(view.blobs.iter().all(|known| blobs.iter().any(|blob| is(known, blob))));
    let children = tree.loosely("manifests").map_or(&[][..], Tree::list);
    for child in children {
        assert!(view.children.iter().any(|known| is(known, child)), "{child:?}");
    }
    assert!(view.children.iter().all(|known| children.iter().any(|child| is(known, child))));
}

fn is(known: &Descriptor, found: &Tree) -> bool {
    digest_of(found).as_deref() == Some(&known.digest.to_string())
        && found.loosely("size") == Some(&Tree::Whole(known.size))
}

fn digest_of(descriptor: &Tree) -> Option<String> {
    descriptor.loosely("digest")?.text().map(str::to_owned)
}
