//! Whether an answer is the expected one.

use std::collections::BTreeMap;

use domain::base::iana::OptRcode;
use meridian::dns::Transport;

use crate::file::{Case, Order};
use crate::request::{self, CLIENT_SUBNET, COOKIE, EXTENDED_ERROR, EdnsOption};
use crate::view::{Record, View, decode};

/// Octets before the question (RFC 1035 section 4.1.1).
const HEADER_OCTETS: usize = 12;
/// What a datagram holds without EDNS (RFC 1035 section 4.2.1), and with less said (RFC 6891 section 6.2.5).
const PLAIN_UDP_OCTETS: usize = 512;
/// What follows a question's name.
const QTYPE_AND_QCLASS_OCTETS: usize = 4;
/// Where the scope stands in an option of RFC 7871.
const SCOPE: usize = 3;

/// How a case is asked and judged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound {
    /// How far an outcome may be from its share.
    pub(crate) sigmas: f64,
    /// The request's id.
    pub(crate) id: u16,
}

/// Asks as often as the case says, and returns what is wrong.
pub(crate) fn check(
    case: &Case,
    transport: Transport,
    bound: Bound,
    mut ask: impl FnMut(&[u8]) -> Option<Vec<u8>>,
) -> Vec<String> {
    let request = request::octets(case, bound.id);
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..case.times {
        let response = match (ask(&request), case.silence) {
            (Some(response), false) => response,
            (None, true) => continue,
            (None, false) => return vec!["    no answer came".to_owned()],
            (Some(response), true) => return vec![format!("    no answer may come, but this did: {response:02x?}")],
        };
        let view = match decode(&response, case.by_domain_alone) {
            Ok(view) => view,
            Err(problem) => return vec![format!("    {problem}\n    {response:02x?}")],
        };
        let mut problems = check_message(case, transport, &request, &response, &view);
        problems.extend(check_records(case, transport, &view));
        if !problems.is_empty() {
            let problems: Vec<String> = problems.iter().map(|problem| format!("    {problem}")).collect();
            return vec![problems.join("\n"), format!("  got\n{view}")];
        }
        if let Some(first) = view.answer.first() {
            *counts.entry(first.shown_data()).or_default() += 1;
        }
    }
    check_shares(case, &counts, bound.sigmas)
}

/// All but the records.
fn check_message(case: &Case, transport: Transport, request: &[u8], response: &[u8], view: &View) -> Vec<String> {
    let mut problems = Vec::new();
    let mut expect = |what: &str, expected: String, got: String| {
        if expected != got {
            problems.push(format!("{what}: expected {expected}, got {got}"));
        }
    };
    let request_id = u16::from_be_bytes([request[0], request[1]]);
    expect("id", request_id.to_string(), view.id.to_string());
    expect("opcode", (request[2] >> 3 & 15).to_string(), view.opcode.to_string());
    expect("rcode", case.rcode.clone(), OptRcode::masked_from_int(view.rcode).to_string());
    expect("flags", expected_flags(case, transport), view.flags.clone());

    let (question, questions) = match &case.raw {
        None if case.questionless => (Vec::new(), 0),
        None => (request::question(case), 1),
        Some(_) if case.question => (first_question(request).to_vec(), 1),
        Some(_) => (Vec::new(), 0),
    };
    expect("number of questions", questions.to_string(), u16::from_be_bytes([response[4], response[5]]).to_string());
    let got = response.get(HEADER_OCTETS..HEADER_OCTETS + question.len()).unwrap_or_default();
    expect("question", format!("{question:02x?}"), format!("{got:02x?}"));

    expect("EDNS", case.edns.to_string(), view.edns.is_some().to_string());
    if let Some(edns) = &view.edns {
        expect("largest datagram", case.server_size.to_string(), edns.udp_octets.to_string());
        expect("EDNS version", "0".to_owned(), edns.version.to_string());
        expect("DO", case.dnssec_ok.to_string(), edns.dnssec_ok.to_string());
        expect("options", shown_options(expected_options(case, &edns.options)), shown_options(edns.options.clone()));
    }
    if transport == Transport::Udp {
        let limit = if case.edns {
            usize::from(case.size.clamp(PLAIN_UDP_OCTETS as u16, case.server_size))
        } else {
            PLAIN_UDP_OCTETS
        };
        expect("within the size that the client takes", true.to_string(), (response.len() <= limit).to_string());
    }
    problems
}

/// The question of a raw request that has one, its name uncompressed.
fn first_question(request: &[u8]) -> &[u8] {
    let question = &request[HEADER_OCTETS..];
    let mut name_octets = 1;
    while question[name_octets - 1] != 0 {
        name_octets += usize::from(question[name_octets - 1]) + 1;
    }
    &question[..name_octets + QTYPE_AND_QCLASS_OCTETS]
}

fn expected_flags(case: &Case, transport: Transport) -> String {
    if case.truncated && transport == Transport::Udp {
        // In the header's order: after AA.
        let mut words: Vec<&str> = case.flags.split_whitespace().collect();
        words.insert(usize::from(words.first() == Some(&"aa")), "tc");
        return words.join(" ");
    }
    case.flags.clone()
}

