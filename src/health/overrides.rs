//! What operators say, above what probes, limits and the configuration say.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Verdict;
use crate::config::EndpointState;

/// The most overrides at once.
pub const MAX_OVERRIDES: usize = 10_000;
/// The longest name of what an override is about, in octets.
pub const MAX_SUBJECT_OCTETS: usize = 512;
/// The longest reason, in octets.
pub const MAX_REASON_OCTETS: usize = 500;
/// The longest author, in octets.
pub const MAX_AUTHOR_OCTETS: usize = 100;

/// What an operator says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// It serves, whatever its probes, its circuit breaker and all limits say.
    Up,
    /// It does not, as though its probes said so.
    Down,
    /// New clients go elsewhere; those whom a sticky balance holds stay until `drain_time` is over.
    Drain,
    /// Nobody is sent there, not even where nothing else is left.
    Disable,
}

impl Word {
    /// All.
    pub const ALL: [Self; 4] = [Self::Up, Self::Down, Self::Drain, Self::Disable];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Drain => "drain",
            Self::Disable => "disable",
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an override is about, by the names in the configuration. Written as `endpoint/POOL/REGION/ADDRESS`, `region/NAME`,
/// `pool/NAME` or `service/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Subject {
    /// One endpoint of a pool.
    Endpoint {
        /// The pool.
        pool: String,
        /// The region.
        region: String,
        /// Its address, or its hostname in lower case without a final dot.
        endpoint: String,
    },
    /// All endpoints of a region, of whatever pool.
    Region(String),
    /// All endpoints of a pool.
    Pool(String),
    /// All endpoints of one service's pools, for that service alone; its name is in lower case without a final dot.
    Service(String),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint { pool, region, endpoint } => write!(f, "endpoint/{pool}/{region}/{endpoint}"),
            Self::Region(name) => write!(f, "region/{name}"),
            Self::Pool(name) => write!(f, "pool/{name}"),
            Self::Service(name) => write!(f, "service/{name}"),
        }
    }
}

impl From<Subject> for String {
    fn from(subject: Subject) -> Self {
        subject.to_string()
    }
}

/// A text that names nothing an override can be about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectError(String);

impl fmt::Display for SubjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is none of `endpoint/POOL/REGION/ADDRESS`, `region/NAME`, `pool/NAME` and `service/NAME`",
            self.0
        )
    }
}

impl std::error::Error for SubjectError {}

impl TryFrom<String> for Subject {
    type Error = SubjectError;

    fn try_from(text: String) -> Result<Self, SubjectError> {
        text.parse()
    }
}

impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        let parse = || {
            let (kind, name) = text.split_once('/')?;
            let is_name = |part: &str| {
                !part.is_empty() && !part.contains(|character: char| character.is_control() || character == ' ')
            };
            if text.len() > MAX_SUBJECT_OCTETS || !is_name(name) {
                return None;
            }
            Some(match kind {
                "endpoint" => {
                    let mut parts = name.splitn(3, '/');
                    let (pool, region, endpoint) = (parts.next()?, parts.next()?, parts.next()?);
                    if [pool, region, endpoint].into_iter().any(str::is_empty) {
                        return None;
                    }
                    Self::Endpoint { pool: pool.to_owned(), region: region.to_owned(), endpoint: destination(endpoint) }
                }
                "region" => Self::Region(name.to_owned()),
                "pool" => Self::Pool(name.to_owned()),
                "service" => Self::Service(domain(name)),
                _ => return None,
            })
        };
        // What is cut off is not needed to see what was meant.
        parse().ok_or_else(|| SubjectError(text.chars().take(80).collect()))
    }
}

/// An address or a hostname as configurations are shown to have it.
fn destination(text: &str) -> String {
    text.parse::<IpAddr>().map_or_else(|_| domain(text), |address| address.to_string())
}

fn domain(text: &str) -> String {
    text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase()
}

/// One word of an operator's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// Of what.
    pub subject: Subject,
    /// What is said.
    pub word: Word,
    /// Why, for people; at most [`MAX_REASON_OCTETS`].
    pub reason: String,
    /// Who says so, for people; at most [`MAX_AUTHOR_OCTETS`].
    pub author: String,
    /// Since when, in seconds since 1970.
    pub since: u64,
    /// From this second since 1970 on it no longer holds; nothing where it holds until it is cleared.
    pub expires: Option<u64>,
}

