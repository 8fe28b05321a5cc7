//! A stand-in for Supabase Auth (GoTrue), which cannot be had here: real HTTP, or HTTPS, over a socket.
//!
//! What it answers is GoTrue's form as its source has it (github.com/supabase/auth, `internal/api/token.go` and
//! `internal/api/apierrors`): sessions, refusals with `error_code`, claims of access tokens. It knows of one project, whose
//! keys a test may rotate, and can be away, silent, or not itself.

mod signer;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use cfx::clock::Clock;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

pub use signer::Signer;

/// Not every program that includes this file uses all of it.
const _: fn() = || {
    let _ = (Gotrue::start, Gotrue::start_tls, Gotrue::add_user, Gotrue::issue, Gotrue::claims, Gotrue::rotate);
    let _ = (Gotrue::publish, Gotrue::asked, Gotrue::shown, Gotrue::behave, Gotrue::keys_behave, Gotrue::sign);
    let _ = (Signer::secret, Signer::curve, Signer::rsa, Signer::token, Signer::header, Signer::jwk, Gotrue::set_away);
    let _ = (Gotrue::ban, Gotrue::unconfirmed);
    let _ = (Manner::Silent, Manner::Answers, Manner::AnswersWith, Manner::Endless);
};

/// The project's public key, which its gateway asks for.
pub const ANON_KEY: &str = "eyJ.anon-key-of-the-tests.x";

pub struct Gotrue {
    /// `http://127.0.0.1:54321`, without a slash at its end. Its tokens are issued by `{url}/auth/v1`.
    pub url: String,
    project: Arc<Project>,
}

/// What it does where it is asked for something.
#[derive(Clone)]
pub enum Manner {
    Itself,
    /// Never.
    Silent,
    Answers(u16, &'static str),
    /// With this header, too.
    AnswersWith(u16, &'static str, String),
    /// More than anybody should read.
    Endless,
}

/// How often it was asked for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asked {
    pub keys: u32,
    pub tokens: u32,
}

struct Project {
    issuer: String,
    clock: Arc<dyn Clock>,
    state: Mutex<Told>,
}

struct Told {
    signer: Signer,
    published: Vec<Value>,
    users: HashMap<String, User>,
    /// By refresh token: whose, until it is used.
    refreshing: HashMap<String, String>,
    passwords: Manner,
    keys: Manner,
    away: bool,
    asked: Asked,
    /// Bodies that came.
    shown: Vec<Value>,
}

struct User {
    id: Uuid,
    password: String,
    confirmed: bool,
    banned: bool,
}

impl Gotrue {
    /// On a free port of this machine, in plain HTTP. Its thread ends with the test.
    pub fn start(signer: Signer, clock: Arc<dyn Clock>) -> Self {
        Self::serve(signer, clock, None)
    }

    /// By TLS, and the PEM of the certificate that it shows for 127.0.0.1.
    pub fn start_tls(signer: Signer, clock: Arc<dyn Clock>) -> (Self, String) {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_no_client_auth();
        let config = config.with_single_cert(vec![made.cert.der().clone()], key.into()).unwrap();
        (Self::serve(signer, clock, Some(TlsAcceptor::from(Arc::new(config)))), made.cert.pem())
    }

    fn serve(signer: Signer, clock: Arc<dyn Clock>, tls: Option<TlsAcceptor>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let url = format!("{}://{address}", if tls.is_some() { "https" } else { "http" });
        let told = Told {
            published: signer.jwk().into_iter().collect(),
            signer,
            users: HashMap::new(),
            refreshing: HashMap::new(),
            passwords: Manner::Itself,
            keys: Manner::Itself,
            away: false,
            asked: Asked::default(),
            shown: Vec::new(),
        };
        let project = Arc::new(Project { issuer: format!("{url}/auth/v1"), clock, state: Mutex::new(told) });
        let serving = Arc::clone(&project);
        std::thread::spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((socket, _)) = listener.accept().await {
                    // Where it is away, whoever connects is cut off.
                    if !serving.told().away {
                        tokio::spawn(connection(socket, tls.clone(), Arc::clone(&serving)));
                    }
                }
            });
        });
        Self { url, project }
    }

    /// The id of a user who signs in with this password.
    pub fn add_user(&self, email: &str, password: &str) -> Uuid {
        let user = User { id: Uuid::new_v4(), password: password.to_owned(), confirmed: true, banned: false };
        let id = user.id;
        self.project.told().users.insert(email.to_owned(), user);
        id
    }

    pub fn unconfirmed(&self, email: &str) {
        self.project.told().users.get_mut(email).unwrap().confirmed = false;
    }

    pub fn ban(&self, email: &str) {
        self.project.told().users.get_mut(email).unwrap().banned = true;
    }

    /// An access token of a user's, as signing in gives one.
    pub fn issue(&self, email: &str) -> String {
        self.sign(&self.claims(email))
    }

    pub fn claims(&self, email: &str) -> Value {
        let told = self.project.told();
        self.project.claims(told.users[email].id, email)
    }

    pub fn sign(&self, claims: &Value) -> String {
        self.project.told().signer.token(claims)
    }

    /// From now on tokens are signed by this key, which alone is published.
    pub fn rotate(&self, signer: Signer) {
        let mut told = self.project.told();
        told.published = signer.jwk().into_iter().collect();
        told.signer = signer;
    }

    /// Publishes these in the place of the key that it signs with.
    pub fn publish(&self, keys: &[Value]) {
        self.project.told().published = keys.to_vec();
    }

    pub fn asked(&self) -> Asked {
        self.project.told().asked
    }

    /// Bodies that it was sent, as they came.
    pub fn shown(&self) -> Vec<Value> {
        self.project.told().shown.clone()
    }

    /// Where it is asked for a token.
    pub fn behave(&self, manner: Manner) {
        self.project.told().passwords = manner;
    }

    /// Where it is asked for its keys.
    pub fn keys_behave(&self, manner: Manner) {
        self.project.told().keys = manner;
    }

    pub fn set_away(&self, away: bool) {
        self.project.told().away = away;
    }
}

