//! Query parameters.
//!
//! Invariant: a parameter that may stand once and stands twice is refused: which of two digests a
//! proxy or a log reads must not differ from what is done.

use super::bad_request;
use crate::http::error::{Code, OciError};
use axum::http::Uri;

/// The parameters of a request, decoded. What is not UTF-8 becomes a replacement character, which
/// no grammar allows.
#[derive(Clone, Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(uri: &Uri) -> Self {
        // A list of pairs takes any query; there is nothing left to be refused.
        let pairs = axum::extract::Query::try_from_uri(uri);
        Self(pairs.map(|axum::extract::Query(pairs)| pairs).unwrap_or_default())
    }

    /// All values of a parameter.
    pub(super) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(found, _)| found == key).map(|(_, value)| value.as_str())
    }

    /// The one value of a parameter.
    ///
    /// # Errors
    /// 400 with `code` if there are several.
    pub(super) fn one<'a>(&'a self, key: &'a str, code: Code) -> Result<Option<&'a str>, OciError> {
        let mut values = self.all(key);
        let first = values.next();
        if values.next().is_some() {
            return Err(bad_request(code, format!("the parameter {key} is given twice")));
        }
        Ok(first)
    }

    /// The one value of a parameter, parsed.
    ///
    /// # Errors
    /// 400 with `code` if there are several or it cannot be read.
    pub(super) fn parsed<T>(&self, key: &str, code: Code) -> Result<Option<T>, OciError>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
    {
        let Some(text) = self.one(key, code)? else { return Ok(None) };
        text.parse().map(Some).map_err(|error: T::Err| bad_request(code, format!("{key}: {error}")))
    }

    /// How many items a list wants at most (`n`); more than `most` counts as `most`.
    ///
    /// # Errors
    /// 400 if it is no number.
    pub(super) fn count(&self, most: usize) -> Result<usize, OciError> {
        let Some(text) = self.one("n", Code::Unsupported)? else { return Ok(most) };
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(bad_request(Code::Unsupported, "the parameter n must be a number"));
        }
        Ok(text.parse::<usize>().map_or(most, |count| count.min(most)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn query(text: &str) -> Query {
        Query::of(&format!("/v2/?{text}").parse().expect("a legal URL"))
    }

    #[test]
    fn the_count_is_bounded_whatever_is_asked_for() {
        let count = |text: &str| query(text).count(1000).map_err(|error| error.status().as_u16());
        assert_eq!(count(""), Ok(1000));
        assert_eq!(count("n=0"), Ok(0));
        assert_eq!(count("n=17"), Ok(17));
        for huge in ["n=1000000000", "n=9223372036854775808", "n=99999999999999999999999"] {
            assert_eq!(count(huge), Ok(1000), "{huge}");
        }
        for bad in ["n=", "n=-1", "n=abc", "n=1.5", "n=%2B1", "n=1&n=2", "n=1&n=1"] {
            assert_eq!(count(bad), Err(400), "{bad}");
        }
    }

    #[test]
    fn a_digest_may_be_given_once() {
        let both = query("digest=sha256%3Aab&digest=sha256%3Aab");
        let refused = both.one("digest", Code::DigestInvalid).map(|_| ());
        assert_eq!(refused.map_err(|error| error.status().as_u16()), Err(400));
        assert_eq!(query("digest=sha256%3Aab").all("digest").collect::<Vec<_>>(), ["sha256:ab"]);
    }

    proptest! {
        #[test]
        fn no_query_makes_the_parser_panic(text in "[a-z0-9=&%+;,\\[\\]]{0,60}") {
            let query = query(&text);
            let _ = query.count(10);
            let _ = query.parsed::<crate::domain::Digest>("digest", Code::DigestInvalid);
        }
    }
}
