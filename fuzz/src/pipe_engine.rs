//! What a Docker Engine tells about pushes, containers and refusals: a line of a log at most, and a
//! digest only if it is one.

use std::sync::LazyLock;

use standpipe_pipe::config::Config;
use standpipe_pipe::fuzzing::source::relay::{container, error_in};
use standpipe_pipe::fuzzing::source::{listed, pushed, reason};

static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let given = [("IMAGE_NAME", "app"), ("WORKSPACE", "acme"), ("REGISTRY", "registry.example")];
    let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Config::from_variables(given).1.expect("legal variables")
});

/// An answer, or lines of one.
pub fn pipe_engine(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match pushed(&CONFIG, &text) {
        Ok(Some(digest)) => {
            let legal = |c: char| c.is_ascii_alphanumeric() || "+._-:=".contains(c);
            assert!(digest.chars().all(legal) && digest.matches(':').count() == 1, "{digest:?}");
        }
        Ok(None) => {}
        Err((told, hints)) => hints.iter().chain([&told]).for_each(|line| fits(line)),
    }
    text.lines().filter_map(error_in).for_each(|told| fits(&told));
    fits(&reason(data));
    let quoted = serde_json::to_string(&text).expect("a text");
    fits(&reason(format!("{{\"message\":{quoted}}}").as_bytes()));
    for line in ["error", "status"] {
        if let Err((told, _)) = pushed(&CONFIG, &format!("{{\"{line}\":{quoted}}}")) {
            fits(&told);
        }
    }
    if let Ok(Some(digest)) = pushed(&CONFIG, &format!("{{\"aux\":{{\"Digest\":{quoted}}}}}")) {
        assert_eq!(digest, text);
    }
    if let Some(names) = listed(data) {
        assert!(names.iter().all(|name| !name.contains("<none>")), "{names:?}");
        assert!(names.iter().map(String::len).sum::<usize>() <= data.len());
    }
    // Any address and any port will do: only that there is an answer.
    let _ = container(data);
}

/// Fit for one line of a log, whatever a stranger wrote.
fn fits(text: &str) {
    assert!(!text.contains(char::is_control), "{text:?}");
    assert!(text.chars().count() <= 600, "{} characters: {text}", text.chars().count());
}
