//! Pieces that pages are made of.
//!
//! Invariant: whatever came from outside goes into these as text. Nothing here, and nothing in this
//! folder, takes a text for markup.

use crate::domain::{Change, Digest, Timestamp};
use crate::metadata::{Repository, Stamped};
use maud::{Markup, html};

const UNITS: [&str; 6] = ["bytes", "kB", "MB", "GB", "TB", "PB"];

/// A number of bytes, short; the exact one on hover.
pub(super) fn bytes(count: u64) -> Markup {
    html! { data.number value=(count) title={ (grouped(count)) " bytes" } { (short(count)) } }
}

/// A number of bytes as a short text, in steps of a thousand as Docker's clients have them.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(super) fn short(count: u64) -> String {
    if count == 1 {
        return "1 byte".to_owned();
    }
    let (mut value, mut unit) = (count as f64, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 99.95 { 0 } else { 1 };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// A number with its digits in groups of three.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How many there are of something.
pub(super) fn counted(count: u64, what: &str) -> String {
    let end = if count == 1 { "" } else { "s" };
    format!("{} {what}{end}", grouped(count))
}

/// A moment. The script shows it in the reader's zone; the exact one is on hover.
pub(super) fn time(at: Timestamp) -> Markup {
    html! { time datetime=(at) title=(at) { (moment(at)) } }
}

fn moment(at: Timestamp) -> String {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_millisecond(millis) {
        Ok(moment) => moment.strftime("%-d %b %Y, %H:%M UTC").to_string(),
        Err(_) => at.to_string(),
    }
}

/// A length of time in words.
pub(super) fn span(seconds: u64) -> String {
    let say = |count: u64, unit: &str| match count {
        1 => format!("1 {unit}"),
        count => format!("{count} {unit}s"),
    };
    match seconds {
        0..=119 => say(seconds, "second"),
        120..=7_199 => say(seconds / 60, "minute"),
        7_200..=172_799 => say(seconds / 3600, "hour"),
        _ => say(seconds / 86_400, "day"),
    }
}

/// A digest, short; the whole one on hover.
pub(super) fn digest(digest: &Digest) -> Markup {
    html! { code.digest title=(digest) { (short_digest(digest)) } }
}

/// The first letters of a digest.
pub(super) fn short_digest(digest: &Digest) -> String {
    let text = digest.to_string();
    let end = text.find(':').map_or(0, |colon| colon + 13);
    text.get(..end).unwrap_or(&text).to_owned()
}

/// A short word about something.
pub(super) fn badge(kind: &str, text: &str, title: &str) -> Markup {
    html! { span class={ "badge " (kind) } title=(title) { (text) } }
}

/// A text to be copied. The button does nothing without the script, so the script shows it.
pub(super) fn copyable(text: &str, what: &str) -> Markup {
    html! {
        div.copy {
            pre tabindex="0" aria-label=(what) { code { (text) } }
            button type="button" data-copy hidden aria-label={ "Copy: " (what) } { "Copy" }
        }
    }
}

/// Names of browsers and systems as they stand in what a browser says of itself, and as people call
/// them. One that comes earlier also says that it is some of the later ones, so the order counts.
const BROWSERS: [(&str, &str); 6] = [
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("HeadlessChrome/", "Chrome without a window"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
];
const SYSTEMS: [(&str, &str); 7] = [
    ("Windows", "Windows"),
    ("Android", "Android"),
    ("iPhone", "an iPhone"),
    ("iPad", "an iPad"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
];

/// A browser as people call it; what is not known stays as it says itself.
pub(super) fn browser(agent: Option<&str>) -> String {
    let Some(agent) = agent else { return "unknown".to_owned() };
    let called = |all: &[(&str, &'static str)]| {
        all.iter().find(|(part, _)| agent.contains(part)).map(|(_, name)| *name)
    };
    match (called(&BROWSERS), called(&SYSTEMS)) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        _ => agent.to_owned(),
    }
}

/// Who did something, with the build if it was one.
pub(super) fn author(by: &Stamped, repository: Option<&Repository>) -> Markup {
    html! { (time(by.at)) " " span.by { "by " (actor(&by.change, repository)) (build(&by.change)) } }
}

/// Who did something.
pub(super) fn actor(change: &Change, repository: Option<&Repository>) -> Markup {
    let (kind, rest) = change.actor.split_once(':').unwrap_or((&change.actor, ""));
    let agent = change.origin.user_agent.as_deref();
    html! {
        span.actor title=[agent] {
            @match kind {
                "user" => { (rest) }
                "robot" => { "robot " (rest) }
                "pipeline" => {
                    "pipeline"
                    @if let Some(repository) = own_pipeline(rest, repository) { " of " (repository.fields.slug) }
                }
                "oidc" => { "build (OIDC)" }
                "server" => { "the server" }
                _ => { (change.actor) }
            }
        }
    }
}

fn own_pipeline<'a>(rest: &str, repository: Option<&'a Repository>) -> Option<&'a Repository> {
    let (_, id) = rest.rsplit_once(':')?;
    repository.filter(|repository| repository.id.to_string() == id)
}

/// The build, commit and branch of a change, as far as they are known.
pub(super) fn build(change: &Change) -> Markup {
    let origin = &change.origin;
    html! {
        @if let Some(build) = &origin.build { " " span.build { "build #" (build) } }
        @if let Some(commit) = &origin.commit {
            " " code.commit title={ "Commit " (commit) } { (commit.chars().take(8).collect::<String>()) }
        }
        @if let Some(branch) = &origin.branch { " " span.branch { "on " (branch) } }
    }
}

/// What stands where a list would be.
pub(super) fn empty(title: &str, advice: &Markup) -> Markup {
    html! { div.empty { p.strong { (title) } (advice) } }
}

/// A message above the content.
pub(super) fn notice(kind: &str, message: &Markup) -> Markup {
    let role = if kind == "bad" { "alert" } else { "status" };
    html! { div class={ "notice " (kind) } role=(role) { (message) } }
}

/// The links below a page of a list.
pub(super) fn pager(first: Option<&str>, next: Option<&str>) -> Markup {
    html! {
        @if first.is_some() || next.is_some() {
            nav.pager aria-label="Pages" {
                @if let Some(url) = first { a.button href=(url) { "First page" } }
                @if let Some(url) = next { a.button rel="next" href=(url) { "Next page" } }
            }
        }
    }
}

/// A bar of a share.
pub(super) fn bar(share: u64, of: u64, what: &str) -> Markup {
    html! { meter min="0" max=(of.max(1)) value=(share) aria-label=(what) { (short(share)) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_short_and_exact_on_hover() {
        for (count, expected) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (999, "999 bytes"),
            (1_000, "1.0 kB"),
            (12_345_678, "12.3 MB"),
            (999_950_000, "1.0 GB"),
            (123_456_789_012, "123 GB"),
        ] {
            assert_eq!(short(count), expected);
        }
        assert!(bytes(1_234_567).into_string().contains("1,234,567 bytes"));
    }

    #[test]
    fn a_browser_is_called_as_people_call_it() {
        for (agent, name) in [
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36 Edg/140.0",
                "Edge on Windows",
            ),
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
                "Firefox on Linux",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1",
                "Safari on an iPhone",
            ),
            ("curl/8.5.0", "curl/8.5.0"),
        ] {
            assert_eq!(browser(Some(agent)), name);
        }
        assert_eq!(browser(None), "unknown");
    }

    #[test]
    fn what_came_from_outside_is_text() {
        let change = Change { actor: "<b>".to_owned(), ..Change::by_server("x") };
        assert_eq!(actor(&change, None).into_string(), "<span class=\"actor\">&lt;b&gt;</span>");
    }

    #[test]
    fn a_length_of_time_is_said_in_one_unit() {
        assert_eq!(span(1), "1 second");
        assert_eq!(span(600), "10 minutes");
        assert_eq!(span(86_400), "24 hours");
        assert_eq!(span(7 * 86_400), "7 days");
        assert_eq!(
            (counted(1, "blob"), counted(1_200, "blob")),
            ("1 blob".into(), "1,200 blobs".into())
        );
    }
}
