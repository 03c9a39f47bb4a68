//! What is played, in real and in simulated time: a site, what befalls it, and what must be seen of that.

use std::time::Duration;

use fastrand::Rng;
use meridian::config::SelfSuspicion;
use meridian::health::guard::Held;
use meridian::health::overrides::Word;

use crate::log::Shown;
use crate::script::{Act, End, Script, Span, State};
use crate::site::Site;

/// What a scenario is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Regions and pools die, and nothing limits what is taken away for that.
    WithoutLimits,
    /// `[safety]` does.
    WithinLimits,
    /// Nearly all dies three times: with the canaries, while those answer, and with ones that come back sooner than the rest.
    CutOff,
    /// Operators have their say, and some of what is down waits for it.
    Operated,
}

/// A site and what befalls it.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) kind: Kind,
    pub(crate) site: Site,
    pub(crate) script: Script,
}

/// What a server stored before two restarts with no time to store anything between them is not to be too old for it.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// When nearly all dies and when it returns, as parts of the length, and when the canaries do, which answer the second time.
const CUTS: [(f64, f64, Option<f64>); 3] = [(0.12, 0.27, Some(0.27)), (0.42, 0.54, None), (0.7, 1.5, Some(0.77))];

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::WithoutLimits, Self::WithinLimits, Self::CutOff, Self::Operated];

    /// What has to be seen, for a large site of this kind to show anything.
    pub(crate) fn shows(self) -> &'static [Shown] {
        match self {
            Self::WithoutLimits => &[],
            Self::WithinLimits => &[Shown::Held(Held::Regions), Shown::Held(Held::ChangesPerMinute)],
            Self::CutOff => &[Shown::RestartInDoubt],
            Self::Operated => &[Shown::Held(Held::PoolShare)],
        }
    }
}

impl Scenario {
    /// One with so many backends, at most, that real time can keep up with it.
    pub(crate) fn real(kind: Kind, seed: u64, length: Duration, backends: usize) -> Self {
        Self::new(kind, Site::real(kind, backends), length, &mut Rng::with_seed(seed))
    }

    /// Any one with a small site, for as long as all of it takes to notice ten times over.
    pub(crate) fn any(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let kind = rng.choice(Kind::ALL).unwrap_or(Kind::WithoutLimits);
        let site = Site::any(kind, &mut rng);
        let length = site.slowest_notice() * 10;
        Self::new(kind, site, length, &mut rng)
    }

    /// With reloads now and then, and with restarts.
    fn new(kind: Kind, site: Site, length: Duration, rng: &mut Rng) -> Self {
        let mut script = match kind {
            Kind::WithoutLimits => without_limits(&site, length, rng),
            Kind::WithinLimits => within_limits(&site, length, rng),
            Kind::CutOff => cut_off(&site, length, rng),
            Kind::Operated => operated(&site, length, rng),
        };
        while rng.u8(..4) == 0 {
            script.act(length.mul_f64(rng.f64()), Act::Reload);
        }
        // Apart, so that each is started for long enough to show what it knows.
        for (from, cut) in [(0.1, CUTS[0]), (0.55, CUTS[2])].into_iter().take(rng.usize(1..=2)) {
            let end = if site.is_doubtful() || rng.bool() { End::Ordered } else { End::Killed };
            let pause = length.mul_f64(0.05 * rng.f64()).min(LONGEST_PAUSE);
            let at = match kind {
                // When all probes have noticed, it doubts itself.
                Kind::CutOff => {
                    let SelfSuspicion { window, .. } = site.safety.self_suspicion;
                    length.mul_f64(cut.0) + site.slowest_notice().mul_f64(1.15) + window.mul_f64(0.5 * rng.f64())
                }
                _ => length.mul_f64(from + 0.35 * rng.f64()),
            };
            script.act(at, Act::Restart { end, pause });
        }
        Self { kind, site, script }
    }
}

/// A part of a script, as parts of its length.
fn part(length: Duration, from: f64, until: f64) -> Span {
    Span { from: length.mul_f64(from), until: length.mul_f64(until) }
}

/// A region of a pool dies at once, and later a whole pool.
fn without_limits(site: &Site, length: Duration, rng: &mut Rng) -> Script {
    let mut script = any(site, length, rng);
    let (pool, last) = (1 % site.pools.len(), site.pools.len() - 1);
    let is_second = |endpoint: &usize| site.endpoints[*endpoint].region == 1 % site.regions;
    let blink = site.timing(0).interval / 10;
    let of_region = site.endpoints_of(&[pool]).into_iter().filter(is_second);
    script.strike(rng, machines(site, of_region), part(length, 0.3, 0.55), blink, State::Refusing);
    script.strike(rng, machines(site, site.endpoints_of(&[last])), part(length, 0.5, 0.75), blink, State::Hanging);
    script
}

