//! DNS over TLS, HTTPS and QUIC as a client of another make sees them, and their certificates.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;

use crate::REGIONS;
use crate::support::binary::Meridian;
use crate::support::folder::Folder;
use crate::support::tls::{Identity, NAME, TlsStream, tls_connect};
use crate::support::{framed, is_refused, query, read_message, skip, wait_until};

/// With these lines in `[server.encrypted]` and at the end.
fn config(certificate: &str, more: &str) -> String {
    format!(
        r#"
{REGIONS}
admin.listen = "127.0.0.1:0"
zones."geo.example".nameservers = ["ns1.example.net"]

[server]
listen = ["127.0.0.1:0"]
[server.encrypted]
certificate = "{certificate}"
key = "key.pem"
tls = ["127.0.0.1:0"]
https = ["127.0.0.1:0"]
quic = ["127.0.0.1:0"]
{more}

[pools.web]
endpoints = [
  {{ region = "us-east", address = "192.0.2.1" }},
  {{ region = "eu-central", address = "192.0.2.2" }},
]
[services."www.geo.example"]
pool = "web"
ttl = "30s"
"#
    )
}

struct Site {
    folder: Folder,
    identity: Identity,
    meridian: Meridian,
}

impl Site {
    fn start() -> Self {
        let (folder, identity) = (Folder::new("encrypted"), Identity::new());
        identity.put(&folder);
        let meridian = Meridian::serve(&folder.put("meridian.toml", config("certificate.pem", "")));
        Self { folder, identity, meridian }
    }

    fn address(&self, transport: &str) -> SocketAddr {
        let text = self.meridian.process.text();
        let line = text.lines().find(|line| line.contains("encrypted DNS") && line.contains(transport));
        line.and_then(|line| line.split_once("address=")?.1.split_whitespace().next()?.parse().ok())
            .expect("an address")
    }

    /// What kdig says of a question, which it asks a server whose certificate it has to trust.
    fn kdig(&self, transport: &str, arguments: &[&str]) -> String {
        let address = self.address(transport);
        let mut command = Command::new("kdig");
        command.args([&format!("@{}", address.ip()), "-p", &address.port().to_string(), "+time=5", "+retry=0"]);
        command.arg(format!("+tls-ca={}", self.folder.path("certificate.pem").display()));
        command.arg(format!("+tls-hostname={NAME}")).args(arguments);
        let output = command.output().expect("kdig of the package knot-dnsutils");
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }

    /// A new connection of a client that trusts this certificate.
    fn connect(&self, identity: &Identity) -> std::io::Result<TlsStream> {
        tls_connect(self.address("tls"), identity.client(&["dot"]))
    }

    /// The certificate that a new connection is shown.
    fn shown(&self, candidates: &[&Identity]) -> CertificateDer<'static> {
        let trusted = candidates.iter().find(|identity| self.connect(identity).is_ok());
        trusted.expect("one of these certificates").certificate.clone()
    }
}

#[test]
fn kdig_is_answered_over_each() {
    let site = Site::start();
    let question = ["www.geo.example", "A", "+subnet=141.2.0.0/16", "+cookie", "+padding"];
    for (transport, method) in [("tls", "+tls"), ("https", "+https"), ("https", "+https-get"), ("quic", "+quic")] {
        let text = site.kdig(transport, &[&[method][..], &question].concat());
        for part in ["status: NOERROR", "192.0.2.2", "CLIENT-SUBNET: 141.2.0.0/16/", "COOKIE: ", "PADDING: "] {
            assert!(text.contains(part), "{method} does not say {part:?}:\n{text}");
        }
    }
    for transport in ["tls", "https", "quic"] {
        let label = format!("transport=\"{transport}\"");
        let expected = if transport == "https" { 2.0 } else { 1.0 };
        assert_eq!(site.meridian.metric("meridian_queries_total", &label), expected, "{transport}");
        assert_eq!(site.meridian.metric("meridian_connections_accepted_total", &label), expected, "{transport}");
        assert_eq!(site.meridian.metric("meridian_handshake_failures_total", &label), 0.0, "{transport}");
    }
}

fn is_alive(stream: &mut TlsStream) -> bool {
    std::io::Write::write_all(stream, &framed(&query(1))).unwrap();
    is_refused(&read_message(stream).expect("an answer"), 1)
}

#[test]
fn a_certificate_that_is_replaced_is_shown_to_new_connections() {
    let site = Site::start();
    let mut open = site.connect(&site.identity).unwrap();
    assert!(is_alive(&mut open));
    let second = Identity::new();
    let before = site.meridian.process.written();
    second.put(&site.folder);
    let log = site.meridian.wait_for_reload(before);
    assert!(log.contains("the certificate changed"), "{log}");
    assert_eq!(site.shown(&[&site.identity, &second]), second.certificate);
    assert!(is_alive(&mut open), "an open connection goes on");
    // By a signal, too.
    let third = Identity::new();
    third.put(&site.folder);
    site.meridian.reload();
    assert_eq!(site.shown(&[&second, &third]), third.certificate);
    assert!(is_alive(&mut open));
}

