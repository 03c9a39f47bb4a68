//! What is probed, how, and within which limits; and its configuration.

use std::fmt::Write;
use std::iter;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::time::Duration;

use fastrand::Rng;
use meridian::config::{Breaker, Safety, SelfSuspicion, Timing};

use crate::scenario::Kind;

/// Pools, their endpoints, and canaries. Backends are numbered: first the endpoints, then the canaries, then what endpoints depend
/// on beside that: the same address at further ports.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) regions: usize,
    pub(crate) pools: Vec<Pool>,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) safety: Safety,
    /// How canaries are probed, and how many there are.
    pub(crate) canary: Timing,
    pub(crate) canaries: usize,
    /// Whose the further backends are.
    further: Vec<usize>,
}

#[derive(Debug, Clone)]
pub(crate) struct Pool {
    pub(crate) timing: Timing,
    pub(crate) min_healthy: u16,
    /// How many inputs the health of its endpoints has, and how many of them have to serve.
    pub(crate) inputs: usize,
    pub(crate) required: usize,
    /// Where it has any, inputs are one, and nothing limits what is taken away.
    pub(crate) breaker: Option<Breaker>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Endpoint {
    pub(crate) pool: usize,
    pub(crate) region: usize,
    /// The first of its further backends, among all of those.
    first_further: usize,
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

const SECOND: Duration = Duration::from_secs(1);

/// Opened by failures in a row alone.
fn breaker(failures: u32, open_for: Duration, successes: u32) -> Breaker {
    Breaker { failures, open_for, successes, error_rate: 1.0, min_reports: 1_000_000, ..Breaker::DEFAULT }
}

/// No limits, and no doubt.
pub(crate) fn limits_off() -> Safety {
    Safety { self_suspicion: SelfSuspicion { share: 1.0, ..SelfSuspicion::DEFAULT }, ..Safety::DEFAULT }
}

impl Site {
    /// Pools of so many endpoints each, spread evenly over the regions, without limits.
    pub(crate) fn new(regions: usize, pools: &[(Timing, usize)]) -> Self {
        let endpoints = (0..).zip(pools).flat_map(|(pool, (_, count))| {
            (0..*count).map(move |endpoint| Endpoint { pool, region: endpoint % regions, first_further: 0 })
        });
        Self {
            regions,
            endpoints: endpoints.collect(),
            pools: pools
                .iter()
                .map(|(timing, _)| Pool { timing: *timing, min_healthy: 1, inputs: 1, required: 1, breaker: None })
                .collect(),
            safety: limits_off(),
            canary: Timing::DEFAULT,
            canaries: 0,
            further: Vec::new(),
        }
    }

    /// Lets the health of a pool's endpoints have so many inputs, of which so many have to serve.
    pub(crate) fn depend(&mut self, pool: usize, inputs: usize, required: usize) {
        (self.pools[pool].inputs, self.pools[pool].required) = (inputs, required);
        for (index, endpoint) in self.endpoints.iter_mut().enumerate().filter(|(_, endpoint)| endpoint.pool == pool) {
            endpoint.first_further = self.further.len();
            self.further.extend((1..inputs).map(|_| index));
        }
    }

    /// One of so many backends at most, with timings that real time can keep up with.
    pub(crate) fn real(kind: Kind, backends: usize) -> Self {
        let third = backends / 3;
        match kind {
            Kind::WithoutLimits => {
                let mut site = Self::new(4, &[(FAST, third), (USUAL, third), (STUBBORN, backends - third * 2)]);
                // One that opens before the probe says that all is down, and one that opens after.
                site.pools[0].breaker = Some(breaker(2, SECOND * 2, 1));
                site.pools[1].breaker = Some(breaker(4, SECOND, 2));
                site
            }
            Kind::WithinLimits => {
                let count = third.min(40);
                let mut site = Self::new(4, &[(FAST, count), (USUAL, count)]);
                site.safety = Safety {
                    max_down_share: 0.6,
                    min_healthy_regions: 2,
                    max_changes_per_minute: Some(count as u32 * 7 / 8),
                    ..limits_off()
                };
                // So that it can't do without more than two of its four regions, of which any that lacks one can't serve.
                site.pools[1].min_healthy = (count / 4) as u16;
                site
            }
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
            Kind::Operated => {
                let at_once = Timing { hold_down: Duration::ZERO, ..FAST };
                let by_hand = Timing { manual_resume: true, ..FAST };
                let count = (backends / 12).min(24);
                let mut site = Self::new(3, &[(at_once, count), (by_hand, count), (at_once, count)]);
                site.safety.max_down_share = 0.5;
                site.depend(2, 3, 2);
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
        if kind == Kind::Operated {
            site.safety.max_down_share = rng.choice([0.0, 0.3, 0.5, 1.0]).unwrap_or(1.0);
        }
        if kind == Kind::WithinLimits {
            site.safety = Safety {
                max_down_share: rng.choice([0.0, 0.25, 0.3, 0.5, 0.7, 1.0]).unwrap_or(1.0),
                min_healthy_regions: rng.u16(..=regions as u16),
                max_changes_per_minute: rng.bool().then(|| rng.u32(1..=10)),
                ..limits_off()
            };
        }
        if kind == Kind::CutOff || kind != Kind::Operated && rng.u8(..4) == 0 {
            let window = site.slowest_notice().mul_f64(1.0 + rng.f64()).max(Duration::from_secs(1));
            site.safety.self_suspicion = SelfSuspicion {
                share: rng.choice([0.3, 0.5, 0.6, 0.7]).unwrap_or(0.7),
                window: milliseconds(window),
                least: rng.usize(2..=6),
                at_most: milliseconds(window.mul_f64(1.0 + 4.0 * rng.f64())),
                canaries: Vec::new(),
            };
            site.canaries = rng.usize(..=2);
        } else {
            for pool in 0..site.pools.len() {
                site.pools[pool].timing.manual_resume = kind == Kind::Operated && rng.bool();
                if kind == Kind::WithoutLimits && rng.bool() {
                    let open_for = milliseconds(interval.mul_f64(5.0 * rng.f64()).max(SECOND));
                    site.pools[pool].breaker = Some(breaker(rng.u32(1..=5), open_for, rng.u32(1..=3)));
                } else if rng.u8(..4) == 0 {
                    let inputs = rng.usize(2..=4);
                    site.depend(pool, inputs, rng.usize(1..=inputs));
                }
            }
        }
        site
    }

    /// The longest that any probe takes to notice what lasts.
    pub(crate) fn slowest_notice(&self) -> Duration {
        let timings = self.pools.iter().map(|pool| &pool.timing).chain([&self.canary]);
        timings.map(|timing| timing.interval * u32::from(timing.fall) + timing.timeout).max().unwrap_or_default()
    }

    pub(crate) fn backends(&self) -> usize {
        self.first_further() + self.further.len()
    }

    pub(crate) fn canaries(&self) -> Range<usize> {
        self.endpoints.len()..self.first_further()
    }

    /// All backends but the canaries.
    pub(crate) fn targets(&self) -> impl Iterator<Item = usize> {
        (0..self.endpoints.len()).chain(self.first_further()..self.backends())
    }

    fn first_further(&self) -> usize {
        self.endpoints.len() + self.canaries
    }

    /// Whose input a backend is; nobody's is a canary.
    pub(crate) fn owner(&self, backend: usize) -> Option<usize> {
        match backend.checked_sub(self.first_further()) {
            Some(further) => Some(self.further[further]),
            None => (backend < self.endpoints.len()).then_some(backend),
        }
    }

    /// The backends on which an endpoint depends.
    pub(crate) fn inputs(&self, endpoint: usize) -> impl Iterator<Item = usize> + use<> {
        let Endpoint { pool, first_further, .. } = self.endpoints[endpoint];
        let first = self.first_further() + first_further;
        iter::once(endpoint).chain(first..first + self.pools[pool].inputs - 1)
    }

    /// Whether the server may come to doubt itself.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.safety.self_suspicion.share < 1.0
    }

    /// How a backend is probed.
    pub(crate) fn timing(&self, backend: usize) -> &Timing {
        let pool = |endpoint: usize| &self.pools[self.endpoints[endpoint].pool];
        self.owner(backend).map_or(&self.canary, |endpoint| &pool(endpoint).timing)
    }

    /// How long a slow backend takes: longer than what is good, not as long as what fails.
    pub(crate) fn slow_after(&self, backend: usize) -> Duration {
        let timing = self.timing(backend);
        (timing.degraded_after.unwrap_or_default() + timing.timeout) / 2
    }

    pub(crate) fn address(&self, backend: usize) -> Ipv4Addr {
        Ipv4Addr::from_bits(FIRST_ADDRESS.to_bits() + self.owner(backend).unwrap_or(backend) as u32)
    }

    /// By how much a backend's port is beyond the first.
    pub(crate) fn port_offset(&self, backend: usize) -> u16 {
        let place = self.owner(backend).and_then(|owner| self.inputs(owner).position(|input| input == backend));
        place.unwrap_or_default() as u16
    }

    /// Whose address it is: an endpoint's, or a canary's.
    pub(crate) fn backend(&self, address: IpAddr) -> Option<usize> {
        let IpAddr::V4(address) = address else { return None };
        let backend = address.to_bits().checked_sub(FIRST_ADDRESS.to_bits())? as usize;
        (backend < self.first_further()).then_some(backend)
    }

    /// What an operator calls an endpoint.
    pub(crate) fn subject(&self, endpoint: usize) -> String {
        let Endpoint { pool, region, .. } = self.endpoints[endpoint];
        format!("endpoint/p{pool}/r{region}/{}", self.address(endpoint))
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

    /// Its configuration, with backends from this port on. The server itself has it too, so that it comes back to where it was.
    pub(crate) fn toml(&self, port: u16) -> String {
        let mut text = format!(
            "[server]\nlisten = [\"{DNS_ADDRESS}:{port}\"]\nworkers = 1\nstate_dir = \"{STATE_FOLDER}\"\n\
             [admin]\nlisten = \"{ADMIN_ADDRESS}:{port}\"\ntoken_file = \"{TOKEN_FILE}\"\n\
             [zones.\"chaos.example\"]\nnameservers = [\"ns.example.net\"]\n"
        );
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
            let canaries = self
                .canaries()
                .map(|canary| format!("{{ probe = \"canary\", address = \"{}\" }}", self.address(canary)));
            let _ = writeln!(text, "canaries = [{}]", canaries.collect::<Vec<_>>().join(", "));
            text += &probe("canary", port, &self.canary);
        }
        for (index, Pool { timing, min_healthy, inputs, required, breaker }) in self.pools.iter().enumerate() {
            let names: Vec<String> = (0..*inputs).map(|input| format!("p{index}-{input}")).collect();
            text.extend((port..).zip(&names).map(|(port, name)| probe(name, port, timing)));
            let health: Vec<String> = names.iter().map(|name| format!("{{ probe = \"{name}\" }}")).collect();
            let endpoints = self.endpoints.iter().enumerate().filter(|(_, endpoint)| endpoint.pool == index);
            let endpoints = endpoints.map(|(backend, endpoint)| {
                format!("{{ region = \"r{}\", address = \"{}\" }}", endpoint.region, self.address(backend))
            });
            let _ = writeln!(
                text,
                "[pools.p{index}]\nhealth = [{}]\nrequire = {required}\nmin_healthy = {min_healthy}\nendpoints = [\n{}\n]",
                health.join(", "),
                endpoints.collect::<Vec<_>>().join(",\n")
            );
            if let Some(Breaker { failures, error_rate, min_reports, open_for, successes, .. }) = breaker {
                let open_for = open_for.as_millis();
                let _ = writeln!(
                    text,
                    "breaker = {{ failures = {failures}, error_rate = {error_rate:?}, min_reports = {min_reports}, \
                     open_for = \"{open_for}ms\", successes = {successes} }}"
                );
            }
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
/// Where the server serves.
const DNS_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 78, 0, 1);
const ADMIN_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 78, 0, 2);
/// Beside the configuration.
pub(crate) const STATE_FOLDER: &str = "state";
pub(crate) const TOKEN_FILE: &str = "token";

fn milliseconds(time: Duration) -> Duration {
    Duration::from_millis(time.as_millis() as u64)
}

fn probe(name: &str, port: u16, timing: &Timing) -> String {
    let Timing { interval, timeout, fall, rise, degraded_after, hold_down, manual_resume } = timing;
    let mut text = format!(
        "[probes.{name}]\ntype = \"http\"\nport = {port}\nfall = {fall}\nrise = {rise}\nmanual_resume = {manual_resume}\n"
    );
    let times = [("interval", Some(interval)), ("timeout", Some(timeout)), ("hold_down", Some(hold_down))];
    for (key, time) in times.into_iter().chain([("degraded_after", degraded_after.as_ref())]) {
        let _ = time.map_or(Ok(()), |time| writeln!(text, "{key} = \"{}ms\"", time.as_millis()));
    }
    text
}
