//! What the contenders are made to do, and what of it is measured.
//!
//! Invariant: a workload does the same with every contender, and checks every answer: a registry that
//! refuses quickly must not look fast.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use standpipe_tests::manifest::{IMAGE, Manifest};
use standpipe_tests::payload::{Payload, digest_of};

use crate::contender::Contender;
use crate::table::median;
use crate::wire::{Answer, Wire};

/// Connections of a workload of small requests.
const CONNECTIONS: usize = 8;
/// Connections of a workload of large blobs.
const STREAMS: usize = 4;
const MIB: u64 = 1 << 20;
/// A large blob.
const LARGE: u64 = 256 * MIB;
/// Images that are there to be read.
pub(crate) const IMAGES: usize = 100;

/// Processor time and rate of moving large blobs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moved {
    /// Processor seconds of the registry for a GiB.
    pub(crate) cpu: f64,
    /// MiB per second of wall clock.
    pub(crate) rate: f64,
}

/// Fails unless the answer has this status.
fn expect(answer: Answer, status: u16, what: &str) -> io::Result<Answer> {
    if answer.status == status {
        return Ok(answer);
    }
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    Err(io::Error::other(format!("{what}: {} instead of {status}: {body}", answer.status)))
}

/// Pushes a blob as docker does: POST, then one PATCH, then PUT; a small one in the PUT alone.
fn push_small(wire: &mut Wire, name: &str, bytes: &[u8]) -> io::Result<()> {
    let begun = wire.ask("POST", &format!("/v2/{name}/blobs/uploads/"), "", b"")?;
    let location = expect(begun, 202, "POST")?.location.unwrap_or_default();
    let joint = if location.contains('?') { '&' } else { '?' };
    let target = format!("{location}{joint}digest={}", digest_of(bytes));
    let headers = "Content-Type: application/octet-stream\r\n";
    expect(wire.ask("PUT", &target, headers, bytes)?, 201, "PUT").map(drop)
}

fn put_manifest(wire: &mut Wire, name: &str, tag: &str, manifest: &Manifest) -> io::Result<()> {
    let headers = format!("Content-Type: {IMAGE}\r\n");
    let target = format!("/v2/{name}/manifests/{tag}");
    expect(wire.ask("PUT", &target, &headers, &manifest.bytes)?, 201, "PUT of a manifest").map(drop)
}

/// A whole small image: config, layer of 1 KiB, manifest.
pub(crate) fn push_image(wire: &mut Wire, name: &str, seed: u64) -> io::Result<Manifest> {
    let layers = [Payload::new(seed, 1024)];
    push_small(wire, name, &layers[0].bytes())?;
    push_small(wire, name, &Manifest::config(seed, &layers))?;
    let manifest = Manifest::image(seed, &layers);
    put_manifest(wire, name, &format!("t{seed}"), &manifest)?;
    Ok(manifest)
}