async fn connection(socket: TcpStream, tls: Option<TlsAcceptor>, project: Arc<Project>) {
    let routes = Router::new()
        .route("/auth/v1/token", post(token))
        .route("/auth/v1/.well-known/jwks.json", get(keys))
        .with_state(project);
    let service = TowerToHyperService::new(routes);
    // One request each, so that nobody who is kept comes in while it is away.
    let mut server = http1::Builder::new();
    server.keep_alive(false);
    match tls {
        None => drop(server.serve_connection(TokioIo::new(socket), service).await),
        Some(acceptor) => {
            if let Ok(socket) = acceptor.accept(socket).await {
                drop(server.serve_connection(TokioIo::new(socket), service).await);
            }
        }
    }
}

async fn keys(State(project): State<Arc<Project>>) -> Response {
    let (manner, document) = {
        let mut told = project.told();
        told.asked.keys += 1;
        (told.keys.clone(), json!({ "keys": told.published }))
    };
    match manner.answer().await {
        Some(answer) => answer,
        None => Json(document).into_response(),
    }
}

async fn token(
    State(project): State<Arc<Project>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let manner = {
        let mut told = project.told();
        told.asked.tokens += 1;
        told.shown.push(body.clone());
        told.passwords.clone()
    };
    if let Some(answer) = manner.answer().await {
        return answer;
    }
    if headers.get("apikey").is_none_or(|key| key != ANON_KEY) {
        return (StatusCode::UNAUTHORIZED, Json(json!({ "message": "Invalid API key" }))).into_response();
    }
    match query.as_deref() {
        Some("grant_type=password") => project.by_password(&body),
        Some("grant_type=refresh_token") => project.by_refresh(&body),
        _ => declined("validation_failed", "unsupported_grant_type"),
    }
}

impl Manner {
    async fn answer(self) -> Option<Response> {
        let status = |status: u16| StatusCode::from_u16(status).unwrap();
        match self {
            Manner::Itself => None,
            Manner::Silent => std::future::pending().await,
            Manner::Answers(code, body) => Some((status(code), body).into_response()),
            Manner::AnswersWith(code, name, value) => Some((status(code), [(name, value)]).into_response()),
            Manner::Endless => {
                let piece = Bytes::from_static(&[b' '; 8192]);
                let pieces = futures_util::stream::repeat_with(move || Ok::<_, std::io::Error>(piece.clone()));
                Some(Body::from_stream(pieces).into_response())
            }
        }
    }
}

fn declined(code: &str, words: &str) -> Response {
    let body = json!({ "code": 400, "error_code": code, "msg": words });
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

impl Project {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.state.lock().unwrap()
    }

    fn by_password(&self, body: &Value) -> Response {
        let email = body["email"].as_str().unwrap_or_default().to_lowercase();
        {
            let told = self.told();
            let user = told.users.get(&email).filter(|user| body["password"] == user.password.as_str());
            match user {
                None => return declined("invalid_credentials", "Invalid login credentials"),
                Some(User { banned: true, .. }) => return declined("user_banned", "User is banned"),
                Some(User { confirmed: false, .. }) => return declined("email_not_confirmed", "Email not confirmed"),
                Some(_) => {}
            }
        }
        self.session(&email)
    }

    /// A refresh token is taken once, and another is given for it.
    fn by_refresh(&self, body: &Value) -> Response {
        let email = self.told().refreshing.remove(body["refresh_token"].as_str().unwrap_or_default());
        match email {
            Some(email) => self.session(&email),
            None => declined("refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found"),
        }
    }

    fn session(&self, email: &str) -> Response {
        let mut told = self.told();
        let id = told.users[email].id;
        let claims = self.claims(id, email);
        let refresh = Uuid::new_v4().simple().to_string();
        told.refreshing.insert(refresh.clone(), email.to_owned());
        let body = json!({
            "access_token": told.signer.token(&claims), "token_type": "bearer", "expires_in": 3600,
            "expires_at": claims["exp"], "refresh_token": refresh,
            "user": { "id": id, "aud": "authenticated", "role": "authenticated", "email": email, "is_anonymous": false },
        });
        Json(body).into_response()
    }

    fn claims(&self, id: Uuid, email: &str) -> Value {
        let now = self.clock.now().0 / 1_000_000;
        json!({
            "iss": self.issuer, "sub": id, "aud": "authenticated", "exp": now + 3600, "iat": now, "email": email,
            "phone": "", "app_metadata": { "provider": "email", "providers": ["email"] }, "user_metadata": {},
            "role": "authenticated", "aal": "aal1", "amr": [{ "method": "password", "timestamp": now }],
            "session_id": Uuid::new_v4(), "is_anonymous": false,
        })
    }
}
