use super::*;
use crate::blobs::fs::FsBlobStore;
use crate::blobs::fs::files::SystemFiles;
use crate::clock::Clock;
use crate::domain::{Change, Role, Visibility, WorkspaceSettings};
use crate::metadata::redb::{RedbOptions, RedbStore};
use crate::metadata::{NewWorkspace, Page, RepositoryFields};
use crate::registry::access::{Administered, InstanceAdmin};
use crate::registry::{Limits, RegistryError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::time::Duration;

struct World {
    auth: Authenticator,
    clock: Clock,
    directory: tempfile::TempDir,
}

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
}

fn change() -> Change {
    Change::by_server("test")
}

fn wanted(text: &str) -> Vec<Grant> {
    scope::parse([text]).expect("few scopes")
}

fn new_token(seconds: u64) -> NewToken {
    NewToken { name: "ci".to_owned(), lifetime: Some(Duration::from_secs(seconds)), scopes: None }
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let clock = Clock::manual(Timestamp(1_800_000_000_000));
        let database = directory.path().join("meta.redb");
        let metadata = RedbStore::open(&database, RedbOptions::default(), clock.clone());
        let blobs = FsBlobStore::open(directory.path(), clock.clone(), SystemFiles);
        let registry = Registry::new(
            Arc::new(metadata.expect("a new database")),
            Arc::new(blobs.expect("a new blob store")),
            clock.clone(),
            Limits::default(),
            None,
        );
        let auth = Self::open(&registry).await;
        Self { auth, clock, directory }
    }

    async fn open(registry: &Registry) -> Authenticator {
        let settings = AuthSettings {
            service: "standpipe".to_owned(),
            token_seconds: 300,
            issuers: Vec::new(),
        };
        Authenticator::open(registry.clone(), settings).await.expect("accounts")
    }

    /// The same data, as after a restart.
    async fn restarted(&self) -> Authenticator {
        Self::open(&self.auth.0.registry).await
    }

    async fn user(&self, name: &str, password: &str) {
        let username = name.parse().expect("a user name");
        let new = NewAccount { username, password: secret(password), instance_admin: false };
        let made = self.auth.create_account(InstanceAdmin::server(), &change(), new).await;
        made.expect("a new account");
    }

    /// The repository `acme/shop`, which Ann writes and which has the package `acme/shop`.
    async fn shop(&self) -> Administered<crate::metadata::Repository> {
        let registry = &self.auth.0.registry;
        self.auth.ensure_admin(Some(secret("admin-password"))).await.expect("an administrator");
        let admin = self.auth.caller(Some(&basic("admin", "admin-password"))).await.expect("right");
        let slug: crate::domain::Slug = "acme".parse().expect("a slug");
        let settings = WorkspaceSettings::default();
        let new = NewWorkspace { slug: slug.clone(), name: "Acme".to_owned(), settings };
        let proof = registry.instance_admin(&admin).await.expect("an administrator");
        registry.create_workspace(proof, &change(), new).await.expect("a workspace");
        let workspace = registry.workspace_admin(&admin, &slug).await.expect("an administrator");
        let fields = RepositoryFields {
            slug: "shop".parse().expect("a slug"),
            name: "Shop".to_owned(),
            project: None,
            visibility: Visibility::Private,
        };
        registry.create_repository(&workspace, &change(), fields).await.expect("a repository");
        let shop = "shop".parse().expect("a slug");
        let access = registry.repository_for(&admin, &slug, &shop, Action::Manage).await;
        let access = access.expect("an administrator");
        let name = "shop".parse().expect("a name");
        registry.create_package(&access, &change(), &name).await.expect("a package");
        self.user("ann", "ann-password").await;
        let ann = "ann".parse().expect("a name");
        registry.set_role(&access, &change(), &ann, Some(Role::Write)).await.expect("a role");
        access
    }

    /// A registry token of a login.
    async fn bearer(&self, authorization: &str, scope: &str) -> String {
        let login = self.auth.login(Some(authorization), None).await.expect("a login");
        let issued = self.auth.issue(&login, wanted(scope)).await.expect("a token");
        format!("Bearer {}", issued.token.expose())
    }
}

