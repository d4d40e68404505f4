//! What an engine's builder answers.

use standpipe_pipe::fuzzing::source::configuration;

/// Any answer; and a message with a configuration in it that is framed right.
pub fn pipe_builder(data: &[u8]) {
    if let Some(found) = configuration(data) {
        // There are no windows of nothing.
        let part = found.is_empty() || data.windows(found.len()).any(|part| part == found);
        assert!(part, "it is not in the answer");
    }
    let length = u32::try_from(data.len()).expect("an input is small").to_be_bytes();
    // Field 2 twice: the last one counts (Protocol Buffers, "Last One Wins").
    let mut message = vec![0x12, 1, b'x', 0x12];
    let mut rest = data.len();
    while rest >= 0x80 {
        message.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    message.push(rest as u8);
    message.extend_from_slice(data);
    let framed = u32::try_from(message.len()).expect("an input is small").to_be_bytes();
    let answer = [&[0], &framed[..], &message].concat();
    assert_eq!(configuration(&answer).as_deref(), Some(data));
    let cut = [&[0], &length[..], data].concat();
    let _ = configuration(&cut);
}
