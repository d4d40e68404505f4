//! The paths of the distribution API: one parser and one printer.
//!
//! Invariant: the *raw* path is parsed, never a percent-decoded one, and from right to left, because
//! a package may itself be called `blobs/uploads`. What the grammars of names, tags and digests do
//! not allow (`%`, `//`, `.`, `..`, upper case, NUL) is therefore refused here and reaches no
//! handler. A path has exactly one meaning: printing what was parsed gives the path back.

use crate::auth::scope::CATALOG;
use crate::domain::{Digest, Name, Reference, UploadId};
use crate::domain::{digest::InvalidDigest, name::InvalidName, reference::InvalidReference};
use axum::http::Method;
use std::fmt;

/// The prefix of all paths of this API.
pub const PREFIX: &str = "/v2/";

/// The methods and the shape of the paths of this API. A test holds them against the parser.
pub const TEMPLATES: [(&str, &str); 8] = [
    ("GET, HEAD", "/v2/"),
    ("GET, HEAD", "/v2/_catalog"),
    ("GET, HEAD", "/v2/{name}/tags/list"),
    ("GET, HEAD", "/v2/{name}/referrers/{digest}"),
    ("DELETE, GET, HEAD", "/v2/{name}/blobs/{digest}"),
    ("DELETE, GET, HEAD, PUT", "/v2/{name}/manifests/{reference}"),
    ("POST", "/v2/{name}/blobs/uploads/"),
    ("DELETE, GET, HEAD, PATCH, PUT", "/v2/{name}/blobs/uploads/{upload}"),
];

/// Something that a path of the distribution API names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/v2/`: does this server speak the API, and is the credential good?
    Base,
    /// A blob.
    Blob {
        /// The package.
        name: Name,
        /// The blob.
        digest: Digest,
    },
    /// The list of packages (Docker Registry HTTP API V2, "Listing Repositories").
    Catalog,
    /// A manifest by tag or digest.
    Manifest {
        /// The package.
        name: Name,
        /// The manifest.
        reference: Reference,
    },
    /// The manifests that refer to one.
    Referrers {
        /// The package.
        name: Name,
        /// The one referred to.
        digest: Digest,
    },
    /// The list of tags.
    Tags {
        /// The package.
        name: Name,
    },
    /// One upload session.
    Upload {
        /// The package.
        name: Name,
        /// The session.
        id: UploadId,
    },
    /// Where uploads begin.
    Uploads {
        /// The package.
        name: Name,
    },
}

