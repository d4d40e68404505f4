//! The whole table, row by row.

use super::*;
use crate::auth::OidcRefusal;
use crate::blobs::StreamError;
use crate::domain::manifest::InvalidManifest;
use crate::domain::{Action, Algorithm, Role};

fn broken(error: impl Into<Box<dyn Error + Send + Sync>>) -> RegistryError {
    RegistryError::BodyBroken(StreamError(error.into()))
}

fn unknown(why: NotCreated) -> RegistryError {
    RegistryError::NameUnknown { name: "acme/app".parse().expect("a name"), why }
}

/// One of each error, in the order of the table.
fn errors() -> Vec<RegistryError> {
    use RegistryError as E;
    let digest = Algorithm::Sha256.hash(b"");
    let other = Algorithm::Sha256.hash(b"x");
    let name = || "acme/app".parse().expect("a name");
    vec![
        E::AdministratorsOnly("workspace"),
        E::AlreadyExists("package app".to_owned()),
        E::AlreadyRuns("verification"),
        E::BlobDamaged(digest),
        E::BlobTooLarge(10),
        E::BlobUnknown(digest),
        broken("gone"),
        E::Busy,
        E::ChangedMeanwhile("workspace acme".to_owned()),
        E::Denied(Action::Push),
        E::DigestMismatch { expected: digest, actual: other },
        E::HasPackages("shop".to_owned()),
        E::InsufficientScope { name: name(), action: Action::Push },
        E::Invalid { field: "name", reason: "too long".to_owned() },
        E::ManifestBlobUnknown(digest),
        E::RepositoryGone,
        E::ManifestInvalid(InvalidManifest::SchemaOne),
        E::ManifestSize { digest, actual: 1, said: 2 },
        E::ManifestTooLarge(10),
        E::ManifestUnknown("latest".parse().expect("a tag")),
        unknown(NotCreated::Hidden),
        E::NoSpace,
        E::NotFound("user ann".to_owned()),
        E::TagRules("the tag v1 is not moved".to_owned()),
        E::TokenScope("push"),
        E::Unauthenticated,
        E::Unavailable("the disk is on fire".into()),
        E::UploadBusy,
        E::UploadExpired(60),
        E::UploadOffset { actual: 100 },
        E::UploadSize { actual: 1, said: 2 },
        E::UploadUnknown,
    ]
}

#[test]
fn every_error_has_its_status_code_and_kind() {
    let rows: Vec<String> = errors()
        .iter()
        .map(problem)
        .map(|row| {
            let headers: Vec<String> =
                row.headers.iter().map(|(name, value)| format!(" {name}={value}")).collect();
            let challenged = if row.challenge.is_some() { " challenge" } else { "" };
            let (status, code) = (row.status.as_u16(), row.code.as_str());
            format!("{status} {code} {}{challenged}{}", row.kind, headers.concat())
        })
        .collect();
    insta::assert_snapshot!(rows.join("\n"), @r"
    403 DENIED administrators-only
    409 DENIED already-exists
    409 DENIED already-runs
    500 UNKNOWN blob-damaged
    413 SIZE_INVALID blob-too-large
    404 BLOB_UNKNOWN blob-unknown
    400 BLOB_UPLOAD_INVALID body-broken
    503 UNAVAILABLE busy retry-after=1
    409 DENIED changed-meanwhile
    403 DENIED role-too-small
    400 DIGEST_INVALID digest-mismatch
    409 DENIED has-packages
    401 UNAUTHORIZED insufficient-scope challenge
    400 UNSUPPORTED invalid
    404 MANIFEST_BLOB_UNKNOWN manifest-blob-unknown
    409 DENIED repository-gone
    400 MANIFEST_INVALID manifest-invalid
    400 SIZE_INVALID manifest-size
    413 MANIFEST_INVALID manifest-too-large
    404 MANIFEST_UNKNOWN manifest-unknown
    404 NAME_UNKNOWN name-unknown
    507 UNAVAILABLE no-space
    404 NAME_UNKNOWN not-found
    403 DENIED tag-rules
    403 DENIED token-scope
    401 UNAUTHORIZED unauthenticated challenge
    500 UNKNOWN failed
    409 BLOB_UPLOAD_INVALID upload-busy
    400 BLOB_UPLOAD_INVALID upload-expired
    416 BLOB_UPLOAD_INVALID upload-offset range=0-99
    400 SIZE_INVALID upload-size
    404 BLOB_UPLOAD_UNKNOWN upload-unknown
    ");
}

#[test]
fn what_the_client_did_wrong_has_a_code_of_the_specification() {
    // The two codes that the specification does not have are for what is not the client's fault.
    let refused = [AuthError::Expired, AuthError::Invalid, AuthError::TooMany(1)];
    let rows =
        errors().iter().map(problem).chain(refused.iter().map(credential)).collect::<Vec<_>>();
    for row in rows {
        let ours = matches!(row.code, Code::Unavailable | Code::Unknown);
        assert_eq!(ours, row.status.is_server_error(), "{}", row.kind);
    }
}

#[test]
fn the_kinds_are_distinct_so_that_a_program_can_tell_them_apart() {
    let mut kinds: Vec<_> = errors().iter().map(|error| problem(error).kind).collect();
    let count = kinds.len();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds.len(), count);
}

