//! Why a service answers a client as it does, as TXT records: `dig CH TXT explain.NAME`.
//!
//! It says in few words what `meridian explain` says in many.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

use domain::base::{Name, RelativeName, Rtype};
use ipnet::IpNet;

use super::chaos::Asker;
use super::encode::{Full, Writer};
use super::text;
use crate::config::{Region, Target};
use crate::geo::{self, Located, Location, Origin};
use crate::routing::{Considered, Decision, Draw, Family, Fate, FateNote, Grounds, Outcome, Stage, decide};
use crate::snapshot::{Service, Snapshot, Tier};
use crate::zone::{Found, LookupName, Node, Tree, rtype};

/// The most regions told of in each pool.
const MAX_REGIONS: usize = 20;
/// The most pools told of.
const MAX_POOLS: usize = 8;

/// What is to be explained.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'n> {
    /// The name, in wire form and lower case.
    name: &'n [u8],
    /// A or AAAA.
    family: Family,
}

impl<'n> Subject<'n> {
    /// What a name of class CHAOS asks to explain: `explain.NAME` and `a.explain.NAME` the A records of a name,
    /// `aaaa.explain.NAME` its AAAA records.
    pub(super) fn of(name: &'n LookupName) -> Option<Self> {
        let prefixes: [(&[u8], Family); 3] =
            [(b"\x07explain", Family::V4), (b"\x01a\x07explain", Family::V4), (b"\x04aaaa\x07explain", Family::V6)];
        prefixes.into_iter().find_map(|(prefix, family)| {
            let name = name.as_wire().strip_prefix(prefix)?;
            Some(Self { name, family })
        })
    }

    /// Writes the explanation, which always fits into a TCP response. Rotations stay where they are, and nothing is counted.
    ///
    /// # Errors
    /// Where no room is left; what was written until then stays.
    pub(super) fn explain(
        self,
        snapshot: &Snapshot,
        asker: &Asker,
        rng: &mut fastrand::Rng,
        writer: &mut Writer<'_>,
    ) -> Result<(), Full> {
        let Asker { client, source_length, .. } = *asker;
        match source_length {
            Some(length) => {
                let network = IpNet::new(client, length).unwrap_or(client.into());
                text::put(writer, format_args!("client {network} (EDNS client subnet)"))?;
            }
            None => text::put(writer, format_args!("client {client} (the address that asks, +subnet names another)"))?,
        }
        let compiled = &snapshot.compiled;
        let config = &compiled.config;
        let located = geo::locate(&compiled.database, &config.geoip.networks, &config.regions, client);
        text::put(writer, format_args!("location {}", ShownLocation(&located, &config.regions)))?;

        let mut name = LookupName::default();
        name.read(self.name);
        let tree = &compiled.tree;
        let qtype = match self.family {
            Family::V4 => rtype::A,
            Family::V6 => rtype::AAAA,
        };
        let found = tree.find(&name, qtype);
        if let Found::Node(id) = found
            && let Some(index) = tree.node(id).service()
        {
            let service = &compiled.services[index];
            let decision = decide(
                snapshot,
                service,
                client,
                self.family,
                &mut Draw { rng, advance: false, worker: usize::MAX, unix_seconds: asker.unix_seconds },
            );
            let grounds = Grounds::new(snapshot, service, client, &located, self.family, &decision, asker.unix_seconds);
            let explanation = Explanation { snapshot, service, decision: &decision, grounds };
            return explanation.write(self.name, tree.node(id), writer);
        }
        text::put(writer, format_args!("{} {}", ShownName(self.name), ShownFound { tree, found, name: self.name }))
    }
}

/// What a service decided for a client, and why.
struct Explanation<'a> {
    snapshot: &'a Snapshot,
    service: &'a Service,
    decision: &'a Decision<'a>,
    grounds: Grounds<'a>,
}