#[tokio::test]
async fn the_first_administrator_gets_the_given_password_or_a_new_one() {
    let world = World::new().await;
    let short = world.auth.ensure_admin(Some(secret("short"))).await;
    assert!(matches!(short, Err(RegistryError::Invalid { field: "password", .. })));
    let invented = world.auth.ensure_admin(None).await.expect("an account").expect("a password");
    let login = world.auth.caller(Some(&basic("admin", invented.expose()))).await.expect("right");
    assert_eq!(login.principal, Principal::User("admin".parse().expect("a name")));
    // Later starts change nothing, whatever they are given.
    assert!(
        world.auth.ensure_admin(Some(secret("other-password"))).await.expect("there").is_none()
    );
    assert!(world.auth.caller(Some(&basic("admin", "other-password"))).await.is_err());
}

#[tokio::test]
async fn nothing_but_the_password_logs_in_and_no_header_is_anonymous() {
    let world = World::new().await;
    world.user("ann", "ann-password").await;
    assert!(world.auth.caller(None).await.expect("nobody").is_anonymous());
    let ann = world.auth.caller(Some(&basic("ann", "ann-password"))).await.expect("right");
    assert_eq!(ann.credential.as_deref(), Some(PASSWORD_CREDENTIAL));
    for header in [
        basic("ann", "ann-passwore"),
        basic("ann", ""),
        basic("Ann", "ann-password"),
        basic("ann ", "ann-password"),
        basic("nobody", "ann-password"),
        basic("", ""),
        basic("ann", &"x".repeat(2000)),
        "Bearer ann-password".to_owned(),
        "Digest x".to_owned(),
        String::new(),
    ] {
        let refused = world.auth.caller(Some(&header)).await;
        assert!(matches!(refused, Err(AuthError::Invalid | AuthError::Refused(_))), "{header}");
    }
}

#[tokio::test]
async fn a_changed_password_ends_the_old_one_and_its_registry_tokens_at_once() {
    let world = World::new().await;
    world.shop().await;
    let old = basic("ann", "ann-password");
    let bearer = world.bearer(&old, "repository:acme/shop:pull").await;
    assert!(world.auth.caller(Some(&bearer)).await.is_ok());
    let ann = world.auth.caller(Some(&old)).await.expect("right");
    let set = async |current: &str| {
        let (current, new) = (secret(current), secret("new-password"));
        world.auth.change_own_password(&ann, &change(), current, &new).await
    };
    let wrong = set("wrong-password").await;
    assert!(matches!(wrong, Err(RegistryError::Invalid { field: "current_password", .. })));
    set("ann-password").await.expect("changed");
    // The old password was remembered as right a moment ago; that must not help.
    assert!(matches!(
        world.auth.caller(Some(&old)).await,
        Err(AuthError::Invalid | AuthError::Refused(_))
    ));
    assert!(matches!(
        world.auth.caller(Some(&bearer)).await,
        Err(AuthError::Invalid | AuthError::Refused(_))
    ));
    assert!(world.auth.caller(Some(&basic("ann", "new-password"))).await.is_ok());
}

#[tokio::test]
async fn a_disabled_account_has_no_password_no_token_and_no_registry_token() {
    let world = World::new().await;
    world.shop().await;
    let password = basic("ann", "ann-password");
    let ann = world.auth.caller(Some(&password)).await.expect("right");
    let made = world.auth.create_personal_token(&ann, &change(), new_token(3600)).await;
    let personal = basic("whatever", made.expect("a token").1.expose());
    let bearer = world.bearer(&personal, "repository:acme/shop:pull").await;
    let set = async |disabled| {
        let changes = AccountChanges { disabled: Some(disabled), ..AccountChanges::default() };
        let ann = "ann".parse().expect("a name");
        let admin = InstanceAdmin::server();
        world.auth.change_account(admin, &change(), &ann, changes).await.expect("changed");
    };
    for header in [&password, &personal, &bearer] {
        assert!(world.auth.caller(Some(header)).await.is_ok());
    }
    set(true).await;
    for header in [&password, &personal, &bearer] {
        assert!(matches!(
            world.auth.caller(Some(header)).await,
            Err(AuthError::Invalid | AuthError::Refused(_))
        ));
    }
    set(false).await;
    assert!(world.auth.caller(Some(&password)).await.is_ok());
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let world = World::new().await;
    world.auth.ensure_admin(Some(secret("admin-password"))).await.expect("an administrator");
    world.user("ann", "ann-password").await;
    let update = async |name: &str, changes| {
        let user = name.parse().expect("a name");
        world.auth.change_account(InstanceAdmin::server(), &change(), &user, changes).await
    };
    let off = || AccountChanges { disabled: Some(true), ..AccountChanges::default() };
    let demoted = AccountChanges { instance_admin: Some(false), ..AccountChanges::default() };
    assert!(matches!(update("admin", off()).await, Err(RegistryError::Invalid { .. })));
    assert!(matches!(update("admin", demoted).await, Err(RegistryError::Invalid { .. })));
    assert!(update("ann", off()).await.is_ok(), "anybody else may go");
    let promoted =
        AccountChanges { instance_admin: Some(true), disabled: Some(false), password: None };
    update("ann", promoted).await.expect("changed");
    assert!(update("admin", off()).await.is_ok());
    let missing = update("nobody", off()).await;
    assert!(matches!(missing, Err(RegistryError::NotFound(_))));
}

