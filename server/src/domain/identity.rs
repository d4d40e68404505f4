//! Who a build is, as an OIDC issuer says, and what a binding lets such a build do.
//!
//! Invariant: an [`Identity`] is what a verified token said, no right. A [`Binding`] gives a right to
//! the builds of one source repository of one issuer, compared whole and never by pattern, and a
//! condition about a claim that the token does not have is not met. How a token is verified, and
//! where bindings are kept, is not known here.

use super::pattern::{Pattern, TagPattern, bare};
use super::{Origin, RepositoryId, Role, Tag, WorkspaceId};
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;

/// What an issuer calls the claims that have a meaning here. Unless said, as Bitbucket does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClaimNames {
    /// The source repository, by an id that is never used again.
    pub repository: String,
    /// The branch.
    pub branch: String,
    /// The deployment environment.
    pub environment: String,
    /// The run of the pipeline.
    pub pipeline: String,
    /// The commit, if the issuer tells.
    pub commit: Option<String>,
    /// The build number, if the issuer tells.
    pub build: Option<String>,
}

impl Default for ClaimNames {
    fn default() -> Self {
        Self {
            repository: "repositoryUuid".to_owned(),
            branch: "branchName".to_owned(),
            environment: "deploymentEnvironmentUuid".to_owned(),
            pipeline: "pipelineUuid".to_owned(),
            commit: None,
            build: None,
        }
    }
}

impl ClaimNames {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        let always = [&self.repository, &self.branch, &self.environment, &self.pipeline];
        let told = [&self.commit, &self.build].into_iter().flatten();
        always.into_iter().chain(told).map(String::as_str)
    }
}

/// A build, as its issuer describes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The issuer's URL, as it stands in the settings.
    pub issuer: String,
    /// The subject, which may be another one for each step.
    pub subject: String,
    /// For whom the token is.
    pub audiences: Vec<String>,
    /// The claims that are plain values, as text.
    pub claims: BTreeMap<String, String>,
    /// What this issuer calls what.
    pub names: Arc<ClaimNames>,
}

impl Identity {
    /// The source repository; nothing if the token does not say one.
    #[must_use]
    pub fn source(&self) -> &str {
        self.claim(&self.names.repository).map(bare).unwrap_or_default()
    }

    fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A stable text for ownership and records: the source repository, whose steps are one.
    #[must_use]
    pub fn key(&self) -> String {
        format!("oidc:{}:{}", self.issuer, self.source())
    }

    /// Where a change came from: what the issuer says wins over what the client says of itself.
    #[must_use]
    pub fn origin(&self, told: Origin) -> Origin {
        let verified = |name: &str| self.claim(name).map(Origin::clean);
        let optional = |name: &Option<String>| name.as_deref().and_then(verified);
        Origin {
            user_agent: told.user_agent,
            pipeline: verified(&self.names.pipeline).or(told.pipeline),
            build: optional(&self.names.build).or(told.build),
            commit: optional(&self.names.commit).or(told.commit),
            branch: verified(&self.names.branch).or(told.branch),
        }
    }
}

/// What a build must be. What is empty asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Conditions {
    /// Its branch is one of these.
    pub branches: Vec<Pattern>,
    /// Its deployment environment is one of these.
    pub environments: Vec<Pattern>,
    /// Each of these claims is one of its values.
    pub claims: BTreeMap<String, Vec<Pattern>>,
}

impl Conditions {
    /// Each condition: its word for people, the claim and what that may be.
    fn each<'a>(
        &'a self,
        names: &'a ClaimNames,
    ) -> impl Iterator<Item = (&'a str, &'a str, &'a [Pattern])> {
        let known = [
            ("branch", names.branch.as_str(), self.branches.as_slice()),
            ("deployment environment", names.environment.as_str(), self.environments.as_slice()),
        ];
        let others =
            self.claims.iter().map(|(name, values)| ("", name.as_str(), values.as_slice()));
        known.into_iter().chain(others).filter(|(_, _, values)| !values.is_empty())
    }

    /// What is not met, in words; `None` if all is.
    #[must_use]
    pub fn unmet(&self, build: &Identity) -> Option<String> {
        self.each(&build.names).find_map(|(word, name, wanted)| {
            let value = build.claim(name);
            if value.is_some_and(|value| wanted.iter().any(|pattern| pattern.matches(value))) {
                return None;
            }
            let word = if word.is_empty() { format!("claim {name}") } else { word.to_owned() };
            let mut text = format!("it takes the {word} {}, ", any_of(wanted));
            match value {
                Some(value) => _ = write!(text, "and this build has {}", Origin::clean(value)),
                None => _ = write!(text, "and the token of this build names none"),
            }
            Some(text)
        })
    }

    fn claims(&self) -> impl Iterator<Item = &str> {
        self.claims.keys().map(String::as_str)
    }
}