/// There are [`MAX_OVERRIDES`] already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// All that operators say now: one word for each subject, at most [`MAX_OVERRIDES`].
///
/// What holds for an endpoint:
///
/// - *up* and *down* take the place of what its probes say. Of those on the endpoint, its pool, its region and the service that is
///   asked for the first in this order counts, as it is the most specific.
/// - *drain* and *disable* take the place of the `state` in the configuration. Of that and all words on the endpoint, its pool, its
///   region and the service the most restrictive counts: disabled before draining before enabled. So an endpoint that the
///   configuration disables is not enabled by any word.
/// - A word on a service holds for that service alone; other services of the same pools don't see it.
///
/// An operator's word outranks every automatic limit: circuit breakers, hold-downs, the prober's doubts in itself and `[safety]`.
///
/// Pure: time comes in as an argument. It is the calendar's, so an expiry follows a clock that is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    by_subject: BTreeMap<Subject, Override>,
}

impl Overrides {
    /// Takes a word in; it replaces the one of the same subject, which is returned. A drain that is said again while it holds has begun
    /// when it was first said.
    ///
    /// # Errors
    /// Where there are too many; then nothing changes.
    pub fn set(&mut self, said: Override) -> Result<Option<Override>, Full> {
        let before = self.get(&said.subject);
        if self.by_subject.len() >= MAX_OVERRIDES && before.is_none() {
            return Err(Full);
        }
        let goes_on = |before: &&Override| {
            let are_drains = [before.word, said.word] == [Word::Drain; 2];
            are_drains && before.expires.is_none_or(|expires| expires > said.since)
        };
        let since = before.filter(goes_on).map_or(said.since, |before| before.since.min(said.since));
        Ok(self.by_subject.insert(said.subject.clone(), Override { since, ..said }))
    }

    /// Takes a word back and returns it, where there is one.
    pub fn clear(&mut self, subject: &Subject) -> Option<Override> {
        self.by_subject.remove(subject)
    }

    /// Those that no longer hold at `now`, in seconds since 1970.
    pub fn expired(&self, now: u64) -> impl Iterator<Item = &Override> {
        self.iter().filter(move |said| said.expires.is_some_and(|expires| expires <= now))
    }

    /// Those that hold at `now`.
    #[must_use]
    pub fn at(self: &Arc<Self>, now: u64) -> Arc<Self> {
        if self.expired(now).next().is_none() {
            return Arc::clone(self);
        }
        let mut holding = Self::clone(self);
        holding.expire(now);
        Arc::new(holding)
    }

    /// Takes all back that [`Self::expired`] tells of, and returns them.
    pub fn expire(&mut self, now: u64) -> Vec<Override> {
        let expired: Vec<Override> = self.expired(now).cloned().collect();
        expired.iter().for_each(|said| drop(self.clear(&said.subject)));
        expired
    }

    /// The word on a subject.
    pub fn get(&self, subject: &Subject) -> Option<&Override> {
        self.by_subject.get(subject)
    }

    /// All, in the order of their subjects.
    pub fn iter(&self) -> impl Iterator<Item = &Override> {
        self.by_subject.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_subject.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_subject.is_empty()
    }

    /// What holds, to be looked up for many endpoints.
    pub fn words(&self) -> Words<'_> {
        let mut words = Words::default();
        for said in self.iter() {
            match &said.subject {
                Subject::Endpoint { pool, region, endpoint } => {
                    words.endpoints.insert((pool.as_str(), region.as_str(), endpoint.as_str()), said)
                }
                Subject::Region(name) => words.regions.insert(name.as_str(), said),
                Subject::Pool(name) => words.pools.insert(name.as_str(), said),
                Subject::Service(name) => words.services.insert(name.as_str(), said),
            };
        }
        words
    }
}

/// [`Overrides`] by what they are about.
#[derive(Debug, Default)]
pub struct Words<'o> {
    endpoints: HashMap<(&'o str, &'o str, &'o str), &'o Override>,
    regions: HashMap<&'o str, &'o Override>,
    pools: HashMap<&'o str, &'o Override>,
    services: HashMap<&'o str, &'o Override>,
}

impl Words<'_> {
    /// What holds for an endpoint whatever the service.
    pub fn of_endpoint(&self, pool: &str, region: &str, endpoint: &str) -> Said {
        let of_endpoint = self.endpoints.get(&(pool, region, endpoint));
        let all = [of_endpoint, self.pools.get(pool), self.regions.get(region)];
        all.into_iter().flatten().fold(Said::default(), |said, broader| said.and(Said::from(*broader)))
    }

    /// Whether there is a word on any service.
    pub fn is_any_on_services(&self) -> bool {
        !self.services.is_empty()
    }

    /// The word on a service.
    pub fn of_service(&self, name: &str) -> Option<&Override> {
        self.services.get(name).copied()
    }
}

