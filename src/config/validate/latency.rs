//! `[latency]`

use std::time::Duration;

use crate::config::reader::Value;
use crate::config::{Latency, schema};
use crate::geo::latency::Rules;

const DEFAULT_MAX_AGE: Duration = Duration::from_secs(86_400);
/// Bounds on the age at which a measurement no longer counts; the longer one is a hundred years.
const MIN_MAX_AGE: Duration = Duration::from_secs(1);
const MAX_MAX_AGE: Duration = Duration::from_secs(36_500 * 86_400);
const DEFAULT_MIN_CONFIDENCE: f64 = 0.5;

pub(super) fn latency(value: Value<'_>) -> Option<Latency> {
    let table = value.table(&schema::LATENCY)?;
    let file = table.optional("file", |value| Some((value.path()?, value.span())));
    let max_age = table.or("max_age", DEFAULT_MAX_AGE, |value| value.duration(MIN_MAX_AGE..=MAX_MAX_AGE));
    let min_confidence = table
        .or("min_confidence", DEFAULT_MIN_CONFIDENCE, |value| value.number("a number from 0 to 1", 0.0..=1.0, "0.5"));
    Some(Latency { file, rules: Rules { max_age, min_confidence: min_confidence as f32 } })
}
