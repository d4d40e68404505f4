//! Cookies: only a whole cookie of a session that lives, and only if there is one, signs somebody in.

use std::cell::RefCell;

use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode, header};

use crate::world::Server;

const NAME: &str = "standpipe_session=";

thread_local! {
    static SERVER: RefCell<Option<Server>> = const { RefCell::new(None) };
}

/// `Cookie` headers, one a line; `$` stands for the cookie of the administrator and `^` for that of eve.
pub fn server_cookies(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    SERVER.with_borrow_mut(|server| {
        let server = server.get_or_insert_with(Server::new);
        let [admin, eve] = server.next().sessions.clone();
        let text = text.replace('$', &admin.cookie).replace('^', &eve.cookie);
        let lines: Vec<HeaderValue> =
            text.lines().filter_map(|line| HeaderValue::from_str(line).ok()).collect();
        let mut request = Request::get("/profile");
        for line in &lines {
            request = request.header(header::COOKIE, line);
        }
        let request = request.body(Body::empty()).expect("a legal request");
        let (parts, page) = server.ask(request, &text);
        // Whitespace around a pair is not part of it; what is no ASCII is no cookie of ours.
        let pairs = || {
            let lines = lines.iter().filter_map(|line| line.to_str().ok());
            lines.flat_map(|line| line.split(';')).map(str::trim)
        };
        let brought = |cookie: &str| pairs().any(|pair| pair == format!("{NAME}{cookie}"));
        let count = pairs().filter(|pair| pair.starts_with(NAME)).count();
        if parts.status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE {
            return;
        }
        if parts.status != StatusCode::OK {
            let alone = count == 1 && (brought(&admin.cookie) || brought(&eve.cookie));
            assert!(!alone, "{} {text}", parts.status);
            return;
        }
        assert_eq!(count, 1, "{text}");
        let page = String::from_utf8_lossy(&page);
        let named = |name: &str| page.contains(&format!(">{name}<"));
        let who = [admin, eve].into_iter().find(|session| brought(&session.cookie));
        let who = who.unwrap_or_else(|| panic!("signed in with {text}"));
        assert!(named(who.name), "{} is not on the page", who.name);
    });
}
