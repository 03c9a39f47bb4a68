//! The zones of a configuration: read, checked beside their services, and kept as they are where what is on disk is broken.

use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::config::diagnostic::MAX_SHOWN;
use crate::config::{Config, Problem, Problems, ZoneOrigin};
use crate::zone::{self, Name, NameSlice, Record, Served, Tree, ZoneRecords, rtype};

/// The most octets that the tree keeps of one zone, and of all zones and services together.
const MAX_ZONE_OCTETS: usize = 1 << 30;

/// The zones whose files are broken, so that what is on disk is not what is served.
#[derive(Debug, Clone, Default)]
pub struct Outdated {
    /// In the order of the configuration.
    pub zones: Vec<OutdatedZone>,
    /// What is wrong with them, and which services are left out for that, a line each, at most [`MAX_SHOWN`].
    pub problems: Vec<String>,
    /// How many problems there are in all.
    pub problem_count: usize,
}

/// A zone whose file is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutdatedZone {
    /// Its name.
    pub name: Name,
    /// Whether the records of before are served. Else there were none: the zone is left out, and its services are those
    /// of the zone above it.
    pub is_served: bool,
}

/// The problems, a line each.
impl fmt::Display for Outdated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        match self.problem_count.saturating_sub(self.problems.len()) {
            0 => Ok(()),
            more => writeln!(f, "and {more} more"),
        }
    }
}

/// The zones to serve. What is left out of what is served is gone from the configuration, too.
pub(super) fn load_zones(
    config: &mut Config,
    serving: Option<&Tree>,
) -> Result<(Vec<ZoneRecords>, Outdated), Problems> {
    let served = served(config);
    let mut zones: Vec<Option<ZoneRecords>> = Vec::new();
    let mut outdated = Outdated::default();
    let mut problems = Vec::new();
    let mut broken_problems = Vec::new();
    for ((index, zone), services) in config.zones.iter().enumerate().zip(services_by_zone(config)) {
        let broken = match load_zone(config, index, &served, &services) {
            Ok(records) => {
                zones.push(Some(records));
                continue;
            }
            Err(broken) => broken.0,
        };
        match (serving, &zone.origin) {
            (Some(serving), ZoneOrigin::File { .. }) => {
                let kept = serving.zone_records(&zone.name);
                outdated.zones.push(OutdatedZone { name: zone.name.clone(), is_served: kept.is_some() });
                broken_problems.extend(broken);
                zones.push(kept);
            }
            (None, ZoneOrigin::File { .. }) => problems.extend(broken.into_iter().map(Problem::of_zone_alone)),
            (_, ZoneOrigin::Made { .. }) => problems.extend(broken),
        }
    }
    let of_zones: usize = zones.iter().flatten().map(|zone| zone.octets(MAX_ZONE_OCTETS)).sum();
    let octets = of_zones + served.octets();
    if octets > MAX_ZONE_OCTETS {
        problems.push(too_large(&format!("the zones and services together take {octets} octets")));
    }
    if let Some(serving) = serving.filter(|_| problems.is_empty() && !outdated.zones.is_empty()) {
        match leave_out(config, &zones, &outdated, serving) {
            Ok(left_out) => broken_problems.extend(left_out),
            Err(found) => problems.extend(found),
        }
    }
    if !problems.is_empty() {
        return Err(Problems(broken_problems.into_iter().chain(problems).collect()));
    }
    outdated.problem_count = broken_problems.len();
    outdated.problems = broken_problems.iter().take(MAX_SHOWN).map(Problem::to_string).collect();
    Ok((zones.into_iter().flatten().collect(), outdated))
}

fn served(config: &Config) -> Served {
    let zones = config.zones.iter().map(|zone| &zone.name);
    Served::new(zones, config.services.iter().map(|service| &service.name))
}

/// The indices of the services of each zone.
fn services_by_zone(config: &Config) -> Vec<Vec<usize>> {
    let mut services = vec![Vec::new(); config.zones.len()];
    for (index, service) in config.services.iter().enumerate() {
        services[service.zone].push(index);
    }
    services
}

fn too_large(message: &str) -> Problem {
    Problem::new(format!("{message}, over the limit of {MAX_ZONE_OCTETS}"))
        .hint("every label of a name that has no records takes room too; serve some of this from another server")
}

