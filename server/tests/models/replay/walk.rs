//! One walk: the model, the core and the deadlines go on together, one move at a time.

use super::core::Core;
use super::deadlines::Deadlines;
use super::seeded::Seeded;
use crate::rows::{CLIENTS, Doomed, Item, OBJECTS, PACKAGES, Stage, State};
use crate::world::{Action, Step, World};
use standpipe_server::domain::{ObjectKey, Timestamp, UploadId, WorkspaceSettings};
use standpipe_server::metadata::{DueEntry, MetadataError};
use stateright::Model as _;
use std::time::Duration;

/// What was found wrong, in words.
pub(super) type Check<T = ()> = Result<T, String>;

/// What is due, by package.
pub(super) type Entries = Vec<Vec<DueEntry>>;

/// An answer of the core that nothing in a walk may cause.
pub(super) fn failed(error: MetadataError) -> String {
    format!("the core answers {error:?}")
}

/// Compares what the core says with what the model says.
pub(super) fn same<T: PartialEq + std::fmt::Debug>(what: &str, core: T, model: T) -> Check {
    if core == model {
        return Ok(());
    }
    Err(format!("{what}: the core says {core:?}, the model {model:?}"))
}

/// What may come next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Move {
    /// A step of the model that nothing but chance decides on.
    Do(Action),
    /// Time passes; the model's clocks follow.
    Wait,
    /// One entry is reviewed; the model's collector follows.
    Collect,
    /// Somebody asks for what must be refused.
    Refused,
}

pub(super) struct Walk {
    pub(super) world: World,
    pub(super) state: State,
    pub(super) core: Core,
    pub(super) deadlines: Deadlines,
    pub(super) random: Seeded,
    /// What the model did, with the time at which it did it.
    pub(super) trace: Vec<(u64, Action)>,
    /// Items that occur in this world.
    pub(super) items: Vec<Item>,
    /// What was due after the last step.
    pub(super) entries: Entries,
    /// Uploads under way, by client.
    pub(super) uploads: [Option<(UploadId, ObjectKey)>; CLIENTS],
    /// The core's names of the model's objects.
    pub(super) objects: [Option<ObjectKey>; OBJECTS],
}

impl Walk {
    pub(super) async fn new(world: World, random: Seeded, settings: WorkspaceSettings) -> Self {
        let core = Core::new(&world, settings.clone()).await;
        let state = world.init_states().remove(0);
        let items = Item::all().filter(|item| occurs(&world, &state, *item)).collect();
        Self {
            deadlines: Deadlines::new(settings.grant()),
            world,
            state,
            core,
            random,
            trace: Vec::new(),
            items,
            entries: Entries::new(),
            uploads: [None; CLIENTS],
            objects: [None; OBJECTS],
        }
    }

    /// Does in the core what the model has done before it begins.
    pub(super) async fn prepare(&mut self) -> Check {
        let nothing = State::default();
        for package in 0..PACKAGES as u8 {
            let rows = self.state.packages[usize::from(package)];
            if rows.live {
                self.core.create(package).await.map_err(failed)?;
            }
            for item in Item::all().filter(|item| rows.row(*item).is_some()) {
                if item.is_blob() {
                    let upload = self.core.start_upload(package).await.map_err(failed)?;
                    self.core.finish_upload(upload, item).await.map_err(failed)?;
                    if let Some(object) = self.state.blobs[item.index()] {
                        self.objects[usize::from(object)] = Some(upload.1);
                    }
                } else {
                    let tags = (0u8..).zip(rows.tags).filter(|(_, to)| *to == Some(item));
                    let tags: Vec<u8> = tags.map(|(tag, _)| tag).collect();
                    self.core.put(package, item, &tags).await.map_err(failed)?;
                }
                self.deadlines.pushed(&nothing, package, item, self.core.now());
            }
        }
        self.compare().await
    }

    pub(super) fn now(&self) -> Timestamp {
        self.core.now()
    }

    /// Takes a step of the model, and what the clock says of the state it leads to.
    pub(super) fn take(&mut self, action: Action) -> Check {
        self.follow(action)?;
        self.tick()
    }

