//! `standpipe-server admin …` against a server on a loopback port.

use crate::harness::{Settings, World};
use clap::Parser as _;
use serde_json::Value;
use standpipe_server::auth::{IssuerSettings, NewToken, OidcAlgorithm};
use standpipe_server::cli::admin::{self, AdminError};
use standpipe_server::cli::{Cli, Command};
use standpipe_server::domain::{Caller, Change, ClaimNames, Principal};

/// A server, and the administrator's token as password.
struct Server {
    world: World,
    url: String,
    password: String,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Server {
    async fn start() -> Self {
        let issuer = IssuerSettings {
            issuer: "https://issuer.example.com".to_owned(),
            audiences: vec!["https://registry.example.com".to_owned()],
            jwks_uri: None,
            algorithms: vec![OidcAlgorithm::Rs256],
            claims: ClaimNames::default(),
        };
        let world = World::with(Settings { issuers: vec![issuer], ..Settings::default() }).await;
        let principal = Principal::User("admin".parse().expect("a name"));
        let admin = Caller::of(principal);
        let new = NewToken { name: "cli".to_owned(), lifetime: None, scopes: None };
        let change = Change::by_server("test");
        let made = world.app.auth.create_personal_token(&admin, &change, new).await;
        let password = made.expect("a token").1.expose().to_owned();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = world.router.clone();
        let serving = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("serving does not end by itself");
        });
        Self { world, url, password, serving }
    }

    async fn run(&self, words: &str) -> Result<String, AdminError> {
        self.run_with(words, "").await
    }

    async fn run_with(&self, words: &str, input: &str) -> Result<String, AdminError> {
        let login = ["--server", &self.url, "--password", &self.password];
        run(&[&login[..], &words.split(' ').collect::<Vec<_>>()].concat(), input).await
    }

    async fn json(&self, words: &str) -> Value {
        let text = self.run(&format!("--json {words}")).await.expect("it works");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

async fn run(words: &[&str], input: &str) -> Result<String, AdminError> {
    let words = [&["standpipe-server", "admin"], words].concat();
    let cli = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
    let Command::Admin(args) = cli.command else { panic!("the words begin with admin") };
    let mut out = Vec::new();
    admin::run(args, &mut input.as_bytes(), &mut out).await?;
    Ok(String::from_utf8(out).expect("text"))
}

#[tokio::test]
async fn from_nothing_to_a_push_and_back() {
    let server = Server::start().await;
    let said = server.run("workspace create new --name New").await.expect("made");
    assert_eq!(said, "workspace new created\n");
    server.run("project create new WEB").await.expect("made");
    server
        .run("repository create new shop --project WEB --visibility private")
        .await
        .expect("made");
    let shown =
        server.run("workspace set new --create-on-push writers --default-repository shop").await;
    assert!(shown.expect("set").contains("create_on_push        writers\n"));
    let said = server.run("package create new shop/api --repository shop").await.expect("made");
    assert!(said.contains("/new/shop/api:<tag>"), "{said}");
    let said = server.run("permission set new shop ann write").await.expect("given");
    assert_eq!(said, "ann has the role write on new/shop\n");
    let listed = server.run("permission list new shop").await.expect("listed");
    assert_eq!(listed, "USERNAME  ROLE\nann       write\n");

    let said = server.run("token create new shop ci --lifetime 3600").await.expect("made");
    let host = server.url.trim_start_matches("http://");
    assert!(said.contains(&format!("docker login --username pipeline --password-stdin {host}")));
    let token = said.split_whitespace().find(|word| word.starts_with("sp_")).expect("a token");
    let build = server.world.holder(&format!("Bearer {token}"));
    let pushed = build.push_image("new/shop/api", "1.0", "layer").await;

    let tags = server.json("tag list new shop/api").await;
    assert_eq!(tags["items"][0]["digest"], pushed.digest());
    let history = server.run("history new shop/api --tag 1.0").await.expect("shown");
    assert!(history.contains("created") && history.contains(&pushed.digest()), "{history}");
    server.run("tag delete new shop/api 1.0").await.expect("deleted");
    assert_eq!(server.json("tag list new shop/api").await["items"], Value::Array(Vec::new()));
    let tokens = server.json("token list new shop").await;
    let id = tokens["items"][0]["id"].as_str().expect("an id");
    server.run(&format!("token revoke new shop {id}")).await.expect("revoked");
    let _ = build.get("/v2/new/shop/api/tags/list").await.expect(401);
    server.run("package delete new shop/api").await.expect("deleted");
    server.run("permission remove new shop ann").await.expect("taken");
    server.run("repository delete new shop").await.expect("deleted");
    let listed = server.run("repository list new").await.expect("listed");
    assert_eq!(listed, "SLUG  NAME  PROJECT  VISIBILITY\n");
}

#[tokio::test]
async fn what_was_deleted_or_replaced_is_put_back_or_given_up() {
    let server = Server::start().await;
    let ann = server.world.client("ann").await;
    let first = ann.push_image("acme/shop", "1.0", "one").await;
    let second = ann.push_image("acme/shop", "1.0", "two").await;
    let kept = server.run("package kept acme shop").await.expect("listed");
    assert!(kept.starts_with("KIND  TAG  DIGEST"), "{kept}");
    assert!(kept.contains(&first.digest()) && kept.contains("user:ann"), "{kept}");
    let said = server.run("tag restore acme shop 1.0").await.expect("back");
    assert_eq!(said, format!("tag 1.0 of acme/shop points to {}\n", first.digest()));
    let there = format!("tag restore acme shop 1.0 --digest {}", second.digest());
    assert!(server.run(&there).await.expect("back").contains(&second.digest()));
    let preview = server.json("package preview acme shop --tag 1.0").await;
    assert_eq!(preview["manifests"], 1);
    let whole = server.run("package preview acme shop").await.expect("shown");
    assert!(whole.contains("manifests       2\n"), "{whole}");
    let holders = format!("package holders acme shop {}", second.digest());
    assert!(server.run(&holders).await.expect("told").contains(r#"["1.0"]"#));
    let pending = server.run("package pending acme shop").await.expect("listed");
    assert!(pending.contains(&first.digest()), "{pending}");

    let _ = ann.delete(&format!("/v2/acme/shop/manifests/{}", second.digest())).await.expect(202);
    let restore = format!("package restore acme shop --digest {}", second.digest());
    let said = server.run(&restore).await.expect("back");
    assert_eq!(said, format!("manifest {} is back in acme/shop\n", second.digest()));

    for _ in 0..2 {
        server.run("package delete acme shop").await.expect("deleted");
        server.run("package create acme shop --repository shop").await.expect("made");
    }
    let listed = server.json("package deleted acme").await;
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(2));
    let id = listed["items"][0]["id"].as_u64().expect("an id");
    let said = server.run("package restore acme shop --name old").await.expect_err("which?");
    assert!(said.to_string().contains("choose one with --id"), "{said}");
    let said = server.run(&format!("package restore acme shop --id {id}")).await;
    assert_eq!(said.expect_err("taken").to_string(), "package shop exists already");
    let said = server.run(&format!("package restore acme shop --id {id} --name old")).await;
    assert_eq!(said.expect("back"), "package old is back in acme\n");
    server.run("package reclaim acme shop --deleted").await.expect("the other one is given up");
    let said = server.run("package reclaim acme shop --deleted").await.expect_err("gone");
    assert_eq!(said.to_string(), "there is no deleted package shop in acme");
    let freed = server.json("package reclaim acme old --tag 1.0").await;
    assert!(freed["events"].as_u64().is_some_and(|events| events > 0), "{freed}");
    let receipts = server.run("receipts acme").await.expect("listed");
    assert!(receipts.starts_with("AT  "), "{receipts}");
    assert!(receipts.contains("WHY") && receipts.contains("BYTES"), "{receipts}");
}

#[tokio::test]
async fn users_are_made_changed_and_switched_off() {
    let server = Server::start().await;
    let said = server.run("user create dora").await.expect("made");
    let password = said.trim().rsplit(' ').next().expect("a password").to_owned();
    assert_eq!(password.len(), 29, "{said}");
    let as_dora = async |password: &str, words: &[&str], input: &str| {
        let login = ["--server", &server.url, "--username", "dora", "--password", password];
        run(&[&login[..], words].concat(), input).await
    };
    as_dora(&password, &["workspace", "list"], "").await.expect("she may log in");
    let change = ["user", "password", "dora", "--new-password-stdin"];
    as_dora(&password, &change, "her own password\n").await.expect("changed");
    let old = as_dora(&password, &["workspace", "list"], "").await;
    let words = old.expect_err("the old one is over").to_string();
    assert!(words.starts_with("the credential is not valid: the user name or the password"));
    assert!(words.ends_with("(logged in as dora)"), "{words}");
    let from_stdin =
        ["--server", &server.url, "--username", "dora", "--password-stdin", "workspace", "list"];
    run(&from_stdin, "her own password\n").await.expect("the new one works");
    server.run("user disable dora").await.expect("switched off");
    assert!(as_dora("her own password", &["workspace", "list"], "").await.is_err());
    server.run("user enable dora").await.expect("switched on");
    let listed = server.run("user list").await.expect("listed");
    assert!(listed.contains("dora      false           false"), "{listed}");
}

#[tokio::test]
async fn what_goes_wrong_is_said_in_one_sentence() {
    let server = Server::start().await;
    let said = async |words: &str| server.run(words).await.expect_err("refused").to_string();
    assert_eq!(said("workspace create acme").await, "workspace acme exists already");
    assert_eq!(said("workspace show nothing").await, "there is no workspace nothing");
    assert_eq!(said("tag list acme nothing").await, "there is no package nothing in acme");
    assert!(said("workspace create UPPER").await.starts_with("slug: "));
    assert!(said("user create x --new-password short").await.starts_with("password: "));
    assert_eq!(said("workspace show ..").await, "a name must not be empty, '.' or '..'");
    assert!(said("repository delete acme shop").await.contains("delete them first"));

    let none = run(&["--server", &server.url, "--password-stdin", "workspace", "list"], "\n").await;
    assert!(matches!(none, Err(AdminError::Password(_))));
    let strange =
        run(&["--server", "localhost:5000", "--password", "x", "workspace", "list"], "").await;
    assert!(matches!(strange, Err(AdminError::Address(_))));
    // A port that was free a moment ago and that nobody listens on.
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", free.local_addr().expect("an address"));
    drop(free);
    let nobody = run(&["--server", &url, "--password", "x", "workspace", "list"], "").await;
    let words = nobody.expect_err("nobody there").to_string();
    assert!(words.ends_with("cannot be reached; is the server running there?"), "{words}");
}

#[tokio::test]
async fn a_server_of_another_kind_is_recognised() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let router = axum::Router::new().fallback(async || "<html>hello</html>");
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let refused = run(&["--server", &url, "--password", "x", "workspace", "list"], "").await;
    assert!(matches!(refused, Err(AdminError::NotStandpipe { .. })));
    serving.abort();
}

#[test]
fn neither_help_nor_debug_output_shows_a_password() {
    let words = ["standpipe-server", "admin", "--password", "canary-4711", "workspace", "list"];
    let cli = Cli::try_parse_from(words).expect("legal");
    assert!(!format!("{cli:?}").contains("canary"));
    let clash = [
        "standpipe-server",
        "admin",
        "user",
        "create",
        "x",
        "--password-stdin",
        "--new-password-stdin",
    ];
    assert!(Cli::try_parse_from(clash).is_err(), "there is one standard input");
    let nothing = ["standpipe-server", "admin", "workspace", "set", "acme"];
    assert!(Cli::try_parse_from(nothing).is_err(), "nothing to set");
}

#[tokio::test]
async fn builds_of_a_source_repository_are_bound_and_unbound() {
    let server = Server::start().await;
    let issuer = "https://issuer.example.com";
    let bind = format!(
        "oidc bind acme shop --issuer {issuer} --source-repository {{9b21}} --branch main \
         --branch release/* --claim workspaceUuid={{w}} --tags latest,v*@main,release/* --tags *"
    );
    let said = server.run(&bind).await.expect("made");
    assert!(said.contains("builds of 9b21 have the role write on acme/shop"), "{said}");
    assert!(said.contains(r#"oidc: { audiences: ["https://registry.example.com"] }"#), "{said}");
    let listed = server.run("oidc list acme shop").await.expect("listed");
    assert!(listed.contains("main,release/*"), "{listed}");
    assert!(listed.contains("latest,v*@main,release/* then *"), "{listed}");
    let items = server.json("oidc list acme shop").await;
    assert_eq!(items["items"][0]["tag_rules"][0]["branches"][1], "release/*");
    assert_eq!(items["items"][0]["claims"]["workspaceUuid"][0], "{w}");
    let id = items["items"][0]["id"].as_str().expect("an id").to_owned();
    let said = server.run(&format!("oidc unbind acme shop {id}")).await.expect("ended");
    assert_eq!(said, format!("binding {id} ended\n"));
    let said = server.run(&bind.replace(issuer, "https://other.example.com")).await;
    let said = said.expect_err("nobody trusts it").to_string();
    assert!(said.contains("oidc.issuers"), "{said}");
}
