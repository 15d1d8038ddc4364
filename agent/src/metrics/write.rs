//! How a metric is written on the page: one value, or one for each of several labels.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelValue, EncodeMetric, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

pub(super) type Labels<const N: usize, V> = [(&'static str, V); N];

pub(super) fn counter(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: &impl EncodeCounterValue,
) -> fmt::Result {
    let mut metric = out.encode_descriptor(name, help, unit, MetricType::Counter)?;
    metric.encode_counter::<NoLabelSet, _, f64>(value, None)
}

pub(super) fn gauge(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: &impl EncodeGaugeValue,
) -> fmt::Result {
    out.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(value)
}

pub(super) fn counters<const N: usize, L: EncodeLabelValue, V: EncodeCounterValue>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    values: impl Iterator<Item = (Labels<N, L>, V)>,
) -> fmt::Result {
    let metric = out.encode_descriptor(name, help, unit, MetricType::Counter)?;
    each(metric, values.map(|(labels, value)| (labels, ConstCounter::new(value))))
}

pub(super) fn gauges<const N: usize, L: EncodeLabelValue, V: EncodeGaugeValue>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    values: impl Iterator<Item = (Labels<N, L>, V)>,
) -> fmt::Result {
    let metric = out.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    each(metric, values.map(|(labels, value)| (labels, ConstGauge::new(value))))
}

fn each<const N: usize, L: EncodeLabelValue>(
    mut metric: MetricEncoder<'_>,
    values: impl Iterator<Item = (Labels<N, L>, impl EncodeMetric)>,
) -> fmt::Result {
    for (labels, value) in values {
        value.encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}
