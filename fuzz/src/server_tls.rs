//! Certificates and keys in PEM: they are used together or refused, and a key is never repeated.

use std::sync::LazyLock;

use standpipe_server::http::tls::Tls;

use crate::script::Script;

/// Stands in the texts where the input has a `$`.
const SECRET: &str = "c2VjcmV0b2Zzb21lYm9keQ";

/// A certificate of our own and its key, as texts and in use.
struct Pair {
    chain: String,
    key: String,
    shown: Tls,
}

static PAIR: LazyLock<Pair> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a pair");
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let shown = Tls::new(chain.as_bytes(), key.as_bytes()).expect("they belong together");
    Pair { chain, key, shown }
});

/// A chain and a key, ended by a zero byte; where there is a `^` stands the right one.
pub fn server_tls(data: &[u8]) {
    let mut script = Script::new(data);
    let pair = &*PAIR;
    let [chain, key] = [&pair.chain, &pair.key].map(|right| {
        let text = script.text_until(0);
        text.replace('$', SECRET).replace('^', right)
    });
    match pair.shown.replace(chain.as_bytes(), key.as_bytes()) {
        Ok(()) => {
            assert!(chain.contains("-----BEGIN CERTIFICATE-----"), "{chain}");
            assert!(key.contains("PRIVATE KEY-----"), "{key}");
        }
        Err(error) => {
            let told = error.to_string();
            let bytes = format!("{:?}", SECRET.as_bytes());
            let bytes = bytes.trim_matches(['[', ']']);
            assert!(!told.contains(SECRET) && !told.contains(bytes), "{told}");
            assert!(told.len() < 400, "{told}");
        }
    }
}
