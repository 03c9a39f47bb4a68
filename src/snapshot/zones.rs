//! The zones of a configuration: read, checked beside their services, and kept as they are where what is on disk is broken.

use std::collections::HashMap;
use std::fmt;

use crate::config::diagnostic::MAX_SHOWN;
use crate::config::{self, Config, Problem, Problems, ZoneOrigin};
use crate::zone::{self, Name, Tree, ZoneRecords, rtype};

/// The most octets of records in all zones together; the tree addresses them by 32 bits.
const MAX_ZONE_OCTETS: usize = 1 << 31;

/// The zones whose files are broken, so that what is on disk is not what is served.
#[derive(Debug, Clone, Default)]
pub struct Outdated {
    /// In the order of the configuration.
    pub zones: Vec<OutdatedZone>,
    /// What is wrong with them, a line each, at most [`MAX_SHOWN`].
    pub problems: Vec<String>,
    /// How many problems there are in all.
    pub problem_count: usize,
}

/// A zone whose file is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutdatedZone {
    /// Its name.
    pub name: Name,
    /// Whether the records of before are served. Else there were none: the zone is left out, with its services.
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

impl Outdated {
    fn add(&mut self, name: Name, is_served: bool, problems: &Problems) {
        self.zones.push(OutdatedZone { name, is_served });
        self.problem_count += problems.0.len();
        let room = MAX_SHOWN.saturating_sub(self.problems.len());
        self.problems.extend(problems.0.iter().take(room).map(Problem::to_string));
    }
}

/// The zones to serve. Those that are left out are gone from the configuration, too.
pub(super) fn load_zones(
    config: &mut Config,
    serving: Option<&Tree>,
) -> Result<(Vec<ZoneRecords>, Outdated), Problems> {
    let mut zones: Vec<Option<ZoneRecords>> = Vec::new();
    let mut outdated = Outdated::default();
    let mut problems = Problems::default();
    for (index, zone) in config.zones.iter().enumerate() {
        let broken = match load_zone(config, index) {
            Ok(records) => {
                zones.push(Some(records));
                continue;
            }
            Err(broken) => broken,
        };
        match (serving, &zone.origin) {
            (Some(serving), ZoneOrigin::File { .. }) => {
                let kept = serving.zone_records(&zone.name);
                let conflicts = kept.as_ref().map(|kept| conflicts(config, index, kept)).unwrap_or_default();
                if conflicts.is_empty() {
                    outdated.add(zone.name.clone(), kept.is_some(), &broken);
                } else {
                    problems.0.extend(broken.0.into_iter().chain(conflicts));
                }
                zones.push(kept);
            }
            _ => problems.0.extend(broken.0),
        }
    }
    let octets: usize = zones.iter().flatten().flat_map(|zone| &zone.records).map(record_octets).sum();
    if octets > MAX_ZONE_OCTETS {
        problems.0.push(Problem::new(format!(
            "the zones together have {octets} octets of records, over the limit of {MAX_ZONE_OCTETS}"
        )));
    }
    if !problems.0.is_empty() {
        return Err(problems);
    }
    leave_out_absent(config, &zones);
    Ok((zones.into_iter().flatten().collect(), outdated))
}

/// Reads a zone and checks it beside its services.
fn load_zone(config: &Config, index: usize) -> Result<ZoneRecords, Problems> {
    let zone = zone::load(&config.zones[index], &config.source, |name| is_service(config, name))?;
    let problems = check_services(config, index, &zone);
    if problems.is_empty() { Ok(zone) } else { Err(Problems(problems)) }
}

/// What keeps the records that a zone had from standing beside a configuration that came later.
fn conflicts(config: &Config, index: usize, kept: &ZoneRecords) -> Vec<Problem> {
    let mut problems = kept.check(|name| is_service(config, name));
    problems.extend(check_services(config, index, kept));
    for problem in &mut problems {
        problem.message = format!("the zone {} can't be kept as it is served: {}", kept.apex, problem.message);
    }
    problems
}

/// Takes the zones that have no records, and their services, out of the configuration.
fn leave_out_absent(config: &mut Config, zones: &[Option<ZoneRecords>]) {
    let mut next = 0;
    let indices: Vec<Option<usize>> = zones
        .iter()
        .map(|zone| {
            let index = zone.as_ref().map(|_| next);
            next += usize::from(index.is_some());
            index
        })
        .collect();
    let mut present = indices.iter();
    config.zones.retain(|_| present.next().is_none_or(Option::is_some));
    config.services.retain_mut(|service| match indices.get(service.zone) {
        Some(Some(zone)) => {
            service.zone = *zone;
            true
        }
        _ => false,
    });
}

