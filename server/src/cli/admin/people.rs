//! `admin robot …`, `admin personal-token …`, `admin audit` and what users are invited with.

use super::client::AdminError;
use super::print::{Form, fields, line, table};
use super::run::Session;
use clap::Subcommand;
use serde_json::{Value, json};
use std::io::Write;

#[derive(Subcommand, Clone, Debug)]
pub(super) enum Robot {
    /// Make a robot: a machine account with roles on repositories and tokens of its own
    Create {
        /// The workspace's slug
        workspace: String,
        /// Its name
        name: String,
        /// What it is for
        #[arg(long, default_value = "")]
        description: String,
    },
    /// List a workspace's robots
    List {
        /// The workspace's slug
        workspace: String,
    },
    /// Give a robot a role on a repository: robot allow acme deployer shop read
    Allow {
        /// The workspace's slug
        workspace: String,
        /// The robot's name
        name: String,
        /// The repository's slug
        repository: String,
        /// The role
        #[arg(value_parser = ["read", "write", "admin"])]
        role: String,
    },
    /// Take a robot's role on a repository away
    Forbid {
        /// The workspace's slug
        workspace: String,
        /// The robot's name
        name: String,
        /// The repository's slug
        repository: String,
    },
    /// Switch a robot off: none of its tokens works any more
    Disable {
        /// The workspace's slug
        workspace: String,
        /// The robot's name
        name: String,
    },
    /// Switch a robot on again
    Enable {
        /// The workspace's slug
        workspace: String,
        /// The robot's name
        name: String,
    },
    /// End a robot with its roles and tokens
    Delete {
        /// The workspace's slug
        workspace: String,
        /// The robot's name
        name: String,
    },
    /// Make a token for a robot; its secret is printed now and never again
    Token {
        /// The workspace's slug
        workspace: String,
        /// The robot's name
        name: String,
        #[command(flatten)]
        token: NewToken,
    },
    /// List a robot's tokens
    Tokens {
        /// The workspace's slug
        workspace: String,
        /// The robot's name
        name: String,
    },
    /// End a robot's token
    Revoke {
        /// The workspace's slug
        workspace: String,
        /// The robot's name
        name: String,
        /// The token's id
        id: String,
    },
}

/// One's own tokens.
#[derive(Subcommand, Clone, Debug)]
pub(super) enum PersonalToken {
    /// Make a token that acts as oneself; its secret is printed now and never again
    Create(NewToken),
    /// List one's own tokens
    List,
    /// End one of one's own tokens
    Revoke {
        /// The token's id
        id: String,
    },
}

/// A token to be made.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct NewToken {
    /// What to call the token
    label: String,
    /// How long it lives [default: 90 days]
    #[arg(long, value_name = "SECONDS")]
    lifetime: Option<u64>,
    /// What it is made for; may be repeated [default: everything its owner may do]
    #[arg(long, value_parser = ["pull", "push", "delete", "api"])]
    scope: Vec<String>,
}

/// Which events of the audit log.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Audit {
    /// Only of this workspace, which its administrators may see, too
    #[arg(long, value_name = "SLUG")]
    workspace: Option<String>,
    /// Only by this actor, such as user:ann
    #[arg(long)]
    actor: Option<String>,
    /// Only this action, such as tag.delete, or all of a thing, such as tag
    #[arg(long)]
    action: Option<String>,
    /// Only what was done to something whose name begins like this
    #[arg(long)]
    target: Option<String>,
    /// Only from then on, such as 2027-01-15T08:00:00Z
    #[arg(long)]
    since: Option<String>,
    /// Only before then
    #[arg(long)]
    until: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

impl NewToken {
    pub(super) fn body(self) -> Value {
        let mut body = json!({ "name": self.label });
        if let Some(seconds) = self.lifetime {
            body["lifetime_seconds"] = seconds.into();
        }
        if !self.scope.is_empty() {
            body["scopes"] = self.scope.into();
        }
        body
    }
}

/// The columns of a list of tokens.
pub(super) const TOKEN_COLUMNS: [&str; 6] =
    ["id", "name", "scopes", "created_at", "expires_at", "last_used_at"];

