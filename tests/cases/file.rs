//! How case files are written.
//!
//! ```toml
//! config = '''…'''                    # the configuration, but for its listeners; paths are relative to its folder
//! down = ["127.0.1.1"]                # probed endpoints that fail; all others are up
//! unknown = ["127.0.1.2"]             # probed endpoints (by HTTP with a long timeout) that say nothing yet
//! geo.csv = '''network,country…'''    # built into the database `geo.mmdb`, which else is empty
//!
//! [files]
//! "example.com.zone" = '''…'''        # a file beside the configuration
//!
//! [records]
//! soa = ["example.com. 300 IN SOA …"] # what several answers have, as `"@soa"`
//!
//! [[query]]
//! why = "what is shown, and which rule asks for it"
//! ask = "www.example.com A"           # name, type and, if it isn't IN, class
//! client = "203.0.113.0/24"           # EDNS client subnet
//! answer = ["www.example.com. 30 IN A 192.0.2.1"]
//! scope = 24
//! ```
//!
//! In a probe's port, `@PORT@` is the port at which the endpoints that are up listen. All that a query may say is in
//! [`Case`]; what it doesn't say of the answer must not be there.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use serde::Deserialize;

/// One file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CaseFile {
    #[serde(skip)]
    pub(crate) name: String,
    pub(crate) config: String,
    #[serde(default)]
    pub(crate) files: BTreeMap<String, String>,
    pub(crate) geo: Option<Geo>,
    /// Locations come from the built-in database; else, without `geo`, nothing is known of anyone.
    #[serde(default)]
    pub(crate) builtin: bool,
    #[serde(default)]
    pub(crate) down: Vec<IpAddr>,
    #[serde(default)]
    pub(crate) unknown: Vec<IpAddr>,
    /// Records that several answers have: `@name` among an answer's records stands for all of them.
    #[serde(default)]
    records: BTreeMap<String, Vec<String>>,
    #[serde(rename = "query")]
    pub(crate) cases: Vec<Case>,
}

/// The database.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Geo {
    /// As `meridian geoip build` reads it.
    pub(crate) csv: String,
}

/// A query and its answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Case {
    /// What it shows.
    pub(crate) why: String,

    /// Name, type and class; class IN may be left out.
    pub(crate) ask: String,
    /// The whole request in hexadecimal, in place of all else that is asked.
    pub(crate) raw: Option<String>,
    /// Who asks.
    pub(crate) peer: Ipv4Addr,
    /// The client's subnet, as `address/length`.
    pub(crate) client: Option<String>,
    /// Whether there is an OPT record.
    pub(crate) edns: bool,
    /// The datagrams that the client takes.
    pub(crate) size: u16,
    /// The datagrams that the server sends at most.
    pub(crate) server_size: u16,
    /// The DO bit.
    #[serde(rename = "do")]
    pub(crate) dnssec_ok: bool,
    /// Of EDNS.
    pub(crate) version: u8,
    /// Further options, as `code hexadecimal`.
    pub(crate) options: Vec<String>,
    /// The operation, 0 to 15.
    pub(crate) opcode: u16,
    /// Flags of the request, such as `rd cd`.
    pub(crate) header: String,

    /// No answer may come.
    pub(crate) silence: bool,
    pub(crate) rcode: String,
    /// Flags of the answer, such as `aa rd`.
    pub(crate) flags: String,
    pub(crate) answer: Vec<String>,
    /// Lines that are the answer in this order: a TXT record of class CHAOS, TTL 0 and the asked name for each.
    pub(crate) text: String,
    pub(crate) authority: Vec<String>,
    /// But for the OPT record.
    pub(crate) additional: Vec<String>,
    /// Of the answer section.
    pub(crate) order: Order,
    /// So many records of `answer`, each at most once, are the answer.
    pub(crate) pick: Option<usize>,
    /// The scope of the client's subnet, which has to be echoed; without it there must be none.
    pub(crate) scope: Option<u8>,
    /// The subnet is echoed with a scope that isn't for the case to know.
    pub(crate) any_scope: bool,
    /// The extended error of the answer (RFC 8914): its code, and its text if it has one.
    pub(crate) extended: Option<String>,
    /// Further options of the answer, as `code hexadecimal`.
    pub(crate) replies: Vec<String>,
    /// Over UDP the answer has TC and some of the record sets, each whole.
    pub(crate) truncated: bool,
    /// Over UDP some of the additional section's record sets are left out.
    pub(crate) trimmed: bool,
    /// The answer doesn't repeat the question.
    pub(crate) questionless: bool,
    /// For `raw`: whether the answer repeats the question.
    pub(crate) question: bool,
    /// Only `domain` decodes the answer, as hickory-proto can't.
    pub(crate) by_domain_alone: bool,
    /// How often to ask for `shares`.
    pub(crate) times: u32,
    /// How often the first record of an answer has this data, from 0 to 1.
    pub(crate) shares: BTreeMap<String, f64>,
    /// The shares are exact, up to one answer.
    pub(crate) exact: bool,
}

