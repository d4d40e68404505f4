//! The outermost layer: every request passes it once on the way in and once on the way out.
//!
//! Invariant: each answer has a request id and the headers that keep a browser from interpreting
//! what people stored; each refusal gets its body here and nowhere else; each request is logged in
//! one line that is readable alone and holds no secret and no query.

use super::challenge;
use super::error::{Form, Problem, chain};
use super::extract::{RequestContext, peer};
use super::source::Source;
use crate::app::{App, HttpSettings};
use crate::clock::Stopwatch;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use serde_json::json;
use std::sync::Arc;
use tracing::Instrument as _;

/// Nothing of ours is a page that runs something; the web UI sets its own policy.
const POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; sandbox");
/// The longest path written to the log, in bytes.
const LONGEST_LOGGED_PATH: usize = 512;

/// Runs a request with an id, then finishes and logs the answer.
pub(super) async fn boundary(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let watch = Stopwatch::start();
    let seen = Seen::of(&request, &app.http);
    let context = RequestContext::of(request.headers(), seen.source.client);
    let context = Arc::new(context);
    request.extensions_mut().insert(Arc::clone(&context));
    let span = tracing::info_span!("request", id = %context.id());
    // A client that goes away ends the request here, without an answer to count.
    let in_flight = app.requests.begin();
    let mut response = next.run(request).instrument(span.clone()).await;
    let _entered = span.enter();
    let problem = response.extensions_mut().remove::<Problem>();
    if let Some(problem) = &problem {
        write(&mut response, problem, &app, &context, &seen);
    }
    harden(&mut response, context.id(), seen.registry);
    seen.log(&response, problem.as_ref(), &context, watch);
    in_flight.answered(response.status().as_u16());
    response
}

/// What is remembered of a request whose parts a handler takes.
struct Seen {
    method: Method,
    path: String,
    agent: Option<String>,
    bearer: bool,
    registry: bool,
    source: Source,
}

impl Seen {
    fn of(request: &Request, settings: &HttpSettings) -> Self {
        let path = request.uri().path();
        let mut end = path.len().min(LONGEST_LOGGED_PATH);
        while !path.is_char_boundary(end) {
            end -= 1;
        }
        let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        let scheme = request.headers().get(header::AUTHORIZATION);
        let scheme = scheme.and_then(|value| value.as_bytes().split(|byte| *byte == b' ').next());
        Self {
            method: request.method().clone(),
            path: path[..end].to_owned(),
            agent: text(header::USER_AGENT).map(|agent| agent.chars().take(128).collect()),
            bearer: scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer")),
            registry: path == "/v2" || path.starts_with("/v2/"),
            source: Source::of(settings, peer(request.extensions()), request.headers()),
        }
    }

    fn log(
        &self,
        response: &Response,
        problem: Option<&Problem>,
        context: &RequestContext,
        watch: Stopwatch,
    ) {
        let (Self { method, path, .. }, status) = (self, response.status().as_u16());
        if let Some(cause) = problem.and_then(|problem| problem.cause.as_deref()) {
            tracing::error!(cause, "{method} {path} failed: {cause}");
        }
        let length = response.headers().get(header::CONTENT_LENGTH);
        tracing::info!(
            method = %method,
            path,
            status,
            code = problem.map(|problem| problem.code.as_str()),
            milliseconds = watch.elapsed().as_millis(),
            bytes = length.and_then(|length| length.to_str().ok()),
            actor = context.actor(),
            agent = self.agent,
            peer = self.source.shown().map(tracing::field::display),
            proxy = self.source.proxy.map(tracing::field::display),
            "{method} {path} {status}"
        );
    }
}

