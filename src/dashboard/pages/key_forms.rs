//! A key as it is listed, and the forms around it.

use maud::{Markup, html};

use crate::control::api::{Key, KeyState, Offer};
use crate::control::{LONGEST_LABEL, MOST_REQUESTS};
use crate::dashboard::form::{Form, once};
use crate::dashboard::shown::{count, instant_text};
use crate::dashboard::signed::Signed;
use crate::dashboard::texts::{Texts, fill};
use crate::identity::made_visible;
use crate::units::Stage;

/// Days until a key ends; none: never.
const TERMS: [u32; 4] = [7, 30, 90, 365];
const HOUR: u32 = 3_600;
/// Seconds for which an old key may hold beside its new one.
const OVERLAPS: [u32; 4] = [0, HOUR, 24 * HOUR, 7 * 24 * HOUR];

/// What somebody had filled in before it was refused.
#[derive(Debug, Default)]
pub(super) struct Sent {
    label: String,
    expires: String,
    stages: Vec<String>,
    models: Vec<String>,
    daily_requests: String,
}

impl Sent {
    pub fn of(form: &Form) -> Self {
        Self {
            label: form.text("label").to_owned(),
            expires: form.text("expires").to_owned(),
            stages: form.chosen("stages").unwrap_or_default(),
            models: form.chosen("models").unwrap_or_default(),
            daily_requests: form.text("daily_requests").to_owned(),
        }
    }
}

pub(super) fn create(signed: &Signed, offer: Option<&Offer>, sent: &Sent, open: bool) -> Markup {
    let texts = signed.visitor.texts();
    let models = offer.map(|offer| offer.models.as_slice()).unwrap_or_default();
    html! {
        details.panel.create open[open] {
            summary.button { (texts.make_key) }
            form.fields method="post" action="/keys" {
                (proof(signed))
                input type="hidden" name="once" value=(once());
                label for="label" { (texts.label) }
                input #label type="text" name="label" value=(sent.label) maxlength=(LONGEST_LABEL) required autocomplete="off" aria-describedby="label-hint";
                p #label-hint .hint { (texts.label_hint) }
                label for="expires" { (texts.ends) }
                (terms(texts, "expires", &sent.expires))
                details.more open[!sent.stages.is_empty() || !sent.models.is_empty() || !sent.daily_requests.is_empty()] {
                    summary { (texts.limit_key) }
                    fieldset {
                        legend { (texts.only_stages) }
                        @for stage in Stage::ALL {
                            label.tick {
                                input type="checkbox" name="stages" value=(stage.as_str()) checked[sent.stages.iter().any(|sent| sent == stage.as_str())];
                                (stage.as_str())
                            }
                        }
                    }
                    @if !models.is_empty() {
                        fieldset {
                            legend { (texts.only_models) }
                            @for model in models {
                                label.tick {
                                    input type="checkbox" name="models" value=(model.alias) checked[sent.models.contains(&model.alias)];
                                    (model.alias)
                                }
                            }
                        }
                    }
                    label for="daily_requests" { (texts.requests_a_day) }
                    input #daily_requests type="number" name="daily_requests" min="1" max=(MOST_REQUESTS) value=(sent.daily_requests) inputmode="numeric";
                    p.hint { (texts.nothing_ticked) }
                }
                button type="submit" { (texts.make_key) }
            }
        }
    }
}

pub(super) fn card(signed: &Signed, key: &Key, new: bool) -> Markup {
    let (texts, language) = (signed.visitor.texts(), signed.visitor.language);
    let holds = key.state.holds();
    html! {
        li.panel.card data-new[new] {
            div.split {
                h2 { bdi { (made_visible(&key.label)) } }
                span.status data-status=(key.state.as_str()) { (state(texts, key.state)) }
            }
            code.prefix { (key.prefix) "…" }
            dl.facts {
                div { dt { (texts.made) } dd { (instant_text(texts, &key.created_at)) } }
                div { dt { (texts.last_used) } dd { (maybe_instant(texts, key.last_used_at.as_deref(), texts.never)) } }
                @match (&key.retires_at, holds) {
                    (Some(at), true) => div { dt { (texts.retires) } dd { (instant_text(texts, at)) } },
                    _ => div { dt { (texts.ends) } dd { (maybe_instant(texts, key.expires_at.as_deref(), texts.never)) } },
                }
                @if let Some(stages) = &key.stages { div { dt { (texts.stages) } dd { (stages.join(", ")) } } }
                @if let Some(models) = &key.models { div { dt { (texts.models) } dd { (models.join(", ")) } } }
                @if let Some(limit) = key.daily_requests { div { dt { (texts.requests_a_day) } dd { (count(language, limit.into())) } } }
            }
            @if holds { (turns(signed, key)) }
        }
    }
}

