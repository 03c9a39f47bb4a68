//! Wrong logs, each told by its rule.

use std::collections::BTreeSet;
use std::time::Duration;

use meridian::config::{Breaker, Safety, SelfSuspicion, Timing};
use meridian::health::Verdict;
use meridian::health::breaker::State;
use meridian::health::guard::Held;
use meridian::health::overrides::Word;

use super::{Rule, check};
use crate::log::{Log, Sample, Seen};
use crate::script::{self, Act, End, Script, Span, Story};
use crate::site::{Site, limits_off};

const SLACK: Duration = Duration::from_millis(100);
const LENGTH: u64 = 400;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Endpoints 0 to 3 in two regions, turn about, and a canary.
fn site(safety: Safety) -> Site {
    let timing = Timing {
        interval: seconds(10),
        timeout: seconds(2),
        fall: 3,
        rise: 2,
        degraded_after: Some(seconds(1)),
        hold_down: seconds(20),
        manual_resume: false,
    };
    let mut site = Site::new(2, &[(timing, 4)]);
    site.canary = Timing { fall: 1, rise: 1, ..timing };
    site.canaries = 1;
    site.safety = safety;
    site
}

/// `0 refusing 50 100`: that backend, within these seconds.
fn script(strikes: &[&str]) -> Script {
    let mut stories = vec![Story::steady(script::State::Serving); 9];
    for strike in strikes {
        let [backend, state, from, until] = strike.split(' ').collect::<Vec<_>>()[..] else { panic!("{strike}") };
        let state = match state {
            "slow" => script::State::Slow,
            "failing" => script::State::Failing,
            "hanging" => script::State::Hanging,
            _ => script::State::Refusing,
        };
        let [from, until] = [from, until].map(|at| seconds(at.parse().unwrap()));
        stories[backend.parse::<usize>().unwrap()].strike(Span { from, until }, state);
    }
    Script { stories, acts: Vec::new(), length: seconds(LENGTH) }
}

fn note(log: &mut Log, endpoint: usize, at: u64, seen: Seen) {
    log.note(endpoint, seconds(at), seen, [(endpoint, seen.found())]);
}

/// `0 75 down`: so it was seen of that endpoint from that second on; held for what is no verdict, up for a state of its breaker, and with
/// the word of an operator behind it. All are up from the fourth second on, and asked for once per second: the answer is all that serve, or all.
fn log(changes: &[&str]) -> Log {
    let mut log = Log::new(&site(limits_off()));
    (0..4).for_each(|endpoint| note(&mut log, endpoint, 4, Seen { verdict: Verdict::Up, ..Seen::UNKNOWN }));
    for change in changes {
        let [endpoint, at, what, ref words @ ..] = change.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{change}")
        };
        let word = words.first().and_then(|name| Word::ALL.into_iter().find(|word| word.name() == *name));
        let verdict = Verdict::ALL.into_iter().find(|verdict| verdict.name() == what);
        let held = Held::ALL.into_iter().find(|held| held.name() == what);
        let breaker = State::ALL.into_iter().find(|state| state.name() == what);
        let other = if breaker.is_some() { Verdict::Up } else { Verdict::Degraded };
        let seen = Seen { verdict: verdict.unwrap_or(other), held, word, breaker: breaker.unwrap_or(State::Closed) };
        note(&mut log, endpoint.parse().unwrap(), at.parse().unwrap(), seen);
    }
    log.end = seconds(LENGTH);
    for second in 0..LENGTH {
        let asked = seconds(second) + Duration::from_millis(500);
        let seen = |endpoint: &usize| log.endpoints[*endpoint].at(asked);
        let serves = |endpoint: &usize| seen(endpoint).serves();
        let serving: Vec<usize> = (0..4).filter(serves).collect();
        let says = Ok(if serving.is_empty() { (0..4).collect() } else { serving });
        log.samples.push(Sample { asked, answered: asked, service: 0, says });
    }
    log
}

fn rules(safety: Safety, strikes: &[&str], changes: &[&str]) -> BTreeSet<Rule> {
    told(&site(safety), strikes, &log(changes))
}

fn told(site: &Site, strikes: &[&str], log: &Log) -> BTreeSet<Rule> {
    check(site, &script(strikes), SLACK, log).iter().map(|violation| violation.rule).collect()
}