/// Three quarters of the regions of a pool die for long, and of another as much.
fn within_limits(site: &Site, length: Duration, rng: &mut Rng) -> Script {
    let mut script = any(site, length, rng);
    let spread = site.timing(0).interval.mul_f64(0.6);
    let of = |pool| {
        let of_first = |endpoint: &usize| site.endpoints[*endpoint].region * 4 < site.regions * 3;
        machines(site, site.endpoints_of(&[pool]).into_iter().filter(of_first))
    };
    script.strike(rng, of(0), part(length, 0.15, 0.75), spread, State::Refusing);
    script.strike(rng, of(1 % site.pools.len()), part(length, 0.35, 0.8), spread, State::Failing);
    script
}

fn cut_off(site: &Site, length: Duration, rng: &mut Rng) -> Script {
    let mut script = Script::quiet(site, length);
    let spread = site.timing(0).interval.mul_f64(0.4);
    for (from, until, canaries_until) in CUTS {
        let mut most: Vec<usize> = (0..site.endpoints.len()).collect();
        rng.shuffle(&mut most);
        most.truncate(most.len() * 4 / 5);
        let state = if rng.bool() { State::Hanging } else { State::Refusing };
        let span = part(length, from, until);
        script.strike(rng, most, span, spread, state);
        if let Some(until) = canaries_until {
            // So soon that it is known as the others fall.
            let from = span.from.saturating_sub(site.canary.interval + site.canary.timeout);
            let span = Span { from, until: length.mul_f64(until) };
            script.strike(rng, site.canaries(), span, Duration::ZERO, state);
        }
    }
    script
}

/// Half of the endpoints of each pool get a word that ends, most of the first pool die, and pools are resumed now and then.
fn operated(site: &Site, length: Duration, rng: &mut Rng) -> Script {
    let mut script = any(site, length, rng);
    let spread = site.timing(0).interval.mul_f64(0.6);
    let mut most = machines(site, site.endpoints_of(&[0]));
    most.truncate(most.len() * 4 / 5);
    script.strike(rng, most, part(length, 0.3, 0.6), spread, State::Refusing);
    for pool in 0..site.pools.len() {
        let mut some = site.endpoints_of(&[pool]);
        rng.shuffle(&mut some);
        some.truncate(some.len() / 2);
        for endpoint in some {
            let word = rng.choice(Word::ALL).unwrap_or(Word::Down);
            let seconds = length.mul_f64(0.1 + 0.3 * rng.f64()).as_secs().max(2);
            script.act(length.mul_f64(0.7 * rng.f64()), Act::Say { endpoint, word, seconds });
        }
        for _ in 0..rng.u8(1..=3) {
            script.act(length.mul_f64(rng.f64()), Act::Resume { pool });
        }
    }
    script
}

/// All on which these endpoints depend.
fn machines(site: &Site, endpoints: impl IntoIterator<Item = usize>) -> Vec<usize> {
    endpoints.into_iter().flat_map(|endpoint| site.inputs(endpoint)).collect()
}

/// Stories by chance, and now and then much that dies at once.
fn any(site: &Site, length: Duration, rng: &mut Rng) -> Script {
    let mut script = Script::random(rng, site, length);
    while rng.u8(..3) > 0 {
        let from = length.mul_f64(rng.f64());
        let span = Span { from, until: from + length.mul_f64(0.3 * rng.f64()) };
        let state = rng.choice([State::Refusing, State::Hanging, State::Failing, State::Slow]).unwrap_or(State::Slow);
        let (pool, region, part) = (rng.usize(..site.pools.len()), rng.usize(..site.regions), rng.f64());
        let kind = rng.u8(..3);
        let mut struck: Vec<usize> = (0..site.backends()).collect();
        struck.retain(|backend| match (kind, site.owner(*backend).map(|owner| &site.endpoints[owner])) {
            (0, endpoint) => endpoint.is_some_and(|endpoint| endpoint.pool == pool && endpoint.region == region),
            (1, endpoint) => endpoint.is_some_and(|endpoint| endpoint.pool == pool),
            (_, Some(_)) => rng.f64() < 0.6 + 0.4 * part,
            (_, None) => rng.bool(),
        });
        let spread = site.timing(0).interval.mul_f64(rng.f64());
        script.strike(rng, struck, span, spread, state);
    }
    script
}
