//! What a ledger might tell: plausible days and requests, or none, or texts that mean harm.

use std::sync::Arc;

use async_trait::async_trait;
use cfx::clock::{Clock, SystemClock};
use cfx::ledger::{
    Cursor, DayUsage, Filter, LogRow, Overview, Pace, Reports, SESSION_OVER, SessionReports, Share, Status, TOO_LONG,
};
use cfx::units::{Day, KeyId, NanoUsd, RequestId, Stage, StageSource, StoreError, Timestamp, UserId};
use uuid::Uuid;

use super::Api;
use super::api::HOSTILE;

/// How the double answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Told {
    #[default]
    Plausible,
    Nothing,
    Hostile,
    /// As a store that is away.
    Fails,
    /// As a store with too much to look through.
    TooMuch,
    /// As one that finds the session ended since the edge was asked.
    Over,
}

pub struct Double {
    pub told: Told,
    pub api: Arc<Api>,
}

struct Of(Told);

#[async_trait]
impl SessionReports for Double {
    async fn of(&self, token: &str, _: UserId) -> Result<Option<Box<dyn Reports>>, StoreError> {
        Ok(self.api.knows(token).then(|| Box::new(Of(self.told)) as Box<dyn Reports>))
    }
}

const ERRORS: [Option<&str>; 4] =
    [Some("upstream_timeout"), Some("upstream_unavailable"), Some("daily_quota_exceeded ×190, overloaded ×2"), None];

impl Of {
    fn all(&self) -> Vec<LogRow> {
        let now = SystemClock.now();
        let (rows, text) = match self.0 {
            Told::Plausible => (137, None),
            Told::Hostile => (3, Some(HOSTILE)),
            Told::Nothing | Told::Fails | Told::TooMuch | Told::Over => (0, None),
        };
        (0..rows).map(|number| row(now, number, text)).collect()
    }

    fn answered<T>(&self, value: T) -> Result<T, StoreError> {
        match self.0 {
            Told::Fails => Err(StoreError("away".to_owned())),
            Told::TooMuch => Err(StoreError(TOO_LONG.to_owned())),
            Told::Over => Err(StoreError(SESSION_OVER.to_owned())),
            _ => Ok(value),
        }
    }
}

fn row(now: Timestamp, number: i64, text: Option<&str>) -> LogRow {
    let chance = |of: i64| number.wrapping_mul(2_654_435_761).rem_euclid(of);
    let status = match chance(17) {
        0 | 5 => Status::Error,
        3 => Status::RateLimited,
        9 => Status::Cancelled,
        _ => Status::Success,
    };
    let failed = status != Status::Success;
    let latency = 400 + chance(9_000).unsigned_abs();
    let (input, output) = (900 + chance(20_000).unsigned_abs(), 40 + chance(3_000).unsigned_abs());
    let models = ["claude-sonnet", "deepseek", "gpt-mini"];
    let stage = usize::try_from(chance(3)).unwrap();
    let owned = |fallback: &str| text.unwrap_or(fallback).to_owned();
    LogRow {
        request: RequestId(Uuid::from_u128(0x0197_f9a1_b2c3_7d4e_8f90_0000_0000_0000 + number.unsigned_abs() as u128)),
        created_at: Timestamp(now.0 - number * 400_000_000 - chance(90_000_000)),
        key: KeyId(Uuid::from_u128(1 + number.unsigned_abs() as u128 % 3)),
        session_id: (number % 2 == 0).then(|| owned("refactor-billing")),
        stage: Some(Stage::ALL[stage]),
        source: Some(StageSource::ALL[usize::try_from(chance(4)).unwrap()]),
        model: Some(owned(models[stage])),
        stream: number % 5 != 0,
        body_bytes: 2_000 + chance(40_000).unsigned_abs(),
        status,
        http_status: match status {
            Status::Success => 200,
            Status::Error => 504,
            Status::RateLimited => 429,
            Status::Cancelled => 499,
        },
        input_tokens: (!failed).then_some(input),
        cached_input_tokens: (!failed).then_some(input / 3),
        cache_write_tokens: None,
        output_tokens: (!failed).then_some(output),
        reasoning_tokens: None,
        total_tokens: (!failed).then_some(input + output),
        estimated: number % 11 == 0,
        cost: NanoUsd(if failed { 0 } else { i64::try_from(input * 3_000 + output * 15_000).unwrap() }),
        latency_ms: latency,
        first_token_ms: (!failed).then_some(latency / 4),
        attempts: 1,
        error: match text {
            Some(text) => Some(text.to_owned()),
            None if failed => ERRORS[usize::try_from(chance(4)).unwrap()].map(str::to_owned),
            None => None,
        },
    }
}

