//! Zones: master files → records → the tree that answers are found in.

/// A domain name in wire form, compared without regard to case.
pub type Name = domain::base::Name<Vec<u8>>;
