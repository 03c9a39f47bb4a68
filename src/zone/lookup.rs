//! A name being looked up: its labels found, folded to lower case and hashed once.

/// The longest name in octets, the root label included (RFC 1035 section 2.3.4).
pub const MAX_NAME_OCTETS: usize = 255;
/// The most labels in a name, the root not counted.
pub const MAX_LABELS: usize = 127;

/// A name in lower case with the start and the hash of each of its suffixes.
///
/// It is large, so a worker keeps one and fills it anew for each query.
#[derive(Debug, Clone)]
pub struct LookupName {
    wire: [u8; MAX_NAME_OCTETS],
    length_octets: usize,
    /// Start of each label in `wire`, first label first; `[labels]` is the root's.
    starts: [u8; MAX_LABELS + 1],
    labels: usize,
    /// `hashes[k]` is of the suffix that begins at label `k`.
    hashes: [u64; MAX_LABELS + 1],
}

impl Default for LookupName {
    fn default() -> Self {
        Self {
            wire: [0; MAX_NAME_OCTETS],
            length_octets: 1,
            starts: [0; MAX_LABELS + 1],
            labels: 0,
            hashes: [EMPTY_HASH; MAX_LABELS + 1],
        }
    }
}

/// The hash of the root.
const EMPTY_HASH: u64 = 0x51_7c_c1_b7_27_22_0a_95;

fn mix(hash: u64, word: u64) -> u64 {
    (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}

/// The hash of a suffix, given that of the suffix one label shorter and the label with its length octet.
fn extend(mut hash: u64, label: &[u8]) -> u64 {
    let (words, rest) = label.as_chunks::<8>();
    for word in words {
        hash = mix(hash, u64::from_le_bytes(*word));
    }
    mix(hash, rest.iter().fold(0, |word, octet| word << 8 | u64::from(*octet)))
}

impl LookupName {
    /// Reads the uncompressed name at the beginning of `octets` and returns its length there, or nothing where there
    /// is no whole, valid one: cut short, over 255 octets, or with a compression pointer.
    pub fn read(&mut self, octets: &[u8]) -> Option<usize> {
        let mut at = 0;
        let mut labels = 0;
        loop {
            let length = usize::from(*octets.get(at)?);
            if length == 0 {
                break;
            }
            if length > 63 || at + length + 1 >= MAX_NAME_OCTETS {
                return None;
            }
            // At most 127 labels fit below the 255 octets just checked, and `at` is below 255.
            self.starts[labels] = at as u8;
            labels += 1;
            at += length + 1;
        }
        let length = at + 1;
        self.starts[labels] = at as u8;
        self.labels = labels;
        self.length_octets = length;
        // Length octets are below 64, so folding letters leaves them alone.
        for (to, from) in self.wire[..length].iter_mut().zip(octets.get(..length)?) {
            *to = from.to_ascii_lowercase();
        }
        let mut hash = EMPTY_HASH;
        self.hashes[labels] = hash;
        for label in (0..labels).rev() {
            let (start, end) = (usize::from(self.starts[label]), usize::from(self.starts[label + 1]));
            hash = extend(hash, &self.wire[start..end]);
            self.hashes[label] = hash;
        }
        Some(length)
    }

    /// The name in lower case, in wire form.
    pub fn as_wire(&self) -> &[u8] {
        &self.wire[..self.length_octets]
    }

    /// How many labels it has, the root not counted.
    pub fn labels(&self) -> usize {
        self.labels
    }

    /// The suffix that begins at `label` (0 is the whole name), in wire form.
    pub fn suffix(&self, label: usize) -> &[u8] {
        &self.wire[usize::from(self.starts[label])..self.length_octets]
    }

    /// The hash of [`Self::suffix`].
    pub fn hash(&self, label: usize) -> u64 {
        self.hashes[label]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_labels_and_folds_case() {
        let mut name = LookupName::default();
        assert_eq!(name.read(b"\x03wWw\x07eXample\x00rest"), Some(13));
        assert_eq!(name.as_wire(), b"\x03www\x07example\x00");
        assert_eq!((name.labels(), name.suffix(1), name.suffix(2)), (2, &b"\x07example\x00"[..], &b"\x00"[..]));
        let whole = name.hash(1);
        assert_eq!(name.read(b"\x07EXAMPLE\x00"), Some(9));
        assert_eq!(name.hash(0), whole);
        assert_eq!(name.read(b"\x00"), Some(1));
        assert_eq!((name.labels(), name.as_wire()), (0, &b"\x00"[..]));
    }

    #[test]
    fn refuses_what_is_no_whole_name() {
        let mut name = LookupName::default();
        for octets in [&b""[..], b"\x03ww", b"\x03www", b"\xc0\x0c", b"\x40", b"\x01a\xc0\x00"] {
            assert_eq!(name.read(octets), None, "{octets:?}");
        }
        let longest: Vec<u8> = [&b"\x3f"[..], &[b'a'; 63]].concat().repeat(3);
        let exactly = [&longest[..], b"\x3d", &[b'b'; 61], b"\x00"].concat();
        assert_eq!((exactly.len(), name.read(&exactly)), (255, Some(255)));
        let over = [&longest[..], b"\x3e", &[b'b'; 62], b"\x00"].concat();
        assert_eq!(name.read(&over), None);
        let most_labels = [b"\x01a".repeat(127), vec![0]].concat();
        assert_eq!((name.read(&most_labels), name.labels()), (Some(255), 127));
    }
}
