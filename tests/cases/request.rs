//! The octets of a case's request.

use std::str::FromStr;

use domain::base::Name;
use domain::base::iana::{Class, Rtype};
use ipnet::IpNet;

use crate::file::Case;

/// The option of RFC 7871.
pub(crate) const CLIENT_SUBNET: u16 = 8;
/// That of RFC 7873.
pub(crate) const COOKIE: u16 = 10;
/// That of RFC 8914.
pub(crate) const EXTENDED_ERROR: u16 = 15;
/// An EDNS option: code and data.
pub(crate) type EdnsOption = (u16, Vec<u8>);

/// The request with this id; a raw one has its own.
pub(crate) fn octets(case: &Case, id: u16) -> Vec<u8> {
    if let Some(raw) = &case.raw {
        return unhex(raw);
    }
    let mut octets = id.to_be_bytes().to_vec();
    octets.extend((case.opcode << 11 | flags(&case.header)).to_be_bytes());
    for count in [1, 0, 0, u16::from(case.edns)] {
        octets.extend(count.to_be_bytes());
    }
    octets.extend(question(case));
    if case.edns {
        let options: Vec<u8> = options(case)
            .into_iter()
            .flat_map(|(code, data)| [&code.to_be_bytes()[..], &(data.len() as u16).to_be_bytes(), &data].concat())
            .collect();
        octets.extend([0, 0, 41]);
        octets.extend(case.size.to_be_bytes());
        octets.extend([0, case.version, u8::from(case.dnssec_ok) << 7, 0]);
        octets.extend((options.len() as u16).to_be_bytes());
        octets.extend(options);
    }
    octets
}

/// The question of a case that isn't raw.
pub(crate) fn question(case: &Case) -> Vec<u8> {
    let words: Vec<&str> = case.ask.split_whitespace().collect();
    let (name, rtype, class) = match words[..] {
        [name, rtype] => (name, rtype, Class::IN),
        [name, rtype, class] => (name, rtype, Class::from_str(class).expect("a class")),
        _ => panic!("`ask` is a name, a type and at most a class: {:?}", case.ask),
    };
    let name: Name<Vec<u8>> = Name::from_str(name).expect("a name");
    let rtype = Rtype::from_str(rtype).expect("a type").to_int();
    [name.as_slice(), &rtype.to_be_bytes(), &class.to_int().to_be_bytes()].concat()
}

/// The options that the request has.
pub(crate) fn options(case: &Case) -> Vec<EdnsOption> {
    let subnet = case.client.iter().map(|client| (CLIENT_SUBNET, client_subnet(client)));
    subnet.chain(case.options.iter().map(|option| parse_option(option))).collect()
}

/// `code hexadecimal`
pub(crate) fn parse_option(text: &str) -> EdnsOption {
    let (code, data) = text.split_once(' ').unwrap_or((text, ""));
    (code.parse().expect("an option's code"), unhex(data))
}

/// RFC 7871 section 6.
fn client_subnet(text: &str) -> Vec<u8> {
    let network: IpNet = text.parse().expect("a client as address/length");
    let (family, address) = match network {
        IpNet::V4(network) => (1, network.addr().octets().to_vec()),
        IpNet::V6(network) => (2, network.addr().octets().to_vec()),
    };
    let source = network.prefix_len();
    [&[0, family, source, 0], &address[..usize::from(source).div_ceil(8)]].concat()
}

fn flags(words: &str) -> u16 {
    let flag = |word| match word {
        "rd" => 0x0100,
        "ad" => 0x0020,
        "cd" => 0x0010,
        other => panic!("a request has no flag {other}"),
    };
    words.split_whitespace().map(flag).sum()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16)).map(|digit| u8::try_from(digit).expect("a digit")).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