/// How the records of an answer are compared with the expected ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Order {
    /// They come in any order.
    Any,
    /// They come as written.
    Given,
    /// They come as written, but may begin with any of them.
    Rotated,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            why: String::new(),
            ask: String::new(),
            raw: None,
            peer: Ipv4Addr::LOCALHOST,
            client: None,
            edns: true,
            size: 1232,
            server_size: 1232,
            dnssec_ok: false,
            version: 0,
            options: Vec::new(),
            opcode: 0,
            header: String::new(),
            silence: false,
            rcode: "NOERROR".to_owned(),
            flags: "aa".to_owned(),
            answer: Vec::new(),
            text: String::new(),
            authority: Vec::new(),
            additional: Vec::new(),
            order: Order::Any,
            pick: None,
            scope: None,
            any_scope: false,
            extended: None,
            replies: Vec::new(),
            truncated: false,
            trimmed: false,
            questionless: false,
            question: false,
            by_domain_alone: false,
            times: 1,
            shares: BTreeMap::new(),
            exact: false,
        }
    }
}

impl CaseFile {
    /// All files of this folder, in the order of their names.
    pub(crate) fn load_all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
        let mut files: Vec<Self> = fs::read_dir(&folder)
            .expect("the folder of the case files")
            .map(|entry| entry.expect("an entry of the folder").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
            .map(|path| Self::load(&path))
            .collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        files
    }

    fn load(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("a readable case file");
        let mut file: Self = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        file.name = path.file_name().expect("a file's name").to_string_lossy().into_owned();
        let records = &file.records;
        for case in &mut file.cases {
            if !case.text.is_empty() {
                case.order = Order::Given;
                let name = case.ask.split_whitespace().next().unwrap_or_default();
                case.answer.extend(case.text.lines().map(|line| format!("{name}. 0 CH TXT \"{line}\"")));
            }
            for section in [&mut case.answer, &mut case.authority, &mut case.additional] {
                *section = section.drain(..).flat_map(|record| expand(record, records)).collect();
            }
            assert!(!case.why.is_empty(), "{}: a case without `why`: {case:?}", file.name);
            assert!(case.ask.is_empty() == case.raw.is_some(), "{}: either `ask` or `raw`: {case:?}", file.name);
        }
        file
    }

    /// The endpoints of these addresses that are up.
    pub(crate) fn is_up(&self, address: IpAddr) -> bool {
        !self.down.contains(&address) && !self.unknown.contains(&address)
    }
}

fn expand(record: String, records: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    match record.strip_prefix('@') {
        Some(name) => records.get(name).unwrap_or_else(|| panic!("no records are named {name}")).clone(),
        None => vec![record],
    }
}

impl Case {
    /// What is asked, in one line.
    pub(crate) fn title(&self) -> String {
        let asked = self.raw.as_ref().unwrap_or(&self.ask);
        match &self.client {
            Some(client) => format!("{asked} for {client}"),
            None => asked.clone(),
        }
    }
}
