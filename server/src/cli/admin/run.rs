//! From a command to requests and back to words.

use super::client::{AdminError, Client};
use super::commands::{
    Args, Command, Package, Permission, Project, Repository, Tag, Token, User, Workspace,
};
use super::options::NewPassword;
use super::people::TOKEN_COLUMNS;
use super::print::{Form, fields, line, sentence, table};
use crate::auth::Secret;
use serde_json::{Value, json};
use std::io::{Read, Write};

/// The longest password read from standard input, in bytes.
const LONGEST_PASSWORD: u64 = 8 << 10;

/// A command on its way.
pub(super) struct Session<'a, O> {
    pub(super) client: Client,
    pub(super) form: Form,
    pub(super) out: &'a mut O,
}

/// Runs a command.
pub(super) async fn run<O: Write>(
    args: Args,
    input: &mut impl Read,
    out: &mut O,
) -> Result<(), AdminError> {
    let password = match &args.command {
        // Whoever accepts an invitation has no password yet.
        Command::User(User::Accept { .. }) => None,
        _ => Some(login_password(&args, input)?),
    };
    let client = Client::new(&args.server, args.username, password)?;
    let form = if args.json { Form::Json } else { Form::Text };
    let mut session = Session { client, form, out };
    match args.command {
        Command::Workspace(command) => session.workspace(command).await,
        Command::Project(command) => session.project(command).await,
        Command::Repository(command) => session.repository(command).await,
        Command::Permission(command) => session.permission(command).await,
        Command::Package(command) => session.package(command).await,
        Command::Tag(command) => session.tag(command).await,
        Command::History { workspace, package, tag, limit } => {
            session.history(&workspace, &package, tag.as_deref(), limit).await
        }
        Command::Receipts { workspace, limit } => session.receipts(&workspace, limit).await,
        Command::Token(command) => session.token(command).await,
        Command::Oidc(command) => session.oidc(command).await,
        Command::PersonalToken(command) => session.personal_token(command).await,
        Command::Robot(command) => session.robot(command).await,
        Command::User(command) => session.user(command, input).await,
        Command::Audit(wanted) => session.audit(wanted).await,
        Command::Verify(command) => session.verify(&command).await,
        Command::Backup(command) => session.backup(&command).await,
    }
}

fn login_password(args: &Args, input: &mut impl Read) -> Result<Secret, AdminError> {
    if args.password_stdin {
        return read_password(input);
    }
    args.password.clone().ok_or(AdminError::Password(
        "no password: set STANDPIPE_PASSWORD, or give it with --password-stdin",
    ))
}

/// Reads a password up to the end of the input, without the line break that `echo` adds.
fn read_password(input: &mut impl Read) -> Result<Secret, AdminError> {
    let mut text = String::new();
    input.take(LONGEST_PASSWORD).read_to_string(&mut text).map_err(AdminError::Output)?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(AdminError::Password("standard input has no password"));
    }
    Ok(Secret::new(password.to_owned()))
}