#[test]
fn verdicts_that_are_late_or_false_are_told() {
    use Rule::{
        AnsweredDead, FalseVerdict, FoundDownLate, FoundSlowLate, FoundUpLate, FoundWellLate, NothingFound, UpTooSoon,
    };
    let dead: &[&str] = &["0 refusing 50 100"];
    let twice: &[&str] = &["0 refusing 50 100", "0 failing 150 200"];
    let slow: &[&str] = &["0 slow 50 100"];
    for (strikes, changes, expected) in [
        (&[][..], &[][..], &[][..]),
        // Gone by 50 + 3 × 10 + 2, and back by 100 + 2 × 10 + 2.
        (dead, &["0 72 down", "0 112 up"], &[]),
        (dead, &["0 82 down", "0 122 up"], &[]),
        (dead, &["0 83 down", "0 122 up"], &[FoundDownLate]),
        (dead, &["0 88 down", "0 122 up"], &[FoundDownLate, AnsweredDead]),
        (dead, &[], &[FoundDownLate, AnsweredDead]),
        (dead, &["0 82 down", "0 123 up"], &[FoundUpLate]),
        (dead, &["0 82 down"], &[FoundUpLate]),
        // Two runs at most can have failed, or succeeded.
        (dead, &["0 67 down", "0 122 up"], &[FalseVerdict]),
        (dead, &["0 82 down", "0 107 up"], &[FalseVerdict]),
        (dead, &["0 72 down", "0 90 up"], &[FalseVerdict, FoundDownLate, AnsweredDead]),
        (dead, &["0 82 down", "0 122 degraded"], &[FoundWellLate]),
        (dead, &["0 82 down", "0 122 up", "1 60 down", "1 61 up"], &[FalseVerdict]),
        (dead, &["0 82 down", "0 122 up", "1 60 degraded", "1 61 up"], &[FalseVerdict, FoundWellLate]),
        (dead, &["0 82 down", "0 122 up", "0 130 unknown", "0 131 up"], &[FalseVerdict, FoundWellLate, NothingFound]),
        (&["0 refusing 50 68"], &["0 75 down", "0 92 up"], &[FalseVerdict, FoundUpLate]),
        (&["0 hanging 48 71"], &["0 73 down", "0 93 up"], &[]),
        // The second time it is held down for 20 s.
        (twice, &["0 82 down", "0 122 up", "0 180 down", "0 221 up"], &[]),
        (twice, &["0 82 down", "0 122 up", "0 182 down", "0 233 up"], &[FoundUpLate]),
        (
            &["0 failing 50 100", "0 failing 150 180"],
            &["0 82 down", "0 122 up", "0 181 down", "0 200 up"],
            &[UpTooSoon],
        ),
        (&["0 failing 50 100", "0 failing 150 180"], &["0 82 down", "0 122 up", "0 181 down", "0 201 up"], &[]),
        (slow, &["0 82 degraded", "0 122 up"], &[]),
        (slow, &["0 83 degraded", "0 122 up"], &[FoundSlowLate]),
        (slow, &["0 67 degraded", "0 122 up"], &[FalseVerdict]),
        (slow, &["0 82 down", "0 122 up"], &[FalseVerdict, FoundUpLate]),
        (slow, &["0 82 degraded", "0 123 up"], &[FoundWellLate]),
    ] {
        let rules = rules(limits_off(), strikes, changes);
        assert_eq!(rules, expected.iter().copied().collect(), "{strikes:?} seen as {changes:?}");
    }
}

#[test]
fn the_first_result_decides_alone() {
    let mut log = Log::new(&site(limits_off()));
    (0..4).for_each(|endpoint| {
        let verdict = if endpoint == 0 { Verdict::Down } else { Verdict::Up };
        note(&mut log, endpoint, 4, Seen { verdict, ..Seen::UNKNOWN });
    });
    log.end = seconds(20);
    assert_eq!(told(&site(limits_off()), &["0 refusing 0 40"], &log), [].into());
    assert_eq!(told(&site(limits_off()), &[], &log), [Rule::FalseVerdict].into());
    let mut nothing = Log::new(&site(limits_off()));
    nothing.end = seconds(4);
    assert_eq!(told(&site(limits_off()), &[], &nothing), [].into());
    nothing.end = seconds(5);
    assert_eq!(told(&site(limits_off()), &[], &nothing), [Rule::NothingFound].into());
}