#[async_trait]
impl Reports for Of {
    async fn days(&self, first: Day, last: Day) -> Result<Vec<DayUsage>, StoreError> {
        let days = match self.0 {
            Told::Nothing | Told::Fails | Told::TooMuch | Told::Over => Vec::new(),
            _ => (first.0..=last.0).filter(|day| day % 7 != 2 || *day == last.0).map(|day| of_day(Day(day))).collect(),
        };
        self.answered(days)
    }

    async fn split(&self, _: Day, _: Day) -> Result<Vec<Share>, StoreError> {
        let model = |name: &str| Some(if self.0 == Told::Hostile { HOSTILE } else { name }.to_owned());
        let share = |stage, model, requests: u64, cost: i64| Share {
            stage,
            model,
            requests,
            answered: requests,
            input_tokens: requests * 9_120,
            output_tokens: requests * 610,
            cost: NanoUsd(cost),
        };
        self.answered(match self.0 {
            Told::Nothing | Told::Fails | Told::TooMuch | Told::Over => Vec::new(),
            _ => vec![
                share(Some(Stage::Plan), model("claude-sonnet"), 61, 2_310_000_000),
                share(Some(Stage::Code), model("deepseek"), 212, 480_300_000),
                share(Some(Stage::Review), model("gpt-mini"), 70, 96_400_000),
                share(None, None, 5, 0),
            ],
        })
    }

    async fn rows(&self, filter: &Filter, before: Option<Cursor>, limit: u32) -> Result<Vec<LogRow>, StoreError> {
        let older = |row: &LogRow| {
            before.is_none_or(|before| (row.created_at, row.request) < (before.created_at, before.request))
        };
        let passes = |row: &LogRow| {
            filter.stage.is_none_or(|stage| row.stage == Some(stage))
                && filter.status.is_none_or(|status| row.status == status)
                && filter.model.as_ref().is_none_or(|model| row.model.as_ref() == Some(model))
        };
        let rows = self.all().into_iter().filter(|row| older(row) && passes(row));
        self.answered(rows.take(limit as usize).collect())
    }

    async fn row(&self, request: RequestId) -> Result<Option<LogRow>, StoreError> {
        self.answered(self.all().into_iter().find(|row| row.request == request))
    }

    async fn overview(&self, first: Day, today: Day, _: Timestamp, _: Timestamp) -> Result<Overview, StoreError> {
        let pace = self.answered(match self.0 {
            Told::Nothing | Told::Fails | Told::TooMuch | Told::Over => Pace::default(),
            _ => Pace {
                requests: 331,
                latency_p50: Some(2_140),
                latency_p95: Some(9_870),
                first_token_p50: Some(412),
                first_token_p95: Some(1_320),
            },
        })?;
        Ok(Overview { days: self.days(first, today).await?, split: self.split(today, today).await?, pace })
    }
}

fn of_day(day: Day) -> DayUsage {
    let requests = 120 + u64::from((day.0.unsigned_abs() * 97) % 260);
    DayUsage {
        day,
        requests,
        rows: requests + 6,
        answered: requests - 11,
        failed: 9,
        input_tokens: requests * 9_120,
        output_tokens: requests * 610,
        cost: NanoUsd(i64::try_from(requests).unwrap() * 9_300_000),
    }
}
