//! `meridian override` and `meridian resume`: what an operator says.

use std::process::ExitCode;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use super::server::{Error, Server};
use crate::admin::overrides::{Audit, Changed, List, Resumed, Shown, StillOut};
use crate::admin::view::Age;
use crate::config::units::parse_duration;
use crate::health::overrides::{Subject, Word};
use crate::state::journal::Event;
use crate::unix_time::{self, unix_seconds};

const EXAMPLES: &str = "\
A SUBJECT is one of
  endpoint/POOL/REGION/ADDRESS  one endpoint
  region/NAME                   all endpoints of a region
  pool/NAME                     all endpoints of a pool
  service/NAME                  all endpoints of a service's pools, for that service alone

Examples:
  export MERIDIAN_TOKEN_FILE=/etc/meridian/admin.token
  meridian override drain region/eu-central --reason \"maintenance\" --for 2h
  meridian override up endpoint/web/us-east/192.0.2.1 --reason \"its probe is wrong\" --for 1d
  meridian override clear region/eu-central";

/// Say of endpoints, regions, pools or services what is to hold, whatever probes and configuration say.
///
/// `up` and `down` take the place of what probes say; the word on an endpoint goes before that on its pool, its region and the
/// service. `drain` and `disable` take the place of `state` in the configuration; the most restrictive holds. The server
/// needs a `token_file`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// It serves, whatever its probes and all limits say
    Up(Set),
    /// It does not, as though its probes said so
    Down(Set),
    /// New clients go elsewhere; those whom a sticky balance holds stay for the pool's `drain_time`
    Drain(Set),
    /// Nobody is sent there, not even where nothing else is left
    Disable(Set),
    /// Take words back
    Clear(Clear),
    /// Show what holds
    List(Listed),
    /// Show what was said, taken back, over and resumed of late: the last 1,000
    Audit(Listed),
}

#[derive(Debug, clap::Args)]
struct Set {
    /// What it is about
    #[arg(required = true, value_name = "SUBJECT")]
    subjects: Vec<Subject>,

    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,

    /// For how long, such as 30m, 2h or 1d; without it until it is cleared
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    lasts: Option<Duration>,

    #[command(flatten)]
    author: Author,

    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
struct Clear {
    /// What it was about
    #[arg(required = true, value_name = "SUBJECT")]
    subjects: Vec<Subject>,

    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    #[command(flatten)]
    author: Author,

    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
struct Listed {
    #[command(flatten)]
    server: Server,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Let what is held down come up as soon as its probes say so.
///
/// Ends a hold-down of what flaps, and what `manual_resume` waits for. The server needs a `token_file`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  meridian resume pool/web --reason repaired --token-file FILE")]
pub(super) struct ResumeArguments {
    /// What it is about, as for `meridian override`
    #[arg(required = true, value_name = "SUBJECT")]
    subjects: Vec<Subject>,

    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,

