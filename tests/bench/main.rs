//! Compares the server with Debian's `docker-registry`, side by side in one run.
//!
//! Figures of a shared machine mean little by themselves, so both registries run at the same time, take
//! turns within each round, and what counts is the ratio within a round. It reports; it never fails
//! because something was slow.

mod contender;
mod syncs;
mod table;
mod wire;
mod workloads;

use std::io::{self, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use contender::{Contender, Distribution, Standpipe};
use standpipe_tests::environment::{number, text};
use standpipe_tests::manifest::Manifest;
use table::{Line, markdown, median};

/// Tags that are listed.
const TAGS: usize = 10_000;
/// What the pushing process gets its credential in.
const AUTHORIZATION: &str = "STANDPIPE_BENCH_AUTHORIZATION";
/// More than a turn at large blobs puts into the page cache.
const TOUCHED_MIB: usize = 3 << 10;
/// Clients that push while the latency of a reader is measured.
const PUSHERS: u64 = 8;

fn main() -> io::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [word, authority, clients] = &arguments[..]
        && word == "push"
    {
        let clients = clients.parse().map_err(io::Error::other)?;
        return workloads::push_for_ever(authority, text(AUTHORIZATION).as_deref(), clients);
    }
    let rounds = number("STANDPIPE_BENCH_ROUNDS").unwrap_or(5);
    let seconds = number("STANDPIPE_BENCH_SECONDS").unwrap_or(4);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ours, theirs) = runtime.block_on(async {
        io::Result::Ok((Standpipe::start().await, Distribution::start().await?))
    })?;
    say(&format!("{rounds} rounds of {seconds} s; {}", Distribution::version()))?;
    let only = text("STANDPIPE_BENCH_ONLY");
    let bench = Bench { sides: [&ours, &theirs], time: Duration::from_secs(seconds), only };
    let images = bench.prepare()?;
    let mut lines = lines();
    for round in 0..rounds {
        bench.round(round, &images, &mut lines)?;
        say(&format!("round {} of {rounds}", round + 1))?;
    }
    let peak = &mut lines[PEAK];
    (peak.ours, peak.theirs) = (vec![mib(ours.peak())], vec![mib(theirs.peak())]);
    if bench.wants("syncs") {
        bench.count_syncs(&mut lines)?;
    }
    say("")?;
    say(&markdown(ours.name(), theirs.name(), &lines))?;
    if bench.wants("tails") { bench.tails(rounds, &images) } else { Ok(()) }
}

/// Uses free memory once and gives it back. On a virtual machine the host hands a page out when it is first
/// touched, and that counts as processor time of whoever touches it: up to two seconds for a GiB, more than
/// all the work that is measured. What was touched just now is handed out again first, and without that.
fn touch_free_memory() {
    let touched: Vec<_> = (0..TOUCHED_MIB).map(|_| vec![1u8; 1 << 20]).collect();
    drop(touched);
}

/// A turn of every workload for both sides.
struct Bench<'a> {
    sides: [&'a dyn Contender; 2],
    time: Duration,
    /// The workload to run; all of them without it.
    only: Option<String>,
}

const SMALL: usize = 0;
const GET: usize = 1;
const HEAD: usize = 2;
const FIRST_CPU: usize = 3;
const PULL_CPU: usize = 4;
const PULL_RATE: usize = 5;
const PUSH_CPU: usize = 6;
const PUSH_RATE: usize = 7;
const LIST: usize = 8;
const PEAK: usize = 9;
const SYNCS_SMALL: usize = 10;
const SYNCS_LARGE: usize = 11;

fn lines() -> Vec<Line> {
    let line = |what: &str, unit, digits, goal| Line {
        what: what.to_owned(),
        unit,
        digits,
        goal,
        ..Line::default()
    };
    vec![
        line("small images pushed, 8 clients", "/s", 0, "≥ 4"),
        line("manifests read, 8 clients", "/s", 0, "≥ 4"),
        line("blob HEAD, 8 clients", "/s", 0, "≥ 4"),
        line("processor time for the first pull of 1 GiB", "s", 2, ""),
        line("processor time to pull 1 GiB again", "s", 2, "≤ 0.6"),
        line("pulling, 4 clients", "MiB/s", 0, ""),
        line("processor time to push 1 GiB", "s", 2, "≤ 0.6"),
        line("pushing, 4 clients", "MiB/s", 0, ""),
        line("list of 10,000 tags", "ms", 1, "≤ 0.2"),
        line("most memory ever resident", "MiB", 0, "≤ 1"),
        line("syncs for a small image, one client", "", 1, ""),
        line("syncs for a blob of 256 MiB", "", 0, ""),
    ]
}

