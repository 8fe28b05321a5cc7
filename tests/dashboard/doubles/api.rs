//! The stand-in of the control API: one account, its keys, and an edge to look at.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post, put};
use axum::{Extension, Json, Router};
use cfx::clock::{Clock, SystemClock};
use cfx::control::api;
use cfx::identity::SessionToken;
use cfx::units::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

/// Markup, a text from right to left, an emoji, and 200 letters that no line can be broken in.
pub const HOSTILE: &str = "<script>alert('1')</script>\"&\u{202e}שלום👩‍💻\
    xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\
    xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
pub const PASSWORD: &str = "correct horse battery";
const HOUR: i64 = 3_600_000_000;

/// What it is set to, and what was asked of it.
pub struct Api {
    pub token: SessionToken,
    pub role: &'static str,
    pub hostile: bool,
    /// Of the session's life.
    pub hours_left: i64,
    /// The session's whole life, in hours.
    pub life: i64,
    /// How many hours from now no refresh takes the session beyond.
    pub ends_in: i64,
    keys: Mutex<Vec<api::Key>>,
    /// Sessions that `/api/refresh` gave in place of the first.
    renewed: Mutex<Vec<SessionToken>>,
    /// `POST /api/keys`, in order.
    pub asked: Mutex<Vec<String>>,
    /// Of accounts, in order.
    pub changes: Mutex<Vec<(Uuid, Value)>>,
    /// Headers of the last sign-in.
    pub introduced: Mutex<HeaderMap>,
    /// Whom the last sign-in was for.
    pub named: Mutex<String>,
    /// Status and code that who is signed in is refused with; after so many seconds it may be asked again.
    pub refuses: Mutex<Option<(u16, &'static str, u64)>>,
    /// The same, where somebody signs out.
    pub keeps: Mutex<Option<(u16, &'static str, u64)>>,
    /// The sessions that were shown, in order.
    pub shown: Mutex<Vec<SessionToken>>,
}

impl Default for Api {
    fn default() -> Self {
        Self::new("operator", false, 12)
    }
}

impl Api {
    pub fn new(role: &'static str, hostile: bool, hours_left: i64) -> Self {
        let labels = ["Laptop, Roo Code", "CI", "Ada’s workstation"];
        let keys = (1..).zip(labels).map(|(id, label)| key(id, if hostile { HOSTILE } else { label })).collect();
        let (renewed, asked, changes, introduced) = Default::default();
        let (named, refuses, keeps, shown) = Default::default();
        Self {
            token: SessionToken::mint().unwrap(),
            role,
            hostile,
            hours_left,
            life: 12,
            ends_in: 700,
            keys: Mutex::new(keys),
            renewed,
            asked,
            changes,
            introduced,
            named,
            refuses,
            keeps,
            shown,
        }
    }

    pub fn knows(&self, token: &str) -> bool {
        self.shown_in(token).is_some()
    }

    /// The session that a header's value shows.
    fn shown_in(&self, text: &str) -> Option<SessionToken> {
        let renewed = self.renewed.lock().unwrap();
        std::iter::once(&self.token).chain(&*renewed).find(|token| text.contains(token.expose())).cloned()
    }

    /// A session more, in place of one that is left to hold still.
    pub fn renew(&self) -> SessionToken {
        let token = SessionToken::mint().unwrap();
        self.renewed.lock().unwrap().push(token.clone());
        token
    }

    fn email(&self) -> String {
        if self.hostile { format!("{HOSTILE}@example.org") } else { "ada@example.org".to_owned() }
    }

    fn me(&self, token: &SessionToken) -> api::Me {
        // One clock reading for all three: a second between two of them would tell them apart.
        let now = SystemClock.now();
        let at = |hours: i64| Timestamp(now.0 + hours * HOUR).rfc3339();
        api::Me {
            id: Uuid::from_u128(7),
            email: self.email(),
            role: self.role.to_owned(),
            daily_limit: 1_000,
            concurrent_streams: 2,
            has_password: true,
            csrf: token.csrf(),
            created_at: at(self.hours_left - self.life),
            expires_at: at(self.hours_left),
            ends_at: at(self.ends_in),
        }
    }

    fn session(&self, token: &SessionToken) -> Json<api::NewSession> {
        let me = api::Me { expires_at: later(12), ..self.me(token) };
        Json(api::NewSession { token: token.expose().to_owned(), expires_at: me.expires_at.clone(), me })
    }
}

fn later(hours: i64) -> String {
    Timestamp(SystemClock.now().0 + hours * HOUR).rfc3339()
}

fn key(id: u128, label: &str) -> api::Key {
    api::Key {
        id: Uuid::from_u128(id),
        label: label.to_owned(),
        prefix: format!("cfx_live_7Hq2mZk9Tb{id:02}"),
        state: if id == 2 { api::KeyState::Retiring } else { api::KeyState::Active },
        stages: (id == 2).then(|| vec!["plan".to_owned(), "review".to_owned()]),
        models: None,
        daily_requests: (id == 2).then_some(250),
        created_at: later(-400),
        expires_at: (id == 2).then(|| later(700)),
        retires_at: (id == 2).then(|| later(20)),
        last_used_at: (id != 3).then(|| later(-1)),
    }
}

fn problem(status: StatusCode, code: &str, message: &str) -> Response {
    problem_of(None, status, code, message)
}

fn problem_of(field: Option<&str>, status: StatusCode, code: &str, message: &str) -> Response {
    let error = json!({ "message": message, "type": "invalid_request_error", "param": field, "code": code });
    (status, Json(json!({ "error": error, "request_id": null }))).into_response()
}

/// With how many seconds to wait.
fn problem_for(seconds: u64, status: StatusCode, code: &str) -> Response {
    let mut answer = problem(status, code, &format!("in the edge's own words; try again in {seconds}s"));
    answer.headers_mut().insert("retry-after", seconds.into());
    answer
}

type At = State<Arc<Api>>;

pub fn router(api: Arc<Api>) -> Router {
    let signed = Router::new()
        .route(
            "/api/me",
            get(|State(api): At, Extension(token): Extension<SessionToken>| async move {
                let refused = *api.refuses.lock().unwrap();
                match refused {
                    Some((status, code, wait)) => problem_for(wait, StatusCode::from_u16(status).unwrap(), code),
                    None => Json(api.me(&token)).into_response(),
                }
            }),
        )
        .route("/api/me/password", put(|| async { StatusCode::NO_CONTENT }))
        .route("/api/logout", post(log_out))
        .route("/api/refresh", post(|State(api): At| async move { api.session(&api.renew()) }))
        .route("/api/keys", get(keys).post(make))
        .route("/api/keys/playground", post(playground))
        .route("/api/keys/{id}", patch(|| async { Json(json!({})) }).delete(revoke))
        .route("/api/keys/{id}/rotate", post(make))
        .route("/api/models", get(models))
        .route("/api/logs/tail", get(tail))
        .route("/api/logs/{id}", get(|| async { Json(json!({ "cost_usd": 0.000_351, "estimated": false })) }))
        .route("/api/operator/state", get(state))
        .route("/api/operator/reload", post(reload))
        .route("/api/operator/users", get(users).post(linked))
        .route("/api/operator/users/{id}", patch(change_user))
        .route("/api/operator/users/{id}/link", post(linked))
        .route("/api/operator/invitations", post(invited))
        .route_layer(from_fn_with_state(Arc::clone(&api), only_signed));
    Router::new()
        .route("/api/login", post(login))
        .route("/api/login/link", post(|State(api): At| async move { api.session(&api.token) }))
        .route("/api/login/link/password", post(by_link))
        .route("/api/register", post(register))
        .merge(signed)
        .with_state(api)
}

/// By bearer as the dashboard asks, or by cookie as the browser's own script does.
async fn only_signed(State(api): At, mut request: Request, next: Next) -> Response {
    api.asked.lock().unwrap().push(format!("{} {}", request.method(), request.uri().path()));
    let shown = ["authorization", "cookie"].iter().filter_map(|name| request.headers().get(*name)?.to_str().ok());
    let token = api.shown_in(&shown.collect::<String>());
    if let Some(token) = token {
        api.shown.lock().unwrap().push(token.clone());
        request.extensions_mut().insert(token);
        return next.run(request).await;
    }
    problem(StatusCode::UNAUTHORIZED, "invalid_session", "no such session")
}

async fn login(State(api): At, headers: HeaderMap, Json(login): Json<api::Login>) -> Response {
    *api.introduced.lock().unwrap() = headers;
    login.email.clone_into(&mut api.named.lock().unwrap());
    if login.password == PASSWORD {
        return api.session(&api.token).into_response();
    }
    match &*login.password {
        "unconfirmed" => return problem(StatusCode::FORBIDDEN, "email_not_confirmed", "not confirmed"),
        "captcha" => return problem(StatusCode::FORBIDDEN, "captcha_required", "none here"),
        "away" => return problem(StatusCode::SERVICE_UNAVAILABLE, "supabase_unavailable", "not there"),
        "too often" => return problem_for(900, StatusCode::TOO_MANY_REQUESTS, "too_many_attempts"),
        _ => {}
    }
    problem(StatusCode::UNAUTHORIZED, "invalid_credentials", "no account has this e-mail address and this password")
}

/// Closed, but for who has an invitation: that holds for nobody.
async fn register(State(api): At, Json(registration): Json<api::Registration>) -> Response {
    registration.email.clone_into(&mut api.named.lock().unwrap());
    if registration.password.len() < 10 {
        return problem_of(Some("password"), StatusCode::BAD_REQUEST, "invalid_field", "in the edge's own words");
    }
    match registration.invitation.as_deref() {
        None if registration.email.starts_with("new") => problem(StatusCode::FORBIDDEN, "invalid_invitation", "needed"),
        None => problem(StatusCode::FORBIDDEN, "registration_closed", "closed"),
        Some(_) => problem(StatusCode::FORBIDDEN, "invalid_invitation", "not this one"),
    }
}

async fn log_out(State(api): At) -> Response {
    let kept = *api.keeps.lock().unwrap();
    match kept {
        Some((status, code, wait)) => problem_for(wait, StatusCode::from_u16(status).unwrap(), code),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

async fn by_link(State(api): At, Json(body): Json<Value>) -> Response {
    if body["new"].as_str().is_some_and(|new| new.len() >= 10) {
        return api.session(&api.token).into_response();
    }
    problem_of(Some("new"), StatusCode::BAD_REQUEST, "invalid_field", "in the edge's own words")
}

async fn keys(State(api): At) -> Json<Vec<api::Key>> {
    Json(api.keys.lock().unwrap().clone())
}

async fn make(State(api): At, body: String) -> Response {
    let body: Value = serde_json::from_str(&body).unwrap();
    let label = body["label"].as_str().unwrap_or("Laptop, Roo Code");
    if label.chars().count() > 100 {
        return problem_of(Some("label"), StatusCode::BAD_REQUEST, "invalid_field", "in the edge's own words");
    }
    let mut keys = api.keys.lock().unwrap();
    let row = api::Key { last_used_at: None, ..key(10 + keys.len() as u128, label) };
    keys.insert(0, row.clone());
    let key = "cfx_live_7Hq2mZk9TbXw4RnPd8vLsYc3JfGa6UeK1oQi5Bt0MhNx".to_owned();
    (StatusCode::CREATED, Json(api::RawKey { key, row })).into_response()
}

async fn revoke(State(api): At, Path(id): Path<Uuid>) -> Response {
    match api.keys.lock().unwrap().iter_mut().find(|key| key.id == id) {
        Some(key) => {
            key.state = api::KeyState::Revoked;
            StatusCode::NO_CONTENT.into_response()
        }
        None => problem(StatusCode::NOT_FOUND, "not_found", "no such key"),
    }
}

async fn playground() -> Json<api::RawKey> {
    let row =
        api::Key { expires_at: Some(Timestamp(SystemClock.now().0 + HOUR / 4).rfc3339()), ..key(9, "playground") };
    Json(api::RawKey { key: "cfx_live_playground".to_owned(), row })
}

async fn models(State(api): At) -> Json<api::Offer> {
    let alias = |name: &str| if api.hostile { HOSTILE.to_owned() } else { name.to_owned() };
    let stage = |name: &str, model: &str| api::StageOfUse { name: name.to_owned(), model: alias(model) };
    let model = |name: &str, input, output| api::Model { alias: alias(name), input_price: input, output_price: output };
    Json(api::Offer {
        stages: vec![stage("plan", "claude-sonnet"), stage("code", "deepseek"), stage("review", "gpt-mini")],
        models: vec![
            model("claude-sonnet", Some(3.0), Some(15.0)),
            model("deepseek", Some(0.27), Some(1.1)),
            model("gpt-mini", None, None),
        ],
        direct: true,
    })
}

/// A request that has just ended, each second.
async fn tail(State(api): At) -> Response {
    let hostile = api.hostile;
    let events = futures_util::stream::unfold(0_u128, move |number| async move {
        tokio::time::sleep(Duration::from_millis(if number == 0 { 50 } else { 1_000 })).await;
        let entry = json!({
            "request_id": Uuid::from_u128(u128::MAX - number), "created_at": SystemClock.now().rfc3339_micros(),
            "key_id": Uuid::from_u128(1), "stage": "plan", "model": if hostile { HOSTILE } else { "claude-sonnet" },
            "status": "success", "http_status": 200, "total_tokens": 4321, "estimated": false, "cost_usd": 0.0123,
            "latency_ms": 2345,
        });
        Some((Ok::<_, std::io::Error>(format!("event: log\nid: {number}\ndata: {entry}\n\n")), number + 1))
    });
    ([("content-type", "text/event-stream")], Body::from_stream(events)).into_response()
}

async fn state(State(api): At) -> Json<Value> {
    let text = |text: &str| if api.hostile { HOSTILE.to_owned() } else { text.to_owned() };
    let target = |address: &str, healthy: bool, breaker: &str| json!({ "address": text(address), "healthy": healthy, "breaker": breaker, "in_flight": 3 });
    Json(json!({
        "version": "0.1.0", "started_at": later(-50), "degraded": api.hostile.then_some(HOSTILE),
        "upstreams": [
            { "name": text("litellm"), "targets": [target("http://litellm-a:4000", true, "closed"), target("http://litellm-b:4000", false, "open")],
              "models": [{ "model": text("deepseek"), "breaker": "half_open" }] },
            { "name": text("web"), "unrouted": true, "targets": [target("http://web:3000", true, "closed")], "models": [] },
        ],
        "certificates": [{ "names": [text("edge.example.org"), "app.example.org"], "expires_at": later(1_400), "source": "acme" }],
        "configuration": { "since": later(-3), "hash": "9f2c41d0a7b3", "problems": [text("conf/cfx.yaml:14:7 routes[2].upstream: no upstream \"dashbord\", did you mean \"dashboard\"?")],
            "warnings": [], "restart": ["server.threads: 4 → 8"] },
        "ledger_queued": 12, "ledger_dropped": 0, "ledger_quarantined": 0, "streams_in_flight": 37,
    }))
}

async fn reload(State(api): At) -> Json<Value> {
    Json(json!({ "ok": !api.hostile, "problems": [], "changed": [] }))
}

fn user(api: &Api, id: u128) -> api::User {
    api::User {
        id: Uuid::from_u128(id),
        email: if id == 7 || api.hostile { api.email() } else { "grace@example.org".to_owned() },
        role: if id == 7 { "operator" } else { "member" }.to_owned(),
        created_at: later(-4_000),
        disabled_at: (id == 9).then(|| later(-20)),
        daily_requests: (id == 8).then_some(5_000),
    }
}

async fn users(State(api): At) -> Json<Vec<api::User>> {
    Json(vec![user(&api, 7), user(&api, 8), user(&api, 9)])
}

async fn change_user(State(api): At, Path(id): Path<Uuid>, Json(change): Json<Value>) -> Json<Value> {
    api.changes.lock().unwrap().push((id, change));
    Json(json!({}))
}

async fn linked(State(api): At) -> Json<api::UserWithLink> {
    Json(api::UserWithLink { user: user(&api, 8), link: link(), expires_at: later(24) })
}

async fn invited() -> Json<api::Invitation> {
    Json(api::Invitation { link: link(), expires_at: later(72) })
}

fn link() -> String {
    format!("cfx_link_{}", "7Hq2mZk9TbXw4RnPd8vLsYc3JfGa6UeK1oQi5Bt0MhN")
}