#[tokio::test]
async fn a_pipeline_token_acts_as_its_repository_until_it_ends_or_is_revoked() {
    let world = World::new().await;
    let access = world.shop().await;
    let (view, token) =
        world.auth.create_pipeline_token(&access, &change(), new_token(3600)).await.expect("made");
    let header = basic("any user name", token.expose());
    let caller = world.auth.caller(Some(&header)).await.expect("right");
    let shop = access.subject();
    let principal = Principal::Pipeline { workspace: shop.workspace, repository: shop.id };
    assert_eq!(caller.principal, principal);
    assert_eq!(caller.credential.as_deref(), Some(view.id.as_str()));
    assert!(world.auth.caller(Some(&format!("Bearer {}", token.expose()))).await.is_ok());
    let bearer = world.bearer(&header, "repository:acme/shop:pull,push").await;
    assert_eq!(world.auth.caller(Some(&bearer)).await.expect("ours").principal, principal);

    let page = || Page { after: None, limit: 10 };
    let listed = world.auth.pipeline_tokens(&access, page()).await.expect("a list");
    let used = TokenView { last_used: Some(world.clock.now()), ..view.clone() };
    assert_eq!(listed, [used]);
    world.auth.revoke_pipeline_token(&access, &change(), &view.id).await.expect("revoked");
    for gone in [&header, &bearer] {
        assert!(matches!(
            world.auth.caller(Some(gone)).await,
            Err(AuthError::Invalid | AuthError::Refused(_))
        ));
    }
    let again = world.auth.revoke_pipeline_token(&access, &change(), &view.id).await;
    assert!(matches!(again, Err(RegistryError::NotFound(_))));

    let made = world.auth.create_pipeline_token(&access, &change(), new_token(60)).await;
    let header = basic("x", made.expect("made").1.expose());
    world.clock.advance(Duration::from_secs(59));
    assert!(world.auth.caller(Some(&header)).await.is_ok());
    world.clock.advance(Duration::from_secs(1));
    assert!(matches!(
        world.auth.caller(Some(&header)).await,
        Err(AuthError::Invalid | AuthError::Refused(_))
    ));
}

#[tokio::test]
async fn lifetimes_and_names_of_tokens_have_limits_and_old_ends_are_swept() {
    let world = World::new().await;
    let access = world.shop().await;
    let make = async |new| world.auth.create_pipeline_token(&access, &change(), new).await;
    for seconds in [0, 59, 366 * 24 * 3600 + 1, u64::MAX] {
        let refused = make(new_token(seconds)).await;
        assert!(
            matches!(refused, Err(RegistryError::Invalid { field: "lifetime_seconds", .. })),
            "{seconds}"
        );
    }
    for name in ["", "a\nb", &"x".repeat(101)] {
        let refused = make(NewToken { name: name.to_owned(), lifetime: None, scopes: None }).await;
        assert!(matches!(refused, Err(RegistryError::Invalid { field: "name", .. })), "{name}");
    }
    let longest = "x".repeat(100);
    let new = NewToken { name: longest, lifetime: None, scopes: None };
    let (unsaid, _) = make(new).await.expect("100 characters are allowed");
    let days = unsaid.expires.map(|end| end.since(unsaid.created).as_secs() / 86_400);
    assert_eq!(days, Some(90));
    for seconds in [60, 60, 366 * 24 * 3600] {
        make(new_token(seconds)).await.expect("made");
    }
    world.clock.advance(Duration::from_secs(380 * 24 * 3600));
    let (kept, _) = make(new_token(60)).await.expect("made");
    let page = Page { after: None, limit: 10 };
    assert_eq!(world.auth.pipeline_tokens(&access, page).await.expect("a list"), [kept]);
}

