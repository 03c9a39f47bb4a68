//! `[server]`, `[admin]` and `[log]`.

use std::time::Duration;

use crate::config::reader::{Report, Table, Value};
use crate::config::{Admin, Log, LogFormat, LogLevel, Server, TcpLimits, schema};

/// Addresses that one server listens on.
const MAX_LISTEN: usize = 64;
/// UDP threads per address.
const MAX_WORKERS: usize = 256;
/// Octets of the name server identifier.
const MAX_NSID_LENGTH: usize = 64;
/// TCP connections in all.
const MAX_CONNECTIONS: usize = 1_000_000;
/// Bounds on the time-outs of TCP.
const MIN_TIMEOUT: Duration = Duration::from_millis(100);
const MAX_TIMEOUT: Duration = Duration::from_secs(3_600);

pub(super) fn server(file: &Table<'_>, report: &Report) -> Option<Server> {
    let Some(entry) = file.entry("server") else {
        report
            .add_whole("there is no `[server]` table", "add `[server]` with `listen = [\"0.0.0.0:53\", \"[::]:53\"]`");
        return None;
    };
    let table = entry.value.table(&schema::SERVER)?;
    let listen = table.required("listen", "listen = [\"0.0.0.0:53\", \"[::]:53\"]", |value| {
        value.distinct_list("a list of addresses with ports", "[\"0.0.0.0:53\", \"[::]:53\"]", MAX_LISTEN, |element| {
            element.socket_address()
        })
    });
    let nsid = table.optional("nsid", |value| {
        let text = value.text("the identifier of this server", "\"fra1\"")?;
        if text.len() > MAX_NSID_LENGTH {
            return value
                .reject(format!("{} octets are too many", text.len()), format!("keep at most {MAX_NSID_LENGTH}"));
        }
        Some(text.as_bytes().to_vec())
    });
    Some(Server {
        workers: table.or("workers", 0, |value| value.integer(0..=MAX_WORKERS)),
        nsid,
        state_dir: table.optional("state_dir", |value| value.path()),
        user: table.optional("user", |value| account(value, "the name of a user")),
        group: table.optional("group", |value| account(value, "the name of a group")),
        tcp: table.or("tcp", TcpLimits::DEFAULT, |value| Some(tcp(&value.table(&schema::TCP)?))),
        listen: listen?,
    })
}

fn tcp(table: &Table<'_>) -> TcpLimits {
    let default = TcpLimits::DEFAULT;
    let connections =
        table.or("connections", Some(default.connections), |value| Some(value.integer(1..=MAX_CONNECTIONS)));
    let most_per_client = connections.unwrap_or(MAX_CONNECTIONS);
    TcpLimits {
        connections: connections.unwrap_or(default.connections),
        connections_per_client: table.or(
            "connections_per_client",
            default.connections_per_client.min(most_per_client),
            |value| value.integer(1..=most_per_client),
        ),
        idle_timeout: table.or("idle_timeout", default.idle_timeout, |value| value.duration(MIN_TIMEOUT..=MAX_TIMEOUT)),
        write_timeout: table
            .or("write_timeout", default.write_timeout, |value| value.duration(MIN_TIMEOUT..=MAX_TIMEOUT)),
    }
}

fn account(value: Value<'_>, expected: &str) -> Option<String> {
    let name = value.text(expected, "\"meridian\"")?;
    if name.contains(|character: char| character.is_control() || character == ':') {
        return value.reject(format!("{name:?} isn't {expected}"), "write for example `\"meridian\"`");
    }
    Some(name.to_owned())
}

pub(super) fn admin(value: Value<'_>) -> Option<Admin> {
    let table = value.table(&schema::ADMIN)?;
    let listen = table.required("listen", "listen = \"127.0.0.1:8053\"", |value| value.socket_address())?;
    let token_file = table.optional("token_file", |value| value.path());
    if !listen.ip().to_canonical().is_loopback() && table.entry("token_file").is_none() {
        return table.value().reject(
            format!("`token_file` is required, as {} can be reached from elsewhere", listen.ip()),
            "add `token_file = \"/etc/meridian/admin.token\"`, or listen on \"127.0.0.1:8053\"",
        );
    }
    Some(Admin { listen, token_file })
}

pub(super) fn log(file: &Table<'_>) -> Log {
    let default = Log { format: LogFormat::Text, level: LogLevel::Info };
    file.or("log", default, |value| {
        let table = value.table(&schema::LOG)?;
        Some(Log {
            format: table.or("format", default.format, |value| {
                value.choice(&[("text", LogFormat::Text), ("json", LogFormat::Json)])
            }),
            level: table.or("level", default.level, |value| {
                value.choice(&[
                    ("error", LogLevel::Error),
                    ("warn", LogLevel::Warn),
                    ("info", LogLevel::Info),
                    ("debug", LogLevel::Debug),
                ])
            }),
        })
    })
}