#[test]
fn wrong_answers_are_told() {
    let (strikes, changes) = (&["0 refusing 50 100"][..], &["0 82 down", "0 122 up"][..]);
    for (at, says, expected) in [
        (60, Ok(vec![0]), None),
        (82, Ok(vec![0, 1]), None),
        (90, Ok(vec![1, 0]), Some(&[Rule::AnsweredDead, Rule::AnsweredDown][..])),
        (110, Ok(vec![0]), Some(&[Rule::AnsweredDown])),
        (130, Ok(vec![0]), None),
        (LENGTH, Ok(vec![4]), Some(&[Rule::NoAnswer])),
        (10, Ok(vec![]), Some(&[Rule::NoAnswer])),
        (10, Err("ServFail".to_owned()), Some(&[Rule::NoAnswer])),
        (10, Ok(vec![4]), Some(&[Rule::NoAnswer])),
    ] {
        let mut log = log(changes);
        let asked = seconds(at);
        log.samples.push(Sample { asked, answered: asked, service: 0, says });
        let expected = expected.unwrap_or_default().iter().copied().collect();
        assert_eq!(told(&site(limits_off()), strikes, &log), expected, "at {at}");
    }
}

#[test]
fn breakers_that_open_or_close_at_the_wrong_time_are_told() {
    use Rule::{AnsweredBroken, ClosedLate, OpenWithoutReason, OpenedLate, TriedTooSoon};
    let mut site = site(limits_off());
    let open_for = seconds(30);
    site.pools[0].breaker = Some(Breaker { failures: 2, open_for, successes: 2, ..Breaker::DEFAULT });
    for (until, changes, expected) in [
        (68, &["0 64 open", "0 94 half-open", "0 110 closed"][..], None),
        (68, &["0 64 open", "0 93 half-open", "0 110 closed"], Some(TriedTooSoon)),
        (68, &["0 55 open", "0 94 half-open", "0 110 closed"], Some(OpenWithoutReason)),
        (68, &["0 64 open", "0 94 half-open", "0 96 open", "0 156 half-open", "0 170 closed"], Some(OpenWithoutReason)),
        (68, &[], None),
        (74, &["0 72 open", "0 102 half-open", "0 110 closed"], None),
        (74, &["0 73 open", "0 103 half-open", "0 110 closed"], Some(OpenedLate)),
        (74, &[], Some(OpenedLate)),
        // By 68 + 2 s for the last to fail, eight times 30 s, a second, and 2 × 10 + 2 s for two that succeed.
        (68, &["0 64 open", "0 310 half-open", "0 333 closed"], None),
        (68, &["0 64 open", "0 310 half-open", "0 334 closed"], Some(ClosedLate)),
    ] {
        let told = told(&site, &[&format!("0 failing 50 {until}")], &log(changes));
        assert_eq!(told, expected.into_iter().collect(), "well from {until} on, seen as {changes:?}");
    }
    let mut log = log(&["0 64 open", "0 94 half-open", "0 110 closed"]);
    for (at, expected) in [(94, None), (93, Some(AnsweredBroken))] {
        log.samples.push(Sample { asked: seconds(at), answered: seconds(at), service: 0, says: Ok(vec![0]) });
        assert_eq!(told(&site, &["0 failing 50 68"], &log), expected.into_iter().collect(), "{at}");
    }
}

#[test]
fn what_is_dead_is_answered_where_nothing_else_serves() {
    let strikes = &["0 refusing 50 100", "1 refusing 50 100", "2 refusing 50 100", "3 refusing 50 100"];
    let down = ["0 82 down", "1 82 down", "2 82 down", "3 82 down"];
    let up = ["0 120 up", "1 120 up", "2 120 up", "3 120 up"];
    let mut log = log(&[down, up].concat());
    assert_eq!(told(&site(limits_off()), strikes, &log), [].into());
    log.samples.push(Sample { asked: seconds(90), answered: seconds(90), service: 0, says: Ok(vec![]) });
    assert_eq!(told(&site(limits_off()), strikes, &log), [Rule::NoAnswer].into());
}

