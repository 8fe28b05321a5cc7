//! Becoming somebody: by a password, by a link that works once, by registering.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use super::body::Body;
use super::cookie::Jar;
use super::hashing::Asker;
use super::refusal::{Code, Refusal};
use super::throttle::Try;
use super::visitor::Visitor;
use super::{Control, Shared, api, words};
use crate::config::Registration;
use crate::identity::{
    Account, Email, LinkToken, NotAPassword, Password, PasswordHash, Purpose, Role, Session, SessionToken, network,
};
use crate::units::UserId;

/// Registrations from one address, failed or not, where no invitation is needed: each may leave an account.
pub(super) const MOST_AN_HOUR: u32 = 20;
pub(super) const HOUR: Duration = Duration::from_secs(60 * 60);

/// Make an account of your own
///
/// Where registration is by invitation, `invitation` is the text of the link that an operator sent. Signs in.
#[utoipa::path(
    post, path = "/api/register", tag = "session", security(()), request_body = api::Registration,
    responses(
        (status = 201, description = "Registered and signed in", body = api::NewSession),
        (status = 409, description = "The e-mail address is taken"),
        (status = 429, description = "Too many attempts have failed, or too many accounts were made from this address"),
    )
)]
pub(super) async fn register(
    State(control): State<Shared>,
    visitor: Visitor,
    Body(registration): Body<api::Registration>,
) -> Result<Response, Refusal> {
    let jar = Jar::to_sign_in(&visitor)?;
    control.throttle.check_address(visitor.address)?;
    let email = words::email(&registration.email)?;
    let password = chosen("password", registration.password)?;
    let (registrar, from) = (Arc::clone(&control), visitor.address);
    let registered = to_its_end(async move {
        let registered = registrar.register(email, password, registration.invitation.as_deref(), from).await;
        // Whether an address is taken, and whether an invitation is one, is not to be found out by the thousand.
        if registered.as_ref().is_err_and(|refusal| matches!(refusal.code, Code::EmailTaken | Code::InvalidInvitation))
        {
            registrar.throttle.address_failed(from);
        }
        registered
    });
    let mut answer = open_session(&control, jar, registered.await?).await?;
    *answer.status_mut() = StatusCode::CREATED;
    Ok(answer)
}

/// Sign in with a password
///
/// The account's own is tried first; then, where the gateway has a Supabase project and its public key, that of the project's
/// user, who gets an account by it unless registration is closed. Unknown accounts, disabled ones and wrong passwords have one
/// and the same answer. Failures are counted: from an account's fifth from one address on, and an address's fiftieth, each
/// doubles the wait before the next; from an account's hundredth on, wherever from, up to half a minute.
#[utoipa::path(
    post, path = "/api/login", tag = "session", security(()), request_body = api::Login,
    responses(
        (status = 200, description = "Signed in", body = api::NewSession),
        (status = 401, description = "No account, or not its password"),
        (status = 403, description = "Supabase waits for the address to be confirmed, or wants a CAPTCHA; or nobody new gets an \
            account"),
        (status = 409, description = "Another account has the e-mail address of Supabase's user"),
        (status = 429, description = "Too many attempts have failed"),
    )
)]
pub(super) async fn login(
    State(control): State<Shared>,
    visitor: Visitor,
    Body(login): Body<api::Login>,
) -> Result<Response, Refusal> {
    let jar = Jar::to_sign_in(&visitor)?;
    let tried = control.throttle.begin(&login.email.to_lowercase(), visitor.address)?;
    let account = to_its_end(Arc::clone(&control).tried(tried, login, visitor.address)).await?;
    open_session(&control, jar, account).await
}

/// Sign in with a link that works once
///
/// The link's text is what stands behind the `#` of the address that was printed or sent.
#[utoipa::path(
    post, path = "/api/login/link", tag = "session", security(()), request_body = api::LinkLogin,
    responses(
        (status = 200, description = "Signed in; the link is used up", body = api::NewSession),
        (status = 401, description = "No such link, or it was used, or its time is over"),
        (status = 429, description = "Too many attempts have failed"),
    )
)]
pub(super) async fn login_by_link(
    State(control): State<Shared>,
    visitor: Visitor,
    Body(login): Body<api::LinkLogin>,
) -> Result<Response, Refusal> {
    let jar = Jar::to_sign_in(&visitor)?;
    let (link, _) = control.shown_link(&login.link, &visitor).await?;
    let account = control.take(&link).await?.ok_or_else(no_link)?;
    open_session(&control, jar, account).await
}

