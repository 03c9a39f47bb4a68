//! What befalls each backend and when: data, made from a seed.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use meridian::config::Timing;
use meridian::health::overrides::Word;

use crate::site::Site;

/// What a backend does with whoever connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It answers at once.
    Serving,
    /// It answers, but only after [`Site::slow_after`].
    Slow,
    /// It answers at once with an error.
    Failing,
    /// It is dead: nobody listens.
    Refusing,
    /// It accepts and says nothing.
    Hanging,
}

impl State {
    /// All in which it doesn't serve.
    const TROUBLES: [Self; 3] = [Self::Failing, Self::Refusing, Self::Hanging];
}

/// From one moment to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: Duration,
    pub(crate) until: Duration,
}

/// The states of one backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Story {
    /// The first at zero, the others later, each another state than the one before.
    turns: Vec<(Duration, State)>,
}

/// What is done with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Act {
    /// An operator says so of an endpoint, for so many seconds.
    Say { endpoint: usize, word: Word, seconds: u64 },
    /// An operator lets all of a pool come up.
    Resume { pool: usize },
    /// Its configuration is read again.
    Reload,
    /// It is ended, and started again after that.
    Restart { end: End, pause: Duration },
}

/// How a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// In order, so that it stores what it knows.
    Ordered,
    /// At once: what it knows since it stored that last is lost.
    Killed,
}

/// The stories of all backends, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Script {
    pub(crate) stories: Vec<Story>,
    /// What is done and when, the soonest first.
    pub(crate) acts: Vec<(Duration, Act)>,
    /// When it ends.
    pub(crate) length: Duration,
}

impl Story {
    /// Always the same.
    pub(crate) fn steady(state: State) -> Self {
        Self { turns: vec![(Duration::ZERO, state)] }
    }

    /// The states and when they begin.
    pub(crate) fn turns(&self) -> &[(Duration, State)] {
        &self.turns
    }

    fn state(&self, at: Duration) -> State {
        self.turns[self.turns.partition_point(|(from, _)| *from <= at) - 1].1
    }

    /// The state at a moment, and when the next one begins, if any does.
    pub(crate) fn now_and_next(&self, at: Duration) -> (State, Option<Duration>) {
        (self.state(at), self.turns.iter().map(|(from, _)| *from).find(|from| *from > at))
    }

    /// The longest spans up to `end` in all of which it is in such a state.
    pub(crate) fn spans(&self, end: Duration, is: impl Fn(State) -> bool) -> Vec<Span> {
        let ends = self.turns.iter().skip(1).map(|(from, _)| *from).chain([end]);
        let mut spans: Vec<Span> = Vec::new();
        for ((from, _), until) in self.turns.iter().zip(ends).filter(|((_, state), _)| is(*state)) {
            match spans.last_mut() {
                Some(last) if last.until == *from => last.until = until,
                _ => spans.push(Span { from: *from, until }),
            }
        }
        spans
    }

    /// Puts it into that state within the span, whatever it was to do there.
    pub(crate) fn strike(&mut self, span: Span, state: State) {
        let after = self.state(span.until);
        let rest = self.turns.iter().copied().filter(|(from, _)| *from > span.until);
        let mut turns: Vec<_> = self.turns.iter().copied().filter(|(from, _)| *from < span.from).collect();
        turns.extend([(span.from, state), (span.until, after)]);
        turns.extend(rest);
        turns.dedup_by_key(|(_, state)| *state);
        self.turns = turns;
    }

    /// One that dies, hangs, slows down, flaps and returns by chance; of some nothing ever comes. The times are of the order of those
    /// that its probe takes to notice, so that some troubles are too short for it.
    fn random(rng: &mut Rng, interval: Duration, fall: u8, length: Duration) -> Self {
        let mut story = Self::steady(State::Serving);
        if rng.u8(..10) < 4 {
            return story;
        }
        let trouble = |rng: &mut Rng| rng.choice(State::TROUBLES).unwrap_or(State::Refusing);
        let notice = interval * u32::from(fall + 1);
        let mut at = if rng.u8(..8) == 0 { Duration::ZERO } else { notice.mul_f64(3.0 * rng.f64()) };
        while at < length {
            let lasting = notice.mul_f64(0.1 * 60_f64.powf(rng.f64()));
            let state = trouble(rng);
            match rng.u8(..6) {
                0 => {
                    let period = interval.mul_f64(0.3 + 3.0 * rng.f64());
                    let end = (at + lasting * 2).min(length);
                    while at < end {
                        story.strike(Span { from: at, until: at + period.mul_f64(0.2 + 0.6 * rng.f64()) }, state);
                        at += period;
                    }
                }
                1 => story.strike(Span { from: at, until: at + lasting }, State::Slow),
                // From one trouble into the next.
                2 => {
                    story.strike(Span { from: at, until: at + lasting }, state);
                    at += lasting;
                    let next = if rng.bool() { State::Slow } else { trouble(rng) };
                    story.strike(Span { from: at, until: at + lasting }, next);
                }
                _ => story.strike(Span { from: at, until: at + lasting }, state),
            }
            at += lasting + notice.mul_f64(0.2 + 4.0 * rng.f64());
        }
        story
    }
}

