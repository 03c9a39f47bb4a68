//! A client that asks and understands the answer.

use std::fmt;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::str::FromStr;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use ipnet::IpNet;

use super::udp_client;

/// The option of RFC 7871.
const CLIENT_SUBNET: u16 = 8;
/// The datagrams that a query says it takes, in octets.
const UDP_OCTETS: u16 = 1232;

/// What is asked.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    name: Name,
    rtype: RecordType,
    /// IN or CH.
    class: DNSClass,
    subnet: Option<IpNet>,
}

/// `www.example.com A`, `version.bind TXT CH`, or `www.example.com A 192.0.2.0/24` with the client's subnet.
impl FromStr for Question {
    type Err = Box<dyn std::error::Error>;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split_whitespace().peekable();
        let mut name = Name::from_str(words.next().ok_or("no name")?)?;
        name.set_fqdn(true);
        let rtype = RecordType::from_str(words.next().ok_or("no type")?)?;
        let class = words.next_if_eq(&"CH").map_or(DNSClass::IN, |_| DNSClass::CH);
        Ok(Self { name, rtype, class, subnet: words.next().map(str::parse).transpose()? })
    }
}

impl Question {
    /// The query's octets, recursion desired.
    pub(crate) fn query(&self, id: u16) -> Vec<u8> {
        let mut octets = id.to_be_bytes().to_vec();
        octets.extend(*b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01");
        for label in self.name.iter() {
            octets.push(label.len() as u8);
            octets.extend(label);
        }
        octets.push(0);
        octets.extend(u16::from(self.rtype).to_be_bytes());
        octets.extend(u16::from(self.class).to_be_bytes());
        let option = self.subnet.map(client_subnet).unwrap_or_default();
        octets.extend([0, 0, 41]);
        octets.extend(UDP_OCTETS.to_be_bytes());
        octets.extend([0; 4]);
        octets.extend((option.len() as u16).to_be_bytes());
        octets.extend(option);
        octets
    }
}

/// The option with its code and length.
fn client_subnet(network: IpNet) -> Vec<u8> {
    let (family, address) = match network {
        IpNet::V4(network) => (1, network.network().octets().to_vec()),
        IpNet::V6(network) => (2, network.network().octets().to_vec()),
    };
    let address = &address[..usize::from(network.prefix_len()).div_ceil(8)];
    let mut option = CLIENT_SUBNET.to_be_bytes().to_vec();
    option.extend((4 + address.len() as u16).to_be_bytes());
    option.extend([0, family, network.prefix_len(), 0]);
    option.extend(address);
    option
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) id: u16,
    pub(crate) rcode: ResponseCode,
    /// The data of the answer section's A, AAAA, TXT records and so on, as text.
    pub(crate) data: Vec<String>,
    /// The lowest TTL of the answer section, in seconds.
    pub(crate) ttl: Option<u32>,
    /// The scope of the client's subnet.
    pub(crate) scope: Option<u8>,
    /// Whether the authority section has an SOA record.
    pub(crate) has_soa: bool,
}

impl Answer {
    /// Decodes a response; anything else is a failure.
    pub(crate) fn decode(octets: &[u8]) -> Self {
        let message = Message::from_vec(octets).unwrap_or_else(|error| panic!("{error}: {octets:02x?}"));
        assert_eq!(message.metadata.message_type, MessageType::Response, "{octets:02x?}");
        let options = message.edns.as_ref().map(|edns| edns.options().as_ref()).unwrap_or_default();
        let scope = options.iter().find(|(code, _)| u16::from(*code) == CLIENT_SUBNET).map(|(_, option)| {
            let data: Vec<u8> = option.try_into().unwrap();
            data[3]
        });
        Self {
            id: message.metadata.id,
            rcode: message.metadata.response_code,
            data: message.answers.iter().map(|record| record.data.to_string()).collect(),
            ttl: message.answers.iter().map(|record| record.ttl).min(),
            scope,
            has_soa: message.authorities.iter().any(|record| matches!(record.data, RData::SOA(_))),
        }
    }

    /// The first address.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.data.iter().find_map(|data| data.parse().ok())
    }

    /// Whether it denies the name (NXDOMAIN) or, with NOERROR, the type, as RFC 2308 section 2 asks.
    pub(crate) fn denies(&self, rcode: ResponseCode) -> bool {
        self.rcode == rcode && self.data.is_empty() && self.has_soa
    }
}

/// As short as tests compare it: `NOERROR 192.0.2.1`.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.rcode)?;
        self.data.iter().try_for_each(|data| write!(f, " {data}"))
    }
}

/// Asks over UDP, one query after the other.
#[derive(Debug)]
pub(crate) struct Client {
    socket: UdpSocket,
    next_id: u16,
}

impl Client {
    pub(crate) fn new(server: SocketAddr) -> Self {
        Self { socket: udp_client(server), next_id: 1 }
    }

    /// Asks once; without an answer in time, the test fails.
    pub(crate) fn ask(&mut self, question: &Question) -> Answer {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        self.socket.send(&question.query(id)).unwrap();
        let mut response = [0; 4096];
        let length =
            self.socket.recv(&mut response).unwrap_or_else(|error| panic!("no answer to {question:?}: {error}"));
        let answer = Answer::decode(&response[..length]);
        assert_eq!(answer.id, id, "{answer:?}");
        answer
    }
}

/// Asks once.
pub(crate) fn ask(server: SocketAddr, question: &str) -> Answer {
    Client::new(server).ask(&question.parse().unwrap_or_else(|error| panic!("{question:?}: {error}")))
}
