//! Domain names as operators write them.

use crate::zone::Name;

/// Characters of a name without its final dot (RFC 1035 section 3.1: 255 octets on the wire).
const MAX_NAME_LENGTH: usize = 253;
/// Octets of a label (RFC 1035 section 3.1).
const MAX_LABEL_LENGTH: usize = 63;

/// Reads an absolute name with or without its final dot, and makes it lower case. At least one label; labels of
/// letters, digits, hyphens and underscores, without a hyphen at either end. The error says what is wrong.
pub(super) fn parse_name(text: &str) -> Result<Name, String> {
    parse(text, check_label)
}

/// Reads a name of which any label may be `*`: as the first it can make a wildcard, elsewhere it is a label like others
/// (RFC 4592 section 2.1.1). Labels may have slashes, as those of reverse zones for parts of a network do (RFC 2317
/// section 4).
pub(super) fn parse_owner(text: &str) -> Result<Name, String> {
    parse(text, |label| if label == "*" { Ok(()) } else { check_label(&label.replace('/', "_")) })
}

fn parse(text: &str, check: impl Fn(&str) -> Result<(), String>) -> Result<Name, String> {
    let relative = text.strip_suffix('.').unwrap_or(text);
    if relative.is_empty() {
        return Err("a name needs at least one label".to_owned());
    }
    if relative.len() > MAX_NAME_LENGTH {
        return Err(format!("a name has at most {MAX_NAME_LENGTH} characters"));
    }
    for label in relative.split('.') {
        check(label)?;
    }
    Name::vec_from_str(&relative.to_ascii_lowercase()).map_err(|error| error.to_string())
}

fn check_label(label: &str) -> Result<(), String> {
    if label.is_empty() {
        return Err("a label is empty".to_owned());
    }
    if !label.is_ascii() {
        return Err("letters beyond ASCII are written in the `xn--` form of IDNA".to_owned());
    }
    if let Some(other) = label.chars().find(|&it| !it.is_ascii_alphanumeric() && it != '-' && it != '_') {
        return Err(format!("{other:?} can't be in a name"));
    }
    if label.len() > MAX_LABEL_LENGTH {
        return Err(format!("a label has at most {MAX_LABEL_LENGTH} characters"));
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err("a label can't begin or end with a hyphen".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{parse_name, parse_owner};

    #[test]
    fn reads_names() {
        let long_label = "a".repeat(64);
        let longest = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "a".repeat(61));
        let too_long = format!("{longest}a");
        for (text, expected) in [
            ("example.com", Some("example.com")),
            ("Example.COM.", Some("example.com")),
            ("_sip._udp.xn--bcher-kva.example", Some("_sip._udp.xn--bcher-kva.example")),
            ("com", Some("com")),
            ("", None),
            (".", None),
            ("..", None),
            ("a..b", None),
            (".a", None),
            ("a b", None),
            ("a\\.b", None),
            ("bücher.example", None),
            ("-a.example", None),
            ("a-.example", None),
            ("*.example.com", None),
            (&long_label, None),
            (&longest, Some(&*longest)),
            (&too_long, None),
        ] {
            assert_eq!(parse_name(text).ok().map(|name| name.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn reads_owners() {
        let parent = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "a".repeat(60));
        let too_long = format!("*.{parent}");
        for (text, expected) in [
            ("*.Apps.example.com.", Some("*.apps.example.com")),
            ("www.example.com", Some("www.example.com")),
            ("*", Some("*")),
            ("*.*.example.com", Some("*.*.example.com")),
            ("www.*.example.com", Some("www.*.example.com")),
            ("a*.example.com", None),
            ("0/25.2.0.192.in-addr.arpa", Some("0/25.2.0.192.in-addr.arpa")),
            ("**.example.com", None),
            ("*.", Some("*")),
            (".*", None),
            (&too_long, None),
        ] {
            assert_eq!(parse_owner(text).ok().map(|name| name.to_string()).as_deref(), expected, "{text}");
        }
    }
}
