//! The protocol, and the wrong protocols that the models must tell from it.

/// What is done differently from the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    Correct,

    // One package.
    /// The collector looks in one transaction and deletes in another.
    CollectorDecidesEarlier,
    /// The collector sees a holder in one transaction and drops the entry in another.
    EntryDroppedLater,
    /// A blob's object is named by its digest, so that names are used again.
    ObjectNamedByDigest,
    /// A manifest PUT looks for its content before its transaction.
    PutChecksEarlier,
    /// The object is unlinked before the commit that forgets it.
    UnlinkBeforeCommit,
    /// The row is committed before the bytes are synced.
    CommitBeforeSync,
    /// A HEAD says 200 and does not renew the lease.
    HeadWithoutLease,
    /// What a tag let go is neither kept nor due.
    ReleaseForgetsDue,
    /// An upload that finds a link leaves the link's lease as it is.
    UploadOntoLinkForgetsLease,
    /// What has lost its last reference gets no lease.
    LastReferenceGivesNoLease,
    /// The start-up sweep takes objects of uploads that are about to be committed.
    SweepTakesUploads,
    /// The object of the upload that came second is left behind.
    LoserForgotten,

    // Two packages.
    /// A mount looks for its source in one transaction and links in another.
    MountInTwoTransactions,
    /// A mount gives a link without a due entry.
    MountForgetsDue,
    /// A blob goes with a link, whether or not another package has one.
    BlobGoesWithAnyLink,

    // Index and child.
    /// The review of a manifest does not look for parents.
    ReviewIgnoresParents,
    /// A parent that goes takes its children's protection along, other parents or not.
    ChildGoesWithAnyParent,
    /// A PUT of an index looks only for blobs in its transaction.
    PutIgnoresChildren,
    /// Children that lost their last parent get no due entry.
    ChildForgotten,
    /// A PUT of a manifest whose edges are being removed lets that go on.
    PutLeavesFan,
    /// The row goes, and nothing remembers that its edges are to go.
    FanForgotten,
    /// The edges of a large manifest go before its row, page by page.
    EdgesBeforeRow,

    // Referrers.
    /// The review of a referrer does not look for its subject.
    ReviewIgnoresSubject,
    /// Referrers of a subject that goes get no due entry.
    ReferrerForgotten,
    /// A subject also holds referrers that a client has deleted.
    SubjectHoldsDeletedReferrers,
    /// A subject that a client has deleted, and may restore, holds nothing.
    HiddenSubjectHoldsNothing,
    /// A subject that is being removed in pages no longer holds the referrers that are to come.
    GoingSubjectHoldsNothing,
    /// Showing a hidden manifest again removes its due entry.
    RestoreForgetsDue,

    // History.
    /// The review of a manifest does not look for kept rows.
    ReviewIgnoresKept,
    /// Putting a tag back trusts the history row.
    UndoTrustsHistory,
    /// Putting a tag back leaves a deleted manifest hidden.
    UndoLeavesHidden,
    /// The end of a kept row gives no due entry.
    KeptEndsWithoutDue,
    /// What the byte cap or "reclaim now" lets go early gets a due entry but no lease.
    CapGivesNoLease,

    // Packages.
    /// Deleting a package removes its content at once.
    PackageFreedAtOnce,
    /// A package created again under a name takes the id of the deleted one.
    PackageIdUsedAgain,
    /// A package can be restored while its content is being removed.
    RestoreAfterRemovalBegan,
    /// A package can be restored although another one has its name.
    RestoreTakesTheName,
    /// An upload is committed into the package it began in, deleted or not.
    UploadIgnoresDeletion,

    // Manifest HEAD, then index PUT.
    /// A HEAD of a manifest says 200 and does not renew the lease.
    ManifestHeadWithoutLease,
    /// A HEAD says 200 although the lease could not be renewed.
    HeadIgnoresFailedRenewal,
    /// A PUT of a manifest that is there already leaves its lease as it is.
    PutOntoManifestForgetsLease,

    // Backup.
    /// Purge does not look for a pin.
    PurgeIgnoresPin,
    /// The snapshot is taken before the pin.
    SnapshotBeforePin,
    /// The pin ends with the snapshot, before the objects are copied.
    PinEndsBeforeCopies,
    /// The pin is in memory only.
    PinLostInCrash,
}
