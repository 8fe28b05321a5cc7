//! Accounts, as operators keep them: made with a link that works once, disabled, limited, invited.

use axum::http::{Method, StatusCode};
use axum::response::Response;
use maud::{Markup, html};

use super::account::role;
use super::entering::NEW_PASSWORD;
use super::key_forms::proof;
use super::operator::{only_operators, show};
use crate::control::MOST_REQUESTS;
use crate::control::api::{Invitation, NewInvitation, NewUser, User, UserChange, UserWithLink};
use crate::dashboard::edge::EdgeError;
use crate::dashboard::form::{Id, SignedForm, once};
use crate::dashboard::parts::copyable;
use crate::dashboard::shown::{count, instant_text};
use crate::dashboard::signed::{Signed, redirect};
use crate::identity::made_visible;

/// A link that was just made and is shown once.
pub(super) struct Made {
    /// Whose. None: whoever has it may register.
    email: Option<String>,
    /// Where it is opened.
    page: &'static str,
    link: String,
    expires_at: String,
}

const SIGN_IN: &str = "/sign-in/link";
const REGISTER: &str = "/register";

pub(super) async fn create(SignedForm { signed, form }: SignedForm) -> Response {
    let Ok(daily_requests) = form.number("daily_requests") else { return not_a_number(&signed).await };
    let once = form.text("once");
    if !signed.dashboard.answered.first(once) {
        return redirect("/operator?said=already_done");
    }
    let user = NewUser { email: form.text("email").trim().to_owned(), role: form.given("role"), daily_requests };
    let made =
        signed.dashboard.edge.send::<UserWithLink>(&signed.visitor, Method::POST, "/api/operator/users", &user).await;
    linked(&signed, once, made).await
}

pub(super) async fn link(Id(id): Id, SignedForm { signed, form }: SignedForm) -> Response {
    let once = form.text("once");
    if !signed.dashboard.answered.first(once) {
        return redirect("/operator?said=already_done");
    }
    let (path, empty) = (format!("/api/operator/users/{id}/link"), serde_json::json!({}));
    let made = signed.dashboard.edge.send::<UserWithLink>(&signed.visitor, Method::POST, &path, &empty).await;
    linked(&signed, once, made).await
}

pub(super) async fn invite(SignedForm { signed, form }: SignedForm) -> Response {
    let once = form.text("once");
    if !signed.dashboard.answered.first(once) {
        return redirect("/operator?said=already_done");
    }
    let invitation = NewInvitation { email: form.given("email"), role: form.given("role") };
    let edge = &signed.dashboard.edge;
    let made = edge.send::<Invitation>(&signed.visitor, Method::POST, "/api/operator/invitations", &invitation).await;
    let made =
        made.map(|made| Made { email: invitation.email, page: REGISTER, link: made.link, expires_at: made.expires_at });
    answered(&signed, once, made).await
}

pub(super) async fn change(Id(id): Id, SignedForm { signed, form }: SignedForm) -> Response {
    let Ok(daily_requests) = form.number("daily_requests") else { return not_a_number(&signed).await };
    let disabled = match form.text("disabled") {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    };
    let change = UserChange { disabled, daily_requests, role: form.given("role") };
    let path = format!("/api/operator/users/{id}");
    match signed.dashboard.edge.tell(&signed.visitor, Method::PATCH, &path, &change).await {
        Ok(()) => redirect("/operator?said=user_changed"),
        Err(error) => refused(&signed, error).await,
    }
}

async fn linked(signed: &Signed, once: &str, made: Result<UserWithLink, EdgeError>) -> Response {
    let made = made.map(|made| Made {
        email: Some(made.user.email),
        page: SIGN_IN,
        link: made.link,
        expires_at: made.expires_at,
    });
    answered(signed, once, made).await
}

/// `once` is the form's mark, which is good again where nothing came of the form.
async fn answered(signed: &Signed, once: &str, made: Result<Made, EdgeError>) -> Response {
    match made {
        Ok(made) => show(signed, StatusCode::OK, "", Some(made), None).await,
        Err(error) => {
            signed.dashboard.answered.forget(once);
            refused(signed, error).await
        }
    }
}

async fn refused(signed: &Signed, error: EdgeError) -> Response {
    if let Some(answer) = only_operators(signed) {
        return answer;
    }
    match error {
        EdgeError::Refused(problem) if problem.status != StatusCode::UNAUTHORIZED => {
            let words = problem.words(signed.visitor.language);
            problem.dress(show(signed, problem.status, "", None, Some(words)).await)
        }
        error => signed.failed(&error),
    }
}

async fn not_a_number(signed: &Signed) -> Response {
    let problem = signed.visitor.texts().not_a_number.to_owned();
    show(signed, StatusCode::UNPROCESSABLE_ENTITY, "", None, Some(problem)).await
}

