//! `[server]`, `[admin]` and `[log]`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

use crate::config::reader::{Report, Table, Value};
use crate::config::{
    Admin, Chaos, ClientNetwork, Cookies, Encrypted, Log, LogFormat, LogLevel, RateLimit, Server, Span, TcpLimits,
    schema,
};
use crate::dns::MAX_UDP_RESPONSE;

/// Addresses that one server listens on.
const MAX_LISTEN: usize = 64;
/// UDP threads per address.
const MAX_WORKERS: usize = 256;
/// Octets of the name server identifier.
const MAX_NSID_LENGTH: usize = 64;
/// Octets of a character string (RFC 1035 section 3.3).
const MAX_STRING_OCTETS: usize = 255;
/// The largest UDP response: what every path takes unfragmented, and what all clients take (RFC 1035 section 4.2.1).
const DEFAULT_UDP_OCTETS: u16 = 1232;
const MIN_UDP_OCTETS: u16 = 512;
/// Networks in one list.
const MAX_NETWORKS: usize = 1_000;
/// Networks in the list that each response beyond a limit is looked up in.
const MAX_EXEMPT: usize = 100;
const MAX_RESPONSES_PER_SECOND: u32 = 1_000_000;
/// Entries of the table of limited clients.
const MIN_TABLE_SIZE: u32 = 1 << 10;
const DEFAULT_TABLE_SIZE: u32 = 1 << 17;
const MAX_TABLE_SIZE: u32 = 1 << 24;
/// TCP connections in all. Where they are all open, a new one is weighed against each.
const MAX_CONNECTIONS: usize = 20_000;
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
            element.socket_address(53)
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
        background_cpus: table.optional("background_cpus", |value| value.parsed("\"3\"")),
        nsid,
        state_dir: table.optional("state_dir", |value| value.path()),
        user: table.optional("user", |value| account(value, "the name of a user")),
        group: table.optional("group", |value| account(value, "the name of a group")),
        edns_udp_octets: table
            .or("edns_udp_size", DEFAULT_UDP_OCTETS, |value| value.integer(MIN_UDP_OCTETS..=MAX_UDP_RESPONSE as u16)),
        minimal_responses: table.or("minimal_responses", false, |value| value.boolean()),
        client_network: table.or("client_network", ClientNetwork::DEFAULT, client_network),
        tcp: table.or("tcp", TcpLimits::DEFAULT, |value| Some(tcp(&value.table(&schema::TCP)?))),
        cookies: table.or("cookies", Cookies::default(), cookies),
        rate_limit: table.optional("rate_limit", rate_limit),
        chaos: table.or("chaos", Chaos::default(), chaos),
        explain_allow: table.or("explain", loopback(), |value| {
            value
                .table(&schema::EXPLAIN)?
                .required("allow", "allow = [\"127.0.0.0/8\", \"::1/128\"]", |value| networks(value, MAX_NETWORKS))
        }),
        encrypted: table.optional("encrypted", encrypted),
        listen: listen?,
    })
}

fn client_network(value: Value<'_>) -> Option<ClientNetwork> {
    let table = value.table(&schema::CLIENT_NETWORK)?;
    let default = ClientNetwork::DEFAULT;
    Some(ClientNetwork {
        v4: table.or("v4", default.v4, |value| value.integer(8..=32)),
        v6: table.or("v6", default.v6, |value| value.integer(16..=128)),
    })
}

fn cookies(value: Value<'_>) -> Option<Cookies> {
    let table = value.table(&schema::COOKIES)?;
    Some(Cookies {
        secret_file: table.optional("secret_file", file),
        require: table.or("require", false, |value| value.boolean()),
    })
}

