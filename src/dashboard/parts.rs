//! Pieces that several pages are made of.

use maud::{Markup, html};

use super::texts::{Language, Texts};
use crate::ledger::Status;
use crate::units::Stage;

/// What a POST came to, told on the page it led back to. Only these can be shown.
pub(super) fn flash(texts: &Texts, said: &str) -> Markup {
    let (text, good) = match said {
        "key_revoked" => (texts.said_key_revoked, true),
        "key_changed" => (texts.said_key_changed, true),
        "password_changed" => (texts.said_password_changed, true),
        "set_password" => (texts.said_set_password, true),
        "signed_out" => (texts.said_signed_out, true),
        "already_done" => (texts.said_already_done, true),
        "reloaded" => (texts.said_reloaded, true),
        "reload_failed" => (texts.said_reload_failed, false),
        "user_changed" => (texts.said_user_changed, true),
        _ => return html! {},
    };
    if good { notice(text) } else { alert(text) }
}

pub(super) fn notice(text: &str) -> Markup {
    html! { p.notice.good role="status" { (text) } }
}

pub(super) fn alert(text: &str) -> Markup {
    html! { p.notice.bad role="alert" { (text) } }
}

/// How a request ended, in a word and a colour that is not needed to read it.
pub(super) fn status(texts: &Texts, status: Status) -> Markup {
    html! { span.status data-status=(status.as_str()) { (status_name(texts, status)) } }
}

pub(super) fn status_name(texts: &Texts, status: Status) -> &'static str {
    match status {
        Status::Success => texts.status_success,
        Status::Error => texts.status_error,
        Status::RateLimited => texts.status_rate_limited,
        Status::Cancelled => texts.status_cancelled,
    }
}

pub(super) fn stage(texts: &Texts, stage: Option<Stage>) -> Markup {
    match stage {
        Some(stage) => html! { span.stage data-stage=(stage.as_str()) { (stage.as_str()) } },
        None => html! { span.soft { (texts.unknown) } },
    }
}

/// A part of a whole as a bar. Says nothing to who cannot see it: the number stands beside it.
pub(super) fn bar(part: u64, whole: u64) -> Markup {
    let permille = part.min(whole).saturating_mul(1_000).checked_div(whole).unwrap_or(0);
    html! {
        svg.bar viewBox="0 0 1000 8" preserveAspectRatio="none" aria-hidden="true" {
            rect.ground width="1000" height="8" {}
            rect width=(permille) height="8" {}
        }
    }
}

/// A text to be copied, with a button that a script brings to life.
pub(super) fn copyable(texts: &Texts, label: &str, text: &str) -> Markup {
    html! {
        div.copyable {
            pre tabindex="0" role="group" aria-label=(label) { code { (text) } }
            button.copy type="button" data-copy hidden aria-label=(format!("{}: {label}", texts.copy)) { (texts.copy) }
        }
    }
}

/// A number with its name, and a word on it.
pub(super) fn figure(name: &str, value: &str, hint: &Markup) -> Markup {
    html! { div.figure { dt { (name) } dd { span.value { (value) } span.hint { (hint) } } } }
}

/// The number, or a dash that says there is none.
pub(super) fn maybe(
    texts: &Texts,
    language: Language,
    number: Option<u64>,
    show: fn(Language, u64) -> String,
) -> Markup {
    match number {
        Some(number) => html! { (show(language, number)) },
        None => html! { span.soft { (texts.none) } },
    }
}
