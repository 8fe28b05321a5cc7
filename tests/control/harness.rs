//! A control API of its own for each test, and a client that says what came.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cfx::admission::Pepper;
use cfx::clock::{Clock, ManualClock};
use cfx::config::{Identity, Overrides, Registration, Secret, Source, Supabase, load};
use cfx::control::{Control, HttpsSupabase, Ports, router};
use cfx::identity::{Account, Change, Email, Link, LinkToken, Password, Purpose, Role, Session, SessionToken};
use cfx::ledger::{LogRow, Status};
use cfx::units::{KeyId, NanoUsd, RequestId, Stage, StageSource, Timestamp, UserId};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

use crate::gotrue::{ANON_KEY, Gotrue};
use crate::stores::{Place, SECRET, Stores, Way};
use crate::surroundings::Edge;

pub const PASSWORD: &str = "correct horse battery";

pub struct Harness {
    pub address: SocketAddr,
    pub stores: Stores,
    pub edge: Arc<Edge>,
    way: Way,
    gotrue: Option<Gotrue>,
    pub clock: Arc<ManualClock>,
}

/// Somebody with a session.
#[derive(Clone)]
pub struct Someone {
    pub id: UserId,
    pub token: SessionToken,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: hyper::HeaderMap,
    pub body: Vec<u8>,
    /// Whether the body came to its end.
    pub whole: bool,
}

/// A request in the making.
pub struct Asking<'a> {
    harness: &'a Harness,
    request: hyper::http::request::Builder,
    body: Vec<u8>,
}

/// Noon of a Saturday.
pub fn noon() -> Timestamp {
    Timestamp::parse("2026-01-31T12:00:00Z").unwrap()
}

impl Harness {
    /// With accounts of its own, in memory.
    pub async fn start() -> Self {
        Self::of(Way::Own, Place::Memory).await
    }

    pub async fn of(way: Way, place: Place) -> Self {
        let clock = Arc::new(ManualClock::at(noon()));
        let gotrue = way.signer().map(|signer| Gotrue::start(signer, clock.clone()));
        Self::with(way, place, gotrue, HttpsSupabase::default(), clock).await
    }

