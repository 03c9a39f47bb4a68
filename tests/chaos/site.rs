//! What is probed, how, and within which limits; and its configuration.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use fastrand::Rng;
use meridian::config::{Safety, SelfSuspicion, Timing};

use crate::scenario::Kind;

/// Pools, their endpoints, and canaries. Backends are numbered: first the endpoints, then the canaries.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) regions: usize,
    pub(crate) pools: Vec<Pool>,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) safety: Safety,
    /// How canaries are probed, and how many there are.
    pub(crate) canary: Timing,
    pub(crate) canaries: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct Pool {
    pub(crate) timing: Timing,
    pub(crate) min_healthy: u16,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Endpoint {
    pub(crate) pool: usize,
    pub(crate) region: usize,
}

/// The most addresses of an answer.
const ANSWERS: usize = 16;

const fn timing(interval_ms: u64, timeout_ms: u64, fall: u8, rise: u8, degraded_after_ms: Option<u64>) -> Timing {
    Timing {
        interval: Duration::from_millis(interval_ms),
        timeout: Duration::from_millis(timeout_ms),
        fall,
        rise,
        degraded_after: match degraded_after_ms {
            Some(ms) => Some(Duration::from_millis(ms)),
            None => None,
        },
        hold_down: Duration::from_millis(interval_ms),
        manual_resume: false,
    }
}

const FAST: Timing = timing(500, 400, 3, 2, None);
const USUAL: Timing = timing(1_000, 600, 2, 2, Some(250));
const STUBBORN: Timing = Timing { hold_down: Duration::from_secs(2), ..timing(1_000, 500, 3, 1, None) };

/// No limits, and no doubt.
pub(crate) fn limits_off() -> Safety {
    Safety { self_suspicion: SelfSuspicion { share: 1.0, ..SelfSuspicion::DEFAULT }, ..Safety::DEFAULT }
}

impl Site {
    /// Pools of so many endpoints each, spread evenly over the regions, without limits.
    pub(crate) fn new(regions: usize, pools: &[(Timing, usize)]) -> Self {
        let endpoints = (0..).zip(pools).flat_map(|(pool, (_, count))| {
            (0..*count).map(move |endpoint| Endpoint { pool, region: endpoint % regions })
        });
        Self {
            regions,
            endpoints: endpoints.collect(),
            pools: pools.iter().map(|(timing, _)| Pool { timing: *timing, min_healthy: 1 }).collect(),
            safety: limits_off(),
            canary: Timing::DEFAULT,
            canaries: 0,
        }
    }

    /// One of so many backends at most, with timings that real time can keep up with.
    pub(crate) fn real(kind: Kind, backends: usize) -> Self {
        let third = backends / 3;
        match kind {
            Kind::WithoutLimits => Self::new(4, &[(FAST, third), (USUAL, third), (STUBBORN, backends - third * 2)]),
            Kind::WithinLimits => Self {
                safety: Safety {
                    max_down_share: 0.6,
                    min_healthy_regions: 2,
                    max_changes_per_minute: Some(28),
                    ..limits_off()
                },
                ..Self::new(4, &[(FAST, third.min(40)), (USUAL, third.min(40))])
            },
            Kind::CutOff => {
                let timing = Timing { fall: 2, ..FAST };
                let mut site = Self::new(3, &[(timing, third.min(30)), (timing, third.min(30))]);
                site.canary = Timing { fall: 1, rise: 1, ..FAST };
                site.canaries = 1;
                site.safety.self_suspicion = SelfSuspicion {
                    share: 0.6,
                    window: Duration::from_secs(3),
                    at_most: Duration::from_secs(60),
                    ..SelfSuspicion::DEFAULT
                };
                site
            }
        }
    }

    /// Any small one.
    pub(crate) fn any(kind: Kind, rng: &mut Rng) -> Self {
        let interval = Duration::from_millis(rng.choice([100, 250, 1_000, 5_000, 10_000, 30_000]).unwrap_or(1_000));
        let regions = rng.usize(1..=4);
        let timing = |rng: &mut Rng| {
            let interval = interval.mul_f64(1.0 + rng.f64());
            let timeout = interval.mul_f64(0.2 + 0.7 * rng.f64());
            Timing {
                interval: milliseconds(interval),
                timeout: milliseconds(timeout),
                fall: rng.u8(1..=4),
                rise: rng.u8(1..=4),
                degraded_after: rng.bool().then(|| milliseconds(timeout.mul_f64(0.5))),
                hold_down: milliseconds(interval.mul_f64(rng.choice([0.0, 1.0, 1.0, 3.7]).unwrap_or_default())),
                manual_resume: false,
            }
        };
        let pools: Vec<(Timing, usize)> =
            (0..rng.usize(1..=3)).map(|_| (timing(rng), regions * rng.usize(1..=3) + rng.usize(..regions))).collect();
        let mut site = Self::new(regions, &pools);
        for (pool, (_, endpoints)) in site.pools.iter_mut().zip(&pools) {
            pool.min_healthy = rng.u16(1..=(endpoints / regions) as u16);
        }
        site.canary = Timing { fall: 1, rise: 1, ..timing(rng) };
        if kind == Kind::WithinLimits {
            site.safety = Safety {
                max_down_share: rng.choice([0.0, 0.25, 0.3, 0.5, 0.7, 1.0]).unwrap_or(1.0),
                min_healthy_regions: rng.u16(..=regions as u16),
                max_changes_per_minute: rng.bool().then(|| rng.u32(1..=10)),
                ..limits_off()
            };
        }
        if kind == Kind::CutOff || rng.u8(..4) == 0 {
            let window = site.slowest_notice().mul_f64(1.0 + rng.f64()).max(Duration::from_secs(1));
            site.safety.self_suspicion = SelfSuspicion {
                share: rng.choice([0.3, 0.5, 0.6, 0.7]).unwrap_or(0.7),
                window: milliseconds(window),
                least: rng.usize(2..=6),
                at_most: milliseconds(window.mul_f64(1.0 + 4.0 * rng.f64())),
                canaries: Vec::new(),
            };
            site.canaries = rng.usize(..=2);
        }
        site
    }

    /// The longest that any probe takes to notice what lasts.
    pub(crate) fn slowest_notice(&self) -> Duration {
        let timings = self.pools.iter().map(|pool| &pool.timing).chain([&self.canary]);
        timings.map(|timing| timing.interval * u32::from(timing.fall) + timing.timeout).max().unwrap_or_default()
    }

    pub(crate) fn backends(&self) -> usize {
        self.endpoints.len() + self.canaries
    }

    /// How a backend is probed.
    pub(crate) fn timing(&self, backend: usize) -> &Timing {
        self.endpoints.get(backend).map_or(&self.canary, |endpoint| &self.pools[endpoint.pool].timing)
    }

    /// How long a slow backend takes: longer than what is good, not as long as what fails.
    pub(crate) fn slow_after(&self, backend: usize) -> Duration {
        let timing = self.timing(backend);
        (timing.degraded_after.unwrap_or_default() + timing.timeout) / 2
    }

    pub(crate) fn address(&self, backend: usize) -> Ipv4Addr {
        Ipv4Addr::from_bits(FIRST_ADDRESS.to_bits() + backend as u32)
    }

    /// Whose address it is.
    pub(crate) fn backend(&self, address: IpAddr) -> Option<usize> {
        let IpAddr::V4(address) = address else { return None };
        let backend = address.to_bits().checked_sub(FIRST_ADDRESS.to_bits())? as usize;
        (backend < self.backends()).then_some(backend)
    }

    /// The pools of each service: each pool alone, and each with the next to fail over to.
    pub(crate) fn services(&self) -> Vec<Vec<usize>> {
        let count = self.pools.len();
        let over = (0..count).filter(|_| count > 1).map(|pool| vec![pool, (pool + 1) % count]);
        (0..count).map(|pool| vec![pool]).chain(over).collect()
    }

    /// The name of a service.
    pub(crate) fn service(&self, index: usize) -> String {
        format!("s{index}.chaos.example")
    }

    /// The endpoints of a service.
    pub(crate) fn endpoints_of(&self, pools: &[usize]) -> Vec<usize> {
        (0..self.endpoints.len()).filter(|endpoint| pools.contains(&self.endpoints[*endpoint].pool)).collect()
    }

    /// Its configuration, with backends on this port.
    pub(crate) fn toml(&self, port: u16) -> String {
        let mut text = "[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\n[admin]\nlisten = \"127.0.0.1:0\"\n\
                        [zones.\"chaos.example\"]\nnameservers = [\"ns.example.net\"]\n"
            .to_owned();
        for region in 0..self.regions {
            let _ = writeln!(text, "[regions.r{region}]\nlocation = [0, {region}]");
        }
        let Safety { max_down_share, min_healthy_regions, max_changes_per_minute, self_suspicion, .. } = &self.safety;
        let SelfSuspicion { share, window, least, at_most, .. } = self_suspicion;
        let _ = writeln!(
            text,
            "[safety]\nmax_down_share = {max_down_share:?}\nmin_healthy_regions = {min_healthy_regions}"
        );
        let _ = max_changes_per_minute.map_or(Ok(()), |most| writeln!(text, "max_changes_per_minute = {most}"));
        let (window, at_most) = (window.as_millis(), at_most.as_millis());
        let _ = writeln!(
            text,
            "[safety.self_suspicion]\nshare = {share:?}\nwindow = \"{window}ms\"\nleast = {least}\nat_most = \"{at_most}ms\"",
        );
        if self.canaries > 0 {
            let canaries = (self.endpoints.len()..self.backends())
                .map(|canary| format!("{{ probe = \"canary\", address = \"{}\" }}", self.address(canary)));
            let _ = writeln!(text, "canaries = [{}]", canaries.collect::<Vec<_>>().join(", "));
            text += &probe("canary", port, &self.canary);
        }
        for (index, Pool { timing, min_healthy }) in self.pools.iter().enumerate() {
            text += &probe(&format!("p{index}"), port, timing);
            let endpoints = self.endpoints.iter().enumerate().filter(|(_, endpoint)| endpoint.pool == index);
            let endpoints = endpoints.map(|(backend, endpoint)| {
                format!("{{ region = \"r{}\", address = \"{}\" }}", endpoint.region, self.address(backend))
            });
            let _ = writeln!(
                text,
                "[pools.p{index}]\nprobe = \"p{index}\"\nmin_healthy = {min_healthy}\nendpoints = [\n{}\n]",
                endpoints.collect::<Vec<_>>().join(",\n")
            );
        }
        for (index, pools) in self.services().iter().enumerate() {
            let _ = writeln!(
                text,
                "[services.\"{}\"]\npool = \"p{}\"\nanswers = {ANSWERS}\nsteering = \"weighted\"\nsticky = false",
                self.service(index),
                pools[0]
            );
            let _ = pools.get(1).map_or(Ok(()), |next| writeln!(text, "failover = [\"p{next}\"]"));
        }
        text
    }
}

/// Nothing else here has one of those that follow it.
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 1);

fn milliseconds(time: Duration) -> Duration {
    Duration::from_millis(time.as_millis() as u64)
}

fn probe(name: &str, port: u16, timing: &Timing) -> String {
    let Timing { interval, timeout, fall, rise, degraded_after, hold_down, .. } = timing;
    let mut text = format!("[probes.{name}]\ntype = \"http\"\nport = {port}\nfall = {fall}\nrise = {rise}\n");
    let times = [("interval", Some(interval)), ("timeout", Some(timeout)), ("hold_down", Some(hold_down))];
    for (key, time) in times.into_iter().chain([("degraded_after", degraded_after.as_ref())]) {
        let _ = time.map_or(Ok(()), |time| writeln!(text, "{key} = \"{}ms\"", time.as_millis()));
    }
    text
}