fn rate_limit(value: Value<'_>) -> Option<RateLimit> {
    let table = value.table(&schema::RATE_LIMIT)?;
    let responses_per_second = table.required("responses_per_second", "responses_per_second = 200", |value| {
        value.integer(1..=MAX_RESPONSES_PER_SECOND)
    });
    let table_size = table.or("table_size", DEFAULT_TABLE_SIZE, |value| {
        let size: u32 = value.integer(MIN_TABLE_SIZE..=MAX_TABLE_SIZE)?;
        if !size.is_power_of_two() {
            let hint = format!("write for example `{}`", size.next_power_of_two());
            return value.reject(format!("{size} is not a power of two"), hint);
        }
        Some(size)
    });
    let slip = table.or("slip", 2, |value| value.integer(0..=10));
    let exempt = table.or("exempt", Vec::new(), |value| networks(value, MAX_EXEMPT));
    let dry_run = table.or("dry_run", false, |value| value.boolean());
    Some(RateLimit { responses_per_second: responses_per_second?, slip, table_size, exempt, dry_run })
}

fn chaos(value: Value<'_>) -> Option<Chaos> {
    let table = value.table(&schema::CHAOS)?;
    let text = |key, what| {
        table.optional(key, |value| {
            let text = value.text(what, "\"fra1\"")?;
            if text.len() > MAX_STRING_OCTETS {
                let message = format!("{} octets are too many", text.len());
                return value.reject(message, format!("keep at most {MAX_STRING_OCTETS}"));
            }
            Some(text.to_owned())
        })
    };
    Some(Chaos {
        allow: table.optional("allow", |value| networks(value, MAX_NETWORKS)),
        version: text("version", "the version to tell"),
        hostname: text("hostname", "the name of this host"),
        id: text("id", "the identifier of this server"),
    })
}

fn encrypted(value: Value<'_>) -> Option<Encrypted> {
    let table = value.table(&schema::ENCRYPTED)?;
    let certificate = table.required("certificate", "certificate = \"/etc/meridian/fullchain.pem\"", file);
    let key = table.required("key", "key = \"/etc/meridian/privkey.pem\"", file);
    let addresses = |key, port| {
        let example = format!("[\"0.0.0.0:{port}\", \"[::]:{port}\"]");
        table.or(key, Vec::new(), |value| {
            value.distinct_list("a list of addresses with ports", &example, MAX_LISTEN, |element| {
                element.socket_address(port)
            })
        })
    };
    let tls = addresses("tls", 853);
    let https = addresses("https", 443);
    let quic = addresses("quic", 853);
    let https_path = table.or("https_path", "/dns-query".to_owned(), |value| {
        let path = value.text("a path", "\"/dns-query\"")?;
        let is_path = path.starts_with('/')
            && path.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"/-._~".contains(&octet));
        if !is_path {
            return value.reject(
                format!("{path:?} is not a path of letters, digits and `/-._~` that begins with `/`"),
                "write for example `\"/dns-query\"`",
            );
        }
        Some(path.to_owned())
    });
    if ["tls", "https", "quic"].into_iter().all(|key| table.entry(key).is_none()) {
        return table.value().reject(
            "there is nothing to listen on: `tls`, `https` and `quic` are missing",
            "add for example `tls = [\"0.0.0.0:853\", \"[::]:853\"]`",
        );
    }
    Some(Encrypted { certificate: certificate?, key: key?, tls, https, quic, https_path })
}

fn file(value: Value<'_>) -> Option<(PathBuf, Span)> {
    Some((value.path()?, value.span()))
}

fn networks(value: Value<'_>, most: usize) -> Option<Vec<IpNet>> {
    value.distinct_list("a list of networks", "[\"10.0.0.0/8\", \"2001:db8::/32\"]", most, |element| element.network())
}

fn loopback() -> Vec<IpNet> {
    let v4 = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
    vec![IpNet::V4(v4), IpAddr::V6(Ipv6Addr::LOCALHOST).into()]
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
    let listen = table.required("listen", "listen = \"127.0.0.1:8053\"", |value| value.socket_address(8053))?;
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
