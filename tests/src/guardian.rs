//! Cleans up after a test process that was killed before its destructors could run.
//!
//! One small shell reads what to clean from its standard input. The kernel closes that pipe however
//! this process ends, and the shell then stops the processes and removes the folders that are still
//! on its list. Invariant: only process ids that this test process started are ever on the list.

use std::io::Write;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Has `pid` stopped when this test process ends.
pub fn watch_process(pid: u32) {
    tell("+pid", &pid.to_string());
}

/// Takes `pid` off the list: its owner has stopped and reaped it, so the number may be reused.
pub fn forget_process(pid: u32) {
    tell("-pid", &pid.to_string());
}

/// Has a file system unmounted when this test process ends, before folders are removed.
pub fn watch_mount(directory: &Path) {
    tell("+mount", &directory.to_string_lossy());
}

/// Has a folder removed when this test process ends, after its processes are gone.
pub fn watch_directory(directory: &Path) {
    tell("+directory", &directory.to_string_lossy());
}

fn tell(verb: &str, value: &str) {
    assert!(!value.contains(['\n', ' ']), "cannot guard {value:?}");
    let mut input = shell()
        .lock()
        // The pipe is line by line, so a panic elsewhere left no half line in it.
        .unwrap_or_else(PoisonError::into_inner);
    writeln!(input, "{verb} {value}").expect("the guardian shell lives as long as this process");
}

#[expect(
    clippy::zombie_processes,
    reason = "the shell outlives this process on purpose, so nobody here can wait for it"
)]
fn shell() -> &'static Mutex<ChildStdin> {
    static SHELL: OnceLock<Mutex<ChildStdin>> = OnceLock::new();
    SHELL.get_or_init(|| {
        let mut child = Command::new("sh")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("every supported machine has sh");
        Mutex::new(child.stdin.take().expect("standard input was piped"))
    })
}

/// Ctrl-C reaches the whole foreground group, so the shell ignores it and waits for the end of its input.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
pids=' '; mounts=; directories=
while read -r verb value; do
  case $verb in
    +pid) pids="$pids$value " ;;
    -pid) pids=$(printf '%s' "$pids" | sed "s/ $value / /") ;;
    +mount) mounts="$mounts $value" ;;
    +directory) directories="$directories $value" ;;
  esac
done
for pid in $pids; do kill -TERM "$pid"; done
for pid in $pids; do
  tries=0
  while kill -0 "$pid" && [ $tries -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
  kill -KILL "$pid"
done
for directory in $mounts; do umount -l "$directory"; done
for directory in $directories; do rm -rf "$directory"; done
"#;
