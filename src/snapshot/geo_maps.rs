//! The rules of maps with the networks that their files list, and those that they inherit.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::Read;
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
    let mut text = String::new();
    let file = regular_file::open(path).map_err(|error| error.to_string())?;
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("it is larger than {} MiB", MAX_FILE_BYTES >> 20));
    }
    Ok(text)
}
