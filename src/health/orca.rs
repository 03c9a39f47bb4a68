//! What backends say of their load in the header of a response: ORCA, Open Request Cost Aggregation.
//!
//! The header `endpoint-load-metrics` holds a form and what is said in it:
//!
//! ```text
//! TEXT cpu_utilization=0.3, mem_utilization=0.8, rps_fractional=100, eps=1, named_metrics.active_connections=12
//! JSON {"cpu_utilization": 0.3, "named_metrics": {"active_connections": 12}}
//! BIN CAESAQ==
//! ```
//!
//! Older backends leave the word out, write `:` for `=`, and have a header of its own for JSON. The binary form is not
//! read. Names are those of the message [OrcaLoadReport]; in JSON also in camel case, as protobuf's JSON has them.
//!
//! [OrcaLoadReport]: https://github.com/cncf/xds/blob/main/xds/data/orca/v3/orca_load_report.proto

use std::collections::HashMap;

use serde_json::Value;

use super::{Load, Rejection};

/// The header of all forms.
pub const HEADER: &str = "endpoint-load-metrics";
/// The older one of the JSON form.
pub const JSON_HEADER: &str = "endpoint-load-metrics-json";
/// The older one of the binary form.
pub const BINARY_HEADER: &str = "endpoint-load-metrics-bin";

/// The named metric that tells of open connections, for which ORCA has no field of its own.
const CONNECTIONS: &str = "named_metrics.active_connections";

/// Reads the header's value.
///
/// Utilization is `application_utilization` where that is above 0, else the larger of `cpu_utilization` and
/// `mem_utilization`; the error rate is `eps` of `rps_fractional` (or of `rps`, which came before it), at most 1.
///
/// # Errors
/// Where the value can't be read, says nothing that counts, or has a number that can't be.
pub fn parse(value: &str) -> Result<Load, Rejection> {
    let value = value.trim();
    let (form, rest) = value.split_once(char::is_whitespace).unwrap_or((value, ""));
    match form.to_ascii_uppercase().as_str() {
        "TEXT" => text(rest),
        "JSON" => json(rest),
        "BIN" => Err(Rejection::Unsupported),
        _ if value.starts_with('{') => json(value),
        _ => text(value),
    }
}

fn text(text: &str) -> Result<Load, Rejection> {
    let mut metrics = HashMap::new();
    for metric in text.split(',') {
        let (name, value) = metric.split_once(['=', ':']).ok_or(Rejection::Malformed)?;
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || metrics.insert(name.to_owned(), number(value)?).is_some() {
            return Err(Rejection::Malformed);
        }
    }
    load(&metrics)
}

fn json(text: &str) -> Result<Load, Rejection> {
    let Ok(Value::Object(fields)) = serde_json::from_str(text) else { return Err(Rejection::Malformed) };
    let mut metrics = HashMap::new();
    let mut add = |name: String, value: &Value| {
        let value = match value {
            Value::Number(value) => value.as_f64().ok_or(Rejection::Malformed).and_then(checked)?,
            // As protobuf's JSON writes whole numbers of 64 bits, NaN and the infinities.
            Value::String(value) => number(value)?,
            _ => return Err(Rejection::Malformed),
        };
        if metrics.insert(name, value).is_some() { Err(Rejection::Malformed) } else { Ok(()) }
    };
    for (name, value) in &fields {
        let name = snake_case(name);
        match value {
            Value::Null => {}
            Value::Object(named) => {
                named.iter().try_for_each(|(key, value)| add(format!("{name}.{key}"), value))?;
            }
            value => add(name, value)?,
        }
    }
    load(&metrics)
}

/// `cpuUtilization` → `cpu_utilization`
fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

fn number(text: &str) -> Result<f64, Rejection> {
    text.parse().map_err(|_| Rejection::Malformed).and_then(checked)
}

/// All of ORCA's numbers are finite, and none is below 0.
fn checked(value: f64) -> Result<f64, Rejection> {
    match value {
        value if !value.is_finite() => Err(Rejection::NotFinite),
        value if value < 0.0 => Err(Rejection::Negative),
        value => Ok(value),
    }
}