#[test]
fn refused_credentials_have_their_rows_too() {
    let row = |error: AuthError| {
        let row = credential(&error);
        (row.status.as_u16(), row.code.as_str(), row.kind, row.challenge, row.headers)
    };
    let invalid = Some(Challenge::Invalid);
    let none = Vec::new;
    assert_eq!(
        row(AuthError::Expired),
        (401, "UNAUTHORIZED", "token-expired", invalid.clone(), none())
    );
    assert_eq!(
        row(AuthError::Invalid),
        (401, "UNAUTHORIZED", "credential-invalid", invalid, none())
    );
    assert_eq!(
        row(AuthError::Oidc(OidcRefusal::Expired)),
        (401, "UNAUTHORIZED", "oidc-refused", Some(Challenge::Invalid), none())
    );
    let soon = vec![(header::RETRY_AFTER, "5".to_owned())];
    assert_eq!(
        row(AuthError::Oidc(OidcRefusal::Unavailable(5))),
        (503, "UNAVAILABLE", "issuer-unavailable", None, soon)
    );
    let later = vec![(header::RETRY_AFTER, "7".to_owned())];
    assert_eq!(
        row(AuthError::TooMany(7)),
        (429, "TOOMANYREQUESTS", "too-many-attempts", None, later)
    );
    let failed = row(AuthError::Unavailable("secret path".into()));
    assert_eq!(failed, (500, "UNKNOWN", "failed", None, none()));
}

#[test]
fn a_fault_keeps_its_cause_for_the_log() {
    let failed = problem(&RegistryError::Unavailable("the disk is on fire".into()));
    assert!(!failed.message.contains("fire"), "{}", failed.message);
    assert_eq!(failed.cause.as_deref(), Some("the registry's storage failed: the disk is on fire"));
    let failed = credential(&AuthError::Unavailable("the disk is on fire".into()));
    assert!(
        !failed.message.contains("fire")
            && failed.cause.is_some_and(|cause| cause.contains("fire"))
    );
}

#[test]
fn a_package_that_a_push_did_not_create_comes_with_advice() {
    let words = |why| problem(&unknown(why)).message;
    let needed = Role::Admin;
    assert!(words(NotCreated::Never).contains("creates it first"));
    assert!(words(NotCreated::NoRepository).contains("default_repository"));
    let role = words(NotCreated::Role { needed, repository: "shop".to_owned() });
    assert!(role.contains("the role admin on the repository shop"), "{role}");
    assert!(words(NotCreated::Hidden).ends_with("or this login may not see it"));
}

#[tokio::test]
async fn a_body_that_stalled_is_a_timeout() {
    let slow = [Err::<bytes::Bytes, _>(crate::http::pace::TooSlow)];
    let slow = futures_util::stream::iter(slow);
    let slow = axum::body::Body::from_stream(slow);
    let read = crate::http::extract::byte_stream(slow).collect().await;
    let error = RegistryError::BodyBroken(read.expect_err("nothing ever comes"));
    assert_eq!(problem(&error).status, StatusCode::REQUEST_TIMEOUT);
    assert_eq!(problem(&error).kind, "body-stalled");
}
