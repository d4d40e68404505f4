//! Accounts of people: creating, changing, listing, and the first one.
//!
//! Invariant: a password is hashed before it reaches the store and never comes back. The last
//! administrator of the instance cannot be switched off through these verbs.

use super::{Authenticator, OIDC_USER, Secret, password};
use crate::auth::AuthError;
use crate::domain::{Caller, Change, Event, Principal, Timestamp, Username};
use crate::metadata::documents::{Body as _, User};
use crate::metadata::{Conflict, Document, DocumentKind, MetadataError, Page};
use crate::registry::access::InstanceAdmin;
use crate::registry::{RegistryError, Result};

/// The first administrator's name.
const FIRST_ADMIN: &str = "admin";
/// How many accounts are read at a time.
const BATCH: usize = 500;
/// How often a change is tried when others change the same account.
const TRIES: usize = 16;

/// A person as others may see them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The name they log in with.
    pub username: String,
    /// Whether they administer the whole instance.
    pub instance_admin: bool,
    /// Whether the account is switched off.
    pub disabled: bool,
    /// Whether they can log in with a password.
    pub has_password: bool,
    /// When the invitation that waits for them ends, if there is one.
    pub invited_until: Option<Timestamp>,
}

/// A person to be created.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// The name they log in with.
    pub username: Username,
    /// Their password.
    pub password: Secret,
    /// Whether they administer the whole instance.
    pub instance_admin: bool,
}

/// What an administrator changes of an account; `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct AccountChanges {
    /// A new password.
    pub password: Option<Secret>,
    /// Whether they administer the whole instance.
    pub instance_admin: Option<bool>,
    /// Whether the account is switched off.
    pub disabled: Option<bool>,
}

