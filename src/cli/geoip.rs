//! `meridian geoip`: what the databases say of an address, and databases made of CSV.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::geo::build::{self, BuildError};
use crate::geo::{Database, Located, Origin, locate};
use crate::whole_file;

/// Look addresses up in a location database, or build one
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show what is known of addresses
    ///
    /// Example: meridian geoip lookup 192.0.2.1 2001:db8::1
    Lookup {
        /// The addresses
        #[arg(required = true, value_name = "ADDR")]
        addresses: Vec<IpAddr>,
        /// A database of locations; without one, the built-in database of countries
        #[arg(short, long, value_name = "FILE")]
        database: Option<PathBuf>,
        /// A database of autonomous systems beside it
        #[arg(long, value_name = "FILE")]
        asn_database: Option<PathBuf>,
        /// Print one JSON object per address
        #[arg(long)]
        json: bool,
    },
    /// Build a database from networks in CSV
    ///
    /// The first line names the columns: network, and any of continent, country, subdivision, city, latitude,
    /// longitude, asn. A network is a prefix such as 192.0.2.0/24 or a range such as 192.0.2.0-192.0.2.99; the
    /// longest prefix wins. Continent and coordinates come from the country where they are left out.
    Build {
        /// The CSV file
        csv: PathBuf,
        /// The database to write
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// When the data was made, in seconds since 1970; without it SOURCE_DATE_EPOCH, else now
        #[arg(long, value_name = "SECONDS")]
        epoch: Option<u64>,
    },
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match &arguments.command {
        Command::Lookup { addresses, database, asn_database, json } => {
            let database = match Database::load(database.as_deref(), asn_database.as_deref()) {
                Ok(database) => database,
                Err(problem) => return super::fail(problem.into()),
            };
            match lookup(&database, addresses, *json, &mut io::stdout().lock()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(problem) => super::fail(problem.into()),
            }
        }
        Command::Build { csv, output, epoch } => match build(csv, output, *epoch) {
            Ok(()) => ExitCode::SUCCESS,
            Err(problem) => super::fail(problem.into()),
        },
    }
}

/// Makes a database of a CSV (see [`build::build`]) and puts it in place whole, in one step. The database's age counts from
/// `epoch` (seconds since 1970), else from `SOURCE_DATE_EPOCH`, else from now.
///
/// # Errors
/// With every bad line of the CSV, or when a file can't be read or written. Then `output` is as before.
fn build(csv: &Path, output: &Path, epoch: Option<u64>) -> Result<(), BuildFailure> {
    let unreadable = |error| BuildFailure::Csv(csv.to_owned(), error);
    let input = File::open(csv).map_err(|error| unreadable(BuildError::Unreadable(error)))?;
    let epoch = match epoch {
        Some(epoch) => epoch,
        None => default_epoch().ok_or(BuildFailure::Epoch)?,
    };
    let bytes = build::build(BufReader::new(input), epoch).map_err(unreadable)?;
    replace(output, &bytes).map_err(|error| BuildFailure::Output(output.to_owned(), error))
}

fn default_epoch() -> Option<u64> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(epoch) => epoch.parse().ok(),
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|now| now.as_secs()),
    }
}

/// Puts a database in its place. Two that are made at once don't meet in one temporary file.
fn replace(output: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = output.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "names no file"))?;
    let temporary_name = format!("{}.{}.tmp", name.to_string_lossy(), std::process::id());
    whole_file::replace(output, &temporary_name, 0o666, bytes)
}

/// Why no database was written.
#[derive(Debug)]
enum BuildFailure {
    /// The CSV.
    Csv(PathBuf, BuildError),
    /// The file to write.
    Output(PathBuf, io::Error),
    /// `SOURCE_DATE_EPOCH`.
    Epoch,
}

impl fmt::Display for BuildFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Csv(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Output(path, error) => write!(f, "{}: can't be written: {error}", path.display()),
            Self::Epoch => write!(f, "SOURCE_DATE_EPOCH is not a number of seconds since 1970"),
        }
    }
}

impl std::error::Error for BuildFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Csv(_, error) => Some(error),
            Self::Output(_, error) => Some(error),
            Self::Epoch => None,
        }
    }
}

/// Writes what a database says of each address: a paragraph for people, or with `json` one object per line.
///
/// # Errors
/// Those of writing.
fn lookup(database: &Database, addresses: &[IpAddr], json: bool, output: &mut impl Write) -> io::Result<()> {
    for (number, &address) in addresses.iter().enumerate() {
        let located = locate(database, &[], &[], address);
        if json {
            writeln!(output, "{}", object(address, &located))?;
        } else {
            if number > 0 {
                writeln!(output)?;
            }
            for (name, value) in lines(address, &located) {
                writeln!(output, "{name:<13}{value}")?;
            }
        }
    }
    Ok(())
}

