//! A service's HTTPS or SVCB record, but for its hints, in wire form (RFC 9460 section 2.2).

use crate::config;

/// The parameters' numbers (RFC 9460 section 14.3.2).
const ALPN: u16 = 1;
const NO_DEFAULT_ALPN: u16 = 2;
const PORT: u16 = 3;

/// A service's HTTPS or SVCB record.
#[derive(Debug)]
pub struct Binding {
    /// Its data up to where hints go, whose parameters have higher numbers than all in it; at most 4,500 octets.
    pub head: Box<[u8]>,
    /// Whether the addresses that would be answered follow as hints.
    pub hints: bool,
    /// Whether it leads to the service's own name.
    pub leads_here: bool,
}

impl Binding {
    /// Brings a binding into wire form, its parameters in the order of their numbers.
    pub(super) fn new(binding: &config::Binding) -> Self {
        let mut head = binding.priority.to_be_bytes().to_vec();
        match &binding.target {
            Some(target) => head.extend_from_slice(target.as_slice()),
            None => head.push(0),
        }
        let mut put = |key: u16, value: &[u8]| {
            head.extend(key.to_be_bytes());
            head.extend((value.len() as u16).to_be_bytes());
            head.extend(value);
        };
        if !binding.alpn.is_empty() {
            let strings = binding.alpn.iter().map(|name| [&[name.len() as u8], name.as_slice()].concat());
            put(ALPN, &strings.collect::<Vec<_>>().concat());
        }
        if binding.no_default_alpn {
            put(NO_DEFAULT_ALPN, &[]);
        }
        if let Some(port) = binding.port {
            put(PORT, &port.to_be_bytes());
        }
        Self { head: head.into(), hints: binding.hints, leads_here: binding.target.is_none() }
    }
}
