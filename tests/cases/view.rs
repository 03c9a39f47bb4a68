//! What a message says, as two independent decoders see it.

use std::fmt;

use domain::base::iana::{Class, Rtype};
use domain::base::message::RecordSection;
use domain::base::name::{Name, ParsedName, ToName};
use domain::base::opt::UnknownOptData;
use domain::base::rdata::{ComposeRecordData, ParseAnyRecordData};
use domain::base::{self, Ttl};
use domain::dep::octseq::Parser;
use domain::rdata::AllRecordData;
use domain::zonefile::inplace::{Entry, Zonefile};
use hickory_proto::op;
use hickory_proto::rr::{Name as HickoryName, Record as HickoryRecord};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};

use crate::request::EdnsOption;

/// A response, but for its question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) id: u16,
    pub(crate) opcode: u8,
    /// With the upper bits that EDNS gives it.
    pub(crate) rcode: u16,
    /// Words such as `aa`, in the order of the header; `qr` is left out, as it is checked.
    pub(crate) flags: String,
    pub(crate) answer: Vec<Record>,
    pub(crate) authority: Vec<Record>,
    /// But for the OPT record.
    pub(crate) additional: Vec<Record>,
    pub(crate) edns: Option<Edns>,
}

/// What the OPT record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edns {
    pub(crate) udp_octets: u16,
    pub(crate) version: u8,
    pub(crate) dnssec_ok: bool,
    pub(crate) options: Vec<EdnsOption>,
}

/// A record; names in wire form, uncompressed, case kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Record {
    pub(crate) owner: Vec<u8>,
    pub(crate) rtype: u16,
    pub(crate) class: u16,
    pub(crate) ttl: u32,
    pub(crate) rdata: Vec<u8>,
}

/// Decodes a response with both libraries, or with `domain` alone.
pub(crate) fn decode(message: &[u8], by_domain_alone: bool) -> Result<View, String> {
    let domain = decode_with_domain(message).map_err(|error| format!("domain can't decode it: {error}"))?;
    if by_domain_alone {
        return Ok(domain);
    }
    let hickory = decode_with_hickory(message).map_err(|error| format!("hickory-proto can't decode it: {error}"))?;
    if hickory == domain {
        Ok(domain)
    } else {
        Err(format!("the decoders differ:\n  hickory-proto:\n{hickory}  domain:\n{domain}"))
    }
}

fn decode_with_hickory(message: &[u8]) -> Result<View, Box<dyn std::error::Error>> {
    let message = op::Message::from_vec(message)?;
    let header = &message.metadata;
    if header.message_type != op::MessageType::Response {
        return Err("it is no response".into());
    }
    let edns = message.edns.as_ref().map(|edns| {
        let options = edns.options().as_ref().iter().map(|(code, option)| Ok((u16::from(*code), option.try_into()?)));
        let options = options.collect::<Result<Vec<EdnsOption>, hickory_proto::ProtoError>>()?;
        Ok::<_, hickory_proto::ProtoError>(Edns {
            udp_octets: edns.max_payload(),
            version: edns.version(),
            dnssec_ok: edns.flags().dnssec_ok,
            options,
        })
    });
    let section = |records: &[HickoryRecord]| records.iter().map(hickory_record).collect::<Result<Vec<_>, _>>();
    Ok(View {
        id: header.id,
        opcode: header.op_code.into(),
        rcode: header.response_code.into(),
        flags: flags([
            ("aa", header.authoritative),
            ("tc", header.truncation),
            ("rd", header.recursion_desired),
            ("ra", header.recursion_available),
            ("ad", header.authentic_data),
            ("cd", header.checking_disabled),
        ]),
        answer: section(&message.answers)?,
        authority: section(&message.authorities)?,
        additional: section(&message.additionals)?,
        edns: edns.transpose()?,
    })
}

fn hickory_record(record: &HickoryRecord) -> Result<Record, hickory_proto::ProtoError> {
    Ok(Record {
        owner: uncompressed::<HickoryName>(&record.name)?,
        rtype: record.record_type().into(),
        class: record.dns_class.into(),
        ttl: record.ttl,
        rdata: uncompressed(&record.data)?,
    })
}