/// That was done at that second.
fn done(at: u64, act: Act) -> (Span, Act) {
    (Span { from: seconds(at), until: seconds(at) }, act)
}

#[test]
fn words_that_are_ignored_or_outlast_their_time_are_told() {
    use Rule::{AnsweredDead, FoundDownLate, HeldWithoutReason, WordIgnored, WordWithoutSpeaker};
    let dead = &["0 refusing 45 130"][..];
    for (word, strikes, changes, expected) in [
        (Word::Drain, &[][..], &["0 50 up drain", "0 90 up"][..], &[][..]),
        (Word::Drain, &[], &["0 50 up drain", "0 91 up"], &[]),
        (Word::Drain, &[], &["0 50 up drain", "0 92 up"], &[WordWithoutSpeaker]),
        (Word::Drain, &[], &["0 49 up drain", "0 90 up"], &[WordWithoutSpeaker]),
        (Word::Drain, &[], &["0 51 up drain", "0 90 up"], &[WordIgnored]),
        (Word::Drain, &[], &["0 50 up drain", "0 88 up"], &[WordIgnored]),
        (Word::Drain, &[], &["0 50 up disable", "0 90 up"], &[WordIgnored, WordWithoutSpeaker]),
        (Word::Drain, &[], &[], &[WordIgnored]),
        (Word::Down, &[], &["0 50 down down", "0 90 up"], &[]),
        (Word::Down, &[], &["0 50 up down", "0 90 up"], &[WordIgnored]),
        (Word::Down, &[], &["0 50 max_down_share down", "0 90 up"], &[WordIgnored, HeldWithoutReason]),
        (Word::Up, dead, &["0 50 up up", "0 90 down", "0 152 up"], &[]),
        (Word::Up, dead, &["0 50 down up", "0 90 down", "0 152 up"], &[WordIgnored]),
        (Word::Up, dead, &["0 50 up up", "0 90 up"], &[FoundDownLate, AnsweredDead]),
    ] {
        let mut log = log(changes);
        log.done.push(done(50, Act::Say { endpoint: 0, word, seconds: 40 }));
        let told = told(&site(limits_off()), strikes, &log);
        assert_eq!(told, expected.iter().copied().collect(), "{word}, seen as {changes:?}");
    }
    let mut log = log(&["0 50 up drain", "0 90 up"]);
    log.done.push(done(50, Act::Say { endpoint: 0, word: Word::Drain, seconds: 40 }));
    log.samples.push(Sample { asked: seconds(60), answered: seconds(60), service: 0, says: Ok(vec![0]) });
    assert_eq!(told(&site(limits_off()), &[], &log), [Rule::AnsweredOut].into());
}

#[test]
fn what_comes_up_before_or_long_after_it_is_resumed_is_told() {
    let mut site = site(limits_off());
    site.pools[0].timing.manual_resume = true;
    for (resumed, changes, expected) in [
        (None, &["0 82 down"][..], None),
        (None, &["0 82 down", "0 122 up"], Some(Rule::UpTooSoon)),
        (Some(60), &["0 82 down", "0 122 up"], Some(Rule::UpTooSoon)),
        (Some(110), &["0 82 down", "0 122 up"], None),
        (Some(150), &["0 82 down", "0 149 up"], Some(Rule::UpTooSoon)),
        (Some(150), &["0 82 down", "0 150 up"], None),
        (Some(150), &["0 82 down", "0 162 up"], None),
        (Some(150), &["0 82 down", "0 163 up"], Some(Rule::FoundUpLate)),
        (Some(90), &["0 82 down", "0 90 up"], Some(Rule::FalseVerdict)),
    ] {
        let mut log = log(changes);
        log.done.extend(resumed.map(|at| done(at, Act::Resume { pool: 0 })));
        let told = told(&site, &["0 refusing 50 100"], &log);
        assert!(
            expected.map_or(told.is_empty(), |rule| told.contains(&rule)),
            "{resumed:?}, seen as {changes:?}: {told:?}"
        );
    }
}

/// The server is off from 90 to 95.
fn restart(end: End) -> (Span, Act) {
    (Span { from: seconds(90), until: seconds(95) }, Act::Restart { end, pause: seconds(5) })
}

