//! A pool's `probe`, `health` and `require`.

use crate::config::health::MAX_INPUTS;
use crate::config::reader::{Entry, Names, Report, Table, Value};
use crate::config::{HealthInput, InputOf, Pool, PoolHealth, Probe, schema};

const MAX_INPUT_WEIGHT: u32 = 1_000;

/// The names that inputs may refer to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'c> {
    pub(super) probes: &'c Names<'c>,
    /// The probes, by index; nothing in the place of one that can't be read.
    pub(super) read: &'c [Option<Probe>],
    pub(super) pools: &'c Names<'c>,
}

pub(super) fn health(table: &Table<'_>, context: Context<'_>) -> Option<PoolHealth> {
    let probe = table.optional("probe", |value| context.probes.resolve(value));
    let inputs = table.optional("health", |value| inputs(value, context));
    let Some(health) = table.entry("health") else {
        table.refuse(&["require"], "without `health`", "list in `health` what the endpoints' health depends on");
        return match (probe, table.entry("probe")) {
            (Some(probe), _) => Some(PoolHealth::of_probe(probe)),
            (None, Some(_)) => None,
            (None, None) => Some(PoolHealth::default()),
        };
    };
    if table.entry("probe").is_some() {
        return health.value.reject("`health` beside `probe`", "put the probe into the list: `{ probe = \"web\" }`");
    }
    let inputs = inputs?;
    let acting = inputs.iter().filter(|input| !input.monitoring_only).map(|input| u64::from(input.weight));
    let together: u64 = acting.sum();
    if together == 0 {
        return health.value.reject("all inputs are `monitoring_only`, so nothing would decide", "let one of them act");
    }
    let required = table.or("require", together, |value| match value.as_str() {
        None if value.is_integer() => value.integer(1..=together),
        _ => value.choice(&[("all", together), ("any", 1)]),
    });
    Some(PoolHealth { inputs, required })
}

fn inputs(value: Value<'_>, context: Context<'_>) -> Option<Vec<HealthInput>> {
    const EXAMPLE: &str = "[{ probe = \"web\" }, { pool = \"database\" }]";
    let mut seen = Vec::new();
    value.list("a list of probes and pools", EXAMPLE, MAX_INPUTS, |element| {
        let table = element.table(&schema::INPUT)?;
        let of = match (table.entry("probe"), table.entry("pool")) {
            (Some(probe), None) => context.probes.resolve(probe.value).map(InputOf::Probe),
            (None, Some(pool)) => context.pools.resolve(pool.value).map(InputOf::Pool),
            _ => element.reject("expected `probe` or `pool`", "an input is exactly one of the two"),
        };
        let weight = table.or("weight", 1, |value| value.integer(1..=MAX_INPUT_WEIGHT));
        let must_pass = table.or("must_pass", false, Value::boolean);
        let monitoring_only = table.or("monitoring_only", false, |value| {
            let monitoring_only = value.boolean()?;
            if monitoring_only && must_pass {
                return value.reject("what must pass acts", "leave out `monitoring_only`, or `must_pass`");
            }
            Some(monitoring_only)
        });
        let of = of?;
        if seen.contains(&of) {
            return element
                .reject("given twice in this list", "keep one of them, with the `weight` that it should have");
        }
        seen.push(of);
        Some(HealthInput { of, weight, must_pass, monitoring_only })
    })
}

/// Notes pools whose health depends on itself. All pools were read.
pub(super) fn check_loops(pools: &[Pool], entries: &[Entry<'_>], report: &Report) {
    // Whatever depends on nothing that is left can be left out, until only loops and what depends on them are left.
    let mut left: Vec<bool> = vec![true; pools.len()];
    while let Some(free) =
        (0..pools.len()).find(|pool| left[*pool] && pools[*pool].health.pools().all(|input| !left[input]))
    {
        left[free] = false;
    }
    let Some(first) = left.iter().position(|is_left| *is_left) else { return };
    // From any of them one comes into a loop.
    let next = |pool: usize| pools[pool].health.pools().find(|input| left[*input]).unwrap_or(pool);
    let start = (0..pools.len()).fold(first, |pool, _| next(pool));
    let mut names = vec![pools[start].name.as_str()];
    let mut pool = next(start);
    while pool != start {
        names.push(&pools[pool].name);
        pool = next(pool);
    }
    names.push(&pools[start].name);
    let message = format!("the health of pool `{}` depends on itself: {}", pools[start].name, names.join(" → "));
    report.add(entries[start].span.clone(), message, "take one of these out of the `health` of the one before it");
}