    pub async fn with(
        way: Way,
        place: Place,
        gotrue: Option<Gotrue>,
        supabase: HttpsSupabase,
        clock: Arc<ManualClock>,
    ) -> Self {
        let stores = Stores::open(place).await;
        let mut snapshot = load(&Source::Embedded, &Overrides::default(), &|_| None).unwrap();
        let mut configured = (*snapshot.edge).clone();
        configured.identity = Identity { supabase: gotrue.as_ref().map(|of| project(of, way)), ..Identity::default() };
        snapshot.edge = Arc::new(configured);
        let edge = Arc::new(Edge {
            snapshot: Mutex::new(Arc::new(snapshot)),
            used_today: Mutex::default(),
            draining: watch::Sender::default(),
        });
        let control = Control::new(Ports {
            accounts: stores.accounts.clone(),
            sessions: stores.sessions.clone(),
            links: stores.links.clone(),
            registry: stores.registry.clone(),
            reports: stores.reports.clone(),
            edge: edge.clone(),
            supabase: Arc::new(supabase),
            clock: clock.clone(),
            pepper: Pepper::new(b"pepper"),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router(Arc::new(control))).await });
        Self { address, stores, edge, way, gotrue, clock }
    }

    /// The stand-in for Supabase.
    pub fn gotrue(&self) -> &Gotrue {
        self.gotrue.as_ref().expect("there is a project")
    }

    /// Whether passwords are kept here, and not by Supabase.
    pub fn has_own_passwords(&self) -> bool {
        self.way == Way::Own
    }

    pub fn configure(&self, change: impl FnOnce(&mut Identity)) {
        let mut snapshot = self.edge.snapshot.lock().unwrap();
        let mut changed = (**snapshot).clone();
        let mut edge = (*changed.edge).clone();
        change(&mut edge.identity);
        changed.edge = Arc::new(edge);
        *snapshot = Arc::new(changed);
    }

    pub fn open_registration(&self) {
        self.configure(|identity| identity.registration = Registration::Open);
    }

    /// An account whose password, if any, is kept by who keeps passwords here.
    pub async fn account(&self, email: &str, role: Role, password: Option<&str>) -> Account {
        let mut account = Account { role, ..Account::new(Email::parse(email).unwrap(), self.clock.now()) };
        let mut hash = None;
        match (&self.gotrue, password) {
            (Some(gotrue), Some(password)) => account.id = UserId(gotrue.add_user(email, password)),
            (None, Some(text)) => hash = Some(Password::choose(text.to_owned()).unwrap().hash().unwrap()),
            (_, None) => {}
        }
        assert!(self.stores.accounts.create(account.clone(), hash).await.unwrap());
        account
    }

    /// Signed in, by a token of Supabase's where there is a project. Else without a password: what is not about passwords need
    /// not wait for their hashes.
    pub async fn someone(&self, email: &str, role: Role) -> Someone {
        let Some(gotrue) = &self.gotrue else {
            let account = self.account(email, role, None).await;
            return Someone { id: account.id, token: self.session(account.id).await };
        };
        gotrue.add_user(email, PASSWORD);
        let someone = self.exchange(&gotrue.issue(email)).await.session(200);
        let change = Change { role: Some(role), ..Change::default() };
        assert!(self.stores.accounts.change(someone.id, change).await.unwrap());
        someone
    }

    /// A token of Supabase's for a session; each from an address of its own, so that none is held up.
    pub async fn exchange(&self, token: &str) -> Answer {
        static ADDRESS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let address = ADDRESS.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let asking = self.post("/api/login/supabase", &serde_json::json!({ "access_token": token }));
        asking.instead("x-real-ip", &format!("2001:db8:7:{address:x}::1")).send().await
    }

    pub async fn member(&self) -> Someone {
        self.someone("ada@example.org", Role::Member).await
    }

    pub async fn operator(&self) -> Someone {
        self.someone("olga@example.org", Role::Operator).await
    }

    pub async fn session(&self, user: UserId) -> SessionToken {
        let token = SessionToken::mint().unwrap();
        let now = self.clock.now();
        let expires_at = Timestamp(now.0 + 12 * 3_600_000_000);
        let session = Session { token_hash: token.hash(), user, created_at: now, began_at: now, expires_at };
        self.stores.sessions.open(session).await.unwrap();
        token
    }

    pub async fn link(&self, purpose: Purpose) -> String {
        let token = LinkToken::mint().unwrap();
        let now = self.clock.now();
        let expires_at = Timestamp(now.0 + 3_600_000_000);
        self.stores.links.put(Link { token_hash: token.hash(), purpose, created_at: now, expires_at }).await.unwrap();
        token.expose().to_owned()
    }

    /// A row of `user`'s ledger that began `ago` seconds before now and took a second.
    pub async fn log(&self, user: UserId, ago: i64, change: impl FnOnce(&mut LogRow)) -> RequestId {
        let mut row = a_row(Timestamp(self.clock.now().0 - ago * 1_000_000));
        change(&mut row);
        let request = row.request;
        self.stores.log(user, vec![row]).await;
        request
    }

    /// As many, four in each second.
    pub async fn log_many(
        &self,
        user: UserId,
        numbers: std::ops::Range<i64>,
        change: impl Fn(i64, &mut LogRow),
    ) -> Vec<RequestId> {
        let rows: Vec<LogRow> = numbers
            .map(|number| {
                let mut row = a_row(Timestamp(self.clock.now().0 - number / 4 * 1_000_000));
                change(number, &mut row);
                row
            })
            .collect();
        let requests = rows.iter().map(|row| row.request).collect();
        self.stores.log(user, rows).await;
        requests
    }

    /// From a browser at `https://app.example.org`, as the edge passes it on.
    pub fn ask(&self, method: Method, path: &str) -> Asking<'_> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "app.example.org")
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-host", "app.example.org")
            .header("x-real-ip", "192.0.2.1")
            .header("x-request-id", "0198a000-0000-7000-8000-000000000001");
        Asking { harness: self, request, body: Vec::new() }
    }

    pub fn get(&self, path: &str) -> Asking<'_> {
        self.ask(Method::GET, path)
    }

    pub fn post(&self, path: &str, body: &Value) -> Asking<'_> {
        self.ask(Method::POST, path).json(body)
    }
}