impl Explanation<'_> {
    /// The name is the service's own, or its wildcard's, which stands at the node.
    fn write(&self, name: &[u8], node: &Node, writer: &mut Writer<'_>) -> Result<(), Full> {
        let Self { snapshot, service, decision, grounds } = self;
        let tree = &snapshot.compiled.tree;
        let (shown, zone) = (ShownName(name), ShownName(tree.name(tree.apex(node))));
        match tree.name(node) {
            own if own == name => text::put(writer, format_args!("{shown} is a service in the zone {zone}"))?,
            own => {
                let own = ShownName(own);
                text::put(writer, format_args!("{shown} is covered by the service {own} in the zone {zone}"))?;
            }
        }
        text::put(
            writer,
            format_args!(
                "steering {}, balance {}, answers {}, when all is down {}, {} wanted",
                service.steering.name(),
                service.balance.name(),
                service.answers,
                service.when_all_down.name(),
                grounds.family_name()
            ),
        )?;
        for word in grounds.said().words() {
            text::put(writer, format_args!("an operator says of this service: {word}"))?;
        }
        for filtered in grounds.filter() {
            match filtered.stage {
                // What it made of each region is said of the pools.
                Stage::Health => text::put(writer, format_args!("health: {}", filtered.rule()))?,
                stage => text::put(writer, format_args!("{}: {filtered}", stage.name()))?,
            }
        }
        self.write_pools(writer)?;
        text::put(writer, format_args!("decision: {}", grounds.reason()))?;
        let (ttl, scope) = (decision.ttl, decision.scope);
        if let Outcome::NoData = decision.outcome {
            text::put(writer, format_args!("answer: no data"))?;
            text::put(writer, format_args!("TTL: {}", grounds.ttl_reason()))?;
        } else {
            text::put(writer, format_args!("answer {}: {}", ShownAnswer(self), grounds.pick_reason()))?;
            text::put(writer, format_args!("TTL {ttl} s: {}", grounds.ttl_reason()))?;
        }
        text::put(writer, format_args!("scope {scope}: holds for {}", grounds.holds_for()))
    }

    fn write_pools(&self, writer: &mut Writer<'_>) -> Result<(), Full> {
        let compiled = &self.snapshot.compiled;
        for (tier, Tier { pool, .. }) in self.service.tiers.iter().enumerate().take(MAX_POOLS) {
            let kind = if tier == 0 { "pool" } else { "failover pool" };
            let name = &compiled.config.pools[*pool].name;
            for considered in self.grounds.groups(tier).take(MAX_REGIONS) {
                let region = &compiled.config.regions[usize::from(considered.region)].name;
                let wanted = compiled.pools[*pool].min_healthy;
                let share_percent = self.grounds.share_percent(tier, &considered);
                let fate = self.grounds.fate_note(&considered);
                let group = ShownGroup { considered, fate, wanted, share_percent };
                text::put(writer, format_args!("{kind} {name} in {region}: {group}"))?;
            }
            let more = self.grounds.groups(tier).skip(MAX_REGIONS).count();
            put_more(writer, more, format_args!("regions of the {kind} {name}"))?;
        }
        put_more(writer, self.service.tiers.len().saturating_sub(MAX_POOLS), format_args!("failover pools"))
    }
}

/// Says how many are not told of, if any.
fn put_more(writer: &mut Writer<'_>, count: usize, what: fmt::Arguments<'_>) -> Result<(), Full> {
    if count == 0 { Ok(()) } else { text::put(writer, format_args!("more {what}: {count}")) }
}

/// A name in wire form.
struct ShownName<'a>(&'a [u8]);

impl Display for ShownName<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Name::from_slice(self.0).map_or(Ok(()), |name| name.fmt(f))
    }
}

/// Where a client is, and how that is known.
struct ShownLocation<'a>(&'a Located<'a>, &'a [Region]);

impl Display for ShownLocation<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(Located { origin, location, within, network }, regions) = self;
        let mut separator = "";
        let mut put = |f: &mut Formatter<'_>, part: fmt::Arguments<'_>| {
            write!(f, "{separator}{part}")?;
            separator = ", ";
            Ok(())
        };
        if let Some(region) = within.and_then(|within| regions.get(within)) {
            put(f, format_args!("region {}", region.name))?;
        }
        let Location { continent, country, subdivisions, city, coordinates, asn, organisation } = location;
        if let Some(city) = city {
            put(f, format_args!("{city}"))?;
        }
        for subdivision in subdivisions.iter().rev().flatten() {
            put(f, format_args!("{subdivision}"))?;
        }
        if let Some(country) = country {
            put(f, format_args!("{country}"))?;
        }
        if let Some(continent) = continent {
            put(f, format_args!("{continent}"))?;
        }
        if let Some(geo::Coordinates { latitude, longitude }) = coordinates {
            put(f, format_args!("{latitude:.2} {longitude:.2}"))?;
        }
        if let Some(asn) = asn {
            put(f, format_args!("AS{asn}"))?;
        }
        if let Some(organisation) = organisation {
            write!(f, " {organisation}")?;
        }
        match origin {
            Origin::Network(_) => write!(f, " (by [[geoip.networks]], {network})"),
            Origin::Database => write!(f, " (by the database, {network})"),
            Origin::Unknown => write!(f, "unknown (the database says nothing of {network})"),
        }
    }
}

