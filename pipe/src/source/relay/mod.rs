//! Layers out of an engine with the classic store, without an export.
//!
//! Such an engine writes the whole image to its disk before the first byte of an export. It pushes
//! layer by layer, though, those at the top first: so it is told to push to a registry of our own
//! (`registry`), which only takes. The streams come side by side and are kept at the same length
//! (`pace`); when every layer that is needed was there, the push is dropped, so that what is not
//! needed was neither compressed nor sent as a whole. The configuration comes from the engine's
//! builder (`builder`).
//! Invariant: nothing is believed (a layer is what its tar hashes to, the configuration what it hashes
//! to); whatever does not go as expected is no error, and then there is an export. The name and the
//! container that a relay needs are gone after it, also when nobody waits for it any more. The engine
//! pushes nothing before it has shown that it reaches us, and nobody else, under the address.
//! Must not know: how the registry came to have anything.

mod builder;
mod door;
mod engine;
mod estimate;
pub mod forward;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod intake;
mod login;
mod pace;
mod registry;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub(super) use self::estimate::sizes;

use self::door::Door;
use self::intake::Intake;
use self::login::Login;
use self::registry::Registry;
use super::Local;
use super::daemon::Daemon;
use super::files::Reading;
use crate::image::{Blob, Digest};
use crate::output::megabytes;
use crate::spool::SpoolFile;

#[cfg(feature = "fuzzing")]
pub(super) use self::builder::configuration;

/// What is needed of an image.
#[derive(Debug, Clone)]
pub(super) struct Need {
    pub(super) layers: Vec<Digest>,
    pub(super) config: Option<Digest>,
}

/// All that was needed.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    pub(super) layers: HashMap<Digest, Blob>,
    pub(super) config: Option<SpoolFile>,
}

/// Why there is nothing, for the log.
type Reason = String;

/// Fetches what is needed of an image, if that is faster than an export and everything goes well.
pub(super) async fn fetch(
    daemon: &Daemon,
    local: &Local,
    diff_ids: &[Digest],
    need: &Need,
    reading: &Reading,
) -> Option<Fetched> {
    let limit = match need.layers.as_slice() {
        [] => 0,
        layers => estimate::limit(&daemon.history(&local.id).await.ok()?, diff_ids, layers)?,
    };
    let (result, outcome) = oneshot::channel();
    let stop = CancellationToken::new();
    let _stopped = stop.clone().drop_guard();
    let relay = Relay {
        daemon: daemon.clone(),
        id: local.id.clone(),
        need: need.clone(),
        reading: reading.clone(),
        limit,
    };
    // On its own, because it has to put things back also if nobody waits for it any more.
    daemon.spawn(relay.run(stop, result));
    match outcome.await.unwrap_or_else(|_| Err("it stopped".to_owned())) {
        Ok(fetched) => Some(fetched),
        Err(reason) => {
            tracing::debug!("no relay, so the image is exported: {reason}");
            None
        }
    }
}

struct Relay {
    daemon: Daemon,
    id: String,
    need: Need,
    reading: Reading,
    /// Raw bytes that may pass before an export would have been faster.
    limit: u64,
}

impl Relay {
    async fn run(self, stop: CancellationToken, result: oneshot::Sender<Result<Fetched, Reason>>) {
        let begun = async {
            let login = Login::random()?;
            if self.need.layers.is_empty() {
                let name = format!("localhost/{}", login.name());
                return Ok((login, name, None));
            }
            let (intake, found) = self.intake();
            let registry = Arc::new(Registry::new(&login, intake));
            let door = Door::open(&self.daemon, registry, &login).await?;
            let name = format!("{}/{}", door.address(), login.name());
            Ok((login, name, Some((door, found))))
        };
        // To its end, which is soon: a container that is half made could not be removed.
        let (login, name, mut way) = match begun.await {
            Ok(begun) => begun,
            Err(reason) => {
                let _ = result.send(Err(reason));
                return;
            }
        };
        let fetched = match self.daemon.tag(&self.id, &name, TAG).await {
            Err(error) => Err(error.to_string()),
            Ok(()) => tokio::select! {
                biased;
                () = stop.cancelled() => Err("nobody waits for it".to_owned()),
                fetched = self.fetch(&login, &name, way.as_mut()) => fetched,
            },
        };
        // If nobody waits any more, there is nothing to be told.
        let _ = result.send(fetched);
        self.daemon.forget(&format!("{name}:{TAG}")).await;
        if let Some((door, _)) = way {
            door.close(&self.daemon).await;
        }
    }

    fn intake(&self) -> (Arc<Intake>, UnboundedReceiver<(Digest, Blob)>) {
        let (found, receive) = mpsc::unbounded_channel();
        let layers = self.need.layers.clone();
        (Arc::new(Intake::new(layers, self.limit, self.reading.clone(), found)), receive)
    }

    async fn fetch(
        &self,
        login: &Login,
        name: &str,
        way: Option<&mut (Door, UnboundedReceiver<(Digest, Blob)>)>,
    ) -> Result<Fetched, Reason> {
        let config = async {
            match &self.need.config {
                Some(digest) => self.config(digest, name).await.map(Some),
                None => Ok(None),
            }
        };
        let layers = async {
            match way {
                Some((door, found)) => self.layers(login, name, door, found).await,
                None => Ok(HashMap::new()),
            }
        };
        let (config, layers) = tokio::try_join!(config, layers)?;
        Ok(Fetched { layers, config })
    }

    async fn config(&self, digest: &Digest, name: &str) -> Result<SpoolFile, Reason> {
        let name = format!("{name}:{TAG}");
        let asking = builder::config(&self.daemon, &name);
        let bytes = tokio::time::timeout(BUILDER, asking).await;
        let bytes = bytes.map_err(|_| "the builder does not answer".to_owned())??;
        if Digest::of(&bytes) != *digest {
            return Err("the builder has another configuration".to_owned());
        }
        self.reading.spool.keep(&bytes).map_err(|error| error.to_string())
    }

    async fn layers(
        &self,
        login: &Login,
        name: &str,
        door: &Door,
        found: &mut UnboundedReceiver<(Digest, Blob)>,
    ) -> Result<HashMap<Digest, Blob>, Reason> {
        let collecting = async {
            let mut layers = HashMap::new();
            while !self.need.layers.iter().all(|layer| layers.contains_key(layer)) {
                let Some((digest, blob)) = found.recv().await else { break };
                self.reading.announce(&blob);
                layers.insert(digest, blob);
            }
            layers
        };
        let intake = door.intake();
        let watching = async {
            loop {
                let before = intake.worked();
                tokio::time::sleep(STALL).await;
                if intake.worked() == before {
                    return "the engine sends nothing more";
                }
            }
        };
        let auth = login.for_engine(door.address());
        tokio::select! {
            biased;
            layers = collecting => {
                let passed = megabytes(intake.passed());
                tracing::debug!("layers through a relay: {}, of {passed}", layers.len());
                Ok(layers)
            }
            reason = self.daemon.push_until_error(name, TAG, &auth) => Err(reason),
            () = intake.exceeded() => Err("it takes longer than was expected".to_owned()),
            reason = watching => Err(reason.to_owned()),
        }
    }
}

const TAG: &str = "relay";
/// The builder only looks into the engine's own files.
const BUILDER: Duration = Duration::from_secs(5);
/// An engine that sends nothing for so long is waiting for something else.
const STALL: Duration = Duration::from_secs(15);
