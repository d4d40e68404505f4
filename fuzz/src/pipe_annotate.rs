//! Annotations onto a manifest: they are in it, and the rest stays.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use standpipe_pipe::fuzzing::annotated;

use crate::script::Script;

/// An object, each value as it is written; the last one of a name that stands twice.
type Members<'a> = BTreeMap<String, &'a RawValue>;
type Texts = BTreeMap<String, String>;

/// A key and a value, and a manifest.
pub fn pipe_annotate(data: &[u8]) {
    let mut script = Script::new(data);
    let [key, value] = [(); 2].map(|()| script.text_until(b'\n'));
    let manifest = script.rest();
    let given = Texts::from([(key.clone(), value.clone())]);
    let before = serde_json::from_slice::<Members<'_>>(manifest);
    let Some(bytes) = annotated(manifest, &given) else {
        // What could be taken: an object whose annotations are texts and stand there once.
        let texts = |value: &&RawValue| serde_json::from_str::<Texts>(value.get()).is_ok();
        let text = String::from_utf8_lossy(manifest);
        let once = !text.contains('\\') && text.matches("\"annotations\"").count() < 2;
        let plain = before.is_ok_and(|all| all.get("annotations").is_none_or(texts));
        assert!(!plain || !once, "{text}");
        return;
    };
    let mut before = before.expect("it was read as an object");
    let mut after = serde_json::from_slice::<Members<'_>>(&bytes).expect("an object");
    let texts = |value: &RawValue| serde_json::from_str::<Texts>(value.get()).expect("texts");
    let was = before.remove("annotations").map(texts);
    let is = after.remove("annotations").map(texts).expect("annotations");
    let mut expected = was.unwrap_or_default();
    expected.insert(key, value);
    assert_eq!(is, expected, "the annotations");
    let written = |all: Members<'_>| -> Vec<(String, String)> {
        all.into_iter().map(|(name, value)| (name, value.get().to_owned())).collect()
    };
    assert_eq!(written(before), written(after), "the rest");
    assert_eq!(annotated(&bytes, &given).as_ref(), Some(&bytes), "once more");
}
