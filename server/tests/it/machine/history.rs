//! A history: steps are done on the real registry and on the model, and the two are compared.

use super::model::{Kept, Model, Package};
use super::operation::{Operation, settings};
use super::step::{Fault, Reclaimed, Step, Wall, Work};
use super::universe::{Plan, Thing, Universe};
use super::world::{World, admin, change, name, tag};
use standpipe_server::domain::{PackageId, Timestamp};
use standpipe_server::fault::{Fault as Injected, Lasting};
use standpipe_server::metadata::{Cause, Freed, GiveUp};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// What differs, in words.
pub(super) type Agreed<T = ()> = Result<T, String>;

macro_rules! ensure {
    ($condition:expr, $($words:tt)+) => {
        if !$condition {
            return Err(format!($($words)+));
        }
    };
}
pub(super) use ensure;

/// How many steps pass between two looks at everything.
const LOOK_EVERY: usize = 8;
/// Rows looked at to answer a question.
pub(super) const PROBES: u64 = 1 << 40;

/// A registry and what is known of it.
pub(super) struct History {
    pub(super) world: World,
    pub(super) model: Model,
    /// Faults so far; each may leave an object without a row.
    pub(super) faults: usize,
    /// What was freed, by event, since this was emptied last.
    pub(super) receipts: Vec<(Cause, Freed)>,
}

/// Runs a whole history.
pub(super) async fn run(plans: &[Plan], steps: &[Step]) -> Agreed {
    let world = World::new().await;
    let universe = Arc::new(Universe::new(plans));
    let model = Model::new(universe, settings(0, 0, 0), world.clock.now());
    let mut history = History { world, model, faults: 0, receipts: Vec::new() };
    for (number, step) in steps.iter().enumerate() {
        let done = history.step(step).await;
        done.map_err(|words| format!("step {number}, {step:?}: {words}"))?;
        let agreed = history.agrees(&history.model, number % LOOK_EVERY == LOOK_EVERY - 1).await;
        agreed.map_err(|words| format!("after step {number}, {step:?}: {words}"))?;
    }
    history.agrees(&history.model, true).await.map_err(|words| format!("at the end: {words}"))?;
    history.settle().await.map_err(|words| format!("after the end: {words}"))
}

impl History {
    pub(super) fn now(&self) -> Timestamp {
        self.world.clock.now()
    }

    async fn step(&mut self, step: &Step) -> Agreed {
        self.world.clock.advance(Duration::from_millis(1));
        self.receipts.clear();
        match step {
            Step::Work(work) => self.work(work).await,
            Step::Push { name, manifest, tag } => self.push(*name, *manifest, Some(*tag)).await,
            Step::Faulty { work, fault, call, seed } => {
                self.faulty(work, *fault, *call, *seed).await
            }
            Step::Reclaim { name, what } => self.reclaim(*name, *what).await,
            Step::ReclaimDeleted(nth) => self.reclaim_deleted(*nth).await,
            Step::Advance(seconds) => {
                self.world.clock.advance(Duration::from_secs(*seconds));
                Ok(())
            }
            Step::Restart(wall) => {
                self.world.restart(wall.after(self.now()));
                self.started().await
            }
            Step::PowerLoss { seed, wall } => {
                self.world.lose_power(*seed, wall.after(self.now()));
                self.faults += 1;
                self.started().await
            }
            Step::Settle => self.settle().await,
            Step::Preview { name, what } => self.preview(*name, what).await,
        }
    }

    async fn work(&mut self, work: &Work) -> Agreed {
        match work {
            Work::Do(operation) => self.execute(operation).await,
            Work::Collect { entries, rows } => self.collect(*entries, *rows).await.map(|_| ()),
            Work::Round => self.round().await.map(|_| ()),
        }
    }

    /// Does an operation that nothing disturbs.
    pub(super) async fn execute(&mut self, operation: &Operation) -> Agreed {
        let mut after = self.model.clone();
        let real =
            self.world.run(&mut after, operation).await.map_err(|error| format!("{error:?}"))?;
        self.done(operation, after, real).await
    }

    /// An operation was answered.
    async fn done(&mut self, operation: &Operation, mut after: Model, real: bool) -> Agreed {
        let fresh = self.fresh(operation).await;
        let shaky = match operation {
            Operation::FinishUpload(nth) => after.session(*nth).filter(|session| !session.whole),
            _ => None,
        };
        if let (Some(session), false) = (shaky, real) {
            self.model.sessions.retain(|other| other.id != session.id);
            return Ok(());
        }
        let expected = after.apply(operation, self.now(), fresh);
        ensure!(real == expected, "{operation:?} was done: {real}, but should be: {expected}");
        self.model = after;
        Ok(())
    }

