//! `CA_CERT`: certificates or a refusal that repeats nothing, because people paste private keys.

use standpipe_pipe::fuzzing::config::certificates;

/// Stands in the text where the input has a `$`.
const SECRET: &str = "c2VjcmV0b2Zzb21lYm9keQ";

/// A value with a PEM block; without one it would be the path of a file, which this target must not
/// open.
pub fn pipe_certificates(data: &[u8]) {
    let text = String::from_utf8_lossy(data).replace('$', SECRET);
    if !text.contains("-----BEGIN") {
        return;
    }
    match certificates(&text) {
        Ok(count) => {
            assert!(count > 0, "{text}");
            assert!(text.matches("-----BEGIN").count() >= count, "{count} in {text}");
        }
        Err(told) => {
            let bytes = format!("{:?}", SECRET.as_bytes());
            let bytes = bytes.trim_matches(['[', ']']);
            assert!(!told.contains(SECRET) && !told.contains(bytes), "{told}");
            assert!(told.len() < 200 && !told.contains(char::is_control), "{told:?}");
        }
    }
}