/// The client's subnet as it was sent, but for the scope; its cookie with one of ours; and what else the case says.
fn expected_options(case: &Case, got: &[EdnsOption]) -> Vec<EdnsOption> {
    let of = |code, options: &[EdnsOption]| options.iter().find(|option| option.0 == code).cloned();
    let subnet = |options: &[EdnsOption]| of(CLIENT_SUBNET, options);
    let mut expected: Vec<EdnsOption> = case.replies.iter().map(|option| request::parse_option(option)).collect();
    if let Some(extended) = &case.extended {
        let (code, text) = extended.split_once(' ').unwrap_or((extended, ""));
        let code: u16 = code.parse().expect("the code of an extended error");
        expected.push((EXTENDED_ERROR, [&code.to_be_bytes(), text.as_bytes()].concat()));
    }
    if let Some((code, sent)) = of(COOKIE, &request::options(case)) {
        // Only the server knows the rest (RFC 9018 section 4).
        let ours = of(COOKIE, got).and_then(|(_, data)| data.get(12..).map(<[u8]>::to_vec)).unwrap_or_default();
        expected.push((code, [&sent[..8], &[1, 0, 0, 0], &ours].concat()));
        assert_eq!(ours.len(), 12, "time and hash of a cookie");
    }
    let scope = if case.any_scope { subnet(got).and_then(|(_, data)| data.get(SCOPE).copied()) } else { case.scope };
    if let Some(scope) = scope {
        let (code, mut data) = subnet(&request::options(case)).expect("a subnet in the query of a case with a scope");
        data[SCOPE] = scope;
        expected.push((code, data));
    }
    expected
}

fn shown_options(mut options: Vec<EdnsOption>) -> String {
    options.sort();
    format!("{options:02x?}")
}

fn check_records(case: &Case, transport: Transport, view: &View) -> Vec<String> {
    let udp = transport == Transport::Udp;
    let mut problems = Vec::new();
    let sections = [
        ("answer", &case.answer, &view.answer),
        ("authority", &case.authority, &view.authority),
        ("additional", &case.additional, &view.additional),
    ];
    for (section, expected, got) in sections {
        let expected: Vec<Record> = expected.iter().map(|record| Record::parse(record)).collect();
        let (order, pick) = if section == "answer" { (case.order, case.pick) } else { (Order::Any, None) };
        let right = if udp && (case.truncated || case.trimmed && section == "additional") {
            is_of_whole_sets(&expected, got)
        } else if let Some(count) = pick {
            got.len() == count && is_of(&expected, got)
        } else {
            is_same(&expected, got, order)
        };
        if !right {
            let expected: Vec<String> = expected.iter().map(|record| format!("      {record}")).collect();
            let how_many = pick.map(|count| format!(" {count} of")).unwrap_or_default();
            problems.push(format!("{section}: expected{how_many} ({order:?} order)\n{}", expected.join("\n")));
        }
    }
    let is_whole = sections.iter().all(|(_, expected, got)| expected.len() == got.len());
    if udp && is_whole && (case.truncated || case.trimmed) {
        problems.push("nothing is missing, though something should be".to_owned());
    }
    problems
}

fn is_same(expected: &[Record], got: &[Record], order: Order) -> bool {
    match order {
        Order::Given => expected == got,
        Order::Any => sorted(expected) == sorted(got),
        Order::Rotated => (0..expected.len()).any(|turn| [&expected[turn..], &expected[..turn]].concat() == got),
    }
}

fn sorted(records: &[Record]) -> Vec<Record> {
    let mut records = records.to_vec();
    records.sort();
    records
}

/// Each is one of the expected ones, none twice.
fn is_of(expected: &[Record], got: &[Record]) -> bool {
    let mut distinct = sorted(got);
    distinct.dedup();
    distinct.len() == got.len() && got.iter().all(|record| expected.contains(record))
}

/// A record set, as far as it is there, is whole (RFC 2181 section 5).
fn is_of_whole_sets(expected: &[Record], got: &[Record]) -> bool {
    let same_set = |a: &Record, b: &Record| a.owner == b.owner && a.rtype == b.rtype;
    let is_whole =
        |record: &Record| expected.iter().filter(|other| same_set(record, other)).all(|other| got.contains(other));
    is_of(expected, got) && got.iter().all(is_whole)
}

fn check_shares(case: &Case, counts: &BTreeMap<String, u32>, sigmas: f64) -> Vec<String> {
    if case.shares.is_empty() {
        return Vec::new();
    }
    let times = f64::from(case.times);
    let others = counts.keys().filter(|data| !case.shares.contains_key(*data));
    let mut problems: Vec<String> = others.map(|data| format!("    no share is given of {data}")).collect();
    for (data, share) in &case.shares {
        let count = f64::from(counts.get(data).copied().unwrap_or(0));
        let tolerance = if case.exact { 1.0 } else { sigmas * (times * share * (1.0 - share)).sqrt() };
        let expected = times * share;
        if (count - expected).abs() > tolerance {
            problems.push(format!("    {data}: came first {count} times, expected {expected:.0} ± {tolerance:.0}"));
        }
    }
    problems
}
