//! Invitations: a one-time secret with which a person sets a password, at first or after a reset.
//!
//! Invariant: the secret has 256 random bits, is shown once, and only its hash is stored, in the
//! account itself; so it works once, ends with its time, and the newest is the only one. Whoever
//! tries one learns nothing but whether it worked.

use super::accounts::{Account, check_username};
use super::secret::{hex, random};
use super::{Authenticator, Secret};
use crate::domain::{Caller, Change, Event, Principal, Timestamp, Username};
use crate::metadata::documents::{Body as _, Invitation, User};
use crate::metadata::{Conflict, DocumentKind, MetadataError};
use crate::registry::access::InstanceAdmin;
use crate::registry::{RegistryError, Result};
use sha2::{Digest as _, Sha256};
use std::time::Duration;
use subtle::ConstantTimeEq as _;

/// What the text of a secret begins with, so that it is not taken for a password or a token.
const PREFIX: &str = "spi_";
/// The shortest time that an invitation waits.
const SHORTEST: Duration = Duration::from_secs(60);
/// The time when none is asked for: a week.
const DEFAULT: Duration = Duration::from_secs(7 * 24 * 3600);
/// The longest time: 30 days.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// The credential id of somebody who sets a password with an invitation.
const CREDENTIAL: &str = "invitation";

/// A person to be invited.
#[derive(Clone, Debug)]
pub struct NewInvitation {
    /// The name they will log in with.
    pub username: Username,
    /// Whether they administer the whole instance.
    pub instance_admin: bool,
    /// How long the invitation waits; `None` for the default.
    pub lifetime: Option<Duration>,
}

/// An invitation that was just made, with its secret, which is shown only now.
#[derive(Clone, Debug)]
pub struct Invited {
    /// The account.
    pub account: Account,
    /// The secret.
    pub secret: Secret,
    /// When it ends.
    pub expires: Timestamp,
}

/// Whoever has the secret is the person; a login that came along says nothing there.
#[must_use]
pub fn acceptor(user: &Username) -> Caller {
    let principal = Principal::User(user.clone());
    Caller { credential: Some(CREDENTIAL.to_owned()), ..Caller::of(principal) }
}

impl Authenticator {
    /// Creates an account without a password, and the secret with which the person sets one.
    ///
    /// # Errors
    /// [`RegistryError::AlreadyExists`]; [`RegistryError::Invalid`] for the name or the lifetime.
    pub async fn invite(
        &self,
        _proof: InstanceAdmin,
        change: &Change,
        new: NewInvitation,
    ) -> Result<Invited> {
        self.0.registry.require_room_for_changes()?;
        check_username(&new.username)?;
        let (secret, invitation) = self.mint_invitation(new.lifetime)?;
        let expires = Timestamp(invitation.expires);
        let user = User {
            instance_admin: new.instance_admin,
            invitation: Some(invitation),
            ..User::default()
        };
        let event = Event::instance("user.invite", &new.username);
        let change = &change.doing(event.with("instance_admin", new.instance_admin));
        let account = self.insert_account(change, &new.username, &user).await?;
        Ok(Invited { account, secret, expires })
    }

    /// Ends a person's password, with all registry tokens issued on it, and makes the secret with
    /// which they set another one. Their personal tokens go on.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`]; [`RegistryError::Invalid`] for the lifetime, or for the last
    /// administrator, who would be locked out if the secret got lost.
    pub async fn reset(
        &self,
        _proof: InstanceAdmin,
        change: &Change,
        user: &Username,
        lifetime: Option<Duration>,
    ) -> Result<Invited> {
        self.require_another_admin(user).await?;
        let (secret, invitation) = self.mint_invitation(lifetime)?;
        let expires = Timestamp(invitation.expires);
        let change = &change.doing(Event::instance("user.reset", user));
        let account = self.update(change, user, |account| {
            account.password_hash.clear();
            account.invitation = Some(invitation.clone());
        });
        Ok(Invited { account: account.await?, secret, expires })
    }

    /// Ends the invitation or reset that waits for a person. Without a password they cannot log in
    /// until they get another one.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] if none waits.
    pub async fn withdraw_invitation(
        &self,
        proof: InstanceAdmin,
        change: &Change,
        user: &Username,
    ) -> Result<()> {
        if self.account(proof, user).await?.invited_until.is_none() {
            return Err(RegistryError::NotFound(format!("invitation of {user}")));
        }
        let change = &change.doing(Event::instance("user.withdraw", user));
        self.update(change, user, |account| account.invitation = None).await?;
        Ok(())
    }

    /// Whether the secret invites the person now.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn is_invited(&self, user: &Username, secret: &Secret) -> Result<bool> {
        match self.invited(user, secret).await {
            Ok(_) => Ok(true),
            Err(RegistryError::Invalid { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sets a password with the secret of an invitation, which ends by that.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] for the password, or for a secret that is wrong, used or over,
    /// which are not told apart; also if the account is switched off.
    pub async fn accept_invitation(
        &self,
        change: &Change,
        user: &Username,
        secret: &Secret,
        password: &Secret,
    ) -> Result<()> {
        self.0.registry.require_room_for_changes()?;
        // Before any work is done that costs something: nobody has logged in here.
        self.invited(user, secret).await?;
        let hash = self.hash(password).await?;
        let (mut account, version) = self.invited(user, secret).await?;
        account.password_hash = hash;
        account.invitation = None;
        let (key, body) = (user.as_str(), account.encode());
        let metadata = self.0.registry.metadata();
        let change = &change.doing(Event::instance("user.accept", user));
        match metadata.put_document(change, DocumentKind::User, key, Some(version), body).await {
            Ok(_) => Ok(()),
            // Somebody else used it, or the account was changed: look again.
            Err(MetadataError::Conflict(Conflict::Version)) => {
                Err(RegistryError::ChangedMeanwhile(format!("user {user}")))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The account that the secret invites to now, with its version.
    async fn invited(&self, user: &Username, secret: &Secret) -> Result<(User, u64)> {
        let now = self.0.registry.clock().now();
        let found = self.0.registry.metadata().document(DocumentKind::User, user.as_str()).await?;
        let found = found
            .map(|found| User::decode(&found.body).map(|account| (account, found.version)))
            .transpose()?;
        let hash = hash(secret.expose());
        let fits = |(account, _): &(User, u64)| {
            let waiting = account.invitation.as_ref().filter(|waiting| waiting.expires > now.0);
            !account.disabled
                && waiting.is_some_and(|waiting| waiting.secret_hash.ct_eq(&hash).into())
        };
        found.filter(fits).ok_or_else(|| RegistryError::Invalid {
            field: "secret",
            reason: "it is not valid, was used or is over; ask an administrator for another one"
                .to_owned(),
        })
    }

    fn mint_invitation(&self, lifetime: Option<Duration>) -> Result<(Secret, Invitation)> {
        let lifetime = lifetime.unwrap_or(DEFAULT);
        if !(SHORTEST..=LONGEST).contains(&lifetime) {
            let reason = format!("{} to {} seconds", SHORTEST.as_secs(), LONGEST.as_secs());
            return Err(RegistryError::Invalid { field: "lifetime_seconds", reason });
        }
        let bytes = random::<32>().map_err(|error| RegistryError::Unavailable(Box::new(error)))?;
        let text = format!("{PREFIX}{}", hex(&bytes));
        let expires = self.0.registry.clock().now().plus(lifetime).0;
        let invitation = Invitation { secret_hash: hash(&text), expires };
        Ok((Secret::new(text), invitation))
    }
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}
