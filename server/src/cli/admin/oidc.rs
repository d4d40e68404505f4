//! `admin oidc …`: which builds of another system act in a repository.

use super::client::AdminError;
use super::print::table;
use super::run::Session;
use clap::Subcommand;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;

#[derive(Subcommand, Clone, Debug)]
pub(super) enum Oidc {
    /// Let the builds of a source repository push and pull without a stored secret
    Bind(Box<Bind>),
    /// List a repository's bindings
    List {
        /// The workspace's slug
        workspace: String,
        /// The repository's slug
        repository: String,
    },
    /// End a binding; holds from the next request on
    Unbind {
        /// The workspace's slug
        workspace: String,
        /// The repository's slug
        repository: String,
        /// The binding's id
        id: String,
    },
}

/// A binding to be made.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Bind {
    /// The workspace's slug
    workspace: String,
    /// The repository's slug
    repository: String,
    /// The issuer's URL, as the server's settings have it
    #[arg(long, value_name = "URL")]
    issuer: String,
    /// The id of the repository that builds; for Bitbucket its UUID (Repository settings, OpenID
    /// Connect)
    #[arg(long, value_name = "ID")]
    source_repository: String,
    /// The audience that tokens must name [default: the issuer's in the settings]
    #[arg(long, value_name = "TEXT")]
    audience: Option<String>,
    /// What builds may do
    #[arg(long, value_parser = ["read", "write"], default_value = "write")]
    role: String,
    /// Only builds of this branch, such as main or release/*; may be repeated
    #[arg(long, value_name = "PATTERN")]
    branch: Vec<String>,
    /// Only builds for this deployment environment; may be repeated
    #[arg(long, value_name = "PATTERN")]
    environment: Vec<String>,
    /// Only builds whose token has such a claim; may be repeated
    #[arg(long, value_name = "NAME=PATTERN", value_parser = claim)]
    claim: Vec<(String, String)>,
    /// Which tags may be moved, and by builds of which branches: 'latest,v*@main,release/*', or '*'
    /// for all by all. May be repeated: the first that names a tag decides about it, and a tag that
    /// none names is not moved [default: all tags]
    #[arg(long, value_name = "TAGS[@BRANCHES]", value_parser = tag_rule)]
    tags: Vec<Value>,
}

fn claim(text: &str) -> Result<(String, String), String> {
    let (name, pattern) = text.split_once('=').ok_or("a claim and its pattern: name=pattern")?;
    Ok((name.to_owned(), pattern.to_owned()))
}

/// A tag cannot hold an `@`, a branch can.
fn tag_rule(text: &str) -> Result<Value, String> {
    let (tags, branches) = match text.split_once('@') {
        Some((_, "")) => return Err("after @ come branches, such as v*@main".to_owned()),
        Some((tags, branches)) => (tags, branches.split(',').collect()),
        None => (text, Vec::new()),
    };
    let tags: Vec<&str> = tags.split(',').collect();
    Ok(json!({ "tags": tags, "branches": branches }))
}

impl<O: Write> Session<'_, O> {
    pub(super) async fn oidc(&mut self, command: Oidc) -> Result<(), AdminError> {
        match command {
            Oidc::Bind(bind) => self.bind(*bind).await,
            Oidc::List { workspace, repository } => {
                let path = ["workspaces", &workspace, "repositories", &repository, "oidc-bindings"];
                let items = self.client.list(&path, &[]).await?;
                let columns =
                    ["id", "role", "source_repository", "branches", "environments", "tag_rules"];
                let items = items.into_iter().map(|item| self.readable(item)).collect();
                table(self.out, self.form, items, &columns)
            }
            Oidc::Unbind { workspace, repository, id } => {
                let path =
                    ["workspaces", &workspace, "repositories", &repository, "oidc-bindings", &id];
                let gone = self.client.delete(&path).await?;
                self.say(&gone, &format!("binding {id} ended"))
            }
        }
    }

    async fn bind(&mut self, bind: Bind) -> Result<(), AdminError> {
        let mut claims: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, pattern) in bind.claim {
            claims.entry(name).or_default().push(pattern);
        }
        let mut body = json!({
            "issuer": bind.issuer,
            "source_repository": bind.source_repository,
            "role": bind.role,
            "branches": bind.branch,
            "environments": bind.environment,
            "claims": claims,
            "tag_rules": bind.tags,
        });
        if let Some(audience) = bind.audience {
            body["audience"] = audience.into();
        }
        let (workspace, repository) = (bind.workspace, bind.repository);
        let path = ["workspaces", &workspace, "repositories", &repository, "oidc-bindings"];
        let made = self.client.post(&path, body).await?;
        let text = |field: &str| made[field].as_str().unwrap_or_default().to_owned();
        let (id, audience) = (text("id"), text("audience"));
        let words = format!(
            "binding {id}: builds of {} have the role {} on {workspace}/{repository}; their step needs oidc: {{ audiences: [\"{audience}\"] }}",
            text("source_repository"),
            text("role"),
        );
        self.say(&made, &words)
    }

    /// Lists and rules in the way they are typed; JSON stays as it is.
    fn readable(&self, mut item: Value) -> Value {
        if self.form == super::print::Form::Json {
            return item;
        }
        for field in ["branches", "environments"] {
            item[field] = list(&item[field]).into();
        }
        let rules = item["tag_rules"].as_array().cloned().unwrap_or_default();
        let rule = |rule: &Value| {
            let branches = list(&rule["branches"]);
            let at = if branches.is_empty() { "" } else { "@" };
            let more = [&rule["environments"], &rule["claims"]];
            let more = more.iter().any(|more| !matches!(more.to_string().as_str(), "[]" | "{}"));
            format!("{}{at}{branches}{}", list(&rule["tags"]), if more { " (more)" } else { "" })
        };
        let rules: Vec<String> = rules.iter().map(rule).collect();
        item["tag_rules"] = if rules.is_empty() { "*".into() } else { rules.join(" then ").into() };
        item
    }
}

fn list(value: &Value) -> String {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
}
