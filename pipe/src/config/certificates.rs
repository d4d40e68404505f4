//! `CA_CERT`: certificates as PEM text or as the path of a PEM file.
//!
//! Invariant: only certificates come out; the text is never quoted in a message, because people
//! paste private keys.

use std::fs::File;
use std::io::Read as _;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// The certificates in `text`, or none if it is not set.
pub(super) fn parse(text: Option<&str>) -> Result<Vec<CertificateDer<'static>>, String> {
    let Some(text) = text else {
        return Ok(Vec::new());
    };
    let pem = if text.contains(BEGIN) { unfold(text) } else { read(text)? };
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        // The text of the error may have a whole line in it.
        .map_err(|_| "is not readable PEM".to_owned())?;
    if certificates.is_empty() {
        return Err("has no certificate (a PEM block \"BEGIN CERTIFICATE\")".to_owned());
    }
    for certificate in &certificates {
        reqwest::Certificate::from_der(certificate)
            .and_then(|certificate| {
                // Only a client that is built with it looks into a certificate.
                reqwest::Client::builder().tls_certs_only([certificate]).build()
            })
            .map_err(|_| "has a certificate that cannot be used".to_owned())?;
    }
    Ok(certificates)
}

/// Variables of a repository are one line; people write the line ends as `\n`.
fn unfold(text: &str) -> String {
    if text.contains('\n') { text.to_owned() } else { text.replace("\\n", "\n") }
}

fn read(path: &str) -> Result<String, String> {
    let file = File::open(path).map_err(|error| format!("file {path:?}: {error}"))?;
    let mut text = String::new();
    // Devices and pipes do not tell their length.
    let read = file.take(LARGEST + 1).read_to_string(&mut text);
    read.map_err(|error| format!("file {path:?}: {error}"))?;
    if text.len() as u64 > LARGEST {
        return Err(format!("file {path:?} is larger than 1 MiB; that is no certificate"));
    }
    Ok(text)
}

const BEGIN: &str = "-----BEGIN";
const LARGEST: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_is_refused_and_not_repeated() {
        let text = format!("{BEGIN} PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n");
        let message = parse(Some(&text)).unwrap_err();
        assert!(!message.contains("c2VjcmV0"), "{message}");
    }

    #[test]
    fn a_key_whose_line_ends_were_lost_is_not_repeated_byte_by_byte() {
        let text = format!("{BEGIN} PRIVATE KEY-----c2VjcmV0");
        assert_eq!(parse(Some(&text)).unwrap_err(), "is not readable PEM");
    }

    #[test]
    fn a_missing_file_is_named() {
        assert!(parse(Some("/none/ca.pem")).unwrap_err().contains("/none/ca.pem"));
    }

    #[test]
    fn a_file_without_end_is_refused() {
        assert!(parse(Some("/dev/zero")).unwrap_err().contains("larger than 1 MiB"));
    }

    #[test]
    fn nothing_is_no_certificate() {
        assert_eq!(parse(None), Ok(Vec::new()));
    }
}