impl<O: Write> Session<'_, O> {
    pub(super) async fn robot(&mut self, command: Robot) -> Result<(), AdminError> {
        match command {
            Robot::Create { workspace, name, description } => {
                let body = json!({ "name": name, "description": description });
                let made = self.client.post(&["workspaces", &workspace, "robots"], body).await?;
                self.say(&made, &format!("robot {name} created in {workspace}; it has no role yet"))
            }
            Robot::List { workspace } => {
                let items = self.client.list(&["workspaces", &workspace, "robots"], &[]).await?;
                let items = items.into_iter().map(|item| self.readable_robot(item)).collect();
                let columns = ["name", "disabled", "roles", "description"];
                table(self.out, self.form, items, &columns)
            }
            Robot::Allow { workspace, name, repository, role } => {
                let path = ["workspaces", &workspace, "robots", &name, "roles", &repository];
                let set = self.client.put(&path, json!({ "role": role })).await?;
                let words = format!("robot {name} has the role {role} on {workspace}/{repository}");
                self.say(&set, &words)
            }
            Robot::Forbid { workspace, name, repository } => {
                let path = ["workspaces", &workspace, "robots", &name, "roles", &repository];
                let gone = self.client.delete(&path).await?;
                self.say(&gone, &format!("robot {name} has no role on {workspace}/{repository}"))
            }
            Robot::Disable { workspace, name } => self.switch(&workspace, &name, true).await,
            Robot::Enable { workspace, name } => self.switch(&workspace, &name, false).await,
            Robot::Delete { workspace, name } => {
                let gone = self.client.delete(&["workspaces", &workspace, "robots", &name]).await?;
                self.say(&gone, &format!("robot {name} deleted from {workspace}"))
            }
            Robot::Token { workspace, name, token } => {
                let path = ["workspaces", &workspace, "robots", &name, "tokens"];
                let made = self.client.post(&path, token.body()).await?;
                self.show_token(&made)
            }
            Robot::Tokens { workspace, name } => {
                let path = ["workspaces", &workspace, "robots", &name, "tokens"];
                let items = self.client.list(&path, &[]).await?;
                table(self.out, self.form, items, &TOKEN_COLUMNS)
            }
            Robot::Revoke { workspace, name, id } => {
                let path = ["workspaces", &workspace, "robots", &name, "tokens", &id];
                let gone = self.client.delete(&path).await?;
                self.say(&gone, &format!("token {id} revoked"))
            }
        }
    }

    async fn switch(&mut self, workspace: &str, name: &str, off: bool) -> Result<(), AdminError> {
        let path = ["workspaces", workspace, "robots", name];
        let set = self.client.patch(&path, json!({ "disabled": off })).await?;
        let state = if off { "off" } else { "on" };
        self.say(&set, &format!("robot {name} is switched {state}"))
    }

    /// Roles in the way they are given; JSON stays as it is.
    fn readable_robot(&self, mut item: Value) -> Value {
        if self.form == Form::Json {
            return item;
        }
        let roles = item["roles"].as_array().cloned().unwrap_or_default();
        let text = |role: &Value, field: &str| role[field].as_str().unwrap_or_default().to_owned();
        let shown = |role: &Value| format!("{}:{}", text(role, "repository"), text(role, "role"));
        item["roles"] = roles.iter().map(shown).collect::<Vec<_>>().join(",").into();
        item
    }

    pub(super) async fn personal_token(
        &mut self,
        command: PersonalToken,
    ) -> Result<(), AdminError> {
        match command {
            PersonalToken::Create(token) => {
                let mut made = self.client.post(&["tokens"], token.body()).await?;
                made["username"] = self.client.username().into();
                self.show_token(&made)
            }
            PersonalToken::List => {
                let items = self.client.list(&["tokens"], &[]).await?;
                table(self.out, self.form, items, &TOKEN_COLUMNS)
            }
            PersonalToken::Revoke { id } => {
                let gone = self.client.delete(&["tokens", &id]).await?;
                self.say(&gone, &format!("token {id} revoked"))
            }
        }
    }

    /// The secret of an invitation or a reset, and what to do with it.
    pub(super) fn show_invitation(&mut self, made: &Value) -> Result<(), AdminError> {
        if self.form == Form::Json {
            return fields(self.out, self.form, made);
        }
        let text = |field: &str| made[field].as_str().unwrap_or_default();
        let (name, until) = (text("username"), text("expires_at"));
        line(self.out, &format!("{name} sets a password until {until}, once, with"))?;
        line(self.out, "")?;
        let server = self.client.address();
        line(self.out, &format!("  export STANDPIPE_INVITATION={}", text("secret")))?;
        line(self.out, &format!("  standpipe-server admin --server {server} user accept {name}"))
    }

    pub(super) async fn audit(&mut self, wanted: Audit) -> Result<(), AdminError> {
        let path = match &wanted.workspace {
            Some(slug) => vec!["workspaces", slug, "audit"],
            None => vec!["audit"],
        };
        let mut items = Vec::new();
        let mut after: Option<String> = None;
        let most = usize::try_from(wanted.limit).unwrap_or(usize::MAX);
        loop {
            let limit = (most - items.len()).to_string();
            let mut query = vec![("limit", limit.as_str())];
            for (name, value) in [
                ("actor", &wanted.actor),
                ("action", &wanted.action),
                ("target", &wanted.target),
                ("since", &wanted.since),
                ("until", &wanted.until),
                ("after", &after),
            ] {
                query.extend(value.as_deref().map(|value| (name, value)));
            }
            let mut page = self.client.get(&path, &query).await?;
            items.extend(page["items"].as_array_mut().map(std::mem::take).unwrap_or_default());
            after = page["next"].as_str().map(str::to_owned);
            if after.is_none() || items.len() >= most {
                break;
            }
        }
        let columns = ["at", "actor", "action", "workspace", "target", "count", "details"];
        table(self.out, self.form, items, &columns)
    }
}
