//! Text that must not be seen.
//!
//! Invariant: a [`Secret`] shows itself only through [`Secret::expose`], so that every place where
//! one leaves the process can be found by that name. Debug output, logs and errors show `***`.

use std::fmt;
use subtle::ConstantTimeEq as _;

/// A password, a token, or anything else that must stay out of logs.
#[derive(Clone, serde::Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// A password of 100 random bits, in groups that can be read aloud.
    ///
    /// # Errors
    /// If the operating system gives no random bytes.
    pub fn generate() -> std::io::Result<Self> {
        let text = hex(&random::<13>().map_err(std::io::Error::other)?);
        let groups = text.as_bytes()[..25].chunks(5).map(String::from_utf8_lossy);
        Ok(Self(groups.collect::<Vec<_>>().join("-")))
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// In a time that does not tell where the two differ.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

/// Fresh random bytes from the operating system.
pub(super) fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Why the result is of no interest: writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The operating system has no random bytes; nothing secret can be made.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub(super) struct NoRandomness;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_generated_secrets_differ() {
        let [one, other] = [(); 2].map(|()| Secret::generate().expect("random bytes"));
        assert_eq!(one.expose().len(), 29);
        assert!(one != other);
        assert!(one == one.clone());
    }

    #[test]
    fn a_secret_never_shows_itself() {
        let secret = Secret::new("canary-4711".to_owned());
        let shown = format!("{secret:?} {:?}", Some(&secret));
        assert_eq!(shown, "*** Some(***)");
        assert_eq!(secret.expose(), "canary-4711");
    }
}
