//! The rules of maps with the networks that their files list, and those that they inherit.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;

use crate::config::{Config, Map, NetworkError, Problem, Problems, Source, Span, parse_network};
use crate::geo::{GeoMap, Matcher, Rule};
use crate::regular_file;

/// The largest file of networks, in bytes.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// Lines in a file of networks.
const MAX_LINES: usize = 1_000_000;
/// Networks of all maps together; those that are inherited count in each.
const MAX_NETWORKS: usize = 2_000_000;
/// What is reported of one map.
const MAX_PROBLEMS: usize = 1_000;

/// The rules of one map alone, each with what it matches.
type Rules = Vec<(Rule, Vec<Matcher>)>;

/// Reads the files of networks that the configuration's maps name, and makes the maps, in the order of [`Config::maps`].
///
/// # Errors
/// A file can't be read, or exceeds 16 MiB or a million lines; lines that are no networks; a network twice in one map; more
/// than two million networks in all.
pub fn load_geo_maps(config: &Config) -> Result<Arc<[GeoMap]>, Problems> {
    let mut problems = Problems::default();
    let own: Vec<Rules> = config.maps.iter().map(|map| Reading::new(config, &mut problems).rules(map)).collect();
    if !problems.0.is_empty() {
        return Err(problems);
    }
    let mut room = MAX_NETWORKS;
    let maps: Result<Arc<[GeoMap]>, Problem> = (0..config.maps.len())
        .map(|index| {
            let chain = std::iter::successors(Some(index), |index| config.maps[*index].inherits);
            let rules: Rules = chain.flat_map(|index| own[index].iter().cloned()).collect();
            let is_network = |matcher: &&Matcher| matches!(matcher, Matcher::Network(_));
            let networks = rules.iter().flat_map(|(_, matchers)| matchers).filter(is_network).count();
            room = room.checked_sub(networks).ok_or_else(|| {
                let name = &config.maps[index].name;
                Problem::new(format!("with the {networks} networks of map {name} there are more than {MAX_NETWORKS}"))
                    .hint("list wider networks, or let services share one map")
            })?;
            Ok(GeoMap::new(rules))
        })
        .collect();
    Ok(maps?)
}

/// The reading of one map.
struct Reading<'a> {
    config: &'a Config,
    problems: &'a mut Problems,
    /// How many problems may still be reported.
    room: usize,
    /// The networks so far, with where they are: in the TOML, or in this file.
    seen: HashMap<IpNet, (Arc<Source>, usize)>,
}

impl<'a> Reading<'a> {
    fn new(config: &'a Config, problems: &'a mut Problems) -> Self {
        Self { config, problems, room: MAX_PROBLEMS, seen: HashMap::new() }
    }

    fn rules(mut self, map: &Map) -> Rules {
        // Those in the TOML first: it is the file where they are also given that is wrong.
        for (matcher, span) in map.rules.iter().flat_map(|rule| &rule.matchers) {
            if let Matcher::Network(cidr) = matcher {
                self.seen.insert(*cidr, (Arc::clone(&self.config.source), span.start));
            }
        }
        let rules = map.rules.iter().map(|rule| {
            let mut matchers: Vec<Matcher> = rule.matchers.iter().map(|(matcher, _)| matcher.clone()).collect();
            if let Some((path, span)) = &rule.networks_file {
                self.read(path, span, &mut matchers);
            }
            (Rule { map: Arc::clone(&map.name), regions: rule.regions.clone(), fence: rule.fence }, matchers)
        });
        rules.collect()
    }

    fn report(&mut self, problem: Problem) {
        if let Some(room) = self.room.checked_sub(1) {
            self.room = room;
            self.problems.0.push(problem);
        }
    }