#[test]
fn what_a_restart_forgets_or_makes_up_is_told() {
    use Rule::{AnsweredDead, FalseVerdict, FoundDownLate, NoAnswer, NothingFound};
    let lost = [NothingFound, FoundDownLate, FalseVerdict, AnsweredDead];
    let (before, over) = (&["0 refusing 50 100"][..], &["0 refusing 80 150"][..]);
    for (strikes, changes, expected) in [
        (before, &["0 82 down", "0 122 up"][..], &[][..]),
        (before, &["0 82 down", "0 95 unknown", "0 97 down", "0 122 up"], &lost),
        (before, &["0 82 down", "0 95 up", "0 97 down", "0 122 up"], &lost[1..]),
        // A row of three begins anew at 95; the first of them comes out of turn, by 99, and may take that of the next.
        (over, &["0 106 down", "0 172 up"], &[]),
        (over, &["0 129 down", "0 172 up"], &[]),
        (over, &["0 130 down", "0 172 up"], &[FoundDownLate]),
        (over, &["0 104 down", "0 172 up"], &[FalseVerdict]),
        // Just before it ended.
        (&["0 refusing 65 150"], &["0 95 down", "0 172 up"], &[]),
    ] {
        let mut log = log(changes);
        log.done.push(restart(End::Ordered));
        let told = told(&site(limits_off()), strikes, &log);
        assert_eq!(told, expected.iter().copied().collect(), "{strikes:?} seen as {changes:?}");
    }
    for (at, expected) in [(89, Some(NoAnswer)), (92, None), (96, Some(NoAnswer))] {
        let mut log = log(&[]);
        log.done.push(restart(End::Ordered));
        let says = Err("nobody to ask".to_owned());
        log.samples.push(Sample { asked: seconds(at), answered: seconds(at), service: 0, says });
        assert_eq!(told(&site(limits_off()), &[], &log), expected.into_iter().collect(), "at {at}");
    }
}

#[test]
fn a_server_that_was_killed_goes_on_with_what_was_so_shortly_before() {
    use Rule::{FalseVerdict, FoundDownLate, FoundUpLate, NothingFound};
    let dead = &["0 refusing 50 150"][..];
    for (strikes, changes, expected) in [
        (dead, &["0 82 down", "0 172 up"][..], &[][..]),
        // It was stored after 78 at the latest, and three runs from 95 on tell it again.
        (dead, &["0 82 down", "0 95 up", "0 129 down", "0 172 up"], &[]),
        (dead, &["0 82 down", "0 95 up", "0 130 down", "0 172 up"], &[FoundDownLate]),
        (dead, &["0 82 down", "0 96 up", "0 129 down", "0 172 up"], &[FalseVerdict]),
        (dead, &["0 75 down", "0 95 up", "0 129 down", "0 172 up"], &[FalseVerdict]),
        (dead, &["0 82 down", "0 95 unknown", "0 96 down", "0 172 up"], &[FalseVerdict, NothingFound]),
        // It was found up again, and that is lost.
        (&["0 refusing 12 65"], &["0 42 down", "0 86 up", "0 95 down", "0 115 up"], &[]),
        (&["0 refusing 12 65"], &["0 42 down", "0 86 up", "0 95 down", "0 122 up"], &[FoundUpLate]),
    ] {
        let mut log = log(changes);
        log.done.push(restart(End::Killed));
        let told = told(&site(limits_off()), strikes, &log);
        assert_eq!(told, expected.iter().copied().collect(), "{strikes:?} seen as {changes:?}");
    }
    // Nothing was stored yet.
    for (known, expected) in [(14, None), (15, Some(NothingFound))] {
        let mut log = log(&["0 10 unknown", &format!("0 {known} up")]);
        let killed = Act::Restart { end: End::Killed, pause: seconds(1) };
        log.done.push((Span { from: seconds(9), until: seconds(10) }, killed));
        assert_eq!(told(&site(limits_off()), &[], &log), expected.into_iter().collect(), "{known}");
    }
}