fn uncompressed<T: BinEncodable>(value: &T) -> Result<Vec<u8>, hickory_proto::ProtoError> {
    let mut octets = Vec::new();
    let mut encoder = BinEncoder::new(&mut octets);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    value.emit(&mut encoder)?;
    Ok(octets)
}

fn decode_with_domain(message: &[u8]) -> Result<View, Box<dyn std::error::Error>> {
    let message = base::Message::from_slice(message)?;
    let header = message.header();
    if !header.qr() {
        return Err("it is no response".into());
    }
    let edns = match message.opt() {
        None => None,
        Some(opt) => {
            let options = opt.opt().iter::<UnknownOptData<&[u8]>>();
            let options =
                options.map(|option| option.map(|option| (option.code().to_int(), option.as_slice().to_vec())));
            Some(Edns {
                udp_octets: opt.udp_payload_size(),
                version: opt.version(),
                dnssec_ok: opt.dnssec_ok(),
                options: options.collect::<Result<_, _>>()?,
            })
        }
    };
    Ok(View {
        id: header.id(),
        opcode: header.opcode().to_int(),
        rcode: message.opt_rcode().to_int(),
        flags: flags([
            ("aa", header.aa()),
            ("tc", header.tc()),
            ("rd", header.rd()),
            ("ra", header.ra()),
            ("ad", header.ad()),
            ("cd", header.cd()),
        ]),
        answer: domain_section(message.answer()?)?,
        authority: domain_section(message.authority()?)?,
        additional: domain_section(message.additional()?)?,
        edns,
    })
}

fn domain_section(section: RecordSection<'_, [u8]>) -> Result<Vec<Record>, Box<dyn std::error::Error>> {
    let mut records = Vec::new();
    for record in section {
        let record = record?;
        if record.rtype() == Rtype::OPT {
            continue;
        }
        let record = record.to_any_record::<AllRecordData<&[u8], ParsedName<&[u8]>>>()?;
        records.push(domain_record(record.owner(), record.class(), record.ttl(), record.rtype(), record.data()));
    }
    Ok(records)
}

fn domain_record(owner: &impl ToName, class: Class, ttl: Ttl, rtype: Rtype, data: &impl ComposeRecordData) -> Record {
    let mut rdata = Vec::new();
    let Ok(()) = data.compose_rdata(&mut rdata);
    Record {
        owner: owner.to_vec().into_octets(),
        rtype: rtype.to_int(),
        class: class.to_int(),
        ttl: ttl.as_secs(),
        rdata,
    }
}

fn flags(flags: [(&str, bool); 6]) -> String {
    let set: Vec<&str> = flags.into_iter().filter(|(_, set)| *set).map(|(flag, _)| flag).collect();
    set.join(" ")
}

impl Record {
    /// Reads a record as a master file has it, every name whole.
    pub(crate) fn parse(text: &str) -> Self {
        let mut reader = Zonefile::from(format!("{text}\n").as_str());
        match reader.next_entry() {
            Ok(Some(Entry::Record(record))) => {
                domain_record(record.owner(), record.class(), record.ttl(), record.rtype(), record.data())
            }
            other => panic!("not a record: {text:?}: {other:?}"),
        }
    }

    /// Its data as a master file has it.
    pub(crate) fn shown_data(&self) -> String {
        let mut parser = Parser::from_ref(self.rdata.as_slice());
        let data = AllRecordData::<&[u8], ParsedName<&[u8]>>::parse_any_rdata(Rtype::from_int(self.rtype), &mut parser);
        data.map_or_else(|_| format!("{:02x?}", self.rdata), |data| data.to_string())
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owner = Name::from_slice(&self.owner).map_err(|_| fmt::Error)?;
        let (class, rtype) = (Class::from_int(self.class), Rtype::from_int(self.rtype));
        write!(f, "{} {} {class} {rtype} {}", owner.fmt_with_dot(), self.ttl, self.shown_data())
    }
}

/// As dig shows it.
impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "    rcode {} opcode {} flags {:?}", self.rcode, self.opcode, self.flags)?;
        let sections = [("answer", &self.answer), ("authority", &self.authority), ("additional", &self.additional)];
        for (section, records) in sections {
            for record in records {
                writeln!(f, "    {section}: {record}")?;
            }
        }
        match &self.edns {
            Some(edns) => writeln!(f, "    {edns:02x?}"),
            None => Ok(()),
        }
    }
}
