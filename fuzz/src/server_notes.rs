//! What a server writes down for itself: who its blobs belong to, its keys, how far a task came.

use standpipe_server::fuzzing::{auth, registry};
use uuid::Uuid;

use crate::script::Script;
use crate::server_rows::strict;

/// An id and a format, and the bytes of a note.
pub fn server_notes(data: &[u8]) {
    let mut script = Script::new(data);
    match script.below(4) {
        0 => identity(&mut script),
        1 => strict("place in the audit log", script.rest(), registry::written),
        2 => strict("set of keys", script.rest(), auth::stored_keys),
        _ => {
            let note = script.rest();
            let Some(once) = registry::verification(note) else { return };
            assert_eq!(registry::verification(&once).as_ref(), Some(&once));
        }
    }
}

/// Only what was written for the same database belongs to it.
fn identity(script: &mut Script<'_>) {
    let id = Uuid::from_u64_pair(script.number(), script.number());
    let format = u32::from(script.byte());
    let ours = registry::identity(id, format);
    assert_eq!(registry::belong_together(&ours, id, format), Ok(()));
    assert_eq!(registry::belong_together(&ours, id, format + 1), Ok(()), "an older format");
    let other = Uuid::from_u128(id.as_u128() ^ 1);
    assert!(registry::belong_together(&ours, other, format).is_err(), "of another database");
    let newer = registry::identity(id, format + 1);
    assert!(registry::belong_together(&newer, id, format).is_err(), "of a newer server");
    assert!(registry::belong_together(&ours[..ours.len() - 1], id, format).is_err(), "cut off");
    let bytes = script.rest();
    match registry::belong_together(bytes, id, format) {
        Ok(()) => {
            let text = String::from_utf8_lossy(bytes).to_ascii_lowercase().replace('-', "");
            let simple = id.as_simple().to_string();
            let escaped = text.contains('\\') || !text.contains('"');
            assert!(escaped || text.contains(&simple), "{text} is taken for {id}");
        }
        Err(told) => assert!(!told.contains(char::is_control) && told.len() < 400, "{told:?}"),
    }
}
