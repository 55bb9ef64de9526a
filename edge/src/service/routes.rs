//! What is answered to what.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Json, Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::command::{Command, Desk, Refusal, Unsent};
use super::guard::{Hosts, is_own_page};
use super::server::{Limits, Seats};
use super::view::{FieldPicture, Shown, StationView};

/// Bytes of a request's body at most.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// How long a picture is waited for where the last is old, and how often it is looked for.
const FRESH_WITHIN: Duration = Duration::from_secs(1);
const FRESH_LOOK: Duration = Duration::from_millis(20);

/// What every answer carries: nothing is guessed, framed, embedded elsewhere, kept, or loaded from
/// anywhere but here.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; img-src 'self' blob:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

/// What the routes work with.
pub(super) struct App {
    pub view: Arc<StationView>,
    pub desk: Desk,
    pub hosts: Hosts,
    pub seats: Arc<Seats>,
    pub limits: Limits,
    pub start: Instant,
}

impl App {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

type Shared = State<Arc<App>>;

pub(super) fn router(app: App) -> Router {
    let app = Arc::new(app);
    Router::new()
        .route(
            "/",
            get(|| file("text/html", include_str!("page/index.html"))),
        )
        .route(
            "/station.js",
            get(|| file("text/javascript", include_str!("page/station.js"))),
        )
        .route(
            "/station.css",
            get(|| file("text/css", include_str!("page/station.css"))),
        )
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/api/state", get(state))
        .route("/api/command", post(command))
        .route("/field.jpg", get(picture))
        .route("/coverage.svg", get(coverage))
        .fallback(|| async { refusal(StatusCode::NOT_FOUND, "no such page") })
        .method_not_allowed_fallback(|| async {
            refusal(StatusCode::METHOD_NOT_ALLOWED, "not with this method")
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(Arc::clone(&app), guarded))
        .with_state(app)
}

/// Lets through what is asked of this station by its own pages, in time.
async fn guarded(State(app): Shared, request: Request, next: Next) -> Response {
    let mut response = match legal(&app, &request) {
        Ok(()) => match timeout(app.limits.request_within, next.run(request)).await {
            Ok(response) => response,
            Err(_) => {
                let mut late = refusal(StatusCode::REQUEST_TIMEOUT, "the request took too long");
                // The rest of its body is not waited for.
                let close = HeaderValue::from_static("close");
                late.headers_mut().insert(header::CONNECTION, close);
                late
            }
        },
        Err((status, reason)) => refusal(status, reason),
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn legal(app: &App, request: &Request) -> Result<(), (StatusCode, &'static str)> {
    let bad = |reason| Err((StatusCode::BAD_REQUEST, reason));
    let headers = request.headers();
    let Some(host) = only(headers, header::HOST).flatten() else {
        return bad("expected one Host");
    };
    // A whole URL in the request line counts more than Host, so both must be ours.
    let target = request.uri().authority();
    if !app.hosts.allow(host) || target.is_some_and(|target| target != host) {
        let reason = "Host names another station; names are allowed by http.hosts";
        return Err((StatusCode::MISDIRECTED_REQUEST, reason));
    }
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(());
    }
    let site = only(headers, HeaderName::from_static("sec-fetch-site"));
    let (Some(origin), Some(site)) = (only(headers, header::ORIGIN), site) else {
        return bad("expected one Origin");
    };
    match is_own_page(host, origin, site) {
        true => Ok(()),
        false => Err((StatusCode::FORBIDDEN, "asked for by a page of another site")),
    }
}

/// The value of a header that may be there once: `None` when it is there twice or is no text,
/// `Some(None)` when it is not there.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<Option<&str>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    match (first, values.next()) {
        (None, _) => Some(None),
        (Some(value), None) => value.to_str().ok().map(Some),
        (Some(_), Some(_)) => None,
    }
}

async fn file(kind: &'static str, text: &'static str) -> Response {
    let kind = format!("{kind}; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

async fn ready(State(app): Shared) -> (StatusCode, String) {
    match app.view.ready(app.now()) {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn metrics(State(app): Shared) -> impl IntoResponse {
    let mut text = app.view.metrics(app.now());
    text.gauge(
        "leuko_http_connections",
        "Connections now.",
        app.seats.taken().into(),
    );
    text.counter(
        "leuko_http_refused_connections_total",
        "Connections that were one too many.",
        app.seats.refused(),
    );
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text.into_text())
}

async fn state(State(app): Shared) -> Response {
    let ready = app.view.ready(app.now()).is_ok();
    Json(Shown::new(&app.view.state(), ready)).into_response()
}

/// Where nobody has looked lately the last picture is old, or there is none: the next is waited for.
async fn fresh_picture(app: &App) -> Option<FieldPicture> {
    let (is_old, shown_before) = (!app.view.picture_wanted(app.now()), app.view.pictures());
    let shown = app.view.picture(app.now());
    let asked = app.now();
    while is_old && app.now().saturating_sub(asked) < FRESH_WITHIN {
        sleep(FRESH_LOOK).await;
        if app.view.pictures() != shown_before {
            return app.view.picture(app.now());
        }
    }
    shown
}

async fn picture(State(app): Shared, headers: HeaderMap) -> Response {
    let Some(picture) = fresh_picture(&app).await else {
        return refusal(StatusCode::NOT_FOUND, "no picture yet");
    };
    let tag = format!("\"{}\"", picture.sequence);
    let known = headers.get(header::IF_NONE_MATCH);
    if known.is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, "image/jpeg".to_owned()),
        (header::ETAG, tag),
    ];
    (headers, Bytes::from_owner(picture.jpeg)).into_response()
}

async fn coverage(State(app): Shared) -> Response {
    match fresh_picture(&app).await {
        Some(picture) if !picture.coverage.is_empty() => {
            let kind = [(header::CONTENT_TYPE, "image/svg+xml")];
            (kind, picture.coverage.to_string()).into_response()
        }
        _ => refusal(StatusCode::NOT_FOUND, "nothing was seen yet"),
    }
}

async fn command(State(app): Shared, body: Result<Json<Command>, JsonRejection>) -> Response {
    let command = match body {
        Ok(Json(command)) => command,
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let words = format!("a command of more than {BODY_BYTES_MAX} bytes");
            return refusal(rejection.status(), &words);
        }
        Err(rejection) => return refusal(rejection.status(), &rejection.body_text()),
    };
    if let Err(wrong) = command.check() {
        return refused(&wrong);
    }
    let answer = match app.desk.send(command) {
        Ok(answer) => answer,
        Err(Unsent::Full) => {
            let reason = "too many commands wait, try again";
            return refusal(StatusCode::SERVICE_UNAVAILABLE, reason);
        }
        Err(Unsent::Closed) => {
            let reason = "the station takes no commands";
            return refusal(StatusCode::SERVICE_UNAVAILABLE, reason);
        }
    };
    match timeout(app.limits.command_within, answer).await {
        Ok(Ok(Ok(done))) => Json(done).into_response(),
        Ok(Ok(Err(reason))) => refused(&reason),
        Ok(Err(_)) => {
            let reason =
                "the station stopped before it answered; the command may have been followed";
            refusal(StatusCode::SERVICE_UNAVAILABLE, reason)
        }
        Err(_) => {
            let reason = "no answer in time; the command may still be followed";
            refusal(StatusCode::GATEWAY_TIMEOUT, reason)
        }
    }
}

fn refused(reason: &Refusal) -> Response {
    let status = match reason {
        Refusal::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Refusal::NotFound(_) => StatusCode::NOT_FOUND,
        Refusal::NotNow(_) => StatusCode::CONFLICT,
        Refusal::Disk(_) => StatusCode::INSUFFICIENT_STORAGE,
    };
    refusal(status, &reason.to_string())
}

fn refusal(status: StatusCode, reason: &str) -> Response {
    (status, Json(json!({ "error": reason }))).into_response()
}
