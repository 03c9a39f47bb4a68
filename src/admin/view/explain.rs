//! Snapshot, health and question → the explanation.
//!
//! The response is made first, by [`respond`](crate::dns::respond). Then each name that it leads through is looked up
//! and decided again in the same order, with a generator of the same seed: so what is shown is the decision behind the answer.

use std::net::IpAddr;
use std::time::Instant;

use domain::base::Rtype;
use serde::{Deserialize, Serialize};

use super::decision::{self, Shown};
use super::{
    Age, Asker, AskerKnownBy, Client, Explanation, Found, Location, LocationKnownBy, Question, Step, endpoint, message,
};
use crate::config::{SelfSuspicion, Target};
use crate::dns::MAX_ALIASES;
use crate::geo::{self, Located, Origin};
use crate::health::Table;
use crate::routing::{Decision, Draw, Family, Outcome, decide, decide_both};
use crate::snapshot::Snapshot;
use crate::zone::{self, LookupName, Name, Node, NodeId, rtype};

/// Where the decision's grounds are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A running server, with what its probes say.
    Server,
    /// A configuration file; nothing is known of health.
    File,
}

impl Explanation {
    /// Explains what is answered at `now`, which is so many seconds since 1970. `health` is of the same generation as the snapshot; random choices are drawn
    /// with a generator of this seed. Counts nothing and moves nothing on.
    pub fn new(
        snapshot: &Snapshot,
        health: &Table,
        source: Source,
        question: &Question,
        seed: u64,
        now: Instant,
        unix_seconds: u32,
    ) -> Self {
        let response = message::response(snapshot, question, seed, unix_seconds);
        let client = message::client(question.client);
        let config = &snapshot.compiled.config;
        let located = geo::locate(&snapshot.compiled.database, &config.geoip.networks, &config.regions, client);
        let evidence = Evidence { snapshot, health, now, unix_seconds, given: question.client, client, located };
        let mut rng = fastrand::Rng::with_seed(seed);
        let draw = Draw { rng: &mut rng, advance: false, worker: usize::MAX, unix_seconds };
        let mut walk = Walk { evidence: &evidence, qtype: question.qtype, draw, visited: Vec::new() };
        let names = message::names(question, &response);
        let steps = names.iter().map(|name| Step { name: name.to_string(), found: walk.find(name) }).collect();
        Self {
            name: question.name.to_string(),
            qtype: question.qtype.to_string(),
            client: asker(&evidence),
            source,
            generation: snapshot.generation,
            unsure_seconds: endpoint::unsure_seconds(health, now),
            unsure_left_seconds: endpoint::unsure_left_seconds(snapshot, health, now),
            unsure_ends: unsure_ends(snapshot, health, now),
            steps,
            answer: message::answer(&response),
        }
    }
}

/// What ends the prober's doubt in itself, where it has one.
fn unsure_ends(snapshot: &Snapshot, health: &Table, now: Instant) -> Option<String> {
    let SelfSuspicion { canaries, window, .. } = &snapshot.compiled.config.safety.self_suspicion;
    let left = Age(endpoint::unsure_left_seconds(snapshot, health, now)?);
    let canary = match canaries.as_slice() {
        [] => String::new(),
        _ => format!("when a canary has answered for {}, ", Age(window.as_secs())),
    };
    Some(format!("{canary}when half of what turned down answers again, or else in {left}: then probes are believed"))
}

/// What a decision is made from, and the time.
pub(super) struct Evidence<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) health: &'a Table,
    pub(super) now: Instant,
    pub(super) unix_seconds: u32,
    /// Who asks, as it was given.
    pub(super) given: Client,
    /// The address that is decided for.
    pub(super) client: IpAddr,
    pub(super) located: Located<'a>,
}