/// Runs `work` on connections of their own until the time is over; returns how often it was done per
/// second.
fn rate(
    contender: &dyn Contender,
    time: Duration,
    work: impl Fn(&mut Wire, u64) -> io::Result<()> + Sync,
) -> io::Result<f64> {
    let (next, over, done) = (AtomicU64::new(0), AtomicBool::new(false), AtomicU64::new(0));
    let wires = (0..CONNECTIONS).map(|_| contender.wire()).collect::<io::Result<Vec<_>>>()?;
    let start = Instant::now();
    thread::scope(|scope| {
        let workers: Vec<_> = wires
            .into_iter()
            .map(|mut wire| {
                let (next, over, done, work) = (&next, &over, &done, &work);
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        work(&mut wire, next.fetch_add(1, Ordering::Relaxed))?;
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        thread::sleep(time);
        over.store(true, Ordering::Relaxed);
        joined(workers)
    })
    .map(|()| done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64())
}

/// Small images pushed per second, each with content of its own.
pub(crate) fn small_pushes(
    contender: &dyn Contender,
    time: Duration,
    round: u64,
) -> io::Result<f64> {
    let first = (round + 1) * 1_000_000;
    rate(contender, time, |wire, number| push_image(wire, "acme/bench", first + number).map(drop))
}

/// Images to read; returns their manifests and the digests of their layers.
pub(crate) fn prepare(contender: &dyn Contender) -> io::Result<Vec<Manifest>> {
    let mut wire = contender.wire()?;
    (0..IMAGES as u64).map(|seed| push_image(&mut wire, "acme/steady", seed)).collect()
}

/// Manifests per second: a tag and a digest in turn, as clients ask for them.
pub(crate) fn manifests(
    contender: &dyn Contender,
    time: Duration,
    images: &[Manifest],
) -> io::Result<f64> {
    let digests: Vec<_> = images.iter().map(Manifest::digest).collect();
    rate(contender, time, |wire, number| one_manifest(wire, number, &digests))
}

fn one_manifest(wire: &mut Wire, number: u64, digests: &[String]) -> io::Result<()> {
    let image = (number / 2) as usize % digests.len();
    let target = match number % 2 {
        0 => format!("/v2/acme/steady/manifests/t{image}"),
        _ => format!("/v2/acme/steady/manifests/{}", digests[image]),
    };
    let answer = wire.count("GET", &target, &format!("Accept: {IMAGE}\r\n"))?;
    expect(answer, 200, "GET of a manifest").map(drop)
}

/// Answers to HEAD of blobs per second.
pub(crate) fn heads(contender: &dyn Contender, time: Duration) -> io::Result<f64> {
    let digests: Vec<_> =
        (0..IMAGES as u64).map(|seed| Payload::new(seed, 1024).digest()).collect();
    rate(contender, time, |wire, number| {
        let digest = &digests[number as usize % digests.len()];
        let answer = wire.count("HEAD", &format!("/v2/acme/steady/blobs/{digest}"), "")?;
        expect(answer, 200, "HEAD of a blob").map(drop)
    })
}

/// Large blobs of a round, with their digests.
pub(crate) fn large_blobs(round: u64) -> Vec<(Payload, String)> {
    let blobs =
        (0..STREAMS as u64).map(|stream| Payload::new(7_000_000 + round * 100 + stream, LARGE));
    blobs.map(|blob| (blob.clone(), blob.digest())).collect()
}

/// Pushes large blobs at once.
pub(crate) fn push_large(
    contender: &dyn Contender,
    blobs: &[(Payload, String)],
) -> io::Result<Moved> {
    moved(contender, blobs.len(), |wire, number| {
        let (blob, digest) = &blobs[number];
        push_streamed(wire, "acme/large", blob, digest)
    })
}

fn push_streamed(wire: &mut Wire, name: &str, blob: &Payload, digest: &str) -> io::Result<()> {
    let begun = wire.ask("POST", &format!("/v2/{name}/blobs/uploads/"), "", b"")?;
    let location = expect(begun, 202, "POST")?.location.unwrap_or_default();
    let pieces =
        (0..blob.length() / MIB).map(|mib| blob.range(mib * MIB, (mib + 1) * MIB).to_vec());
    let sent = wire.stream("PATCH", &location, pieces, blob.length())?;
    let location = expect(sent, 202, "PATCH")?.location.unwrap_or_default();
    let joint = if location.contains('?') { '&' } else { '?' };
    let closed = wire.ask("PUT", &format!("{location}{joint}digest={digest}"), "", b"")?;
    expect(closed, 201, "PUT").map(drop)
}

/// Pulls large blobs at once.
pub(crate) fn pull_large(
    contender: &dyn Contender,
    blobs: &[(Payload, String)],
) -> io::Result<Moved> {
    moved(contender, blobs.len(), |wire, number| {
        let answer = wire.count("GET", &format!("/v2/acme/large/blobs/{}", blobs[number].1), "")?;
        let answer = expect(answer, 200, "GET of a blob")?;
        if answer.length == LARGE { Ok(()) } else { Err(io::Error::other("a blob was cut off")) }
    })
}

fn moved(
    contender: &dyn Contender,
    blobs: usize,
    work: impl Fn(&mut Wire, usize) -> io::Result<()> + Sync,
) -> io::Result<Moved> {
    let wires = (0..blobs).map(|_| contender.wire()).collect::<io::Result<Vec<_>>>()?;
    let (start, before) = (Instant::now(), contender.cpu());
    thread::scope(|scope| {
        let workers: Vec<_> = wires
            .into_iter()
            .enumerate()
            .map(|(number, mut wire)| {
                let work = &work;
                scope.spawn(move || work(&mut wire, number))
            })
            .collect();
        joined(workers)
    })?;
    let gibibytes = (blobs as u64 * LARGE) as f64 / (1024.0 * MIB as f64);
    Ok(Moved {
        cpu: (contender.cpu() - before) / gibibytes,
        rate: gibibytes * 1024.0 / start.elapsed().as_secs_f64(),
    })
}

/// Milliseconds for the whole list of tags, following its pages: the median of some lists, since what
/// other work has left to be written to the disk disturbs some of them.
pub(crate) fn list_tags(contender: &dyn Contender, expected: usize) -> io::Result<f64> {
    const LISTS: usize = 50;
    let mut wire = contender.wire()?;
    let lists = (0..LISTS).map(|_| list_once(&mut wire, expected));
    Ok(median(&lists.collect::<io::Result<Vec<_>>>()?))
}

fn list_once(wire: &mut Wire, expected: usize) -> io::Result<f64> {
    let start = Instant::now();
    let (mut next, mut pages) = (Some("/v2/acme/tags/tags/list".to_owned()), Vec::new());
    while let Some(target) = next {
        let answer = expect(wire.ask("GET", &target, "", b"")?, 200, "GET of tags")?;
        pages.push(answer.body);
        next = answer.next;
    }
    let took = start.elapsed().as_secs_f64() * 1000.0;
    let mut found = 0;
    for page in pages {
        let list: serde_json::Value = serde_json::from_slice(&page).map_err(io::Error::other)?;
        found += list["tags"].as_array().map_or(0, Vec::len);
    }
    if found == expected { Ok(took) } else { Err(io::Error::other(format!("{found} tags"))) }
}

/// Makes the package whose tags are listed.
pub(crate) fn fill_tags(contender: &dyn Contender, tags: usize) -> io::Result<()> {
    let mut wire = contender.wire()?;
    let layers = [Payload::new(1, 1024)];
    push_small(&mut wire, "acme/tags", &layers[0].bytes())?;
    push_small(&mut wire, "acme/tags", &Manifest::config(1, &layers))?;
    contender.fill_tags("acme/tags", tags, &Manifest::image(1, &layers).bytes, IMAGE)
}

/// Pushes large blobs again and again, as so many clients at once, until somebody ends the process.
/// Prints a line when it begins.
pub(crate) fn push_for_ever(
    authority: &str,
    authorization: Option<&str>,
    clients: u64,
) -> io::Result<()> {
    let blobs: Vec<_> = (0..clients)
        .map(|client| Payload::new(9_000_000 + client, LARGE))
        .map(|blob| (blob.clone(), blob.digest()))
        .collect();
    writeln!(io::stdout().lock(), "pushing")?;
    thread::scope(|scope| {
        let workers: Vec<_> = blobs
            .iter()
            .map(|(blob, digest)| {
                scope.spawn(move || -> io::Result<()> {
                    let mut wire = Wire::open(authority, authorization)?;
                    loop {
                        push_streamed(&mut wire, "acme/large", blob, digest)?;
                    }
                })
            })
            .collect();
        joined(workers)
    })
}

/// The 99th percentile of one reader's manifest requests in milliseconds.
pub(crate) fn latency(
    contender: &dyn Contender,
    time: Duration,
    images: &[Manifest],
) -> io::Result<f64> {
    let digests: Vec<_> = images.iter().map(Manifest::digest).collect();
    let mut wire = contender.wire()?;
    let (start, mut taken) = (Instant::now(), Vec::new());
    let mut number = 0;
    while start.elapsed() < time {
        let before = Instant::now();
        one_manifest(&mut wire, number, &digests)?;
        taken.push(before.elapsed());
        number += 1;
        // A client has something to do between two requests.
        thread::sleep(Duration::from_millis(1));
    }
    taken.sort_unstable();
    let slowest = taken.get(taken.len() * 99 / 100);
    let slowest = slowest.ok_or_else(|| io::Error::other("no request was done"))?;
    Ok(slowest.as_secs_f64() * 1000.0)
}

/// Waits for all workers; the first failure is everybody's.
fn joined(workers: Vec<ScopedJoinHandle<'_, io::Result<()>>>) -> io::Result<()> {
    workers.into_iter().try_for_each(|worker| {
        worker.join().unwrap_or_else(|_| Err(io::Error::other("a worker panicked")))
    })
}
