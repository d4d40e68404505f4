//! `Range` and `Content-Range`.

use standpipe_server::http::oci::range::{ContentRange, Selection, select};

use crate::script::Script;

/// A size and a header.
pub fn server_range(data: &[u8]) {
    let mut script = Script::new(data);
    let size = script.number();
    let header = String::from_utf8_lossy(script.rest());
    range(&header, size);
    range(&format!("bytes={header}"), size);
    content_range(&header);
    content_range(&format!("bytes {header}"));
}

fn range(header: &str, size: u64) {
    let selected = select(header, size);
    if let Selection::Part(part) = selected {
        let end = u128::from(part.offset) + u128::from(part.length);
        assert!(part.length > 0 && end <= u128::from(size), "{header:?} of {size}: {part:?}");
        let exact = format!("bytes={}-{}", part.offset, end - 1);
        assert_eq!(select(&exact, size), selected, "{header:?} of {size}");
        assert!(!header.contains(','), "{header:?} has several ranges");
    }
    if selected != Selection::Whole {
        assert!(header.bytes().any(|byte| byte.is_ascii_digit()), "{header:?}: {selected:?}");
    }
}

fn content_range(header: &str) {
    let Ok(found) = header.parse::<ContentRange>() else { return };
    assert!(found.length > 0, "{header:?}");
    let last = found.first.checked_add(found.length - 1).expect("a last byte that can be counted");
    assert_eq!(format!("{}-{last}", found.first).parse(), Ok(found));
}
