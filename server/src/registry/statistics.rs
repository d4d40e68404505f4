//! Numbers for whoever watches the server; cheap enough to be asked for every few seconds.

use super::Registry;
use crate::blobs::space::{Space, SpaceWatch};
use crate::metadata::WriterStatistics;

impl Registry {
    /// What the writer of the metadata has done since the start.
    #[must_use]
    pub fn writer_statistics(&self) -> WriterStatistics {
        self.metadata.writer_statistics()
    }

    /// Uploads for which something came since the start and that have not ended.
    #[must_use]
    pub fn uploads_in_progress(&self) -> usize {
        self.collector.uploads_in_progress()
    }

    /// The file system that everything is kept on. `None` if it is not watched or was not measured.
    #[must_use]
    pub fn space(&self) -> Option<Space> {
        self.space.as_ref().and_then(SpaceWatch::measure)
    }
}