fn load(metrics: &HashMap<String, f64>) -> Result<Load, Rejection> {
    let get = |name: &str| metrics.get(name).copied();
    let application = get("application_utilization");
    let machine = [get("cpu_utilization"), get("mem_utilization")].into_iter().flatten().reduce(f64::max);
    let requests_per_second = get("rps_fractional").or(get("rps"));
    let error_rate = match (get("eps"), requests_per_second) {
        (Some(errors), Some(requests)) if requests > 0.0 => Some((errors / requests).min(1.0)),
        _ => None,
    };
    let load = Load {
        connections: get(CONNECTIONS),
        utilization: application.filter(|&value| value > 0.0).or(machine).or(application),
        response_ms: None,
        error_rate,
        requests_per_second,
    };
    if load == Load::default() { Err(Rejection::Empty) } else { Ok(load) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Connections, utilization, error rate, requests per second.
    type Said = (Option<f64>, Option<f64>, Option<f64>, Option<f64>);

    fn said(value: &str) -> Result<Said, Rejection> {
        let Load { connections, utilization, response_ms, error_rate, requests_per_second } = parse(value)?;
        assert_eq!(response_ms, None);
        Ok((connections, utilization, error_rate, requests_per_second))
    }

    #[test]
    fn what_is_understood() {
        for (value, expected) in [
            ("TEXT cpu_utilization=0.3", (None, Some(0.3), None, None)),
            ("TEXT cpu_utilization=0.3, mem_utilization=0.8", (None, Some(0.8), None, None)),
            ("TEXT cpu_utilization=0.3,mem_utilization=0.8,application_utilization=0.5", (None, Some(0.5), None, None)),
            ("TEXT cpu_utilization=1.25, application_utilization=0", (None, Some(1.25), None, None)),
            ("TEXT application_utilization=0", (None, Some(0.0), None, None)),
            ("text rps_fractional=10, eps=1", (None, None, Some(0.1), Some(10.0))),
            ("TEXT rps_fractional=10, eps=20", (None, None, Some(1.0), Some(10.0))),
            ("TEXT rps_fractional=0, eps=0", (None, None, None, Some(0.0))),
            ("TEXT rps=7, eps=0", (None, None, Some(0.0), Some(7.0))),
            ("TEXT rps=7, rps_fractional=7.5", (None, None, None, Some(7.5))),
            ("TEXT named_metrics.active_connections=12", (Some(12.0), None, None, None)),
            (
                "TEXT request_cost.db=3, utilization.disk=0.9, named_metrics.queue=4, x=1, cpu_utilization=1e-1",
                (None, Some(0.1), None, None),
            ),
            // Without the word, as older ones.
            ("cpu_utilization:0.3,mem_utilization:0.2", (None, Some(0.3), None, None)),
            ("  cpu_utilization = 0.3 , eps = 1 ", (None, Some(0.3), None, None)),
            (r#"{"cpu_utilization": 0.3}"#, (None, Some(0.3), None, None)),
            (r#"JSON {"cpu_utilization": 0.3, "rps": "10", "eps": 1}"#, (None, Some(0.3), Some(0.1), Some(10.0))),
            (r#"JSON {"cpuUtilization": 0.3, "rpsFractional": 4}"#, (None, Some(0.3), None, Some(4.0))),
            (r#"JSON {"named_metrics": {"active_connections": 3}, "eps": null}"#, (Some(3.0), None, None, None)),
            (r#"JSON {"namedMetrics": {"active_connections": 3}}"#, (Some(3.0), None, None, None)),
        ] {
            assert_eq!(said(value), Ok(expected), "{value}");
        }
    }

    #[test]
    fn what_is_not() {
        use Rejection::{Empty, Malformed, Negative, NotFinite, Unsupported};
        for (value, expected) in [
            ("", Malformed),
            ("TEXT", Malformed),
            ("JSON", Malformed),
            ("TEXT ,", Malformed),
            ("TEXT cpu_utilization", Malformed),
            ("TEXT cpu_utilization=", Malformed),
            ("TEXT =0.3", Malformed),
            ("TEXT cpu_utilization=high", Malformed),
            ("TEXT cpu_utilization=0.3 0.4", Malformed),
            ("TEXT cpu_utilization=0.3, cpu_utilization=0.3", Malformed),
            ("TEXT cpu_utilization=NaN", NotFinite),
            ("TEXT cpu_utilization=inf", NotFinite),
            ("TEXT cpu_utilization=1e999", NotFinite),
            ("TEXT x=nan, cpu_utilization=0.1", NotFinite),
            // Though the other one is larger.
            ("TEXT cpu_utilization=-0.3, mem_utilization=0.5", Negative),
            ("TEXT named_metrics.queue=4", Empty),
            ("BIN CAESAQ==", Unsupported),
            ("JSON []", Malformed),
            ("JSON {", Malformed),
            ("JSON {}", Empty),
            (r#"JSON {"cpu_utilization": "NaN"}"#, NotFinite),
            (r#"JSON {"cpu_utilization": true}"#, Malformed),
            (r#"JSON {"cpu_utilization": [1]}"#, Malformed),
            (r#"JSON {"named_metrics": {"active_connections": {}}}"#, Malformed),
            (r#"JSON {"cpu_utilization": 1, "cpuUtilization": 1}"#, Malformed),
            (r#"JSON {"mem_utilization": -1}"#, Negative),
        ] {
            assert_eq!(said(value), Err(expected), "{value}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(value in prop_oneof![
            "(TEXT |JSON |BIN |)[ -~]{0,60}",
            "TEXT (cpu_utilization|eps|rps|x)[=:][-0-9.eEinfa]{0,8}(,(mem_utilization|rps)=[-0-9.e]{0,8})*",
            ".{0,40}",
        ]) {
            if let Ok(load) = parse(&value) {
                prop_assert!(load.values().all(|(_, value)| value.is_finite() && value >= 0.0));
            }
        }
    }
}