fn asker(evidence: &Evidence<'_>) -> Asker {
    let located = &evidence.located;
    let regions = &evidence.snapshot.compiled.config.regions;
    let (known_by, subnet) = match evidence.given {
        Client::Subnet(network) => (AskerKnownBy::ClientSubnet, Some(network.to_string())),
        Client::Resolver(_) => (AskerKnownBy::ResolverAddress, None),
        Client::Unknown => (AskerKnownBy::Nothing, None),
    };
    let geo::Location { continent, country, subdivisions, city, coordinates, asn, organisation } = &located.location;
    let location = Location {
        known_by: match located.origin {
            Origin::Network(_) => LocationKnownBy::Networks,
            Origin::Database => LocationKnownBy::Database,
            Origin::Unknown => LocationKnownBy::Nothing,
        },
        network: located.network.to_string(),
        region: located.within.and_then(|region| regions.get(region)).map(|region| region.name.clone()),
        continent: continent.map(|code| code.to_string()),
        country: country.map(|code| code.to_string()),
        subdivisions: subdivisions.iter().flatten().map(ToString::to_string).collect(),
        city: city.as_deref().map(str::to_owned),
        latitude: coordinates.map(|point| point.latitude),
        longitude: coordinates.map(|point| point.longitude),
        asn: *asn,
        organisation: organisation.as_deref().map(str::to_owned),
    };
    Asker { address: evidence.client, known_by, subnet, location }
}

/// The way through the names.
struct Walk<'a, 'd> {
    evidence: &'a Evidence<'a>,
    qtype: Rtype,
    draw: Draw<'d>,
    visited: Vec<NodeId>,
}

impl Walk<'_, '_> {
    fn find(&mut self, name: &Name) -> Found {
        let tree = &self.evidence.snapshot.compiled.tree;
        let mut lookup = LookupName::default();
        lookup.read(name.as_slice());
        match tree.find(&lookup, self.qtype.to_int()) {
            zone::Found::NotServed => Found::NotServed,
            zone::Found::NxDomain(apex) => Found::NxDomain { zone: self.zone_of(tree.node(apex)) },
            zone::Found::Referral(cut) => {
                Found::Delegation { zone: self.zone_of(tree.node(cut)), at: self.name_of(tree.node(cut)) }
            }
            zone::Found::Node(id) if self.visited.contains(&id) || self.visited.len() > MAX_ALIASES => Found::Stopped,
            zone::Found::Dname(id) => {
                Found::Dname { zone: self.zone_of(tree.node(id)), at: self.name_of(tree.node(id)) }
            }
            zone::Found::Node(id) => {
                self.visited.push(id);
                self.node(tree.node(id))
            }
        }
    }

    fn name_of(&self, node: &Node) -> String {
        let wire = self.evidence.snapshot.compiled.tree.name(node);
        Name::from_octets(wire.to_vec()).map(|name| name.to_string()).unwrap_or_default()
    }

    fn zone_of(&self, node: &Node) -> String {
        self.name_of(self.evidence.snapshot.compiled.tree.apex(node))
    }

    /// What [`respond`](crate::dns::respond) does with a name that is there.
    fn node(&mut self, node: &Node) -> Found {
        let snapshot = self.evidence.snapshot;
        if let Some(index) = node.service() {
            let service = &snapshot.compiled.services[index];
            if service.binding(self.qtype.to_int()).is_some() {
                let both = decide_both(snapshot, service, self.evidence.client, &mut self.draw);
                let view = decision::view_both(self.evidence, index, &both, self.zone_of(node));
                return Found::Service(Box::new(view));
            }
            let (family, asks_for_addresses) = match self.qtype.to_int() {
                rtype::A => (Family::V4, true),
                rtype::AAAA => (Family::V6, true),
                _ => (Family::V4, false),
            };
            if asks_for_addresses || service.is_alias {
                let decision = decide(snapshot, service, self.evidence.client, family, &mut self.draw);
                if asks_for_addresses || is_alias(snapshot, &decision) {
                    let shown = Shown::new(self.evidence, index, family, &decision);
                    return Found::Service(Box::new(shown.view(self.zone_of(node))));
                }
            }
        }
        let sets = snapshot.compiled.tree.sets(node);
        Found::Static {
            zone: self.zone_of(node),
            at: self.name_of(node),
            types: sets.iter().map(|set| Rtype::from_int(set.rtype()).to_string()).collect(),
            service: node.service().map(|service| snapshot.compiled.config.services[service].name.to_string()),
        }
    }
}

fn is_alias(snapshot: &Snapshot, decision: &Decision<'_>) -> bool {
    let Outcome::Endpoints { choice, picks } = &decision.outcome else { return false };
    picks.as_slice().first().is_some_and(|pick| {
        let endpoint = choice.candidates.list[*pick as usize].endpoint as usize;
        matches!(snapshot.compiled.endpoints[endpoint].destination, Target::Hostname(_))
    })
}