#[test]
fn a_bad_certificate_leaves_the_old_one() {
    let site = Site::start();
    let other = Identity::new();
    let cut = &other.certificate_pem[..other.certificate_pem.len() / 2];
    let failures = || site.meridian.metric("meridian_reloads_total", "failure");
    for (file, content, says) in [
        ("key.pem", other.key_pem.as_str(), "it is not the key of the certificate in"),
        ("certificate.pem", cut, "not a PEM file of certificates"),
        ("certificate.pem", "", "no certificate in it"),
        ("certificate.pem", &other.key_pem, "no certificate in it"),
    ] {
        site.identity.put(&site.folder);
        wait_until("the good one is taken", || site.meridian.metric("meridian_last_reload_successful", "") == 1.0);
        let before = site.meridian.process.written();
        site.folder.put(file, content);
        let is_refused = |line: &str| line.contains("goes on serving").then_some(());
        site.meridian.process.wait_for("it is refused", before, is_refused);
        let log = site.meridian.process.lines_after(before).join("\n");
        assert!(log.contains(says) && log.contains(file) && log.contains("meridian.toml:"), "{log}");
        assert_eq!(site.shown(&[&site.identity, &other]), site.identity.certificate);
        assert_eq!(site.meridian.metric("meridian_last_reload_successful", ""), 0.0);
        let health = site.meridian.get("/api/v1/health");
        assert!(health.contains(says), "{health}");
        let check = Meridian::command(&["check", "-c"]).arg(site.folder.path("meridian.toml")).output().unwrap();
        assert_eq!(check.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&check.stderr).contains(says), "{check:?}");
    }
    // A good database, or anything else, doesn't hide that.
    let (failed, check) = (failures(), site.meridian.reload());
    assert!(check.contains("goes on serving") && failures() > failed, "{check}");
}

/// As certbot leaves them: links in one folder to numbered files in another.
#[test]
fn links_to_a_certificate_are_followed() {
    let (folder, first) = (Folder::new("links"), Identity::new());
    for name in ["live", "archive"] {
        fs::create_dir(folder.path(name)).unwrap();
    }
    let put = |folder: &Folder, number: u32, identity: &Identity| {
        for (name, pem) in [("certificate", &identity.certificate_pem), ("key", &identity.key_pem)] {
            folder.put(&format!("archive/{name}{number}.pem"), pem);
            let link = folder.path(&format!("live/{name}.pem"));
            // At first there is none.
            let _ = fs::remove_file(&link);
            symlink(format!("../archive/{name}{number}.pem"), link).unwrap();
        }
    };
    put(&folder, 1, &first);
    let config = config("live/certificate.pem", "").replace("\"key.pem\"", "\"live/key.pem\"");
    let meridian = Meridian::serve(&folder.put("meridian.toml", config));
    let site = Site { folder, identity: first, meridian };
    let (second, before) = (Identity::new(), site.meridian.process.written());
    put(&site.folder, 2, &second);
    site.meridian.wait_for_reload(before);
    assert_eq!(site.shown(&[&site.identity, &second]), second.certificate);
}

/// As a secret is mounted: links into a folder that is itself a link, which is replaced.
#[test]
fn a_folder_that_is_replaced_is_noticed() {
    let (folder, first) = (Folder::new("secret"), Identity::new());
    let put = |number: u32, identity: &Identity| {
        fs::create_dir(folder.path(&format!("..{number}"))).unwrap();
        folder.put(&format!("..{number}/certificate.pem"), &identity.certificate_pem);
        folder.put(&format!("..{number}/key.pem"), &identity.key_pem);
        symlink(format!("..{number}"), folder.path("..next")).unwrap();
        fs::rename(folder.path("..next"), folder.path("..data")).unwrap();
    };
    put(1, &first);
    for name in ["certificate.pem", "key.pem"] {
        symlink(format!("..data/{name}"), folder.path(name)).unwrap();
    }
    let meridian = Meridian::serve(&folder.put("meridian.toml", config("certificate.pem", "")));
    let (second, before) = (Identity::new(), meridian.process.written());
    put(2, &second);
    meridian.wait_for_reload(before);
    let site = Site { folder, identity: first, meridian };
    assert_eq!(site.shown(&[&site.identity, &second]), second.certificate);
}

