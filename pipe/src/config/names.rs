//! Names: the local image, the registry's address, the path that is pushed to.
//!
//! Invariant: what these types hold is legal in an OCI reference, so that nothing after them
//! has to quote or check it again.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::tags::Tag;

/// `IMAGE_NAME`: the name of a local image, which is also the name of the package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageName {
    /// Without registry and tag; may contain slashes.
    pub name: String,
    /// The tag, if one was written.
    pub tag: Option<Tag>,
}

impl ImageName {
    /// Reads `NAME` or `NAME:TAG`. `target` is the `REGISTRY/WORKSPACE` that the pipe adds by
    /// itself, for the advice.
    pub(super) fn parse(text: &str, target: Option<&str>) -> Result<Self, String> {
        if text.contains('@') {
            return Err(format!("{text:?} names a digest; write NAME or NAME:TAG"));
        }
        if let Some((host, rest)) = text.split_once('/')
            && is_registry_host(host)
        {
            return Err(host_advice(text, host, rest, target));
        }
        let (name, tag) = match text.rsplit_once(':') {
            Some((name, tag)) => (name, Some(Tag::parse(tag)?)),
            None => (text, None),
        };
        check_path(name)?;
        Ok(Self { name: name.to_owned(), tag })
    }
}

/// `REGISTRY`: a host and perhaps a port, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryAddress {
    /// `host` or `host:port`, as it stands in a reference.
    authority: String,
    host: String,
}

impl RegistryAddress {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.contains("://") {
            return Err("write the host only, without http:// or https://".to_owned());
        }
        if text.contains('@') {
            return Err("credentials do not belong here; use USERNAME and PASSWORD".to_owned());
        }
        if text.contains('/') {
            return Err(format!("{text:?} has a path; write only HOST or HOST:PORT"));
        }
        // The URL parser drops line ends and rewrites escapes and other alphabets; the reference and
        // the variables for later steps would have them as they were typed.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
        if let Some(other) = text.chars().find(|c| !is_plain(*c)) {
            return Err(format!(
                "{text:?} has {other:?}; write HOST or HOST:PORT in plain letters (xn--… for others)"
            ));
        }
        if text.ends_with(':') {
            return Err(format!("{text:?} ends where a port is expected"));
        }
        let url = reqwest::Url::parse(&format!("http://{text}/"))
            .map_err(|error| format!("{text:?} is not HOST or HOST:PORT: {error}"))?;
        let plain = url.query().is_none() && url.fragment().is_none() && url.path() == "/";
        match url.host_str() {
            Some(host) if plain => {
                Ok(Self { authority: text.to_ascii_lowercase(), host: host.to_owned() })
            }
            _ => Err(format!("{text:?} is not HOST or HOST:PORT")),
        }
    }

    /// `host` or `host:port`, as it stands in a reference.
    pub fn as_str(&self) -> &str {
        &self.authority
    }

    /// Whether the registry runs on this machine: 127.0.0.0/8, ::1 or localhost.
    pub fn is_loopback(&self) -> bool {
        is_loopback_host(&self.host)
    }

    /// Whether this is Bitbucket's own registry.
    pub fn is_bitbucket(&self) -> bool {
        self.authority == super::BITBUCKET_REGISTRY
            || self.authority.strip_suffix(":443") == Some(super::BITBUCKET_REGISTRY)
    }
}

impl fmt::Display for RegistryAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.authority)
    }
}

/// Whether `host`, as a URL gives it, is this machine.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || bare.parse::<Ipv4Addr>().is_ok_and(|address| IpAddr::V4(address).is_loopback())
        || bare.parse::<Ipv6Addr>().is_ok_and(|address| IpAddr::V6(address).is_loopback())
}

/// A workspace slug: one path component.
pub(super) fn check_workspace(text: &str) -> Result<(), String> {
    if text.contains('/') {
        return Err(format!("{text:?} has a slash; a workspace is one word"));
    }
    check_path(text)
}

