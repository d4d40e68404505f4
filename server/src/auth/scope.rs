//! Scopes of Docker's token protocol: `repository:<name>:<action>[,<action>…]`, and
//! `registry:catalog:*`.
//!
//! Invariant: what this file does not understand asks for nothing; it is never granted and never an
//! error. Only the amount is limited. Who may do what is not known here.

use crate::domain::{Grant, Name, PackageGrant};
use std::fmt;

/// The most scopes of one request.
pub const MOST_SCOPES: usize = 50;
/// The most bytes of all scopes of one request.
pub const MOST_BYTES: usize = 8 << 10;

/// The scope that the list of packages takes.
pub const CATALOG: &str = "registry:catalog:*";

/// More scopes than a request may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("scope: at most {MOST_SCOPES} scopes of {MOST_BYTES} bytes in all")]
pub struct TooManyScopes;

/// Reads the `scope` parameters of a request, each of which may hold several scopes separated by
/// spaces. Scopes of one name are joined; the order of first mention stays.
///
/// # Errors
/// [`TooManyScopes`].
pub fn parse<'a>(
    parameters: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<Grant>, TooManyScopes> {
    let mut wanted: Vec<Grant> = Vec::new();
    let (mut count, mut bytes) = (0, 0);
    for scope in parameters.into_iter().flat_map(|parameter| parameter.split(' ')) {
        if scope.is_empty() {
            continue;
        }
        count += 1;
        bytes += scope.len();
        if count > MOST_SCOPES || bytes > MOST_BYTES {
            return Err(TooManyScopes);
        }
        match parse_one(scope) {
            Some(Grant::Package(one)) => add(&mut wanted, one),
            Some(Grant::Catalog) if !wanted.contains(&Grant::Catalog) => {
                wanted.push(Grant::Catalog);
            }
            _ => {}
        }
    }
    Ok(wanted)
}

/// Joins the scopes of one name.
fn add(wanted: &mut Vec<Grant>, one: PackageGrant) {
    let mut packages = wanted.iter_mut().filter_map(|grant| match grant {
        Grant::Package(known) => Some(known),
        Grant::Catalog => None,
    });
    match packages.find(|known| known.name == one.name) {
        Some(known) => {
            known.pull |= one.pull;
            known.push |= one.push;
            known.delete |= one.delete;
        }
        None => wanted.push(Grant::Package(one)),
    }
}

/// The type ends at the first colon and the actions begin after the last one, so that a name may
/// hold a colon; our names cannot, and such a scope is ignored.
fn parse_one(scope: &str) -> Option<Grant> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    // A class, as in `repository(plugin)`, says nothing about rights.
    let kind = kind.split_once('(').map_or(kind, |(kind, _)| kind);
    let actions = actions.split(',');
    match (kind, name) {
        ("repository", _) => {}
        ("registry", "catalog") => return actions.into_iter().find_map(catalog),
        _ => return None,
    }
    let name = name.parse::<Name>().ok()?;
    let mut grant = PackageGrant { name, pull: false, push: false, delete: false };
    for action in actions {
        match action {
            "pull" => grant.pull = true,
            "push" => grant.push = true,
            "delete" => grant.delete = true,
            "*" => (grant.pull, grant.push, grant.delete) = (true, true, true),
            _ => {}
        }
    }
    (grant.pull || grant.push || grant.delete).then_some(Grant::Package(grant))
}

fn catalog(action: &str) -> Option<Grant> {
    (action == "*").then_some(Grant::Catalog)
}

/// The actions of a grant by their names.
pub(super) fn actions(grant: &PackageGrant) -> Vec<&'static str> {
    [(grant.pull, "pull"), (grant.push, "push"), (grant.delete, "delete")]
        .into_iter()
        .filter_map(|(granted, name)| granted.then_some(name))
        .collect()
}

/// Grants in the form of a `scope` parameter.
#[derive(Clone, Copy, Debug)]
pub struct Scopes<'a>(pub &'a [Grant]);