    /// The id of the package that the operation created, if it did.
    async fn fresh(&self, operation: &Operation) -> PackageId {
        let found = match operation.may_create() {
            Some(number) => self.world.metadata.resolve(&name(number)).await.unwrap().package,
            None => None,
        };
        found.map_or(PackageId(u64::MAX), |(package, _)| package.id)
    }

    /// Pushes a manifest as a client does: first what it needs and is not there.
    fn push(
        &mut self,
        name: u8,
        manifest: u8,
        tag: Option<u8>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Agreed> + '_>> {
        Box::pin(async move {
            let needs: Vec<_> = self.model.universe.needs(manifest).collect();
            for thing in needs {
                match thing {
                    _ if self.model.is_visible(name, thing) => {
                        self.execute(&Operation::Head { name, thing }).await?;
                    }
                    Thing::Blob(blob) => self.execute(&Operation::Upload { name, blob }).await?,
                    Thing::Manifest(child) => self.push(name, child, None).await?,
                }
            }
            self.execute(&Operation::Put { name, manifest, tag }).await
        })
    }

    /// Does something while the storage fails, and finds out what became of it.
    async fn faulty(&mut self, work: &Work, fault: Fault, call: u64, seed: u64) -> Agreed {
        let (injected, lasting) = match fault {
            Fault::Crash => (Injected::Io, Lasting::Forever),
            Fault::Full => (Injected::NoSpace, Lasting::Once),
        };
        self.world.plan.arm(call, injected, lasting);
        let mut after = self.model.clone();
        let real = match work {
            Work::Do(operation) => self.world.run(&mut after, operation).await.unwrap_or(false),
            // What it did is seen below.
            Work::Collect { entries, rows } => {
                self.world.metadata.collect(*entries, *rows).await.is_ok()
            }
            Work::Round if self.model.settings.keep_bytes.is_none() => {
                self.world.registry.collect().await.is_ok()
            }
            Work::Round => true,
        };
        let struck = !self.world.plan.struck().is_empty();
        self.world.plan.disarm();
        if !struck {
            return match work {
                Work::Do(operation) => self.done(operation, after, real).await,
                Work::Collect { .. } | Work::Round => self.sync(&BTreeSet::new()).await,
            };
        }
        self.faults += 1;
        let now = self.now();
        if fault == Fault::Crash {
            self.world.lose_power(seed, now);
        }
        for model in [&mut self.model, &mut after] {
            model.sessions.iter_mut().for_each(|session| session.whole = false);
        }
        if let Work::Do(operation) = work {
            self.find_out(operation, after, real, now).await?;
        }
        match fault {
            Fault::Crash => self.started().await,
            Fault::Full => self.sync(&BTreeSet::new()).await,
        }
    }

    /// An operation failed in the storage: it is whole or absent, and reading tells which.
    async fn find_out(
        &mut self,
        operation: &Operation,
        after: Model,
        acknowledged: bool,
        now: Timestamp,
    ) -> Agreed {
        let fresh = self.fresh(operation).await;
        let before = self.model.clone();
        let mut done = if acknowledged { after } else { before.clone() };
        let possible = done.apply(operation, now, fresh);
        let mut candidates = if acknowledged { Vec::new() } else { vec![before.clone()] };
        if let (Some(name), false) = (operation.may_create(), acknowledged)
            && before.named(name).is_none()
            && fresh != PackageId(u64::MAX)
        {
            let mut created = before;
            created.packages.insert(fresh, Package { name, ..Package::default() });
            candidates.push(created);
        }
        if possible {
            candidates.push(done);
        }
        let mut words = Vec::new();
        for candidate in candidates {
            match self.agrees(&candidate, true).await {
                Ok(()) => {
                    self.model = candidate;
                    return Ok(());
                }
                Err(why) => words.push(why),
            }
        }
        Err(format!("{operation:?} is neither whole nor absent: {words:#?}"))
    }

    /// The server was started again.
    async fn started(&mut self) -> Agreed {
        let report = self.world.start_up().await;
        ensure!(
            self.faults > 0 || report == Default::default(),
            "an orderly stop left something over: {report:?}"
        );
        // What collection did before the stop, it did under the old start's rules.
        self.sync(&BTreeSet::new()).await?;
        self.model.boot = self.now();
        let crashed = self.model.sessions.iter().any(|session| !session.whole) || self.faults > 0;
        if crashed {
            self.drop_lost_sessions().await;
        }
        self.enforce_cap().await
    }

    async fn drop_lost_sessions(&mut self) {
        for mut session in std::mem::take(&mut self.model.sessions) {
            if self.world.metadata.upload(session.id).await.unwrap().is_some() {
                session.whole = false;
                self.model.sessions.push(session);
            }
        }
    }

