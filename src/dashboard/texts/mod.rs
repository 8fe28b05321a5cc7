//! Every word that a page shows, by name, once for each language.

mod en;
pub(super) mod reasons;
mod tr;

/// A language that the pages are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Language {
    #[default]
    English,
    Turkish,
}

/// Declares the texts, so that a language lacking one does not compile, and gives them out by name for what holds them
/// against each other.
macro_rules! texts {
    ($($name:ident),* $(,)?) => {
        /// What stands in braces is filled in by [`fill`].
        pub(super) struct Texts {
            $(pub $name: &'static str,)*
        }

        #[cfg(test)]
        impl Texts {
            fn all(&self) -> Vec<(&'static str, &'static str)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

texts! {
    own_name, months, countdown_units, skip, navigation, menu, sign_out, to_light, to_dark, copy, copied,
    copy_failed, unknown, none, never, any, save, done, try_again, to_overview,
    overview, requests_today, resets, resets_in, left_today, cost_today, cost_month, since, tokens_today,
    latency, first_token, error_rate, failed_of, pace_of, by_stage, nothing_today, stage, stages, model, models,
    requests, share, tokens, cost, cost_usd, day, answered, not_answered, failed, last_days, chart_label,
    chart_needs_script, as_table, as_of, welcome, welcome_words,
    logs, logs_words, logs_unread, logs_too_much, filter, filter_not_listed, filter_no_date, filter_backwards,
    filter_long, filter_control_character, filter_before, status, status_success, status_error,
    status_rate_limited, status_cancelled, key, key_gone, session, error_text, from, until, show, clear, time,
    duration, follow, pause, following, tail_waiting, tail_lost, tail_refused, tail_gap, export, newest, older, rows_shown, none_match,
    none_match_words, no_requests, no_requests_words,
    request, details, timeline, admitted, first_byte, end, ended_success, ended_error, ended_rate_limited,
    ended_cancelled, kind, streamed, whole, body, attempts, input_tokens, cached_tokens, cache_write_tokens,
    output_tokens, reasoning_tokens, total_tokens, estimated, by_header, by_model, by_inference, by_default,
    keys, keys_words, make_key, new_key, new_key_words, no_keys, no_keys_words, keys_over, key_active,
    key_retiring, key_revoked, key_expired, label, label_hint, made, last_used, ends, retires, in_days,
    limit_key, only_stages, only_models, requests_a_day, nothing_ticked, rename, set_end, rotate, rotate_words,
    overlap, overlap_none, hours, days, revoke, revoke_words, revoke_now, said_key_revoked, said_key_changed,
    said_already_done, not_a_number,
    connect, connect_words, base_url, base_url_words, what_to_ask_for, offer_unread, input_price, output_price,
    price_words, no_direct,
    playground, playground_words, playground_needs_script, play_model, question, send, stop, answer,
    answer_empty, headers, to_first_token, play_ready, play_key, play_waiting, play_streaming, play_done,
    play_stopped, play_failed,
    operator, running_since, degraded, in_flight, ledger_queued, ledger_queued_words, ledger_dropped,
    ledger_dropped_words, ledger_quarantined, ledger_quarantined_words, upstreams, no_upstreams, unrouted, upstream,
    target, health, healthy, unhealthy, breaker, breaker_closed, breaker_open, breaker_half_open, configuration,
    reload, holds_since, no_problems, not_taken, problems, warnings, needs_restart, certificates,
    no_certificates, names, source, users, new_user, invite, invite_email, invite_hint, as_configured,
    zero_is_configured, active, disabled, you, set_limit, make_link, make_link_words, make_operator,
    make_operator_words, make_member, make_member_words, disable, disable_words,
    enable, enable_words, new_link, new_invitation, new_link_words, said_reloaded, said_reload_failed,
    said_user_changed,
    account, your_account, role, role_member, role_operator, streams_at_once, session_ends, change_password,
    set_password, password_words, current_password, new_password, password_again, password_rule, not_the_same,
    looks, theme, theme_dark, theme_light, theme_auto, language, said_password_changed, said_set_password,
    sign_in, sign_in_words, sign_in_by_link, link_words, link, have_link, use_link, forgotten,
    forgotten_words, with_new_password, by_password, no_account, have_account, register, register_title,
    register_words, invitation, email, password, needs_https, needs_https_words, said_signed_out,
    not_found, not_found_words, away, away_words, unread, unread_words, too_much_words, foreign, foreign_words, stale,
    stale_words, too_large, too_large_words, too_slow, too_slow_words, operators_only, operators_only_words, too_many_pages,
    too_many_pages_words, too_many_forms_words, busy, busy_words, not_done_words, refused, problem_credentials,
    problem_throttled, problem_overloaded, again_soon, again_in_seconds, again_in_minutes, problem_link, problem_closed, problem_invitation,
    problem_invitation_over, problem_taken, problem_wrong_password, problem_email, problem_password, problem_label, problem_limit, problem_end,
    problem_overlap, problem_offer, problem_disabled, problem_internal,
    problem_unconfirmed, problem_captcha, problem_supabase, problem_too_many_keys, problem_key_not_active, problem_own_account, problem_generic,
}

impl Language {
    pub const ALL: [Language; 2] = [Language::English, Language::Turkish];

    pub fn as_str(self) -> &'static str {
        match self {
            Language::English => "en",
            Language::Turkish => "tr",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.as_str() == text)
    }

    pub fn texts(self) -> &'static Texts {
        match self {
            Language::English => &en::EN,
            Language::Turkish => &tr::TR,
        }
    }

    pub fn other(self) -> Self {
        match self {
            Language::English => Language::Turkish,
            Language::Turkish => Language::English,
        }
    }

    /// Between groups of three digits.
    pub fn thousands(self) -> char {
        match self {
            Language::English => ',',
            Language::Turkish => '.',
        }
    }

    pub fn decimal(self) -> &'static str {
        match self {
            Language::English => ".",
            Language::Turkish => ",",
        }
    }

    pub fn percent(self, number: &str) -> String {
        match self {
            Language::English => format!("{number}%"),
            Language::Turkish => format!("%{number}"),
        }
    }
}

/// `text` with each `{name}` replaced by what it stands for.
pub(super) fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        let Some((name, after)) = behind.split_once('}') else { break };
        out.push_str(before);
        out.push_str(values.iter().find(|(named, _)| *named == name).map_or("", |(_, value)| value));
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn placeholders(text: &str) -> BTreeSet<&str> {
        text.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect()
    }

    #[test]
    fn every_text_is_there_in_every_language_with_the_same_gaps() {
        let english = Language::English.texts().all();
        for ((name, english), (_, turkish)) in english.into_iter().zip(Language::Turkish.texts().all()) {
            assert!(!english.trim().is_empty() && !turkish.trim().is_empty(), "{name}");
            assert_eq!(placeholders(english), placeholders(turkish), "{name}");
        }
        for language in Language::ALL {
            assert_eq!(language.texts().months.split(' ').count(), 12);
            assert_eq!(language.texts().countdown_units.split(' ').count(), 3);
        }
    }

    /// A limit changes where it is a constant; a text that has it written out goes on telling of the one before.
    #[test]
    fn no_text_has_a_limit_written_out() {
        let fixed = ["/v1", "p50", "00:00", "2026-01-31", "1970", "9999"];
        for (name, text) in Language::ALL.into_iter().flat_map(|language| language.texts().all()) {
            let rest = fixed.iter().fold(text.to_owned(), |rest, fixed| rest.replace(fixed, ""));
            let least_or_example = ["zero_is_configured", "problem_limit", "not_a_number"].contains(&name);
            assert!(least_or_example || !rest.contains(|letter: char| letter.is_ascii_digit()), "{name}: {text}");
        }
        let most = crate::control::MOST_REQUESTS.to_string();
        assert!(
            Language::ALL.iter().all(|language| !language
                .texts()
                .problem_limit
                .replace(['.', ','], "")
                .contains(&most))
        );
    }

    #[test]
    fn longer_texts_are_not_the_english_ones() {
        let pairs = Language::English.texts().all().into_iter().zip(Language::Turkish.texts().all());
        let same: Vec<_> =
            pairs.filter(|((_, english), (_, turkish))| english.len() > 12 && english == turkish).collect();
        assert!(same.is_empty(), "{same:?}");
    }

    #[test]
    fn gaps_are_filled_and_what_fills_them_is_not_read_again() {
        assert_eq!(fill("{a} of {b}", &[("a", "{b}"), ("b", "2")]), "{b} of 2");
        assert_eq!(fill("no gap {", &[]), "no gap {");
    }
}
