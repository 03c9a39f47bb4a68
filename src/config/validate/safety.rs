//! `[safety]`

use std::time::Duration;

use super::{health, pool};
use crate::config::reader::Value;
use crate::config::safety::{Canary, MAX_CANARIES};
use crate::config::units::show_duration;
use crate::config::{Check, MAX_ENDPOINTS, MAX_REGIONS, Safety, SelfSuspicion, schema};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// Takings per minute that nobody would notice.
const MAX_CHANGES: u32 = 100_000;
/// The least part of all targets that may count as nearly all.
const LEAST_SUSPICIOUS_SHARE: f64 = 0.01;

pub(super) fn safety(value: Value<'_>, context: health::Context<'_>) -> Option<Safety> {
    let table = value.table(&schema::SAFETY)?;
    let default = Safety::DEFAULT;
    Some(Safety {
        max_down_share: table.or("max_down_share", default.max_down_share, |value| {
            value.number("a part of 1, from 0 to 1", 0.0..=1.0, "0.5")
        }),
        min_healthy_regions: table
            .or("min_healthy_regions", default.min_healthy_regions, |value| value.integer(0..=MAX_REGIONS as u16)),
        max_changes_per_minute: table.optional("max_changes_per_minute", |value| value.integer(1..=MAX_CHANGES)),
        self_suspicion: table.or("self_suspicion", default.self_suspicion, |value| self_suspicion(value, context)),
        restore_max_age: table
            .or("restore_max_age", default.restore_max_age, |value| value.duration(Duration::ZERO..=DAY)),
    })
}

fn self_suspicion(value: Value<'_>, context: health::Context<'_>) -> Option<SelfSuspicion> {
    const EXAMPLE: &str = "[{ probe = \"ping\", address = \"192.0.2.1\" }]";
    let table = value.table(&schema::SELF_SUSPICION)?;
    let default = SelfSuspicion::DEFAULT;
    let window = table.or("window", default.window, |value| value.duration(SECOND..=HOUR));
    Some(SelfSuspicion {
        window,
        share: table.or("share", default.share, |value| {
            value.number("a part of 1, from 0.01 to 1", LEAST_SUSPICIOUS_SHARE..=1.0, "0.7")
        }),
        least: table
            .or("least", default.least, |value| value.integer(2..=MAX_ENDPOINTS as u32).map(|least| least as usize)),
        at_most: table.or("at_most", default.at_most, |value| value.duration(SECOND..=DAY)),
        canaries: table.or("canaries", default.canaries, |value| {
            value.list("a list of canaries", EXAMPLE, MAX_CANARIES, |element| canary(element, context, window))
        }),
    })
}

fn canary(value: Value<'_>, context: health::Context<'_>, window: Duration) -> Option<Canary> {
    let table = value.table(&schema::CANARY)?;
    let probe = table.required("probe", "probe = \"ping\"", |value| {
        let index = context.probes.resolve(value)?;
        // What can't be read is noted already.
        if let Some(probe) = &context.read[index]
            && probe.longest_silence() > window
        {
            let (longest, window) = (show_duration(probe.longest_silence()), show_duration(window));
            let hint = if probe.longest_silence() > HOUR {
                "name a probe that runs more often".to_owned()
            } else {
                format!("write `window = \"{longest}\"` or more, or name a probe that runs more often")
            };
            let message = match *probe.check {
                Check::Heartbeat(_) => {
                    format!("this canary may be silent for {longest}, and what it says counts for the `window` of {window}")
                }
                _ => format!(
                    "this canary is asked too seldom: its `interval` and `timeout` are {longest} together, and an answer counts for \
                     the `window` of {window}"
                ),
            };
            return value.reject(message, hint);
        }
        Some(index)
    });
    let target = pool::target(&table);
    Some(Canary { probe: probe?, target: target? })
}
