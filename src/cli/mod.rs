//! One file per subcommand.

pub mod geoip;
