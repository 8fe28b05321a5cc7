//! What a user used: today, by day, by stage, by model.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::caller::Caller;
use super::params::Params;
use super::refusal::Refusal;
use super::{Control, Shared, api, describe, words};
use crate::identity::Account;
use crate::ledger::Share;
use crate::units::{Day, NanoUsd, Timestamp};

/// Days that are told of at once.
const MOST_DAYS: i32 = 400;
/// Days that are told of where none are named.
const USUAL_DAYS: i32 = 30;

/// Which days.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Days {
    /// The first UTC day. 29 days before `to` where it is not given.
    #[param(format = Date)]
    from: Option<String>,
    /// The last UTC day, which is counted too. Today where it is not given; at most 400 days from `from` on.
    #[param(format = Date)]
    to: Option<String>,
}

/// What you used today, and what is left of it
#[utoipa::path(
    get, path = "/api/usage/today", tag = "usage",
    responses((status = 200, description = "Today, in UTC", body = api::Today))
)]
pub(super) async fn today(State(control): State<Shared>, caller: Caller) -> Result<Json<api::Today>, Refusal> {
    Ok(Json(control.today(&caller.account, caller.now).await?))
}

/// What you used, day by day
#[utoipa::path(
    get, path = "/api/usage/days", tag = "usage", params(Days),
    responses((status = 200, description = "Days on which anything was asked, oldest first", body = Vec<api::DayOfUse>))
)]
pub(super) async fn days(
    State(control): State<Shared>,
    caller: Caller,
    Params(days, _): Params<Days>,
) -> Result<Json<Vec<api::DayOfUse>>, Refusal> {
    let (first, last) = days.span(caller.now)?;
    let days = control.ports.reports.of(caller.account.id).days(first, last).await?;
    Ok(Json(days.iter().map(describe::day).collect()))
}

/// What you used, by stage
#[utoipa::path(
    get, path = "/api/usage/stages", tag = "usage", params(Days),
    responses((status = 200, description = "The most expensive first", body = Vec<api::ShareOfUse>))
)]
pub(super) async fn stages(
    State(control): State<Shared>,
    caller: Caller,
    Params(days, _): Params<Days>,
) -> Result<Json<Vec<api::ShareOfUse>>, Refusal> {
    split(&control, &caller, &days, |share| share.stage.map(|stage| stage.as_str().to_owned())).await
}

/// What you used, by model
#[utoipa::path(
    get, path = "/api/usage/models", tag = "usage", params(Days),
    responses((status = 200, description = "The most expensive first", body = Vec<api::ShareOfUse>))
)]
pub(super) async fn models(
    State(control): State<Shared>,
    caller: Caller,
    Params(days, _): Params<Days>,
) -> Result<Json<Vec<api::ShareOfUse>>, Refusal> {
    split(&control, &caller, &days, |share| share.model.clone()).await
}

/// What the caller's days were spent on, by what `name` says.
async fn split(
    control: &Control,
    caller: &Caller,
    days: &Days,
    name: impl Fn(&Share) -> Option<String>,
) -> Result<Json<Vec<api::ShareOfUse>>, Refusal> {
    let (first, last) = days.span(caller.now)?;
    let split = control.ports.reports.of(caller.account.id).split(first, last).await?;
    Ok(Json(shares(&split, name)))
}

impl Days {
    pub fn span(&self, now: Timestamp) -> Result<(Day, Day), Refusal> {
        let last = match &self.to {
            Some(text) => words::day_in_query("to", text)?,
            None => now.day(),
        };
        let first = match &self.from {
            Some(text) => words::day_in_query("from", text)?,
            None => Day((last.0 - (USUAL_DAYS - 1)).max(0)),
        };
        if first > last {
            return Err(Refusal::parameter("from", "`from` must not be after `to`"));
        }
        if last.0 - first.0 >= MOST_DAYS {
            return Err(Refusal::parameter("from", format!("`from` and `to` may span {MOST_DAYS} days at most")));
        }
        Ok((first, last))
    }
}