/// Set a new password with a link that works once
///
/// For who has forgotten the old one: an operator sends the link. Ends every other session of the account, and signs in.
#[utoipa::path(
    post, path = "/api/login/link/password", tag = "session", security(()), request_body = api::LinkPassword,
    responses(
        (status = 200, description = "Signed in; the link is used up", body = api::NewSession),
        (status = 401, description = "No such link, or it was used, or its time is over"),
        (status = 429, description = "Too many attempts have failed"),
    )
)]
pub(super) async fn password_by_link(
    State(control): State<Shared>,
    visitor: Visitor,
    Body(change): Body<api::LinkPassword>,
) -> Result<Response, Refusal> {
    let jar = Jar::to_sign_in(&visitor)?;
    let password = chosen("new", change.new)?;
    let (link, user) = control.shown_link(&change.link, &visitor).await?;
    // Else who has one link could have all passwords wait for hashes that come to nothing.
    let place = control.passwords_by_link.take(user).ok_or_else(|| {
        let message = "a password is being set with a link to this account at this moment";
        Refusal::new(Code::Overloaded, message).retry_after(Duration::from_secs(2))
    })?;
    // As though this were a try, too.
    let asker = control.throttle.asker(visitor.address).failed_once_more();
    let setter = Arc::clone(&control);
    let account = to_its_end(async move {
        let _place = place;
        // Before the link is taken: who is told to come again in a moment has it still.
        let hash = setter.hashing.hash(asker, password).await?;
        let account = setter.take(&link).await?.ok_or_else(no_link)?;
        setter.ports.accounts.set_password(account.id, hash, None).await?;
        Ok(account)
    });
    open_session(&control, jar, account.await?).await
}

/// Does what was asked for to its end, also where who asked has left: what somebody cuts off would else be as though it had
/// never been begun, but for its cost.
pub(super) async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::spawn(work).await.map_err(|error| Refusal::internal(error.to_string()))?
}

/// Opens a session of `account` and answers with it: as a body, and as a cookie for browsers.
pub(super) async fn open_session(control: &Control, jar: Jar, account: Account) -> Result<Response, Refusal> {
    let now = control.ports.clock.now();
    let token = SessionToken::mint().map_err(Refusal::no_randomness)?;
    let session = Session {
        token_hash: token.hash(),
        user: account.id,
        created_at: now,
        began_at: now,
        expires_at: now.after(control.snapshot().edge.identity.session),
    };
    control.ports.sessions.open(session.clone()).await?;
    answer(control, Some(jar), &account, &session, &token).await
}

/// A session that was just opened, or put in another's place.
pub(super) async fn answer(
    control: &Control,
    jar: Option<Jar>,
    account: &Account,
    session: &Session,
    token: &SessionToken,
) -> Result<Response, Refusal> {
    let has_password = control.ports.accounts.password(account.id).await?.is_some();
    let body = api::NewSession {
        token: token.expose().to_owned(),
        expires_at: session.expires_at.rfc3339(),
        me: control.me(account, session, token, has_password),
    };
    let mut answer = Json(body).into_response();
    let life = session.created_at.until(session.expires_at);
    if let Some(cookie) = jar.and_then(|jar| jar.set(token.expose(), life)) {
        answer.headers_mut().insert(SET_COOKIE, cookie);
    }
    Ok(answer)
}

/// A password that is about to be set.
pub(super) fn chosen(field: &'static str, text: String) -> Result<Password, Refusal> {
    Password::choose(text).map_err(|why: NotAPassword| Refusal::field(field, why.to_string()))
}

impl Control {
    /// Whose e-mail address and password these are. The try is settled by that.
    async fn tried(self: Arc<Self>, tried: Try, login: api::Login, from: Option<IpAddr>) -> Result<Account, Refusal> {
        let own = match self.by_password(self.throttle.asker(from), &login.email, &login.password).await {
            Ok(own) => own,
            Err(refusal) => {
                tried.came_to_nothing();
                return Err(refusal);
            }
        };
        let found = match own {
            Some(account) => Ok(Some(account)),
            None => self.by_supabases_password(&login.email, &login.password).await,
        };
        match found {
            Ok(Some(account)) => {
                tried.succeeded();
                Ok(account)
            }
            Ok(None) => {
                tried.failed();
                Err(Refusal::new(Code::InvalidCredentials, "no account has this e-mail address and this password"))
            }
            // That it is not the account's own was found out, and counts: else who keeps Supabase busy could guess for ever.
            Err(refusal)
                if matches!(refusal.code, Code::SupabaseUnavailable | Code::CaptchaRequired | Code::Overloaded) =>
            {
                tried.failed();
                Err(refusal)
            }
            Err(refusal) => {
                tried.came_to_nothing();
                Err(refusal)
            }
        }
    }

    /// By the password that Supabase's user has, where there is a project.
    async fn by_supabases_password(&self, email: &str, password: &str) -> Result<Option<Account>, Refusal> {
        let snapshot = self.snapshot();
        let identity = &snapshot.edge.identity;
        match &identity.supabase {
            Some(project) => self.by_supabase(project, identity.registration, email, password).await,
            None => Ok(None),
        }
    }

    /// The account with this address and this password. Whatever it is that fails, as much is done and as long.
    async fn by_password(&self, asker: Asker, email: &str, password: &str) -> Result<Option<Account>, Refusal> {
        let Ok(password) = Password::try_with(password.to_owned()) else { return Ok(None) };
        let accounts = &self.ports.accounts;
        let account = match Email::parse(email) {
            Ok(email) => accounts.find(&email).await?,
            Err(_) => None,
        };
        let asked = account.as_ref().map_or(UserId(Uuid::nil()), |account| account.id);
        let hash: Option<PasswordHash> = accounts.password(asked).await?;
        let is_theirs = self.hashing.is_of(asker, password, hash).await?;
        Ok(account.filter(|account| is_theirs && account.disabled_at.is_none()))
    }

