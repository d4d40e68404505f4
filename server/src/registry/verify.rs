//! Verification: every row against every other, every object against its row and its digest.
//!
//! Invariant: nothing is deleted here and nothing is guessed. An object that is missing, or whose
//! content is not what it must be, is marked as damaged, and only that: to a push it is then absent,
//! so the next push of its digest heals it; to a pull it is an error. What could not be looked at is
//! said to be so, and is never taken for damaged. Runs beside the service, within a budget of bytes
//! per second, and can go on where it stopped. What cannot be read does not keep the rest from being
//! looked at.

mod findings;

pub use findings::{Finding, FindingKind};

use super::access::InstanceAdmin;
use super::{Registry, RegistryError, Result};
use crate::blobs::BlobError;
use crate::blobs::hasher::Hasher;
use crate::clock::Stopwatch;
use crate::domain::{Change, ObjectKey};
use crate::metadata::{DocumentKind, MetadataError, StoredObject};
use futures_util::StreamExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Objects and bytes looked at between two notes of where we are.
const PAGE: usize = 100;
const NOTE_AFTER: u64 = 1 << 30;
/// Most findings that are kept in words; all are counted.
const MOST_FINDINGS: usize = 1000;
/// Where an unfinished run is noted.
pub(super) const DOCUMENT: &str = "verification";

/// Where a verification stands, or how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Verification {
    /// When it began, in milliseconds since the epoch.
    pub started: u64,
    /// When it ended; `None` while it runs or after it was stopped.
    pub finished: Option<u64>,
    /// Objects looked at.
    pub objects: u64,
    /// Bytes read.
    pub bytes: u64,
    /// How many things are wrong.
    pub wrong: u64,
    /// The first of them.
    pub findings: Vec<Finding>,
    /// Why it could not go on to its end.
    pub failure: Option<String>,
    /// The last object looked at.
    after: Option<uuid::Uuid>,
}

/// How to verify.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyOptions {
    /// Most bytes read per second; `None` is no limit.
    pub bytes_per_second: Option<u64>,
    /// Go on where the last run stopped, if it did not end.
    pub resume: bool,
}

/// The verification that runs or ran last.
#[derive(Debug, Default)]
pub(super) struct Verifier {
    running: AtomicBool,
    now: Mutex<Option<Verification>>,
}

/// The only verification at a time; dropping it ends that.
#[derive(Debug)]
pub struct Verifying(Arc<Verifier>);

impl Drop for Verifying {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::Release);
    }
}

impl Verifier {
    fn show(&self, verification: &Verification) {
        let now = &mut *self.now.lock().unwrap_or_else(PoisonError::into_inner);
        *now = Some(verification.clone());
    }
}

impl Verification {
    fn find(&mut self, kind: FindingKind, what: &str) {
        // The name of a strange file may be anything, and a terminal would act on some of it.
        let harmless = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
        let what: String = what.chars().map(harmless).collect();
        tracing::error!(what, "verification: {what}");
        self.wrong += 1;
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(Finding { kind, what });
        }
    }
}

/// Keeps to a number of bytes per second.
struct Pace {
    watch: Stopwatch,
    read: u64,
    most: Option<u64>,
}

impl Pace {
    async fn took(&mut self, bytes: usize) {
        self.read += u64::try_from(bytes).unwrap_or(u64::MAX);
        if let Some(most) = self.most {
            let due = Duration::from_secs_f64(ratio(self.read, most));
            tokio::time::sleep(due.saturating_sub(self.watch.elapsed())).await;
        }
    }
}

/// What an object turned out to be.
enum Looked {
    Sound,
    Wrong(FindingKind, String),
    Unreadable(String),
}