/// The project of `gotrue`, as it is configured for this way of signing in.
pub fn project(gotrue: &Gotrue, way: Way) -> Supabase {
    Supabase {
        url: gotrue.url.clone(),
        jwt_secret: (way == Way::Secret).then(|| Secret::new(SECRET.to_owned())),
        anon_key: Some(Secret::new(ANON_KEY.to_owned())),
        audience: "authenticated".to_owned(),
    }
}

fn a_row(created_at: Timestamp) -> LogRow {
    LogRow {
        request: RequestId::new(created_at),
        created_at,
        key: KeyId(Uuid::from_u128(7)),
        session_id: None,
        stage: Some(Stage::Plan),
        source: Some(StageSource::Default),
        model: Some("claude-sonnet".to_owned()),
        stream: true,
        body_bytes: 100,
        status: Status::Success,
        http_status: 200,
        input_tokens: Some(1_000),
        cached_input_tokens: Some(0),
        cache_write_tokens: Some(0),
        output_tokens: Some(100),
        reasoning_tokens: Some(0),
        total_tokens: Some(1_100),
        estimated: false,
        cost: NanoUsd(4_500_000),
        latency_ms: 1_000,
        first_token_ms: Some(300),
        attempts: 1,
        error: None,
    }
}

impl Asking<'_> {
    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// In the place of what the edge says otherwise.
    pub fn instead(mut self, name: &'static str, value: &str) -> Self {
        self.request.headers_mut().unwrap().insert(name, value.parse().unwrap());
        self
    }

    pub fn by(self, who: &Someone) -> Self {
        let token = format!("Bearer {}", who.token.expose());
        self.header("authorization", &token)
    }

    pub fn by_cookie(self, who: &Someone) -> Self {
        let cookie = format!("theme=dark; __Host-cfx_session={}", who.token.expose());
        self.header("cookie", &cookie)
    }

    pub async fn send(self) -> Answer {
        timeout(Duration::from_secs(20), self.answer()).await.expect("an answer in time")
    }

    async fn answer(self) -> Answer {
        let (parts, mut body) = self.open().await.into_parts();
        let mut answer =
            Answer { status: parts.status.as_u16(), headers: parts.headers, body: Vec::new(), whole: true };
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => answer.body.extend(frame.into_data().unwrap_or_default()),
                Err(_) => {
                    answer.whole = false;
                    break;
                }
            }
        }
        answer
    }

    /// The head, with the body to be read as it comes.
    pub async fn open(self) -> Response<Incoming> {
        let stream = TcpStream::connect(self.harness.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = self.request.body(Full::new(Bytes::from(self.body))).unwrap();
        sender.send_request(request).await.unwrap()
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts success and gives the body.
    #[track_caller]
    pub fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    /// Asserts a refusal in the one shape, and what it is about.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        let body = self.json();
        assert_eq!(body["error"]["code"], code, "{body}");
        assert_eq!(body["request_id"], "0198a000-0000-7000-8000-000000000001");
        assert!(body["error"]["message"].as_str().is_some_and(|message| message.len() < 300), "{body}");
        body
    }

    /// The session that this answer opened.
    #[track_caller]
    pub fn session(&self, status: u16) -> Someone {
        let body = self.ok(status);
        let id = UserId(body["me"]["id"].as_str().unwrap().parse().unwrap());
        Someone { id, token: SessionToken::parse(body["token"].as_str().unwrap()).unwrap() }
    }
}
