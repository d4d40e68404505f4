//! Keeps what holds what free of circles.
//!
//! A parent holds its children, and a subject holds its referrers. Digests make each of the two free
//! of circles by itself, but not both together: an index may refer to one of its own children, and
//! then each would hold the other for ever. Invariant: a manifest whose subject it holds in some way
//! is stored as *independent*, that is, it does not live by its subject. Only an index that was
//! admitted with children missing can still close a circle later, when the child arrives.

use super::batch::{Rows, Table, Walk};
use super::rows::ManifestRow;
use super::{blobs, manifests};
use crate::domain::{Digest, PackageId};
use crate::metadata::{NewManifest, Result};
use std::collections::HashSet;

/// Most manifests walked; beyond that a manifest is taken for one that closes a circle.
const MOST_WALKED: usize = 1000;

/// Whether living by its subject would make this new manifest live by itself.
pub(super) fn would_close(rows: &impl Rows, package: PackageId, new: &NewManifest) -> Result<bool> {
    let Some(subject) = new.view.subject.as_ref().map(|subject| subject.digest) else {
        return Ok(false);
    };
    let mut open: Vec<Digest> = new.view.children.iter().map(|child| child.digest).collect();
    add_referrers(rows, package, &new.digest, &mut open)?;
    let mut seen = HashSet::new();
    while let Some(digest) = open.pop() {
        if digest == subject {
            return Ok(true);
        }
        if !seen.insert(digest) {
            continue;
        }
        if seen.len() > MOST_WALKED {
            return Ok(true);
        }
        let row: Option<ManifestRow> =
            rows.row(Table::Manifest, &manifests::key(package, &digest))?;
        let Some(row) = row else { continue };
        for child in &row.children {
            open.push(child.read()?);
        }
        add_referrers(rows, package, &digest, &mut open)?;
    }
    Ok(false)
}

fn add_referrers(
    rows: &impl Rows,
    package: PackageId,
    subject: &Digest,
    open: &mut Vec<Digest>,
) -> Result<()> {
    let prefix = manifests::key(package, subject);
    let most = open.len() + MOST_WALKED + 1;
    rows.prefix(Table::Referrer, &prefix, None, &mut |rest, _| {
        let referrer = blobs::digest_of(rest, "referrer")?;
        let row: Option<ManifestRow> =
            rows.row(Table::Manifest, &manifests::key(package, &referrer))?;
        // One that is independent is not held by its subject. A deleted one may be shown again.
        if row.is_some_and(|row| !row.independent) {
            open.push(referrer);
        }
        Ok(if open.len() < most { Walk::Continue } else { Walk::Stop })
    })
}
