//! Names, tags, digests, references and ids: the grammar and nothing else, one spelling each, and
//! the same for the pipe and the server.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use standpipe_pipe::config::{Config, Tag as PipeTag};
use standpipe_server::domain::role::Role;
use standpipe_server::domain::{
    Digest, Name, ObjectKey, PackageName, ProjectKey, Reference, Slug, Tag, UploadId, Username,
};

/// One text as everything that people and clients call things by.
pub fn server_names(data: &[u8]) {
    let text = &*String::from_utf8_lossy(data);
    let components = || text.split('/').all(is_component);
    keeps::<Slug>(text, text.len() <= 62 && is_component(text));
    keeps::<PackageName>(text, text.len() < 255 && components());
    let workspace = text.split_once('/').is_some_and(|(workspace, _)| workspace.len() <= 62);
    keeps::<Name>(text, text.len() <= 255 && workspace && components());
    keeps::<Tag>(text, is_tag(text));
    keeps::<Digest>(text, is_digest(text));
    keeps::<Reference>(text, is_tag(text) || is_digest(text));
    keeps::<ProjectKey>(text, is_project(text));
    keeps::<Username>(text, is_username(text));
    if let Ok(id) = text.parse::<UploadId>() {
        assert_eq!(id.to_string(), text);
    }
    if let Ok(key) = text.parse::<ObjectKey>() {
        assert_eq!(key.to_string(), text);
        assert!(key.minted_at().0 < 1 << 48, "a UUIDv7 has 48 bits of milliseconds");
    }
    // Why the result is of no interest: only that it comes.
    let _ = text.parse::<Role>();
    agree(text);
}

/// What one program accepts as a tag, digest or package name, the other does too.
fn agree(text: &str) {
    assert_eq!(PipeTag::parse(text).is_ok(), text.parse::<Tag>().is_ok(), "{text:?}");
    let digest = standpipe_pipe::Digest::parse(text);
    let short = text.parse::<Digest>().is_ok_and(|digest| digest.as_bytes().len() == 32);
    assert_eq!(digest.is_some(), short, "{text:?}");
    // With a colon the pipe reads a tag, and a host in front gets advice; both are no names here.
    let host = text.split_once('/').map(|(host, _)| host);
    let host = host.is_some_and(|host| host.contains('.') || host == "localhost");
    if text.contains([':', '\0']) || text != text.trim() || host {
        return;
    }
    let given = [("IMAGE_NAME", text), ("WORKSPACE", "acme")];
    let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let accepted = Config::from_variables(given).1.is_ok();
    assert_eq!(accepted, format!("acme/{text}").parse::<Name>().is_ok(), "{text:?}");
}

/// Holds a parser against the grammar, and what it read against the text.
fn keeps<T: FromStr<Err: Debug> + Display>(text: &str, legal: bool) {
    match text.parse::<T>() {
        Ok(value) => {
            assert!(legal, "{text:?} was read");
            assert_eq!(value.to_string(), text);
        }
        Err(error) => assert!(!legal, "{text:?}: {error:?}"),
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` as a machine with one state for each joint.
fn is_component(text: &str) -> bool {
    let end = text.bytes().try_fold(b'^', |state, byte| match (state, byte) {
        (_, b'a'..=b'z' | b'0'..=b'9') => Some(b'w'),
        (b'w', b'.') => Some(b'.'),
        (b'w', b'_') => Some(b'_'),
        (b'_', b'_') => Some(b'.'),
        (b'w' | b'-', b'-') => Some(b'-'),
        _ => None,
    });
    end == Some(b'w')
}

fn is_tag(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (1..=128).contains(&text.len())
        && text.starts_with(word)
        && text.chars().all(|c| word(c) || c == '.' || c == '-')
}

fn is_digest(text: &str) -> bool {
    let hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    text.strip_prefix("sha256:").is_some_and(|text| hex(text, 64))
        || text.strip_prefix("sha512:").is_some_and(|text| hex(text, 128))
}

fn is_project(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.chars().all(|c| matches!(c, 'A'..='Z' | '0'..='9' | '_'))
}

fn is_username(text: &str) -> bool {
    (1..=62).contains(&text.len())
        && text.starts_with(|c| matches!(c, 'a'..='z' | '0'..='9'))
        && text.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-' | '@'))
}
