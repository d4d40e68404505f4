//! What can be typed after `standpipe-server admin`.

use super::options::{NewPassword, RepositoryFields, WorkspaceSettings, secret};
use super::undo::PackageUndo;
use crate::auth::Secret;
use clap::Subcommand;

/// How to reach the server, who asks, and what is to be done.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The server's address
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "STANDPIPE_SERVER",
        default_value = "http://127.0.0.1:5000"
    )]
    pub(super) server: String,
    /// Who logs in
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "STANDPIPE_USERNAME",
        default_value = "admin"
    )]
    pub(super) username: String,
    /// The password or a personal token; other users of this machine may see arguments, so better
    /// set the variable or use --password-stdin
    #[arg(
        long,
        global = true,
        value_name = "PASSWORD",
        env = "STANDPIPE_PASSWORD",
        hide_env_values = true,
        value_parser = secret
    )]
    pub(super) password: Option<Secret>,
    /// Read the password from standard input
    #[arg(long, global = true)]
    pub(super) password_stdin: bool,
    /// Print the server's answer as JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// What to do
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What can be administered.
#[derive(Subcommand, Clone, Debug)]
pub(super) enum Command {
    /// Workspaces: the top of everything, where blobs are stored once
    #[command(subcommand)]
    Workspace(Workspace),
    /// Projects: they group repositories
    #[command(subcommand)]
    Project(Project),
    /// Repositories: they carry the roles
    #[command(subcommand)]
    Repository(Repository),
    /// Roles of users on repositories, and administrators of workspaces
    #[command(subcommand)]
    Permission(Permission),
    /// Packages: image names
    #[command(subcommand)]
    Package(Package),
    /// Tags of a package
    #[command(subcommand)]
    Tag(Tag),
    /// What happened to a package's tags, newest first
    History {
        /// The workspace's slug
        workspace: String,
        /// The package's name
        package: String,
        /// Only of this tag
        #[arg(long)]
        tag: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// What was freed in a workspace, by the event that made it so, newest first
    Receipts {
        /// The workspace's slug
        workspace: String,
        /// At most so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Pipeline tokens: what a build logs in with
    #[command(subcommand)]
    Token(Token),
    /// Logins of builds with OIDC tokens: no stored secret
    #[command(subcommand)]
    Oidc(super::oidc::Oidc),
    /// One's own tokens: what scripts log in with as oneself
    #[command(subcommand)]
    PersonalToken(super::people::PersonalToken),
    /// Robots: machine accounts of a workspace
    #[command(subcommand)]
    Robot(super::people::Robot),
    /// Users
    #[command(subcommand)]
    User(User),
    /// Who did what, newest first
    Audit(super::people::Audit),
    /// Verify everything on the running server and wait for the end; exits with 1 if something is wrong
    Verify(super::maintenance::Verify),
    /// Back the running server up into a directory of its own machine and wait for the end
    Backup(super::maintenance::Backup),
}

#[derive(Subcommand, Clone, Debug)]
pub(super) enum Workspace {
    /// Create a workspace
    Create {
        /// Its slug: the first part of image names, for ever
        slug: String,
        /// Its display name
        #[arg(long)]
        name: Option<String>,
    },
    /// List the workspaces
    List,
    /// Show a workspace with its settings and byte totals
    Show {
        /// The workspace's slug
        slug: String,
    },
    /// Change a workspace's settings
    Set {
        /// The workspace's slug
        slug: String,
        #[command(flatten)]
        settings: WorkspaceSettings,
    },
}

#[derive(Subcommand, Clone, Debug)]
pub(super) enum Project {
    /// Create a project
    Create {
        /// The workspace's slug
        workspace: String,
        /// Its key, such as WEB
        key: String,
        /// Its display name
        #[arg(long)]
        name: Option<String>,
    },
    /// List a workspace's projects
    List {
        /// The workspace's slug
        workspace: String,
    },
}

#[derive(Subcommand, Clone, Debug)]
pub(super) enum Repository {
    /// Create a repository
    Create {
        /// The workspace's slug
        workspace: String,
        /// Its slug
        slug: String,
        #[command(flatten)]
        fields: RepositoryFields,
    },
    /// List a workspace's repositories
    List {
        /// The workspace's slug
        workspace: String,
    },
    /// Change a repository
    Set {
        /// The workspace's slug
        workspace: String,
        /// The repository's slug
        repository: String,
        /// A new slug
        #[arg(long)]
        slug: Option<String>,
        #[command(flatten)]
        fields: RepositoryFields,
    },
    /// Delete a repository that no package is linked to
    Delete {
        /// The workspace's slug
        workspace: String,
        /// The repository's slug
        repository: String,
    },
}

#[derive(Subcommand, Clone, Debug)]
pub(super) enum Permission {
    /// Give a user a role on a repository: permission set acme shop ann write
    Set {
        /// The workspace's slug
        workspace: String,
        /// The repository's slug
        repository: String,
        /// The user's name
        user: String,
        /// The role
        #[arg(value_parser = ["read", "write", "admin"])]
        role: String,
    },
    /// Take a user's role on a repository away
    Remove {
        /// The workspace's slug
        workspace: String,
        /// The repository's slug
        repository: String,
        /// The user's name
        user: String,
    },
    /// List the roles on a repository, or the administrators of a workspace
    List {
        /// The workspace's slug
        workspace: String,
        /// The repository's slug
        repository: Option<String>,
    },
    /// Make a user an administrator of a workspace
    AddAdmin {
        /// The workspace's slug
        workspace: String,
        /// The user's name
        user: String,
    },
    /// Make a user no longer an administrator of a workspace
    RemoveAdmin {
        /// The workspace's slug
        workspace: String,
        /// The user's name
        user: String,
    },
}

#[derive(Subcommand, Clone, Debug)]
pub(super) enum Package {
    /// Create a package linked to a repository
    Create {
        /// The workspace's slug
        workspace: String,
        /// Its name; may have slashes
        name: String,
        /// The repository it inherits its permissions from
        #[arg(long, value_name = "SLUG")]
        repository: String,
    },
    /// List a workspace's packages
    List {
        /// The workspace's slug
        workspace: String,
        /// Only those of this project
        #[arg(long, value_name = "KEY")]
        project: Option<String>,
        /// Only those linked to this repository
        #[arg(long, value_name = "SLUG")]
        repository: Option<String>,
    },
    /// Show a package with its byte totals
    Show {
        /// The workspace's slug
        workspace: String,
        /// The package's name
        package: String,
    },
    /// Delete a package with all its tags; for a while it can be restored
    Delete {
        /// The workspace's slug
        workspace: String,
        /// The package's name
        package: String,
    },
    #[command(flatten)]
    Undo(PackageUndo),
}

#[derive(Subcommand, Clone, Debug)]
pub(super) enum Tag {
    /// List a package's tags
    List {
        /// The workspace's slug
        workspace: String,
        /// The package's name
        package: String,
    },
    /// Delete a tag; for a while it can be restored
    Delete {
        /// The workspace's slug
        workspace: String,
        /// The package's name
        package: String,
        /// The tag
        tag: String,
    },
    /// Put a tag back to what its last movement released: undoes an overwrite or a deletion
    Restore {
        /// The workspace's slug
        workspace: String,
        /// The package's name
        package: String,
        /// The tag
        tag: String,
        /// Point it to this digest instead; `admin package kept` lists them
        #[arg(long)]
        digest: Option<String>,
    },
}

#[derive(Subcommand, Clone, Debug)]
pub(super) enum Token {
    /// Make a pipeline token; its secret is printed now and never again
    Create {
        /// The workspace's slug
        workspace: String,
        /// The repository's slug
        repository: String,
        #[command(flatten)]
        token: super::people::NewToken,
    },
    /// List a repository's pipeline tokens
    List {
        /// The workspace's slug
        workspace: String,
        /// The repository's slug
        repository: String,
    },
    /// End a pipeline token
    Revoke {
        /// The workspace's slug
        workspace: String,
        /// The repository's slug
        repository: String,
        /// The token's id
        id: String,
    },
}

#[derive(Subcommand, Clone, Debug)]
pub(super) enum User {
    /// Create a user; without a password given, one is made and printed
    Create {
        /// The name they log in with
        name: String,
        /// Let them administer the whole instance
        #[arg(long)]
        instance_admin: bool,
        #[command(flatten)]
        password: NewPassword,
    },
    /// Create a user who sets the first password with a one-time secret, which is printed
    Invite {
        /// The name they log in with
        name: String,
        /// Let them administer the whole instance
        #[arg(long)]
        instance_admin: bool,
        /// How long the invitation waits [default: a week]
        #[arg(long, value_name = "SECONDS")]
        lifetime: Option<u64>,
    },
    /// End a user's password; they set another one with a one-time secret, which is printed
    Reset {
        /// The user's name
        name: String,
        /// How long the secret waits [default: a week]
        #[arg(long, value_name = "SECONDS")]
        lifetime: Option<u64>,
    },
    /// End the invitation or reset that waits for a user
    Withdraw {
        /// The user's name
        name: String,
    },
    /// Set one's own password with the secret of an invitation or a reset; takes no login. Without a
    /// password given, one is made and printed
    Accept {
        /// One's own user name
        name: String,
        /// The secret; other users of this machine may see arguments, so better set the variable
        #[arg(
            long,
            value_name = "SECRET",
            env = "STANDPIPE_INVITATION",
            hide_env_values = true,
            value_parser = secret
        )]
        invitation: Secret,
        #[command(flatten)]
        password: NewPassword,
    },
    /// Set a user's password; without a password given, one is made and printed
    Password {
        /// The user's name
        name: String,
        #[command(flatten)]
        password: NewPassword,
    },
    /// Switch a user off: no login, no token works any more
    Disable {
        /// The user's name
        name: String,
    },
    /// Switch a user on again
    Enable {
        /// The user's name
        name: String,
    },
    /// List the users
    List,
}