#[test]
fn what_a_server_that_was_killed_forgets_of_changes_may_be_made_again() {
    let changes = Safety { max_changes_per_minute: Some(2), ..limits_off() };
    let dead = &["0 refusing 40 150", "1 refusing 40 150", "2 refusing 40 150"];
    let back = ["0 170 up", "1 170 up", "2 170 up"];
    for (end, seen, expected) in [
        (
            End::Killed,
            ["0 72 down", "1 82 down", "1 95 up", "1 118 down", "2 72 max_changes_per_minute", "2 112 down"],
            None,
        ),
        (
            End::Ordered,
            ["0 72 down", "1 72 down", "2 72 max_changes_per_minute", "2 96 down", "3 5 up", "3 6 up"],
            Some(Rule::ChangesExceeded),
        ),
        (
            End::Killed,
            ["0 72 down", "1 72 down", "2 72 max_changes_per_minute", "2 96 down", "3 5 up", "3 6 up"],
            Some(Rule::ChangesExceeded),
        ),
    ] {
        let mut log = log(&[&seen[..], &back].concat());
        log.done.push(restart(end));
        let told = told(&site(changes.clone()), dead, &log);
        assert_eq!(told.contains(&Rule::ChangesExceeded), expected.is_some(), "{end:?}, seen as {seen:?}: {told:?}");
    }
}

#[test]
fn inputs_that_are_combined_wrongly_are_told() {
    use Rule::{AnsweredDead, AnsweredDown, CombinedWrongly};
    for (required, verdict, expected) in [
        (1, Verdict::Up, &[][..]),
        (1, Verdict::Down, &[CombinedWrongly]),
        (2, Verdict::Down, &[AnsweredDead]),
        (2, Verdict::Up, &[CombinedWrongly, AnsweredDead]),
    ] {
        let mut site = site(limits_off());
        site.depend(0, 2, required);
        let mut log = Log::new(&site);
        let up = Seen { verdict: Verdict::Up, ..Seen::UNKNOWN };
        for endpoint in 0..4 {
            log.note(endpoint, seconds(4), up, site.inputs(endpoint).map(|input| (input, Some(Verdict::Up))));
        }
        let says = [Some(Verdict::Down), Some(Verdict::Up)];
        log.note(0, seconds(82), Seen { verdict, ..up }, site.inputs(0).zip(says));
        log.end = seconds(100);
        log.samples.push(Sample { asked: seconds(90), answered: seconds(90), service: 0, says: Ok(vec![0]) });
        let told = told(&site, &["0 refusing 50 400"], &log);
        // Answered while others serve.
        let expected = expected.iter().copied().chain((verdict == Verdict::Down).then_some(AnsweredDown)).collect();
        assert_eq!(told, expected, "{required} required, seen as {verdict}");
    }
}

#[test]
fn limits_that_are_exceeded_or_hold_for_nothing_are_told() {
    let share = Safety { max_down_share: 0.5, ..limits_off() };
    let regions = Safety { min_healthy_regions: 1, ..limits_off() };
    let changes = Safety { max_changes_per_minute: Some(2), ..limits_off() };
    let dead: &[&str] = &["0 refusing 50 150", "1 refusing 50 150", "2 refusing 50 150", "3 refusing 50 150"];
    let back = ["0 170 up", "1 170 up", "2 170 up", "3 170 up"];
    for (safety, seen, expected) in [
        (&share, ["0 80 down", "1 80 down", "2 80 max_down_share", "3 80 max_down_share"], None),
        (&share, ["0 80 down", "1 80 down", "2 80 down", "3 80 max_down_share"], Some(Rule::ShareExceeded)),
        (
            &share,
            ["0 80 down", "1 80 max_down_share", "2 80 max_down_share", "3 80 max_down_share"],
            Some(Rule::HeldWithoutReason),
        ),
        (
            &share,
            ["0 80 down", "1 80 down", "2 80 min_healthy_regions", "3 80 max_down_share"],
            Some(Rule::HeldWithoutReason),
        ),
        (&limits_off(), ["0 80 down", "1 80 down", "2 80 down", "3 80 max_down_share"], Some(Rule::HeldWithoutReason)),
        (&regions, ["0 80 down", "1 80 down", "2 80 down", "3 80 min_healthy_regions"], None),
        (&regions, ["0 80 down", "1 80 down", "2 80 down", "3 80 down"], Some(Rule::RegionsExceeded)),
        (
            &regions,
            ["0 80 down", "1 80 down", "2 80 min_healthy_regions", "3 80 min_healthy_regions"],
            Some(Rule::HeldWithoutReason),
        ),
    ] {
        let expected = expected.into_iter().collect();
        assert_eq!(rules(safety.clone(), dead, &[seen, back].concat()), expected, "{seen:?}");
    }
    for (seen, expected) in [
        // Two at once, and one each 30 s.
        (
            &[
                "0 80 down",
                "1 80 down",
                "2 80 max_changes_per_minute",
                "2 110 down",
                "3 80 max_changes_per_minute",
                "3 140 down",
            ][..],
            None,
        ),
        (
            &[
                "0 80 down",
                "1 80 down",
                "2 80 max_changes_per_minute",
                "2 105 down",
                "3 80 max_changes_per_minute",
                "3 140 down",
            ],
            Some(Rule::ChangesExceeded),
        ),
        (
            &["0 80 down", "1 80 down", "2 80 down", "3 80 max_changes_per_minute", "3 140 down"],
            Some(Rule::ChangesExceeded),
        ),
        (
            &[
                "0 80 down",
                "1 80 down",
                "2 80 max_changes_per_minute",
                "2 113 down",
                "3 80 max_changes_per_minute",
                "3 143 down",
            ],
            Some(Rule::HeldWithoutReason),
        ),
    ] {
        let expected = expected.into_iter().collect();
        assert_eq!(rules(changes.clone(), dead, &[seen, &back].concat()), expected, "{seen:?}");
    }
}

