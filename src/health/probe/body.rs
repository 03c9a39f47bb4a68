//! What stands in the body of a response, which is JSON, by the path of its field: what is expected, and numbers that tell of load.

use serde_json::Value;

use super::Failure;
use super::failure::excerpt;
use crate::config::{ExpectedField, FieldValue};
use crate::health::{Load, Measure, Rejection};

/// Whether the field is what is expected.
///
/// # Errors
/// What is there in its place.
pub(super) fn judge(expected: &ExpectedField, body: &[u8]) -> Result<(), Failure> {
    let parsed: Value = serde_json::from_slice(body).map_err(|_| Failure::NotJson(body.len()))?;
    let found = find(&parsed, &expected.path);
    let is_right = match (&expected.is, found) {
        (FieldValue::Text(expected), Some(Value::String(found))) => expected == found,
        // 1 and 1.0 are the same number.
        (FieldValue::Number(expected), Some(Value::Number(found))) => {
            expected == found || expected.as_f64() == found.as_f64()
        }
        (FieldValue::Boolean(expected), Some(Value::Bool(found))) => expected == found,
        _ => false,
    };
    if is_right {
        return Ok(());
    }
    let found = found.map(|found| excerpt(&found.to_string()));
    Err(Failure::Field { path: excerpt(&expected.path), found, expected: excerpt(&expected.is.to_string()) })
}

/// Reads the numbers at these paths. One that isn't there, or is null, is not known.
///
/// # Errors
/// Where the body is no JSON, another thing than a number stands there, or nothing stands at any of the paths.
pub(super) fn load(paths: &[(Measure, String)], body: &[u8]) -> Result<Load, Rejection> {
    let body: Value = serde_json::from_slice(body).map_err(|_| Rejection::Malformed)?;
    let mut load = Load::default();
    for (measure, path) in paths {
        match find(&body, path) {
            None | Some(Value::Null) => {}
            Some(Value::Number(value)) => load.set(*measure, value.as_f64()),
            Some(_) => return Err(Rejection::Malformed),
        }
    }
    if load == Load::default() { Err(Rejection::Empty) } else { Ok(load) }
}

/// The value at a path such as `servers.0.active`: names of fields, and places in lists from 0.
fn find<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, step| match value {
        Value::Object(fields) => fields.get(step),
        Value::Array(elements) => elements.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_path() {
        let body = r#"{"server": {"active": 12, "cpu": [0.25, {"used": 0.5}], "name": "a", "none": null}, "0": 7}"#;
        let known = |connections| Ok(Load { connections: Some(connections), ..Load::default() });
        for (path, expected) in [
            ("server.active", known(12.0)),
            ("server.cpu.0", known(0.25)),
            ("server.cpu.1.used", known(0.5)),
            ("0", known(7.0)),
            ("server.cpu.2", Err(Rejection::Empty)),
            ("server.cpu.x", Err(Rejection::Empty)),
            ("server.none", Err(Rejection::Empty)),
            ("server.active.x", Err(Rejection::Empty)),
            ("server.name", Err(Rejection::Malformed)),
            ("server", Err(Rejection::Malformed)),
        ] {
            assert_eq!(load(&[(Measure::Connections, path.to_owned())], body.as_bytes()), expected, "{path}");
        }
        let paths = [(Measure::ErrorRate, "e".to_owned()), (Measure::Connections, "c".to_owned())];
        assert_eq!(load(&paths, b"{\"c\": 3}"), known(3.0), "one of two");
        for broken in ["", "{\"c\": 3", "{\"c\": NaN}", "{\"c\": 1e999}", "\u{fffd}"] {
            assert_eq!(load(&paths, broken.as_bytes()), Err(Rejection::Malformed), "{broken}");
        }
        assert_eq!(load(&paths, "[".repeat(60_000).as_bytes()), Err(Rejection::Malformed), "however deep");
    }
}
