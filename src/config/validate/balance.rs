//! `balance`, `sticky` and the tables of what balances go by, in `[services.*]`

use std::time::Duration;

use crate::config::Sticky;
use crate::config::reader::{Table, Value};
use crate::config::{Adaptive, AdaptiveChoice, Balance, Performance, schema};

/// The largest weight of a part of the score; they are relative to each other.
const MAX_SCORE_WEIGHT: f64 = 1e6;
const MAX_RATIO: f64 = 1000.0;
const MAX_HOLD: Duration = Duration::from_secs(3600);

/// How endpoints are picked, and within which prefix clients are one in that.
pub(super) fn balance(table: &Table<'_>, sticky: Stickiness) -> (Balance, Option<Sticky>) {
    let performance = table.or("performance", Performance::DEFAULT, performance);
    let adaptive = table.or("adaptive", Adaptive::DEFAULT, adaptive);
    let balance = table.or("balance", Some(Balance::Weighted), |value| {
        Some(value.choice(&Balance::all(performance, adaptive).map(|balance| (balance.name(), balance))))
    });
    let Some(balance) = balance else { return (Balance::Weighted, None) };
    const NOT_THIS_BALANCE: &str = "has no meaning with this `balance`";
    if !matches!(balance, Balance::Performance(_)) {
        table.refuse(&["performance"], NOT_THIS_BALANCE, "add `balance = \"performance\"`, or leave it out");
    }
    if !matches!(balance, Balance::Adaptive(_)) {
        table.refuse(&["adaptive"], NOT_THIS_BALANCE, "add `balance = \"adaptive\"`, or leave it out");
    }
    if balance.is_hash() && sticky == Stickiness::Never {
        table.refuse(
            &["sticky"],
            "can't be false with this `balance`, which gives a client the same endpoint again",
            "leave it out, write widths such as `{ v4 = 24, v6 = 56 }`, or take `balance = \"weighted\"`",
        );
    }
    (balance, sticky.of_endpoints(balance))
}

/// What a service says of clients that are to be led to the same place again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stickiness {
    /// Nothing.
    Unsaid,
    /// That there are none.
    Never,
    /// Those of one prefix.
    Within(Sticky),
}

impl Stickiness {
    /// `sticky = true`, `false` or `{ v4 = 24, v6 = 56 }`.
    pub(super) fn of(table: &Table<'_>) -> Self {
        table.or("sticky", Self::Unsaid, |value| {
            if !value.is_table() {
                let is_sticky = value.boolean()?;
                return Some(if is_sticky { Self::Within(Sticky::DEFAULT) } else { Self::Never });
            }
            let widths = value.table(&schema::STICKY)?;
            Some(Self::Within(Sticky {
                v4: widths.or("v4", Sticky::DEFAULT.v4, |value| value.integer(1..=32)),
                v6: widths.or("v6", Sticky::DEFAULT.v6, |value| value.integer(1..=128)),
            }))
        })
    }

    /// Within which prefix clients keep their endpoints.
    fn of_endpoints(self, balance: Balance) -> Option<Sticky> {
        match self {
            Self::Within(sticky) => Some(sticky),
            Self::Unsaid | Self::Never => balance.is_hash().then_some(Sticky::DEFAULT),
        }
    }

    /// Within which prefix clients keep their region, where regions share clients.
    pub(super) fn of_regions(self) -> Option<Sticky> {
        match self {
            Self::Within(sticky) => Some(sticky),
            Self::Unsaid => Some(Sticky::DEFAULT),
            Self::Never => None,
        }
    }
}

fn performance(value: Value<'_>) -> Option<Performance> {
    let table = value.table(&schema::PERFORMANCE)?;
    let weight = |key, default| {
        table.or(key, default, |value| value.number("a number from 0 to 1000000", 0.0..=MAX_SCORE_WEIGHT, "0.4"))
    };
    let Performance { response_time, errors, load, weight: own } = Performance::DEFAULT;
    let (response_time, errors, load, own) =
        (weight("response_time", response_time), weight("errors", errors), weight("load", load), weight("weight", own));
    let sum = response_time + errors + load + own;
    if sum == 0.0 {
        return value.reject("nothing counts in this score", "give at least one of them a number above 0");
    }
    Some(Performance { response_time: response_time / sum, errors: errors / sum, load: load / sum, weight: own / sum })
}

fn adaptive(value: Value<'_>) -> Option<Adaptive> {
    let table = value.table(&schema::ADAPTIVE)?;
    let ratio = |key, default, example| {
        table.or(key, default, |value| value.number("a number from 1.01 to 1000", 1.01..=MAX_RATIO, example))
    };
    Some(Adaptive {
        choice: table.optional("choice", |value| {
            value.choice(&AdaptiveChoice::ALL.map(|choice| (choice.balance().name(), choice)))
        }),
        high_load: table.or("high_load", Adaptive::DEFAULT.high_load, |value| {
            value.number("a number from 0.01 to 1", 0.01..=1.0, "0.75")
        }),
        uneven: ratio("uneven", Adaptive::DEFAULT.uneven, "2"),
        slow_tail: ratio("slow_tail", Adaptive::DEFAULT.slow_tail, "3"),
        hold: table.or("hold", Adaptive::DEFAULT.hold, |value| value.duration(Duration::ZERO..=MAX_HOLD)),
    })
}
