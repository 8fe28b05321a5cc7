//! Signing in, by password or by a link that works once; registering; signing out.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::header::SET_COOKIE;
use axum::http::{Method, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use maud::{Markup, html};

use crate::control::api::{LinkLogin, Login, NewSession, Registration};
use crate::dashboard::Dashboard;
use crate::dashboard::edge::EdgeError;
use crate::dashboard::form::{Form, SignedForm};
use crate::dashboard::frame::{self, Here, Page};
use crate::dashboard::limits;
use crate::dashboard::pace::Asked;
use crate::dashboard::parts::{alert, flash};
use crate::dashboard::signed::{keep, redirect};
use crate::dashboard::texts::Texts;
use crate::dashboard::visitor::{Visitor, own_path};
use crate::identity::SHORTEST_PASSWORD;

type Board = State<Arc<Dashboard>>;

/// The query of the link's page that asks for a new password, too.
pub(super) const NEW_PASSWORD: &str = "new-password";

/// What a form is shown anew with after it was refused. Never a password.
#[derive(Default)]
struct Again<'a> {
    email: &'a str,
    problem: Option<String>,
}

pub(super) async fn page(
    State(dashboard): Board,
    Extension(visitor): Extension<Visitor>,
    RawQuery(query): RawQuery,
) -> Response {
    let query = Form::of_query(query.as_deref().unwrap_or_default());
    let next = own_path(query.text("next"));
    // Another tab may have renewed the session that this one was sent here without.
    if let Some(token) = &visitor.token
        && dashboard.pace.take(token, visitor.origin.client, Asked::Page).is_ok()
        && dashboard.edge.get::<serde::de::IgnoredAny>(&visitor, "/api/me").await.is_ok()
    {
        return redirect(next);
    }
    sign_in(&visitor, next, &Again::default(), query.text("said")).into_response()
}

pub(super) async fn by_password(
    State(dashboard): Board,
    Extension(visitor): Extension<Visitor>,
    form: Form,
) -> Response {
    let next = own_path(form.text("next"));
    let (email, password) = (form.text("email").trim(), form.text("password"));
    if !visitor.origin.may_sign_in() {
        return refused(StatusCode::FORBIDDEN, sign_in(&visitor, next, &Again::default(), ""));
    }
    let login = Login { email: email.to_owned(), password: password.to_owned() };
    match dashboard.edge.send::<NewSession>(&visitor, Method::POST, "/api/login", &login).await {
        Ok(session) => entered(&dashboard, &visitor, &session, next),
        Err(error) => told(&visitor, &error, |problem| {
            let again = Again { email, problem: Some(problem) };
            sign_in(&visitor, next, &again, "")
        }),
    }
}

pub(super) async fn link_page(Extension(visitor): Extension<Visitor>, RawQuery(query): RawQuery) -> Response {
    link(&visitor, query.is_some_and(|query| query == NEW_PASSWORD), None).into_response()
}

pub(super) async fn by_link(State(dashboard): Board, Extension(visitor): Extension<Visitor>, form: Form) -> Response {
    if !visitor.origin.may_sign_in() {
        return refused(StatusCode::FORBIDDEN, link(&visitor, false, None));
    }
    let link_token = bare(form.text("link")).to_owned();
    let new = (!form.text("new").is_empty()).then(|| form.text("new"));
    let session = match new {
        None => dashboard.edge.send(&visitor, Method::POST, "/api/login/link", &LinkLogin { link: link_token }).await,
        Some(new) => {
            let change = serde_json::json!({ "link": link_token, "new": new });
            dashboard.edge.send(&visitor, Method::POST, "/api/login/link/password", &change).await
        }
    };
    let session: Result<NewSession, EdgeError> = session;
    match session {
        Ok(session) => {
            let next = if session.me.has_password { "/" } else { "/account?said=set_password" };
            entered(&dashboard, &visitor, &session, next)
        }
        Err(error) => told(&visitor, &error, |problem| link(&visitor, new.is_some(), Some(problem))),
    }
}

pub(super) async fn register_page(Extension(visitor): Extension<Visitor>) -> Response {
    registration(&visitor, &Again::default()).into_response()
}

pub(super) async fn register(State(dashboard): Board, Extension(visitor): Extension<Visitor>, form: Form) -> Response {
    let email = form.text("email").trim();
    if !visitor.origin.may_sign_in() {
        return refused(StatusCode::FORBIDDEN, registration(&visitor, &Again::default()));
    }
    let account = Registration {
        email: email.to_owned(),
        password: form.text("password").to_owned(),
        invitation: form.given("invitation").map(|link| bare(&link).to_owned()),
    };
    match dashboard.edge.send::<NewSession>(&visitor, Method::POST, "/api/register", &account).await {
        Ok(session) => entered(&dashboard, &visitor, &session, "/"),
        Err(error) => told(&visitor, &error, |problem| {
            // Of who showed none the edge says the same as of who showed one that does not hold.
            let is_uninvited = matches!(&error, EdgeError::Refused(problem) if problem.code == "invalid_invitation")
                && account.invitation.is_none();
            let problem = if is_uninvited { visitor.texts().problem_invitation.to_owned() } else { problem };
            registration(&visitor, &Again { email, problem: Some(problem) })
        }),
    }
}