#[tokio::test]
async fn making_a_token_forgets_those_that_ended_a_week_ago_and_no_others() {
    let world = World::new().await;
    let access = world.shop().await;
    let make = async |seconds| {
        let made = world.auth.create_pipeline_token(&access, &change(), new_token(seconds)).await;
        made.expect("made").0.id
    };
    let count = async || {
        let page = Page { after: None, limit: 10 };
        world.auth.pipeline_tokens(&access, page).await.expect("a list").len()
    };
    let week = Duration::from_secs(7 * 24 * 3600);
    make(60).await;
    make(30 * 24 * 3600).await;
    world.clock.advance(Duration::from_secs(60) + week);
    make(60).await;
    assert_eq!(count().await, 3, "a week and no longer");
    world.clock.advance(Duration::from_millis(1));
    make(60).await;
    assert_eq!(count().await, 3, "the first is gone, the long-lived one is not");
}

#[tokio::test]
async fn a_page_of_tokens_has_as_many_as_were_asked_for_and_the_next_goes_on_behind_it() {
    let world = World::new().await;
    let access = world.shop().await;
    let mut made = Vec::new();
    for _ in 0..3 {
        let token = world.auth.create_pipeline_token(&access, &change(), new_token(60)).await;
        made.push(token.expect("made").0.id);
    }
    made.sort_unstable();
    let page = async |after: Option<&String>, limit| {
        let page = Page { after: after.cloned(), limit };
        let found = world.auth.pipeline_tokens(&access, page).await.expect("a list");
        found.into_iter().map(|token| token.id).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 2).await, made[..2]);
    assert_eq!(page(None, 3).await, made);
    assert_eq!(page(Some(&made[1]), 2).await, made[2..]);
    assert_eq!(page(Some(&made[2]), 2).await, <[String; 0]>::default());
}

#[tokio::test]
async fn nobody_sees_or_revokes_the_tokens_of_somebody_else() {
    let world = World::new().await;
    let access = world.shop().await;
    world.user("bob", "bob-password").await;
    let ann = world.auth.caller(Some(&basic("ann", "ann-password"))).await.expect("right");
    let bob = world.auth.caller(Some(&basic("bob", "bob-password"))).await.expect("right");
    let made = world.auth.create_personal_token(&ann, &change(), new_token(60)).await;
    let (personal, _) = made.expect("made");
    let made = world.auth.create_pipeline_token(&access, &change(), new_token(60)).await;
    let (pipeline, _) = made.expect("made");
    let page = || Page { after: None, limit: 10 };
    assert_eq!(world.auth.personal_tokens(&bob, page()).await.expect("a list"), []);
    for id in [&personal.id, &pipeline.id] {
        let refused = world.auth.revoke_personal_token(&bob, &change(), id).await;
        assert!(matches!(refused, Err(RegistryError::NotFound(_))));
    }
    let refused = world.auth.revoke_pipeline_token(&access, &change(), &personal.id).await;
    assert!(matches!(refused, Err(RegistryError::NotFound(_))));
    let refused = world.auth.personal_tokens(&Caller::anonymous(), page()).await;
    assert!(matches!(refused, Err(RegistryError::Unauthenticated)));
    world.auth.revoke_personal_token(&ann, &change(), &personal.id).await.expect("her own");
}

#[tokio::test]
async fn a_registry_token_is_granted_what_is_asked_and_allowed() {
    let world = World::new().await;
    world.shop().await;
    let granted = async |header: Option<String>, asked: &str| {
        let login = world.auth.login(header.as_deref(), None).await.expect("a login");
        let issued = world.auth.issue(&login, wanted(asked)).await.expect("a token");
        let caller = world.auth.caller(Some(&format!("Bearer {}", issued.token.expose()))).await;
        assert_eq!(caller.expect("ours").grants.as_ref(), Some(&issued.grants));
        scope::Scopes(&issued.grants).to_string()
    };
    let ann = || Some(basic("ann", "ann-password"));
    let all = "repository:acme/shop:pull,push,delete repository:acme/vault:pull";
    assert_eq!(granted(ann(), all).await, "repository:acme/shop:pull,push,delete");
    assert_eq!(granted(ann(), "repository:acme/shop:pull").await, "repository:acme/shop:pull");
    assert_eq!(granted(ann(), "").await, "");
    assert_eq!(granted(None, all).await, "");
    // The administrator's push will create the package; pulling belongs to it.
    let admin = Some(basic("admin", "admin-password"));
    let asked = "repository:acme/shop/new:pull,push";
    assert_eq!(granted(admin, asked).await, "repository:acme/shop/new:pull,push");
    assert_eq!(granted(ann(), asked).await, "", "a writer does not create packages");
}

