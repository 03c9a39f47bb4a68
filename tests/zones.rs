//! Master files: those in tests/zones/good against the records beside them, those in tests/zones/bad against the
//! problems beside them. `UPDATE=1` writes what comes out in place of what was expected.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use domain::base::ParseRecordData;
use domain::base::iana::Rtype;
use domain::base::name::ParsedName;
use domain::dep::octseq::Parser;
use domain::rdata::ZoneRecordData;
use meridian::config::{Problem, Problems, Source, Zone, ZoneOrigin};
use meridian::zone::{self, Name, Served, Tree, ZoneRecords};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

fn name(text: &str) -> Name {
    Name::from_str(text).unwrap()
}

/// In every test these two names are services.
fn served() -> Served {
    Served::new(&[name("example.com")], &["service.example.com", "*.services.example.com"].map(name))
}

fn load(path: &Path) -> Result<ZoneRecords, Problems> {
    let configuration = Arc::new(Source { path: "config.toml".into(), text: "zone\n".into() });
    let origin = ZoneOrigin::File { path: path.to_path_buf(), span: 0..4 };
    zone::load(&Zone { name: name("example.com"), origin, span: 0..4 }, &configuration, &served())
}

fn parse(text: &str) -> Result<ZoneRecords, Problems> {
    let source = Source { path: "/no/such/folder/example.zone".into(), text: text.to_string() };
    zone::parse(&name("example.com"), &Arc::new(source), &served())
}

fn written(zone: &ZoneRecords) -> String {
    let mut out = String::new();
    for record in &zone.records {
        let mut parser = Parser::from_ref(record.rdata.as_slice());
        let rdata = ZoneRecordData::<_, ParsedName<_>>::parse_rdata(record.rtype, &mut parser).unwrap().unwrap();
        assert_eq!(parser.remaining(), 0, "{}", record.owner);
        writeln!(out, "{} {} {} {rdata}", record.owner.fmt_with_dot(), record.ttl, record.rtype).unwrap();
    }
    out
}

/// Owner in lower case, type, TTL and data as `tests/zones/wire/wire.py` has them, sorted.
fn wire(zone: &ZoneRecords) -> String {
    let mut lines: Vec<String> = Vec::new();
    for record in &zone.records {
        let rdata: String = record.rdata.iter().map(|octet| format!("{octet:02x}")).collect();
        let owner = record.owner.fmt_with_dot().to_string().to_lowercase();
        lines.push(format!("{owner} {} {} {rdata}\n", record.rtype.to_int(), record.ttl));
    }
    lines.sort();
    lines.concat()
}

fn shown(problems: &Problems) -> String {
    problems.0.iter().map(shown_problem).collect()
}