impl Bench<'_> {
    fn wants(&self, workload: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.split(',').any(|one| one == workload))
    }

    fn prepare(&self) -> io::Result<Vec<Manifest>> {
        let mut images = Vec::new();
        for side in self.sides {
            images = workloads::prepare(side)?;
            workloads::fill_tags(side, TAGS)?;
            say(&format!("{}: prepared", side.name()))?;
        }
        Ok(images)
    }

    fn round(&self, round: u64, images: &[Manifest], lines: &mut [Line]) -> io::Result<()> {
        let blobs = workloads::large_blobs(round);
        // Whoever is first in one round is second in the next.
        let order = if round.is_multiple_of(2) { [0, 1] } else { [1, 0] };
        let mut add = |side: usize, line: usize, value: f64| {
            let line = &mut lines[line];
            if side == 0 { line.ours.push(value) } else { line.theirs.push(value) }
        };
        let wanted = |workload| order.into_iter().filter(move |_| self.wants(workload));
        for side in wanted("small") {
            add(side, SMALL, workloads::small_pushes(self.sides[side], self.time, round)?);
        }
        for side in wanted("manifests") {
            add(side, GET, workloads::manifests(self.sides[side], self.time, images)?);
        }
        for side in wanted("heads") {
            add(side, HEAD, workloads::heads(self.sides[side], self.time)?);
        }
        for side in wanted("large") {
            touch_free_memory();
            let pushed = workloads::push_large(self.sides[side], &blobs)?;
            add(side, PUSH_CPU, pushed.cpu);
            add(side, PUSH_RATE, pushed.rate);
        }
        for side in wanted("large") {
            add(side, FIRST_CPU, workloads::pull_large(self.sides[side], &blobs)?.cpu);
            let pulled = workloads::pull_large(self.sides[side], &blobs)?;
            add(side, PULL_CPU, pulled.cpu);
            add(side, PULL_RATE, pulled.rate);
        }
        for side in wanted("tags") {
            add(side, LIST, workloads::list_tags(self.sides[side], TAGS)?);
        }
        Ok(())
    }

    fn count_syncs(&self, lines: &mut [Line]) -> io::Result<()> {
        const PUSHES: u64 = 50;
        for (side, contender) in self.sides.into_iter().enumerate() {
            let small = syncs::count(contender.pid(), || {
                let mut wire = contender.wire()?;
                (0..PUSHES).try_for_each(|seed| {
                    workloads::push_image(&mut wire, "acme/bench", 50_000_000 + seed).map(drop)
                })
            })?;
            let blobs = workloads::large_blobs(50);
            let large = syncs::count(contender.pid(), || {
                workloads::push_large(contender, &blobs[..1]).map(drop)
            })?;
            for (line, count) in
                [(SYNCS_SMALL, small as f64 / PUSHES as f64), (SYNCS_LARGE, large as f64)]
            {
                let line = &mut lines[line];
                if side == 0 { line.ours.push(count) } else { line.theirs.push(count) }
            }
        }
        Ok(())
    }

    /// The slowest hundredth of a reader's requests, alone and beside large pushes.
    fn tails(&self, rounds: u64, images: &[Manifest]) -> io::Result<()> {
        say("p99 of manifest requests, one reader:")?;
        for side in self.sides {
            match self.tail(side, rounds, images) {
                Ok((quiet, busy)) => say(&format!(
                    "- {}: {quiet:.2} ms alone, {busy:.2} ms while {PUSHERS} clients push 256 MiB blobs: {:.1} times",
                    side.name(),
                    busy / quiet
                ))?,
                // What one side cannot do must not hide what the other one can.
                Err(error) => say(&format!("- {}: not measured: {error}", side.name()))?,
            }
        }
        Ok(())
    }

    fn tail(
        &self,
        side: &dyn Contender,
        rounds: u64,
        images: &[Manifest],
    ) -> io::Result<(f64, f64)> {
        let (mut quiet, mut busy) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            quiet.push(workloads::latency(side, self.time, images)?);
            touch_free_memory();
            let _pushers = Pushers::start(side)?;
            busy.push(workloads::latency(side, self.time, images)?);
        }
        Ok((median(&quiet), median(&busy)))
    }
}

/// Clients that push, in a process of their own that runs only when nobody else wants a processor: they
/// stand for other machines, which take none of the server's.
struct Pushers(Child);

impl Pushers {
    fn start(side: &dyn Contender) -> io::Result<Self> {
        let mut child = Command::new("chrt")
            .args(["--idle", "0"])
            .arg(std::env::current_exe()?)
            .args(["push", side.authority(), &PUSHERS.to_string()])
            .env(AUTHORIZATION, side.authorization().unwrap_or_default())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut word = [0; 7];
        if let Some(said) = &mut child.stdout {
            said.read_exact(&mut word)?;
        }
        Ok(Self(child))
    }
}

impl Drop for Pushers {
    fn drop(&mut self) {
        // Our own child; if it has ended already there is nothing to do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}
