//! Databases that are built here, read by the reference implementation.

use std::net::IpAddr;
use std::process::Command;

use crate::support::folder::Folder;

const NETWORKS: &str = "\
network,country,subdivision,city,latitude,longitude,asn
192.0.2.0/24,DE,DE-BE,Berlin,52.52,13.40,64500
198.51.100.0-198.51.100.99,US,US-CA,,,,
2001:db8::/32,AU,,,,,
";

/// What `mmdblookup` (Debian: mmdb-bin), which is of libmaxminddb, finds at an address.
fn found(database: &std::path::Path, address: &str, path: &[&str]) -> String {
    let mut command = Command::new("mmdblookup");
    command.arg("--file").arg(database).args(["--ip", address]).args(path);
    let output = command.output().expect("mmdblookup runs: `tests/run` installs it, or apt-get install mmdb-bin");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn libmaxminddb_reads_what_is_built() {
    let folder = Folder::new("geoip");
    let csv = folder.put("networks.csv", NETWORKS);
    let database = csv.with_file_name("networks.mmdb");
    let status = Command::new(env!("CARGO_BIN_EXE_meridian"))
        .args(["geoip", "build", "--epoch", "1700000000"])
        .arg(&csv)
        .arg("-o")
        .arg(&database)
        .status()
        .unwrap();
    assert!(status.success());
    for (address, path, expected) in [
        ("192.0.2.200", &["country", "iso_code"][..], "\"DE\" <utf8_string>"),
        ("192.0.2.200", &["city", "names", "en"], "\"Berlin\" <utf8_string>"),
        ("192.0.2.200", &["location", "latitude"], "52.520000 <double>"),
        ("198.51.100.99", &["subdivisions", "0", "iso_code"], "\"CA\" <utf8_string>"),
        ("198.51.100.100", &["country", "iso_code"], ""),
        ("2001:db8:1::1", &["continent", "code"], "\"OC\" <utf8_string>"),
    ] {
        assert_eq!(found(&database, address, path), expected, "{address} {path:?}");
    }
}

#[test]
fn libmaxminddb_reads_the_built_in_database() {
    let database = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("geoip/country.mmdb");
    for (address, country) in [("141.2.1.1", "DE"), ("129.78.1.1", "AU"), ("18.7.1.1", "US"), ("2001:200::1", "JP")] {
        let address: IpAddr = address.parse().unwrap();
        let expected = format!("\"{country}\" <utf8_string>");
        assert_eq!(found(&database, &address.to_string(), &["country", "iso_code"]), expected);
    }
}