/// Why a path names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// The digest is none.
    #[error(transparent)]
    Digest(#[from] InvalidDigest),
    /// The name is none.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The part after `manifests` is neither tag nor digest.
    #[error(transparent)]
    Reference(#[from] InvalidReference),
    /// No path of this API.
    #[error("there is nothing at this path; is the URL complete?")]
    Unknown,
    /// The part after `uploads` is no session id, so there is no such session.
    #[error("there is no such upload")]
    Upload,
}

impl Endpoint {
    /// Parses a raw request path.
    ///
    /// # Errors
    /// [`InvalidPath`] says which part is wrong.
    pub fn parse(path: &str) -> Result<Self, InvalidPath> {
        let Some(rest) = path.strip_prefix(PREFIX) else {
            return if path == "/v2" { Ok(Self::Base) } else { Err(InvalidPath::Unknown) };
        };
        if rest.is_empty() {
            return Ok(Self::Base);
        }
        // No name begins with an underscore.
        if rest == "_catalog" {
            return Ok(Self::Catalog);
        }
        let (before, last) = rest.rsplit_once('/').ok_or(InvalidPath::Unknown)?;
        let (name, kind) = before.rsplit_once('/').ok_or(InvalidPath::Unknown)?;
        match (kind, last) {
            ("tags", "list") => Ok(Self::Tags { name: name.parse()? }),
            // The specification's path ends in a slash; people leave it out.
            ("blobs", "uploads") => Ok(Self::Uploads { name: name.parse()? }),
            ("blobs", digest) => Ok(Self::Blob { name: name.parse()?, digest: digest.parse()? }),
            ("manifests", reference) => {
                Ok(Self::Manifest { name: name.parse()?, reference: reference.parse()? })
            }
            ("referrers", digest) => {
                Ok(Self::Referrers { name: name.parse()?, digest: digest.parse()? })
            }
            ("uploads", id) => Self::parse_upload(name, id),
            _ => Err(InvalidPath::Unknown),
        }
    }

    /// `<name>/blobs`, then `uploads`, then nothing or a session id.
    fn parse_upload(before: &str, id: &str) -> Result<Self, InvalidPath> {
        let name = before.strip_suffix("/blobs").ok_or(InvalidPath::Unknown)?.parse()?;
        if id.is_empty() {
            return Ok(Self::Uploads { name });
        }
        Ok(Self::Upload { name, id: id.parse().map_err(|_| InvalidPath::Upload)? })
    }

    /// The methods that make sense here, as an `Allow` header lists them.
    #[must_use]
    pub const fn allowed_methods(&self) -> &'static str {
        match self {
            Self::Base | Self::Catalog | Self::Referrers { .. } | Self::Tags { .. } => "GET, HEAD",
            Self::Blob { .. } => "DELETE, GET, HEAD",
            Self::Manifest { .. } => "DELETE, GET, HEAD, PUT",
            Self::Upload { .. } => "DELETE, GET, HEAD, PATCH, PUT",
            Self::Uploads { .. } => "POST",
        }
    }

    /// What a token must be issued for to do this, as a challenge names it (Docker's token protocol);
    /// `None` if any good credential will do.
    #[must_use]
    pub fn scope(&self, method: &Method) -> Option<String> {
        let (name, reads) = match self {
            Self::Base => return None,
            // Who asks whether a blob is there is about to push it, and there are clients (oras for
            // Python) that keep the first token they get.
            Self::Blob { name, .. } if method == Method::HEAD => {
                return Some(format!("repository:{name}:pull,push"));
            }
            Self::Catalog => return Some(CATALOG.to_owned()),
            Self::Blob { name, .. }
            | Self::Manifest { name, .. }
            | Self::Referrers { name, .. }
            | Self::Tags { name } => (name, matches!(*method, Method::GET | Method::HEAD)),
            // Even looking at an upload is the business of those who push.
            Self::Upload { name, .. } | Self::Uploads { name } => {
                return Some(format!("repository:{name}:pull,push"));
            }
        };
        let actions = match (reads, method) {
            (true, _) => "pull",
            (false, &Method::DELETE) => "delete",
            (false, _) => "pull,push",
        };
        Some(format!("repository:{name}:{actions}"))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base => out.write_str(PREFIX),
            Self::Catalog => write!(out, "{PREFIX}_catalog"),
            Self::Blob { name, digest } => write!(out, "{PREFIX}{name}/blobs/{digest}"),
            Self::Manifest { name, reference } => {
                write!(out, "{PREFIX}{name}/manifests/{reference}")
            }
            Self::Referrers { name, digest } => write!(out, "{PREFIX}{name}/referrers/{digest}"),
            Self::Tags { name } => write!(out, "{PREFIX}{name}/tags/list"),
            Self::Upload { name, id } => write!(out, "{PREFIX}{name}/blobs/uploads/{id}"),
            Self::Uploads { name } => write!(out, "{PREFIX}{name}/blobs/uploads/"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Algorithm;
    use proptest::prelude::*;

    /// Names made of the words that paths are made of, too.
    fn names() -> impl Strategy<Value = Name> {
        let word = prop_oneof![
            Just("blobs".to_owned()),
            Just("uploads".to_owned()),
            Just("manifests".to_owned()),
            Just("tags".to_owned()),
            Just("list".to_owned()),
            Just("referrers".to_owned()),
            Just("v2".to_owned()),
            "[a-z0-9]{1,6}([._-][a-z0-9]{1,4})?",
        ];
        prop::collection::vec(word, 2..6)
            .prop_map(|words| words.join("/").parse().expect("words of the grammar"))
    }

    fn digests() -> impl Strategy<Value = Digest> {
        (any::<bool>(), any::<[u8; 8]>()).prop_map(|(long, seed)| {
            if long { Algorithm::Sha512 } else { Algorithm::Sha256 }.hash(&seed)
        })
    }

    fn references() -> impl Strategy<Value = Reference> {
        let words = prop_oneof![
            Just("list".to_owned()),
            Just("uploads".to_owned()),
            "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}"
        ];
        prop_oneof![
            digests().prop_map(Reference::Digest),
            words.prop_map(|tag| Reference::Tag(tag.parse().expect("a tag of the grammar"))),
        ]
    }

    fn endpoints() -> impl Strategy<Value = Endpoint> {
        prop_oneof![
            Just(Endpoint::Base),
            Just(Endpoint::Catalog),
            (names(), digests()).prop_map(|(name, digest)| Endpoint::Blob { name, digest }),
            (names(), references())
                .prop_map(|(name, reference)| Endpoint::Manifest { name, reference }),
            (names(), digests()).prop_map(|(name, digest)| Endpoint::Referrers { name, digest }),
            names().prop_map(|name| Endpoint::Tags { name }),
            (names(), any::<u128>()).prop_map(|(name, id)| Endpoint::Upload {
                name,
                id: UploadId(uuid::Uuid::from_u128(id))
            }),
            names().prop_map(|name| Endpoint::Uploads { name }),
        ]
    }

    /// No wildcard: a new endpoint needs a template.
    const fn template(endpoint: &Endpoint) -> &'static str {
        match endpoint {
            Endpoint::Base => "/v2/",
            Endpoint::Blob { .. } => "/v2/{name}/blobs/{digest}",
            Endpoint::Catalog => "/v2/_catalog",
            Endpoint::Manifest { .. } => "/v2/{name}/manifests/{reference}",
            Endpoint::Referrers { .. } => "/v2/{name}/referrers/{digest}",
            Endpoint::Tags { .. } => "/v2/{name}/tags/list",
            Endpoint::Upload { .. } => "/v2/{name}/blobs/uploads/{upload}",
            Endpoint::Uploads { .. } => "/v2/{name}/blobs/uploads/",
        }
    }

    #[test]
    fn each_template_is_the_shape_of_an_endpoint_with_its_methods() {
        let digest = Algorithm::Sha256.hash(b"").to_string();
        let mut seen = std::collections::BTreeSet::new();
        for (methods, shape) in TEMPLATES {
            let path = shape
                .replace("{name}", "acme/shop")
                .replace("{digest}", &digest)
                .replace("{reference}", "latest")
                .replace("{upload}", "0f8fad5b-d9cb-469f-a165-70867728950e");
            let endpoint = Endpoint::parse(&path).expect("a path of this API");
            assert_eq!(template(&endpoint), shape);
            assert_eq!(endpoint.allowed_methods(), methods, "{shape}");
            seen.insert(shape);
        }
        assert_eq!(seen.len(), TEMPLATES.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn a_printed_endpoint_parses_to_itself(endpoint in endpoints()) {
            let listed = TEMPLATES.iter().any(|(_, shape)| *shape == template(&endpoint));
            prop_assert!(listed, "{endpoint:?} is not in TEMPLATES");
            prop_assert_eq!(Endpoint::parse(&endpoint.to_string()), Ok(endpoint));
        }

        #[test]
        fn a_path_that_parses_is_printed_back_unchanged(
            parts in prop::collection::vec(
                prop_oneof![
                    Just("blobs".to_owned()), Just("uploads".to_owned()), Just("manifests".to_owned()),
                    Just("tags".to_owned()), Just("list".to_owned()), Just("referrers".to_owned()),
                    Just(Algorithm::Sha256.hash(b"").to_string()), "[a-zA-Z0-9._%~:\\\\-]{0,6}",
                    Just("0f8fad5b-d9cb-469f-a165-70867728950e".to_owned()),
                ],
                0..7,
            ),
        ) {
            let path = format!("/v2/{}", parts.join("/"));
            if let Ok(endpoint) = Endpoint::parse(&path) {
                let printed = endpoint.to_string();
                prop_assert!(printed == path || printed == format!("{path}/"), "{path} {printed}");
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(path in "\\PC{0,60}") {
            let _ = Endpoint::parse(&path);
            let _ = Endpoint::parse(&format!("/v2/{path}"));
        }
    }

    #[test]
    fn each_wrong_part_is_named() {
        let digest = Algorithm::Sha256.hash(b"");
        for (path, expected) in [
            ("/v2/acme/app/unknown/x".to_owned(), InvalidPath::Unknown),
            ("/v2/acme".to_owned(), InvalidPath::Unknown),
            ("/v2/acme/app".to_owned(), InvalidPath::Unknown),
            ("/v3/acme/app/tags/list".to_owned(), InvalidPath::Unknown),
            ("/v2/acme/app/uploads/x".to_owned(), InvalidPath::Unknown),
            ("/v2/acme/app/blobs/uploads/x".to_owned(), InvalidPath::Upload),
            ("/v2/alone/tags/list".to_owned(), InvalidPath::Name(InvalidName::NoWorkspace)),
            ("/v2//app/tags/list".to_owned(), InvalidPath::Name(InvalidName::Grammar)),
            ("/v2/acme%2fapp/tags/list".to_owned(), InvalidPath::Name(InvalidName::Grammar)),
            ("/v2/acme/%2e%2e/x/tags/list".to_owned(), InvalidPath::Name(InvalidName::Grammar)),
            ("/v2/acme/../x/tags/list".to_owned(), InvalidPath::Name(InvalidName::Grammar)),
            ("/v2/acme/./tags/list".to_owned(), InvalidPath::Name(InvalidName::Grammar)),
            ("/v2/acme/App/tags/list".to_owned(), InvalidPath::Name(InvalidName::Grammar)),
            (format!("/v2/acme/App/blobs/{digest}"), InvalidPath::Name(InvalidName::Grammar)),
            (
                format!("/v2/acme/app/blobs/{}", digest.to_string().to_uppercase()),
                InvalidPath::Digest(InvalidDigest::Algorithm),
            ),
            ("/v2/acme/app/blobs/latest".to_owned(), InvalidPath::Digest(InvalidDigest::Encoding)),
            ("/v2/acme/app/manifests/.x".to_owned(), InvalidPath::Reference(InvalidReference::Tag)),
            ("/v2/acme/app/manifests/".to_owned(), InvalidPath::Reference(InvalidReference::Tag)),
        ] {
            assert_eq!(Endpoint::parse(&path), Err(expected), "{path}");
        }
    }
}
