//! One's own account: password, theme, language.

use axum::Extension;
use axum::extract::RawQuery;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::html;

use super::key_forms::proof;
use crate::control::api::NewPassword;
use crate::dashboard::edge::EdgeError;
use crate::dashboard::form::{Form, SignedForm};
use crate::dashboard::frame::{self, Here, Page};
use crate::dashboard::limits;
use crate::dashboard::parts::{alert, flash};
use crate::dashboard::shown::{count, instant_text};
use crate::dashboard::signed::{Signed, redirect};
use crate::dashboard::texts::{Language, Texts};
use crate::dashboard::visitor::Theme;
use crate::identity::{SHORTEST_PASSWORD, made_visible};

pub(super) async fn page(Extension(signed): Extension<Signed>, RawQuery(query): RawQuery) -> Response {
    let query = Form::of_query(query.as_deref().unwrap_or_default());
    show(&signed, StatusCode::OK, query.text("said"), None)
}

pub(super) async fn password(SignedForm { signed, form }: SignedForm) -> Response {
    let texts = signed.visitor.texts();
    if form.text("new") != form.text("again") {
        return show(&signed, StatusCode::UNPROCESSABLE_ENTITY, "", Some(texts.not_the_same));
    }
    let current = signed.me.has_password.then(|| form.text("current").to_owned());
    let change = NewPassword { current, new: form.text("new").to_owned() };
    match signed.dashboard.edge.tell(&signed.visitor, Method::PUT, "/api/me/password", &change).await {
        Ok(()) => redirect("/account?said=password_changed"),
        Err(EdgeError::Refused(problem)) => {
            // 401 may be said of a wrong password as well as of a session that is over: the next page tells them apart.
            problem.dress(show(&signed, problem.status, "", Some(&problem.words(signed.visitor.language))))
        }
        Err(error) => signed.failed(&error),
    }
}

fn show(signed: &Signed, status: StatusCode, said: &str, problem: Option<&str>) -> Response {
    let (texts, visitor, me) = (signed.visitor.texts(), &signed.visitor, &signed.me);
    let body = html! {
        header.heading { h1 { (texts.account) } p.soft.breaks { bdi { (made_visible(&me.email)) } } }
        (flash(texts, said))
        @if let Some(problem) = problem { (alert(problem)) }
        section.panel aria-labelledby="limits" {
            h2 #limits { (texts.your_account) }
            dl.facts {
                div { dt { (texts.role) } dd { (role(texts, &me.role)) } }
                div { dt { (texts.requests_a_day) } dd { (count(visitor.language, me.daily_limit.into())) } }
                div { dt { (texts.streams_at_once) } dd { (me.concurrent_streams) } }
                div { dt { (texts.session_ends) } dd { (instant_text(texts, &me.expires_at)) } }
            }
        }
        section.panel aria-labelledby="password-title" {
            h2 #password-title { @if me.has_password { (texts.change_password) } @else { (texts.set_password) } }
            p.soft { (texts.password_words) }
            form.fields method="post" action="/account/password" {
                (proof(signed))
                // For password managers: whose it is.
                input type="hidden" name="username" value=(me.email) autocomplete="username";
                @if me.has_password {
                    label for="current" { (texts.current_password) }
                    input #current type="password" name="current" autocomplete="current-password" required;
                }
                label for="new" { (texts.new_password) }
                input #new type="password" name="new" autocomplete="new-password" minlength=(SHORTEST_PASSWORD) required aria-describedby="rule";
                p #rule .hint { (limits::password_rule(visitor.language)) }
                label for="again" { (texts.password_again) }
                input #again type="password" name="again" autocomplete="new-password" minlength=(SHORTEST_PASSWORD) required;
                button type="submit" { (texts.save) }
            }
        }
        section.panel aria-labelledby="looks" {
            h2 #looks { (texts.looks) }
            form.fields method="post" action="/preferences" {
                input type="hidden" name="back" value="/account";
                fieldset {
                    legend { (texts.theme) }
                    @for theme in Theme::ALL {
                        label.tick { input type="radio" name="theme" value=(theme.as_str()) checked[visitor.theme == theme]; (theme_name(texts, theme)) }
                    }
                }
                label for="language" { (texts.language) }
                select #language name="language" {
                    @for language in Language::ALL {
                        option value=(language.as_str()) lang=(language.as_str()) selected[visitor.language == language] { (language.texts().own_name) }
                    }
                }
                button type="submit" { (texts.save) }
            }
        }
    };
    let page = Page { title: texts.account, here: Here::Account, scripts: &[], styles: &[], body };
    (status, frame::signed(signed, page)).into_response()
}

pub(super) fn role<'a>(texts: &Texts, role: &'a str) -> &'a str {
    match role {
        "operator" => texts.role_operator,
        "member" => texts.role_member,
        other => other,
    }
}

fn theme_name(texts: &Texts, theme: Theme) -> &'static str {
    match theme {
        Theme::Dark => texts.theme_dark,
        Theme::Light => texts.theme_light,
        Theme::Auto => texts.theme_auto,
    }
}