/// Reads a zone and checks it beside its services.
fn load_zone(config: &Config, index: usize, served: &Served, services: &[usize]) -> Result<ZoneRecords, Problems> {
    let zone = zone::load(&config.zones[index], &config.source, served)?;
    let octets = zone.octets(MAX_ZONE_OCTETS);
    if octets > MAX_ZONE_OCTETS {
        let problem = too_large(&format!("the zone {} takes {octets} octets or more", zone.apex));
        return Err(problem.at(&config.source, config.zones[index].span.clone()).into());
    }
    let conflicts = conflicts(config, services, &zone);
    if conflicts.is_empty() { Ok(zone) } else { Err(Problems(conflicts.into_iter().map(|(_, found)| found).collect())) }
}

/// Takes the zones that have no records out of the configuration, and the services for which what stays has no room.
/// Services of a zone that goes are those of the closest one that stays. Returns why each service went.
///
/// It is an error where that would end what is served now: all zones, a service, or a name server's addresses.
fn leave_out(
    config: &mut Config,
    zones: &[Option<ZoneRecords>],
    outdated: &Outdated,
    serving: &Tree,
) -> Result<Vec<Problem>, Vec<Problem>> {
    let mut present = zones.iter();
    config.zones.retain(|_| present.next().is_some_and(Option::is_some));
    if config.zones.is_empty() {
        return Err(vec![Problem::new("no zone would be left to serve").hint("correct the file of one first")]);
    }
    let zones: Vec<&ZoneRecords> = zones.iter().flatten().collect();
    let indices: HashMap<&NameSlice, usize> =
        zones.iter().enumerate().map(|(index, zone)| (zone.apex.for_slice(), index)).collect();

    let mut left_out = Vec::new();
    let mut lost = Vec::new();
    let mut leave_out = |service: &Name, why: Problem| {
        let (fate, problems) = match serving.has_service(service) {
            true => ("would be lost", &mut lost),
            false => ("is left out", &mut left_out),
        };
        let hint = "correct the file of the broken zone first, then what is new there is taken in";
        let message = format!("the service {service} {fate}: {}", why.message);
        problems.push(Problem { message, ..why }.hint(hint));
    };
    config.services.retain_mut(|service| {
        let closest = service.name.iter_suffixes().find_map(|suffix| indices.get(suffix.for_slice()).copied());
        match closest {
            Some(zone) => service.zone = zone,
            None => leave_out(&service.name, Problem::new("its zone is broken and was not served before")),
        }
        closest.is_some()
    });
    let mut without_room = HashSet::new();
    for (services, zone) in services_by_zone(config).iter().zip(&zones) {
        for (service, conflict) in conflicts(config, services, zone) {
            leave_out(&config.services[service].name, conflict);
            without_room.insert(service);
        }
    }
    let mut index = 0..;
    config.services.retain(|_| index.next().is_none_or(|index| !without_room.contains(&index)));

    let served = served(config);
    for kept in outdated.zones.iter().filter_map(|zone| indices.get(zone.name.for_slice())).map(|index| zones[*index]) {
        lost.extend(kept.check(&served).into_iter().map(|problem| {
            let message = format!("the zone {} can't be kept as it is served: {}", kept.apex, problem.message);
            Problem { message, ..problem }
        }));
    }
    if lost.is_empty() { Ok(left_out) } else { Err(left_out.into_iter().chain(lost).collect()) }
}

