//! Paths of the distribution API: one meaning each.

use axum::http::Method;
use standpipe_server::domain::Grant;
use standpipe_server::http::oci::endpoint::{Endpoint, PREFIX};

/// A raw request path.
pub fn server_path(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    read(&text);
    read(&format!("{PREFIX}{text}"));
}

fn read(path: &str) {
    let Ok(endpoint) = Endpoint::parse(path) else { return };
    let printed = endpoint.to_string();
    assert!(printed == path || printed == format!("{path}/"), "{path:?} became {printed:?}");
    assert_eq!(Endpoint::parse(&printed).as_ref(), Ok(&endpoint));
    assert!(path.is_ascii() && !path.contains(['%', '\\']) && !path.contains("/../"), "{path:?}");
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let Some(scope) = endpoint.scope(&method) else { continue };
        let grants = standpipe_server::auth::scope::parse([scope.as_str()]).expect("one scope");
        match &grants[..] {
            [Grant::Catalog] => assert_eq!(endpoint, Endpoint::Catalog),
            [Grant::Package(grant)] => {
                assert!(path.contains(&grant.name.to_string()), "{path:?} asks for {scope:?}");
            }
            _ => panic!("{scope:?} is not one grant"),
        }
    }
}