    /// A link that holds, and whose it is, whatever others have tried from the same address: nobody guesses one.
    async fn shown_link(&self, text: &str, visitor: &Visitor) -> Result<(LinkToken, UserId), Refusal> {
        if let Some(link) = self.sign_in_link(text).await? {
            return Ok(link);
        }
        self.throttle.check_address(visitor.address)?;
        self.throttle.address_failed(visitor.address);
        Err(no_link())
    }

    /// A link that holds, and signs in. It is not taken by that; nor by trying it while its account is disabled.
    async fn sign_in_link(&self, text: &str) -> Result<Option<(LinkToken, UserId)>, Refusal> {
        let Some(link) = LinkToken::parse(text) else { return Ok(None) };
        let found = self.ports.links.look(link.hash(), self.ports.clock.now()).await?;
        // An invitation is no way in by itself, and it is not spent on the attempt.
        let Some(Purpose::SignIn(user)) = found else { return Ok(None) };
        let account = self.ports.accounts.by_id(user).await?.filter(|account| account.disabled_at.is_none());
        Ok(account.map(|account| (link, account.id)))
    }

    /// The account that a link signs in to. Nobody has it a second time.
    async fn take(&self, link: &LinkToken) -> Result<Option<Account>, Refusal> {
        let now = self.ports.clock.now();
        let Some(Purpose::SignIn(user)) = self.ports.links.take(link.hash(), now).await? else { return Ok(None) };
        Ok(self.ports.accounts.by_id(user).await?.filter(|account| account.disabled_at.is_none()))
    }

    async fn register(
        &self,
        email: Email,
        password: Password,
        invitation: Option<&str>,
        from: Option<IpAddr>,
    ) -> Result<Account, Refusal> {
        let now = self.ports.clock.now();
        let open = match self.snapshot().edge.identity.registration {
            Registration::Closed => {
                let message = "nobody can register here: an operator makes accounts";
                return Err(Refusal::new(Code::RegistrationClosed, message));
            }
            Registration::Invited => false,
            Registration::Open => true,
        };
        let link = match invitation {
            None if open => {
                from.map_or(Ok(()), |address| self.registrations.take(network(address)))?;
                None
            }
            None => {
                let message = "registering needs an invitation: an operator sends it";
                return Err(Refusal::new(Code::InvalidInvitation, message).at("invitation"));
            }
            Some(text) => Some(LinkToken::parse(text).ok_or_else(no_invitation)?),
        };
        if let Some(link) = &link {
            invited(self.ports.links.look(link.hash(), now).await?, &email)?;
        }
        if self.ports.accounts.find(&email).await?.is_some() {
            return Err(taken());
        }
        // As though this were a try, too: no account goes before those there are.
        let asker = self.throttle.asker(from).failed_once_more();
        let hash = self.hashing.hash(asker, password).await?;
        let role = match &link {
            None => Role::Member,
            // Of two who show it at once one is left with nothing.
            Some(link) => invited(self.ports.links.take(link.hash(), now).await?, &email)?,
        };
        let account = Account { role, ..Account::new(email, now) };
        if self.ports.accounts.create(account.clone(), Some(hash)).await? { Ok(account) } else { Err(taken()) }
    }
}

fn invited(purpose: Option<Purpose>, who: &Email) -> Result<Role, Refusal> {
    match purpose {
        Some(Purpose::Invitation { email, role }) if email.as_ref().is_none_or(|email| email == who) => Ok(role),
        _ => Err(no_invitation()),
    }
}

fn no_invitation() -> Refusal {
    let message = "this invitation is not for this address, or it was used, or its time is over";
    Refusal::new(Code::InvalidInvitation, message).at("invitation")
}

fn no_link() -> Refusal {
    Refusal::new(Code::InvalidLink, "this link does not exist, or it was used, or its time is over").at("link")
}

fn taken() -> Refusal {
    Refusal::new(Code::EmailTaken, "there is an account with this e-mail address").at("email")
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::control::throttle::Throttle;

    #[tokio::test]
    async fn who_hangs_up_with_the_right_password_has_guessed_nothing() {
        let throttle = Arc::<Throttle>::default();
        for _ in 0..10 {
            let tried = throttle.begin("ada@example.org", None).expect("nothing has failed");
            let (begun, begins) = oneshot::channel();
            let (go_on, goes_on) = oneshot::channel::<()>();
            let (settled, settles) = oneshot::channel();
            let asked = tokio::spawn(to_its_end(async move {
                let _ = begun.send(());
                let _ = goes_on.await;
                tried.succeeded();
                let _ = settled.send(());
                Ok(())
            }));
            begins.await.unwrap();
            asked.abort();
            assert!(asked.await.is_err());
            go_on.send(()).unwrap();
            settles.await.unwrap();
        }
    }
}
