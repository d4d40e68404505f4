//! Less memory than the machine has, for one process: a control group of the kernel.
//!
//! Invariant: a group has the processes that were started through its launcher and no others, and goes
//! with the value.

use std::fs;
use std::path::{Path, PathBuf};

/// A control group with a limit of memory.
#[derive(Debug)]
pub struct Confinement {
    group: PathBuf,
}

impl Confinement {
    /// Makes one that may have `bytes` of memory, page cache included; `None` where this user may not,
    /// or the kernel has none.
    #[must_use]
    pub fn of(bytes: u64) -> Option<Self> {
        let name = format!("standpipe-test-{}-{bytes}", std::process::id());
        // The first version has a hierarchy for memory, the second one for everything.
        for (parent, limit, swap, swapped) in [
            (
                "/sys/fs/cgroup/memory",
                "memory.limit_in_bytes",
                "memory.memsw.limit_in_bytes",
                bytes,
            ),
            ("/sys/fs/cgroup", "memory.max", "memory.swap.max", 0),
        ] {
            let group = Path::new(parent).join(&name);
            if fs::create_dir(&group).is_err() {
                continue;
            }
            let group = Self { group };
            if fs::write(group.group.join(limit), bytes.to_string()).is_ok() {
                // A kernel without swap has no file for it, and then needs none.
                let _ = fs::write(group.group.join(swap), swapped.to_string());
                return Some(group);
            }
        }
        None
    }

    /// What to put before a command line, so that it runs in the group from its first moment.
    #[must_use]
    pub fn launcher(&self) -> Vec<String> {
        let processes = self.group.join("cgroup.procs");
        let script = r#"echo $$ > "$0" && exec "$@""#;
        ["sh", "-c", script, &processes.to_string_lossy()].map(str::to_owned).to_vec()
    }

    /// Whether a process is in the group.
    #[must_use]
    pub fn holds(&self, pid: u32) -> bool {
        let processes = fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default();
        processes.lines().any(|line| line.parse() == Ok(pid))
    }
}

impl Drop for Confinement {
    fn drop(&mut self) {
        // A group with a process in it stays; the server is dropped first.
        let _ = fs::remove_dir(&self.group);
    }
}