pub(super) async fn sign_out(State(dashboard): Board, SignedForm { signed, .. }: SignedForm) -> Response {
    let done = dashboard.edge.tell(&signed.visitor, Method::POST, "/api/logout", &serde_json::json!({})).await;
    match done {
        Ok(()) => {}
        Err(EdgeError::Refused(problem)) if problem.status == StatusCode::UNAUTHORIZED => {}
        // A cookie forgotten here would still be a session there.
        Err(error) => return signed.failed(&error),
    }
    dashboard.pace.forget(&signed.token);
    let mut answer = redirect("/sign-in?said=signed_out");
    if let Some(cookie) = signed.visitor.origin.forget() {
        answer.headers_mut().append(SET_COOKIE, cookie);
    }
    answer
}

/// To where the visitor wanted, with the cookie of the new session.
fn entered(dashboard: &Dashboard, visitor: &Visitor, session: &NewSession, next: &str) -> Response {
    let mut answer = redirect(next);
    if let Some(cookie) = keep(dashboard, visitor, session) {
        answer.headers_mut().append(SET_COOKIE, cookie);
    }
    answer
}

/// A link as somebody pasted it: whole, or its last part.
fn bare(text: &str) -> &str {
    text.trim().rsplit('#').next().unwrap_or_default()
}

/// The form anew, with why it was refused.
fn told(visitor: &Visitor, error: &EdgeError, form: impl FnOnce(String) -> Html<String>) -> Response {
    match error {
        EdgeError::Away => refused(StatusCode::BAD_GATEWAY, form(visitor.texts().away_words.to_owned())),
        EdgeError::Refused(problem) => problem.dress(refused(problem.status, form(problem.words(visitor.language)))),
    }
}

fn refused(status: StatusCode, page: Html<String>) -> Response {
    (status, page).into_response()
}

fn sign_in(visitor: &Visitor, next: &str, again: &Again<'_>, said: &str) -> Html<String> {
    let texts = visitor.texts();
    let form = html! {
        (flash(texts, said))
        form.fields method="post" action="/sign-in" {
            input type="hidden" name="next" value=(next);
            (email(texts, again.email))
            label for="password" { (texts.password) }
            input #password type="password" name="password" autocomplete="current-password" required;
            button type="submit" { (texts.sign_in) }
        }
        p.aside { (texts.no_account) " " a href="/register" { (texts.register) } }
        p.aside { (texts.have_link) " " a href="/sign-in/link" { (texts.use_link) } }
    };
    entrance(visitor, texts.sign_in, texts.sign_in_words, again.problem.as_deref(), &form)
}

fn link(visitor: &Visitor, reset: bool, problem: Option<String>) -> Html<String> {
    let texts = visitor.texts();
    // Sent of itself only where nobody is signed in: a link of somebody else's should not take an account's place unasked.
    // Where another site leads here, browsers keep the cookie back, so that nobody seems to be.
    let form = html! {
        form.fields method="post" action="/sign-in/link" data-fragment="link" data-send[visitor.token.is_none() && !visitor.is_led_here && problem.is_none() && !reset] {
            label for="link" { (texts.link) }
            input #link type="text" name="link" autocomplete="off" spellcheck="false" placeholder="cfx_link_…" required;
            @if reset {
                label for="new" { (texts.new_password) }
                input #new type="password" name="new" autocomplete="new-password" minlength=(SHORTEST_PASSWORD) required aria-describedby="rule";
                p #rule .hint { (limits::password_rule(visitor.language)) }
            }
            button type="submit" { (texts.sign_in) }
        }
        p.aside { a href="/sign-in" { (texts.by_password) } }
        @if !reset { p.aside { (texts.forgotten) " " a href={ "/sign-in/link?" (NEW_PASSWORD) } { (texts.with_new_password) } } }
    };
    entrance(visitor, texts.sign_in_by_link, texts.link_words, problem.as_deref(), &form)
}

fn registration(visitor: &Visitor, again: &Again<'_>) -> Html<String> {
    let texts = visitor.texts();
    let form = html! {
        form.fields method="post" action="/register" data-fragment="invitation" {
            (email(texts, again.email))
            label for="password" { (texts.password) }
            input #password type="password" name="password" autocomplete="new-password" minlength=(SHORTEST_PASSWORD) required aria-describedby="rule";
            p #rule .hint { (limits::password_rule(visitor.language)) }
            label for="invitation" { (texts.invitation) }
            input #invitation type="text" name="invitation" autocomplete="off" spellcheck="false" placeholder="cfx_link_…";
            button type="submit" { (texts.register) }
        }
        p.aside { (texts.have_account) " " a href="/sign-in" { (texts.sign_in) } }
    };
    entrance(visitor, texts.register_title, texts.register_words, again.problem.as_deref(), &form)
}

fn email(texts: &Texts, value: &str) -> Markup {
    html! {
        label for="email" { (texts.email) }
        input #email type="text" inputmode="email" name="email" value=(value) autocomplete="username" spellcheck="false"
            autocapitalize="none" required autofocus;
    }
}

/// A form for who is not signed in; in its place, where the way here is open to everybody's eyes, why there is none.
fn entrance(visitor: &Visitor, title: &str, words: &str, problem: Option<&str>, form: &Markup) -> Html<String> {
    let texts = visitor.texts();
    let body = html! {
        section.entrance {
            h1 { (title) }
            @if visitor.origin.may_sign_in() {
                p.soft { (words) }
                @if let Some(problem) = problem { (alert(problem)) }
                (form)
            } @else {
                (alert(texts.needs_https))
                p.soft { (texts.needs_https_words) }
            }
        }
    };
    frame::document(visitor, None, Page { title, here: Here::Elsewhere, scripts: &[], styles: &[], body })
}