impl Authenticator {
    /// Makes the first administrator if there is no user of that name. Returns the one-time password
    /// if it had to be invented; it is stored nowhere else, so it must be shown now.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] if the given password is too short or too long, else the storage's.
    pub async fn ensure_admin(&self, given: Option<Secret>) -> Result<Option<Secret>> {
        let metadata = self.0.registry.metadata();
        if metadata.document(DocumentKind::User, FIRST_ADMIN).await?.is_some() {
            return Ok(None);
        }
        let invented = match given {
            Some(_) => None,
            None => Some(
                Secret::generate().map_err(|error| RegistryError::Unavailable(Box::new(error)))?,
            ),
        };
        // One of the two is there: the second is made exactly when the first is not.
        let Some(chosen) = given.or_else(|| invented.clone()) else { return Ok(None) };
        // Why it parses: the constant is within the grammar, and a test creates it.
        let username = FIRST_ADMIN.parse().expect("the constant is a user name");
        let new = NewAccount { username, password: chosen, instance_admin: true };
        let change = Change::by_server("first start");
        match self.create_account(InstanceAdmin::server(), &change, new).await {
            Ok(_) => Ok(invented),
            // Another server on the same metadata was faster; its password counts.
            Err(RegistryError::AlreadyExists(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates an account.
    ///
    /// # Errors
    /// [`RegistryError::AlreadyExists`]; [`RegistryError::Invalid`] for the password.
    pub async fn create_account(
        &self,
        _proof: InstanceAdmin,
        change: &Change,
        new: NewAccount,
    ) -> Result<Account> {
        self.0.registry.require_room_for_changes()?;
        let NewAccount { username, password, instance_admin } = new;
        check_username(&username)?;
        let password_hash = self.hash(&password).await?;
        let user = User { password_hash, instance_admin, ..User::default() };
        let event = Event::instance("user.create", &username);
        let change = &change.doing(event.with("instance_admin", instance_admin));
        self.insert_account(change, &username, &user).await
    }

    pub(super) async fn insert_account(
        &self,
        change: &Change,
        username: &Username,
        user: &User,
    ) -> Result<Account> {
        let key = username.as_str();
        let metadata = self.0.registry.metadata();
        match metadata.put_document(change, DocumentKind::User, key, None, user.encode()).await {
            Ok(_) => Ok(Account::new(key.to_owned(), user)),
            Err(MetadataError::Conflict(Conflict::Version)) => {
                Err(RegistryError::AlreadyExists(format!("user {username}")))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A page of all accounts, by name.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn accounts(&self, _proof: InstanceAdmin, page: Page) -> Result<Vec<Account>> {
        let found = self.0.registry.metadata().documents(DocumentKind::User, "", page).await?;
        found.into_iter().map(|document| Account::read(&document)).collect()
    }

    /// One account.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn account(&self, _proof: InstanceAdmin, user: &Username) -> Result<Account> {
        Account::read(&self.account_document(user).await?)
    }

    /// The caller's own account.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] for callers who are no person.
    pub async fn own_account(&self, caller: &Caller) -> Result<Account> {
        Account::read(&self.account_document(person(caller)?).await?)
    }

    /// Changes an account. Whatever it is, registry tokens issued on the account's password end.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`]; [`RegistryError::Invalid`] for the password, or when nobody would
    /// be left to administer the instance.
    pub async fn change_account(
        &self,
        _proof: InstanceAdmin,
        change: &Change,
        user: &Username,
        changes: AccountChanges,
    ) -> Result<Account> {
        if changes.disabled == Some(true) || changes.instance_admin == Some(false) {
            self.require_another_admin(user).await?;
        }
        let hash = match &changes.password {
            Some(password) => Some(self.hash(password).await?),
            None => None,
        };
        let change = &change.doing(change_event(user, &changes));
        self.update(change, user, |account| {
            if let Some(hash) = &hash {
                account.password_hash.clone_from(hash);
                account.invitation = None;
            }
            account.instance_admin = changes.instance_admin.unwrap_or(account.instance_admin);
            account.disabled = changes.disabled.unwrap_or(account.disabled);
        })
        .await
    }

    /// Changes the caller's own password, which takes the current one, whatever they logged in with.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] if the current password is wrong or the new one is not acceptable;
    /// [`RegistryError::NotFound`] for callers who are no person.
    pub async fn change_own_password(
        &self,
        caller: &Caller,
        change: &Change,
        current: Secret,
        new: &Secret,
    ) -> Result<()> {
        let user = person(caller)?;
        match self.password(user.as_str(), &current, None).await {
            Ok(_) => {}
            Err(AuthError::Unavailable(source)) => return Err(RegistryError::Unavailable(source)),
            Err(error) => {
                let reason = match error {
                    AuthError::TooMany(_) => error.to_string(),
                    _ => "this is not the current password".to_owned(),
                };
                return Err(RegistryError::Invalid { field: "current_password", reason });
            }
        }
        let hash = self.hash(new).await?;
        let change = &change.doing(Event::instance("user.password", user));
        self.update(change, user, |account| account.password_hash.clone_from(&hash)).await?;
        Ok(())
    }

    pub(super) async fn hash(&self, password: &Secret) -> Result<String> {
        if !password::is_acceptable(password) {
            let (shortest, longest) = (password::SHORTEST, password::LONGEST);
            let reason = format!("a password has {shortest} to {longest} bytes");
            return Err(RegistryError::Invalid { field: "password", reason });
        }
        self.0.passwords.hash(password).await.map_err(|error| match error {
            AuthError::TooMany(_) => RegistryError::Busy,
            other => RegistryError::Unavailable(Box::new(other)),
        })
    }

    pub(super) async fn account_document(&self, user: &Username) -> Result<Document> {
        let found = self.0.registry.metadata().document(DocumentKind::User, user.as_str()).await?;
        found.ok_or_else(|| RegistryError::NotFound(format!("user {user}")))
    }

    pub(super) async fn update(
        &self,
        change: &Change,
        user: &Username,
        apply: impl Fn(&mut User),
    ) -> Result<Account> {
        self.0.registry.require_room_for_changes()?;
        let metadata = self.0.registry.metadata();
        for _ in 0..TRIES {
            let found = self.account_document(user).await?;
            let mut account = User::decode(&found.body)?;
            apply(&mut account);
            let (key, version) = (user.as_str(), Some(found.version));
            let body = account.encode();
            match metadata.put_document(change, DocumentKind::User, key, version, body).await {
                Ok(_) => return Ok(Account::new(key.to_owned(), &account)),
                Err(MetadataError::Conflict(Conflict::Version)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(RegistryError::Busy)
    }

    pub(super) async fn require_another_admin(&self, user: &Username) -> Result<()> {
        let mut after = None;
        loop {
            let page = Page { after, limit: BATCH };
            let found = self.accounts(InstanceAdmin::server(), page).await?;
            let Some(last) = found.last() else { break };
            after = Some(last.username.clone());
            let others = found.iter().filter(|account| account.username != user.as_str());
            // One who has not accepted an invitation yet could not help.
            let helps =
                |one: &Account| one.instance_admin && !one.disabled && one.invited_until.is_none();
            if others.into_iter().any(helps) {
                return Ok(());
            }
        }
        let target = Account::read(&self.account_document(user).await?)?;
        if !target.instance_admin || target.disabled {
            return Ok(());
        }
        let reason = format!("{user} is the last administrator of this instance");
        Err(RegistryError::Invalid { field: "username", reason })
    }
}

impl Account {
    pub(super) fn new(username: String, user: &User) -> Self {
        Self {
            username,
            instance_admin: user.instance_admin,
            disabled: user.disabled,
            has_password: !user.password_hash.is_empty(),
            invited_until: user.invitation.as_ref().map(|waiting| Timestamp(waiting.expires)),
        }
    }

    fn read(document: &Document) -> Result<Self> {
        Ok(Self::new(document.key.clone(), &User::decode(&document.body)?))
    }
}

/// What is changed, without what it is changed to where that is a secret.
fn change_event(user: &Username, changes: &AccountChanges) -> Event {
    let mut event = Event::instance("user.change", user);
    if changes.password.is_some() {
        event = event.with("password", "changed");
    }
    for (name, value) in
        [("instance_admin", changes.instance_admin), ("disabled", changes.disabled)]
    {
        if let Some(value) = value {
            event = event.with(name, value);
        }
    }
    event
}

/// Refuses names that mean something else at a login.
pub(super) fn check_username(username: &Username) -> Result<()> {
    if username.as_str() == OIDC_USER {
        let reason = format!("{OIDC_USER} is what builds log in as with an OIDC token");
        return Err(RegistryError::Invalid { field: "username", reason });
    }
    Ok(())
}

/// The person behind a caller; pipelines and robots have no account.
pub(super) fn person(caller: &Caller) -> Result<&Username> {
    match &caller.principal {
        Principal::User(user) => Ok(user),
        Principal::Anonymous => Err(RegistryError::Unauthenticated),
        Principal::Pipeline { .. } | Principal::Robot { .. } | Principal::Oidc(_) => {
            Err(RegistryError::NotFound("account of a machine".to_owned()))
        }
    }
}
