//! Diagnostics on stderr. `CFX_LOG` chooses what is shown, in `tracing`'s own syntax; `info` where it is not set.
//!
//! Below us are libraries that print whole request heads at debug and trace, keys included, or what a statement is run
//! with. All but cfx itself are capped at info whatever `CFX_LOG` says; some of them start at warn.

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt, LevelFilter, ParseError, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::telemetry::Format;
use crate::telemetry::json::JsonLines;

/// The environment variable that chooses what is shown.
pub const VARIABLE: &str = "CFX_LOG";

/// What is shown of libraries where `CFX_LOG` does not name them.
/// `listening` is off: every port scan would stand there as an error.
const DEFAULTS: &str = "info,pingora=warn,pingora_core::services::listening=off,hyper=warn,h2=error,notify=warn,rustls=warn,tokio_rustls=warn,axum=warn,tower=warn";

/// Starts logging for the whole process, `log` records of libraries included. A second call does nothing.
pub fn init(format: Format) {
    let wanted = std::env::var(VARIABLE).unwrap_or_default();
    let (filter, problem) = match chosen(&wanted) {
        Ok(filter) => (filter, None),
        Err(problem) => (EnvFilter::new(DEFAULTS), Some(problem)),
    };
    let started = tracing_subscriber::registry().with(layer(format, filter, std::io::stderr)).try_init();
    if let (Ok(()), Some(problem)) = (started, problem) {
        tracing::warn!("{VARIABLE}={wanted:?} is not understood: {problem}; showing info and above");
    }
}

fn chosen(wanted: &str) -> Result<EnvFilter, ParseError> {
    // Of two directives for one target the later wins, and a longer target wins over a shorter one.
    EnvFilter::builder().parse(format!("{DEFAULTS},{wanted}"))
}

fn layer<S, W>(format: Format, chosen: EnvFilter, writer: W) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let capped =
        filter_fn(|event| *event.level() <= Level::INFO || is_ours(event.target())).with_max_level_hint(UNBOUNDED);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match format {
        Format::Json => lines.event_format(JsonLines).boxed(),
        Format::Human { colour } => lines.with_ansi(colour).boxed(),
    };
    lines.with_filter(chosen.and(capped).and(NoRaces))
}

/// The hint of a filter that has no maximum of its own. Filters together have one only where each of them has said
/// something: without it every trace record of a library, of which there is one for each write, is made and looked at.
const UNBOUNDED: LevelFilter = LevelFilter::TRACE;

fn is_ours(target: &str) -> bool {
    target.strip_prefix("cfx").is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Leaves out what pingora calls an error and is none: of two that take a kept connection, one has to make its own.
struct NoRaces;

const LOST_RACE: &str = "failed to acquire reusable stream";

impl<S: Subscriber> Filter<S> for NoRaces {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        // Only errors that came by the `log` crate, which names their target in a field.
        if *event.metadata().level() != Level::ERROR || event.metadata().target() != "log" {
            return true;
        }
        let mut race = IsRace(false);
        event.record(&mut race);
        !race.0
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(UNBOUNDED)
    }
}

struct IsRace(bool);

impl Visit for IsRace {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0 |= field.name() == "message" && format!("{value:?}") == LOST_RACE;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written of everything that `events` logs while `CFX_LOG` is `wanted`.
    fn shown(wanted: &str, format: Format, events: impl FnOnce()) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let layer = layer(format, chosen(wanted).unwrap(), move || writer.clone());
        // Takes the records of the `log` crate in, as `init` does.
        let guard = tracing_subscriber::registry().with(layer).set_default();
        events();
        drop(guard);
        String::from_utf8(captured.0.lock().unwrap().clone()).unwrap()
    }

    fn events() {
        log::trace!(target: "pingora_core::protocols", "head: authorization");
        log::debug!(target: "pingora_proxy::proxy_h1", "head: authorization");
        tracing::debug!(target: "hyper::proto", "head: authorization");
        log::debug!(target: "tokio_postgres::query", "executing statement with parameters: authorization");
        tracing::trace!(target: "cfx_of_others", "head: authorization");
        log::info!(target: "pingora_core::server", "server starting");
        log::warn!(target: "pingora_proxy", "fell over");
        log::error!(target: "pingora_core::connectors", "failed to acquire reusable stream");
        log::error!(target: "pingora_core::connectors", "out of sockets");
        tracing::debug!(target: "cfx::proxy", "step");
        tracing::info!(target: "cfx::app", peers = 2, "ready");
    }

    const PLAIN: Format = Format::Human { colour: false };

    #[test]
    fn shows_info_of_ours_and_warnings_of_the_libraries() {
        let text = shown("", PLAIN, events);
        assert!(text.contains("ready") && text.contains("fell over"));
        assert!(
            !text.contains("step") && !text.contains("server starting") && !text.contains("authorization"),
            "{text}"
        );
    }

    #[test]
    fn a_lost_race_for_a_kept_connection_is_no_error() {
        for wanted in ["", "trace", "pingora=info"] {
            let text = shown(wanted, PLAIN, events);
            assert!(text.contains("out of sockets") && !text.contains(LOST_RACE), "{wanted}: {text}");
        }
    }

    #[test]
    fn what_nobody_wants_is_not_made() {
        for (wanted, made) in [("", LevelFilter::INFO), ("cfx::ledger=debug", LevelFilter::DEBUG)] {
            let layer = layer(PLAIN, chosen(wanted).unwrap(), Captured::default);
            assert_eq!(tracing_subscriber::registry().with(layer).max_level_hint(), Some(made), "{wanted}");
        }
    }

    #[test]
    fn no_setting_shows_what_libraries_print_below_info() {
        for wanted in
            ["trace", "debug,pingora=trace", "pingora_core::protocols=trace,hyper=trace", "info,hyper::proto=debug"]
        {
            let text = shown(wanted, PLAIN, events);
            assert!(!text.contains("authorization"), "{wanted}: {text}");
        }
        assert!(shown("trace", PLAIN, events).contains("step"));
        assert!(shown("pingora=trace", PLAIN, events).contains("server starting"));
    }

    #[test]
    fn programs_read_json() {
        let text = shown("", Format::Json, || tracing::info!(peers = 2, "ready\nnow"));
        assert_eq!(text.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["target"], "cfx::telemetry::log::tests");
        assert_eq!(
            (&line["level"], &line["message"], &line["peers"]),
            (&"INFO".into(), &"ready\nnow".into(), &2.into())
        );
    }

    #[test]
    fn where_a_library_was_built_is_nobodys_business() {
        let text = shown("", Format::Json, || log::warn!(target: "pingora_proxy", "fell over"));
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["target"], &line["message"]), (&"pingora_proxy".into(), &"fell over".into()));
        assert_eq!(line.as_object().map(serde_json::Map::len), Some(4), "{text}");
    }

    #[test]
    fn a_setting_that_cannot_be_read_is_a_problem() {
        assert!(chosen("cfx=loud").is_err());
    }
}
