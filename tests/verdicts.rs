//! From what probes find to what counts of endpoints: several inputs, limits on what is taken away, and self-suspicion.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use meridian::admin::view::{Explanation, Found, HealthReport, History, Part, Question, Source};
use meridian::config::Target;
use meridian::health::guard::Held;
use meridian::health::suspicion::{Doubt, Relief};
use meridian::health::{Details, Failure, Observation, Pushed, TargetKey, Verdict};
use meridian::operator::Operator;
use meridian::routing::live::WHOLE;
use meridian::snapshot::{EndpointChange, Event, Publisher};

use support::folder::Folder;
use support::health::{compiled, result, started};
use support::words::overrides;

const NOW: u32 = 1_795_316_400;

/// Pools are put below; their endpoints are 192.0.2.N with N of their own, and 192.0.2.200 is a canary.
const BASE: &str = r#"
[server]
listen = ["127.0.0.1:0"]
[zones."example.com"]
nameservers = ["ns.example.net"]
[regions.near]
location = [0, 0]
[regions.far]
location = [0, 90]
[probes.a]
type = "tcp"
port = 81
fall = 1
rise = 1
hold_down = "0s"
degraded_after = "100ms"
[probes.b]
type = "tcp"
port = 82
fall = 1
rise = 1
hold_down = "0s"
[probes.c]
type = "tcp"
port = 83
fall = 1
rise = 1
hold_down = "0s"
"#;

struct Run {
    publisher: Arc<Publisher>,
    text: String,
    start: Instant,
    seconds: u32,
}

impl Run {
    fn new(text: &str) -> Self {
        Self::of(format!("{BASE}{text}"))
    }

    /// Of a whole configuration.
    fn of(text: String) -> Self {
        let start = Instant::now();
        Self { publisher: Arc::new(Publisher::starting_at(compiled(&text), start, NOW)), text, start, seconds: 0 }
    }

    /// One whose probes have all found everything up.
    fn up(text: &str) -> Self {
        let run = Self::new(text);
        let keys: Vec<_> = run.publisher.health().keys().collect();
        let all = keys.into_iter().map(|key| (key, Duration::from_millis(1), Ok(())));
        run.observe(all.collect());
        run
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_secs(self.seconds.into())
    }

    fn observe(&self, found: Vec<(Arc<TargetKey>, Duration, Result<(), Failure>)>) -> Vec<Event> {
        let found = found.into_iter().map(|(key, took, outcome)| (key, result(took, outcome)));
        self.publisher.observe(found, self.now())
    }

    /// Stops the server, and starts it again after so many seconds with what it kept.
    fn restart(&mut self, off_seconds: u32) {
        let folder = Folder::new("verdicts");
        let unix_seconds = |seconds: u32| u64::from(NOW + seconds);
        let (state, now) = (folder.path("state"), unix_seconds(self.seconds));
        let operator = Operator::start(Some(&state), Arc::clone(&self.publisher), self.now(), now).unwrap();
        operator.keep_verdicts(true, self.now(), now);
        drop(operator);
        self.seconds += off_seconds;
        (self.publisher, _) = started(&state, &self.text, self.now(), unix_seconds(self.seconds));
    }

    /// `3a-` is that probe a finds 192.0.2.3 down, `+` up and `~` slow; all at once. Returns changes of mind.
    fn find(&self, found: &str) -> Vec<Doubt> {
        doubts(self.hear(found))
    }

    /// As [`Self::find`]; returns all that there is to say.
    fn hear(&self, found: &str) -> Vec<Event> {
        let keys: Vec<_> = self.publisher.health().keys().collect();
        let found = found.split(' ').map(|found| {
            let (place, said) = found.split_at(found.len() - 1);
            let (octet, probe) = place.split_at(place.len() - 1);
            let port = 81 + u16::from(probe.as_bytes()[0] - b'a');
            let address: IpAddr = [192, 0, 2, octet.parse().unwrap()].into();
            let key = keys.iter().find(|key| key.target == Target::Address(address) && key.check.port() == Some(port));
            let took = Duration::from_millis(if said == "~" { 200 } else { 1 });
            (key.unwrap().clone(), took, if said == "-" { Err(Failure::Refused) } else { Ok(()) })
        });
        self.observe(found.collect())
    }

    /// Reports so many successes and failures of 192.0.2.N in pool p.
    fn report(&self, endpoint: u8, successes: u32, failures: u32) {
        let pushed = Pushed {
            pool: "p".to_owned(),
            endpoint: format!("192.0.2.{endpoint}"),
            successes,
            failures,
            ..Pushed::default()
        };
        assert_eq!(self.publisher.push(&[Ok(pushed)], self.now()).0, [Ok(())]);
    }

    /// What counts of the weight of 192.0.2.N, which is the Nth endpoint.
    fn share(&self, endpoint: u32) -> f64 {
        let health = self.publisher.health();
        let known = health.endpoints().get(endpoint - 1).unwrap();
        let share = known.share(&health.found(known, self.now()), self.now(), WHOLE);
        f64::from(share) / f64::from(WHOLE)
    }

    fn at(&mut self, seconds: u32) -> Vec<Doubt> {
        doubts(self.hear_at(seconds))
    }

    /// Finds this, with which most of what turned down answers again: a window later a doubt is over, and no sooner.
    fn recovers(&mut self, found: &str) {
        assert_eq!(self.find(found), []);
        assert_eq!(self.at(self.seconds + 29), []);
        assert_eq!(self.at(self.seconds + 1), [Doubt::Ends(Relief::Recovered)]);
    }

    fn hear_at(&mut self, seconds: u32) -> Vec<Event> {
        self.seconds = seconds;
        self.publisher.tick(self.now(), NOW + seconds)
    }

    /// `down endpoint/p/near/192.0.2.1, …` from now on.
    fn obey(&self, words: &str) {
        self.publisher.obey(&overrides(words, NOW), self.now());
    }

    fn reload(&mut self, change: impl Fn(&str) -> String) {
        self.text = change(&self.text);
        self.publisher.replace(compiled(&self.text));
    }

    /// What counts of each endpoint, in their order: `+` up, `~` degraded, `-` down, `?` unknown; where it is held the first letter
    /// of why: `u`nsure, `s`hare, `r`egions, `c`hanges. Of one that its breaker keeps out, `o`.
    fn verdicts(&self) -> String {
        let health = self.publisher.health();
        let letter = |known: &meridian::health::EndpointHealth| match (known.held(), known.verdict()) {
            (Some(Held::Unsure), _) => 'u',
            (Some(Held::PoolShare), _) => 's',
            (Some(Held::Regions), _) => 'r',
            (Some(Held::ChangesPerMinute), _) => 'c',
            _ if known.is_broken() => 'o',
            (None, Verdict::Up) => '+',
            (None, Verdict::Degraded) => '~',
            (None, Verdict::Down) => '-',
            (None, Verdict::Unknown) => '?',
        };
        health.endpoints().all().iter().map(letter).collect()
    }
}

/// What is said of endpoints, as `p/near/192.0.2.1 up down: reason`, and of targets, as `target up down`; in this order.
fn told(events: Vec<Event>) -> Vec<String> {
    let tell = |event| match event {
        Event::Verdict(change) => Some(format!("target {} {}", change.transition.from, change.transition.to)),
        Event::Endpoint(EndpointChange { endpoint, from, to, held, is_broken, is_said, reason, others }) => {
            let held = held.map(|held| format!(" by {}", held.name())).unwrap_or_default();
            let broken = if is_broken { " broken" } else { "" };
            let others = if others > 0 { format!(" and {others}") } else { String::new() };
            let said = if is_said { " said" } else { "" };
            Some(format!("{endpoint}{others} {from} {to}{held}{broken}{said}: {reason}"))
        }
        Event::Doubt(_) | Event::Breaker(_) | Event::Rejected { .. } => None,
    };
    events.into_iter().filter_map(tell).collect()
}

fn doubts(events: Vec<Event>) -> Vec<Doubt> {
    let doubt = |event| if let Event::Doubt(doubt) = event { Some(doubt) } else { None };
    events.into_iter().filter_map(doubt).collect()
}

