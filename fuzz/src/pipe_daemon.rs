//! What a Docker Engine says: an image, and the names that are like one.

use standpipe_pipe::fuzzing::source::{inspected, near};

use crate::script::Script;

/// The answer to an inspection; a wanted name and local ones, one a line.
pub fn pipe_daemon(data: &[u8]) {
    if let Some((id, _, layers)) = inspected(data) {
        assert!(id.len() + layers.iter().map(String::len).sum::<usize>() <= data.len());
    }
    let mut script = Script::new(data);
    let wanted = script.text_until(b'\n');
    let mut local = Vec::new();
    while !script.is_over() {
        local.push(script.text_until(b'\n'));
    }
    let found = near(&wanted, &local);
    assert!(found.len() <= 5, "{found:?}");
    assert!(found.iter().all(|name| local.contains(name)), "{found:?} of {local:?}");
    if local.iter().filter(|name| **name == wanted && !name.contains(':')).count() == 1 {
        assert!(found.contains(&wanted), "{wanted:?} is like itself");
    }
}
