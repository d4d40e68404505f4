//! What the reader of the build log sees: log lines on stderr, results on stdout.
//!
//! The look is that of Bitbucket's own pipes. Modules log through `tracing`; [`Log`] turns the
//! events of this crate into lines and drops those of libraries, which may hold addresses with
//! secrets in them. Standard output carries the references and the last line, nothing else.
//! On a terminal the bars of `progress` stand below the lines, and are never part of one.
//! Invariant: every line goes through the [`Mask`]; no carriage return is ever written but to a
//! terminal.
//! Must not know: what a push is.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _, Write};
use std::sync::{Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::config::LogStyle;
use crate::progress::BAR;
use crate::secret::Mask;

/// The results of a run, written to standard output.
pub struct Output {
    out: Box<dyn Write + Send>,
    style: LogStyle,
    mask: Mask,
}

impl Output {
    /// Results go to `out`, with the secrets in `mask` starred out.
    pub fn new(out: Box<dyn Write + Send>, style: LogStyle, mask: Mask) -> Self {
        Self { out, style, mask }
    }

    /// One result, such as a reference with its digest.
    pub fn result(&mut self, line: &str) {
        self.line(line);
    }

    /// The green last line.
    pub fn success(&mut self, message: &str) {
        let line = paint(self.style, GREEN, &format!("✔ {message}"));
        self.line(&line);
    }

    /// The red last line.
    pub fn failure(&mut self, message: &str) {
        let line = paint(self.style, RED, &format!("✖ {message}"));
        self.line(&line);
    }

    /// The secrets that this output stars out.
    pub fn mask(&self) -> &Mask {
        &self.mask
    }

    fn line(&mut self, line: &str) {
        let line = self.mask.apply(line).replace('\r', "");
        // A closed standard output must not fail a push that is done.
        let _ = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Output").field("style", &self.style).finish_non_exhaustive()
    }
}

/// The log: events of this crate as lines `INFO: …` on a writer.
pub struct Log {
    out: Mutex<Screen>,
    style: LogStyle,
    mask: Mask,
    terminal: bool,
}

/// What is written to, and the bars that stand there, by what they are about.
struct Screen {
    out: Box<dyn Write + Send>,
    bars: BTreeMap<String, String>,
}

impl Log {
    /// A log on standard error.
    pub fn stderr(style: LogStyle, mask: Mask) -> Self {
        let terminal = io::stderr().is_terminal();
        Self::new(Box::new(io::stderr()), style, mask, terminal)
    }

    fn new(out: Box<dyn Write + Send>, style: LogStyle, mask: Mask, terminal: bool) -> Self {
        let out = Mutex::new(Screen { out, bars: BTreeMap::new() });
        Self { out, style, mask, terminal }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Log").field("style", &self.style).finish_non_exhaustive()
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let most = if self.style.debug { Level::DEBUG } else { Level::INFO };
        metadata.is_event()
            && *metadata.level() <= most
            && (self.terminal || metadata.target() != BAR)
            && metadata.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"))
    }

    fn event(&self, event: &Event<'_>) {
        let (label, colour) = match *event.metadata().level() {
            Level::ERROR => ("ERROR", RED),
            Level::WARN => ("WARNING", YELLOW),
            Level::INFO => ("INFO", BLUE),
            _ => ("DEBUG", WHITE),
        };
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        if event.metadata().target() == BAR {
            return out.change_bar(event);
        }
        let mut text = Text::default();
        event.record(&mut text);
        let message = self.mask.apply(&text.0).replace('\r', "");
        let line = paint(self.style, colour, &format!("{label}: {message}"));
        // There is nowhere to report that the log itself cannot be written.
        let _ = out.line(&line);
    }

    // Spans are not used: a line of a build log has to be readable alone.
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

impl Screen {
    fn line(&mut self, line: &str) -> io::Result<()> {
        if self.bars.is_empty() {
            return writeln!(self.out, "{line}");
        }
        writeln!(self.out, "{CLEAR}{line}")?;
        self.draw()
    }

    fn change_bar(&mut self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let gone = fields.bar.is_empty();
        let changed = match gone {
            true => self.bars.remove(&fields.doing).is_some(),
            false => self.bars.insert(fields.doing, fields.bar).is_none_or(|_| true),
        };
        if changed {
            let _ = self.draw();
        }
    }

    fn draw(&mut self) -> io::Result<()> {
        let bars = self.bars.iter().map(|(doing, bar)| format!("{doing} {bar}"));
        write!(self.out, "{CLEAR}{}", bars.collect::<Vec<_>>().join("  "))?;
        self.out.flush()
    }
}

/// The fields of a bar.
#[derive(Default)]
struct Fields {
    doing: String,
    bar: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "doing" => value.clone_into(&mut self.doing),
            "bar" => value.clone_into(&mut self.bar),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// The message of an event, followed by its fields.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

/// A number of bytes for people: `12.5 MB`, decimal units as Docker shows them.
pub(crate) fn megabytes(bytes: u64) -> String {
    let units = [("GB", 1_000_000_000_u64), ("MB", 1_000_000), ("kB", 1_000)];
    for (unit, size) in units {
        if bytes >= size {
            let tenths = bytes / (size / 10);
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} B")
}

/// Colours are forced although a pipe has no terminal: Bitbucket's log page shows them.
fn paint(style: LogStyle, colour: &str, text: &str) -> String {
    if style.plain { text.to_owned() } else { format!("{colour}{text}{RESET}") }
}

/// To the beginning of the line, and away with what stands there.
const CLEAR: &str = "\r\u{1b}[K";
const RED: &str = "\u{1b}[31m";
const GREEN: &str = "\u{1b}[32m";
const YELLOW: &str = "\u{1b}[33m";
const BLUE: &str = "\u{1b}[34m";
const WHITE: &str = "\u{1b}[37m";
const RESET: &str = "\u{1b}[0m";

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::secret::Secret;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(style: LogStyle, act: impl FnOnce()) -> String {
        shown(style, false, act)
    }

    fn shown(style: LogStyle, terminal: bool, act: impl FnOnce()) -> String {
        let mask = Mask::default();
        mask.hide(&Secret::new("hunter22"));
        let shared = Shared::default();
        let log = Log::new(Box::new(shared.clone()), style, mask, terminal);
        tracing::subscriber::with_default(log, act);
        let bytes = shared.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn lines_look_like_those_of_the_toolkit() {
        let lines = logged(LogStyle::default(), || {
            tracing::info!("one");
            tracing::warn!("two");
            tracing::error!("three");
            tracing::debug!("not shown");
        });
        assert_eq!(
            lines,
            "\u{1b}[34mINFO: one\u{1b}[0m\n\u{1b}[33mWARNING: two\u{1b}[0m\n\u{1b}[31mERROR: three\u{1b}[0m\n"
        );
    }

    #[test]
    fn no_color_and_debug_are_honoured() {
        let style = LogStyle { plain: true, debug: true };
        assert_eq!(logged(style, || tracing::debug!(size = 3, "x\ry")), "DEBUG: xy size=3\n");
    }

    #[test]
    fn bars_stand_below_the_lines_of_a_terminal_and_nowhere_else() {
        let style = LogStyle { plain: true, debug: false };
        let act = || {
            tracing::info!(target: BAR, doing = "read", bar = "1 B");
            tracing::info!("line");
            tracing::info!(target: BAR, doing = "sent", bar = "2 B");
            tracing::info!(target: BAR, doing = "read", bar = "");
            tracing::info!(target: BAR, doing = "sent", bar = "");
            tracing::info!("end");
        };
        assert_eq!(logged(style, act), "INFO: line\nINFO: end\n");
        let clear = CLEAR;
        assert_eq!(
            shown(style, true, act),
            format!(
                "{clear}read 1 B{clear}INFO: line\n{clear}read 1 B{clear}read 1 B  sent 2 B\
                 {clear}sent 2 B{clear}INFO: end\n"
            )
        );
    }

    #[test]
    fn a_secret_does_not_reach_the_log() {
        let style = LogStyle { plain: true, debug: true };
        let lines = logged(style, || tracing::debug!("header: Bearer hunter22"));
        assert_eq!(lines, "DEBUG: header: Bearer ***\n");
    }

    #[test]
    fn events_of_libraries_are_dropped() {
        let style = LogStyle { plain: true, debug: true };
        let lines =
            logged(style, || tracing::error!(target: "oci_client", "Location: http://a?sig=b"));
        assert_eq!(lines, "");
    }

    #[test]
    fn results_end_with_a_mark() {
        let shared = Shared::default();
        let mut output =
            Output::new(Box::new(shared.clone()), LogStyle::default(), Mask::default());
        output.success("done");
        output.failure("failed");
        let text = String::from_utf8(shared.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text, "\u{1b}[32m✔ done\u{1b}[0m\n\u{1b}[31m✖ failed\u{1b}[0m\n");
    }

    #[test]
    fn sizes_are_decimal() {
        assert_eq!(megabytes(999), "999 B");
        assert_eq!(megabytes(12_549_999), "12.5 MB");
        assert_eq!(megabytes(4_294_967_296), "4.2 GB");
    }
}