#[test]
fn inputs_are_combined() {
    for (health, found, expected) in [
        (r#"probe = "a""#, "1a-", "-"),
        (r#"probe = "a""#, "1a~", "~"),
        ("health = [{ probe = \"a\" }, { probe = \"b\" }]\nrequire = \"all\"", "1a-", "-"),
        (r#"health = [{ probe = "a" }, { probe = "b" }, { probe = "c" }]"#, "1b-", "-"),
        (r#"health = [{ probe = "a" }, { probe = "b" }]"#, "1a~", "~"),
        ("health = [{ probe = \"a\" }, { probe = \"b\" }]\nrequire = \"any\"", "1a-", "+"),
        ("health = [{ probe = \"a\" }, { probe = \"b\" }]\nrequire = \"any\"", "1a- 1b-", "-"),
        ("health = [{ probe = \"a\" }, { probe = \"b\" }, { probe = \"c\" }]\nrequire = 2", "1a-", "+"),
        ("health = [{ probe = \"a\" }, { probe = \"b\" }, { probe = \"c\" }]\nrequire = 2", "1a- 1b-", "-"),
        ("health = [{ probe = \"a\", weight = 2 }, { probe = \"b\" }, { probe = \"c\" }]\nrequire = 2", "1b- 1c-", "+"),
        ("health = [{ probe = \"a\", must_pass = true }, { probe = \"b\" }]\nrequire = \"any\"", "1a-", "-"),
        ("health = [{ probe = \"a\", monitoring_only = true }, { probe = \"b\" }]", "1a-", "+"),
    ] {
        let run =
            Run::up(&format!("[pools.p]\n{health}\nendpoints = [{{ region = \"near\", address = \"192.0.2.1\" }}]\n"));
        assert_eq!(run.verdicts(), "+", "{health}");
        run.find(found);
        assert_eq!(run.verdicts(), expected, "{health}: {found}");
    }
}

#[test]
fn before_the_first_results_all_serve_and_one_is_enough_to_know_better() {
    let run = Run::new(
        "[pools.p]\nhealth = [{ probe = \"a\" }, { probe = \"b\" }]\n\
         endpoints = [{ region = \"near\", address = \"192.0.2.1\" }]\n",
    );
    assert_eq!(run.verdicts(), "?");
    run.find("1a+");
    assert_eq!(run.verdicts(), "?");
    run.find("1b-");
    assert_eq!(run.verdicts(), "-");
    let run = Run::new(SIX);
    run.find("1a~ 2a+");
    assert_eq!((run.verdicts().as_str(), run.share(1), run.share(2)), ("~+????", 0.5, 1.0));
}

#[test]
fn of_several_inputs_the_first_tells_how_long_requests_take_and_the_next_to_be_asked_when_it_may_change() {
    let health = "[{ probe = \"a\" }, { probe = \"b\" }, { probe = \"c\" }]";
    let endpoints = "[{ region = \"near\", address = \"192.0.2.1\" }]";
    let text = format!("{BASE}[pools.p]\nhealth = {health}\nendpoints = {endpoints}\n");
    let run = Run::of(text.replace("port = 82", "port = 82\ninterval = \"5s\""));
    let found = |run: &Run| {
        let health = run.publisher.health();
        let found = health.found(health.endpoints().get(0).unwrap(), run.now());
        (found.soonest_change.map(|left| left.as_secs()), found.response.map(|(_, response_ms)| response_ms))
    };
    assert_eq!(found(&run), (Some(5), None));
    run.find("1a~ 1b+");
    assert_eq!(found(&run).1, Some(200.0));
}

/// The web needs its database: in its own region if there is one, and that needs storage, which is far alone.
const CHAIN: &str = r#"
[pools.web]
health = [{ probe = "a" }, { pool = "database" }]
endpoints = [{ region = "near", address = "192.0.2.1" }, { region = "far", address = "192.0.2.2" }]
[pools.database]
health = [{ probe = "b" }, { pool = "storage" }]
min_healthy = 2
endpoints = [
  { region = "near", address = "192.0.2.3" }, { region = "near", address = "192.0.2.4" },
  { region = "far", address = "192.0.2.5" }, { region = "far", address = "192.0.2.6" },
]
[pools.storage]
probe = "c"
endpoints = [{ region = "far", address = "192.0.2.7" }, { region = "far", address = "192.0.2.8", weight = 0 }]
"#;

#[test]
fn pools_depend_on_pools_of_their_region_and_those_on_others() {
    let mut run = Run::up(CHAIN);
    assert_eq!(run.verdicts(), "++++++++");
    run.find("3b-");
    assert_eq!(run.verdicts(), "-+-+++++", "fewer than min_healthy near");
    run.find("7c-");
    assert_eq!(run.verdicts(), "-------+", "one of weight 0 is no storage");
    run.reload(|text| format!("{text}\n# again\n"));
    assert_eq!(run.verdicts(), "-------+", "after a reload");
    run.find("7c+");
    assert_eq!(run.verdicts(), "-+-+++++");
    run.find("3b+");
    assert_eq!(run.verdicts(), "++++++++");
    // Nothing depends on a pool that the operator takes out of it.
    run.find("7c-");
    run.reload(|text| text.replace(", { pool = \"storage\" }", ""));
    assert_eq!(run.verdicts(), "++++++-+");
}

/// 1 to 4 are near, 5 and 6 far.
const SIX: &str = r#"
[pools.p]
probe = "a"
endpoints = [
  { region = "near", address = "192.0.2.1" }, { region = "near", address = "192.0.2.2" },
  { region = "near", address = "192.0.2.3" }, { region = "near", address = "192.0.2.4" },
  { region = "far", address = "192.0.2.5" }, { region = "far", address = "192.0.2.6" },
]
"#;

#[test]
fn no_more_than_its_share_of_a_pool_is_taken_away() {
    let mut run = Run::up(&format!("[safety]\nmax_down_share = 0.5\n{SIX}"));
    run.find("1a- 2a- 3a-");
    assert_eq!(run.verdicts(), "---+++");
    run.find("4a-");
    assert_eq!(run.verdicts(), "---s++");
    run.reload(|text| format!("{text}\n# again\n"));
    assert_eq!(run.verdicts(), "---s++", "after a reload");
    run.find("1a+");
    assert_eq!(run.verdicts(), "+---++", "as soon as there is room");
    run.find("1a-");
    assert_eq!(run.verdicts(), "s---++", "who waits is who went down last");
    run.reload(|text| text.replace("max_down_share = 0.5", ""));
    run.at(1);
    assert_eq!(run.verdicts(), "----++", "the limit is gone");
}

#[test]
fn what_a_reload_enables_is_subject_to_the_limits() {
    let disabled = (1..=3).fold(SIX.to_owned(), |text, endpoint| {
        let place = format!("address = \"192.0.2.{endpoint}\"");
        text.replace(&place, &format!("{place}, state = \"disabled\""))
    });
    let mut run = Run::up(&format!("[safety]\nmax_down_share = 0.5\n{disabled}"));
    run.find("1a- 2a- 3a- 4a-");
    assert_eq!(run.verdicts(), "----++", "one of three");
    run.reload(|text| text.replace(", state = \"disabled\"", ""));
    assert_eq!(run.verdicts(), "--s-++", "three of six");
}

#[test]
fn the_last_region_is_left_and_changes_are_rationed() {
    let run = Run::up(&format!("[safety]\nmin_healthy_regions = 1\n{SIX}"));
    run.find("5a- 6a- 1a- 2a- 3a-");
    assert_eq!(run.verdicts(), "---+--");
    run.find("4a-");
    assert_eq!(run.verdicts(), "---r--");
    let pool = SIX.replace("probe = \"a\"", "probe = \"a\"\nmin_healthy = 2");
    let run = Run::up(&format!("[safety]\nmin_healthy_regions = 1\n{pool}"));
    run.find("5a-");
    run.find("1a- 2a- 3a-");
    assert_eq!(run.verdicts(), "--r+-+", "a region of which too few are left is none");
    let limit = "[safety]\nmax_changes_per_minute = 2\n";
    let mut run = Run::up(&format!("{limit}{SIX}"));
    run.find("1a- 2a- 3a-");
    assert_eq!(run.verdicts(), "--c+++");
    run.at(29);
    assert_eq!(run.verdicts(), "--c+++");
    run.at(31);
    assert_eq!(run.verdicts(), "---+++");
    // However long nothing was taken, there are no more at once; and what was taken without a limit is none that is owed.
    run.at(600);
    run.find("4a- 5a- 6a-");
    assert_eq!(run.verdicts(), "-----c");
    let mut run = Run::up(SIX);
    run.find("1a- 2a- 3a-");
    run.reload(|text| format!("{limit}{text}"));
    run.at(60);
    run.find("4a- 5a-");
    assert_eq!(run.verdicts(), "-----+");
    // One that is new is full at first, and one that is raised by as much.
    let mut run = Run::up(SIX);
    run.find("1a-");
    run.reload(|text| format!("{limit}{text}"));
    run.find("2a- 3a- 4a- 5a-");
    assert_eq!(run.verdicts(), "---cc+");
    run.reload(|text| text.replace("minute = 2", "minute = 3"));
    run.at(0);
    assert_eq!(run.verdicts(), "----c+");
    let mut run = Run::up(SIX);
    run.find("1a-");
    run.text = format!("{limit}{}", run.text);
    run.restart(1);
    run.find("2a- 3a- 4a-");
    assert_eq!(run.verdicts(), "---c++", "by a restart likewise");
    // Where it is lowered, no more than that is owed.
    let mut run = Run::up(&format!("{}{SIX}", limit.replace("minute = 2", "minute = 4")));
    run.find("1a- 2a- 3a- 4a-");
    run.reload(|text| text.replace("minute = 4", "minute = 2"));
    run.find("5a-");
    assert_eq!(run.verdicts(), "----c+");
    run.at(30);
    assert_eq!(run.verdicts(), "-----+");
}

#[test]
fn no_change_is_spent_on_what_comes_up_in_time() {
    let mut run = Run::up(&format!("[safety]\nmax_changes_per_minute = 1\n{SIX}"));
    run.find("1a- 2a-");
    assert_eq!(run.verdicts(), "-c++++");
    // There is a change to be made again as it comes up.
    run.seconds = 61;
    run.find("2a+");
    run.find("3a-");
    assert_eq!(run.verdicts(), "-+-+++");
    // Nor on what comes up as a doubt ends.
    let mut run = Run::up(&format!("[safety]\nmax_changes_per_minute = 2\n{SUSPICIOUS}{SIX}"));
    run.find("1a- 2a- 3a- 5a- 6a-");
    assert_eq!(run.verdicts(), "uuu+uu");
    run.recovers("1a+ 2a+ 3a+");
    assert_eq!(run.verdicts(), "++++--");
}

#[test]
fn no_change_is_spent_on_what_a_reload_makes_unknown() {
    let mut run = Run::up(&format!("[safety]\nmax_changes_per_minute = 1\n{SIX}"));
    run.find("1a- 2a-");
    assert_eq!(run.verdicts(), "-c++++");
    run.seconds = 61;
    run.find("6a+");
    run.reload(|text| text.replace("\"192.0.2.2\" }", "\"192.0.2.2\", probe_port = 90 }"));
    assert_eq!(run.verdicts(), "-?++++");
    run.find("3a-");
    assert_eq!(run.verdicts(), "-?-+++");
}

#[test]
fn what_the_operator_says_is_not_limited() {
    let run = Run::up(&format!("[safety]\nmax_down_share = 0\n{SIX}"));
    run.find("1a- 2a-");
    assert_eq!(run.verdicts(), "ss++++");
    run.obey("down endpoint/p/near/192.0.2.1, down endpoint/p/near/192.0.2.3, up endpoint/p/near/192.0.2.2");
    assert_eq!(run.verdicts(), "-+-+++");
    run.obey("");
    assert_eq!(run.verdicts(), "ss++++");
    // What fell while a word went before that is limited once it is taken back.
    run.obey("up endpoint/p/near/192.0.2.4");
    run.find("4a-");
    run.obey("");
    assert_eq!(run.verdicts(), "ss+s++");
    // What a word is on is no part of its pool: of four two may be taken.
    let run = Run::up(&format!("[safety]\nmax_down_share = 0.5\n{SIX}"));
    run.obey("up endpoint/p/near/192.0.2.1, down endpoint/p/near/192.0.2.2");
    run.find("3a- 4a- 5a-");
    assert_eq!(run.verdicts(), "+---s+");
}

const BREAKER: &str = "[pools.p.breaker]\nfailures = 3\nopen_for = \"30s\"\nsuccesses = 2\nhalf_open_share = 0.125\n";

#[test]
fn open_breakers_are_limited_as_verdicts_are() {
    let mut run = Run::up(&format!("[safety]\nmax_down_share = 0.5\n{SIX}{BREAKER}"));
    run.report(1, 0, 3);
    run.find("2a-");
    run.report(3, 0, 3);
    assert_eq!(run.verdicts(), "o-o+++");
    run.report(4, 0, 3);
    run.find("5a-");
    assert_eq!((run.verdicts().as_str(), run.share(4)), ("o-oss+", 1.0), "held, so as though there were no breaker");
    assert!(!run.publisher.health().endpoints().get(3).unwrap().is_broken());
    // What is tried is nearly away, so it makes no room, and what is held isn't tried.
    run.at(30);
    assert_eq!((run.verdicts().as_str(), run.share(1), run.share(4)), ("+-+ss+", 0.125, 1.0));
    run.report(3, 0, 1);
    assert_eq!(run.verdicts(), "+-oss+", "again");
    run.reload(|text| format!("{text}\n# again\n"));
    assert_eq!(run.verdicts(), "+-oss+", "after a reload");
    run.report(1, 2, 0);
    assert_eq!((run.verdicts().as_str(), run.share(4)), ("+-o+s+", 0.125), "there is room");
}

#[test]
fn who_is_unsure_opens_no_breaker_and_changes_by_breakers_are_rationed() {
    let mut run = Run::up(&format!("{SUSPICIOUS}{SIX}{BREAKER}"));
    run.report(4, 0, 3);
    run.at(20);
    assert_eq!(run.find("1a- 2a- 3a- 5a- 6a-"), [Doubt::Begins { fallen: 5, of: 6 }]);
    assert_eq!(run.verdicts(), "uuu+uu", "what was taken away within the window is given back, however it was");
    assert_eq!(run.share(4), 1.0);
    // What others report meanwhile is no finding of this server's.
    run.report(4, 0, 3);
    assert_eq!((run.verdicts().as_str(), run.share(4)), ("uuuuuu", 1.0));
    run.recovers("1a+ 2a+ 3a+");
    assert_eq!((run.verdicts().as_str(), run.share(4)), ("++++--", 0.125), "and is tried by now");
    let mut run = Run::up(&format!("[safety]\nmax_changes_per_minute = 2\n{SIX}{BREAKER}"));
    (1..=3).for_each(|endpoint| run.report(endpoint, 0, 3));
    assert_eq!(run.verdicts(), "ooc+++");
    run.at(29);
    assert_eq!((run.verdicts().as_str(), run.share(3)), ("ooc+++", 1.0));
    run.at(30);
    assert_eq!((run.verdicts().as_str(), run.share(3)), ("++++++", 0.125), "taken, and tried at once");
}

/// Of [`SIX`], with a probe that takes three failures and two successes.
fn slow(more: &str) -> String {
    let probe = "[probes.s]\ntype = \"tcp\"\nport = 81\nfall = 3\nrise = 2\nhold_down = \"0s\"\n[pools.p]";
    SIX.replace("[pools.p]", probe).replace("probe = \"a\"", "probe = \"s\"") + more
}

#[test]
fn breakers_that_what_is_doubted_opened_are_closed_when_the_doubt_is_over() {
    let mut run = Run::up(&format!("{SUSPICIOUS}{}", slow(BREAKER)));
    run.report(4, 0, 3);
    run.at(100);
    assert_eq!((run.verdicts().as_str(), run.share(4)), ("++++++", 0.125), "the fourth is tried");
    run.at(105);
    run.find("1a- 2a- 3a- 5a-");
    run.at(110);
    run.find("1a- 2a- 3a- 5a- 6a-");
    run.at(115);
    assert_eq!(run.find("1a- 2a- 3a- 5a- 6a-"), [Doubt::Begins { fallen: 4, of: 6 }]);
    assert_eq!((run.verdicts().as_str(), run.share(4)), ("uuu+u+", 0.125), "what was so long before stays so");
    let (_, health) = run.publisher.current_with_health();
    let history = History::new(&health, 0..1, 2, (run.now(), u64::from(NOW))).changes;
    let told: Vec<_> =
        history.iter().map(|change| format!("{} {}: {}", change.from, change.to, change.reason)).collect();
    assert_eq!(
        told,
        ["closed open: 3 failures in a row", "open closed: this server doubts itself, and what opened it"]
    );
    run.at(120);
    run.find("6a-");
    assert_eq!(run.verdicts(), "uuu+uu");
    run.at(125);
    assert_eq!(run.find("1a+ 2a+ 3a+ 5a+ 6a+"), []);
    run.at(130);
    run.recovers("1a+ 2a+ 3a+ 5a+ 6a+");
    let shares = |run: &Run| (1..=6).map(|endpoint| run.share(endpoint)).collect::<Vec<_>>();
    assert_eq!((run.verdicts().as_str(), shares(&run)), ("++++++", vec![1.0, 1.0, 1.0, 0.125, 1.0, 1.0]));
    // Nor does a failure that was doubted add up with others.
    run.find("6a-");
    assert_eq!(run.verdicts(), "++++++");
    run.find("6a- 6a-");
    assert_eq!(run.verdicts(), "+++++o");
    let transitions =
        |endpoint| run.publisher.health().endpoints().get(endpoint).unwrap().breaker().unwrap().transitions();
    assert_eq!([0, 3, 5].map(transitions), [[1, 1, 0], [0, 1, 1], [0, 1, 0]]);
}

#[test]
fn a_breaker_that_is_passed_by_cools_nothing_down() {
    let pool = SIX.replace("probe = \"a\"", "probe = \"a\"\nslow_start = \"1h\"");
    let mut run = Run::up(&format!("{pool}{BREAKER}"));
    run.obey("up endpoint/p/near/192.0.2.1");
    run.report(1, 0, 3);
    run.at(30);
    run.report(1, 2, 0);
    assert_eq!(run.share(1), 1.0, "it closes, but kept nobody away");
    run.obey("down endpoint/p/near/192.0.2.1");
    run.obey("up endpoint/p/near/192.0.2.1");
    assert_eq!(run.share(1), 1.0 / 16.0);
    run.report(1, 0, 3);
    assert_eq!(run.share(1), 1.0 / 16.0, "it opens, and warms up as before");
}

#[test]
fn a_breaker_goes_by_what_several_inputs_say_together() {
    for (require, expected) in [("any", "++++++"), ("all", "o+++++")] {
        let health = format!("health = [{{ probe = \"s\" }}, {{ probe = \"b\" }}]\nrequire = \"{require}\"");
        let run = Run::up(&slow(BREAKER).replace("probe = \"s\"", &health));
        run.find("1b- 1b- 1b-");
        assert_eq!(run.verdicts(), expected, "{require}");
    }
}

#[test]
fn a_breaker_takes_an_endpoint_away_from_those_that_depend_on_it() {
    let database = "[pools.p]\nprobe = \"a\"\nendpoints = [{ region = \"near\", address = \"192.0.2.1\" }]\n";
    let web = "[pools.web]\nhealth = [{ pool = \"p\" }]\n\
               endpoints = [{ region = \"near\", address = \"192.0.2.2\" }]\n";
    let mut run = Run::up(&format!("{database}{BREAKER}{web}"));
    assert_eq!(run.verdicts(), "++");
    run.report(1, 0, 3);
    assert_eq!(run.verdicts(), "o-");
    run.at(30);
    assert_eq!(run.verdicts(), "++", "it is tried");
    run.report(1, 0, 1);
    assert_eq!(run.verdicts(), "o-");
}

#[test]
fn what_warms_up_when_its_breaker_opens_is_tried_with_a_part_of_that() {
    let pool = SIX.replace("probe = \"a\"", "probe = \"a\"\nslow_start = \"10m\"");
    let mut run = Run::up(&format!("{pool}{BREAKER}"));
    run.find("1a-");
    run.find("1a+");
    assert_eq!(run.share(1), 1.0 / 16.0);
    run.report(1, 0, 3);
    run.at(30);
    assert_eq!(run.share(1), 0.125 * 2.0 / 16.0, "it goes on warming up");
    run.report(1, 2, 0);
    assert_eq!(run.share(1), 1.0 / 16.0, "and begins anew");
}

#[test]
fn who_is_unsure_takes_no_finding_for_a_failure_of_an_endpoint() {
    let mut run = Run::up(&format!("{SUSPICIOUS}{}", slow(&BREAKER.replace("failures = 3", "failures = 2"))));
    run.find("1a- 2a- 3a- 5a- 6a-");
    run.find("1a- 2a- 3a- 5a- 6a-");
    assert_eq!(run.find("1a- 2a- 3a- 5a- 6a-"), [Doubt::Begins { fallen: 5, of: 6 }]);
    run.find("4a- 4a-");
    run.find("1a+ 2a+ 3a+");
    run.recovers("1a+ 2a+ 3a+");
    assert_eq!((run.verdicts().as_str(), run.share(4)), ("++++--", 12.0 / 16.0), "the fourth failed twice");
}

#[test]
fn what_fell_when_the_window_began_is_part_of_it() {
    let mut run = Run::up(&format!("{SUSPICIOUS}{SIX}{}", BREAKER.replace("30s", "5m")));
    run.find("1a-");
    run.report(4, 0, 3);
    assert_eq!(run.verdicts(), "-++o++");
    run.at(30);
    assert_eq!(run.find("2a- 5a- 6a-"), [Doubt::Begins { fallen: 4, of: 6 }]);
    assert_eq!(run.verdicts(), "uu++uu");
}

#[test]
fn breakers_that_open_long_before_what_is_doubted_is_found_down_are_closed_too() {
    let suspicious = SUSPICIOUS.replace("30s", "10s");
    let breaker = BREAKER.replace("failures = 3", "failures = 1").replace("30s", "10m");
    let mut run = Run::up(&format!("{suspicious}{}", slow(&breaker)));
    run.find("6a-");
    run.at(100);
    run.find("1a- 2a- 3a- 5a-");
    assert_eq!(run.verdicts(), "ooo+oo");
    run.at(110);
    run.find("1a- 2a- 3a- 5a-");
    run.at(120);
    assert_eq!(run.find("1a- 2a- 3a- 5a-"), [Doubt::Begins { fallen: 4, of: 6 }]);
    assert_eq!(run.verdicts(), "uuu+uo", "what opened for another reason stays so");
    assert!(!run.publisher.health().endpoints().get(0).unwrap().is_tripped());
}

#[test]
fn what_was_found_down_before_what_is_doubted_stays_so_though_it_has_a_breaker() {
    let mut run = Run::up(&format!("{SUSPICIOUS}{}", slow(BREAKER)));
    run.at(100);
    run.find("6a- 6a- 6a-");
    assert_eq!(run.verdicts(), "+++++o");
    run.at(131);
    assert_eq!(run.find("1a- 2a- 3a- 5a- 1a- 2a- 3a- 5a-"), []);
    assert_eq!(run.find("1a- 2a- 3a- 5a-"), [Doubt::Begins { fallen: 4, of: 5 }]);
    assert_eq!(run.verdicts(), "uuu+u-");
}

#[test]
fn a_probe_that_is_only_watched_changes_nothing_of_a_breaker() {
    let breaker = "[pools.p.breaker]\nfailures = 100\nerror_rate = 0.5\nmin_reports = 4\nwindow = \"60s\"\n";
    for health in ["probe = \"s\"", "health = [{ probe = \"s\" }, { probe = \"b\", monitoring_only = true }]"] {
        let run = Run::up(&slow(breaker).replace("probe = \"s\"", health));
        run.find("1a- 1a+");
        assert_eq!(run.verdicts(), "++++++");
        run.find("1a-");
        assert_eq!(run.verdicts(), "o+++++", "{health}: two of four failed");
    }
}

#[test]
fn what_a_doubt_gave_back_is_warm_when_it_is_over() {
    let pool = SIX.replace("probe = \"a\"", "probe = \"a\"\nslow_start = \"10m\"");
    let mut run = Run::up(&format!("{SUSPICIOUS}{pool}"));
    run.find("1a- 2a- 3a-");
    run.at(10);
    assert_eq!(run.verdicts(), "---+++");
    assert_eq!(run.find("5a-"), [Doubt::Begins { fallen: 4, of: 6 }]);
    assert_eq!((run.verdicts().as_str(), run.share(1)), ("uuu+u+", 1.0));
    run.at(20);
    run.recovers("1a+ 2a+");
    assert_eq!((run.verdicts().as_str(), run.share(1)), ("++-+-+", 1.0));
    run.find("3a+");
    assert_eq!(run.share(3), 1.0 / 16.0, "what was down indeed warms up");
}

#[test]
fn what_depends_on_what_a_doubt_gave_back_is_warm_too() {
    let front = "[pools.q]\nhealth = [{ pool = \"p\" }]\nslow_start = \"10m\"\n\
                 endpoints = [{ region = \"near\", address = \"192.0.2.9\" }]\n";
    let canary = "canaries = [{ probe = \"a\", address = \"192.0.2.200\" }]\n";
    let mut run = Run::up(&format!("{SUSPICIOUS}{canary}{SIX}{front}"));
    run.find("1a- 2a- 3a- 4a- 5a- 6a-");
    let warmth = |run: &Run| {
        let health = run.publisher.health();
        let known = health.endpoints().get(6).unwrap().clone();
        (known.verdict(), known.warmth(run.now()))
    };
    assert_eq!(warmth(&run).0, Verdict::Down);
    run.at(10);
    assert_eq!(run.find("200a-"), [Doubt::Begins { fallen: 6, of: 6 }]);
    assert_eq!(warmth(&run), (Verdict::Up, 16));
}

#[test]
fn what_drains_is_not_taken_away_by_who_is_unsure() {
    let mut run = Run::up(&format!("{SUSPICIOUS}{SIX}"));
    run.obey("drain endpoint/p/near/192.0.2.1, drain endpoint/p/far/192.0.2.6");
    run.find("1a-");
    run.at(100);
    run.find("2a- 3a- 6a-");
    assert_eq!(run.verdicts(), "---++-");
    assert_eq!(run.find("5a-"), [Doubt::Begins { fallen: 4, of: 5 }]);
    assert_eq!(run.verdicts(), "-uu+uu", "what went down long before stays so");
    run.recovers("2a+ 3a+");
    assert_eq!(run.verdicts(), "-+++--");
}

#[test]
fn regions_where_nothing_is_probed_make_no_other_region() {
    let near = SIX.replace("region = \"far\"", "region = \"near\"");
    let far = |name: &str, health: &str| {
        let endpoints = "endpoints = [{ region = \"far\", address = \"192.0.2.9\" }]";
        format!("[pools.{name}]\nhealth = [{health}]\n{endpoints}\n")
    };
    let on_pool = far("q", "{ pool = \"p\" }");
    let watched = far("r", "{ pool = \"p\" }, { probe = \"b\", monitoring_only = true }");
    let run = Run::up(&format!("{SUSPICIOUS}{near}{on_pool}{watched}"));
    assert_eq!(run.find("1a- 2a- 3a- 4a- 5a-"), [Doubt::Begins { fallen: 5, of: 6 }]);
    // One target may be in several regions.
    let shared = far("s", "{ probe = \"a\" }").replace("192.0.2.9", "192.0.2.1");
    let run = Run::up(&format!("{SUSPICIOUS}{near}{shared}"));
    assert_eq!(run.find("1a- 2a- 3a- 4a- 5a-"), [Doubt::Begins { fallen: 5, of: 6 }]);
}

#[test]
fn what_drains_as_planned_counts_for_nothing() {
    let drains = |text: &str, endpoint: u8| {
        let place = format!("address = \"192.0.2.{endpoint}\"");
        text.replace(&place, &format!("{place}, drain_at = 2026-11-22T03:00:10Z"))
    };
    // Of six endpoints three may be taken away, of four two.
    let six = drains(&drains(SIX, 5), 6);
    let mut run = Run::up(&format!("[safety]\nmax_down_share = 0.5\n{six}"));
    run.find("1a- 2a-");
    run.at(9);
    run.find("3a-");
    assert_eq!(run.verdicts(), "---+++");
    run.find("3a+");
    run.at(10);
    run.find("3a- 5a-");
    assert_eq!(run.verdicts(), "--s+-+", "what drains is no part of it");
    run.reload(|text| format!("{text}\n# again\n"));
    assert_eq!(run.verdicts(), "--s+-+", "after a reload");
    // So it is where the drain began before the server did.
    let run = Run::up(&format!("[safety]\nmax_down_share = 0.5\n{}", six.replace("03:00:10", "02:59:50")));
    run.find("1a- 2a- 3a-");
    assert_eq!(run.verdicts(), "--s+++");
    // Where one drains that was taken away, there may be room for another.
    let mut run = Run::up(&format!("[safety]\nmax_down_share = 0.6\n{}", drains(SIX, 1)));
    run.find("1a- 2a- 5a-");
    run.find("3a-");
    assert_eq!(run.verdicts(), "--s+-+");
    run.at(10);
    assert_eq!(run.verdicts(), "---+-+");
    // A region whose endpoints drain is none that is left.
    let mut run = Run::up(&format!("[safety]\nmin_healthy_regions = 1\n{six}"));
    run.at(10);
    run.find("1a- 2a- 3a- 4a-");
    assert_eq!(run.verdicts(), "---r++");
    // Nor is it a pool that others can rely on.
    let mut run = Run::up(&drains(CHAIN, 3));
    run.at(9);
    assert_eq!(run.verdicts(), "++++++++");
    run.at(10);
    assert_eq!(run.verdicts(), "-+++++++");
}

const SUSPICIOUS: &str = "[safety.self_suspicion]\nleast = 5\nshare = 0.6\nwindow = \"30s\"\nat_most = \"5m\"\n";

#[test]
fn when_nearly_all_turns_down_at_once_nothing_is_taken_away() {
    let mut run = Run::up(&format!("{SUSPICIOUS}{SIX}"));
    run.find("1a-");
    run.at(100);
    assert_eq!(run.verdicts(), "-+++++");
    assert_eq!(run.find("2a- 3a-"), []);
    run.at(110);
    assert_eq!(run.find("5a-"), []);
    assert_eq!(run.verdicts(), "---+-+");
    run.at(120);
    // Four of six within the window: those are given back, but not what went down long before.
    assert_eq!(run.find("6a-"), [Doubt::Begins { fallen: 4, of: 5 }]);
    assert_eq!(run.verdicts(), "-uu+uu");
    run.find("4a-");
    assert_eq!(run.verdicts(), "-uuuuu");
    run.reload(|text| format!("{text}\n# again\n"));
    assert_eq!(run.verdicts(), "-uuuuu", "after a reload");
    // Most answer again.
    assert_eq!(run.find("2a+ 3a+"), []);
    assert_eq!(run.verdicts(), "-++uuu");
    run.recovers("6a+");
    assert_eq!(run.verdicts(), "-++--+");
}

#[test]
fn who_went_down_first_of_all_pools_is_taken_first_where_changes_are_rationed() {
    let other = "[pools.q]\nprobe = \"a\"\nendpoints = [{ region = \"near\", address = \"192.0.2.7\" }, \
                 { region = \"near\", address = \"192.0.2.8\" }]\n";
    let mut run = Run::up(&format!("[safety]\nmax_changes_per_minute = 1\n{SIX}{other}"));
    run.find("4a-");
    run.at(10);
    run.find("7a-");
    run.at(20);
    run.find("1a- 2a-");
    assert_eq!(run.verdicts(), "cc+-++c+");
    run.at(59);
    assert_eq!(run.verdicts(), "cc+-++c+");
    run.at(60);
    assert_eq!(run.verdicts(), "cc+-++-+");
    run.at(120);
    assert_eq!(run.verdicts(), "-c+-++-+");
}

#[test]
fn what_was_taken_of_late_is_given_back_in_pools_of_which_nothing_else_fell() {
    let other = "[pools.q]\nprobe = \"a\"\nendpoints = [{ region = \"near\", address = \"192.0.2.7\" }, \
                 { region = \"near\", address = \"192.0.2.8\" }]\n";
    let mut run = Run::up(&format!("[safety]\nmax_changes_per_minute = 1\n{SUSPICIOUS}{SIX}{other}"));
    run.find("7a- 8a-");
    assert_eq!(run.verdicts(), "++++++-c");
    // It fell long before, and is only taken now.
    run.at(61);
    run.at(70);
    assert_eq!(run.verdicts(), "++++++--");
    assert_eq!(run.find("1a- 2a- 3a- 5a- 6a-"), [Doubt::Begins { fallen: 5, of: 6 }]);
    assert_eq!(run.verdicts(), "uuu+uu-u");
}

#[test]
fn a_reload_of_timing_ends_no_doubt() {
    let mut run = Run::up(&format!("{SUSPICIOUS}{SIX}"));
    assert_eq!(run.find("1a- 2a- 3a- 5a- 6a-"), [Doubt::Begins { fallen: 5, of: 6 }]);
    run.reload(|text| text.replace("fall = 1", "fall = 2"));
    assert_eq!(run.at(1), []);
    assert_eq!(run.verdicts(), "uuu+uu");
    // Those that are gone have not recovered.
    run.reload(|text| {
        text.replace(
            "{ region = \"near\", address = \"192.0.2.1\" }, { region = \"near\", address = \"192.0.2.2\" },",
            "",
        )
    });
    assert_eq!((run.at(2), run.verdicts().as_str()), (vec![], "u+uu"));
    assert_eq!(run.find("3a+"), []);
    run.recovers("5a+");
    // What fell within the window before a reload counts after it.
    let mut run = Run::up(&format!("{SUSPICIOUS}{SIX}"));
    assert_eq!(run.find("1a- 2a- 3a-"), []);
    run.reload(|text| text.replace("rise = 1", "rise = 2"));
    assert_eq!(run.find("5a-"), [Doubt::Begins { fallen: 4, of: 6 }]);
    // And no longer, whatever their places are.
    let mut run = Run::up(&format!("{SUSPICIOUS}{SIX}"));
    assert_eq!(run.find("1a- 2a- 3a-"), []);
    let more = |octet: u8| format!("{{ region = \"near\", address = \"192.0.2.{octet}\" }},");
    run.reload(|text| text.replace("endpoints = [", &format!("endpoints = [{}", [7, 8, 9].map(more).concat())));
    run.at(1);
    run.find("7a+ 8a+ 9a+");
    run.at(60);
    assert_eq!(run.find("5a- 6a- 4a-"), []);
}

#[test]
fn what_a_reload_only_watches_counts_for_no_doubt() {
    let mut run = Run::up(&format!("{SUSPICIOUS}{SIX}"));
    assert_eq!(run.find("1a- 2a- 3a- 5a- 6a-"), [Doubt::Begins { fallen: 5, of: 6 }]);
    let other = "health = [{ probe = \"a\", monitoring_only = true }, { probe = \"b\" }]";
    run.reload(|text| text.replace("probe = \"a\"\nendpoints", &format!("{other}\nendpoints")));
    assert_eq!(run.at(1), []);
    assert_eq!(run.at(30), []);
    assert_eq!(run.at(31), [Doubt::Ends(Relief::Recovered)]);
}

#[test]
fn a_reload_that_lets_a_doubt_last_less_ends_it() {
    let mut run = Run::up(&format!("{SUSPICIOUS}{SIX}"));
    run.at(20);
    assert_eq!(run.find("1a- 2a- 3a- 5a- 6a-"), [Doubt::Begins { fallen: 5, of: 6 }]);
    run.reload(|text| text.replace("share = 0.6", "share = 1.0"));
    assert_eq!(run.at(39), [], "that none begins ends none");
    run.reload(|text| text.replace("at_most = \"5m\"", "at_most = \"20s\""));
    assert_eq!(run.at(40), [Doubt::Ends(Relief::TooLong)]);
    assert_eq!(run.verdicts(), "---+--");
}

#[test]
fn what_is_doubted_is_not_held_down() {
    let manual = SIX.replace(
        "[pools.p]",
        "[probes.m]\ntype = \"tcp\"\nport = 81\nfall = 1\nrise = 1\nmanual_resume = true\n[pools.p]",
    );
    let mut run = Run::up(&format!("{SUSPICIOUS}{}", manual.replace("probe = \"a\"", "probe = \"m\"")));
    assert_eq!(run.find("1a- 2a- 3a- 5a- 6a-"), [Doubt::Begins { fallen: 5, of: 6 }]);
    run.at(10);
    assert_eq!(run.find("4a-"), []);
    assert_eq!(run.find("1a+ 4a+"), []);
    run.recovers("2a+");
    run.find("3a+");
    assert_eq!(run.verdicts(), "++-+--", "what answered before the doubt ended came up, what did not is down");
    run.find("5a+");
    assert_eq!(run.verdicts(), "++-+--", "and waits to be resumed");
    // A fall that was doubted, and came up, counts for no hold.
    let flapping = SIX.replace(
        "[pools.p]",
        "[probes.h]\ntype = \"tcp\"\nport = 81\nfall = 1\nrise = 1\nhold_down = \"1m\"\n[pools.p]",
    );
    let mut run = Run::up(&format!("{SUSPICIOUS}{}", flapping.replace("probe = \"a\"", "probe = \"h\"")));
    run.find("1a- 2a- 3a- 5a- 6a-");
    run.at(5);
    run.recovers("1a+ 2a+ 3a+");
    run.find("5a+ 6a+");
    run.at(100);
    run.find("1a- 5a-");
    run.find("1a+ 5a+");
    assert_eq!(run.verdicts(), "++++-+", "the first to count holds nobody, and the second does");
}

#[test]
fn a_resumption_that_is_said_during_a_doubt_holds_when_it_is_over() {
    let manual = "[probes.m]\ntype = \"tcp\"\nport = 81\nfall = 1\nrise = 1\nmanual_resume = true\n[pools.p]";
    let pool = SIX.replace("[pools.p]", manual).replace("probe = \"a\"", "probe = \"m\"");
    let mut run = Run::up(&format!("{SUSPICIOUS}{pool}"));
    assert_eq!(run.find("1a- 2a- 3a- 5a- 6a-"), [Doubt::Begins { fallen: 5, of: 6 }]);
    assert_eq!(run.publisher.resume(&"endpoint/p/far/192.0.2.5".parse().unwrap(), run.now()).0, 1);
    run.recovers("1a+ 2a+ 3a+");
    assert_eq!(run.verdicts(), "++++--");
    run.find("5a+ 6a+");
    assert_eq!(run.verdicts(), "+++++-");
}

#[test]
fn what_is_resumed_is_no_longer_down_for_a_doubt() {
    let manual = "[probes.m]\ntype = \"tcp\"\nport = 81\nfall = 1\nrise = 1\nmanual_resume = true\n[pools.p]";
    let pool = SIX.replace("[pools.p]", manual).replace("probe = \"a\"", "probe = \"m\"");
    let run = Run::up(&format!("{SUSPICIOUS}{pool}"));
    assert_eq!(run.find("1a- 2a- 5a-"), []);
    run.find("1a+ 2a+");
    assert_eq!(run.verdicts(), "--++-+");
    assert_eq!(run.publisher.resume(&"region/near".parse().unwrap(), run.now()).0, 2);
    assert_eq!(run.verdicts(), "++++-+");
    assert_eq!(run.find("3a-"), []);
}

#[test]
fn a_resumption_counts_for_the_end_of_a_doubt() {
    let manual = "[probes.m]\ntype = \"tcp\"\nport = 81\nfall = 1\nrise = 1\nmanual_resume = true\n[pools.p]";
    let pool = SIX.replace("[pools.p]", manual).replace("probe = \"a\"", "probe = \"m\"");
    let mut run = Run::up(&format!("{SUSPICIOUS}{pool}"));
    run.find("1a- 2a- 3a-");
    run.find("1a+ 2a+ 3a+");
    assert_eq!(run.find("5a- 6a-"), [Doubt::Begins { fallen: 5, of: 6 }]);
    let (targets, events) = run.publisher.resume(&"region/near".parse().unwrap(), run.now());
    assert_eq!((targets, doubts(events)), (3, vec![]));
    assert_eq!(run.at(29), []);
    assert_eq!(run.at(30), [Doubt::Ends(Relief::Recovered)]);
    assert_eq!(run.verdicts(), "++++--");
}

#[test]
fn a_doubt_lasts_for_no_longer_than_it_may() {
    let mut run = Run::up(&format!("{SUSPICIOUS}{SIX}"));
    let all = "1a- 2a- 3a- 5a- 6a-";
    assert_eq!(run.find(all), [Doubt::Begins { fallen: 5, of: 6 }]);
    assert_eq!(run.verdicts(), "uuu+uu");
    assert_eq!(run.at(299), []);
    assert_eq!(run.at(300), [Doubt::Ends(Relief::TooLong)]);
    assert_eq!(run.verdicts(), "---+--");
    // What comes and goes meanwhile is believed, also after a restart.
    run.restart(1);
    for found in ["1a+", "1a-", "2a+", "2a-", "3a+", "3a-", "5a+", "5a-"] {
        assert_eq!(run.find(found), [], "{found}");
    }
    // Once most answered, be it slowly, there may be another doubt.
    run.find("1a~ 2a~ 3a~ 5a~ 6a~");
    run.at(400);
    assert_eq!(run.find(all), [Doubt::Begins { fallen: 5, of: 6 }]);
    run.recovers("1a~ 2a~ 3a~");
}

#[test]
fn what_takes_its_time_is_not_taken_away_when_most_answer_again() {
    let mut run = Run::up(&format!("{SUSPICIOUS}{SIX}"));
    assert_eq!(run.find("1a- 2a- 3a- 5a- 6a-"), [Doubt::Begins { fallen: 5, of: 6 }]);
    run.at(10);
    assert_eq!(run.find("1a+ 2a+ 3a+"), []);
    assert_eq!(run.verdicts(), "++++uu");
    // Cut off again, at once.
    run.at(20);
    run.find("1a- 2a- 3a-");
    assert_eq!(run.verdicts(), "uuu+uu");
    run.at(30);
    run.find("1a+ 2a+ 3a+");
    run.at(50);
    run.find("5a+ 6a+");
    assert_eq!(run.at(60), [Doubt::Ends(Relief::Recovered)]);
    assert_eq!(run.verdicts(), "++++++");
}

#[test]
fn a_cut_is_doubted_though_much_was_down_before_it() {
    let ten = |others: [&str; 4]| {
        let endpoint = |(octet, region)| format!("{{ region = \"{region}\", address = \"192.0.2.{octet}\" }},");
        let others: String = (7..).zip(others).map(endpoint).collect();
        format!("{SUSPICIOUS}{}{others}]\n", SIX.trim_end().trim_end_matches(']'))
    };
    let mut run = Run::up(&ten(["far", "far", "near", "near"]));
    run.find("7a- 8a- 9a- 10a-");
    run.at(100);
    assert_eq!(run.find("1a- 2a- 3a-"), []);
    assert_eq!(run.find("5a-"), [Doubt::Begins { fallen: 4, of: 6 }]);
    // The other region was down before it, so what falls in one is all that there is.
    let mut run = Run::up(&ten(["far", "far", "far", "near"]));
    run.find("5a- 6a- 7a- 8a- 9a-");
    run.at(100);
    assert_eq!(run.find("1a- 2a- 3a-"), []);
    assert_eq!(run.find("4a-"), [Doubt::Begins { fallen: 4, of: 5 }]);
}

#[test]
fn one_region_alone_may_well_be_down() {
    let text = SIX.replace("region = \"far\", address = \"192.0.2.5\"", "region = \"near\", address = \"192.0.2.5\"");
    let run = Run::up(&format!("{SUSPICIOUS}{text}"));
    assert_eq!(run.find("1a- 2a- 3a- 4a- 5a-"), []);
    assert_eq!(run.verdicts(), "-----+");
}

#[test]
fn a_canary_tells_whether_it_is_this_server() {
    let canary = "canaries = [{ probe = \"a\", address = \"192.0.2.200\" }]\n";
    let mut run = Run::up(&format!("{SUSPICIOUS}{canary}{SIX}"));
    assert_eq!(run.find("1a- 2a- 3a- 5a- 6a-"), []);
    assert_eq!(run.verdicts(), "---+--");
    run.find("1a+ 2a+ 3a+ 5a+ 6a+");
    run.at(60);
    assert_eq!(run.find("200a- 1a- 2a- 3a- 5a- 6a-"), [Doubt::Begins { fallen: 5, of: 6 }]);
    assert_eq!(run.verdicts(), "uuu+uu");
    // The others need their time to be found up.
    assert_eq!(run.find("200a+"), []);
    run.at(89);
    assert_eq!(run.find("200a+"), []);
    assert_eq!(run.verdicts(), "uuu+uu");
    assert_eq!(run.at(90), [Doubt::Ends(Relief::Canary)]);
    assert_eq!(run.verdicts(), "---+--");
}

#[test]
fn a_canary_counts_for_as_long_as_its_answer_is_fresh() {
    let canary = "canaries = [{ probe = \"a\", address = \"192.0.2.200\" }]\n";
    for (second, doubts) in [(30, vec![]), (31, vec![Doubt::Begins { fallen: 5, of: 6 }])] {
        let mut run = Run::up(&format!("{SUSPICIOUS}{canary}{SIX}"));
        run.at(second);
        assert_eq!(run.find("1a- 2a- 3a- 5a- 6a-"), doubts, "{second}");
    }
    // One that never says anything is waited for until a window has passed.
    let mut run = Run::new(&format!("{SUSPICIOUS}{canary}{SIX}"));
    run.at(0);
    run.at(10);
    assert_eq!(run.find("1a- 2a- 3a- 4a- 5a- 6a-"), []);
    assert_eq!(run.at(30), []);
    assert_eq!(run.at(31), [Doubt::Begins { fallen: 6, of: 6 }]);
}

#[test]
fn one_of_several_canaries_suffices_once_all_were_asked() {
    let canaries = "canaries = [{ probe = \"a\", address = \"192.0.2.200\" }, \
                    { probe = \"a\", address = \"192.0.2.201\" }]\n";
    let run = Run::new(&format!("{SUSPICIOUS}{canaries}{SIX}"));
    assert_eq!(run.find("1a- 2a- 3a- 5a- 6a-"), []);
    assert_eq!(run.find("200a-"), [], "the other may answer");
    assert_eq!(run.find("201a+"), []);
    assert_eq!(run.find("201a- 4a-"), [Doubt::Begins { fallen: 6, of: 6 }]);
}

#[test]
fn a_canary_that_is_asked_late_gives_back_what_fell_before() {
    let canary = "canaries = [{ probe = \"a\", address = \"192.0.2.200\" }]\n";
    let mut run = Run::up(&format!("{SUSPICIOUS}{canary}{SIX}"));
    run.at(1);
    assert_eq!(run.find("1a- 2a- 3a- 5a- 6a-"), []);
    run.at(30);
    assert_eq!(run.verdicts(), "---+--");
    assert_eq!(run.find("200a-"), [Doubt::Begins { fallen: 5, of: 6 }]);
    assert_eq!(run.verdicts(), "uuu+uu");
}

#[test]
fn a_restart_while_it_doubts_takes_nothing_away() {
    let begun = |off_seconds| {
        let mut run = Run::up(&format!("{SUSPICIOUS}{SIX}"));
        run.find("1a-");
        run.at(100);
        assert_eq!(run.find("2a- 3a- 5a- 6a-"), [Doubt::Begins { fallen: 4, of: 5 }]);
        assert_eq!(run.verdicts(), "-uu+uu");
        run.at(110);
        run.restart(off_seconds);
        assert_eq!(run.verdicts(), "-uu+uu");
        run
    };
    let mut run = begun(40);
    run.find("4a-");
    run.restart(1);
    assert_eq!(run.verdicts(), "-uuuuu", "who falls later is held too, and after another restart");
    run.find("2a+ 3a+");
    assert_eq!(run.verdicts(), "-++uuu");
    run.restart(1);
    run.recovers("4a+");
    assert_eq!(run.verdicts(), "-+++--");
    // What was taken long before stays so, however long the server is off.
    begun(180);
    // So it is however long the doubt has lasted, of all that began it.
    let mut run = Run::up(&format!("{SUSPICIOUS}{SIX}"));
    run.find("2a- 3a-");
    run.at(30);
    assert_eq!(run.find("5a- 6a-"), [Doubt::Begins { fallen: 4, of: 6 }]);
    run.at(200);
    run.restart(10);
    assert_eq!((run.at(211), run.verdicts().as_str()), (vec![], "+uu+uu"));
    assert_eq!(run.find("5a+"), [], "three of four are left");
    run.recovers("6a+");
    // The time for which the server is off counts: nobody is to be sent to what is dead for longer than was said.
    let mut run = begun(40);
    assert_eq!(run.at(399), []);
    assert_eq!(run.at(400), [Doubt::Ends(Relief::TooLong)]);
    assert_eq!(run.verdicts(), "---+--");
    run.restart(20);
    assert_eq!((run.find("1a- 2a- 3a- 5a- 6a- 4a-"), run.verdicts().as_str()), (vec![], "------"), "it was believed");
    let mut run = begun(40);
    run.recovers("2a+ 3a+ 4a+");
    assert_eq!(run.verdicts(), "-+++--", "nothing is left of a doubt that ended");
}

#[test]
fn a_restart_with_another_configuration_ends_no_doubt() {
    let begun = || {
        let mut run = Run::up(&format!("{SUSPICIOUS}{SIX}"));
        assert_eq!(run.find("2a- 3a- 5a- 6a-"), [Doubt::Begins { fallen: 4, of: 6 }]);
        run.at(10);
        run
    };
    let mut run = begun();
    run.text = run.text.replace("fall = 1", "fall = 2");
    run.restart(1);
    assert_eq!((run.at(12), run.verdicts().as_str()), (vec![], "+uu+uu"), "another timing");
    // Of those that are there, half have to answer again.
    let mut run = begun();
    let gone = "{ region = \"near\", address = \"192.0.2.2\" },\n  { region = \"near\", address = \"192.0.2.3\" },";
    assert!(run.text.contains(gone));
    run.text = run.text.replace(gone, "");
    run.restart(1);
    assert_eq!((run.at(12), run.verdicts().as_str()), (vec![], "++uu"));
    run.recovers("5a+");
}

#[test]
fn what_is_kept_follows_what_time_alone_changes() {
    let folder = Folder::new("kept");
    let state = folder.path("state");
    let mut run = Run::up(&format!("{SUSPICIOUS}{SIX}"));
    let operator = Operator::start(Some(&state), Arc::clone(&run.publisher), run.now(), NOW.into()).unwrap();
    let kept = |run: &Run| {
        operator.keep_verdicts(false, run.now(), u64::from(NOW + run.seconds));
        let text = std::fs::read_to_string(state.join("verdicts")).unwrap();
        (text.contains("\"unsure\""), text.matches("\"away\"").count())
    };
    assert_eq!(kept(&run), (false, 0));
    run.reload(|text| format!("[safety]\nmax_changes_per_minute = 4\nmax_down_share = 0\n{text}"));
    run.find("1a- 2a- 3a- 5a- 6a-");
    assert_eq!(kept(&run), (true, 0));
    run.at(299);
    kept(&run);
    run.at(300);
    assert_eq!(kept(&run), (false, 0), "it no longer doubts itself, and takes nothing away");
    run.reload(|text| text.replace("max_down_share = 0", ""));
    run.at(301);
    assert_eq!(kept(&run), (false, 4));
    run.at(316);
    assert_eq!(kept(&run), (false, 5), "there is room for one more");
    // What stays the same is kept again when it is half as old as it may become, and at the end.
    let time = |(is_last, seconds): (bool, u32)| {
        let now = run.start + Duration::from_secs(seconds.into());
        operator.keep_verdicts(is_last, now, u64::from(NOW + seconds));
        let text = std::fs::read_to_string(state.join("verdicts")).unwrap();
        let (_, time) = text.split_once("\"time\":").unwrap();
        time.split_once(',').unwrap().0.parse::<u32>().unwrap() - NOW
    };
    assert_eq!([(false, 465), (false, 466), (false, 467), (true, 468)].map(time), [316, 466, 466, 468]);
    // Nothing is kept where nothing is to be taken up.
    run.reload(|text| text.replacen("[safety]", "[safety]\nrestore_max_age = \"0s\"", 1));
    std::fs::remove_file(state.join("verdicts")).unwrap();
    run.seconds = 500;
    operator.keep_verdicts(true, run.now(), u64::from(NOW + run.seconds));
    assert!(!state.join("verdicts").exists());
}

#[test]
fn a_restart_amid_a_fall_sees_all_of_it() {
    let mut run = Run::up(&format!("{SUSPICIOUS}{SIX}"));
    run.at(100);
    assert_eq!(run.find("1a- 2a- 3a-"), []);
    assert_eq!(run.verdicts(), "---+++");
    run.at(110);
    run.restart(200);
    assert_eq!((run.verdicts().as_str(), run.at(310)), ("---+++", vec![]));
    // Nobody was there to see what happened in between.
    assert_eq!(run.find("5a-"), [Doubt::Begins { fallen: 4, of: 6 }]);
    assert_eq!(run.verdicts(), "uuu+u+");
    // What fell long before is no part of it.
    let mut run = Run::up(&format!("{SUSPICIOUS}{SIX}"));
    run.find("1a- 2a- 3a-");
    run.at(40);
    run.restart(1);
    assert_eq!((run.find("5a-"), run.verdicts().as_str()), (vec![], "---+-+"));
    // Each is part of it for a window from its own fall on.
    let mut run = Run::up(&format!("{SUSPICIOUS}{SIX}"));
    run.find("5a-");
    run.at(20);
    run.find("1a- 2a-");
    run.restart(1);
    run.at(40);
    assert_eq!(run.find("3a-"), []);
    // Canaries are none of those that fall.
    let canary = "canaries = [{ probe = \"a\", address = \"192.0.2.200\" }]\n";
    let mut run = Run::up(&format!("{SUSPICIOUS}{canary}{SIX}"));
    assert_eq!(run.find("200a- 1a- 2a- 5a-"), []);
    run.restart(1);
    run.find("200a-");
    assert_eq!(run.at(2), []);
}

#[test]
fn who_fell_first_is_taken_first_after_a_restart() {
    let mut run = Run::up(&format!("[safety]\nmax_changes_per_minute = 1\n{SIX}"));
    run.find("4a-");
    for (second, found) in [(1, "3a-"), (2, "2a-"), (3, "1a-")] {
        run.at(second);
        run.find(found);
    }
    run.restart(5);
    assert_eq!(run.verdicts(), "ccc-++");
    run.at(61);
    assert_eq!(run.verdicts(), "cc--++");
    run.at(122);
    assert_eq!(run.verdicts(), "c---++");
    // So it is where it was taken before that, and given back in a doubt.
    let suspicious = SUSPICIOUS.replace("share = 0.6", "share = 0.4").replace("least = 5", "least = 3");
    let mut run = Run::up(&format!("[safety]\nmax_changes_per_minute = 1\n{suspicious}{SIX}"));
    run.find("2a-");
    for (second, found) in [(1, "3a-"), (2, "1a-")] {
        run.at(second);
        run.find(found);
    }
    run.at(61);
    assert_eq!(run.verdicts(), "c--+++");
    run.at(65);
    run.restart(10);
    assert_eq!(run.find("4a- 5a- 6a-"), [Doubt::Begins { fallen: 3, of: 3 }]);
    assert_eq!(run.verdicts(), "u-uuuu");
    run.at(375);
    assert_eq!(run.verdicts(), "c--ccc");
}

#[test]
fn a_restart_gives_nothing_back_that_limits_allowed_to_take() {
    let mut run = Run::up(&format!("[safety]\nmax_changes_per_minute = 2\n{SIX}"));
    run.find("3a- 4a-");
    run.at(60);
    run.find("5a- 6a-");
    run.at(61);
    run.find("1a-");
    assert_eq!(run.verdicts(), "c+----");
    run.restart(20);
    assert_eq!(run.verdicts(), "c+----");
    run.at(89);
    assert_eq!(run.verdicts(), "c+----", "no more changes than before");
    run.at(91);
    assert_eq!(run.verdicts(), "-+----");
}

#[test]
fn a_restart_knows_since_when() {
    let mut run = Run::up(CHAIN);
    run.at(100);
    run.find("3b-");
    run.at(150);
    run.restart(20);
    assert_eq!(run.verdicts(), "-+-+++++");
    let ages = |run: &Run| -> Vec<u64> {
        let health = run.publisher.health();
        let age = |known: &meridian::health::EndpointHealth| run.now().duration_since(known.since().unwrap()).as_secs();
        health.endpoints().all().iter().map(age).collect()
    };
    // The first is down as its database is, which is for the database to tell.
    assert_eq!(ages(&run)[1..], [170, 70, 170, 170, 170, 170, 170]);
    run.at(180);
    run.find("3b+");
    assert_eq!((run.verdicts().as_str(), &ages(&run)[..4]), ("++++++++", &[0, 180, 0, 180][..]));
}

#[test]
fn an_endpoint_is_as_old_as_the_last_of_its_inputs_that_counts() {
    let mut run = Run::new(
        "[pools.p]\nhealth = [{ probe = \"a\" }, { probe = \"b\" }, { probe = \"c\", monitoring_only = true }]\n\
         endpoints = [{ region = \"near\", address = \"192.0.2.1\" }]\n",
    );
    for (second, found) in [(0, "1a+"), (10, "1b+"), (20, "1c+")] {
        run.seconds = second;
        run.find(found);
    }
    run.restart(5);
    let health = run.publisher.health();
    let since = health.endpoints().get(0).unwrap().since();
    assert_eq!(since, Some(run.start + Duration::from_secs(10)));
}

#[test]
fn each_is_settled_once_by_what_holds_in_the_end() {
    let run = Run::up(CHAIN);
    run.find("1a-");
    let changes = |run: &Run| run.publisher.health().endpoints().get(0).unwrap().history().count();
    assert_eq!((run.verdicts().as_str(), changes(&run)), ("-+++++++", 2));
    // It comes up, and what it needs goes down.
    run.find("1a+ 7c-");
    assert_eq!((run.verdicts().as_str(), changes(&run)), ("-------+", 2));
}

#[test]
fn a_server_that_is_cut_off_when_it_starts_doubts_itself() {
    let mut run = Run::new(&format!("{SUSPICIOUS}{SIX}"));
    run.at(0);
    assert_eq!(run.find("1a- 2a- 3a-"), [], "who has no result yet may be up");
    assert_eq!(run.verdicts(), "---???");
    assert_eq!(run.find("5a-"), [Doubt::Begins { fallen: 4, of: 6 }]);
    assert_eq!(run.verdicts(), "uuu?u?");
    run.find("4a+ 6a-");
    assert_eq!(run.verdicts(), "uuu+uu");
    // Where that is how it is, it is believed in the end, and not doubted again.
    assert_eq!(run.at(299), []);
    assert_eq!(run.at(300), [Doubt::Ends(Relief::TooLong)]);
    assert_eq!((run.find("1a- 4a-"), run.verdicts().as_str()), (vec![], "------"));
    run.reload(|text| text.replace("port = 81", "port = 84"));
    run.at(301);
    assert_eq!(run.verdicts(), "??????", "all are other targets");
}

#[test]
fn who_can_not_be_probed_counts_no_longer_than_a_window() {
    let mut run = Run::new(&format!("{SUSPICIOUS}{SIX}").replace("least = 5", "least = 3"));
    run.at(0);
    run.at(10);
    assert_eq!(run.find("1a- 2a- 5a-"), []);
    assert_eq!(run.at(30), []);
    assert_eq!(run.at(31), [Doubt::Begins { fallen: 3, of: 3 }]);
}

#[test]
fn a_canary_is_asked_before_a_server_that_starts_doubts_itself() {
    let canary = "canaries = [{ probe = \"a\", address = \"192.0.2.200\" }]\n";
    let start = || {
        let run = Run::new(&format!("{SUSPICIOUS}{canary}{SIX}"));
        assert_eq!(run.find("1a- 2a- 3a- 4a- 5a- 6a-"), []);
        run
    };
    assert_eq!(start().find("200a+"), []);
    assert_eq!(start().find("200a-"), [Doubt::Begins { fallen: 6, of: 6 }]);
}

#[test]
fn the_latest_changes_are_remembered_with_their_reasons() {
    let mut run = Run::up(&format!("[safety]\nmax_down_share = 0.5\n{SIX}"));
    for second in 1..=20 {
        run.at(second);
        run.find(if second % 2 == 1 { "1a-" } else { "1a+" });
    }
    let health = run.publisher.health();
    let history: Vec<_> = health.endpoints().get(0).unwrap().history().cloned().collect();
    assert_eq!(history.len(), meridian::health::endpoint::MAX_HISTORY);
    assert!(history.is_sorted_by_key(|change| change.at));
    let [.., before, last] = &history[..] else { panic!("two at least") };
    assert_eq!((before.from, before.to, &*before.reason), (Verdict::Up, Verdict::Down, "connection refused"));
    assert_eq!((last.from, last.to, &*last.reason), (Verdict::Down, Verdict::Up, "ok in 1.0ms"));
    assert_eq!(last.at, run.now());
    run.find("1a- 2a- 3a- 4a-");
    let health = run.publisher.health();
    let held = health.endpoints().get(3).unwrap().history().last().unwrap().clone();
    assert_eq!((held.to, held.why().as_str()), (Verdict::Degraded, "connection refused; held by max_down_share"));
}

#[test]
fn of_an_endpoint_that_does_what_its_only_probe_finds_one_thing_is_said() {
    let run = Run::up(SIX);
    assert_eq!(told(run.hear("1a-")), ["target up down"]);
    assert_eq!(told(run.hear("1a+ 2a~")), ["target down up", "target up degraded"]);
    let watched =
        SIX.replace("probe = \"a\"", "health = [{ probe = \"a\" }, { probe = \"b\", monitoring_only = true }]");
    let run = Run::up(&watched);
    assert_eq!(told(run.hear("1b-")), ["target up down"]);
    assert_eq!(told(run.hear("1a-")), ["target up down"]);
}

#[test]
fn what_else_becomes_of_endpoints_is_said_once() {
    let mut run = Run::up(&format!("[safety]\nmax_down_share = 0.2\nmax_changes_per_minute = 60\n{SIX}"));
    assert_eq!(told(run.hear("1a-")), ["target up down"]);
    run.find("2a~");
    run.at(5);
    assert_eq!(
        told(run.hear("2a- 3a-")),
        [
            "target degraded down",
            "target up down",
            "p/near/192.0.2.2 degraded degraded by max_down_share: connection refused; held by max_down_share",
            "p/near/192.0.2.3 up degraded by max_down_share: connection refused; held by max_down_share",
        ]
    );
    assert_eq!(run.publisher.health().endpoints().get(1).unwrap().since(), Some(run.start), "it was degraded before");
    run.at(10);
    // It comes up, and there is room for one that was held.
    assert_eq!(told(run.hear("1a+")), ["target down up", "p/near/192.0.2.2 degraded down: connection refused"]);
    assert_eq!(told(run.hear("2a+")), ["target down up", "p/near/192.0.2.3 degraded down: connection refused"]);
    // A target that turns twice at once hides nothing.
    assert_eq!(
        told(run.hear("4a~ 4a-")),
        [
            "target up degraded",
            "target degraded down",
            "p/near/192.0.2.4 up degraded by max_down_share: connection refused; held by max_down_share",
        ]
    );
    // So it is with what time alone and the configuration do.
    run.reload(|text| text.replace("max_down_share = 0.2", ""));
    assert_eq!(told(run.hear_at(20)), ["p/near/192.0.2.4 degraded down: connection refused"]);
    assert_eq!(told(run.hear_at(21)), [""; 0]);
}

#[test]
fn what_decided_is_said_though_later_runs_found_something_else() {
    let mut run = Run::up(&format!("[safety]\nmax_changes_per_minute = 1\n{}", slow("")));
    run.find("1a- 1a- 1a- 2a- 2a- 2a-");
    run.find("2a+");
    assert_eq!(run.verdicts(), "-c++++", "it takes two to come up");
    assert_eq!(told(run.hear_at(60)), ["p/near/192.0.2.2 degraded down: connection refused"]);
    run.obey("up endpoint/p/near/192.0.2.2");
    run.at(61);
    run.obey("");
    assert_eq!(told(run.hear_at(62)), ["p/near/192.0.2.2 up down: connection refused"]);
    // One that is no longer the same is not as it was before anything.
    run.reload(|text| text.replace("port = 81", "port = 84"));
    let last = |run: &Run| {
        let health = run.publisher.health();
        let change = health.endpoints().get(1).unwrap().history().last().unwrap().clone();
        (change.to, change.why())
    };
    assert_eq!(last(&run), (Verdict::Unknown, "nothing is known of it yet".to_owned()));
    run.reload(|text| text.replace("probe = \"s\"", ""));
    assert_eq!(last(&run), (Verdict::Up, "it depends on nothing".to_owned()));
}

#[test]
fn that_a_breaker_takes_an_endpoint_away_as_nothing_holds_it_is_said() {
    let mut run = Run::up(&format!("[safety]\nmax_changes_per_minute = 2\n{SIX}{BREAKER}"));
    (1..=2).for_each(|endpoint| run.report(endpoint, 0, 3));
    run.at(10);
    let (endpoint, pool) = ("192.0.2.3".to_owned(), "p".to_owned());
    let failures = Pushed { pool, endpoint, failures: 3, ..Pushed::default() };
    let (_, events) = run.publisher.push(&[Ok(failures)], run.now());
    let held = "p/near/192.0.2.3 up up by max_changes_per_minute: its breaker is open; held by max_changes_per_minute";
    assert_eq!(told(events), [held]);
    assert_eq!(told(run.hear_at(30)), ["p/near/192.0.2.3 up up broken: its breaker is open"]);
    assert_eq!(run.verdicts(), "++o+++");
    assert_eq!(told(run.hear("3a~")), ["target up degraded"], "it was away before");
    // It says more than that its probe found it degraded at the same time.
    run.seconds = 31;
    run.report(4, 0, 3);
    assert_eq!(run.verdicts(), "++oc++");
    run.seconds = 60;
    let expected = [
        "target up degraded",
        "target up down",
        "p/near/192.0.2.4 up degraded broken: its breaker is open",
        "p/far/192.0.2.6 up degraded by max_changes_per_minute: connection refused; held by max_changes_per_minute",
    ];
    assert_eq!(told(run.hear("4a~ 6a-")), expected);
}

#[test]
fn what_an_operators_word_does_is_said_at_the_next_tick() {
    let mut run = Run::up(SIX);
    run.obey("down endpoint/p/near/192.0.2.1, up endpoint/p/near/192.0.2.2, drain endpoint/p/near/192.0.2.3");
    assert_eq!(told(run.hear_at(1)), ["p/near/192.0.2.1 up down said: an operator says so"]);
    // The word holds, whatever probes find.
    assert_eq!(told(run.hear("2a-")), ["target up down"]);
    run.obey("");
    run.reload(|text| format!("{text}\n# again\n"));
    let expected = ["p/near/192.0.2.1 down up: ok in 1.0ms", "p/near/192.0.2.2 up down: connection refused"];
    assert_eq!(told(run.hear("3a+")), expected);
}

#[test]
fn what_is_made_of_several_inputs_is_said_beside_each() {
    let mut run = Run::new(&CHAIN.replace("{ probe = \"b\" }, ", ""));
    assert_eq!(told(run.hear_at(1)), [""; 0], "nothing was otherwise before the start");
    let run = Run::up(CHAIN);
    assert_eq!(
        told(run.hear("3b-")),
        [
            "target up down",
            "web/near/192.0.2.1 up down: pool database can't serve",
            "database/near/192.0.2.3 up down: connection refused",
        ]
    );
}

#[test]
fn of_many_that_do_the_same_at_once_one_stands_for_all() {
    let endpoints = |region: &str, octets: std::ops::Range<u8>| -> String {
        octets.map(|octet| format!("{{ region = \"{region}\", address = \"192.0.2.{octet}\" }},")).collect()
    };
    let run = Run::up(&format!(
        "[pools.web]\nhealth = [{{ probe = \"a\" }}, {{ pool = \"database\" }}]\nendpoints = [{}{}]\n\
         [pools.database]\nprobe = \"b\"\nendpoints = [{{ region = \"near\", address = \"192.0.2.99\" }},\
         {{ region = \"far\", address = \"192.0.2.99\" }}]\n",
        endpoints("near", 1..12),
        endpoints("far", 12..22)
    ));
    let why = ": pool database can't serve";
    let mut expected = vec!["target up down".to_owned(), format!("web/near/192.0.2.1 and 10 up down{why}")];
    expected.extend((12..22).map(|octet| format!("web/far/192.0.2.{octet} up down{why}")));
    assert_eq!(told(run.hear("99b-")), expected);
    run.find("99b+");
    // What an operator says is told apart from what follows from it.
    run.obey("down pool/database, down endpoint/web/near/192.0.2.1");
    let mut of_near: Vec<String> = told(run.publisher.tick(run.now(), NOW));
    of_near.retain(|line| line.starts_with("web/near"));
    let said = "web/near/192.0.2.1 up down said: an operator says so".to_owned();
    let others = (2..12).map(|octet| format!("web/near/192.0.2.{octet} up down{why}"));
    assert_eq!(of_near, [said].into_iter().chain(others).collect::<Vec<_>>());
}

#[test]
fn what_keeps_endpoints_down_is_shown() {
    // Probe b holds down for 30 s, c until an operator resumes it.
    let inputs = "health = [{ probe = \"b\" }, { probe = \"c\" }]";
    let one = "endpoints = [{ region = \"near\", address = \"192.0.2.N\" }]\n";
    let pool = |name: &str, health: &str, octet: u8| {
        format!("[pools.{name}]\n{health}\n{}", one.replace('N', &octet.to_string()))
    };
    let text = [
        pool("all", inputs, 1),
        pool("any", &format!("{inputs}\nrequire = \"any\""), 2),
        pool("b", "probe = \"b\"", 3),
        pool("c", "probe = \"c\"", 4),
        pool("watched", "health = [{ probe = \"b\" }, { probe = \"c\", monitoring_only = true }]", 5),
    ]
    .concat();
    let base = BASE.replacen("[probes.c]", "[probes.c]\nmanual_resume = true", 1);
    let base = base.replacen(
        "port = 82\nfall = 1\nrise = 1\nhold_down = \"0s\"",
        "port = 82\nfall = 1\nrise = 1\nhold_down = \"30s\"",
        1,
    );
    let text = format!("{base}{text}");
    let mut run = Run::of(text);
    let holds = |run: &Run| {
        let (snapshot, health) = run.publisher.current_with_health();
        let report = HealthReport::new(&snapshot, &health, None, run.now());
        let hold = |hold: meridian::admin::view::Hold| match (hold.held_down_seconds, hold.awaits_resume) {
            (Some(seconds), false) => seconds.to_string(),
            (None, true) => "resume".to_owned(),
            (None, false) => "-".to_owned(),
            (Some(_), true) => panic!("both"),
        };
        let shown = report.endpoints.iter().map(|placed| {
            let inputs: Vec<_> = placed.endpoint.inputs.iter().map(|input| hold(input.hold)).collect();
            [vec![hold(placed.endpoint.hold)], inputs].concat().join(" ")
        });
        (
            shown.collect::<Vec<_>>().join(", "),
            report.endpoints.iter().map(|placed| placed.endpoint.to_string()).collect::<Vec<_>>(),
        )
    };
    run.find("1b- 1c- 2b- 2c- 3b- 4c- 5b- 5c+");
    assert_eq!(holds(&run).0, "resume - resume, - - resume, -, resume, - - -", "the first going-down holds nobody");
    run.find("1b+ 1c+ 2b+ 2c+ 3b+ 4c+ 5b+");
    run.find("1b- 2b- 3b- 5b-");
    run.at(10);
    let (shown, text) = holds(&run);
    assert_eq!(shown, "resume 20 resume, 20 20 resume, 20, resume, 20 20 -");
    assert!(text[2].contains("down for 10 s, held down for 20 s more ("), "{}", text[2]);
    assert!(text[3].contains("down for 10 s, waits for `meridian resume` ("), "{}", text[3]);
    let b = "b down, held down for 20 s more (connection refused, 10 s ago)";
    let inputs =
        format!("down for 10 s, held down for 20 s more; needs 1 of 2: {b}, c down, waits for `meridian resume` (");
    assert!(text[1].contains(&inputs), "{}", text[1]);
    // What an operator says goes before it.
    run.obey("down pool/b, up pool/c");
    assert_eq!(holds(&run).0, "resume 20 resume, 20 20 resume, -, -, 20 20 -");
    assert_eq!(run.publisher.resume(&"pool/all".parse().unwrap(), run.now()).0, 2);
    assert_eq!(holds(&run).0, "- - -, 20 20 resume, -, -, 20 20 -");
    run.at(40);
    run.obey("");
    assert_eq!(holds(&run).0, "- - -, - - resume, -, resume, - - -");
    // What is only watched is resumed as well.
    run.find("5b+ 5c-");
    run.find("5c+");
    assert_eq!(holds(&run).0, "- - -, - - resume, -, resume, - - resume");
    assert_eq!(run.publisher.resume(&"pool/watched".parse().unwrap(), run.now()).0, 1);
    assert_eq!(holds(&run).0, "- - -, - - resume, -, resume, - - -");
}

#[test]
fn of_several_inputs_the_one_that_decides_is_told() {
    let health = "[{ probe = \"a\", monitoring_only = true }, { probe = \"b\" }, { probe = \"c\" }]";
    let pool = |name: &str, require: &str| {
        let endpoints = "endpoints = [{ region = \"near\", address = \"192.0.2.1\" }]";
        format!("[pools.{name}]\nhealth = {health}\nrequire = \"{require}\"\n{endpoints}\n")
    };
    let mut run = Run::new(&(pool("all", "all") + &pool("any", "any")));
    run.find("1a- 1b+ 1c+");
    run.at(10);
    run.find("1c-");
    let (snapshot, health) = run.publisher.current_with_health();
    let report = HealthReport::new(&snapshot, &health, None, run.now());
    let told = report.endpoints.iter().map(|placed| {
        let endpoint = &placed.endpoint;
        format!("{} {} {:?}", endpoint.verdict, endpoint.probe.as_deref().unwrap(), endpoint.verdict_seconds)
    });
    let (c, b) = ("down tcp://192.0.2.1:83 Some(0)", "up tcp://192.0.2.1:82 Some(10)");
    assert_eq!(told.collect::<Vec<_>>(), [c, b]);
}

#[test]
fn a_doubt_and_what_is_held_is_shown() {
    let service = "[services.\"www.example.com\"]\npool = \"p\"\n";
    let mut run = Run::up(&format!("{SUSPICIOUS}{SIX}{service}"));
    let shown = |run: &Run| {
        let (snapshot, health) = run.publisher.current_with_health();
        let report = HealthReport::new(&snapshot, &health, None, run.now());
        let question = Question::parse("www.example.com", None, None).unwrap();
        let explanation = Explanation::new(&snapshot, &health, Source::Server, &question, 1, run.now(), NOW);
        let unsure = report.unsure_seconds.zip(report.unsure_left_seconds);
        assert_eq!(explanation.unsure_seconds.zip(explanation.unsure_left_seconds), unsure);
        let held: Vec<_> = report.held.into_iter().collect();
        (unsure, held, explanation.to_string())
    };
    let (unsure, held, text) = shown(&run);
    assert_eq!((unsure, held), (None, vec![]));
    assert!(!text.contains("Unsure"), "{text}");
    run.find("1a- 2a- 3a- 5a- 6a-");
    run.at(40);
    let (unsure, held, text) = shown(&run);
    assert_eq!((unsure, held), (Some((40, 260)), vec![("unsure".to_owned(), 5)]));
    assert!(text.contains("\nUnsure    for 40 s: so much turned down at once"), "{text}");
}

#[test]
fn what_is_not_probed_is_shown_as_such_unless_an_operator_says_more() {
    let endpoints = "{ region = \"near\", address = \"192.0.2.1\" }, { region = \"near\", address = \"192.0.2.2\" }";
    let run = Run::new(&format!("[pools.p]\nendpoints = [{endpoints}]\n"));
    run.obey("down endpoint/p/near/192.0.2.1");
    let (snapshot, health) = run.publisher.current_with_health();
    let report = HealthReport::new(&snapshot, &health, None, run.now());
    let shown = report.endpoints.iter().map(|placed| (placed.endpoint.verdict.as_str(), placed.endpoint.health_score));
    assert_eq!(shown.collect::<Vec<_>>(), [("down", None), ("unprobed", None)]);
}

#[test]
fn of_several_certificates_the_first_to_end_is_told() {
    let run = Run::new(
        "[pools.p]\nhealth = [{ probe = \"a\" }, { probe = \"b\" }, { probe = \"c\" }]\n\
         endpoints = [{ region = \"near\", address = \"192.0.2.1\" }]\n",
    );
    let unix_seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    for (key, days) in run.publisher.health().keys().zip([20, 10, 30]) {
        let certificate_expires = Some(unix_seconds + days * 86_400 + 3_600);
        let details = Details { certificate_expires, ..Details::default() };
        let shown = Observation { details, ..result(Duration::from_millis(1), Ok(())) };
        run.publisher.observe([(key, shown)], run.now());
    }
    let (snapshot, health) = run.publisher.current_with_health();
    let report = HealthReport::new(&snapshot, &health, None, run.now());
    assert_eq!(report.endpoints[0].endpoint.certificate_days_left, Some(10));
}

#[test]
fn each_endpoint_has_its_part_in_a_decision() {
    let endpoint = |address: &str, more: &str| format!("{{ region = \"near\", address = \"{address}\"{more} }},");
    let endpoints = [
        ("192.0.2.1", "", Part::Candidate),
        ("192.0.2.2", "", Part::Down),
        ("192.0.2.3", "", Part::BreakerOpen),
        ("192.0.2.4", ", weight = 0", Part::WeightZero),
        ("192.0.2.5", ", state = \"draining\"", Part::Draining),
        ("192.0.2.6", ", state = \"disabled\"", Part::Disabled),
        ("2001:db8::1", "", Part::OtherFamily),
    ];
    let pool: String = endpoints.iter().map(|(address, more, _)| endpoint(address, more)).collect();
    let service = "[services.\"www.example.com\"]\npool = \"p\"\n";
    let run = Run::up(&format!("[pools.p]\nprobe = \"a\"\nendpoints = [{pool}]\n{BREAKER}{service}"));
    run.find("2a-");
    run.report(3, 0, 3);
    let (snapshot, health) = run.publisher.current_with_health();
    let question = Question::parse("www.example.com", None, None).unwrap();
    let explanation = Explanation::new(&snapshot, &health, Source::Server, &question, 1, run.now(), NOW);
    let Found::Service(decision) = &explanation.steps[0].found else { panic!("a service") };
    let parts: Vec<Part> = decision.tiers[0].groups[0].endpoints.iter().map(|endpoint| endpoint.part).collect();
    assert_eq!(parts, endpoints.map(|(_, _, part)| part));
}

#[test]
fn the_history_tells_of_breakers() {
    let mut run = Run::up(&format!("[safety]\nmax_down_share = 0.2\n{SIX}{BREAKER}"));
    let told = |run: &Run, most| {
        let (_, health) = run.publisher.current_with_health();
        let History { changes, left_out, .. } = History::new(&health, 0..2, most, (run.now(), u64::from(NOW)));
        let line = |change: meridian::admin::view::PastChange| {
            let endpoint = change.subject.to_string();
            let (endpoint, what) = (endpoint.chars().last().unwrap(), change.what);
            format!("{} {endpoint} {what:?} {} {}: {}", change.seconds_ago, change.from, change.to, change.reason)
        };
        (changes.into_iter().map(line).collect::<Vec<_>>(), left_out)
    };
    run.at(10);
    run.report(1, 0, 3);
    run.report(2, 0, 3);
    run.at(40);
    run.report(1, 0, 1);
    run.at(100);
    run.report(1, 2, 0);
    run.report(2, 2, 0);
    let expected = [
        "90 1 Breaker closed open: 3 failures in a row",
        "90 2 Breaker closed open: 3 failures in a row",
        "90 2 Verdict up up: its breaker is open; held by max_down_share",
        "0 1 Breaker half-open closed: 2 successes while it was tried",
        "0 2 Breaker half-open closed: 2 successes while it was tried",
        // Once the first is well, there is room to take the second away.
        "0 2 Verdict up up: its breaker is half-open",
    ];
    assert_eq!(told(&run, 6), (expected.map(str::to_owned).to_vec(), 2), "that it was tried in vain is left out");
    for turn in 0..20 {
        run.at(1000 * (turn + 1));
        run.report(1, 0, 3);
        run.at(1000 * (turn + 1) + 500);
        run.report(1, 2, 0);
    }
    let (changes, left_out) = told(&run, 100);
    let of_breaker = changes.iter().filter(|line| line.contains("1 Breaker")).count();
    assert_eq!((of_breaker, left_out), (meridian::health::endpoint::MAX_HISTORY, 0));
    assert!(
        changes.iter().any(|line| line.contains("1 Verdict unknown up")),
        "breakers push no verdict out: {changes:?}"
    );
}

#[test]
fn the_history_tells_of_breakers_that_a_doubt_closed() {
    let mut run = Run::up(&format!("{SUSPICIOUS}{SIX}{BREAKER}"));
    run.report(4, 0, 3);
    run.at(20);
    assert_eq!(run.find("1a- 2a- 3a- 5a- 6a-"), [Doubt::Begins { fallen: 5, of: 6 }]);
    let (_, health) = run.publisher.current_with_health();
    let changes = History::new(&health, 3..4, 2, (run.now(), u64::from(NOW))).changes;
    let line = |change: &meridian::admin::view::PastChange| {
        format!("{} {} {}: {}", change.seconds_ago, change.from, change.to, change.reason)
    };
    assert_eq!(
        changes.iter().map(line).collect::<Vec<_>>(),
        ["20 closed open: 3 failures in a row", "0 open closed: this server doubts itself, and what opened it"]
    );
}

#[test]
fn the_history_is_in_order_and_bounded() {
    let mut run = Run::up(SIX);
    run.at(10);
    run.find("1a- 2a-");
    run.at(20);
    run.find("1a+");
    run.at(30);
    let (_, health) = run.publisher.current_with_health();
    let told = |endpoints: std::ops::Range<u32>, most| {
        let History { changes, left_out, .. } =
            History::new(&health, endpoints, most, (run.now(), u64::from(NOW) + 30));
        let line = |change: &meridian::admin::view::PastChange| {
            assert_eq!(change.time + change.seconds_ago, u64::from(NOW) + 30);
            format!("{} {} {} {}: {}", change.seconds_ago, change.subject, change.from, change.to, change.reason)
        };
        (changes.iter().map(line).collect::<Vec<_>>(), left_out)
    };
    let latest = ["10 endpoint/p/near/192.0.2.1 down up: ok in 1.0ms"];
    assert_eq!(told(0..6, 1), (latest.map(str::to_owned).to_vec(), 8));
    let expected = [
        "20 endpoint/p/near/192.0.2.1 up down: connection refused",
        "20 endpoint/p/near/192.0.2.2 up down: connection refused",
        latest[0],
    ];
    assert_eq!(told(0..6, 3), (expected.map(str::to_owned).to_vec(), 6));
    assert_eq!(told(0..6, 2).0, [expected[0], expected[2]]);
    assert_eq!(told(1..2, 9).0, ["30 endpoint/p/near/192.0.2.2 unknown up: ok in 1.0ms", expected[1]]);
    assert_eq!(told(0..6, 100).1, 0);
    assert_eq!(told(0..6, 0), (vec![], 9));
}