/// Three of four have to turn down within 30 s, and it lasts for 100 s at most.
fn suspicious() -> Safety {
    let self_suspicion =
        SelfSuspicion { share: 0.6, window: seconds(30), least: 2, at_most: seconds(100), canaries: Vec::new() };
    Safety { self_suspicion, ..Safety::DEFAULT }
}

#[test]
fn doubts_that_are_missing_or_too_much_are_told() {
    use Rule::{
        DoubtTooLong, DoubtTooShort, DoubtWithoutReason, GivenBackInDoubt, HeldWithoutReason, NoDoubt, TakenInDoubt,
    };
    let three = ["0 refusing 50 120", "1 refusing 50 120", "2 refusing 50 120"];
    let cut_off = [&three[..], &["4 refusing 40 170"]].concat();
    let for_long = ["0 refusing 50 300", "1 refusing 50 300", "2 refusing 50 300", "4 refusing 40 390"];
    let one_for_long = ["0 refusing 50 120", "1 refusing 50 120", "2 refusing 50 200", "4 refusing 40 390"];
    let canary_back = ["0 refusing 50 300", "1 refusing 50 300", "2 refusing 50 300", "4 refusing 40 90"];
    let doubted = ["0 75 down", "1 78 down", "0 80 unsure", "1 80 unsure", "2 80 unsure"];
    let back = ["0 140 up", "1 140 up", "2 140 up"];
    let late_back = ["0 320 up", "1 320 up", "2 320 up"];
    for (strikes, seen, expected) in [
        (&cut_off[..], [&doubted[..], &back].concat(), &[][..]),
        // A canary answers, so all is believed.
        (&three, [&["0 75 down", "1 78 down", "2 80 down"][..], &back].concat(), &[]),
        (&three, [&doubted[..], &back].concat(), &[DoubtWithoutReason, DoubtTooLong]),
        (&cut_off, [&["0 75 down", "1 78 down", "2 80 down"][..], &back].concat(), &[NoDoubt]),
        (&cut_off, [&["0 75 down", "1 78 down", "0 80 unsure", "2 80 unsure"][..], &back].concat(), &[TakenInDoubt]),
        (&cut_off, [&doubted[..], &["2 90 down"], &back].concat(), &[TakenInDoubt]),
        (&cut_off, [&["0 75 unsure", "1 78 unsure", "2 80 unsure"][..], &back].concat(), &[DoubtWithoutReason]),
        (&cut_off, [&doubted[..], &["0 90 down", "1 90 down", "2 90 down"], &back].concat(), &[DoubtTooShort]),
        // Two of three are up at 140; a window later it is over.
        (&one_for_long, [&doubted[..], &["0 140 up", "1 140 up", "2 160 down", "2 220 up"]].concat(), &[DoubtTooShort]),
        (&one_for_long, [&doubted[..], &["0 140 up", "1 140 up", "2 171 down", "2 220 up"]].concat(), &[]),
        (&one_for_long, [&doubted[..], &["0 140 up", "1 140 up", "2 172 down", "2 220 up"]].concat(), &[DoubtTooLong]),
        (&for_long, [&doubted[..], &["0 180 down", "1 180 down", "2 180 down"], &late_back].concat(), &[]),
        (&for_long, [&doubted[..], &["0 182 down", "1 182 down", "2 182 down"], &late_back].concat(), &[DoubtTooLong]),
        // It answers from 90 to 102 at the latest, and then for the window.
        (&canary_back, [&doubted[..], &["0 125 down", "1 125 down", "2 125 down"], &late_back].concat(), &[]),
        (&canary_back, [&doubted[..], &["0 132 down", "1 132 down", "2 132 down"], &late_back].concat(), &[]),
        (
            &canary_back,
            [&doubted[..], &["0 134 down", "1 134 down", "2 134 down"], &late_back].concat(),
            &[DoubtTooLong],
        ),
        (&canary_back, [&doubted[..], &["0 95 down", "1 95 down", "2 95 down"], &late_back].concat(), &[DoubtTooShort]),
    ] {
        let told = rules(suspicious(), strikes, &seen);
        assert_eq!(told, expected.iter().copied().collect(), "{strikes:?} seen as {seen:?}");
    }
    let old = [&cut_off[..], &["3 refusing 8 200"]].concat();
    // Of the three that were up, two are too much.
    let doubted_sooner = ["0 75 down", "0 78 unsure", "1 78 unsure", "2 80 unsure"];
    let given_back = [&["3 40 down"][..], &doubted_sooner, &["3 78 unsure", "3 222 up"], &back].concat();
    assert_eq!(rules(suspicious(), &old, &given_back), [GivenBackInDoubt, DoubtTooLong].into());
    let told = rules(limits_off(), &cut_off, &[&doubted[..], &back].concat());
    assert!(told.contains(&DoubtWithoutReason) && !told.contains(&HeldWithoutReason), "{told:?}");
}

