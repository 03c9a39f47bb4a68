//! Record types and classes by number, as far as Meridian treats them specially.

/// The Internet.
pub const CLASS_IN: u16 = 1;
/// CHAOS: what servers say of themselves (RFC 4892).
pub const CLASS_CH: u16 = 3;

/// Any class; also that of signatures (RFC 8945 section 4.2).
pub const CLASS_ANY: u16 = 255;

/// IPv4 address.
pub const A: u16 = 1;
/// Name server.
pub const NS: u16 = 2;
/// Canonical name.
pub const CNAME: u16 = 5;
/// Start of authority.
pub const SOA: u16 = 6;
/// Pointer.
pub const PTR: u16 = 12;
/// Host information; also what ANY is answered with (RFC 8482 section 4.2).
pub const HINFO: u16 = 13;
/// Mail exchange.
pub const MX: u16 = 15;
/// Text.
pub const TXT: u16 = 16;
/// IPv6 address.
pub const AAAA: u16 = 28;
/// Service location.
pub const SRV: u16 = 33;
/// Delegation name.
pub const DNAME: u16 = 39;
/// EDNS pseudo-record.
pub const OPT: u16 = 41;
/// Delegation signer.
pub const DS: u16 = 43;
/// Public key.
pub const DNSKEY: u16 = 48;
/// Service binding.
pub const SVCB: u16 = 64;
/// Service binding for HTTP.
pub const HTTPS: u16 = 65;
/// What a compact denial says of a name (RFC 9824); never a question.
pub const NXNAME: u16 = 128;
/// Key agreement (RFC 2930); the first of the types that are questions or transactions, not data.
pub const TKEY: u16 = 249;
/// Signature of a message (RFC 8945).
pub const TSIG: u16 = 250;
/// Incremental transfer.
pub const IXFR: u16 = 251;
/// Transfer.
pub const AXFR: u16 = 252;
/// Mail agents (obsolete).
pub const MAILA: u16 = 254;
/// All records.
pub const ANY: u16 = 255;
/// Authorities for certificates.
pub const CAA: u16 = 257;

/// Where in the RDATA the name begins whose addresses go into the additional section (RFC 1035 section 3.3, RFC 2782).
pub fn additional_target(rtype: u16) -> Option<usize> {
    match rtype {
        NS => Some(0),
        MX => Some(2),
        SRV => Some(6),
        _ => None,
    }
}