/// Writes a refusal's headers and body.
fn write(
    response: &mut Response,
    problem: &Problem,
    app: &App,
    context: &RequestContext,
    seen: &Seen,
) {
    // A panic does not know which API it happened in.
    let form = if seen.registry { Form::Oci } else { problem.form };
    if form == Form::Page {
        let policy = super::web::page::POLICY;
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    let headers = response.headers_mut();
    for (name, value) in &problem.headers {
        set(headers, name.clone(), value);
    }
    if let Some(challenge) = &problem.challenge {
        let scope = problem.scope.as_deref();
        // The REST API takes passwords and personal tokens, not tokens of `/token`.
        let value = match form {
            Form::Oci => {
                challenge::header(&app.http, app.auth.service(), challenge, scope, seen.bearer)
            }
            Form::Rest => "Basic realm=\"Standpipe\"".to_owned(),
            // A browser would ask for a password in a window of its own.
            Form::Page => String::new(),
        };
        if !value.is_empty() {
            set(headers, header::WWW_AUTHENTICATE, &value);
        }
    }
    let (kind, body) = match form {
        Form::Oci => ("application/json", oci_body(problem, context.id())),
        Form::Rest => ("application/problem+json", rest_body(problem, context.id())),
        Form::Page => ("text/html; charset=utf-8", super::web::error::body(problem, context.id())),
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_LENGTH, body.len().into());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *response.body_mut() = Body::from(body);
}

fn oci_body(problem: &Problem, id: &str) -> String {
    let mut error = json!({ "code": problem.code.as_str(), "message": problem.message });
    if problem.status.is_server_error() {
        error["detail"] = json!({ "request_id": id });
    }
    json!({ "errors": [error] }).to_string()
}

/// RFC 9457, 3.1.
fn rest_body(problem: &Problem, id: &str) -> String {
    let title = problem.kind.replace('-', " ");
    let (first, rest) = title.split_at(title.len().min(1));
    json!({
        "type": format!("urn:standpipe:problem:{}", problem.kind),
        "title": format!("{}{rest}", first.to_uppercase()),
        "status": problem.status.as_u16(),
        "detail": problem.message,
        "request_id": id,
    })
    .to_string()
}

/// Adds what every answer has.
fn harden(response: &mut Response, id: &str, registry: bool) {
    let headers = response.headers_mut();
    set(headers, HeaderName::from_static("x-request-id"), id);
    if registry {
        let version = HeaderName::from_static("docker-distribution-api-version");
        headers.insert(version, HeaderValue::from_static("registry/2.0"));
        // Before a login, too: a client decides by it whether to ask for what only we have.
        let extensions = HeaderName::from_static("standpipe-extensions");
        headers.insert(extensions, HeaderValue::from_static("known-layers, declared-uploads"));
    }
    // People store what they like; a browser must not take it for one of our pages.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // The policy says it too; this is for browsers that do not read that part of it.
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(POLICY);
    // What one caller may see is not for the next one. Whatever may be kept says so itself.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.entry(header::VARY).or_insert(HeaderValue::from_static("authorization"));
}

/// Sets a header whose value may hold something from outside; what cannot be a header is left out.
fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    match HeaderValue::try_from(value) {
        Ok(value) => {
            headers.insert(name, value);
        }
        Err(_) => {
            tracing::warn!(header = %name, "a header was left out because its value is not legal")
        }
    }
}

/// The answer to a request whose handler panicked. The panic itself was reported by its hook.
pub(super) fn panicked(payload: Box<dyn std::any::Any + Send>) -> Response {
    let words = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words");
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response.extensions_mut().insert(Problem::panicked(words));
    response
}

/// Watches a body on its way out: what breaks a pull off is not an answer any more, so it is logged.
pub(super) fn outgoing(app: Arc<App>, bytes: crate::blobs::ByteStream, what: String) -> Body {
    use futures_util::TryStreamExt as _;
    let counted = bytes.inspect_ok(move |piece| app.requests.sent(piece.len()));
    Body::from_stream(counted.inspect_err(move |error| {
        let cause = chain(error);
        tracing::error!(cause, "sending {what} broke off: {cause}");
    }))
}