#[test]
fn doubts_that_a_restart_ends_or_begins_are_told() {
    use Rule::{DoubtTooLong, DoubtTooShort, GivenBackInDoubt, TakenInDoubt};
    let for_long = ["0 refusing 50 300", "1 refusing 50 300", "2 refusing 50 300", "4 refusing 40 390"];
    let canary_back = ["0 refusing 50 300", "1 refusing 50 300", "2 refusing 50 300", "4 refusing 40 85"];
    let doubted = ["0 75 down", "1 78 down", "0 80 unsure", "1 80 unsure", "2 80 unsure"];
    let over = |at: u64| [0, 1, 2].map(|endpoint| format!("{endpoint} {at} down"));
    for (strikes, ends, expected) in [
        // The time off is part of the longest that it may last.
        (for_long, 180, None),
        (for_long, 183, None),
        (for_long, 184, Some(DoubtTooLong)),
        (for_long, 177, Some(DoubtTooShort)),
        (for_long, 95, Some(DoubtTooShort)),
        // It goes by what canaries answer since it was started again.
        (canary_back, 120, Some(DoubtTooShort)),
        (canary_back, 125, None),
        (canary_back, 138, None),
        (canary_back, 139, Some(DoubtTooLong)),
    ] {
        let over = over(ends);
        let over = over.iter().map(String::as_str);
        let mut log =
            log(&doubted.into_iter().chain(over).chain(["0 320 up", "1 320 up", "2 320 up"]).collect::<Vec<_>>());
        log.done.push(restart(End::Ordered));
        let told = told(&site(suspicious()), &strikes, &log);
        assert_eq!(told, expected.into_iter().collect(), "{strikes:?}, over at {ends}");
    }
    let mut log = log(&[&doubted[..], &["0 95 down"], &over(180).each_ref().map(String::as_str)].concat());
    log.done.push(restart(End::Ordered));
    let told = told(&site(suspicious()), &for_long, &log);
    assert!(told.contains(&TakenInDoubt) && !told.contains(&GivenBackInDoubt), "{told:?}");
}
