//! The little world that histories are about: few blobs, manifests, tags and packages, so that
//! operations meet.
//!
//! Blob n has 2^n bytes, so that a sum of bytes tells which blobs are in it.

use proptest::prelude::*;
use standpipe_server::domain::manifest::{OCI_INDEX, OCI_MANIFEST};
use standpipe_server::domain::{Algorithm, Digest};

/// How many blobs there are.
pub(super) const BLOBS: u8 = 10;
/// How many manifests there are.
pub(super) const MANIFESTS: u8 = 14;
/// The names of packages.
pub(super) const NAMES: [&str; 3] = ["one", "two", "three"];
/// The tags.
pub(super) const TAGS: [&str; 3] = ["t0", "t1", "t2"];

/// A blob or a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Thing {
    Blob(u8),
    Manifest(u8),
}

/// How a manifest is to be made; what it names is taken from those before it.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    blobs: Vec<u8>,
    /// `None` makes an image.
    children: Option<Vec<u8>>,
    subject: Option<u8>,
}

/// A manifest.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) digest: Digest,
    pub(super) media_type: &'static str,
    pub(super) bytes: Vec<u8>,
    pub(super) blobs: Vec<u8>,
    pub(super) children: Vec<u8>,
    pub(super) subject: Option<u8>,
}

/// All blobs and manifests of one history.
#[derive(Clone, Debug)]
pub(super) struct Universe {
    pub(super) blobs: Vec<(Digest, Vec<u8>)>,
    pub(super) manifests: Vec<Made>,
}

/// Images, indexes (of indexes too), and things about other things.
pub(super) fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let blobs = prop::collection::vec(0..BLOBS, 1..4);
    let children = prop::option::weighted(0.4, prop::collection::vec(any::<u8>(), 1..4));
    let subject = prop::option::weighted(0.35, any::<u8>());
    let plan = (blobs, children, subject).prop_map(|(blobs, children, subject)| Plan {
        blobs,
        children,
        subject,
    });
    prop::collection::vec(plan, usize::from(MANIFESTS))
}

impl Universe {
    pub(super) fn new(plans: &[Plan]) -> Self {
        let blob = |number: u8| {
            let content = vec![b'a' + number; 1 << number];
            (Algorithm::Sha256.hash(&content), content)
        };
        let mut universe = Self { blobs: (0..BLOBS).map(blob).collect(), manifests: Vec::new() };
        for plan in plans {
            let made = universe.make(plan);
            universe.manifests.push(made);
        }
        universe
    }

    fn make(&self, plan: &Plan) -> Made {
        // The first ones have nothing before them to name.
        let before = u8::try_from(self.manifests.len()).unwrap();
        let earlier = |number: &u8| (before > 0).then(|| number % before);
        let subject = plan.subject.as_ref().and_then(earlier);
        let mut children: Vec<u8> = plan.children.iter().flatten().filter_map(earlier).collect();
        children.sort_unstable();
        children.dedup();
        let mut blobs = plan.blobs.clone();
        blobs.sort_unstable();
        blobs.dedup();
        let mut fields = vec![format!(r#""annotations":{{"number":"{before}"}}"#)];
        if let Some(subject) = subject {
            fields.push(format!(r#""subject":{}"#, self.manifest_descriptor(subject)));
        }
        let media_type = if children.is_empty() {
            let blob = |blob: &u8| self.blob_descriptor(*blob);
            let layers: Vec<_> = blobs[1..].iter().map(blob).collect();
            fields.push(format!(r#""config":{}"#, blob(&blobs[0])));
            fields.push(format!(r#""layers":[{}]"#, layers.join(",")));
            OCI_MANIFEST
        } else {
            blobs.clear();
            let children: Vec<_> =
                children.iter().map(|child| self.manifest_descriptor(*child)).collect();
            fields.push(format!(r#""manifests":[{}]"#, children.join(",")));
            OCI_INDEX
        };
        let bytes = format!("{{{}}}", fields.join(",")).into_bytes();
        let digest = Algorithm::Sha256.hash(&bytes);
        Made { digest, media_type, bytes, blobs, children, subject }
    }

    fn blob_descriptor(&self, blob: u8) -> String {
        let (digest, content) = &self.blobs[usize::from(blob)];
        format!(r#"{{"mediaType":"x","digest":"{digest}","size":{}}}"#, content.len())
    }

    fn manifest_descriptor(&self, manifest: u8) -> String {
        let Made { media_type, digest, bytes, .. } = self.manifest(manifest);
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{}}}"#, bytes.len())
    }

    pub(super) fn manifest(&self, number: u8) -> &Made {
        &self.manifests[usize::from(number)]
    }

    pub(super) fn digest(&self, thing: Thing) -> Digest {
        match thing {
            Thing::Blob(blob) => self.blobs[usize::from(blob)].0,
            Thing::Manifest(manifest) => self.manifest(manifest).digest,
        }
    }

    pub(super) fn size(&self, thing: Thing) -> u64 {
        let length = match thing {
            Thing::Blob(blob) => self.blobs[usize::from(blob)].1.len(),
            Thing::Manifest(manifest) => self.manifest(manifest).bytes.len(),
        };
        u64::try_from(length).unwrap()
    }

    /// The manifests, for whoever reads of a failure.
    pub(super) fn in_words(&self) -> String {
        let words = self.manifests.iter().enumerate().map(|(number, made)| {
            let Made { blobs, children, subject, .. } = made;
            format!("  {number}: blobs {blobs:?}, children {children:?}, about {subject:?}")
        });
        words.collect::<Vec<_>>().join("\n")
    }

    /// What a manifest needs in order to be complete.
    pub(super) fn needs(&self, manifest: u8) -> impl Iterator<Item = Thing> {
        let Made { blobs, children, .. } = self.manifest(manifest);
        let blobs = blobs.iter().map(|blob| Thing::Blob(*blob));
        blobs.chain(children.iter().map(|child| Thing::Manifest(*child)))
    }
}