fn source(located: &Located<'_>) -> &'static str {
    match located.origin {
        Origin::Network(_) => "networks",
        Origin::Database => "database",
        Origin::Unknown => "unknown",
    }
}

fn lines(address: IpAddr, located: &Located<'_>) -> Vec<(&'static str, String)> {
    let location = &located.location;
    let subdivisions: Vec<String> = location.subdivisions.iter().flatten().map(ToString::to_string).collect();
    let fields = [
        ("address", Some(address.to_string())),
        ("network", Some(located.network.to_string())),
        ("continent", location.continent.map(|continent| continent.to_string())),
        ("country", location.country.map(|country| country.to_string())),
        ("subdivision", Some(subdivisions.join(" ")).filter(|codes| !codes.is_empty())),
        ("city", location.city.as_deref().map(str::to_owned)),
        ("coordinates", location.coordinates.map(|point| format!("{} {}", point.latitude, point.longitude))),
        ("asn", location.asn.map(|asn| asn.to_string())),
        ("organisation", location.organisation.as_deref().map(str::to_owned)),
        ("source", Some(source(located).to_owned())),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn object(address: IpAddr, located: &Located<'_>) -> serde_json::Value {
    let location = &located.location;
    json!({
        "address": address,
        "network": located.network.to_string(),
        "continent": location.continent.map(|continent| continent.as_str()),
        "country": location.country.map(|country| country.to_string()),
        "subdivisions": location.subdivisions.iter().flatten().map(ToString::to_string).collect::<Vec<_>>(),
        "city": location.city.as_deref(),
        "coordinates": location.coordinates.map(|point| [point.latitude, point.longitude]),
        "asn": location.asn,
        "organisation": location.organisation.as_deref(),
        "source": source(located),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::{Database, build, lookup};

    const CSV: &str =
        "network,country,subdivision,city,latitude,longitude,asn\n192.0.2.0/24,DE,BE,Berlin,52.5,13.4,64500\n";

    #[test]
    fn a_database_is_replaced_whole_or_not_at_all() {
        let folder = std::env::temp_dir().join(format!("meridian-geoip-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (csv, output) = (folder.join("networks.csv"), folder.join("networks.mmdb"));
        std::fs::write(&csv, CSV).unwrap();
        build(&csv, &output, Some(1)).unwrap();
        assert_eq!(Database::load(Some(&output), None).unwrap().build_epoch(), 1);
        std::fs::write(&csv, "network\nnonsense\n").unwrap();
        let failure = build(&csv, &output, Some(2)).unwrap_err().to_string();
        assert!(failure.contains("networks.csv: 1 bad line") && failure.contains("line 2: "), "{failure}");
        assert_eq!(Database::load(Some(&output), None).unwrap().build_epoch(), 1);
        let failure = build(&csv.with_extension("missing"), &output, Some(2)).unwrap_err().to_string();
        assert!(failure.contains("can't be read"), "{failure}");
        std::fs::write(&csv, CSV).unwrap();
        let nowhere = folder.join("nowhere").join("networks.mmdb");
        assert!(build(&csv, &nowhere, Some(2)).unwrap_err().to_string().contains("can't be written"));
        let mut left: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["networks.csv", "networks.mmdb"]);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn lookups_for_people_and_machines() {
        let database = Database::from_bytes(&crate::geo::build::build(CSV.as_bytes(), 1).unwrap()).unwrap();
        let addresses = ["192.0.2.1", "192.0.3.1"].map(|address| address.parse().unwrap());
        let show = |json| {
            let mut output = Vec::new();
            lookup(&database, &addresses, json, &mut output).unwrap();
            String::from_utf8(output).unwrap()
        };
        let text = "\
address      192.0.2.1
network      192.0.2.0/24
continent    EU
country      DE
subdivision  DE-BE
city         Berlin
coordinates  52.5 13.4
asn          64500
source       database

address      192.0.3.1
network      192.0.3.0/24
source       unknown
";
        assert_eq!(show(false), text);
        let json = "\
{\"address\":\"192.0.2.1\",\"asn\":64500,\"city\":\"Berlin\",\"continent\":\"EU\",\"coordinates\":[52.5,13.4],\
\"country\":\"DE\",\"network\":\"192.0.2.0/24\",\"organisation\":null,\"source\":\"database\",\"subdivisions\":[\"DE-BE\"]}";
        assert_eq!(show(true).lines().next(), Some(json));
    }
}
