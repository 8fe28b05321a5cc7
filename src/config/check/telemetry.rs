//! `telemetry` in `cfx.yaml`.

use http::Uri;

use super::super::problem::Checked;
use super::super::telemetry::{Telemetry, Traces};
use super::read::{At, all};
use crate::telemetry::fields::{Field, Fields};

pub(super) fn telemetry(at: &At) -> Checked<Telemetry> {
    let fields = at.fields(&["access_log", "traces"])?;
    let access_log = fields.or("access_log", Fields::DEFAULT, |at| access_log(&at));
    let traces = fields.or("traces", None, |at| traces(&at));
    Ok(Telemetry { access_log: access_log?, traces: traces? })
}

fn access_log(at: &At) -> Checked<Fields> {
    let known: Vec<(&str, Field)> = Field::ALL.iter().map(|field| (field.name(), *field)).collect();
    at.fields(&["fields"])?.or("fields", Fields::DEFAULT, |at| {
        if at.is_text("default") {
            return Ok(Fields::DEFAULT);
        }
        let named = all(at.items()?.map(|item| item.one_of("field of the access log", &known)))?;
        Ok(Fields::of(&named))
    })
}

/// None where no endpoint is given, so that the section may stand there with an empty variable.
fn traces(at: &At) -> Checked<Option<Traces>> {
    let fields = at.fields(&["endpoint", "sample"])?;
    let sample = fields.or("sample", 1.0, |at| at.number(0.0..=1.0));
    let endpoint = fields.optional("endpoint", |at| {
        at.parsed("the URL of an OTLP receiver, such as http://collector:4318/v1/traces", |text| {
            let complete = |uri: &Uri| {
                matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some() && uri.path() != "/"
            };
            match text.parse::<Uri>() {
                Ok(uri) if complete(&uri) => Ok(text.to_owned()),
                _ => Err("a whole URL of http or https, such as http://collector:4318/v1/traces".to_owned()),
            }
        })
    });
    let (sample, endpoint) = (sample?, endpoint?);
    Ok(endpoint.map(|endpoint| Traces { endpoint, sample }))
}
