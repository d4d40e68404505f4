//! The same for tokens and deletions: whatever call fails or is the last one, a token that was handed
//! out works after the next start, and what was taken away stays away.

use super::*;
use standpipe_server::auth::{AuthSettings, Authenticator, NewToken, Secret};
use standpipe_server::domain::Action;

/// What was acknowledged about tokens and deletions. Tokens and digests beside what is known of them.
#[derive(Default)]
struct Told {
    works: Vec<Secret>,
    revoked: Vec<Secret>,
    /// Registry tokens, which are not stored but signed with a key that is.
    signed: Vec<Secret>,
    deleted: Vec<Digest>,
}

async fn accounts(world: &World) -> Option<Authenticator> {
    let settings =
        AuthSettings { service: "standpipe".to_owned(), token_seconds: 300, issuers: Vec::new() };
    Authenticator::open(world.registry.clone(), settings).await.ok()
}

fn bearer(token: &Secret) -> String {
    format!("Bearer {}", token.expose())
}

/// Tokens of each kind, one of them revoked, and a blob that is deleted. Goes on after an error as a
/// client would that retries nothing.
async fn use_accounts(world: &World, told: &mut Told) {
    let Some(auth) = accounts(world).await else { return };
    let new = || NewToken { name: "test".to_owned(), lifetime: None, scopes: None };
    if let Ok((_, token)) = auth.create_personal_token(&admin(), &change(), new()).await {
        if let Ok(login) = auth.login(Some(&bearer(&token)), None).await
            && let Ok(issued) = auth.issue(&login, Vec::new()).await
        {
            told.signed.push(issued.token);
        }
        told.works.push(token);
    }
    if let Ok((view, token)) = auth.create_personal_token(&admin(), &change(), new()).await {
        // Only what was answered is known; a revocation that failed may have happened.
        if auth.revoke_personal_token(&admin(), &change(), &view.id).await.is_ok() {
            told.revoked.push(token);
        }
    }
    let (workspace, shop) = ("acme".parse().unwrap(), "shop".parse().unwrap());
    let access = world.registry.repository_for(&admin(), &workspace, &shop, Action::Manage).await;
    if let Ok(access) = access
        && let Ok((_, token)) = auth.create_pipeline_token(&access, &change(), new()).await
    {
        told.works.push(token);
    }
    let digest = Algorithm::Sha256.hash(b"deleted");
    if let Ok(access) = world.registry.deletable(&admin(), &name()).await
        && world.registry.delete_blob(&access, &change(), &digest).await.is_ok()
    {
        told.deleted.push(digest);
    }
}

async fn verify_accounts(world: &World, told: &Told, what: &str) {
    verify(world, &Acknowledged::new(), what).await;
    let auth = accounts(world).await.unwrap_or_else(|| panic!("{what}: accounts do not open"));
    for token in told.works.iter().chain(&told.signed) {
        let caller = auth.caller(Some(&bearer(token))).await;
        assert!(caller.is_ok(), "{what}: a token that was handed out does not work: {caller:?}");
    }
    for token in &told.revoked {
        let caller = auth.caller(Some(&bearer(token))).await;
        assert!(caller.is_err(), "{what}: a token that was revoked works again");
    }
    let access = world.registry.readable(&admin(), &name()).await.unwrap();
    for digest in &told.deleted {
        let found = world.registry.blob(&access, digest, Purpose::Pull).await;
        assert!(found.is_err(), "{what}: a blob that was deleted is back");
    }
}

async fn every_call_fails(fault: Fault, lasting: Lasting) {
    let plan = FaultPlan::new();
    let base = SimulatedDisk::new();
    base.create_dir(Path::new(ROOT)).unwrap();
    base.sync_dir(Path::new("/")).unwrap();
    let disk = Disk { bytes: Arc::default(), plan: plan.clone() };
    let world = open(&base, &disk);
    prepare(&world).await;
    upload(&world, b"deleted", 1).await.unwrap();
    drop(world);
    let image = disk.bytes.lock().unwrap().clone();
    for n in 1.. {
        let files = base.after_power_loss(n);
        let disk = Disk { bytes: Arc::new(Mutex::new(image.clone())), plan: plan.clone() };
        plan.disarm();
        let world = open(&files, &disk);
        let mut told = Told::default();
        plan.arm(n, fault, lasting);
        use_accounts(&world, &mut told).await;
        drop(world);
        let finished = plan.struck().is_empty();
        let struck = plan.struck().first().copied().unwrap_or_default();
        plan.disarm();
        let world = open(&files, &disk);
        let what = format!("call {n}, {fault:?}, {lasting:?}, {struck}");
        verify_accounts(&world, &told, &what).await;
        if finished {
            let Told { works, revoked, signed, deleted } = told;
            let seen = (works.len(), revoked.len(), signed.len(), deleted.len());
            assert_eq!(seen, (2, 1, 1, 1));
            assert!(n > 50, "tokens and deletions make many calls; only {n} were seen");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_call_takes_no_token_and_brings_nothing_back() {
    every_call_fails(Fault::Io, Lasting::Once).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_at_any_call_takes_no_token_and_brings_nothing_back() {
    // As far as the disk can tell, a process that was killed and a disk that is gone are the same.
    every_call_fails(Fault::Io, Lasting::Forever).await;
}