impl Registry {
    /// The verification that runs or ran last in this process, or that an earlier one left unfinished.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn verification(&self, _proof: InstanceAdmin) -> Result<Option<Verification>> {
        let now = self.verifier.now.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match now {
            Some(now) => Ok(Some(now)),
            None => self.noted().await.map(|noted| noted.map(|(_, verification)| verification)),
        }
    }

    /// Whether a verification runs.
    #[must_use]
    pub fn is_verifying(&self) -> bool {
        self.verifier.running.load(Ordering::Acquire)
    }

    /// Holds all rows against each other; returns what is wrong, in words.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn check_rows(&self) -> Result<Vec<String>> {
        Ok(self.metadata.check().await?)
    }

    /// Verifies everything. One run at a time.
    ///
    /// # Errors
    /// [`RegistryError::AlreadyRuns`]; those of the storage.
    pub async fn verify(
        &self,
        proof: InstanceAdmin,
        options: VerifyOptions,
        progress: impl Fn(&Verification) + Send,
    ) -> Result<Verification> {
        let begun = self.begin_verification(proof)?;
        self.verify_begun(begun, options, progress).await
    }

    /// Takes the turn to verify. From here on [`Registry::verification`] tells of this run.
    ///
    /// # Errors
    /// [`RegistryError::AlreadyRuns`].
    pub fn begin_verification(&self, _proof: InstanceAdmin) -> Result<Verifying> {
        if self.verifier.running.swap(true, Ordering::AcqRel) {
            return Err(RegistryError::AlreadyRuns("verification"));
        }
        self.verifier.show(&self.new_verification());
        Ok(Verifying(Arc::clone(&self.verifier)))
    }

    fn new_verification(&self) -> Verification {
        Verification { started: self.clock.now().0, ..Verification::default() }
    }

    /// Verifies everything, in the turn that was taken.
    ///
    /// # Errors
    /// Those of the storage; what was looked at is noted.
    pub async fn verify_begun(
        &self,
        _begun: Verifying,
        options: VerifyOptions,
        progress: impl Fn(&Verification) + Send,
    ) -> Result<Verification> {
        let mut run = self.new_verification();
        let outcome = self.verify_all(&mut run, options, &progress).await;
        run.failure = outcome.as_ref().err().map(ToString::to_string);
        self.verifier.show(&run);
        outcome?;
        tracing::info!(
            objects = run.objects,
            bytes = run.bytes,
            wrong = run.wrong,
            "verified {} objects; {} things are wrong",
            run.objects,
            run.wrong
        );
        Ok(run)
    }

    async fn verify_all(
        &self,
        run: &mut Verification,
        options: VerifyOptions,
        progress: &(impl Fn(&Verification) + Send),
    ) -> Result<()> {
        let noted = self.noted().await?.map(|(_, noted)| noted);
        match noted.filter(|noted| options.resume && noted.finished.is_none()) {
            Some(unfinished) => *run = unfinished,
            None => self.verify_rows(run).await?,
        }
        self.verifier.show(run);
        self.verify_objects(run, options, progress).await?;
        if let Err(error) = self.find_unnamed(run).await {
            // The disk failed to show its objects; the rest of the run still says what it found.
            run.find(FindingKind::Unreadable, &format!("not all objects can be listed: {error:?}"));
        }
        for name in self.blobs.strangers() {
            run.find(FindingKind::Foreign, &format!("{name} is not Standpipe's"));
        }
        run.finished = Some(self.clock.now().0);
        self.note_verification(run).await
    }

    async fn verify_rows(&self, run: &mut Verification) -> Result<()> {
        match self.metadata.check().await {
            Ok(found) => found.iter().for_each(|words| run.find(FindingKind::Rows, words)),
            Err(MetadataError::Corrupt(what)) => {
                run.find(FindingKind::Rows, &format!("the rows cannot be checked: damaged {what}"));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    async fn verify_objects(
        &self,
        run: &mut Verification,
        options: VerifyOptions,
        progress: &(impl Fn(&Verification) + Send),
    ) -> Result<()> {
        let most = options.bytes_per_second;
        let mut pace = Pace { watch: Stopwatch::start(), read: 0, most };
        let (before, mut noted) = (run.bytes, run.bytes);
        loop {
            let page = match self.metadata.objects(run.after.map(ObjectKey), PAGE).await {
                Err(MetadataError::Corrupt(what)) => {
                    let words = format!("not all objects can be listed: damaged {what}");
                    run.find(FindingKind::Rows, &words);
                    return Ok(());
                }
                page => page?,
            };
            if page.is_empty() {
                return Ok(());
            }
            for object in page {
                self.verify_object(run, object, &mut pace).await?;
                run.objects += 1;
                run.bytes = before + pace.read;
                run.after = Some(object.object.0);
                self.verifier.show(run);
                progress(run);
                if run.bytes - noted >= NOTE_AFTER {
                    noted = run.bytes;
                    self.note_verification(run).await?;
                }
            }
            self.note_verification(run).await?;
        }
    }

    async fn verify_object(
        &self,
        run: &mut Verification,
        object: StoredObject,
        pace: &mut Pace,
    ) -> Result<()> {
        let key = object.object;
        match self.look_at(object, pace).await {
            Looked::Sound => {
                if object.damaged && self.metadata.mark_damaged(key, false).await? {
                    tracing::info!(object = %key, "an object that was damaged is sound again");
                }
            }
            Looked::Unreadable(why) => {
                let what = format!("object {key} ({}): {why}", object.digest);
                run.find(FindingKind::Unreadable, &what);
            }
            Looked::Wrong(kind, what) => {
                // Collected or healed meanwhile: then no row names it any more.
                if self.metadata.mark_damaged(key, true).await? {
                    run.find(kind, &what);
                }
            }
        }
        Ok(())
    }

    /// Reads an object as a whole and holds it against its row.
    async fn look_at(&self, object: StoredObject, pace: &mut Pace) -> Looked {
        let StoredObject { object: key, digest, size, .. } = object;
        let missing = || {
            Looked::Wrong(FindingKind::Missing, format!("blob {digest}: object {key} is missing"))
        };
        let actual = match self.blobs.object_size(key).await {
            Ok(actual) => actual,
            Err(BlobError::UnknownObject(_)) => return missing(),
            Err(_) if mutant!("could-not-look-is-absent") => return missing(),
            Err(error) => return Looked::Unreadable(error.to_string()),
        };
        if actual != size {
            let what = format!("blob {digest}: object {key} has {actual} bytes instead of {size}");
            return Looked::Wrong(FindingKind::WrongSize, what);
        }
        let mut body = match self.blobs.read(key, 0, size).await {
            Ok(opened) => opened.bytes,
            Err(BlobError::UnknownObject(_)) => return missing(),
            Err(error) => return Looked::Unreadable(error.to_string()),
        };
        let mut hasher = Hasher::new(digest.algorithm());
        while let Some(piece) = body.next().await {
            match piece {
                Ok(piece) => {
                    hasher.update(&piece);
                    pace.took(piece.len()).await;
                }
                Err(error) => return Looked::Unreadable(error.to_string()),
            }
        }
        if hasher.finish() == digest {
            return Looked::Sound;
        }
        let what = format!("blob {digest}: the bytes of object {key} have another digest");
        Looked::Wrong(FindingKind::Damaged, what)
    }

    /// Finds objects that no row names.
    async fn find_unnamed(&self, run: &mut Verification) -> Result<()> {
        let mut after = None;
        loop {
            let page = self.blobs.objects(after, 1000).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(*last);
            // An upload that is being finished has its object before its row.
            let _none_finishing = self.finishing.write().await;
            let known = match self.metadata.known_objects(&page).await {
                Err(MetadataError::Corrupt(_)) => self.known_one_by_one(&page).await?,
                known => known?,
            };
            for (key, known) in page.iter().zip(known) {
                // It may have been collected since the page was read.
                let gone = !known
                    && matches!(
                        self.blobs.object_size(*key).await,
                        Err(BlobError::UnknownObject(_))
                    );
                if !known && !gone {
                    run.find(FindingKind::Unnamed, &format!("no row names object {key}"));
                }
            }
        }
    }

    /// The same for rows of which one cannot be read: it is there, and was told with the rows.
    async fn known_one_by_one(&self, keys: &[ObjectKey]) -> Result<Vec<bool>> {
        let mut known = Vec::with_capacity(keys.len());
        for key in keys {
            known.push(match self.metadata.known_objects(&[*key]).await {
                Err(MetadataError::Corrupt(_)) => true,
                found => found?.first().copied().unwrap_or_default(),
            });
        }
        Ok(known)
    }

    async fn noted(&self) -> Result<Option<(u64, Verification)>> {
        let found = self.metadata.document(DocumentKind::Setting, DOCUMENT).await?;
        Ok(found.and_then(|found| {
            // A note of another version only means that the run begins anew.
            let verification = serde_json::from_slice(&found.body).ok()?;
            Some((found.version, verification))
        }))
    }

    async fn note_verification(&self, run: &Verification) -> Result<()> {
        let found = self.metadata.document(DocumentKind::Setting, DOCUMENT).await?;
        let body = serde_json::to_vec(run).unwrap_or_default();
        let change = Change::by_server("verification");
        let version = found.map(|found| found.version);
        let put =
            self.metadata.put_document(&change, DocumentKind::Setting, DOCUMENT, version, body);
        put.await?;
        Ok(())
    }

    /// A full pull found that an object is not what it should be.
    pub(super) async fn report_damage(&self, key: ObjectKey, what: &str) {
        tracing::error!(object = %key, what, "a blob is damaged: {what}; pulls of it fail until it is pushed again");
        self.collector.meter.damaged.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if let Err(error) = self.metadata.mark_damaged(key, true).await {
            tracing::error!(object = %key, error = %error, "a damaged blob could not be marked");
        }
    }
}

/// How many seconds so many bytes take.
#[expect(clippy::cast_precision_loss, reason = "a pause need not be exact")]
fn ratio(bytes: u64, per_second: u64) -> f64 {
    bytes as f64 / per_second.max(1) as f64
}