    /// Reads a file of networks, which the TOML names there.
    fn read(&mut self, path: &Path, span: &Span, matchers: &mut Vec<Matcher>) {
        let source = match read(path) {
            Ok(text) => Arc::new(Source { path: path.to_owned(), text }),
            Err(message) => {
                let problem = Problem::new(format!("can't use {}: {message}", path.display()));
                return self.report(problem.at(&self.config.source, span.clone()));
            }
        };
        let mut start = 0;
        for (index, line) in source.text.split_inclusive('\n').enumerate() {
            let written = line.split('#').next().unwrap_or_default().trim();
            let offset = start + line.find(written).unwrap_or(0);
            let place = offset..offset + written.len();
            start += line.len();
            if index >= MAX_LINES {
                let problem = Problem::new(format!("the file has more than {MAX_LINES} lines"));
                return self.report(problem.at(&source, place).hint("list wider networks"));
            }
            if written.is_empty() {
                continue;
            }
            match parse_network(written) {
                Ok(cidr) => {
                    match self.seen.entry(cidr) {
                        Entry::Vacant(entry) => {
                            entry.insert((Arc::clone(&source), place.start));
                        }
                        Entry::Occupied(entry) => {
                            let (source_before, offset) = entry.get();
                            let (line, _) = source_before.line_and_column(*offset);
                            let before = format!("{}:{line}", source_before.path.display());
                            let problem = Problem::new(format!("the network {cidr} is given twice in this map"));
                            let hint = format!("it is also in {before}: keep one of them");
                            self.report(problem.at(&source, place).hint(hint));
                            continue;
                        }
                    }
                    matchers.push(Matcher::Network(cidr));
                }
                Err(NetworkError { message, hint }) => self.report(Problem::new(message).at(&source, place).hint(hint)),
            }
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    let bytes = regular_file::read(path, MAX_FILE_BYTES).map_err(|error| error.to_string())?;
    let bytes = bytes.ok_or_else(|| format!("it is larger than {} MiB", MAX_FILE_BYTES >> 20))?;
    String::from_utf8(bytes).map_err(|error| error.utf8_error().to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::geo::Location;

    /// A folder with files of networks, gone when the test ends.
    struct Site(PathBuf);

    impl Site {
        fn new(label: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("meridian-maps-{label}-{}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn load(&self, maps: &str) -> Result<Arc<[GeoMap]>, String> {
            let text = format!(
                "[server]\nlisten = [\"127.0.0.1:0\"]\n[zones.\"a.example\"]\nnameservers = [\"ns.example\"]\n\
                 [regions.a]\nlocation = [0, 0]\n[regions.b]\nlocation = [0, 0]\n{maps}"
            );
            let config = Config::parse(&text, &self.0.join("m.toml")).unwrap();
            load_geo_maps(&config).map_err(|problems| {
                let lines: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
                lines.join("\n").replace(&format!("{}/", self.0.display()), "")
            })
        }
    }

    impl Drop for Site {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn every_bad_line_of_a_file_is_named() {
        let site = Site::new("lines");
        fs::write(site.0.join("a.txt"), "# all\n10.0.0.0/8\n\n  10.0.0.1/8 # bits\n10.1.0.0\nnothing\r\n10.2.0.0/16\n")
            .unwrap();
        fs::write(site.0.join("b.txt"), "10.3.0.0/16\n10.2.0.0/16\n10.0.0.0/8").unwrap();
        let maps = "[maps.m]\nrules = [\n\
                    { networks_file = \"a.txt\", regions = [\"a\"] },\n\
                    { networks_file = \"b.txt\", networks = [\"10.3.0.0/16\", \"10.3.1.0/24\"], regions = [\"b\"] },\n\
                    { networks_file = \"none.txt\", regions = [\"b\"] },\n]\n";
        let expected = "\
a.txt:4:3: the address has bits beyond the prefix of 8; write \"10.0.0.0/8\" for all of the network
a.txt:5:1: the prefix length is missing; write \"10.1.0.0/32\"
a.txt:6:1: expected a network as address/prefix length, found the string \"nothing\"; write for example `\"10.20.0.0/16\"` or `\"2001:db8::/32\"`
b.txt:1:1: the network 10.3.0.0/16 is given twice in this map; it is also in m.toml:12: keep one of them
b.txt:2:1: the network 10.2.0.0/16 is given twice in this map; it is also in a.txt:7: keep one of them
b.txt:3:1: the network 10.0.0.0/8 is given twice in this map; it is also in a.txt:2: keep one of them
m.toml:13:19: can't use none.txt: No such file or directory (os error 2)";
        assert_eq!(site.load(maps).unwrap_err(), expected);
    }

    #[test]
    fn files_are_bounded() {
        let site = Site::new("bounds");
        let maps = "[maps.m]\nrules = [{ networks_file = \"a.txt\", regions = [\"a\"] }]\n";
        let file = site.0.join("a.txt");
        fs::write(&file, "\n".repeat(MAX_LINES)).unwrap();
        assert!(site.load(maps).is_ok());
        fs::write(&file, "\n".repeat(MAX_LINES + 2)).unwrap();
        let error = site.load(maps).unwrap_err();
        assert_eq!(error, "a.txt:1000001:1: the file has more than 1000000 lines; list wider networks");
        fs::File::create(&file).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
        assert_eq!(site.load(maps).unwrap_err(), "m.toml:10:28: can't use a.txt: it is larger than 16 MiB");
        fs::write(&file, "nothing\n".repeat(MAX_PROBLEMS + 10)).unwrap();
        assert_eq!(site.load(maps).unwrap_err().lines().count(), MAX_PROBLEMS);
    }

    #[test]
    fn a_map_inherits_what_it_has_no_rule_for() {
        let site = Site::new("inherits");
        fs::write(site.0.join("a.txt"), "10.0.0.0/8\n10.1.0.0/16\n").unwrap();
        let maps = "[maps.child]\ninherits = \"parent\"\nrules = [{ networks = [\"10.1.0.0/16\"], asns = [1], regions = [\"b\"] }]\n\
                    [maps.parent]\ninherits = \"base\"\ndefault = [\"b\", \"a\"]\n\
                    [maps.base]\nfence = true\ndefault = []\nrules = [{ asns = [1, 2], networks_file = \"a.txt\", regions = [\"a\"] }]\n";
        let loaded = site.load(maps).unwrap();
        for (client, asn, expected) in [
            ("10.1.2.3", 2, "map child, network 10.1.0.0/16"),
            ("10.2.2.3", 1, "map base, network 10.0.0.0/8"),
            ("192.0.2.1", 1, "map child, AS1"),
            ("192.0.2.1", 2, "map base, AS2"),
            ("192.0.2.1", 3, "map parent, default"),
        ] {
            let location = Location { asn: Some(asn), ..Location::default() };
            let ruling = loaded[0].ruling(client.parse().unwrap(), &location).unwrap();
            assert_eq!(ruling.to_string(), expected, "{client} AS{asn}");
            assert_eq!(ruling.rule.fence, expected.contains("base"));
        }
    }
}
