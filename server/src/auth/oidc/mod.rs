//! OIDC tokens of builds: who vouches for what, and whether that is so.
//!
//! Invariant: issuers come from the settings; a token's `iss` is compared with them, whole, and never
//! followed. A token is believed for its signature by a key that its issuer publishes, of a kind that
//! fits an algorithm of our list, and for nothing that its header says about keys. It ends at its
//! `exp` without leeway, and so does what is issued on it. What a build may do is not known here.

mod fetch;
#[cfg(feature = "fuzzing")]
pub(super) mod fuzzing;
mod keys;
mod parse;
mod published;
mod refusal;
mod verify;

pub use fetch::FetchError;
pub use parse::OidcAlgorithm;
pub use refusal::OidcRefusal;

use super::{AuthError, Authenticator, Secret};
use crate::clock::Clock;
use crate::domain::{Change, ClaimNames, Identity};
use crate::registry::access::Bindable;
use crate::registry::bindings::{BindingView, NewBinding};
use crate::registry::{RegistryError, Result};
use published::Published;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The user name that goes with an OIDC token as the password.
pub const OIDC_USER: &str = "oidc";

/// An issuer as the settings have it.
#[derive(Clone, Debug)]
pub struct IssuerSettings {
    /// Its URL, exactly as its tokens name it.
    pub issuer: String,
    /// For whom tokens must be: one of these.
    pub audiences: Vec<String>,
    /// Where its keys are; `None` asks its discovery document.
    pub jwks_uri: Option<String>,
    /// What its tokens may be signed with.
    pub algorithms: Vec<OidcAlgorithm>,
    /// What it calls the claims that have a meaning here.
    pub claims: ClaimNames,
}

/// All issuers that the settings name.
#[derive(Debug)]
pub(super) struct Oidc {
    issuers: Vec<Issuer>,
    clock: Clock,
}

#[derive(Debug)]
struct Issuer {
    url: String,
    audiences: Vec<String>,
    algorithms: Vec<OidcAlgorithm>,
    names: Arc<ClaimNames>,
    keys: Published,
}

/// A token that is believed.
#[derive(Clone, Debug)]
pub(super) struct Believed {
    pub(super) build: Identity,
    /// When it ends, in seconds since the Unix epoch.
    pub(super) expires: u64,
}

/// What a registry token carries of the OIDC token behind it: enough to ask the bindings again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OidcBasis {
    issuer: String,
    subject: String,
    audiences: Vec<String>,
    claims: BTreeMap<String, String>,
    /// When the OIDC token ends, in seconds since the Unix epoch.
    pub(super) expires: u64,
}

impl OidcBasis {
    /// Keeps of the claims what has a meaning and what `looked_at` names.
    pub(super) fn new<'a>(
        believed: &'a Believed,
        looked_at: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let build = &believed.build;
        let names = build.names.all().chain(looked_at);
        let claims = names.filter_map(|name| build.claims.get_key_value(name));
        Self {
            issuer: build.issuer.clone(),
            subject: build.subject.clone(),
            audiences: build.audiences.clone(),
            claims: claims.map(|(name, value)| (name.clone(), value.clone())).collect(),
            expires: believed.expires,
        }
    }
}

impl Issuer {
    fn new(settings: IssuerSettings, clock: Clock) -> std::result::Result<Self, FetchError> {
        let keys = Published::new(&settings.issuer, settings.jwks_uri, clock)?;
        Ok(Self {
            url: settings.issuer,
            audiences: settings.audiences,
            algorithms: settings.algorithms,
            names: Arc::new(settings.claims),
            keys,
        })
    }
}

impl Oidc {
    /// Prepares the issuers; nothing is fetched yet.
    pub(super) fn new(
        issuers: Vec<IssuerSettings>,
        clock: Clock,
    ) -> std::result::Result<Self, FetchError> {
        let ready = issuers.into_iter().map(|settings| Issuer::new(settings, clock.clone()));
        Ok(Self { issuers: ready.collect::<std::result::Result<_, _>>()?, clock })
    }

    /// Who a token is of.
    pub(super) async fn believe(
        &self,
        token: &Secret,
    ) -> std::result::Result<Believed, OidcRefusal> {
        if self.issuers.is_empty() {
            return Err(OidcRefusal::NoIssuers);
        }
        let parsed = parse::parse(token.expose())?;
        let issuer = self.issuers.iter().find(|issuer| parsed.issuer() == Some(&issuer.url));
        let issuer = issuer.ok_or_else(|| OidcRefusal::issuer(parsed.issuer()))?;
        verify::verify(issuer, &parsed, self.clock.now()).await
    }

    /// Whether the OIDC token behind a registry token is over.
    pub(super) fn is_over(&self, basis: &OidcBasis) -> bool {
        self.clock.now().seconds() >= basis.expires
    }

    /// The build behind a registry token, if its issuer is still trusted for it.
    pub(super) fn again(&self, basis: OidcBasis) -> std::result::Result<Identity, AuthError> {
        let issuer = self.issuers.iter().find(|issuer| issuer.url == basis.issuer);
        let issuer = issuer.ok_or(AuthError::Invalid)?;
        let mut audiences = basis.audiences;
        audiences.retain(|audience| issuer.audiences.contains(audience));
        if audiences.is_empty() {
            return Err(AuthError::Invalid);
        }
        Ok(Identity {
            issuer: basis.issuer,
            subject: basis.subject,
            audiences,
            claims: basis.claims,
            names: Arc::clone(&issuer.names),
        })
    }

    /// Whether a binding of this issuer and audience can ever let anybody in.
    fn check(&self, issuer: &str, audience: &str) -> Result<()> {
        let invalid = |field, reason| Err(RegistryError::Invalid { field, reason });
        let Some(found) = self.issuers.iter().find(|found| found.url == issuer) else {
            let all: Vec<&str> = self.issuers.iter().map(|issuer| issuer.url.as_str()).collect();
            let all = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
            let reason = format!(
                "this server does not trust it; whoever runs the server adds it under oidc.issuers in the settings, where there is now: {all}"
            );
            return invalid("issuer", reason);
        };
        if !found.audiences.iter().any(|found| found == audience) {
            let reason = format!(
                "the settings have other audiences for this issuer: {}",
                found.audiences.join(", ")
            );
            return invalid("audience", reason);
        }
        Ok(())
    }

    /// The audience of an issuer that has only one.
    fn only_audience(&self, issuer: &str) -> Option<&str> {
        let found = self.issuers.iter().find(|found| found.url == issuer)?;
        match found.audiences.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }
}

impl Authenticator {
    /// Lets the builds of a source repository act in a repository.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] names the field.
    pub async fn bind(
        &self,
        access: &Bindable,
        change: &Change,
        new: NewBinding,
    ) -> Result<BindingView> {
        self.0.oidc.check(&new.issuer, &new.audience)?;
        self.0.registry.create_binding(access, change, new).await
    }

    /// The audience that a binding has unless it says one: the issuer's, if that has only one.
    #[must_use]
    pub fn only_audience(&self, issuer: &str) -> Option<&str> {
        self.0.oidc.only_audience(issuer)
    }
}
