//! What the registry has already of an image that was not read yet, by content.
//!
//! An image's configuration names its layers by the digests of their tars (diffIDs), the registry
//! by the digests of what was pushed. Whoever knows both for a layer need not read, compress and
//! send it.
//! Invariant: what is known was confirmed by the registry for the package that is pushed to, and is
//! in the form that was asked for (`COMPRESSION`).
//! Must not know: how it came to be known; that is `recall`.

use std::collections::HashMap;

use crate::config::{Compression, Platform};
use crate::image::{Blob, Digest, LAYER_GZIP, LAYER_RAW, LAYER_ZSTD};

/// What is asked about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The digests of the raw layers, bottom first.
    pub(crate) diff_ids: Vec<Digest>,
    /// The digest of its configuration.
    pub(crate) config: Digest,
    pub(crate) platform: Option<Platform>,
    /// Where the daemon has seen it: repositories, with registry, and digests of manifests.
    pub(crate) seen_as: Vec<(String, Digest)>,
}

/// What is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Known {
    layers: HashMap<Digest, Blob>,
    config: Option<Blob>,
}

impl Known {
    /// These layers by their diffIDs, and the configuration, which is there too.
    pub(crate) fn new(layers: HashMap<Digest, Blob>, config: Option<Blob>) -> Self {
        Self { layers, config }
    }

    /// The layer with this content.
    pub(crate) fn layer(&self, diff_id: &Digest) -> Option<&Blob> {
        self.layers.get(diff_id)
    }

    /// The configuration of the image.
    pub(crate) fn config(&self) -> Option<&Blob> {
        self.config.as_ref()
    }

    /// Whether nothing is.
    pub(crate) fn is_empty(&self) -> bool {
        self.layers.is_empty() && self.config.is_none()
    }

    /// How many of these layers are known.
    pub(crate) fn count(&self, diff_ids: &[Digest]) -> usize {
        diff_ids.iter().filter(|diff_id| self.layers.contains_key(diff_id)).count()
    }
}

/// The media type under which a layer that somebody else pushed is named again, if it is in the form
/// that is asked for. Docker's own types mean the same as OCI's.
pub(crate) fn fitting(media_type: &str, compression: Compression) -> Option<&'static str> {
    let form = match media_type {
        LAYER_GZIP | "application/vnd.docker.image.rootfs.diff.tar.gzip" => LAYER_GZIP,
        LAYER_ZSTD | "application/vnd.docker.image.rootfs.diff.tar.zstd" => LAYER_ZSTD,
        LAYER_RAW | "application/vnd.docker.image.rootfs.diff.tar" => LAYER_RAW,
        // Foreign layers and whatever is not known here.
        _ => return None,
    };
    let wanted = match compression {
        Compression::Gzip(_) => LAYER_GZIP,
        Compression::Zstd(_) => LAYER_ZSTD,
        Compression::Raw => LAYER_RAW,
    };
    (form == wanted).then_some(form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_known_only_in_the_form_that_is_asked_for() {
        let docker = "application/vnd.docker.image.rootfs.diff.tar.gzip";
        assert_eq!(fitting(docker, Compression::Gzip(9)), Some(LAYER_GZIP));
        assert_eq!(fitting(LAYER_ZSTD, Compression::Zstd(3)), Some(LAYER_ZSTD));
        assert_eq!(fitting(LAYER_GZIP, Compression::Zstd(3)), None);
        assert_eq!(fitting(LAYER_GZIP, Compression::Raw), None);
        let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        assert_eq!(fitting(foreign, Compression::Gzip(6)), None);
    }
}