/// The `<name>` grammar of the distribution-spec ("Pulling manifests"): components of lower
/// case letters and digits, joined inside by `.`, `_`, `__` or any number of `-`.
pub(super) fn check_path(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("the name is empty".to_owned());
    }
    if text.chars().any(|c| c.is_ascii_uppercase()) {
        return Err(format!("{text:?} must be lower case"));
    }
    match text.split('/').find(|component| !is_component(component)) {
        None => Ok(()),
        Some("") => Err(format!("{text:?} has an empty part between slashes")),
        Some(wrong) => Err(format!(
            "{wrong:?} is not a legal name: lower case letters and digits, with . _ __ or - between them"
        )),
    }
}

fn is_component(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separators = text.split(alphanumeric).filter(|separator| !separator.is_empty());
    text.starts_with(alphanumeric)
        && text.ends_with(alphanumeric)
        && separators.into_iter().all(|separator| {
            matches!(separator, "." | "_" | "__") || separator.chars().all(|c| c == '-')
        })
}

/// Docker's rule: the first part is a host if it has a dot or a port or is `localhost`.
fn is_registry_host(part: &str) -> bool {
    part.contains(['.', ':']) || part == "localhost"
}

fn host_advice(text: &str, host: &str, rest: &str, target: Option<&str>) -> String {
    let full = format!("{host}/{rest}");
    match target.and_then(|target| full.strip_prefix(&format!("{target}/"))) {
        Some(short) => format!(
            "{text:?} begins with the registry; the pipe adds {host} and the workspace by itself. \
             Write {short:?}, and build the image under that name (docker tag {text} {short})"
        ),
        None => format!(
            "{text:?} begins with the host {host:?}; put the host into REGISTRY, the workspace into \
             WORKSPACE and only the name here, and build the image under that name"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_have_slashes_and_a_tag() {
        let name = ImageName::parse("team/shop-api:1.2", None).unwrap();
        assert_eq!(name.name, "team/shop-api");
        assert_eq!(name.tag, Some(Tag::parse("1.2").unwrap()));
        assert_eq!(ImageName::parse("app", None).unwrap().tag, None);
    }

    #[test]
    fn a_registry_in_the_name_is_refused_with_the_short_name_as_advice() {
        let advice = ImageName::parse("crg.apkg.io/acme/app:1", Some("crg.apkg.io/acme"));
        let advice = advice.unwrap_err();
        assert!(advice.contains("docker tag crg.apkg.io/acme/app:1 app:1"), "{advice}");
        let other = ImageName::parse("localhost:5000/acme/app", Some("crg.apkg.io/acme"));
        assert!(other.unwrap_err().contains("REGISTRY"));
    }

    #[test]
    fn illegal_names_are_refused() {
        for wrong in ["App", "a//b", "/a", "a/", "a:", "a..b", "a___b", "-a", "a@sha256:00", "ä"] {
            assert!(ImageName::parse(wrong, None).is_err(), "{wrong}");
        }
        for right in ["a", "a.b", "a__b", "a---b", "a/b/c", "0"] {
            assert!(ImageName::parse(right, None).is_ok(), "{right}");
        }
    }

    #[test]
    fn a_registry_is_a_host_and_perhaps_a_port() {
        for wrong in ["https://a", "u:p@a", "a/b", "a b", "a:99999", "", "a?b", "a#b", "a:"] {
            assert!(RegistryAddress::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            RegistryAddress::parse("Reg.Example:5000").unwrap().as_str(),
            "reg.example:5000"
        );
    }

    #[test]
    fn a_registry_that_a_url_would_rewrite_is_refused() {
        for wrong in ["a\tb", "a\nIMAGE_TAGS=x", "ä.example", "a%62c", "a=b", "a\\b", "a*b"] {
            assert!(RegistryAddress::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn loopback_is_recognised_by_address_and_by_name_only() {
        for local in ["127.0.0.1:5000", "127.8.9.1", "localhost", "[::1]:5000"] {
            assert!(RegistryAddress::parse(local).unwrap().is_loopback(), "{local}");
        }
        for remote in ["127.0.0.1.example", "localhost.example", "10.0.0.1", "[::2]"] {
            assert!(!RegistryAddress::parse(remote).unwrap().is_loopback(), "{remote}");
        }
    }
}
