//! The `Authorization` header (RFC 9110 §11.6.2, RFC 7617, RFC 6750).
//!
//! This file reads the header and knows nothing about accounts.

use super::secret::Secret;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// The longest header that is looked at, in bytes: a registry token of 16 KiB and its scheme.
const LONGEST_HEADER: usize = (16 << 10) + 64;

/// Some clients leave the padding out.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a header shows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Credential {
    /// A user name and a password or machine token.
    Basic {
        /// The user name.
        username: String,
        /// The password or token.
        password: Secret,
    },
    /// A registry token or a machine token.
    Bearer(Secret),
}

/// Reads a header's value; `None` for anything that is not a whole credential.
pub(super) fn parse(header: &str) -> Option<Credential> {
    if header.len() > LONGEST_HEADER {
        return None;
    }
    let (scheme, rest) = header.trim().split_once(' ')?;
    let rest = rest.trim_start();
    if scheme.eq_ignore_ascii_case("basic") {
        let text = String::from_utf8(LENIENT.decode(rest).ok()?).ok()?;
        // A user name cannot hold a colon, a password can (RFC 7617 §2).
        let (username, password) = text.split_once(':')?;
        let password = Secret::new(password.to_owned());
        Some(Credential::Basic { username: username.to_owned(), password })
    } else if scheme.eq_ignore_ascii_case("bearer") && !rest.is_empty() {
        Some(Credential::Bearer(Secret::new(rest.to_owned())))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_a_client_encodes_is_read_back(username in "[^:]{0,20}", password in ".{0,40}") {
            let header = format!("Basic {}", STANDARD.encode(format!("{username}:{password}")));
            let password = Secret::new(password);
            prop_assert_eq!(parse(&header), Some(Credential::Basic { username, password }));
        }

        #[test]
        fn no_header_makes_it_panic(header in ".{0,60}") {
            let _ = parse(&header);
        }
    }

    #[test]
    fn schemes_are_read_in_any_case_and_padding_may_be_missing() {
        for header in ["BASIC YTpi", "basic YTpi", "Basic  YTpi", "Basic YTpiYw==", "Basic YTpiYw"]
        {
            assert!(matches!(parse(header), Some(Credential::Basic { .. })), "{header}");
        }
        assert_eq!(parse("bearer x"), Some(Credential::Bearer(Secret::new("x".to_owned()))));
    }

    #[test]
    fn half_a_credential_is_none() {
        for header in
            ["", "Basic", "Basic ", "Basic !!", "Basic YWI=", "Bearer", "Bearer ", "Digest x"]
        {
            assert_eq!(parse(header), None, "{header}");
        }
        assert_eq!(parse(&format!("Bearer {}", "x".repeat(20_000))), None);
    }
}