#[test]
fn a_folder_that_is_swapped_is_followed() {
    let (folder, first) = (Folder::new("swapped"), Identity::new());
    let put = |name: &str, identity: &Identity| {
        folder.put(&format!("{name}/certificate.pem"), &identity.certificate_pem);
        folder.put(&format!("{name}/key.pem"), &identity.key_pem);
    };
    fs::create_dir(folder.path("tls")).unwrap();
    put("tls", &first);
    let config = config("tls/certificate.pem", "").replace("\"key.pem\"", "\"tls/key.pem\"");
    let meridian = Meridian::serve(&folder.put("meridian.toml", config));
    let [second, third] = [Identity::new(), Identity::new()];
    let before = meridian.process.written();
    fs::create_dir(folder.path("tls.new")).unwrap();
    put("tls.new", &second);
    fs::rename(folder.path("tls"), folder.path("tls.old")).unwrap();
    fs::rename(folder.path("tls.new"), folder.path("tls")).unwrap();
    meridian.wait_for_reload(before);
    let before = meridian.process.written();
    put("tls", &third);
    let log = meridian.wait_for_reload(before);
    assert!(log.contains("the certificate changed"), "{log}");
    let site = Site { folder, identity: first, meridian };
    assert_eq!(site.shown(&[&second, &third]), third.certificate);
}

#[test]
fn a_pipe_in_place_of_the_key_blocks_no_reload() {
    let site = Site::start();
    let (before, pipe) = (site.meridian.process.written(), site.folder.path("pipe"));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    fs::rename(&pipe, site.folder.path("key.pem")).unwrap();
    let is_refused = |line: &str| line.contains("goes on serving").then_some(());
    site.meridian.process.wait_for("it is refused", before, is_refused);
    let log = site.meridian.process.lines_after(before).join("\n");
    assert!(log.contains("key.pem: it is a pipe"), "{log}");
    let (second, before) = (Identity::new(), site.meridian.process.written());
    second.put(&site.folder);
    site.meridian.wait_for_reload(before);
    assert_eq!(site.shown(&[&site.identity, &second]), second.certificate);
}

#[test]
fn a_start_without_a_good_certificate_is_refused() {
    let (folder, identity) = (Folder::new("no-certificate"), Identity::new());
    let path = folder.put("meridian.toml", config("absent.pem", ""));
    folder.put("key.pem", &identity.certificate_pem);
    for subcommand in ["serve", "check"] {
        let output = Meridian::command(&[subcommand, "-c"]).arg(&path).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        for part in ["absent.pem: No such file", "key.pem: no private key in it", "certificate = \"absent.pem\""] {
            assert!(text.contains(part), "{subcommand} does not say {part:?}:\n{text}");
        }
    }
}

#[test]
fn other_listeners_need_a_restart() {
    let site = Site::start();
    site.folder.put("meridian.toml", config("certificate.pem", "https_path = \"/elsewhere\""));
    let log = site.meridian.reload();
    assert!(log.contains("setting=\"server.encrypted\"") || log.contains("setting=server.encrypted"), "{log}");
    assert!(log.contains("takes effect after a restart"), "{log}");
    site.folder.put("meridian.toml", config("certificate.pem", ""));
    let log = site.meridian.reload();
    assert!(!log.contains("after a restart"), "{log}");
    // Plain connections are none of its.
    TcpStream::connect(site.meridian.dns).unwrap();
}

#[test]
fn limits_of_connections_follow_a_reload() {
    let site = Site::start();
    let mut open = site.connect(&site.identity).unwrap();
    assert!(is_alive(&mut open));
    site.folder.put("meridian.toml", config("certificate.pem", "[server.tcp]\nconnections_per_client = 1\n"));
    let log = site.meridian.reload();
    assert!(!log.contains("after a restart"), "{log}");
    // The one place of the network goes to the newer connection.
    let mut newer = site.connect(&site.identity).unwrap();
    assert!(is_alive(&mut newer));
    assert_eq!(read_message(&mut open), None);
    site.folder.put("meridian.toml", config("certificate.pem", "[server.tcp]\nidle_timeout = \"100ms\"\n"));
    site.meridian.reload();
    // The wait that has begun may be as long as it was; the next one isn't.
    let mut next = site.connect(&site.identity).unwrap();
    let began = Instant::now();
    assert!(is_alive(&mut next));
    assert_eq!(read_message(&mut next), None);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn a_key_that_only_root_can_read_is_told_of() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        skip("only root can become another user");
        return;
    }
    let (folder, identity) = (Folder::public("root-key"), Identity::new());
    identity.put(&folder);
    fs::set_permissions(folder.path("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    let config = config("certificate.pem", "").replace("[server]\n", "[server]\nuser = \"nobody\"\n");
    let meridian = Meridian::serve(&folder.put("meridian.toml", config));
    let log = meridian.process.text();
    assert!(log.contains("the certificate can't be read again") && log.contains("key.pem: Permission denied"), "{log}");
    let site = Site { folder, identity, meridian };
    assert!(is_alive(&mut site.connect(&site.identity).unwrap()), "it serves all the same");
}
