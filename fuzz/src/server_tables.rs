//! Whole databases, as a backup may have them: whatever the rows say, `verify` and the readers say what is
//! wrong and go on.

use standpipe_server::fuzzing::rows;

use crate::script::Script;

/// The most rows.
const MOST: usize = 200;

/// Rows: a table, the length of the key, the length of the value, both.
pub fn server_tables(data: &[u8]) {
    let mut script = Script::new(data);
    let mut all = Vec::new();
    while !script.is_over() && all.len() < MOST {
        let table = script.below(rows::TABLE_COUNT);
        let [key, low, high] = [(); 3].map(|()| script.byte());
        let key = script.bytes(usize::from(key));
        let value = script.bytes(usize::from(u16::from_le_bytes([low, high])));
        all.push((table, key, value));
    }
    let told = rows::verified(&all).expect("a database that can be read");
    for words in told {
        assert!(words.len() < 1000 + 4 * data.len(), "{words}");
    }
}