    fn follow(&mut self, action: Action) -> Check {
        let mut allowed = Vec::new();
        self.world.actions(&self.state, &mut allowed);
        if !allowed.contains(&action) {
            return Err(format!("the core did {action:?}, and the model does not allow it now"));
        }
        let before = self.state;
        let next = self.world.next_state(&before, action);
        self.state = next.ok_or_else(|| format!("{action:?} leads nowhere"))?;
        self.trace.push((self.now().0, action));
        let (now, purge) = (self.now(), self.core.settings.purge);
        for (number, object) in self.state.objects.iter().enumerate() {
            let known = before.objects[number].doomed;
            match object.doomed {
                Some(Doomed::Loser) if known.is_none() => self.deadlines.purge[number] = now,
                Some(Doomed::Collected) if known.is_none() => {
                    self.deadlines.purge[number] = now.plus(purge);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Ends the model's clocks whose time is over.
    pub(super) fn tick(&mut self) -> Check {
        loop {
            let mut actions = Vec::new();
            self.world.actions(&self.state, &mut actions);
            let now = self.now();
            let over = actions.into_iter().find(|one| self.deadlines.is_over(*one, now));
            match over {
                Some(over) => self.follow(over)?,
                None => return Ok(()),
            }
        }
    }

    /// One move, and the comparison after it.
    pub(super) async fn step(&mut self) -> Check {
        let moves = self.moves();
        match self.random.pick(&moves) {
            Move::Do(Action::Client(one)) => self.client(one).await?,
            Move::Do(action) => self.act(action).await?,
            Move::Wait => self.wait()?,
            Move::Collect => self.collect().await.map(|_| ())?,
            Move::Refused => self.refused().await?,
        }
        self.compare().await
    }

    /// What may come next; what stands there more often is more likely.
    fn moves(&self) -> Vec<Move> {
        let mut moves = vec![Move::Wait, Move::Wait, Move::Refused];
        if self.entries.iter().flatten().any(|entry| entry.at <= self.now()) {
            moves.extend([Move::Collect; 6]);
        }
        if self.state.clients.iter().any(|one| one.stage == Stage::Looked) {
            // Between the two transactions of a HEAD.
            moves.extend([Move::Wait, Move::Collect].repeat(3));
        }
        let mut actions = Vec::new();
        self.world.actions(&self.state, &mut actions);
        for action in actions {
            let times = match action {
                Action::Client(one) => match self.state.clients[usize::from(one)].stage {
                    Stage::Done | Stage::Refused => 1,
                    _ => 4,
                },
                // These follow the core's clock and the core's collector.
                Action::LeaseEnds(..)
                | Action::HidingEnds(..)
                | Action::KeptEnds(..)
                | Action::PackageKeepEnds(_)
                | Action::Review(..)
                | Action::ReviewKept(..)
                | Action::RemovalPage(_) => 0,
                Action::Unlink(object) => {
                    usize::from(self.deadlines.purge[usize::from(object)] <= self.now())
                }
                _ => 1,
            };
            moves.extend(std::iter::repeat_n(Move::Do(action), times));
        }
        moves
    }

    fn wait(&mut self) -> Check {
        let now = self.now();
        let to_come = self.deadlines.to_come(&self.state, now);
        let to = match (to_come.first(), self.random.below(4)) {
            (Some(first), 0) => Timestamp(now.0 + (first.0 - now.0) / 2),
            (Some(_), 1) => self.random.pick(&to_come),
            (Some(first), _) => *first,
            (None, _) => now.plus(self.core.settings.lease / 2),
        };
        self.advance_to(to)
    }

    pub(super) fn advance_to(&mut self, to: Timestamp) -> Check {
        self.core.clock.advance(to.since(self.now()));
        self.tick()
    }

    /// Ends a walk: all that is due is collected; sometimes all clocks run out first.
    pub(super) async fn finish(&mut self) -> Check {
        let rounds = if self.random.below(8) == 0 { 4 } else { 0 };
        for round in 0..=rounds {
            if round > 0 {
                let last = self.deadlines.to_come(&self.state, self.now()).pop();
                let Some(last) = last else { break };
                self.advance_to(last.plus(Duration::from_secs(60)))?;
            }
            let mut reviews = 0;
            while self.collect().await? {
                reviews += 1;
                if reviews > 200 {
                    return Err("collection does not come to an end".to_owned());
                }
            }
            self.compare().await?;
        }
        self.compare_restorable().await?;
        if self.random.below(8) == 0 {
            let found = self.core.check().await.map_err(failed)?;
            same("the recount", found, Vec::new())?;
        }
        Ok(())
    }
}

/// Whether anything in a world is about an item.
fn occurs(world: &World, state: &State, item: Item) -> bool {
    let scripts = world.scripts.iter().flat_map(|script| script.iter());
    let mut named = scripts.map(|step| match step {
        Step::Push(one) | Step::Mount { blob: one, .. } => *one,
        Step::Head { manifest, .. } | Step::Put { manifest, .. } => *manifest,
    });
    named.any(|one| one == item) || state.packages.iter().any(|one| one.row(item).is_some())
}
