//! A temporary folder with the files that a case needs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::file::CaseFile;

/// What every case's server has, whatever else its configuration says.
const PREFIX: &str = r#"
server.listen = ["127.0.0.1:0"]
server.workers = 2
server.tcp.idle_timeout = "1m"
admin.listen = "127.0.0.1:0"
"#;

/// Removed with all that is in it when dropped.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Writes a case file's configuration, zone files and database. `port` stands in for `@PORT@`.
    pub(crate) fn write(file: &CaseFile, port: u16) -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("case-{}-{}-{count}", file.name.trim_end_matches(".toml"), std::process::id());
        let folder = Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
        fs::create_dir_all(&folder.0).map_err(|error| format!("{}: {error}", folder.0.display()))?;
        folder.put("meridian.toml", format!("{PREFIX}{}", file.config.replace("@PORT@", &port.to_string())))?;
        for (name, text) in &file.files {
            folder.put(name, text)?;
        }
        if let Some(geo) = &file.geo {
            let database = meridian::geo::build::build(geo.csv.as_bytes(), 0).map_err(|error| error.to_string())?;
            folder.put("geo.mmdb", database)?;
        }
        Ok(folder)
    }

    /// The configuration's file.
    pub(crate) fn config(&self) -> PathBuf {
        self.0.join("meridian.toml")
    }

    fn put(&self, name: &str, content: impl AsRef<[u8]>) -> Result<(), String> {
        fs::write(self.0.join(name), content).map_err(|error| format!("{name}: {error}"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left over lies in the build's own folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}
