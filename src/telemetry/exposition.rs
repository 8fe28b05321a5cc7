//! Metric families of our own making, in the `prometheus` crate's terms.

use std::collections::HashMap;

use prometheus::core::Desc;
use prometheus::proto::{Counter, LabelPair, Metric, MetricFamily, MetricType};

use crate::telemetry::names::Name;

impl Name {
    pub(super) fn desc(&self, labels: &[&str]) -> Result<Desc, prometheus::Error> {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        Desc::new(self.name.to_owned(), self.help.to_owned(), labels, HashMap::new())
    }

    pub(super) fn family(&self, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        family
    }
}

/// A counter's value under its labels, which must be in the order of their names.
pub(super) fn counter(labels: &[(&str, &str)], value: f64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value);
    let mut metric = Metric::default();
    metric.set_label(labels.iter().map(|(name, value)| pair(name, value)).collect());
    metric.set_counter(counter);
    metric
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}