fn shown_problem(problem: &Problem) -> String {
    let mut out = String::new();
    if let Some((source, span)) = &problem.place {
        let line_start = source.text[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
        let line = source.text[line_start..].lines().next().unwrap_or_default();
        let line_number = 1 + source.text[..line_start].matches('\n').count();
        let column = 1 + source.text[line_start..span.start].chars().count();
        let caret = "^".repeat(source.text[span.clone()].chars().count().max(1));
        assert!(span.end <= line_start + line.len(), "{}: one line at most", problem.message);
        let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        writeln!(out, "{}:{line_number}: {}", source.path.display(), problem.message).unwrap();
        writeln!(out, "    {}", line.trim_end()).unwrap();
        writeln!(out, "    {}{caret}", " ".repeat(column - 1)).unwrap();
    } else {
        writeln!(out, "{}", problem.message).unwrap();
    }
    if let Some(hint) = &problem.hint {
        writeln!(out, "    hint: {hint}").unwrap();
    }
    out
}

/// Runs each `.zone` file of a folder and compares with the file of the same name and the other extension.
fn run_folder(folder: &str, extension: &str, run: impl Fn(&Path) -> String) -> usize {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|found| found == "zone"));
    paths.sort();
    let mut failures = Vec::new();
    for path in &paths {
        let found = run(path);
        let beside = path.with_extension(extension);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&beside, &found).unwrap();
        }
        let expected = fs::read_to_string(&beside).unwrap_or_default();
        if found != expected {
            failures.push(format!("{}: expected\n{expected}\nfound\n{found}", path.display()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    paths.len()
}

#[test]
fn good_zones_give_the_records_beside_them() {
    let count = run_folder("tests/zones/good", "records", |path| match load(path) {
        Ok(zone) => written(&zone),
        Err(problems) => panic!("{}: {}", path.display(), shown(&problems)),
    });
    assert!(count >= 12, "{count} zones");
}

/// What an independent reader, dnspython, makes of the same files.
#[test]
fn zones_have_the_wire_form_beside_them() {
    let mut folder: Vec<PathBuf> =
        fs::read_dir("tests/zones/wire").unwrap().map(|entry| entry.unwrap().path()).collect();
    folder.retain(|path| path.extension().is_some_and(|found| found == "zone"));
    assert!(folder.len() >= 3, "{folder:?}");
    for path in folder {
        let zone = load(&path).unwrap_or_else(|problems| panic!("{}", shown(&problems)));
        let expected = fs::read_to_string(path.with_extension("wire")).unwrap();
        let found = wire(&zone);
        let differences: Vec<_> = expected.lines().zip(found.lines()).filter(|(a, b)| a != b).take(3).collect();
        assert!(found == expected, "{}: {differences:#?}", path.display());
    }
}

/// What the tree that answers has of a zone are the records that it was built from, at cuts and below them too.
#[test]
fn a_tree_gives_back_the_records_of_its_zones() {
    let files = ["good", "wire"].map(|folder| fs::read_dir(format!("tests/zones/{folder}")).unwrap());
    let paths = files.into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut compared = 0;
    let child = zone::load(
        &Zone {
            name: name("sub.example.com"),
            origin: ZoneOrigin::File { path: "tests/zones/good/redirected-apex.zone".into(), span: 0..4 },
            span: 0..4,
        },
        &Arc::new(Source { path: "config.toml".into(), text: "zone\n".into() }),
        &served(),
    );
    let child = child.unwrap();
    for path in paths.filter(|path| path.extension().is_some_and(|found| found == "zone")) {
        let zone = load(&path).unwrap();
        for beside in [&[][..], std::slice::from_ref(&child)] {
            let zones = [beside, std::slice::from_ref(&zone)].concat();
            let tree = Tree::build(&zones, &[(name("service.example.com"), 0)]).unwrap();
            let found = tree.zone_records(&name("EXAMPLE.com")).unwrap();
            // Letters in RDATA are compared without their case, as the apex at the end of names loses it.
            let [expected, given] = [&zone, &found].map(|zone| {
                let mut lines: Vec<_> = wire(zone).lines().map(fold_hexadecimal).collect();
                lines.sort();
                lines
            });
            assert_eq!(given, expected, "{}", path.display());
            let again =
                Tree::build(std::slice::from_ref(&found), &[]).unwrap().zone_records(&name("example.com")).unwrap();
            assert_eq!(wire(&again), wire(&found), "{}", path.display());
            compared += zone.records.len();
        }
        assert!(Tree::build(&[zone], &[]).unwrap().zone_records(&name("www.example.com")).is_none());
    }
    assert!(compared > 900, "{compared} records");
}

/// The line with the capital letters A to Z in its hexadecimal data made small.
fn fold_hexadecimal(line: &str) -> String {
    let (rest, data) = line.rsplit_once(' ').unwrap();
    let octets = data.as_bytes().chunks(2).map(|pair| {
        let octet = u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        format!("{:02x}", octet.to_ascii_lowercase())
    });
    format!("{rest} {}", octets.collect::<String>())
}

#[test]
fn bad_zones_give_the_problems_beside_them() {
    let count = run_folder("tests/zones/bad", "problems", |path| match load(path) {
        Ok(zone) => panic!("{} is good: {}", path.display(), written(&zone)),
        Err(problems) => shown(&problems),
    });
    assert!(count >= 45, "{count} zones");
}

#[test]
fn a_missing_zone_file_is_a_problem_in_the_configuration() {
    let problems = load(Path::new("/no/such/file.zone")).unwrap_err();
    let [problem] = problems.0.as_slice() else { panic!("{problems}") };
    assert_eq!(problem.message, "can't read /no/such/file.zone: No such file or directory (os error 2)");
    let (source, span) = problem.place.clone().unwrap();
    assert_eq!((source.path.as_path(), span), (Path::new("config.toml"), 0..4));
    let problems = load(Path::new("/dev/zero")).unwrap_err();
    assert_eq!(problems.0[0].message, "can't read /dev/zero: it is a pipe, a device or a socket, and has to be a file");
}

/// A folder that is gone when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(label: &str) -> Self {
        let path = std::env::temp_dir().join(format!("meridian-zones-{label}-{}", std::process::id()));
        fs::create_dir_all(path.join("zone")).unwrap();
        Self(path)
    }

    /// Writes and loads the zone, and gives the messages.
    fn messages(&self, text: &str) -> Vec<String> {
        let path = self.0.join("zone/example.zone");
        fs::write(&path, format!("$TTL 60\n@ SOA ns. host. 1 1 1 1 1\n@ NS ns.\n{text}")).unwrap();
        match load(&path) {
            Ok(_) => Vec::new(),
            Err(problems) => {
                let folder = format!("{}/", self.0.display());
                problems.0.into_iter().map(|problem| problem.message.replace(&folder, "")).collect()
            }
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn symbolic_links_lead_nowhere_outside_of_the_folder() {
    let folder = Folder::new("links");
    fs::write(folder.0.join("outside"), "www A 192.0.2.1\n").unwrap();
    fs::write(folder.0.join("zone/inside"), "www A 192.0.2.1\n").unwrap();
    std::os::unix::fs::symlink(folder.0.join("outside"), folder.0.join("zone/out")).unwrap();
    std::os::unix::fs::symlink(&folder.0, folder.0.join("zone/up")).unwrap();
    std::os::unix::fs::symlink("inside", folder.0.join("zone/in")).unwrap();
    assert_eq!(folder.messages("$INCLUDE in\n"), Vec::<String>::new());
    assert_eq!(folder.messages("$INCLUDE out\n"), ["zone/out is outside of the zone's folder"]);
    assert_eq!(folder.messages("$INCLUDE up/outside\n"), ["zone/up/outside is outside of the zone's folder"]);
    assert_eq!(folder.messages("$INCLUDE up/zone/inside\n"), Vec::<String>::new());
}

#[test]
fn includes_are_bounded() {
    let folder = Folder::new("bounds");
    for depth in 0..9 {
        fs::write(folder.0.join(format!("zone/{depth}")), format!("$INCLUDE {}\n", depth + 1)).unwrap();
    }
    fs::write(folder.0.join("zone/9"), "").unwrap();
    assert_eq!(folder.messages("$INCLUDE 2\n"), Vec::<String>::new());
    assert_eq!(folder.messages("$INCLUDE 1\n"), ["$INCLUDE is nested more than 8 deep"]);
    assert_eq!(folder.messages(&"$INCLUDE 9\n".repeat(999)), Vec::<String>::new());
    assert_eq!(folder.messages(&"$INCLUDE 9\n".repeat(2_000)), ["the zone is read from more than 1000 files"]);
    let large = fs::File::create(folder.0.join("zone/large")).unwrap();
    large.set_len(200 << 20).unwrap();
    assert_eq!(
        folder.messages("$INCLUDE large\n$INCLUDE large\n"),
        ["with zone/large the zone has more than 268435456 bytes", "a word is longer than 65535 bytes"]
    );
}

/// As the operator would name them from where the program runs.
#[test]
fn included_files_are_named_beside_the_zone() {
    let text = "$TTL 60\n@ SOA ns. host. 1 1 1 1 1\n@ NS ns.\n$INCLUDE tests/zones/bad/include/problems\n";
    let source = Source { path: "example.zone".into(), text: text.to_string() };
    let problems = zone::parse(&name("example.com"), &Arc::new(source), &served()).unwrap_err();
    let (source, _) = problems.0[0].place.as_ref().unwrap();
    assert_eq!(source.path.to_str(), Some("tests/zones/bad/include/problems"));
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_text() {
    let zone = parse("\u{feff}$TTL 60\n@ SOA ns. host. 1 1 1 1 1\n@ NS ns.\n").unwrap();
    assert_eq!(zone.records.len(), 2);
    let problems = parse("\u{feff}@ A nowhere\n").unwrap_err();
    assert!(shown(&problems).contains(":1: not A data"), "{problems}");
}

#[test]
fn reading_stops_after_a_hundred_problems() {
    let problems = parse(&"www A nonsense\n".repeat(1_000)).unwrap_err();
    assert_eq!(problems.0.len(), 101);
    assert_eq!(problems.0[100].message, "reading stopped after 100 problems");
}

#[test]
fn absurd_lengths_are_problems() {
    let messages = |text: String| -> Vec<String> {
        let problems = parse(&format!("@ 1 SOA ns. host. 1 1 1 1 1\n@ NS ns.\n{text}\nwww A x\n")).unwrap_err();
        problems.0.into_iter().map(|problem| problem.message).collect()
    };
    let last = "not A data: expected IPv4 address";
    let cases = [
        (format!("a HTTPS 1 . key7={}", "x".repeat(66_000)), "a word is longer than 65535 bytes"),
        (format!("a TXT {}", "x ".repeat(1 << 19)), "a line is longer than 1048576 bytes"),
        (format!("a TXT {}", format!("{} ", "x".repeat(255)).repeat(256)), "not TXT data: TXT record is too long"),
        (format!("a TXT (\n{}", " x\n".repeat(1 << 19)), "`(` is never closed"),
        ("(".repeat(2 << 20), "`(` is never closed"),
    ];
    for (text, expected) in cases {
        let begin = text[..20].to_string();
        assert_eq!(messages(text), [expected, last], "{begin}");
    }
}

#[test]
fn generated_records_are_bounded() {
    let messages = |text: &str| -> Vec<String> {
        let read = parse(&format!("$TTL 1\n@ SOA ns. host. 1 1 1 1 1\n@ NS ns.\n{text}"));
        read.err().into_iter().flat_map(|problems| problems.0).map(|problem| problem.message).collect()
    };
    let more = "with this the zone generates more than 262144 records";
    assert_eq!(messages("$GENERATE 1-262144 h$ A 192.0.2.1\n"), Vec::<String>::new());
    assert_eq!(messages("$GENERATE 0-262144 h$ A 192.0.2.1\n"), [more]);
    assert_eq!(messages("$GENERATE 1-262144 h$ A 192.0.2.1\n$GENERATE 1-1 g$ A 192.0.2.1\n"), [more]);
}

/// Names that are there for others below them alone take room, and each takes it once.
#[test]
fn every_name_counts_among_the_octets_of_a_zone() {
    let octets = |text: &str| {
        let zone = parse(&format!("$TTL 1\n@ SOA ns. host. 1 1 1 1 1\n@ NS ns.\n{text}")).unwrap();
        assert!(zone.octets(100) < 400, "counting stops at the limit, but for records and owners");
        zone.octets(usize::MAX)
    };
    let (flat, deep) = (octets("abcde A 192.0.2.1\n"), octets("a.b.c A 192.0.2.1\n"));
    let name = (deep - flat) / 2;
    assert!(name >= 40, "{name}");
    let more = octets("a.b.c A 192.0.2.1\nd.b.c A 192.0.2.1\n") - deep;
    assert!((name + 10..2 * name + 80).contains(&more), "{more}");
}

#[test]
fn a_made_zone_has_soa_and_name_servers() {
    let configuration = Arc::new(Source { path: "config.toml".into(), text: "zone\n".into() });
    let made = |nameserver: &str| {
        let origin = ZoneOrigin::Made {
            nameservers: vec![name("ns1.example.net"), name(nameserver)],
            hostmaster: name("hostmaster.example.com"),
            ttl: 3_600,
            negative_ttl: 60,
        };
        zone::load(&Zone { name: name("example.com"), origin, span: 0..4 }, &configuration, &served())
    };
    let zone = made("service.example.com").unwrap();
    assert_eq!(
        written(&zone),
        "example.com. 3600 NS ns1.example.net.\n\
         example.com. 3600 NS service.example.com.\n\
         example.com. 3600 SOA ns1.example.net. hostmaster.example.com. 1 14400 3600 1209600 60\n"
    );
    let problems = made("ns.example.com").unwrap_err();
    assert_eq!(
        shown(&problems),
        "config.toml:1: the name server ns.example.com has no address\n    zone\n    ^^^^\n    \
         hint: give it one, such as `ns.example.com. A 192.0.2.53`\n"
    );
}

#[test]
fn names_that_may_be_compressed_are_those_of_rfc_1035() {
    let zone = parse(
        "$TTL 60\n@ SOA ns. host. 1 1 1 1 1\n@ NS ns.\nm MX 1 a.b.\np PTR a.\nr RP a. b.\ns SRV 1 1 1 a.\ni MINFO a. b.\n",
    )
    .unwrap();
    let names: Vec<_> = zone.records.iter().map(|record| (record.rtype, record.compressible_names())).collect();
    assert_eq!(
        names,
        [
            (Rtype::NS, [Some(0), None]),
            (Rtype::SOA, [Some(0), Some(4)]),
            (Rtype::MX, [Some(2), None]),
            (Rtype::PTR, [Some(0), None]),
            (Rtype::RP, [None, None]),
            (Rtype::SRV, [None, None]),
            (Rtype::MINFO, [Some(0), Some(3)]),
        ]
    );
}

/// Words that master files are made of, and some that they had better not be made of.
fn word() -> impl Strategy<Value = String> {
    let types = "SOA NS A AAAA CNAME DNAME MX TXT SRV NAPTR CAA SSHFP TLSA DS DNSKEY CDS CDNSKEY SVCB HTTPS HINFO PTR RRSIG \
                 NSEC NSEC3 NSEC3PARAM IPSECKEY OPENPGPKEY RP MINFO ZONEMD URI LOC APL HIP CERT AMTRELAY TYPE1 TYPE65280 ANY OPT";
    let others = r#"@ . .. * $ 1-3 a$ ${0,3,n} "\\"$\\"" IN CH 60 1h 2147483648 $TTL $ORIGIN $INCLUDE $GENERATE ( ) " ; \ \# \. \300 \000 0 1 255 65535
                    65536 4294967296 00 a1 zz AwEA - 192.0.2.1 2001:db8::1 www ns.example.com. example.com. _tcp xn--a é "" "a b"
                    alpn=h2 alpn="h2,h3" mandatory=alpn,port port=1 port= ipv4hint=192.0.2.1 ipv6hint=::1 ech=AAAA ech no-default-alpn
                    dohpath=/q{?dns} ohttp tls-supported-groups=1,2 docpath=a key7=a key667="x\"y" key65535 mandatory= alpn= alpn=\,
                    20260101000000 99999999999999 2T7B4G4VSA5SMI47K61MV5BV1A22BOJR"#;
    let words: Vec<String> = types.split_whitespace().chain(others.split_whitespace()).map(str::to_string).collect();
    prop_oneof![
        8 => proptest::sample::select(words),
        1 => "[ -~\t\r\n\u{0}\u{e9}\u{1f600}]{0,12}",
        1 => (proptest::sample::select(vec!["a", "1", "\\255", "alpn=h2,", "."]), 0..70_000usize)
            .prop_map(|(part, length)| part.repeat(length / part.len())),
    ]
}

fn text() -> impl Strategy<Value = String> {
    let separator = proptest::sample::select(vec![" ", " ", " ", "", "\t", "\n", "\n ", "\r\n", " ( ", " ) "]);
    prop_oneof![
        any::<String>(),
        proptest::collection::vec((word(), separator), 0..40).prop_map(|words| {
            words.into_iter().fold(String::from("$TTL 1\n"), |text, (word, separator)| text + &word + separator)
        }),
    ]
}

/// Records of each type, each on one line.
fn good_records() -> Vec<String> {
    let lines = |file: &str| fs::read_to_string(file).unwrap().lines().map(str::to_string).collect::<Vec<_>>();
    let is_whole = |line: &String| line.starts_with(|first: char| first.is_ascii_lowercase()) && !line.contains('(');
    let written = lines("tests/zones/wire/types.zone").into_iter().filter(is_whole);
    lines("tests/zones/good/types.records").into_iter().chain(written).collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        rng_seed: RngSeed::Fixed(1035),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever the text, reading it ends, and what it gives can be pointed at.
    #[test]
    fn any_text_is_read_or_refused(text in text()) {
        if let Err(problems) = parse(&text) {
            prop_assert!(problems.0.len() < 400);
            for problem in &problems.0 {
                let Some((source, span)) = &problem.place else { continue };
                prop_assert!(source.text.get(span.clone()).is_some(), "{problem:?}");
            }
        }
    }

    /// Whatever words stand in a good record, in place of its own or between them, it is read or refused.
    #[test]
    fn any_data_is_read_or_refused(
        record in proptest::sample::select(good_records()),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>(), word()), 1..4),
    ) {
        let mut words: Vec<String> = record.split_whitespace().map(str::to_string).collect();
        for (index, replace, word) in edits {
            let position = 3 + index.index(words.len() - 2);
            let end = if replace { (position + 1).min(words.len()) } else { position };
            words.splice(position..end, [word]);
        }
        let _ = parse(&format!("@ 1 SOA ns. host. 1 1 1 1 1\n@ NS ns.\n{}\n", words.join(" ")));
    }
}
