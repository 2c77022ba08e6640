//! Families of metrics, written in one go from what is known at the moment.
//!
//! `prometheus-client` means metrics to be registered and counted up. Here all is counted elsewhere already, so a scrape makes a
//! registry of one collector, and throws it away.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// What all names begin with.
const PREFIX: &str = "swf_filter";

/// The OpenMetrics text of `collector`.
pub(super) fn of(collector: impl Collector) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(collector));
    let mut written = String::new();
    text::encode(&mut written, &registry)?;
    Ok(written)
}

/// Writes families.
pub(super) struct Families<'a>(pub(super) DescriptorEncoder<'a>);

/// Of a metric that is there once.
pub(super) const NO_LABELS: [(&str, &str); 0] = [];

impl Families<'_> {
    /// A counter. `_total` is added to its name.
    pub(super) fn counter<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, count) in rows {
            family
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, _, f64>(&count, None)?;
        }
        Ok(())
    }

    /// A number that goes up and down.
    pub(super) fn gauge<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (L, f64)>,
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in rows {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// The same, there once.
    pub(super) fn number(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.gauge(name, help, [(NO_LABELS, value)])
    }

    /// Texts. `_info` is added to its name.
    pub(super) fn info<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        labels: &L,
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Info)?;
        family.encode_info(labels)
    }

    /// How long something took.
    pub(super) fn histogram<'h, L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (L, &'h Histogram)>,
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, histogram) in rows {
            histogram.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// A number as Prometheus has all of them.
#[expect(
    clippy::cast_precision_loss,
    reason = "numbers here are far below 2^53, and Prometheus has no others"
)]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}

/// The same of a length.
#[expect(
    clippy::cast_precision_loss,
    reason = "numbers here are far below 2^53, and Prometheus has no others"
)]
pub(super) fn count(number: usize) -> f64 {
    number as f64
}

/// RFC 3339 as seconds since 1970; none if it is no time.
pub(super) fn seconds(time: &str) -> Option<f64> {
    let time: jiff::Timestamp = time.parse().ok()?;
    Some(time.as_duration().as_secs_f64())
}
