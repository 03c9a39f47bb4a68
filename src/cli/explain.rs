//! `meridian explain`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use reqwest::Method;

use super::server::{Error, Server};
use crate::admin::view::{Explanation, Question, Source};
use crate::reload::{Loader, Origin};
use crate::snapshot::Publisher;
use crate::unix_time::unix_seconds_modulo;

const EXAMPLES: &str = "\
Examples:
  meridian explain www.gslb.example.com --client 198.51.100.0/24
  meridian explain www.gslb.example.com AAAA --client 192.0.2.53
  meridian explain www.gslb.example.com -c config/demo.toml --json";

/// Show how a query is decided, and why.
///
/// Shows where the client is, the regions in its order with their distances, every endpoint with its weight and health, what
/// was chosen and what was passed over, and how long and for whom the answer holds. Asks the running server by its admin
/// interface, or reads a configuration file, without health, when -c is given.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The name asked for
    name: String,

    /// The type asked for, such as A, AAAA, MX or TYPE65
    #[arg(value_name = "TYPE", default_value = "A")]
    qtype: String,

    /// Who asks: ADDR/LEN is a subnet that the resolver names (EDNS client subnet), ADDR alone is the resolver itself. Without
    /// it the client's location counts as unknown
    #[arg(long, value_name = "ADDR[/LEN]")]
    client: Option<String>,

    /// Decide from this configuration file, with every endpoint's health unknown, in place of asking a server
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["admin", "token_file"])]
    config: Option<PathBuf>,

    #[command(flatten)]
    server: Server,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match explain(arguments) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(problem) => super::fail(problem),
    }
}

fn explain(arguments: &Arguments) -> Result<String, Error> {
    let question = Question::parse(&arguments.name, Some(&arguments.qtype), arguments.client.as_deref())?;
    let explanation = match &arguments.config {
        Some(path) => from_file(path.clone(), &question)?,
        None => from_server(arguments)?,
    };
    if arguments.json {
        return Ok(serde_json::to_string_pretty(&explanation)? + "\n");
    }
    Ok(explanation.to_string())
}

fn from_file(path: PathBuf, question: &Question) -> Result<Explanation, Error> {
    let prepared = Loader::new(Origin::File(path)).load()?;
    let publisher = Publisher::new(prepared.compiled);
    let (snapshot, health) = publisher.current_with_health();
    let (now, unix_seconds) = (Instant::now(), unix_seconds_modulo());
    Ok(Explanation::new(&snapshot, &health, Source::File, question, fastrand::u64(..), now, unix_seconds))
}

fn from_server(arguments: &Arguments) -> Result<Explanation, Error> {
    let mut query = vec![("name", arguments.name.as_str()), ("type", arguments.qtype.as_str())];
    query.extend(arguments.client.as_deref().map(|client| ("client", client)));
    arguments.server.ask(Method::GET, "explain", &query, None, ", or decide from a file with -c FILE")
}
