//! Signing in with a password or a token of Supabase's, either of which is exchanged for a session of ours. The account has
//! the id that Supabase has for its user, so that row-level security sees the same one both ways. Nothing of Supabase's is
//! kept: neither the password, nor its token, nor the one that would refresh that.

mod auth;
mod backend;
mod https;
mod jwks;
mod password;
mod token;

use axum::extract::State;
use axum::response::Response;

use super::body::Body;
use super::cookie::Jar;
use super::refusal::{Code, Refusal};
use super::sign_in::open_session;
use super::visitor::Visitor;
use super::{Ports, Shared, api};
use crate::config::{self, Registration};
use crate::identity::{Account, Email};
use crate::units::UserId;
use jsonwebtoken::{Algorithm, DecodingKey};

pub use auth::{AuthAnswer, SupabaseAuth};
pub use https::HttpsSupabase;

use jwks::{Jwks, KeyProblem, Source};
use password::Exchanges;
use token::{Claims, TokenProblem};

/// What is remembered of a project between sign-ins.
#[derive(Default)]
pub(super) struct Supabase {
    jwks: Jwks,
    exchanges: Exchanges,
}

/// Sign in with an access token of Supabase Auth
///
/// The token is checked (signature, issuer, audience, times, role) and exchanged for a session of ours. Its user's account
/// is made where there is none, unless registration is closed.
#[utoipa::path(
    post, path = "/api/login/supabase", tag = "session", security(()), request_body = api::SupabaseLogin,
    responses(
        (status = 200, description = "Signed in", body = api::NewSession),
        (status = 401, description = "The token is not taken"),
        (status = 404, description = "There is no Supabase project"),
        (status = 409, description = "Another account has the e-mail address"),
        (status = 429, description = "Too many attempts have failed"),
    )
)]
pub(super) async fn login_by_supabase(
    State(control): State<Shared>,
    visitor: Visitor,
    Body(login): Body<api::SupabaseLogin>,
) -> Result<Response, Refusal> {
    let jar = Jar::to_sign_in(&visitor)?;
    let snapshot = control.snapshot();
    let Some(project) = &snapshot.edge.identity.supabase else {
        return Err(Refusal::new(Code::NotFound, "this gateway has no Supabase project"));
    };
    control.throttle.check_address(visitor.address)?;
    let claims = control.claims(project, &login.access_token).await;
    let claims = claims.inspect_err(|refusal| {
        if refusal.code == Code::InvalidToken {
            control.throttle.address_failed(visitor.address);
        }
    })?;
    let account = control.account_of(&claims, snapshot.edge.identity.registration).await?;
    open_session(&control, jar, account.ok_or(TokenProblem::Nobody)?).await
}

impl super::Control {
    async fn claims(&self, project: &config::Supabase, text: &str) -> Result<Claims, Refusal> {
        let seen = token::look(text)?;
        let (key, algorithm) = match &project.jwt_secret {
            Some(secret) if seen.alg == Algorithm::HS256 => {
                (DecodingKey::from_secret(secret.expose().as_bytes()), Algorithm::HS256)
            }
            Some(_) => return Err(TokenProblem::Algorithm.into()),
            None => {
                let kid = seen.kid.ok_or(TokenProblem::Key)?;
                let Ports { supabase, clock, .. } = &self.ports;
                let source = Source { auth: &**supabase, clock: &**clock, url: &project.url };
                let found = self.supabase.jwks.key(&source, &kid).await?;
                (found.key, found.algorithm)
            }
        };
        let claims = token::verify(text, &key, algorithm, project, self.ports.clock.now())?;
        Ok(claims)
    }

    /// The account of the token's user; none where it is disabled. An address that another account has is not taken for a
    /// proof: whoever can register it at Supabase would have that account.
    async fn account_of(&self, claims: &Claims, registration: Registration) -> Result<Option<Account>, Refusal> {
        let user = UserId(claims.user);
        let accounts = &self.ports.accounts;
        if let Some(account) = accounts.by_id(user).await? {
            return Ok(Some(account).filter(|account| account.disabled_at.is_none()));
        }
        if matches!(registration, Registration::Closed) {
            let message = "nobody new gets an account here: an operator makes accounts";
            return Err(Refusal::new(Code::RegistrationClosed, message));
        }
        let email = Email::parse(&claims.email).map_err(|_| TokenProblem::Email)?;
        let account = Account { id: user, ..Account::new(email, self.ports.clock.now()) };
        if accounts.create(account.clone(), None).await? {
            return Ok(Some(account));
        }
        // Either this user signed in twice at once, or the address is somebody else's.
        accounts.by_id(user).await?.map(Some).ok_or_else(|| {
            Refusal::new(Code::EmailTaken, "another account has this e-mail address: an operator can tell whose it is")
        })
    }
}

impl From<TokenProblem> for Refusal {
    /// One code for all: what is wrong with a token is for who made it.
    fn from(problem: TokenProblem) -> Self {
        Refusal::new(Code::InvalidToken, format!("this token is not taken: {problem}")).at("access_token")
    }
}

impl From<KeyProblem> for Refusal {
    fn from(problem: KeyProblem) -> Self {
        match problem {
            KeyProblem::Unknown => TokenProblem::Key.into(),
            KeyProblem::Away { retry_after } => {
                let message = "Supabase's keys cannot be fetched at this moment";
                Refusal::new(Code::SupabaseUnavailable, message).retry_after(retry_after)
            }
        }
    }
}