    #[command(flatten)]
    author: Author,

    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
struct Author {
    /// Who says so; without it the name that you are logged in by
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
}

impl Author {
    fn name(&self) -> String {
        let logged_in = || ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
        self.author.clone().or_else(logged_in).unwrap_or_else(|| "someone".to_owned())
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let read = parse_duration(text).filter(|duration| duration.as_secs() > 0);
    read.ok_or_else(|| "a duration of a second or more is wanted, such as 30m, 2h or 1d".to_owned())
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    finish(match &arguments.command {
        Command::Up(set) => say(Word::Up, set),
        Command::Down(set) => say(Word::Down, set),
        Command::Drain(set) => say(Word::Drain, set),
        Command::Disable(set) => say(Word::Disable, set),
        Command::Clear(clear) => take_back(clear),
        Command::List(listed) => list(listed),
        Command::Audit(listed) => audit(listed),
    })
}

/// What becomes of a target that is resumed.
const COMES_UP: &str = "it comes up once `rise` runs in a row are good, those before this included";

pub(super) fn resume(arguments: &ResumeArguments) -> ExitCode {
    finish(arguments.subjects.iter().try_for_each(|subject| {
        let body = json!({ "subject": subject, "reason": arguments.reason, "author": arguments.author.name() });
        let Resumed { targets } = arguments.server.ask(Method::POST, "resume", &[], Some(body.to_string()), "")?;
        match targets {
            0 => println!("{subject}: nothing was held down"),
            1 => println!("{subject}: 1 target is held down no longer: {COMES_UP}"),
            targets => println!("{subject}: {targets} targets are held down no longer: {COMES_UP}"),
        }
        Ok(())
    }))
}

fn finish(done: Result<(), Error>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => super::fail(problem),
    }
}

fn say(word: Word, set: &Set) -> Result<(), Error> {
    set.subjects.iter().try_for_each(|subject| {
        let seconds = set.lasts.map(|lasts| lasts.as_secs());
        let body = json!({
            "subject": subject, "word": word, "reason": set.reason, "author": set.author.name(), "expires_seconds": seconds,
        });
        let Changed { kept_in, said, still_out, outranked } =
            set.server.ask(Method::POST, "overrides", &[], Some(body.to_string()), "")?;
        println!("{}", line(&said, unix_seconds()));
        let StillOut { disabled, draining, weight_zero, services } = still_out;
        for (count, why) in [(disabled, "disabled"), (draining, "draining"), (weight_zero, "of weight 0")] {
            if count > 0 {
                let are = if count == 1 { "is" } else { "are" };
                println!("  but {count} of {} {are} {why}: nobody is sent there all the same", said.endpoints);
            }
        }
        for service in services {
            println!("  but a word drains or disables {service}: it sends nobody new there all the same");
        }
        if outranked > 0 {
            let keep = if outranked == 1 { "keeps" } else { "keep" };
            println!("  but {outranked} of {} {keep} another verdict: a more specific word says so", said.endpoints);
        }
        if kept_in.is_none() {
            println!("  until the server restarts, as it has no state_dir");
        }
        Ok(())
    })
}

fn take_back(clear: &Clear) -> Result<(), Error> {
    clear.subjects.iter().try_for_each(|subject| {
        let body = json!({ "subject": subject, "reason": clear.reason, "author": clear.author.name() });
        let Changed { said, .. } = clear.server.ask(Method::DELETE, "overrides", &[], Some(body.to_string()), "")?;
        println!("{} is {} no longer", said.subject, said.word);
        Ok(())
    })
}

fn list(listed: &Listed) -> Result<(), Error> {
    let list: List = listed.server.ask(Method::GET, "overrides", &[], None, "")?;
    if listed.json {
        println!("{}", serde_json::to_string_pretty(&list)?);
        return Ok(());
    }
    if list.overrides.is_empty() {
        println!("no overrides");
    }
    let now = unix_seconds();
    list.overrides.iter().for_each(|said| println!("{}", line(said, now)));
    Ok(())
}

fn audit(listed: &Listed) -> Result<(), Error> {
    let audit: Audit = listed.server.ask(Method::GET, "overrides/audit", &[], None, "")?;
    if listed.json {
        println!("{}", serde_json::to_string_pretty(&audit)?);
        return Ok(());
    }
    if audit.records.is_empty() {
        println!("nothing was said");
    }
    audit.records.iter().for_each(|record| println!("{}  {}", unix_time::shown(record.time), what(&record.event)));
    Ok(())
}

/// As `drain region/eu-central until 2026-11-21T04:00:00Z, by alice: maintenance`.
fn what(event: &Event) -> String {
    match event {
        Event::Set { subject, word, reason, author, expires, .. } => {
            format!("{word} {subject} {}, by {author}: {reason}", until(*expires))
        }
        Event::Clear { subject, reason: Some(reason), author } => format!("clear {subject}, by {author}: {reason}"),
        Event::Clear { subject, reason: None, author } => format!("clear {subject}, by {author}"),
        Event::Expire { subject } => format!("{subject}: its time is over"),
        Event::Resume { subject, reason, author } => format!("resume {subject}, by {author}: {reason}"),
    }
}

/// As `drain region/eu-central (12 endpoints) since 2026-11-21T02:00:00Z until 2026-11-21T04:00:00Z (30 min left), by alice: maintenance`.
fn line(said: &Shown, now: u64) -> String {
    let Shown { subject, word, reason, author, since, expires, endpoints } = said;
    let endpoints = match endpoints {
        0 => "no endpoint any more: check the name".to_owned(),
        1 => "1 endpoint".to_owned(),
        endpoints => format!("{endpoints} endpoints"),
    };
    let left = expires.map(|expires| format!(" ({} left)", Age(expires.saturating_sub(now)))).unwrap_or_default();
    let (since, until) = (unix_time::shown(*since), until(*expires));
    format!("{word} {subject} ({endpoints}) since {since} {until}{left}, by {author}: {reason}")
}

fn until(expires: Option<u64>) -> String {
    expires.map_or_else(|| "until cleared".to_owned(), |expires| format!("until {}", unix_time::shown(expires)))
}