/// What became of a pool in a region.
struct ShownGroup<'a> {
    considered: Considered<'a>,
    fate: FateNote<'a>,
    wanted: u16,
    share_percent: Option<f64>,
}

impl Display for ShownGroup<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { considered, fate, wanted, share_percent } = self;
        let allowed = considered.candidates.allowed;
        if considered.fate == Fate::Empty {
            return fate.fmt(f);
        }
        write!(f, "{} of {allowed} healthy", considered.healthy())?;
        if *wanted > 1 {
            write!(f, " ({wanted} wanted)")?;
        }
        write!(f, ", {fate}")?;
        match share_percent {
            Some(share_percent) => write!(f, ", drawn in {share_percent:.1} % of answers"),
            None => Ok(()),
        }
    }
}

/// What is answered.
struct ShownAnswer<'a>(&'a Explanation<'a>);

impl Display for ShownAnswer<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(Explanation { snapshot, decision, .. }) = self;
        match &decision.outcome {
            Outcome::Endpoints { choice, picks } => {
                for (place, pick) in picks.as_slice().iter().enumerate() {
                    let endpoint = choice.candidates.list[*pick as usize].endpoint as usize;
                    match &snapshot.compiled.endpoints[endpoint].destination {
                        // A name is an alias to one other.
                        Target::Hostname(name) => return write!(f, "alias to {name}"),
                        Target::Address(address) => write_address(f, place, *address)?,
                    }
                }
                Ok(())
            }
            Outcome::LastResort(addresses) => {
                addresses.iter().enumerate().try_for_each(|(place, address)| write_address(f, place, *address))
            }
            Outcome::NoData => Ok(()),
        }
    }
}

fn write_address(f: &mut Formatter<'_>, place: usize, address: IpAddr) -> fmt::Result {
    let separator = if place == 0 { "" } else { ", " };
    write!(f, "{separator}{address}")
}

/// What a name is that no service decides.
struct ShownFound<'a> {
    tree: &'a Tree,
    found: Found,
    name: &'a [u8],
}

impl Display for ShownFound<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { tree, found, name } = self;
        let at = |node| ShownName(tree.name(node));
        let zone_of = |node| ShownName(tree.name(tree.apex(node)));
        let node = match found {
            Found::NotServed => return f.write_str("is in no zone that is served here"),
            Found::NxDomain(id) | Found::Referral(id) | Found::Dname(id) | Found::Node(id) => tree.node(*id),
        };
        let zone = zone_of(node);
        match found {
            Found::NotServed => {}
            Found::NxDomain(_) => write!(f, "does not exist in the zone {zone}")?,
            Found::Referral(_) => write!(f, "is delegated: {zone} refers {} to other servers", at(node))?,
            Found::Dname(_) => write!(f, "is an alias by the DNAME at {} (zone {zone})", at(node))?,
            Found::Node(_) => {
                match tree.name(node) {
                    own if own == tree.name(tree.apex(node)) => write!(f, "is the apex of the zone {zone}")?,
                    own if own == *name => write!(f, "is in the zone {zone}")?,
                    _ => write!(f, "is covered by the wildcard {} in the zone {zone}", at(node))?,
                }
                match tree.sets(node) {
                    [] => f.write_str(", without records of its own (names below it exist)")?,
                    _ => f.write_str(", with static records:")?,
                }
                for set in tree.sets(node) {
                    write!(f, " {}", Rtype::from_int(set.rtype()))?;
                }
            }
        }
        match found {
            Found::Node(_) => write_target(f, ", an alias to ", tree, node, rtype::CNAME),
            Found::Dname(_) => write_target(f, ", which leads to ", tree, node, rtype::DNAME),
            _ => Ok(()),
        }
    }
}

/// What the alias of this type at a node leads to, if there is one, after these words.
fn write_target(f: &mut Formatter<'_>, words: &str, tree: &Tree, node: &Node, rtype: u16) -> fmt::Result {
    /// Type, class, TTL and RDLENGTH.
    const FIXED_OCTETS: usize = 10;
    let Some(record) = tree.set_of(node, rtype).and_then(|set| tree.records(set).first()) else { return Ok(()) };
    f.write_str(words)?;
    let target = &tree.wire(record)[FIXED_OCTETS..];
    if record.pointers().next().is_none() {
        return ShownName(target).fmt(f);
    }
    // A pointer would come last, to the apex.
    if let Ok(own) = RelativeName::from_slice(&target[..target.len() - 2])
        && !own.is_empty()
    {
        write!(f, "{own}.")?;
    }
    ShownName(tree.name(tree.apex(node))).fmt(f)
}