impl End {
    pub(crate) const ALL: [Self; 2] = [Self::Ordered, Self::Killed];
}

impl Script {
    /// Nothing befalls anyone.
    pub(crate) fn quiet(site: &Site, length: Duration) -> Self {
        Self { stories: vec![Story::steady(State::Serving); site.backends()], acts: Vec::new(), length }
    }

    /// Stories of all backends of a site; canaries are well.
    pub(crate) fn random(rng: &mut Rng, site: &Site, length: Duration) -> Self {
        let mut script = Self::quiet(site, length);
        for target in site.targets() {
            let Timing { interval, fall, .. } = *site.timing(target);
            script.stories[target] = Story::random(rng, interval, fall, length);
        }
        script
    }

    /// Puts these backends into that state within the span; a bit sooner or later each, by up to `spread`.
    pub(crate) fn strike(
        &mut self,
        rng: &mut Rng,
        backends: impl IntoIterator<Item = usize>,
        span: Span,
        spread: Duration,
        state: State,
    ) {
        for backend in backends {
            let from = span.from + spread.mul_f64(rng.f64());
            let until = (span.until + spread.mul_f64(rng.f64())).max(from + Duration::from_millis(1));
            self.stories[backend].strike(Span { from, until }, state);
        }
    }

    /// Has that done then.
    pub(crate) fn act(&mut self, at: Duration, act: Act) {
        let index = self.acts.partition_point(|(before, _)| *before <= at);
        self.acts.insert(index, (at, act));
    }
}

/// `serving, 3.200 refusing, 8.000 serving`
impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (at, state)) in self.turns.iter().enumerate() {
            let name = format!("{state:?}").to_lowercase();
            if index == 0 {
                f.write_str(&name)?;
            } else {
                write!(f, ", {:.3} {name}", at.as_secs_f64())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn struck(strikes: &[(u32, u32, State)]) -> Story {
        let mut story = Story::steady(State::Serving);
        for (from, until, state) in strikes {
            story.strike(Span { from: SECOND * *from, until: SECOND * *until }, *state);
        }
        story
    }

    #[test]
    fn strikes_replace_what_was_to_happen() {
        for (strikes, expected) in [
            (&[(2, 5, State::Hanging)][..], "serving, 2.000 hanging, 5.000 serving"),
            (&[(0, 5, State::Hanging)], "hanging, 5.000 serving"),
            (
                &[(2, 5, State::Hanging), (3, 4, State::Slow)],
                "serving, 2.000 hanging, 3.000 slow, 4.000 hanging, 5.000 serving",
            ),
            (&[(3, 4, State::Slow), (2, 5, State::Hanging)], "serving, 2.000 hanging, 5.000 serving"),
            (&[(2, 5, State::Hanging), (4, 6, State::Hanging)], "serving, 2.000 hanging, 6.000 serving"),
            (&[(2, 5, State::Hanging), (5, 6, State::Slow)], "serving, 2.000 hanging, 5.000 slow, 6.000 serving"),
        ] {
            assert_eq!(struck(strikes).to_string(), expected);
        }
    }

    #[test]
    fn spans_are_the_longest() {
        let story = struck(&[(2, 5, State::Hanging), (5, 6, State::Refusing), (8, 9, State::Slow)]);
        let dead = |state| matches!(state, State::Hanging | State::Refusing);
        assert_eq!(story.spans(SECOND * 10, dead), [Span { from: SECOND * 2, until: SECOND * 6 }]);
        let serves = story.spans(SECOND * 10, |state| !dead(state));
        assert_eq!(serves, [(0, 2), (6, 10)].map(|(from, until)| Span { from: SECOND * from, until: SECOND * until }));
        assert_eq!(story.now_and_next(SECOND * 5), (State::Refusing, Some(SECOND * 6)));
        assert_eq!(story.now_and_next(SECOND * 9), (State::Serving, None));
    }
}
