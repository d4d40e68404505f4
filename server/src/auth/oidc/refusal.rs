//! Why an OIDC token does not let a build in, in words for whoever reads the build's log.
//!
//! Invariant: no part of the token is in the words but what names its issuer and its build, cleaned
//! and cut. Whoever reads them has shown the token already.

use super::OidcAlgorithm;
use crate::domain::Origin;

/// Why an OIDC token is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OidcRefusal {
    /// Signed with something that the issuer is not trusted for.
    #[error(
        "the OIDC token is signed in a way that is not accepted from this issuer (accepted: {accepted}); check oidc.issuers in the server's settings"
    )]
    Algorithm {
        /// What is.
        accepted: String,
    },
    /// For somebody else.
    #[error(
        "the OIDC token is for another audience; set in the step oidc: {{ audiences: [\"{wanted}\"] }}, or whoever runs the server adds the token's audience in its settings"
    )]
    Audience {
        /// For whom it should be.
        wanted: String,
    },
    /// Too old.
    #[error("the OIDC token has expired; a step gets a fresh one when it starts, so run it again")]
    Expired,
    /// Of somebody else.
    #[error(
        "the OIDC token's issuer{0} is not one that this server trusts; whoever runs the server adds it under oidc.issuers in its settings"
    )]
    Issuer(String),
    /// The settings name nobody.
    #[error(
        "this server takes no OIDC tokens; whoever runs it names the issuer under oidc.issuers in its settings"
    )]
    NoIssuers,
    /// A claim is not there or not what it must be.
    #[error(
        "the OIDC token has no usable claim {0}; check the issuer's claims in the server's settings"
    )]
    NoClaim(String),
    /// Nothing of the kind.
    #[error(
        "the password of the user oidc must be the step's OIDC token; set oidc: true on the step and pass $BITBUCKET_STEP_OIDC_TOKEN"
    )]
    NotAToken,
    /// No administrator said so.
    #[error(
        "no repository is bound to {source_repository} of {issuer} for this token's audience; an administrator of the workspace binds one with standpipe-server admin oidc bind"
    )]
    NotBound {
        /// The source repository.
        source_repository: String,
        /// The issuer.
        issuer: String,
    },
    /// From the future.
    #[error("the OIDC token is not valid yet; compare the clocks of this server and of the issuer")]
    NotYet,
    /// Not signed by whom it says.
    #[error("the OIDC token's signature is wrong; pass the token of the step as it is")]
    Signature,
    /// The issuer cannot be asked.
    #[error(
        "the keys of the OIDC issuer cannot be fetched now; try again in {0} seconds, and if it stays so, the server's log says why"
    )]
    Unavailable(u64),
    /// Signed with a key that nobody knows.
    #[error(
        "the OIDC token is signed with a key that its issuer does not publish; if the issuer has just changed its keys, try again in {0} seconds"
    )]
    UnknownKey(u64),
    /// Bound, but not for this build.
    #[error(
        "the OIDC binding is not for this build: {0}; ask an administrator of the workspace, who sees the bindings with standpipe-server admin oidc list"
    )]
    Unmet(String),
}

impl OidcRefusal {
    pub(super) fn algorithm(accepted: &[OidcAlgorithm]) -> Self {
        let names: Vec<&str> = accepted.iter().map(|algorithm| algorithm.as_str()).collect();
        Self::Algorithm { accepted: names.join(", ") }
    }

    pub(super) fn issuer(said: Option<&str>) -> Self {
        let said = said.filter(|said| !said.is_empty());
        Self::Issuer(said.map(|said| format!(" {}", Origin::clean(said))).unwrap_or_default())
    }

    /// In how many seconds it may be otherwise by itself; `None` if never.
    #[must_use]
    pub const fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Unavailable(seconds) => Some(*seconds),
            _ => None,
        }
    }
}