/// Who may move which tags.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TagRule {
    /// The tags it is about.
    pub tags: Vec<TagPattern>,
    /// Which builds may move them.
    pub when: Conditions,
}

/// What an administrator lets the builds of a source repository do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Binding {
    /// Its id.
    pub id: String,
    /// The workspace of the repository.
    pub workspace: WorkspaceId,
    /// The repository.
    pub repository: RepositoryId,
    /// The role on it: `read` or `write`.
    pub role: Role,
    /// The issuer's URL.
    pub issuer: String,
    /// The audience that tokens must name.
    pub audience: String,
    /// The source repository, without braces.
    pub source: String,
    /// What a build must be to log in.
    pub when: Conditions,
    /// Which tags it may move. The first rule that names a tag decides about it; a tag that no rule
    /// names is not moved. Without rules all tags may be moved.
    pub tag_rules: Vec<TagRule>,
}

impl Binding {
    /// Whether it is about this source repository and audience at all.
    #[must_use]
    pub fn is_about(&self, build: &Identity) -> bool {
        let source = build.source();
        !source.is_empty()
            && self.issuer == build.issuer
            && self.source == source
            && build.audiences.contains(&self.audience)
    }

    /// The claims that its conditions and rules look at.
    pub fn claims(&self) -> impl Iterator<Item = &str> {
        self.when.claims().chain(self.tag_rules.iter().flat_map(|rule| {
            rule.tags.iter().flat_map(TagPattern::claims).chain(rule.when.claims())
        }))
    }

    /// Why this build may not move the tag; `None` if it may.
    fn refusal(&self, build: &Identity, tag: &Tag) -> Option<String> {
        if self.tag_rules.is_empty() {
            return None;
        }
        let names =
            |rule: &TagRule| rule.tags.iter().any(|pattern| pattern.matches(tag, &build.claims));
        let Some(index) = self.tag_rules.iter().position(names) else {
            let all = self.tag_rules.iter().flat_map(|rule| &rule.tags);
            return Some(format!("no tag rule names it, only {}", any_of(all)));
        };
        let rule = &self.tag_rules[index];
        let unmet = rule.when.unmet(build)?;
        Some(format!("tag rule {} is about {}: {unmet}", index + 1, any_of(&rule.tags)))
    }
}

/// Which tags a caller may move, besides having the role for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TagPermit {
    /// All of them.
    #[default]
    All,
    /// Those that the rules of one of these bindings let this build move.
    Ruled {
        /// The build.
        build: Arc<Identity>,
        /// Its bindings.
        bindings: Vec<Binding>,
    },
}

impl TagPermit {
    /// Whether the tag may be moved.
    ///
    /// # Errors
    /// Why not, in words that name the rule.
    pub fn check(&self, tag: &Tag) -> Result<(), String> {
        let Self::Ruled { build, bindings } = self else { return Ok(()) };
        let mut first = None;
        for binding in bindings {
            match binding.refusal(build, tag) {
                None => return Ok(()),
                Some(why) => {
                    first.get_or_insert_with(|| format!("{why} (OIDC binding {})", binding.id));
                }
            }
        }
        Err(first.unwrap_or_else(|| "no OIDC binding lets it push".to_owned()))
    }
}

