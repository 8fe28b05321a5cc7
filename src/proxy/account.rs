//! The end of a request, whatever it was: holds are settled, the ledger is closed, metrics and the access log written.

use http::HeaderMap;

use super::Services;
use super::exchange::Exchange;
use super::outcome::{self, Outcome};
use crate::ledger::{Closing, Refused, Status};
use crate::llm::{Endpoint, cost};
use crate::telemetry::access::AccessLine;
use crate::telemetry::metrics::RequestObservation;
use crate::telemetry::spans::ModelCall;
use crate::units::NanoUsd;

/// What the head said, kept for the log line.
pub struct Asked<'request> {
    pub method: &'request str,
    pub host: &'request str,
    /// Without the query: it may hold anything.
    pub path: &'request str,
    pub query: Option<&'request str>,
    /// Where it is to stand in the line.
    pub user_agent: Option<&'request str>,
    /// All of it.
    pub headers: &'request HeaderMap,
}

/// Accounts for one request. Called once, at its end.
pub fn settle(services: &Services, exchange: &mut Exchange, asked: &Asked<'_>) {
    let cost = cost_of(exchange);
    let outcome = Outcome::of(&exchange.answer);
    match exchange.admitted.take() {
        Some(admitted) => {
            let closing = closing(exchange, &outcome, cost);
            if exchange.answer.reached_upstream {
                admitted.holds.spend();
                admitted.entry.close(closing);
            } else if !admitted.entry.give_back(closing) {
                admitted.holds.spend(); // as whoever finds its OPEN alone will count it
            }
        }
        None => note_refusal(services, exchange, &outcome),
    }
    observe(services, exchange, &outcome, cost);
    let line = line(exchange, &outcome, asked, cost);
    services.access.write(&line);
    if let Some(traces) = &services.traces {
        traces.record(&line, model_call(exchange).as_ref(), &exchange.trace(asked.headers));
    }
}

/// What the upstream was asked, where it was.
fn model_call(exchange: &Exchange) -> Option<ModelCall<'_>> {
    let operation = match exchange.endpoint.get()? {
        Endpoint::ChatCompletions | Endpoint::Responses | Endpoint::Messages => "chat",
        Endpoint::Completions => "text_completion",
        Endpoint::Embeddings => "embeddings",
        Endpoint::CountTokens => "count_tokens",
    };
    let model = exchange.snapshot.models.aliases.get(exchange.model()?.as_ref())?;
    (exchange.answer.attempts > 0).then_some(ModelCall { operation, model: &model.upstream_model })
}

fn cost_of(exchange: &Exchange) -> NanoUsd {
    let model = exchange.model().and_then(|alias| exchange.snapshot.models.aliases.get(alias.as_ref()));
    match (model, &exchange.answer.usage) {
        (Some(model), Some(usage)) => cost(&model.price, usage),
        _ => NanoUsd::default(),
    }
}

fn closing(exchange: &Exchange, outcome: &Outcome, cost: NanoUsd) -> Closing {
    let answer = &exchange.answer;
    let error = outcome.reason.or((outcome.status != Status::Success).then_some("answered by the upstream"));
    Closing {
        status: outcome.status,
        http_status: outcome.sent,
        usage: answer.usage,
        estimated: answer.estimated,
        cost,
        latency: exchange.latency(),
        first_token: answer.first_token,
        attempts: answer.attempts,
        model: exchange.model().cloned().unwrap_or_else(|| "".into()),
        error: error.map(str::to_owned),
    }
}

/// A refused request of a known user goes to the ledger, which keeps the first few and sums the rest.
fn note_refusal(services: &Services, exchange: &Exchange, outcome: &Outcome) {
    let (Some(principal), Some(_)) = (exchange.principal.get(), exchange.answer.refusal) else { return };
    let Some(reason) = outcome.reason else { return };
    let staged = exchange.staged.get();
    services.ledger.refused(Refused {
        request: exchange.id,
        created_at: exchange.at,
        user: principal.user,
        key: principal.key,
        session_id: exchange.session_id.get().cloned(),
        stage: staged.map(|staged| staged.stage),
        source: staged.map(|staged| staged.source),
        model: staged.map(|staged| staged.model.clone()),
        stream: staged.is_some_and(|staged| staged.stream),
        body_bytes: exchange.answer.bytes_in,
        http_status: outcome.sent,
        reason,
        latency: exchange.latency(),
    });
}

fn observe(services: &Services, exchange: &Exchange, outcome: &Outcome, cost: NanoUsd) {
    let answer = &exchange.answer;
    if let Some(guard) = answer.guard {
        services.metrics.guarded(guard.label());
    }
    if let Some(reason) = outcome::failure(answer) {
        services.metrics.refusal(reason.code());
    }
    services.metrics.request(&RequestObservation {
        route: exchange.route.get().map_or("", |route| route),
        stage: exchange.staged.get().map(|staged| staged.stage),
        model: exchange.model().map(|model| model.as_ref()),
        status: outcome.code,
        duration: exchange.latency(),
        first_token: answer.first_token.filter(|_| exchange.staged.get().is_some_and(|staged| staged.stream)),
        overhead: exchange.staged.get().and(answer.overhead),
        usage: answer.usage.as_ref(),
        cost,
    });
}

fn line<'exchange>(
    exchange: &'exchange Exchange,
    outcome: &Outcome,
    asked: &Asked<'exchange>,
    cost: NanoUsd,
) -> AccessLine<'exchange> {
    let answer = &exchange.answer;
    let (principal, staged) = (exchange.principal.get(), exchange.staged.get());
    AccessLine {
        at: exchange.at,
        request: exchange.id,
        client: exchange.client.get().copied(),
        method: asked.method,
        host: asked.host,
        path: asked.path,
        query: asked.query,
        user_agent: asked.user_agent,
        status: outcome.sent,
        route: exchange.route.get().map_or("", |route| route),
        reason: outcome.reason,
        user: principal.map(|principal| principal.user),
        key: principal.map(|principal| principal.key),
        stage: staged.map(|staged| staged.stage),
        stage_source: staged.map(|staged| staged.source),
        model: exchange.model().map(|model| model.as_ref()),
        stream: staged.is_some_and(|staged| staged.stream),
        bytes_in: answer.bytes_in,
        bytes_out: answer.bytes_out,
        usage: answer.usage.as_ref(),
        estimated: answer.estimated,
        cost,
        duration: exchange.latency(),
        first_token: answer.first_token,
        overhead: answer.overhead,
        attempts: answer.attempts,
        fields: exchange.snapshot.edge.telemetry.access_log,
    }
}
