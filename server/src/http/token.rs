//! The token endpoint of Docker's token protocol: GET with Basic, POST with a form.
//!
//! Invariant: what is granted is what was asked for *and* is allowed now; asking for too much is not
//! an error, a wrong credential is one (and is never answered as if nobody had logged in). There are
//! no refresh tokens, so what asks for one is answered without it.

use super::error::{Code, OciError};
use super::extract::{authorization, source};
use super::table::Table;
use crate::app::App;
use crate::auth::{AuthError, Issued, Login, Secret, scope};
use axum::extract::rejection::FormRejection;
use axum::extract::{FromRequest as _, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Form, Json};
use serde_json::json;
use std::net::IpAddr;
use std::sync::Arc;

/// The longest form in bytes.
const LONGEST_FORM: usize = 64 << 10;
/// The grant that exchanges another's token for one of ours (RFC 8693 §2.1).
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// The kinds of tokens that are exchanged (RFC 8693 §3).
const SUBJECT_TOKENS: [&str; 2] =
    ["urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token"];
/// The kind of what comes out.
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// The most parameters of a request.
const MOST_PARAMETERS: usize = 200;

/// The endpoint.
pub(super) fn routes() -> Table {
    Table::default().get("/token", by_query).post("/token", by_form).longest_body(LONGEST_FORM)
}

/// The parameters of a query or form, in their order; `scope` may repeat.
type Pairs = Vec<(String, String)>;

/// What a request asks for, however it was sent.
#[derive(Debug, Default)]
struct Asked {
    service: Option<String>,
    scopes: Vec<String>,
    grant_type: Option<String>,
    username: Option<String>,
    password: Option<Secret>,
    subject_token: Option<Secret>,
    subject_token_type: Option<String>,
}

async fn by_query(State(app): State<Arc<App>>, request: Request) -> Result<Response, OciError> {
    let pairs = Query::<Pairs>::try_from_uri(request.uri());
    let Query(pairs) = pairs.map_err(|_| bad("invalid-request", "the query cannot be read"))?;
    let asked = Asked::read(pairs)?;
    let shown = authorization(request.headers()).map_err(refused)?;
    let login = app.auth.login(shown, source(request.extensions())).await.map_err(refused)?;
    answer(&app, &login, &asked).await
}

async fn by_form(State(app): State<Arc<App>>, request: Request) -> Result<Response, OciError> {
    let from = source(request.extensions());
    let form = Form::<Pairs>::from_request(request, &app).await;
    let Form(pairs) = form.map_err(|rejection| not_a_form(&rejection))?;
    let asked = Asked::read(pairs)?;
    // Other grants are told so (RFC 6749, 5.2); clients then come back with GET and Basic.
    match asked.grant_type.as_deref() {
        Some("password") => by_password(&app, asked, from).await,
        Some(TOKEN_EXCHANGE) => by_exchange(&app, &asked).await,
        Some(_) => {
            let words = "grant_type: password and token-exchange are supported";
            Err(bad("unsupported-grant-type", words))
        }
        None => Err(bad("invalid-request", "grant_type: it is missing")),
    }
}

async fn by_password(
    app: &App,
    mut asked: Asked,
    from: Option<IpAddr>,
) -> Result<Response, OciError> {
    let (Some(username), Some(password)) = (asked.username.take(), asked.password.take()) else {
        return Err(bad("invalid-request", "username, password: both are needed"));
    };
    let login = app.auth.login_with(username, password, from).await.map_err(refused)?;
    answer(app, &login, &asked).await
}

/// An OIDC token for one of ours (RFC 8693 §2.1).
async fn by_exchange(app: &App, asked: &Asked) -> Result<Response, OciError> {
    let kind = asked.subject_token_type.as_deref();
    if !kind.is_some_and(|kind| SUBJECT_TOKENS.contains(&kind)) {
        let words = format!("subject_token_type: it must be {}", SUBJECT_TOKENS.join(" or "));
        return Err(bad("invalid-request", &words));
    }
    let Some(token) = &asked.subject_token else {
        return Err(bad("invalid-request", "subject_token: it is missing"));
    };
    let login = app.auth.login_with_oidc(token).await.map_err(refused)?;
    answer(app, &login, asked).await
}

async fn answer(app: &App, login: &Login, asked: &Asked) -> Result<Response, OciError> {
    let service = app.auth.service();
    if asked.service.as_deref().is_some_and(|asked| asked != service) {
        return Err(bad("unknown-service", "service: this is not the name of this registry"));
    }
    let wanted = scope::parse(asked.scopes.iter().map(String::as_str));
    let wanted = wanted.map_err(|error| bad("too-many-scopes", &error.to_string()))?;
    let issued = app.auth.issue(login, wanted).await?;
    Ok(render(&issued, asked.subject_token.is_some()))
}

fn render(issued: &Issued, exchanged: bool) -> Response {
    let token = issued.token.expose();
    let mut body = json!({
        "token": token,
        // The same under the name that OAuth 2 gives it.
        "access_token": token,
        "token_type": "Bearer",
        "scope": scope::Scopes(&issued.grants).to_string(),
        "expires_in": issued.expires_in,
        "issued_at": issued.issued_at.to_string(),
    });
    if exchanged {
        body["issued_token_type"] = ACCESS_TOKEN.into();
    }
    ([(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")], Json(body))
        .into_response()
}

impl Asked {
    /// Takes what is known. Other parameters (`client_id`, `account`, `offline_token`,
    /// `access_type`) are ignored, as the protocol wants.
    fn read(pairs: Pairs) -> Result<Self, OciError> {
        if pairs.len() > MOST_PARAMETERS {
            return Err(bad("invalid-request", "too many parameters"));
        }
        let mut asked = Self::default();
        for (key, value) in pairs {
            match key.as_str() {
                "grant_type" => asked.grant_type = Some(value),
                "password" => asked.password = Some(Secret::new(value)),
                "scope" => asked.scopes.push(value),
                "subject_token" => asked.subject_token = Some(Secret::new(value)),
                "subject_token_type" => asked.subject_token_type = Some(value),
                "service" => asked.service = Some(value),
                "username" => asked.username = Some(value),
                _ => {}
            }
        }
        Ok(asked)
    }
}

/// A login that is not accepted. The challenge is Basic, because that is how one logs in here.
fn refused(error: AuthError) -> OciError {
    match error {
        AuthError::Oidc(refusal) if refusal.retry_after().is_some() => {
            AuthError::Oidc(refusal).into()
        }
        AuthError::Expired | AuthError::Invalid | AuthError::Oidc(_) | AuthError::Refused(_) => {
            let (status, code) = (StatusCode::UNAUTHORIZED, Code::Unauthorized);
            OciError::new(status, code, "credential-invalid", error.to_string())
                .with(header::WWW_AUTHENTICATE, "Basic realm=\"Standpipe\"")
        }
        AuthError::TooMany(_) | AuthError::Unavailable(_) => error.into(),
    }
}

fn not_a_form(rejection: &FormRejection) -> OciError {
    let status = rejection.status();
    let (kind, words) = match status {
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            ("not-a-form", "the body must be application/x-www-form-urlencoded")
        }
        StatusCode::PAYLOAD_TOO_LARGE => ("form-too-large", "the form is larger than 64 KiB"),
        _ => return bad("invalid-request", "the form cannot be read"),
    };
    OciError::new(status, Code::Unsupported, kind, words)
}

fn bad(kind: &'static str, words: &str) -> OciError {
    OciError::new(StatusCode::BAD_REQUEST, Code::Unsupported, kind, words)
}