/// What keeps services from standing in their zone, with the index of the service: each decides the addresses of its name
/// alone, and its zone has to be in charge of that name.
fn conflicts(config: &Config, services: &[usize], zone: &ZoneRecords) -> Vec<(usize, Problem)> {
    let mut problems = Vec::new();
    let by_name: HashMap<&Name, usize> = services.iter().map(|index| (&config.services[*index].name, *index)).collect();
    let is_alias =
        |service: usize| config.services[service].tiers.iter().any(|tier| config.pools[*tier].has_hostnames());
    let hint = "remove the record from the zone, or the service from the configuration";
    let mut hiding: HashMap<&NameSlice, &Record> = HashMap::new();
    for record in &zone.records {
        let (owner, rtype) = (&record.owner, record.rtype);
        if let Some(service) = by_name.get(owner).copied() {
            let settings = &config.services[service];
            let makes_its_own = match rtype.to_int() {
                rtype::HTTPS => settings.https.is_some(),
                rtype::SVCB => settings.svcb.is_some(),
                _ => false,
            };
            let why = match rtype.to_int() {
                rtype::A | rtype::AAAA | rtype::CNAME => "the service of that name decides its addresses".to_owned(),
                _ if makes_its_own => {
                    let (line, _) = config.source.line_and_column(settings.span.start);
                    let path = config.source.path.display();
                    format!("the service of that name makes its own ({path}:{line})")
                }
                _ if is_alias(service) => {
                    "its service answers with CNAME records, beside which nothing may stand".to_owned()
                }
                _ => String::new(),
            };
            if !why.is_empty() {
                let message = format!("{owner} has a static {rtype} record, but {why}");
                problems.push((service, zone.problem(record, message).hint(hint)));
            }
        }
        if rtype.to_int() == rtype::DNAME || (rtype.to_int() == rtype::NS && *owner != zone.apex) {
            hiding.entry(owner.for_slice()).or_insert(record);
        }
    }
    for service in services.iter().copied().filter(|_| !hiding.is_empty()) {
        let name = &config.services[service].name;
        let hides = |above: &NameSlice| {
            let record = hiding.get(above).filter(|record| record.rtype.to_int() == rtype::NS || above != name)?;
            Some(*record)
        };
        let Some(record) = name.iter_suffixes().find_map(|above| hides(above.for_slice())) else { continue };
        let lies = if record.rtype.to_int() == rtype::NS { "in the delegated zone" } else { "below the DNAME" };
        let message = format!("the service {name} lies {lies} {}", record.owner);
        problems.push((service, zone.problem(record, message).hint(hint)));
    }
    problems
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

    use std::fs;
    use std::path::PathBuf;
    use std::str::FromStr;
    use std::sync::Arc;

    use crate::config::Config;
    use crate::dns::CookieSecrets;
    use crate::snapshot::Carried;
    use crate::snapshot::{Compiled, Geography, compile, load_database};
    use crate::zone::{Found, LookupName, Name, rtype};

    /// A folder with zone files, gone when the test ends.
    struct Site(PathBuf);

    impl Site {
        fn new(label: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("meridian-compile-{label}-{}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        /// Writes zones, each with a static address at `www`, `N` of 192.0.2.N.
        fn put(&self, zones: &[(&str, &str)]) {
            for (name, records) in zones {
                let text = format!("$TTL 60\n@ SOA ns.example.net. host 1 1 1 1 1\n@ NS ns.example.net.\n{records}\n");
                fs::write(self.0.join(name), text).unwrap();
            }
        }

        /// Compiles over what serves, with these zones and services.
        fn compile(&self, zones: &[&str], services: &[&str], serving: Option<&Compiled>) -> Result<Compiled, String> {
            self.compile_with(zones, services, "", serving)
        }

        /// As [`Self::compile`], with more settings of the last service.
        fn compile_with(
            &self,
            zones: &[&str],
            services: &[&str],
            settings: &str,
            serving: Option<&Compiled>,
        ) -> Result<Compiled, String> {
            let mut text = String::from("[server]\nlisten = [\"127.0.0.1:0\"]\n[regions.r]\nlocation = [0, 0]\n");
            text += "[pools.p]\nendpoints = [{ region = \"r\", address = \"198.51.100.1\" }]\n";
            for zone in zones {
                text += &format!("[zones.\"{zone}\"]\nfile = \"{zone}\"\n");
            }
            for service in services {
                text += &format!("[services.\"{service}\"]\npool = \"p\"\n");
            }
            let config = Config::parse(&(text + settings), &self.0.join("meridian.toml")).unwrap();
            let database = Arc::new(load_database(&config).unwrap());
            let geography = Some(Geography { database, geo_maps: Arc::default(), latency: None });
            let cookies = Some(CookieSecrets::one([0; 16]));
            compile(config, geography, cookies, None, &mut Carried::new(1), serving.map(|serving| &*serving.tree))
                .map_err(|problems| {
                    problems.0.iter().map(|problem| problem.message.clone()).collect::<Vec<_>>().join("; ")
                })
        }
    }

    impl Drop for Site {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    /// What stands at a name: the last octet of its static address, or the service, or what there is instead.
    fn at(compiled: &Compiled, name: &str) -> String {
        let mut lookup = LookupName::default();
        lookup.read(Name::from_str(name).unwrap().as_slice()).unwrap();
        let tree = &compiled.tree;
        match tree.find(&lookup, rtype::A) {
            Found::Node(id) => {
                let node = tree.node(id);
                match (node.service(), tree.set_of(node, rtype::A)) {
                    (Some(service), None) => compiled.config.services[service].name.to_string(),
                    (None, Some(set)) => tree.wire(&tree.records(set)[0]).last().unwrap().to_string(),
                    (None, None) => "no data".to_owned(),
                    (Some(_), Some(_)) => panic!("{name} is a service and has a static address"),
                }
            }
            Found::NotServed => "not served".to_owned(),
            Found::NxDomain(_) => "no such name".to_owned(),
            Found::Referral(_) => "delegated".to_owned(),
            Found::Dname(_) => "redirected".to_owned(),
        }
    }

    fn outdated(compiled: &Compiled) -> Vec<(String, bool)> {
        compiled.outdated.zones.iter().map(|zone| (zone.name.to_string(), zone.is_served)).collect()
    }

    const GOOD: [(&str, &str); 3] = [
        ("a.example", "www A 192.0.2.1\nchild NS ns.child\nns.child A 192.0.2.2\nhidden.child A 192.0.2.3"),
        ("child.a.example", "www A 192.0.2.4"),
        ("b.example", "www A 192.0.2.5"),
    ];
    const ZONES: [&str; 3] = ["a.example", "child.a.example", "b.example"];
    const SERVICES: [&str; 2] = ["s.a.example", "s.child.a.example"];

    #[test]
    fn a_broken_zone_keeps_its_records_and_holds_no_other_up() {
        let site = Site::new("kept");
        site.put(&GOOD);
        let first = site.compile(&ZONES, &SERVICES, None).unwrap();
        assert_eq!(outdated(&first), []);

        site.put(&[("a.example", "www A nonsense"), ("b.example", "www A 192.0.2.55")]);
        assert!(site.compile(&ZONES, &SERVICES, None).is_err(), "at a start it is an error");
        let second = site.compile(&ZONES, &SERVICES, Some(&first)).unwrap();
        assert_eq!(outdated(&second), [("a.example".to_owned(), true)]);
        assert_eq!(second.outdated.problem_count, 1);
        let problem = &second.outdated.problems[0];
        assert!(problem.contains("a.example:4:7: not A data: expected IPv4 address"), "{problem}");
        for (name, expected) in [
            ("www.a.example", "1"),
            ("s.a.example", "s.a.example"),
            ("www.child.a.example", "4"),
            ("s.child.a.example", "s.child.a.example"),
            ("hidden.child.a.example", "no such name"),
            ("www.b.example", "55"),
        ] {
            assert_eq!(at(&second, name), expected, "{name}");
        }

        // The next reload takes the kept records from those that were kept before.
        fs::remove_file(site.0.join("child.a.example")).unwrap();
        let third = site.compile(&ZONES, &SERVICES, Some(&second)).unwrap();
        assert_eq!(outdated(&third), [("a.example".to_owned(), true), ("child.a.example".to_owned(), true)]);
        assert_eq!((at(&third, "www.a.example"), at(&third, "www.child.a.example")), ("1".into(), "4".into()));

        // Without the child, what its parent has at the cut comes back.
        let fourth = site.compile(&["a.example", "b.example"], &["s.a.example"], Some(&third)).unwrap();
        assert_eq!(outdated(&fourth), [("a.example".to_owned(), true)]);
        assert_eq!(at(&fourth, "www.child.a.example"), "delegated");

        site.put(&GOOD);
        let fifth = site.compile(&ZONES, &SERVICES, Some(&fourth)).unwrap();
        assert_eq!((outdated(&fifth), fifth.outdated.problem_count), (Vec::new(), 0));
        assert_eq!((at(&fifth, "www.b.example"), at(&fifth, "www.child.a.example")), ("5".into(), "4".into()));
    }

    #[test]
    fn a_broken_zone_that_was_not_served_is_left_out_with_its_services() {
        let site = Site::new("left-out");
        site.put(&GOOD);
        let first = site.compile(&["a.example"], &["s.a.example"], None).unwrap();
        site.put(&[("child.a.example", "www A"), ("b.example", "www A 192.0.2.6\ns A 192.0.2.7")]);
        let services = ["s.b.example", "s.child.a.example", "*.a.example"];
        let second = site.compile(&["b.example", "child.a.example", "a.example"], &services, Some(&first)).unwrap();
        assert_eq!(outdated(&second), [("b.example".to_owned(), false), ("child.a.example".to_owned(), false)]);
        for (problem, expected) in second.outdated.problems.iter().zip([
            "b.example:5:1: s.b.example has a static A record, but the service",
            "child.a.example:4:5: not A data",
            "the service s.b.example is left out: its zone is broken and was not served before; correct",
            "the service s.child.a.example is left out: the service s.child.a.example lies in the delegated zone child.a",
        ]) {
            assert!(problem.contains(expected), "{problem}");
        }
        assert_eq!(second.outdated.problem_count, 4);
        let names: Vec<_> = second.config.zones.iter().map(|zone| zone.name.to_string()).collect();
        assert_eq!(names, ["a.example"]);
        let services: Vec<_> = second.config.services.iter().map(|it| (it.name.to_string(), it.zone)).collect();
        assert_eq!(services, [("*.a.example".to_owned(), 0)]);
        for (name, expected) in [
            ("www.b.example", "not served"),
            ("s.child.a.example", "delegated"),
            ("www.a.example", "1"),
            ("other.a.example", "*.a.example"),
        ] {
            assert_eq!(at(&second, name), expected, "{name}");
        }

        // One that is renamed while it is broken is another zone, and the old one is gone.
        site.put(&[("a.example", "www A"), ("renamed.example", "www A"), ("b.example", "www A 192.0.2.6")]);
        let third = site.compile(&["renamed.example", "b.example"], &[], Some(&second)).unwrap();
        assert_eq!(outdated(&third), [("renamed.example".to_owned(), false)]);
        for name in ["www.a.example", "www.renamed.example"] {
            assert_eq!(at(&third, name), "not served", "{name}");
        }
        let none = site.compile(&["renamed.example"], &[], Some(&second)).unwrap_err();
        assert_eq!(none, "not A data: the entry ends too early; no zone would be left to serve");
    }

    #[test]
    fn services_of_a_broken_new_zone_stay_in_the_zone_above_it() {
        let site = Site::new("above");
        site.put(&[("a.example", "www.child A 192.0.2.1\nt.child A 192.0.2.2"), ("child.a.example", "www A")]);
        let first = site.compile(&["a.example"], &["s.child.a.example"], None).unwrap();
        // `t` is a static name until then, and stays one.
        let services = ["new.child.a.example", "s.child.a.example", "t.child.a.example"];
        let second = site.compile(&["child.a.example", "a.example"], &services, Some(&first)).unwrap();
        assert_eq!(outdated(&second), [("child.a.example".to_owned(), false)]);
        assert_eq!(second.outdated.problem_count, 2, "{}", second.outdated);
        let problem = &second.outdated.problems[1];
        assert!(
            problem.contains("the service t.child.a.example is left out: t.child.a.example has a static"),
            "{problem}"
        );
        let expected = [
            ("s.child.a.example", "s.child.a.example"),
            ("new.child.a.example", "new.child.a.example"),
            ("www.child.a.example", "1"),
            ("t.child.a.example", "2"),
        ];
        for (name, expected) in expected {
            assert_eq!(at(&second, name), expected, "{name}");
        }

        // A parent that delegates the name meanwhile would end the service, and so would one that is gone.
        site.put(&[("a.example", "child NS ns.example.net."), ("b.example", "")]);
        let lost = "not A data: the entry ends too early; the service s.child.a.example would be lost: ";
        let error = |zones| site.compile(zones, &["s.child.a.example"], Some(&second)).unwrap_err();
        assert_eq!(
            error(&["child.a.example", "a.example"]),
            format!("{lost}the service s.child.a.example lies in the delegated zone child.a.example")
        );
        assert_eq!(
            error(&["child.a.example", "b.example"]),
            format!("{lost}its zone is broken and was not served before")
        );
    }

    #[test]
    fn a_service_for_which_kept_records_have_no_room_is_left_out() {
        let site = Site::new("conflict");
        site.put(&[("a.example", "www A 192.0.2.1\n@ NS s"), ("b.example", "www A 192.0.2.5")]);
        let zones = ["a.example", "b.example"];
        let first = site.compile(&zones, &["s.a.example"], None).unwrap();
        site.put(&[("a.example", "www A"), ("b.example", "www A 192.0.2.55")]);
        let second = site.compile(&zones, &["www.a.example", "s.a.example", "t.a.example"], Some(&first)).unwrap();
        assert_eq!(outdated(&second), [("a.example".to_owned(), true)]);
        assert_eq!(
            second.outdated.problems[1],
            "the service www.a.example is left out: www.a.example has a static A record, but the service of that name \
             decides its addresses; correct the file of the broken zone first, then what is new there is taken in"
        );
        let expected = [("www.a.example", "1"), ("t.a.example", "t.a.example"), ("www.b.example", "55")];
        for (name, expected) in expected {
            assert_eq!(at(&second, name), expected, "{name}");
        }
        // Without the service the kept records have a name server that leads nowhere.
        assert_eq!(
            site.compile(&zones, &[], Some(&first)).unwrap_err(),
            "not A data: the entry ends too early; the zone a.example can't be kept as it is served: the name server \
             s.a.example has no address"
        );
    }

    #[test]
    fn a_name_server_may_be_in_another_zone_that_is_served() {
        let site = Site::new("nested");
        site.put(&[("a.example", "@ NS ns.child"), ("child.a.example", "ns A 192.0.2.1")]);
        let compile = |zones: &[&str]| site.compile(zones, &[], None).map(|_| ());
        assert_eq!(compile(&["a.example", "child.a.example"]), Ok(()));
        assert_eq!(compile(&["a.example"]), Err("the name server ns.child.a.example has no address".to_owned()));
    }

    /// Names that exist for what is below them are no wildcard's.
    #[test]
    fn a_wildcard_stands_for_no_name_above_a_service() {
        let site = Site::new("above-service");
        site.put(&[("a.example", "* A 192.0.2.1\n@ NS ns")]);
        let compile = |services: &[&str]| site.compile(&["a.example"], services, None).map(|_| ());
        assert_eq!(compile(&["s.other.a.example"]), Ok(()));
        assert_eq!(compile(&["s.ns.a.example"]), Err("the name server ns.a.example has no address".to_owned()));
    }

    #[test]
    fn a_wildcard_service_gives_name_servers_addresses_and_one_at_an_apex_does_not() {
        let site = Site::new("covers");
        site.put(&[("a.example", "@ NS ns1"), ("*.a.example", "")]);
        let compile = |zones: &[&str]| site.compile(zones, &["*.a.example"], None).map(|_| ());
        assert_eq!(compile(&["a.example"]), Ok(()));
        assert_eq!(
            compile(&["a.example", "*.a.example"]),
            Err("the name server ns1.a.example has no address".to_owned())
        );
    }

    #[test]
    fn a_static_set_beside_a_service_that_makes_its_own_is_named_with_both_places() {
        let site = Site::new("bindings");
        site.put(&[("a.example", "s HTTPS 1 .\ns SVCB 1 .\nt HTTPS 1 .")]);
        let problem = |settings: &str| {
            let compiled = site.compile_with(&["a.example"], &["s.a.example"], settings, None);
            compiled.map(|_| ()).map_err(|problem| problem.replace(&site.0.display().to_string(), "FOLDER"))
        };
        let expected = |rtype: &str| {
            Err(format!(
                "s.a.example has a static {rtype} record, but the service of that name makes its own \
                 (FOLDER/meridian.toml:9)"
            ))
        };
        assert_eq!(problem(""), Ok(()));
        assert_eq!(problem("https = {}"), expected("HTTPS"));
        assert_eq!(problem("svcb = {}"), expected("SVCB"));
    }
}