#[tokio::test]
async fn a_registry_token_is_no_login_and_survives_a_restart() {
    let world = World::new().await;
    world.shop().await;
    let bearer = world.bearer(&basic("ann", "ann-password"), "repository:acme/shop:pull").await;
    assert!(matches!(
        world.auth.login(Some(&bearer), None).await,
        Err(AuthError::Invalid | AuthError::Refused(_))
    ));
    assert!(world.restarted().await.caller(Some(&bearer)).await.is_ok());
    world.clock.advance(Duration::from_secs(330));
    assert!(matches!(world.auth.caller(Some(&bearer)).await, Err(AuthError::Expired)));
}

#[tokio::test]
async fn guessing_is_slowed_down_for_known_and_unknown_users_alike() {
    let world = World::new().await;
    world.user("ann", "ann-password").await;
    for name in ["ann", "nobody"] {
        for guess in 0..10 {
            let refused = world.auth.caller(Some(&basic(name, &format!("guess-{guess:04}")))).await;
            assert!(
                matches!(refused, Err(AuthError::Invalid | AuthError::Refused(_))),
                "{name} {guess}"
            );
        }
        let refused = world.auth.caller(Some(&basic(name, "guess-again"))).await;
        assert!(matches!(refused, Err(AuthError::TooMany(2))), "{name}");
    }
    let waiting = world.auth.caller(Some(&basic("ann", "ann-password"))).await;
    assert!(matches!(waiting, Err(AuthError::TooMany(_))));
    world.clock.advance(Duration::from_secs(2));
    assert!(world.auth.caller(Some(&basic("ann", "ann-password"))).await.is_ok());
}

#[tokio::test]
async fn the_owner_of_an_attacked_account_gets_in_from_where_the_password_was_right_before() {
    let world = World::new().await;
    world.user("ann", "ann-password").await;
    let office = Some(std::net::IpAddr::from([192, 0, 2, 1]));
    let right = basic("ann", "ann-password");
    assert!(world.auth.caller_from(Some(&right), office).await.is_ok());
    for guess in 0..10 {
        let guess = basic("ann", &format!("guess-{guess:04}"));
        let refused = world.auth.caller_from(Some(&guess), None).await;
        assert!(matches!(refused, Err(AuthError::Refused(Refusal::Password))));
    }
    // What was right is remembered for a minute; after it the attack goes on.
    world.clock.advance(Duration::from_secs(61));
    let refused = world.auth.caller(Some(&basic("ann", "guess-0010"))).await;
    assert!(matches!(refused, Err(AuthError::Refused(Refusal::Password))));
    assert!(matches!(world.auth.caller(Some(&right)).await, Err(AuthError::TooMany(_))));
    assert!(world.auth.caller_from(Some(&right), office).await.is_ok());
    let stale = world.auth.caller(Some(&basic("ann", "guess-0003"))).await;
    assert!(
        matches!(stale, Err(AuthError::Refused(Refusal::Password))),
        "a stale secret is told so, not to wait"
    );
}

#[tokio::test]
async fn neither_password_nor_token_is_on_disk_or_in_debug_output() {
    let world = World::new().await;
    let access = world.shop().await;
    let made = world.auth.create_pipeline_token(&access, &change(), new_token(60)).await;
    let (view, token) = made.expect("made");
    let login = world.auth.login(Some(&basic("x", token.expose())), None).await.expect("right");
    let shown = format!("{:?} {view:?} {token:?} {login:?}", world.auth);
    let hidden = &token.expose()[30..90];
    assert!(!shown.contains(hidden) && !shown.contains("ann-password"), "{shown}");
    let database = std::fs::read(world.directory.path().join("meta.redb")).expect("the database");
    for text in [hidden, "ann-password", "admin-password"] {
        assert!(!database.windows(text.len()).any(|window| window == text.as_bytes()), "{text}");
    }
}
