//! `meridian explain`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use reqwest::{Client, Url};

use crate::admin::Token;
use crate::admin::view::{Explanation, Question, Source};
use crate::health::probe::nobody;
use crate::reload::{Loader, Origin};
use crate::snapshot::Publisher;
use crate::unix_time::unix_seconds_modulo;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// How long the server may take.
const TIMEOUT: Duration = Duration::from_secs(5);

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

    /// The running server's admin interface
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8053")]
    admin: SocketAddr,

    /// The file with the admin interface's token, where it asks for one
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

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
    let token = arguments.token_file.as_deref().map(Token::read).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(ask(arguments, token.as_ref()))?)
}

async fn ask(arguments: &Arguments, token: Option<&Token>) -> Result<Explanation, String> {
    let admin = arguments.admin;
    let refused = |problem: reqwest::Error| {
        if problem.is_connect() {
            format!(
                "no server answers at {admin}: start one with `meridian serve`, name its [admin] `listen` with --admin, \
                 or decide from a file with -c FILE"
            )
        } else {
            format!("the server at {admin} gave no explanation: {problem}")
        }
    };
    let mut url = Url::parse(&format!("http://{admin}/api/v1/explain")).map_err(|problem| problem.to_string())?;
    url.query_pairs_mut().append_pair("name", &arguments.name).append_pair("type", &arguments.qtype);
    if let Some(client) = &arguments.client {
        url.query_pairs_mut().append_pair("client", client);
    }
    let client = Client::builder()
        .tls_backend_preconfigured(nobody())
        .no_proxy()
        .http1_only()
        .timeout(TIMEOUT)
        .build()
        .map_err(refused)?;
    let mut request = client.get(url);
    if let Some(token) = token {
        request = request.bearer_auth(token.as_str());
    }
    let response = request.send().await.map_err(refused)?;
    if !response.status().is_success() {
        let status = response.status();
        return Err(match response.json::<Failure>().await {
            Ok(Failure { error, hint }) => format!("the server at {admin} says: {error}; {hint}"),
            Err(_) => {
                format!("what answers at {admin} is no Meridian: it says {status}; name its address with --admin")
            }
        });
    }
    response.json().await.map_err(refused)
}

/// What the admin interface says of a mistake.
#[derive(serde::Deserialize)]
struct Failure {
    error: String,
    hint: String,
}
