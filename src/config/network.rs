//! Networks as operators write them.

use std::net::IpAddr;

use ipnet::IpNet;

/// What a network is, for messages.
pub(crate) const EXPECTED: &str = "a network as address/prefix length";

/// Why a text is no network, and what to write instead.
#[derive(Debug)]
pub(crate) struct NetworkError {
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// Reads a network, host bits zero.
pub(crate) fn parse_network(text: &str) -> Result<IpNet, NetworkError> {
    let error = |message: String, hint: String| Err(NetworkError { message, hint });
    if let Ok(address) = text.parse::<IpAddr>() {
        return error("the prefix length is missing".to_owned(), format!("write \"{}\"", IpNet::from(address)));
    }
    let Ok(network) = text.parse::<IpNet>() else {
        return error(
            format!("expected {EXPECTED}, found the string {text:?}"),
            "write for example `\"10.20.0.0/16\"` or `\"2001:db8::/32\"`".to_owned(),
        );
    };
    if network.trunc() != network {
        return error(
            format!("the address has bits beyond the prefix of {}", network.prefix_len()),
            format!("write \"{}\" for all of the network", network.trunc()),
        );
    }
    Ok(network)
}