    /// One step of collection with a small budget.
    pub(super) async fn collect(&mut self, entries: usize, rows: u64) -> Agreed<bool> {
        let collected = self.world.metadata.collect(entries, rows).await;
        let collected = collected.map_err(|error| format!("{error:?}"))?;
        self.receipts.extend(collected.receipts);
        self.sync(&BTreeSet::new()).await?;
        if !collected.caps.is_empty() {
            self.enforce_cap().await?;
        }
        let doomed = self.world.metadata.doomed(16).await.unwrap();
        for object in &doomed {
            self.world.blobs.delete(*object).await.unwrap();
        }
        self.world.metadata.forget_doomed(&doomed).await.unwrap();
        Ok(collected.more || !doomed.is_empty())
    }

    /// One round as the registry runs it.
    pub(super) async fn round(&mut self) -> Agreed<bool> {
        if self.model.settings.keep_bytes.is_some() {
            // What a cap gives up can only be told if it is looked at by itself.
            return self.collect(64, 400).await;
        }
        let round = self.world.registry.collect().await.map_err(|error| format!("{error:?}"))?;
        self.receipts.extend(round.receipts);
        self.sync(&BTreeSet::new()).await?;
        Ok(round.more)
    }

    /// Rounds until nothing is due.
    pub(super) async fn collect_all(&mut self) -> Agreed {
        for _ in 0..1000 {
            if !self.round().await? {
                return Ok(());
            }
        }
        Err("collection never ends".to_owned())
    }

    async fn enforce_cap(&mut self) -> Agreed {
        let Some(cap) = self.model.settings.keep_bytes else { return Ok(()) };
        let beyond = self.model.beyond_cap(self.now());
        let enforced = self.world.metadata.enforce_cap(self.world.workspace, PROBES).await;
        enforced.map_err(|error| format!("{error:?}"))?;
        self.sync(&beyond).await?;
        let kept = self.model.kept_bytes(self.now());
        ensure!(kept <= cap, "{kept} bytes are kept, which is over the cap of {cap}");
        Ok(())
    }

    async fn reclaim(&mut self, number: u8, what: Reclaimed) -> Agreed {
        let Some(id) = self.model.named(number) else { return Ok(()) };
        let package = &self.model.packages[&id];
        let mut allowed = BTreeSet::new();
        for event in &package.events {
            let wanted = match what {
                Reclaimed::All => true,
                Reclaimed::Tag(tag) => event.tag == tag,
                Reclaimed::Thing(thing) => event.from.map(Thing::Manifest) == Some(thing),
            };
            if wanted && event.keeps {
                allowed.insert(Kept::Event(id, event.tag, event.at));
            }
        }
        for thing in package.things.keys() {
            if what == Reclaimed::All || what == Reclaimed::Thing(*thing) {
                allowed.insert(Kept::Hidden(id, *thing));
            }
        }
        let what = match what {
            Reclaimed::All => GiveUp::All,
            Reclaimed::Tag(number) => GiveUp::Tag(tag(number)),
            Reclaimed::Thing(thing) => GiveUp::Digest(self.model.universe.digest(thing)),
        };
        if self.model.settings.keep_bytes.is_none() {
            let access = self.world.administered(id).await.unwrap();
            self.world.registry.reclaim(&access, &change(), &what).await.unwrap();
        } else {
            while self.world.metadata.give_up(&change(), id, &what).await.unwrap().1 {}
        }
        self.sync(&allowed).await?;
        for kept in allowed {
            if let Kept::Event(id, tag, at) = kept {
                let event = self.model.packages[&id].event(tag, at);
                let keeps = event.is_some_and(|event| event.keeps);
                ensure!(!keeps, "{event:?} was not given up");
            }
        }
        Ok(())
    }

    async fn reclaim_deleted(&mut self, nth: u8) -> Agreed {
        let Some(id) = self.model.deleted(nth) else { return Ok(()) };
        let acme = "acme".parse().unwrap();
        let access = self.world.registry.workspace_admin(&admin(), &acme).await.unwrap();
        let proof = self.world.registry.restorable(&access, id).await;
        let expected = !self.model.packages[&id].given_up;
        ensure!(proof.is_ok() == expected, "package {id} can be given up: {}", proof.is_ok());
        let Ok(proof) = proof else { return Ok(()) };
        if self.model.settings.keep_bytes.is_none() {
            self.world.registry.reclaim_deleted(&proof, &change()).await.unwrap();
        } else {
            self.world.metadata.give_up(&change(), id, &GiveUp::All).await.unwrap();
        }
        self.sync(&BTreeSet::from([Kept::Package(id)])).await
    }
}

impl Wall {
    /// What the wall clock says after a restart.
    const fn after(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Right => now,
            Self::Back(hours) => Timestamp(now.0.saturating_sub(hours as u64 * 3_600_000)),
            Self::Ahead(hours) => Timestamp(now.0 + hours as u64 * 3_600_000),
        }
    }
}
