//! How often a registry asks the disk to make something durable: counted by `strace`, not believed.

use std::fs;
use std::io;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use standpipe_tests::disk::temporary_directory;

/// Calls that wait for the disk.
const CALLS: &str = "fsync,fdatasync,sync_file_range,syncfs,sync";

/// Counts them while `work` is done.
pub(crate) fn count(pid: u32, work: impl FnOnce() -> io::Result<()>) -> io::Result<u64> {
    let folder = temporary_directory("strace");
    let summary = folder.path().join("summary");
    let mut tracer = Command::new("strace")
        .args(["-f", "-c", "-e", &format!("trace={CALLS}"), "-p", &pid.to_string(), "-o"])
        .arg(&summary)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    // It says when it is attached only among other words; a second is plenty for a few threads.
    thread::sleep(Duration::from_secs(1));
    let worked = work();
    let tracing = i32::try_from(tracer.id()).ok().and_then(Pid::from_raw);
    if let Some(tracing) = tracing {
        // An interrupted strace detaches and writes its summary.
        kill_process(tracing, Signal::INT)?;
    }
    tracer.wait()?;
    worked?;
    let summary = fs::read_to_string(&summary)?;
    // Columns: percent, seconds, microseconds a call, calls, (errors,) name.
    let calls = summary.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let name = fields.last()?;
        CALLS.split(',').any(|call| call == *name).then(|| fields.get(3)?.parse::<u64>().ok())?
    });
    Ok(calls.sum())
}
