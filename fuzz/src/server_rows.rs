//! Stored rows and documents: what is damaged is an error, what is whole stays what it is.

use standpipe_server::fuzzing::rows;
use standpipe_server::metadata::documents::{Body, Permission, Project, Token, User};

use crate::script::Script;

/// A value of some kind, a key, or a value under its checksum.
pub fn server_rows(data: &[u8]) {
    let mut script = Script::new(data);
    match script.below(4) {
        0 => {
            let (name, reread) = *script.pick(rows::KINDS);
            strict(name, script.rest(), |bytes| reread(bytes).ok());
        }
        1 => match script.below(4) {
            0 => strict("permission", script.rest(), reencoded::<Permission>),
            1 => strict("project", script.rest(), reencoded::<Project>),
            2 => strict("token", script.rest(), reencoded::<Token>),
            _ => strict("user", script.rest(), reencoded::<User>),
        },
        2 => {
            if let Ok(key) = rows::due_key(script.rest()) {
                assert_eq!(rows::due_key(&key).ok(), Some(key));
            }
        }
        _ => under_seal(&mut script),
    }
}

pub(crate) fn reencoded<B: Body>(bytes: &[u8]) -> Option<Vec<u8>> {
    B::decode(bytes).ok().map(|body| body.encode())
}

/// What can be read is written down as something that is read as the same; more bytes, fewer bytes
/// and another format are damage.
pub(crate) fn strict(name: &str, bytes: &[u8], reread: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    let Some(once) = reread(bytes) else { return };
    assert_eq!(reread(&once).as_ref(), Some(&once), "{name}");
    assert_eq!(reread(&[bytes, &[0]].concat()), None, "a {name} with a byte too many");
    assert_eq!(reread(&once[..once.len() - 1]), None, "a {name} with a byte too few");
    let mut newer = once;
    newer[0] += 1;
    assert_eq!(reread(&newer), None, "a {name} of a newer format");
}

/// A flipped bit, a lost end, another key: each is found.
fn under_seal(script: &mut Script<'_>) {
    let table = script.below(rows::TABLE_COUNT);
    let (flip, bit) = (script.byte(), script.below(8));
    let key_length = script.below(40);
    let key = script.bytes(key_length);
    let value = script.rest();
    // Stored bytes that nobody sealed; finding some that hold takes more luck than there is, unless
    // the fuzzer reads the checksum out of the comparison, which is fine.
    if let Ok(found) = rows::unseal(table, key, value) {
        assert_eq!(rows::seal(table, key, found), value);
    }
    let stored = rows::seal(table, key, value);
    assert_eq!(rows::unseal(table, key, &stored).ok(), Some(value));
    let mut flipped = stored.clone();
    let at = usize::from(flip) % flipped.len();
    flipped[at] ^= 1 << bit;
    assert!(rows::unseal(table, key, &flipped).is_err(), "a flipped bit at {at}");
    if let Some((first, rest)) = key.split_first() {
        let other = [&[first ^ 1 << bit], rest].concat();
        assert!(rows::unseal(table, &other, &stored).is_err(), "another key");
    }
}