/// A list as people write it: `a, b or c`.
fn any_of<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    match items.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => items.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(claims: &[(&str, &str)]) -> Arc<Identity> {
        let claims = claims.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Arc::new(Identity {
            issuer: "https://issuer".to_owned(),
            subject: "x".to_owned(),
            audiences: vec!["one".to_owned(), "us".to_owned()],
            claims: claims.collect(),
            names: Arc::default(),
        })
    }

    fn patterns<T: std::str::FromStr<Err: fmt::Debug>>(texts: &[&str]) -> Vec<T> {
        texts.iter().map(|text| text.parse().expect("a pattern")).collect()
    }

    fn rule(tags: &[&str], branches: &[&str]) -> TagRule {
        let when = Conditions { branches: patterns(branches), ..Conditions::default() };
        TagRule { tags: patterns(tags), when }
    }

    fn binding(tag_rules: Vec<TagRule>) -> Binding {
        Binding {
            id: "b1".to_owned(),
            workspace: WorkspaceId(1),
            repository: RepositoryId(2),
            role: Role::Write,
            issuer: "https://issuer".to_owned(),
            audience: "us".to_owned(),
            source: "r-1".to_owned(),
            when: Conditions::default(),
            tag_rules,
        }
    }

    fn check(permit: &TagPermit, tag: &str) -> Result<(), String> {
        permit.check(&tag.parse().expect("a tag"))
    }

    #[test]
    fn the_first_rule_that_names_a_tag_decides() {
        let rules = vec![rule(&["latest", "v*"], &["main", "release/*"]), rule(&["*"], &[])];
        let permit = |branch| TagPermit::Ruled {
            build: build(&[("branchName", branch)]),
            bindings: vec![binding(rules.clone())],
        };
        for tag in ["latest", "v1", "x"] {
            assert_eq!(check(&permit("main"), tag), Ok(()));
            assert_eq!(check(&permit("release/1"), tag), Ok(()));
        }
        assert_eq!(check(&permit("feature/x"), "x"), Ok(()));
        assert_eq!(
            check(&permit("feature/x"), "v1").expect_err("not of this branch"),
            "tag rule 1 is about latest or v*: it takes the branch main or release/*, and this build \
             has feature/x (OIDC binding b1)"
        );
        assert_eq!(check(&TagPermit::All, "latest"), Ok(()));
    }

    #[test]
    fn a_tag_that_no_rule_names_is_not_moved_and_a_missing_claim_meets_nothing() {
        let rules = vec![rule(&["pr-{pr}-*"], &[]), rule(&["latest"], &["*"])];
        let permit =
            TagPermit::Ruled { build: build(&[("pr", "7")]), bindings: vec![binding(rules)] };
        assert_eq!(check(&permit, "pr-7-1"), Ok(()));
        let why = check(&permit, "pr-8-1").expect_err("another's");
        assert_eq!(why, "no tag rule names it, only pr-{pr}-* or latest (OIDC binding b1)");
        let why = check(&permit, "latest").expect_err("no branch");
        assert!(why.contains("the token of this build names none"), "{why}");
    }

    #[test]
    fn any_of_several_bindings_is_enough() {
        let bindings = vec![binding(vec![rule(&["a"], &[])]), binding(vec![rule(&["b"], &[])])];
        let permit = TagPermit::Ruled { build: build(&[]), bindings };
        assert_eq!(check(&permit, "b"), Ok(()));
        assert!(check(&permit, "c").is_err());
    }

    #[test]
    fn a_binding_is_about_one_source_repository_issuer_and_audience() {
        let about = |claims: &[(&str, &str)]| binding(Vec::new()).is_about(&build(claims));
        assert!(about(&[("repositoryUuid", "{r-1}")]));
        assert!(about(&[("repositoryUuid", "r-1")]));
        for other in ["{r-2}", "", "{}", "*", "r-1 ", "R-1", "{{r-1}}"] {
            assert!(!about(&[("repositoryUuid", other)]), "{other}");
        }
        assert!(!about(&[]));
        let anyone = Binding { source: String::new(), ..binding(Vec::new()) };
        assert!(!anyone.is_about(&build(&[("repositoryUuid", "{}")])));
        let known = build(&[("repositoryUuid", "r-1")]);
        let other = Binding { issuer: "https://issuer/".to_owned(), ..binding(Vec::new()) };
        assert!(!other.is_about(&known));
        let other = Binding { audience: "o".to_owned(), ..binding(Vec::new()) };
        assert!(!other.is_about(&known));
    }

    #[test]
    fn what_the_issuer_says_wins_over_what_the_client_says() {
        let told = Origin {
            user_agent: Some("x".to_owned()),
            branch: Some("main".to_owned()),
            commit: Some("abc".to_owned()),
            ..Origin::default()
        };
        let origin = build(&[("branchName", "feature\n"), ("pipelineUuid", "{p}")]).origin(told);
        assert_eq!(origin.branch.as_deref(), Some("feature\u{fffd}"));
        assert_eq!(origin.pipeline.as_deref(), Some("{p}"));
        assert_eq!(origin.commit.as_deref(), Some("abc"));
    }
}
