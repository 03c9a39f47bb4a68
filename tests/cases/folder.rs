//! A temporary folder with the files that a case needs.

use std::path::PathBuf;

use crate::file::CaseFile;
use crate::support::folder::Folder;

/// What every case's server has, whatever else its configuration says.
const PREFIX: &str = r#"
server.listen = ["127.0.0.1:0"]
server.workers = 2
server.tcp.idle_timeout = "1m"
admin.listen = "127.0.0.1:0"
"#;

/// Writes a case file's configuration, zone files and database, and returns the configuration's path too. `port` stands
/// in for `@PORT@`.
pub(crate) fn write(file: &CaseFile, port: u16) -> Result<(Folder, PathBuf), String> {
    let folder = Folder::new(&format!("case-{}", file.name.trim_end_matches(".toml")));
    // A database that says nothing of any client loads at once.
    let silent = if file.geo.is_none() && !file.builtin { "geoip.database = \"geo.mmdb\"\n" } else { "" };
    let config = format!("{PREFIX}{silent}{}", file.config.replace("@PORT@", &port.to_string()));
    let config = folder.put("meridian.toml", config);
    for (name, text) in &file.files {
        if name.ends_with(".secrets") {
            folder.put_secret(name, text)
        } else {
            folder.put(name, text)
        };
    }
    let csv = file.geo.as_ref().map_or("network,country\n3fff:ffff::/32,AQ\n", |geo| &geo.csv);
    let database = meridian::geo::build::build(csv.as_bytes(), 0).map_err(|error| error.to_string())?;
    folder.put("geo.mmdb", database);
    Ok((folder, config))
}
