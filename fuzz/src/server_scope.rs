//! Scopes of the token protocol: nothing is granted that is not written.

use standpipe_server::auth::scope::{MOST_SCOPES, Scopes, parse};
use standpipe_server::domain::Grant;

/// The `scope` parameters of a request, one a line.
pub fn server_scope(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let pieces = || text.split(['\n', ' ']).filter(|piece| !piece.is_empty());
    let Ok(grants) = parse(text.split('\n')) else {
        assert!(pieces().count() > MOST_SCOPES || text.len() > 8 << 10, "few and short: {text:?}");
        return;
    };
    assert!(pieces().count() <= MOST_SCOPES, "too many: {text:?}");
    for grant in &grants {
        let Grant::Package(grant) = grant else {
            let written = |piece: &str| {
                piece.starts_with("registry") && piece.contains(":catalog:") && piece.contains('*')
            };
            assert!(pieces().any(written), "the list of packages in {text:?}");
            continue;
        };
        let written = |action: &str| {
            pieces().any(|piece| {
                let Some((kind, rest)) = piece.split_once(':') else { return false };
                let Some((name, actions)) = rest.rsplit_once(':') else { return false };
                (kind == "repository" || kind.starts_with("repository("))
                    && name == grant.name.to_string()
                    && actions.split(',').any(|found| found == action || found == "*")
            })
        };
        for (granted, action) in
            [(grant.pull, "pull"), (grant.push, "push"), (grant.delete, "delete")]
        {
            assert_eq!(granted, written(action), "{action} on {} in {text:?}", grant.name);
        }
    }
    let printed = Scopes(&grants).to_string();
    if printed.len() <= 8 << 10 {
        assert_eq!(parse([printed.as_str()]), Ok(grants), "{printed:?}");
    }
}