/// What can be done with a key that holds: each behind a step of its own.
fn turns(signed: &Signed, key: &Key) -> Markup {
    let texts = signed.visitor.texts();
    let field = |name: &str| format!("{name}-{}", key.id);
    let named = |what: &str| format!("{what}: {}", made_visible(&key.label));
    html! {
        div.turns {
            details name=(field("turn")) {
                summary aria-label=(named(texts.rename)) { (texts.rename) }
                form.fields method="post" action=(format!("/keys/{}/rename", key.id)) {
                    (proof(signed))
                    label for=(field("label")) { (texts.label) }
                    input id=(field("label")) type="text" name="label" value=(key.label) maxlength=(LONGEST_LABEL) required autocomplete="off";
                    button type="submit" { (texts.rename) }
                }
            }
            details name=(field("turn")) {
                summary aria-label=(named(texts.set_end)) { (texts.set_end) }
                form.fields method="post" action=(format!("/keys/{}/expiry", key.id)) {
                    (proof(signed))
                    label for=(field("expires")) { (texts.ends) }
                    (terms(texts, &field("expires"), ""))
                    button type="submit" { (texts.set_end) }
                }
            }
            @if key.state == KeyState::Active {
                details name=(field("turn")) {
                    summary aria-label=(named(texts.rotate)) { (texts.rotate) }
                    form.fields method="post" action=(format!("/keys/{}/rotate", key.id)) {
                        (proof(signed))
                        input type="hidden" name="once" value=(once());
                        p.soft { (texts.rotate_words) }
                        label for=(field("overlap")) { (texts.overlap) }
                        select id=(field("overlap")) name="overlap" {
                            @for seconds in OVERLAPS { option value=(seconds) selected[seconds == 24 * HOUR] { (overlap(texts, seconds)) } }
                        }
                        button type="submit" { (texts.rotate) }
                    }
                }
            }
            details name=(field("turn")) {
                summary.danger aria-label=(named(texts.revoke)) { (texts.revoke) }
                form.fields method="post" action=(format!("/keys/{}/revoke", key.id)) {
                    (proof(signed))
                    p { (texts.revoke_words) }
                    button.danger type="submit" { (texts.revoke_now) }
                }
            }
        }
    }
}

/// That a form was made for this session.
pub(super) fn proof(signed: &Signed) -> Markup {
    html! { input type="hidden" name="csrf" value=(signed.token.csrf()); }
}

fn terms(texts: &Texts, id: &str, chosen: &str) -> Markup {
    html! {
        select id=(id) name="expires" {
            option value="" { (texts.never) }
            @for days in TERMS {
                option value=(days) selected[chosen == days.to_string()] { (fill(texts.in_days, &[("n", &days.to_string())])) }
            }
        }
    }
}

fn overlap(texts: &Texts, seconds: u32) -> String {
    match seconds {
        0 => texts.overlap_none.to_owned(),
        _ if seconds < 48 * HOUR => fill(texts.hours, &[("n", &(seconds / HOUR).to_string())]),
        _ => fill(texts.days, &[("n", &(seconds / (24 * HOUR)).to_string())]),
    }
}

fn state(texts: &Texts, state: KeyState) -> &'static str {
    match state {
        KeyState::Active => texts.key_active,
        KeyState::Retiring => texts.key_retiring,
        KeyState::Revoked => texts.key_revoked,
        KeyState::Expired => texts.key_expired,
    }
}

fn maybe_instant(texts: &Texts, at: Option<&str>, otherwise: &str) -> Markup {
    match at {
        Some(at) => instant_text(texts, at),
        None => html! { span.soft { (otherwise) } },
    }
}