impl fmt::Display for Scopes<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, grant) in self.0.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            out.write_str(space)?;
            match grant {
                Grant::Catalog => out.write_str(CATALOG)?,
                Grant::Package(grant) => {
                    write!(out, "repository:{}:{}", grant.name, actions(grant).join(","))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn grants() -> impl Strategy<Value = Vec<Grant>> {
        let rights = (any::<bool>(), any::<bool>(), any::<bool>())
            .prop_filter("something is asked for", |(pull, push, delete)| {
                *pull || *push || *delete
            });
        let packages =
            proptest::collection::btree_map("[a-z]{1,5}/[a-z]{1,5}(/[a-z]{1,3})?", rights, 0..10);
        (packages, any::<bool>()).prop_map(|(packages, catalog)| {
            let packages = packages.into_iter().map(|(name, (pull, push, delete))| {
                let name = name.parse().expect("of the grammar");
                Grant::Package(PackageGrant { name, pull, push, delete })
            });
            packages.chain(catalog.then_some(Grant::Catalog)).collect()
        })
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(grants in grants()) {
            let text = Scopes(&grants).to_string();
            prop_assert_eq!(parse([text.as_str()]), Ok(grants.clone()));
            prop_assert_eq!(parse(text.split(' ')), Ok(grants));
        }

        #[test]
        fn nothing_makes_it_panic_or_grant_more_than_is_written(text in "[a-z:,/*( )]{0,80}") {
            for grant in parse([text.as_str()]).expect("short") {
                let Grant::Package(grant) = grant else {
                    prop_assert!(text.contains(CATALOG) || text.contains('('));
                    continue;
                };
                prop_assert!(!grant.pull || text.contains("pull") || text.contains('*'));
                prop_assert!(text.contains(&grant.name.to_string()));
            }
        }
    }

    #[test]
    fn types_and_actions_that_are_unknown_are_ignored() {
        for scope in [
            "registry:catalog:pull",
            "registry:other:*",
            "repository:catalog:*",
            "repository:*:pull",
            "repository:a/b:",
            "repository:a/b:fly",
            "repository:a/b",
            "repository",
            "",
            ":::",
            "repository:host:5000/a/b:pull",
            "package:a/b:pull",
            "repository:a/b/../c:pull",
            "repository:A/b:pull",
        ] {
            assert_eq!(parse([scope]), Ok(Vec::new()), "{scope}");
        }
        let mixed = parse(["repository(plugin):a/b:fly,pull"]).expect("few");
        assert_eq!(Scopes(&mixed).to_string(), "repository:a/b:pull");
    }

    #[test]
    fn scopes_of_one_name_are_joined_and_a_star_is_all_three() {
        let found = parse(["repository:a/b:pull repository:a/c:*", "repository:a/b:push"]);
        let text = Scopes(&found.expect("few")).to_string();
        assert_eq!(text, "repository:a/b:pull,push repository:a/c:pull,push,delete");
    }

    #[test]
    fn what_two_scopes_of_one_name_ask_for_is_asked_for_together() {
        let all = ["pull", "push", "delete"];
        let chosen = |bits: usize| {
            let chosen = all.iter().enumerate().filter(move |(at, _)| bits & (1 << at) != 0);
            chosen.map(|(_, action)| *action).collect::<Vec<_>>().join(",")
        };
        for one in 1..8 {
            for other in 1..8 {
                let asked = [one, other].map(|bits| format!("repository:a/b:{}", chosen(bits)));
                let found = parse(asked.iter().map(String::as_str)).expect("few");
                let joined = format!("repository:a/b:{}", chosen(one | other));
                assert_eq!(Scopes(&found).to_string(), joined, "{asked:?}");
            }
        }
    }

    #[test]
    fn the_list_of_packages_has_a_scope_of_its_own() {
        let found = parse(["registry:catalog:* repository:a/b:pull registry:catalog:*"]);
        let text = Scopes(&found.expect("few")).to_string();
        assert_eq!(text, "registry:catalog:* repository:a/b:pull");
    }

    #[test]
    fn the_amount_is_limited() {
        let scope = "repository:a/b:pull ";
        assert!(parse([scope.repeat(50).as_str()]).is_ok());
        assert_eq!(parse([scope.repeat(51).as_str()]), Err(TooManyScopes));
        let long = format!("repository:{}:pull", "a".repeat(MOST_BYTES));
        assert_eq!(parse([long.as_str()]), Err(TooManyScopes));
        let most = "x".repeat(MOST_BYTES);
        assert_eq!(parse([most.as_str()]), Ok(Vec::new()), "that many bytes and no more");
        assert_eq!(parse([most.as_str(), "x"]), Err(TooManyScopes));
    }
}
