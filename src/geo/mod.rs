//! Where a client is, and which regions are near.
//!
//! | file | holds |
//! |---|---|
//! | `database` | a database of networks, walked once → locations and a table of addresses |
//! | `map` | database, `[[geoip.networks]]`, claims and rules → the table that a query reads |
//! | `geo_map` | the rules of `[maps.*]`, and the one for a client |
//! | `rank` | the order of regions for one client, and why |
//! | `locate` | the same for one client with its reasons, for people |
//! | `build` | CSV → .mmdb |
//! | `latency` | round trips as they were measured, and those that count now |
//! | `csv` | lines of fields below a header |
//! | `tree` | the search tree of a .mmdb, walked within bounds |
//! | `intern` | equal items found again while a list of distinct ones is built |
//! | `address_table`, `table`, `ipv4_table`, `network_table` | addresses → numbers, and the prefix for which they hold |
//! | `location`, `countries`, `coordinates`, `code` | what is known of a place |

mod address_table;
pub mod build;
mod code;
mod coordinates;
pub mod countries;
mod csv;
mod database;
mod geo_map;
mod intern;
mod ipv4_table;
pub mod latency;
mod locate;
mod location;
mod map;
mod network_table;
mod rank;
mod table;
mod tree;

pub use code::{Continent, CountryCode, Subdivision};
pub use coordinates::Coordinates;
pub use database::{Database, Error, LoadError, MAX_FILE_BYTES, MAX_LOCATIONS, MAX_NETWORKS};
pub use geo_map::{City, GeoMap, Matcher, Rule, Ruling};
pub use latency::LatencyTable;
pub use locate::{Located, Origin, locate};
pub use location::Location;
pub use map::{Order, RegionMap, TooManyOrders};
pub use rank::{Claim, Measure, Ranked, Standpoint};
