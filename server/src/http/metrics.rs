//! Numbers in Prometheus' text format 0.0.4, which is lines of `name{label="value"} number`.
//!
//! Invariant: each family is written once and whole, with its HELP and TYPE before its samples; a
//! counter's name ends in `_total`, units are seconds and bytes, and no label has a value from
//! outside, so that nobody can make the output grow. Nothing here costs more than a few reads.

use crate::app::{App, RequestStatistics};
use crate::metadata::{Backlog, WriterStatistics};
use crate::registry::collection::CollectionStatistics;
use std::fmt::{Display, Write as _};

/// The format's media type.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of [`WriterStatistics::durations`] in seconds.
const BATCH_BOUNDS: [&str; 11] =
    ["0.001", "0.002", "0.005", "0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1", "+Inf"];

/// All numbers of the server.
pub(super) fn render(app: &App, backlog: &Backlog) -> String {
    let mut page = Page::default();
    let version = format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    page.family("build_info", Kind::Gauge, "The running version, as a label; always 1.");
    page.sample("build_info", &version, 1);
    requests(&mut page, &app.requests.read());
    page.gauge(
        "uploads_in_progress",
        "Uploads for which something came since the start and that have not ended.",
        app.registry.uploads_in_progress(),
    );
    collection(&mut page, &app.registry.collection_statistics());
    let oldest = backlog.oldest.map(|oldest| app.registry.clock().now().since(oldest));
    behind(&mut page, backlog, oldest.unwrap_or_default().as_secs_f64());
    writer(&mut page, &app.registry.writer_statistics());
    if let Some(space) = app.registry.space() {
        page.gauge("disk_free_bytes", "Bytes that can still be written.", space.free);
        page.gauge("disk_size_bytes", "Size of the file system in bytes.", space.total);
    }
    page.text
}

fn requests(page: &mut Page, requests: &RequestStatistics) {
    let name = "http_requests_total";
    page.family(name, Kind::Counter, "Requests that were answered, by class of the status.");
    for (class, count) in (1..).zip(requests.answered) {
        page.sample(name, &format!("{{status=\"{class}xx\"}}"), count);
    }
    page.gauge(
        "http_requests_in_flight",
        "Requests whose answer has not begun yet.",
        requests.in_flight,
    );
    page.counter("blob_sent_bytes_total", "Bytes of blobs sent.", requests.sent);
    page.counter("blob_received_bytes_total", "Bytes of blobs received.", requests.received);
}

fn collection(page: &mut Page, done: &CollectionStatistics) {
    for (name, help, count) in [
        ("reviewed", "Due entries looked at.", done.reviewed),
        ("freed_manifests", "Manifests freed.", done.manifests),
        ("freed_blobs", "Blobs freed.", done.blobs),
        ("freed_bytes", "Bytes of manifests and blobs freed.", done.bytes),
        ("removed_objects", "Objects removed from the blob store.", done.objects),
        ("ended_uploads", "Uploads ended because nothing came any more.", done.uploads),
        (
            "given_up",
            "Things kept for undo that were given up for a workspace's cap.",
            done.given_up,
        ),
        ("failures", "Times that something could not be looked at or removed.", done.failures),
    ] {
        page.counter(&format!("collection_{name}_total"), help, count);
    }
}

fn behind(page: &mut Page, backlog: &Backlog, oldest_seconds: f64) {
    page.gauge("collection_due", "Due entries whose time has come, up to 10000.", backlog.due);
    page.gauge(
        "collection_oldest_due_seconds",
        "How long the oldest due entry has been waiting; 0 if there is none.",
        oldest_seconds,
    );
    page.gauge(
        "collection_doomed_objects",
        "Objects whose removal is due, up to 10000.",
        backlog.doomed,
    );
    page.gauge(
        "collection_pinned_until_timestamp_seconds",
        "Until when a backup holds back the removal of objects; 0 if none does.",
        backlog.pinned_until.unwrap_or_default().seconds(),
    );
}

fn writer(page: &mut Page, writer: &WriterStatistics) {
    page.counter(
        "writer_operations_total",
        "Operations of the metadata's writer.",
        writer.operations,
    );
    page.gauge("writer_waiting", "Operations that wait for the writer now.", writer.waiting);
    let name = "writer_batch_duration_seconds";
    page.family(name, Kind::Histogram, "How long the writer took for a batch of operations.");
    let mut count = 0;
    for (bound, batches) in BATCH_BOUNDS.iter().zip(writer.durations) {
        count += batches;
        page.sample(&format!("{name}_bucket"), &format!("{{le=\"{bound}\"}}"), count);
    }
    let busy = std::time::Duration::from_micros(writer.busy_micros).as_secs_f64();
    page.sample(&format!("{name}_sum"), "", busy);
    // The count is that of the last bucket, as the format wants it, also while batches go on.
    page.sample(&format!("{name}_count"), "", count);
}

/// What a family's numbers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// The text as it grows.
#[derive(Debug, Default)]
struct Page {
    text: String,
}

impl Page {
    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, Kind::Counter, help);
        self.sample(name, "", value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, Kind::Gauge, help);
        self.sample(name, "", value);
    }

    fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.line(format_args!("# HELP standpipe_{name} {help}"));
        self.line(format_args!("# TYPE standpipe_{name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        self.line(format_args!("standpipe_{name}{labels} {value}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // A string takes everything.
        let _: std::fmt::Result = writeln!(self.text, "{line}");
    }
}