/// What operators say of one endpoint together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Said {
    /// Up or down, in place of what its probes say.
    pub verdict: Option<Verdict>,
    /// Since when it is to drain, in seconds since 1970.
    pub drains_since: Option<u64>,
    /// Whether it is disabled.
    pub is_disabled: bool,
}

impl Said {
    /// With what they say of something broader, such as the service that is asked for.
    #[must_use]
    pub fn and(self, broader: Self) -> Self {
        Self {
            verdict: self.verdict.or(broader.verdict),
            drains_since: [self.drains_since, broader.drains_since].into_iter().flatten().min(),
            is_disabled: self.is_disabled || broader.is_disabled,
        }
    }

    /// The more restrictive of what they and the configuration want of it.
    pub fn state(&self, configured: EndpointState) -> EndpointState {
        match configured {
            _ if self.is_disabled => EndpointState::Disabled,
            EndpointState::Enabled if self.drains_since.is_some() => EndpointState::Draining,
            configured => configured,
        }
    }

    /// The second since 1970 at which their drain is over, where one takes so many.
    pub fn drain_ends(&self, drain_seconds: u32) -> Option<u64> {
        Some(self.drains_since?.saturating_add(drain_seconds.into()))
    }

    /// The words that it is made of.
    pub fn words(&self) -> impl Iterator<Item = Word> {
        let verdict = self.verdict.map(|verdict| if verdict.serves() { Word::Up } else { Word::Down });
        let drain = self.drains_since.map(|_| Word::Drain);
        [verdict, drain, self.is_disabled.then_some(Word::Disable)].into_iter().flatten()
    }
}