/// A generous bound of what the tree keeps of a record: its owner and all names above it, its fixed part and data.
fn record_octets(record: &zone::Record) -> usize {
    2 * record.owner.len() + 10 + record.rdata.len()
}

/// Whether a name is that of a service. One at an apex that begins with `*` is not told, as it would be taken for a
/// wildcard of the zone above.
fn is_service(config: &Config, name: &Name) -> bool {
    let is_star_apex = |service: &config::Service| {
        service.name.as_slice().starts_with(b"\x01*") && config.zones[service.zone].name == service.name
    };
    config.services.iter().any(|service| service.name == *name && !is_star_apex(service))
}

/// A service decides the addresses of its name alone, and its zone has to be in charge of that name.
fn check_services(config: &Config, zone_index: usize, zone: &ZoneRecords) -> Vec<Problem> {
    let mut problems = Vec::new();
    let services: HashMap<&Name, &config::Service> = config
        .services
        .iter()
        .filter(|service| service.zone == zone_index)
        .map(|service| (&service.name, service))
        .collect();
    let is_alias = |service: &config::Service| service.tiers.iter().any(|tier| config.pools[*tier].has_hostnames());
    let hint = "remove the record from the zone, or the service from the configuration";
    for record in &zone.records {
        let (owner, rtype) = (&record.owner, record.rtype);
        if let Some(service) = services.get(owner) {
            let why = match rtype.to_int() {
                rtype::A | rtype::AAAA | rtype::CNAME => "the service of that name decides its addresses",
                _ if is_alias(service) => "its service answers with CNAME records, beside which nothing may stand",
                _ => "",
            };
            if !why.is_empty() {
                let message = format!("{owner} has a static {rtype} record, but {why}");
                problems.push(zone.problem(record, message).hint(hint));
            }
        }
        let hides = match rtype.to_int() {
            rtype::NS if *owner != zone.apex => "in the delegated zone",
            rtype::DNAME => "below the DNAME",
            _ => continue,
        };
        let hidden =
            services.keys().filter(|name| name.ends_with(owner) && (rtype.to_int() == rtype::NS || **name != owner));
        for service in hidden {
            let message = format!("the service {service} lies {hides} {owner}");
            problems.push(zone.problem(record, message).hint(hint));
        }
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
    use crate::metrics::Tallies;
    use crate::snapshot::{Compiled, compile, load_database};
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
            let mut text = String::from("[server]\nlisten = [\"127.0.0.1:0\"]\n[regions.r]\nlocation = [0, 0]\n");
            text += "[pools.p]\nendpoints = [{ region = \"r\", address = \"198.51.100.1\" }]\n";
            for zone in zones {
                text += &format!("[zones.\"{zone}\"]\nfile = \"{zone}\"\n");
            }
            for service in services {
                text += &format!("[services.\"{service}\"]\npool = \"p\"\n");
            }
            let config = Config::parse(&text, &self.0.join("meridian.toml")).unwrap();
            let database = Some(Arc::new(load_database(&config).unwrap()));
            let cookies = Some(CookieSecrets::one([0; 16]));
            compile(config, database, cookies, None, &mut Tallies::new(1), serving.map(|serving| &*serving.tree))
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
        let problem = &second.outdated.problems[0];
        assert!(problem.contains("s.b.example has a static A record, but the service"), "{problem}");
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
        site.put(&[("a.example", "www A"), ("renamed.example", "www A")]);
        let third = site.compile(&["renamed.example"], &[], Some(&second)).unwrap();
        assert_eq!(outdated(&third), [("renamed.example".to_owned(), false)]);
        assert_eq!(
            (at(&third, "www.a.example"), at(&third, "www.renamed.example")),
            ("not served".into(), "not served".into())
        );
    }

    #[test]
    fn what_cannot_stand_beside_kept_records_refuses_the_reload() {
        let site = Site::new("conflict");
        site.put(&[("a.example", "www A 192.0.2.1\n@ NS s"), ("b.example", "www A 192.0.2.5")]);
        let first = site.compile(&["a.example", "b.example"], &["s.a.example"], None).unwrap();
        site.put(&[("a.example", "www A")]);
        let kept = "the zone a.example can't be kept as it is served: ";
        let broken = "not A data: the entry ends too early";
        let with_www = site.compile(&["a.example", "b.example"], &["s.a.example", "www.a.example"], Some(&first));
        assert_eq!(
            with_www.unwrap_err(),
            format!(
                "{broken}; {kept}www.a.example has a static A record, but the service of that name decides its addresses"
            )
        );
        let without_s = site.compile(&["a.example", "b.example"], &[], Some(&first));
        assert_eq!(without_s.unwrap_err(), format!("{broken}; {kept}the name server s.a.example has no address"));
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
}