impl Control {
    pub(super) async fn today(&self, account: &Account, now: Timestamp) -> Result<api::Today, Refusal> {
        let day = now.day();
        let month = self.ports.reports.of(account.id).days(first_of_month(day), day).await?;
        let of_day = month.iter().find(|usage| usage.day == day);
        let counted = self.ports.edge.used_today(account.id).await;
        let requests = counted.or(of_day.map(|usage| usage.requests)).unwrap_or_default();
        let limit = describe::daily_limit(account, &self.snapshot());
        Ok(api::Today {
            day: day.iso(),
            requests,
            limit,
            remaining: u64::from(limit).saturating_sub(requests),
            resets_at: day.end().rfc3339(),
            answered: of_day.map_or(0, |usage| usage.answered),
            failed: of_day.map_or(0, |usage| usage.failed),
            input_tokens: of_day.map_or(0, |usage| usage.input_tokens),
            output_tokens: of_day.map_or(0, |usage| usage.output_tokens),
            cost_usd: of_day.map_or(0.0, |usage| words::dollars(usage.cost)),
            month_cost_usd: words::dollars(sum(month.iter().map(|usage| usage.cost))),
        })
    }
}

fn first_of_month(day: Day) -> Day {
    let of_month: i32 = day.iso().get(8..10).and_then(|digits| digits.parse().ok()).unwrap_or(1);
    Day(day.0 - (of_month - 1))
}

/// Stages and models together, put together by the one or the other.
fn shares(split: &[Share], name: impl Fn(&Share) -> Option<String>) -> Vec<api::ShareOfUse> {
    let mut found: Vec<(NanoUsd, api::ShareOfUse)> = Vec::new();
    for share in split {
        let name = name(share);
        let at = found.iter().position(|(_, of)| of.name == name).unwrap_or(found.len());
        if at == found.len() {
            let none =
                api::ShareOfUse { name, requests: 0, answered: 0, input_tokens: 0, output_tokens: 0, cost_usd: 0.0 };
            found.push((NanoUsd(0), none));
        }
        let Some((cost, of)) = found.get_mut(at) else { continue };
        *cost = sum([*cost, share.cost].into_iter());
        of.requests += share.requests;
        of.answered += share.answered;
        of.input_tokens += share.input_tokens;
        of.output_tokens += share.output_tokens;
        of.cost_usd = words::dollars(*cost);
    }
    found.sort_by_key(|(cost, of)| std::cmp::Reverse((*cost, of.requests)));
    found.into_iter().map(|(_, of)| of).collect()
}

fn sum(costs: impl Iterator<Item = NanoUsd>) -> NanoUsd {
    NanoUsd(costs.fold(0_i64, |sum, cost| sum.saturating_add(cost.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_begins_on_its_first() {
        let day = |text| words::day_in_query("", text).unwrap();
        assert_eq!(first_of_month(day("2026-02-28")), day("2026-02-01"));
        assert_eq!(first_of_month(day("2026-03-01")), day("2026-03-01"));
    }

    #[test]
    fn spans_are_bounded_and_in_order() {
        let now = Timestamp::parse("2026-03-01T12:00:00Z").unwrap();
        let span = |from: Option<&str>, to: Option<&str>| {
            let days = Days { from: from.map(str::to_owned), to: to.map(str::to_owned) };
            days.span(now).map(|(first, last)| (first.iso(), last.iso())).ok()
        };
        assert_eq!(span(None, None), Some(("2026-01-31".into(), "2026-03-01".into())));
        assert_eq!(span(None, Some("1970-01-02")), Some(("1970-01-01".into(), "1970-01-02".into())));
        assert!(span(Some("2025-01-26"), None).is_some(), "400 days");
        assert!(span(Some("2025-01-25"), None).is_none(), "401 days");
        assert!(span(Some("2026-03-02"), None).is_none());
        assert!(span(Some("1970-01-01"), Some("9999-12-31")).is_none());
    }
}
