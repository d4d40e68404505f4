//! `If-None-Match`, `If-Range` and `Range` together: a client is told that it has the content only if
//! it said so, and gets a part only of what it has.

use std::cell::RefCell;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Request, StatusCode, header};

use crate::script::Script;
use crate::world::Server;

const NAMES: [HeaderName; 3] = [header::IF_NONE_MATCH, header::IF_RANGE, header::RANGE];
/// What the package has.
const CONTENT: &[u8] = b"{}";
/// Bytes of headers that a server takes in any case.
const LONGEST: usize = 16 << 10;

thread_local! {
    static SERVER: RefCell<Option<Server>> = const { RefCell::new(None) };
}

/// Headers, one a line after a byte that says which; `$` stands for the digest of what is asked for.
pub fn server_conditions(data: &[u8]) {
    let mut script = Script::new(data);
    let digest = crate::pipe_archive::digest(CONTENT);
    let mut sent = Vec::new();
    while !script.is_over() && sent.len() < 6 {
        let name = script.pick(&NAMES).clone();
        let value = script.text_until(b'\n').replace('$', &digest);
        let Ok(value) = HeaderValue::from_str(&value) else { continue };
        sent.push((name, value));
    }
    // More is refused before anybody looks at it.
    if sent.iter().map(|(_, value)| value.len()).sum::<usize>() > LONGEST {
        return;
    }
    let mut request = Request::get(format!("/v2/acme/shop/blobs/{digest}"));
    for (name, value) in &sent {
        request = request.header(name, value);
    }
    let what = format!("{sent:?}");
    let (parts, body) = SERVER.with_borrow_mut(|server| {
        let server = server.get_or_insert_with(Server::new);
        server.next();
        server.ask(request.body(Body::empty()).expect("a legal request"), &what)
    });
    let said = |wanted: &HeaderName, text: &str| {
        let mut all = sent.iter().filter(|(name, _)| name == wanted);
        all.any(|(_, value)| value.as_bytes().windows(text.len()).any(|w| w == text.as_bytes()))
    };
    let etag = format!("\"{digest}\"");
    match parts.status {
        StatusCode::OK => {
            assert_eq!(body, CONTENT);
            let exact = |value: &HeaderValue| value.as_bytes() == etag.as_bytes();
            let known = |(name, value): &(_, _)| name == header::IF_NONE_MATCH && exact(value);
            assert!(!sent.iter().any(known), "it has it: {what}");
        }
        StatusCode::NOT_MODIFIED => {
            let tag = said(&header::IF_NONE_MATCH, "*") || said(&header::IF_NONE_MATCH, &etag);
            assert!(tag && body.is_empty(), "{what}");
        }
        StatusCode::PARTIAL_CONTENT => {
            let range = sent.iter().any(|(name, _)| name == header::IF_RANGE);
            assert!(!range || said(&header::IF_RANGE, &etag), "{what}");
            assert!(CONTENT.windows(body.len()).any(|part| part == body), "{what}");
        }
        StatusCode::RANGE_NOT_SATISFIABLE => assert!(said(&header::RANGE, "="), "{what}"),
        status => panic!("{status} {what}"),
    }
}