/// The whole address, with the token behind its `#`: no server along the way has it in its log.
pub(super) fn shown_once(signed: &Signed, made: &Made) -> Markup {
    let texts = signed.visitor.texts();
    let base = signed.dashboard.public_url.clone().unwrap_or_else(|| signed.visitor.origin.url());
    html! {
        section.panel.once aria-labelledby="once" data-forget="/operator" {
            h2 #once { (if made.page == REGISTER { texts.new_invitation } else { texts.new_link }) }
            p { @if let Some(email) = &made.email { strong.breaks { bdi { (made_visible(email)) } } " · " } (texts.new_link_words) }
            (copyable(texts, texts.link, &format!("{base}{}#{}", made.page, made.link)))
            @if made.page == SIGN_IN {
                details {
                    summary { (texts.forgotten_words) }
                    (copyable(texts, texts.with_new_password, &format!("{base}{}?{NEW_PASSWORD}#{}", made.page, made.link)))
                }
            }
            p.hint { (texts.ends) ": " (instant_text(texts, &made.expires_at)) }
        }
    }
}

pub(super) fn section(signed: &Signed, users: &[User]) -> Markup {
    let texts = signed.visitor.texts();
    html! {
        section.panel aria-labelledby="users" {
            h2 #users { (texts.users) }
            div.turns {
                details {
                    summary { (texts.new_user) }
                    form.fields method="post" action="/operator/users" {
                        (proof(signed)) input type="hidden" name="once" value=(once());
                        label for="user-email" { (texts.email) }
                        input #user-email type="text" inputmode="email" name="email" required autocomplete="off" spellcheck="false";
                        (roles(signed, "user-role"))
                        label for="user-limit" { (texts.requests_a_day) }
                        input #user-limit type="number" name="daily_requests" min="1" max=(MOST_REQUESTS) placeholder=(texts.as_configured);
                        button type="submit" { (texts.new_user) }
                    }
                }
                details {
                    summary { (texts.invite) }
                    form.fields method="post" action="/operator/invitations" {
                        (proof(signed)) input type="hidden" name="once" value=(once());
                        label for="invite-email" { (texts.invite_email) }
                        input #invite-email type="text" inputmode="email" name="email" autocomplete="off" spellcheck="false" aria-describedby="invite-hint";
                        p #invite-hint .hint { (texts.invite_hint) }
                        (roles(signed, "invite-role"))
                        button type="submit" { (texts.invite) }
                    }
                }
            }
            ul.cards { @for user in users { (card(signed, user)) } }
        }
    }
}

fn roles(signed: &Signed, id: &str) -> Markup {
    let texts = signed.visitor.texts();
    html! {
        label for=(id) { (texts.role) }
        select id=(id) name="role" { option value="member" { (texts.role_member) } option value="operator" { (texts.role_operator) } }
    }
}

fn card(signed: &Signed, user: &User) -> Markup {
    let (texts, language) = (signed.visitor.texts(), signed.visitor.language);
    let (state, name) = if user.disabled_at.is_some() { ("error", texts.disabled) } else { ("success", texts.active) };
    let limit =
        user.daily_requests.map_or_else(|| texts.as_configured.to_owned(), |limit| count(language, limit.into()));
    let own = user.id == signed.me.id;
    let field = |name: &str| format!("{name}-{}", user.id);
    let named = |what: &str| format!("{what}: {}", made_visible(&user.email));
    let path = format!("/operator/users/{}", user.id);
    html! {
        li.card {
            div.split { h3.breaks { bdi { (made_visible(&user.email)) } @if own { " " span.soft { "(" (texts.you) ")" } } } span.status data-status=(state) { (name) } }
            dl.facts {
                div { dt { (texts.role) } dd { (role(texts, &user.role)) } }
                div { dt { (texts.made) } dd { (instant_text(texts, &user.created_at)) } }
                div { dt { (texts.requests_a_day) } dd { (limit) } }
            }
            div.turns {
                details name=(field("turn")) {
                    summary aria-label=(named(texts.set_limit)) { (texts.set_limit) }
                    form.fields method="post" action=(path) {
                        (proof(signed))
                        label for=(field("limit")) { (texts.requests_a_day) }
                        input id=(field("limit")) type="number" name="daily_requests" min="0" max=(MOST_REQUESTS) value=[user.daily_requests] required;
                        p.hint { (texts.zero_is_configured) }
                        button type="submit" { (texts.set_limit) }
                    }
                }
                details name=(field("turn")) {
                    summary aria-label=(named(texts.make_link)) { (texts.make_link) }
                    form.fields method="post" action=(format!("{path}/link")) {
                        (proof(signed)) input type="hidden" name="once" value=(once());
                        p { (texts.make_link_words) }
                        button type="submit" { (texts.make_link) }
                    }
                }
                @if !own {
                    details name=(field("turn")) {
                        @let (what, words, value) = if user.role == "operator" { (texts.make_member, texts.make_member_words, "member") } else { (texts.make_operator, texts.make_operator_words, "operator") };
                        summary aria-label=(named(what)) { (what) }
                        form.fields method="post" action=(path) {
                            (proof(signed)) input type="hidden" name="role" value=(value);
                            p { (words) }
                            button type="submit" { (what) }
                        }
                    }
                    details name=(field("turn")) {
                        @let (what, words, value) = if user.disabled_at.is_some() { (texts.enable, texts.enable_words, "no") } else { (texts.disable, texts.disable_words, "yes") };
                        summary.danger[user.disabled_at.is_none()] aria-label=(named(what)) { (what) }
                        form.fields method="post" action=(path) {
                            (proof(signed)) input type="hidden" name="disabled" value=(value);
                            p { (words) }
                            button.danger[user.disabled_at.is_none()] type="submit" { (what) }
                        }
                    }
                }
            }
        }
    }
}