/// What one word says.
impl From<&Override> for Said {
    fn from(said: &Override) -> Self {
        let nothing = Self::default();
        match said.word {
            Word::Up => Self { verdict: Some(Verdict::Up), ..nothing },
            Word::Down => Self { verdict: Some(Verdict::Down), ..nothing },
            Word::Drain => Self { drains_since: Some(said.since), ..nothing },
            Word::Disable => Self { is_disabled: true, ..nothing },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    fn said(text: &str, since: u64, expires: Option<u64>) -> Override {
        let (word, subject) = text.split_once(' ').unwrap();
        let word = Word::ALL.into_iter().find(|known| known.name() == word).unwrap();
        let (reason, author) = ("because".to_owned(), "me".to_owned());
        Override { subject: subject.parse().unwrap(), word, reason, author, since, expires }
    }

    fn overrides(texts: &str) -> Overrides {
        let mut overrides = Overrides::default();
        for (since, text) in (1..).zip(texts.split(", ").filter(|text| !text.is_empty())) {
            overrides.set(said(text, since, None)).unwrap();
        }
        overrides
    }

    /// As `verdict/since when it drains/disabled`.
    fn shown(said: Said) -> String {
        let verdict = said.verdict.map(|verdict| verdict.to_string()).unwrap_or_default();
        let drains = said.drains_since.map(|since| since.to_string()).unwrap_or_default();
        format!("{verdict}/{drains}/{}", if said.is_disabled { "disabled" } else { "" })
    }

    #[test]
    fn the_most_specific_verdict_and_the_most_restrictive_state_hold() {
        // Of the endpoint 192.0.2.1 of pool web in region eu, asked for as the service www.example.com.
        for (texts, expected) in [
            ("", "//"),
            ("down pool/web", "down//"),
            ("up endpoint/web/eu/192.0.2.1, down pool/web, down region/eu", "up//"),
            ("down endpoint/web/eu/192.0.2.1, up pool/web, up region/eu, up service/www.example.com", "down//"),
            ("up pool/web, down region/eu", "up//"),
            ("down region/eu, up service/www.example.com", "down//"),
            ("down service/www.example.com", "down//"),
            ("down service/other.example.com, disable service/other.example.com", "//"),
            ("down endpoint/web/us/192.0.2.1, down endpoint/api/eu/192.0.2.1, down pool/api, down region/us", "//"),
            ("drain pool/web", "/1/"),
            ("disable pool/web", "//disabled"),
            ("drain endpoint/web/eu/192.0.2.1, disable region/eu", "/1/disabled"),
            ("disable endpoint/web/eu/192.0.2.1, drain service/www.example.com", "/2/disabled"),
            ("up pool/web, drain region/eu, drain service/www.example.com", "up/2/"),
            ("drain service/www.example.com, drain endpoint/web/eu/192.0.2.1", "/1/"),
            ("up endpoint/web/eu/192.0.2.1, disable service/www.example.com", "up//disabled"),
        ] {
            let overrides = overrides(texts);
            let words = overrides.words();
            let of_endpoint = words.of_endpoint("web", "eu", "192.0.2.1");
            let said =
                words.of_service("www.example.com").map_or(of_endpoint, |service| of_endpoint.and(service.into()));
            assert_eq!(shown(said), expected, "{texts}");
        }
    }

    #[test]
    fn subjects_are_read_and_written_alike() {
        for (text, expected) in [
            ("endpoint/web/eu/192.0.2.1", Some("endpoint/web/eu/192.0.2.1")),
            ("endpoint/web/eu/2001:0DB8::1", Some("endpoint/web/eu/2001:db8::1")),
            ("endpoint/web/eu/CDN.example.NET.", Some("endpoint/web/eu/cdn.example.net")),
            ("region/eu-central", Some("region/eu-central")),
            ("pool/web", Some("pool/web")),
            ("service/*.Apps.example.com.", Some("service/*.apps.example.com")),
            ("endpoint/web/192.0.2.1", None),
            ("endpoint//eu/192.0.2.1", None),
            ("endpoint/web/eu/", None),
            ("pool/", None),
            ("pool", None),
            ("pools/web", None),
            ("pool/a b", None),
            ("pool/a\nb", None),
            ("", None),
        ] {
            let subject = text.parse::<Subject>().ok();
            assert_eq!(subject.as_ref().map(ToString::to_string).as_deref(), expected, "{text:?}");
            if let Some(subject) = subject {
                assert_eq!(subject.to_string().parse(), Ok(subject));
            }
        }
        let longest = format!("pool/{}", "a".repeat(MAX_SUBJECT_OCTETS - 5));
        assert!(longest.parse::<Subject>().is_ok());
        let error = format!("{longest}a").parse::<Subject>().unwrap_err().to_string();
        assert!(error.len() < 200 && error.contains("`pool/NAME`"), "{error}");
    }

    #[test]
    fn one_word_per_subject_until_it_is_cleared_or_expires() {
        let mut overrides = Overrides::default();
        let first = said("down pool/web", 10, Some(20));
        assert_eq!(overrides.set(first.clone()), Ok(None));
        let second = said("drain pool/web", 11, Some(30));
        assert_eq!(overrides.set(second.clone()), Ok(Some(first)));
        overrides.set(said("up region/eu", 12, None)).unwrap();
        assert_eq!(overrides.expire(29), []);
        assert_eq!(overrides.expire(30), [second]);
        assert_eq!(overrides.expire(u64::MAX), []);
        assert_eq!(overrides.len(), 1);
        assert_eq!(overrides.clear(&"pool/web".parse().unwrap()), None);
        assert!(overrides.clear(&"region/eu".parse().unwrap()).is_some());
        assert!(overrides.is_empty());
    }

    #[test]
    fn a_drain_that_is_said_again_goes_on() {
        let mut overrides = Overrides::default();
        let since = |overrides: &mut Overrides, text: &str, now, expires| {
            overrides.set(said(text, now, expires)).unwrap();
            overrides.iter().next().unwrap().since
        };
        for (text, now, expires, expected) in [
            ("drain pool/web", 10, Some(20), 10),
            ("drain pool/web", 19, Some(30), 10),
            ("drain pool/web", 29, Some(40), 10),
            // That was over.
            ("drain pool/web", 40, None, 40),
            ("drain pool/web", 50, None, 40),
            ("disable pool/web", 60, None, 60),
            ("disable pool/web", 70, None, 70),
            ("drain pool/web", 80, None, 80),
            // The clock was set back.
            ("drain pool/web", 75, None, 75),
        ] {
            assert_eq!(since(&mut overrides, text, now, expires), expected, "{text} at {now}");
        }
    }

    #[test]
    fn they_are_bounded() {
        let mut overrides = Overrides::default();
        for number in 0..MAX_OVERRIDES {
            overrides.set(said(&format!("down pool/{number}"), 0, None)).unwrap();
        }
        assert_eq!(overrides.set(said("down pool/more", 0, None)), Err(Full));
        assert!(overrides.set(said("up pool/7", 0, None)).unwrap().is_some());
        assert_eq!(overrides.len(), MAX_OVERRIDES);
    }
}