impl<O: Write> Session<'_, O> {
    async fn workspace(&mut self, command: Workspace) -> Result<(), AdminError> {
        match command {
            Workspace::Create { slug, name } => {
                let body = with_name(json!({ "slug": slug }), name);
                let made = self.client.post(&["workspaces"], body).await?;
                self.say(&made, &format!("workspace {slug} created"))
            }
            Workspace::List => {
                let items = self.client.list(&["workspaces"], &[]).await?;
                let columns = ["slug", "name", "create_on_push", "default_repository"];
                table(self.out, self.form, items, &columns)
            }
            Workspace::Show { slug } => {
                let found = self.client.get(&["workspaces", &slug], &[]).await?;
                fields(self.out, self.form, &found)
            }
            Workspace::Set { slug, settings } => {
                let changed = self.client.patch(&["workspaces", &slug], json!(settings)).await?;
                fields(self.out, self.form, &changed)
            }
        }
    }

    async fn project(&mut self, command: Project) -> Result<(), AdminError> {
        match command {
            Project::Create { workspace, key, name } => {
                let body = with_name(json!({ "key": key }), name);
                let made = self.client.post(&["workspaces", &workspace, "projects"], body).await?;
                self.say(&made, &format!("project {key} created in {workspace}"))
            }
            Project::List { workspace } => {
                let items = self.client.list(&["workspaces", &workspace, "projects"], &[]).await?;
                table(self.out, self.form, items, &["key", "name"])
            }
        }
    }

    async fn repository(&mut self, command: Repository) -> Result<(), AdminError> {
        match command {
            Repository::Create { workspace, slug, fields } => {
                let body = with_slug(json!(fields), Some(slug.clone()));
                let path = ["workspaces", &workspace, "repositories"];
                let made = self.client.post(&path, body).await?;
                self.say(&made, &format!("repository {slug} created in {workspace}"))
            }
            Repository::List { workspace } => {
                let path = ["workspaces", &workspace, "repositories"];
                let items = self.client.list(&path, &[]).await?;
                table(self.out, self.form, items, &["slug", "name", "project", "visibility"])
            }
            Repository::Set { workspace, repository, slug, fields: given } => {
                let path = ["workspaces", &workspace, "repositories", &repository];
                let changed = self.client.patch(&path, with_slug(json!(given), slug)).await?;
                fields(self.out, self.form, &changed)
            }
            Repository::Delete { workspace, repository } => {
                let path = ["workspaces", &workspace, "repositories", &repository];
                let gone = self.client.delete(&path).await?;
                self.say(&gone, &format!("repository {repository} deleted from {workspace}"))
            }
        }
    }

    async fn permission(&mut self, command: Permission) -> Result<(), AdminError> {
        match command {
            Permission::Set { workspace, repository, user, role } => {
                let path = ["workspaces", &workspace, "repositories", &repository];
                let path = [&path[..], &["permissions", &user]].concat();
                let set = self.client.put(&path, json!({ "role": role })).await?;
                self.say(&set, &format!("{user} has the role {role} on {workspace}/{repository}"))
            }
            Permission::Remove { workspace, repository, user } => {
                let path = ["workspaces", &workspace, "repositories", &repository];
                let path = [&path[..], &["permissions", &user]].concat();
                let gone = self.client.delete(&path).await?;
                self.say(&gone, &format!("{user} has no role on {workspace}/{repository}"))
            }
            Permission::List { workspace, repository } => {
                let mut path = vec!["workspaces", &workspace];
                if let Some(repository) = &repository {
                    path.extend(["repositories", repository]);
                }
                path.push("permissions");
                let items = self.client.list(&path, &[]).await?;
                table(self.out, self.form, items, &["username", "role"])
            }
            Permission::AddAdmin { workspace, user } => {
                let path = ["workspaces", &workspace, "permissions", &user];
                let set = self.client.put(&path, json!({ "role": "admin" })).await?;
                self.say(&set, &format!("{user} administers the workspace {workspace}"))
            }
            Permission::RemoveAdmin { workspace, user } => {
                let path = ["workspaces", &workspace, "permissions", &user];
                let gone = self.client.delete(&path).await?;
                self.say(&gone, &format!("{user} no longer administers the workspace {workspace}"))
            }
        }
    }

    async fn package(&mut self, command: Package) -> Result<(), AdminError> {
        match command {
            Package::Create { workspace, name, repository } => {
                let body = json!({ "name": name, "repository": repository });
                let made = self.client.post(&["workspaces", &workspace, "packages"], body).await?;
                let image = format!("{}/{workspace}/{name}", self.client.host());
                self.say(&made, &format!("package {name} created; push to {image}:<tag>"))
            }
            Package::List { workspace, project, repository } => {
                let mut query = Vec::new();
                query.extend(project.as_deref().map(|key| ("project", key)));
                query.extend(repository.as_deref().map(|slug| ("repository", slug)));
                let path = ["workspaces", &workspace, "packages"];
                let items = self.client.list(&path, &query).await?;
                table(self.out, self.form, items, &["id", "name", "repository", "updated_at"])
            }
            Package::Show { workspace, package } => {
                let id = self.package_id(&workspace, &package).await?;
                let path = ["workspaces", &workspace, "packages", &id];
                let found = self.client.get(&path, &[]).await?;
                fields(self.out, self.form, &found)
            }
            Package::Delete { workspace, package } => {
                let id = self.package_id(&workspace, &package).await?;
                let gone = self.client.delete(&["workspaces", &workspace, "packages", &id]).await?;
                self.say(&gone, &format!("package {package} deleted from {workspace}"))
            }
            Package::Undo(command) => self.package_undo(command).await,
        }
    }

    async fn tag(&mut self, command: Tag) -> Result<(), AdminError> {
        match command {
            Tag::List { workspace, package } => {
                let id = self.package_id(&workspace, &package).await?;
                let path = ["workspaces", &workspace, "packages", &id, "tags"];
                let items = self.client.list(&path, &[]).await?;
                let columns = ["name", "digest", "size_bytes", "moved_at", "moved_by", "pulls"];
                table(self.out, self.form, items, &columns)
            }
            Tag::Delete { workspace, package, tag } => {
                let id = self.package_id(&workspace, &package).await?;
                let path = ["workspaces", &workspace, "packages", &id, "tags", &tag];
                let gone = self.client.delete(&path).await?;
                self.say(&gone, &format!("tag {tag} deleted from {workspace}/{package}"))
            }
            Tag::Restore { workspace, package, tag, digest } => {
                self.restore_tag(&workspace, &package, &tag, digest).await
            }
        }
    }

    async fn history(
        &mut self,
        workspace: &str,
        package: &str,
        tag: Option<&str>,
        limit: u32,
    ) -> Result<(), AdminError> {
        let id = self.package_id(workspace, package).await?;
        let limit = limit.to_string();
        let mut query = vec![("limit", limit.as_str())];
        query.extend(tag.map(|tag| ("tag", tag)));
        let path = ["workspaces", workspace, "packages", &id, "history"];
        let mut found = self.client.get(&path, &query).await?;
        let items = found["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
        table(self.out, self.form, items, &["at", "tag", "event", "from", "to", "by", "build"])
    }

    async fn token(&mut self, command: Token) -> Result<(), AdminError> {
        match command {
            Token::Create { workspace, repository, token } => {
                let body = token.body();
                let path = ["workspaces", &workspace, "repositories", &repository];
                let path = [&path[..], &["pipeline-tokens"]].concat();
                let made = self.client.post(&path, body).await?;
                self.show_token(&made)
            }
            Token::List { workspace, repository } => {
                let path = ["workspaces", &workspace, "repositories", &repository];
                let path = [&path[..], &["pipeline-tokens"]].concat();
                let items = self.client.list(&path, &[]).await?;
                table(self.out, self.form, items, &TOKEN_COLUMNS)
            }
            Token::Revoke { workspace, repository, id } => {
                let path = ["workspaces", &workspace, "repositories", &repository];
                let path = [&path[..], &["pipeline-tokens", &id]].concat();
                let gone = self.client.delete(&path).await?;
                self.say(&gone, &format!("token {id} revoked"))
            }
        }
    }

    pub(super) fn show_token(&mut self, made: &Value) -> Result<(), AdminError> {
        if self.form == Form::Json {
            return fields(self.out, self.form, made);
        }
        let text = |field: &str| made[field].as_str().unwrap_or_default().to_owned();
        let (token, host) = (text("token"), self.client.host());
        line(
            self.out,
            &format!("token {} ends {}; it is shown only now:", text("id"), text("expires_at")),
        )?;
        line(self.out, "")?;
        line(self.out, &format!("  {token}"))?;
        line(self.out, "")?;
        let login = format!("docker login --username {} --password-stdin {host}", text("username"));
        line(self.out, &format!("  echo '{token}' | {login}"))
    }

    async fn user(&mut self, command: User, input: &mut impl Read) -> Result<(), AdminError> {
        match command {
            User::Create { name, instance_admin, password } => {
                let (password, made_up) = new_password(password, input)?;
                let body = json!({
                    "username": name,
                    "password": password.expose(),
                    "instance_admin": instance_admin,
                });
                let made = self.client.post(&["users"], body).await?;
                self.say(&made, &format!("user {name} created"))?;
                self.show_password(&password, made_up)
            }
            User::Invite { name, instance_admin, lifetime } => {
                let mut body = json!({ "username": name, "instance_admin": instance_admin });
                if let Some(seconds) = lifetime {
                    body["lifetime_seconds"] = seconds.into();
                }
                let made = self.client.post(&["invitations"], body).await?;
                self.show_invitation(&made)
            }
            User::Reset { name, lifetime } => {
                let body = json!({ "lifetime_seconds": lifetime });
                let made = self.client.post(&["users", &name, "reset"], body).await?;
                self.show_invitation(&made)
            }
            User::Withdraw { name } => {
                let gone = self.client.delete(&["users", &name, "invitation"]).await?;
                self.say(&gone, &format!("the invitation of {name} is over"))
            }
            User::Accept { name, invitation, password } => {
                let (password, made_up) = new_password(password, input)?;
                let body = json!({
                    "username": name,
                    "secret": invitation.expose(),
                    "password": password.expose(),
                });
                let set = self.client.post(&["invitations", "accept"], body).await?;
                self.say(&set, &format!("the password of {name} is set"))?;
                self.show_password(&password, made_up)
            }
            User::Password { name, password } => self.set_password(&name, password, input).await,
            User::Disable { name } => {
                let set = self.client.patch(&["users", &name], json!({ "disabled": true })).await?;
                self.say(&set, &format!("user {name} is switched off"))
            }
            User::Enable { name } => {
                let set =
                    self.client.patch(&["users", &name], json!({ "disabled": false })).await?;
                self.say(&set, &format!("user {name} is switched on"))
            }
            User::List => {
                let items = self.client.list(&["users"], &[]).await?;
                let columns = ["username", "instance_admin", "disabled", "invited_until"];
                table(self.out, self.form, items, &columns)
            }
        }
    }

    async fn set_password(
        &mut self,
        name: &str,
        password: NewPassword,
        input: &mut impl Read,
    ) -> Result<(), AdminError> {
        let (password, made_up) = new_password(password, input)?;
        let set = if name == self.client.username() {
            let current = self.client.password().map_or("", Secret::expose);
            let body = json!({ "current_password": current, "new_password": password.expose() });
            self.client.put(&["user", "password"], body).await?
        } else {
            let body = json!({ "password": password.expose() });
            self.client.patch(&["users", name], body).await?
        };
        self.say(&set, &format!("the password of {name} is changed"))?;
        self.show_password(&password, made_up)
    }

    fn show_password(&mut self, password: &Secret, made_up: bool) -> Result<(), AdminError> {
        if !made_up {
            return Ok(());
        }
        line(self.out, &format!("password, shown only now: {}", password.expose()))
    }

    /// Packages are addressed by id, because their names have slashes.
    pub(super) async fn package_id(
        &self,
        workspace: &str,
        name: &str,
    ) -> Result<String, AdminError> {
        let path = ["workspaces", workspace, "packages"];
        let found = self.client.get(&path, &[("name", name)]).await?;
        let id = found["items"][0]["id"].as_u64().map(|id| id.to_string());
        id.ok_or_else(|| AdminError::Refused(format!("there is no package {name} in {workspace}")))
    }

    pub(super) fn say(&mut self, answer: &Value, words: &str) -> Result<(), AdminError> {
        sentence(self.out, self.form, answer, words)
    }
}

fn with_name(mut body: Value, name: Option<String>) -> Value {
    if let Some(name) = name {
        body["name"] = name.into();
    }
    body
}

fn with_slug(mut body: Value, slug: Option<String>) -> Value {
    if let Some(slug) = slug {
        body["slug"] = slug.into();
    }
    body
}

/// The new password of a user, and whether it was made up here.
fn new_password(given: NewPassword, input: &mut impl Read) -> Result<(Secret, bool), AdminError> {
    if given.new_password_stdin {
        return Ok((read_password(input)?, false));
    }
    if let Some(password) = given.new_password {
        return Ok((password, false));
    }
    let password = Secret::generate().map_err(AdminError::Output)?;
    Ok((password, true))
}
