//! How busy an endpoint is: what can be said of it, and within which bounds that is believed.

use super::Rejection;

/// How busy an endpoint is, as far as it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Load {
    /// Open connections, or requests under way; 0 or more.
    pub connections: Option<f64>,
    /// The busiest of processor, memory and what the application says of itself; 0 is idle, 1 is full, more is overloaded.
    pub utilization: Option<f64>,
    /// What a request takes, in milliseconds; above 0.
    pub response_ms: Option<f64>,
    /// The part of requests that fail, 0..=1.
    pub error_rate: Option<f64>,
    /// Requests per second; 0 or more.
    pub requests_per_second: Option<f64>,
}

/// One of the values of a [`Load`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Measure {
    /// [`Load::connections`]
    Connections,
    /// [`Load::utilization`]
    Utilization,
    /// [`Load::response_ms`]
    ResponseMs,
    /// [`Load::error_rate`]
    ErrorRate,
    /// [`Load::requests_per_second`]
    RequestsPerSecond,
}

impl Measure {
    /// Each, by its index.
    pub const ALL: [Self; 5] =
        [Self::Connections, Self::Utilization, Self::ResponseMs, Self::ErrorRate, Self::RequestsPerSecond];

    /// As configuration, reports and metrics call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Utilization => "utilization",
            Self::ResponseMs => "response_ms",
            Self::ErrorRate => "error_rate",
            Self::RequestsPerSecond => "requests_per_second",
        }
    }

    /// The largest value that is believed: beyond it a report is rather wrong.
    fn most(self) -> f64 {
        match self {
            Self::Connections | Self::RequestsPerSecond => 1e9,
            Self::Utilization => 100.0,
            // An hour.
            Self::ResponseMs => 3.6e6,
            Self::ErrorRate => 1.0,
        }
    }

    /// # Errors
    /// Where the value can't be one of this measure.
    pub fn check(self, value: f64) -> Result<(), Rejection> {
        if !value.is_finite() {
            Err(Rejection::NotFinite)
        } else if value < 0.0 {
            Err(Rejection::Negative)
        } else if value > self.most() || (self == Self::ResponseMs && value == 0.0) {
            Err(Rejection::Absurd)
        } else {
            Ok(())
        }
    }
}

impl Load {
    /// One value.
    pub fn get(&self, measure: Measure) -> Option<f64> {
        match measure {
            Measure::Connections => self.connections,
            Measure::Utilization => self.utilization,
            Measure::ResponseMs => self.response_ms,
            Measure::ErrorRate => self.error_rate,
            Measure::RequestsPerSecond => self.requests_per_second,
        }
    }

    /// Changes one value.
    pub fn set(&mut self, measure: Measure, value: Option<f64>) {
        *match measure {
            Measure::Connections => &mut self.connections,
            Measure::Utilization => &mut self.utilization,
            Measure::ResponseMs => &mut self.response_ms,
            Measure::ErrorRate => &mut self.error_rate,
            Measure::RequestsPerSecond => &mut self.requests_per_second,
        } = value;
    }

    /// The values that are known.
    pub fn values(&self) -> impl Iterator<Item = (Measure, f64)> {
        Measure::ALL.into_iter().filter_map(|measure| Some((measure, self.get(measure)?)))
    }

    /// Of values by name; those of other names and other types are passed over.
    pub fn from_values(mut value: impl FnMut(Measure) -> Option<f64>) -> Self {
        let mut load = Self::default();
        for measure in Measure::ALL {
            load.set(measure, value(measure));
        }
        load
    }

    /// To three significant digits, so that what hardly changes is no change.
    #[must_use]
    pub fn rounded(self) -> Self {
        Self::from_values(|measure| self.get(measure).map(rounded))
    }
}

/// The nearest number of three significant decimal digits.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    // Dividing by a whole power of ten leaves the nearest number to what is written in decimal, where multiplying by its
    // inverse may not.
    let digits = 2 - value.abs().log10().floor() as i32;
    if digits >= 0 {
        let scale = 10_f64.powi(digits);
        (value * scale).round() / scale
    } else {
        let scale = 10_f64.powi(-digits);
        (value / scale).round() * scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_are_kept() {
        for (value, expected) in [
            (0.0, 0.0),
            (0.123_456, 0.123),
            (0.000_987_6, 0.000_988),
            (9.996, 10.0),
            (12.34, 12.3),
            (999.5, 1000.0),
            (123_456.0, 123_000.0),
            (1e9, 1e9),
        ] {
            let load = Load { connections: Some(value), ..Load::default() };
            assert_eq!(load.rounded().connections, Some(expected), "{value}");
        }
        // What is too small for three digits is 0 or a number, never a panic.
        assert!(rounded(f64::MIN_POSITIVE / 4.0).is_nan() || rounded(f64::MIN_POSITIVE / 4.0) >= 0.0);
    }

    #[test]
    fn bounds() {
        use Measure::{Connections, ErrorRate, RequestsPerSecond, ResponseMs, Utilization};
        use Rejection::{Absurd, Negative, NotFinite};
        for (measure, value, expected) in [
            (Connections, 0.0, Ok(())),
            (Connections, 1e9, Ok(())),
            (Connections, 1e10, Err(Absurd)),
            (Connections, -1.0, Err(Negative)),
            (Utilization, 1.5, Ok(())),
            (Utilization, 101.0, Err(Absurd)),
            (Utilization, f64::NAN, Err(NotFinite)),
            (ResponseMs, 0.0, Err(Absurd)),
            (ResponseMs, 0.001, Ok(())),
            (ResponseMs, 3.6e6, Ok(())),
            (ResponseMs, 3.7e6, Err(Absurd)),
            (ErrorRate, 1.0, Ok(())),
            (ErrorRate, 1.01, Err(Absurd)),
            (RequestsPerSecond, 1e9, Ok(())),
            (RequestsPerSecond, 1e10, Err(Absurd)),
            (RequestsPerSecond, f64::INFINITY, Err(NotFinite)),
            (RequestsPerSecond, f64::NEG_INFINITY, Err(NotFinite)),
        ] {
            assert_eq!(measure.check(value), expected, "{measure:?} {value}");
        }
    }
}
