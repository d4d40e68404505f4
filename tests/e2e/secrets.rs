//! Secrets are in no log and no answer, however much is logged.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::json;
use standpipe_tests::server::ServerOptions;

use crate::world::World;

const PASSWORD: &str = "canary-password-5b1f";
const WRONG: &str = "canary-wrong-9c3e";
const INVENTED: &str = "canary-bearer-77aa";
const IN_A_PLACE: &str = "canary-in-a-name-0d4d";

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_the_log_or_an_answer_however_much_is_logged() {
    let environment = vec![("STANDPIPE_LOG_FILTER", "trace".to_owned())];
    let options = ServerOptions { environment, ..ServerOptions::default() };
    let world = World::with_options(options, &["shop-api"]).await;
    let token = world.pipeline_token().await;
    let user = json!({"username": "cara", "password": PASSWORD});
    let _ = world.admin.call(Method::POST, "/users", Some(user)).await.expect(201);
    let mut told = String::new();
    let clients = [Client::builder(), Client::builder().http2_prior_knowledge()];
    for client in clients.map(|client| client.build().expect("a client")) {
        for request in requests(&client, &world.server.url(), &token.secret) {
            let answer = request.send().await.expect("an answer");
            told.push_str(&format!("{:?}\n", answer.headers()));
            told.push_str(&answer.text().await.expect("a text"));
        }
    }
    let log = world.server.stderr();
    assert!(log.contains(" TRACE "), "little was logged");
    let secrets = [PASSWORD, WRONG, INVENTED, IN_A_PLACE, &token.secret];
    let encoded = [PASSWORD, WRONG].map(|secret| BASE64_STANDARD.encode(format!("cara:{secret}")));
    for secret in secrets.into_iter().chain(encoded.iter().map(String::as_str)) {
        for (what, text) in [("the log", &log), ("an answer", &told)] {
            let line = text.lines().find(|line| line.contains(secret));
            assert!(line.is_none(), "{secret} is in {what}: {line:?}");
        }
    }
}

/// Requests that carry secrets in every place where one may stand.
fn requests(client: &Client, url: &str, token: &str) -> Vec<RequestBuilder> {
    let at = |method: Method, path: &str| client.request(method, format!("{url}{path}"));
    let get = |path: &str| at(Method::GET, path);
    let form = |path: &str, fields: &[(&str, &str)]| at(Method::POST, path).form(fields);
    vec![
        get("/v2/").basic_auth("cara", Some(PASSWORD)),
        get("/v2/").basic_auth("cara", Some(WRONG)),
        // A password where the name belongs.
        get("/v2/").basic_auth(IN_A_PLACE, Some(WRONG)),
        get("/v2/acme/shop-api/tags/list").bearer_auth(token),
        get("/v2/").bearer_auth(INVENTED),
        get("/api/v1/user").basic_auth("cara", Some(PASSWORD)),
        get("/api/v1/user").basic_auth("cara", Some(WRONG)),
        get("/token?service=standpipe").basic_auth("cara", Some(PASSWORD)),
        get(&format!("/v2/?password={WRONG}")),
        get(&format!("/api/v1/user?access_token={INVENTED}")),
        form(
            "/token",
            &[
                ("grant_type", "password"),
                ("service", "standpipe"),
                ("client_id", "test"),
                ("username", "cara"),
                ("password", WRONG),
            ],
        ),
        form("/sign-in", &[("username", "cara"), ("password", PASSWORD)]),
        form("/sign-in", &[("username", IN_A_PLACE), ("password", WRONG)]),
        at(Method::PUT, "/api/v1/user/password")
            .basic_auth("cara", Some(PASSWORD))
            .json(&json!({"current_password": WRONG, "new_password": PASSWORD})),
        at(Method::POST, "/api/v1/invitations/accept")
            .json(&json!({"username": "cara", "secret": INVENTED, "password": PASSWORD})),
        // Not JSON, and not a form: what is told of it must not quote it.
        at(Method::POST, "/api/v1/users")
            .basic_auth("cara", Some(PASSWORD))
            .header("content-type", "application/json")
            .body(format!("{{\"password\": \"{WRONG}\", {WRONG}")),
    ]
}
