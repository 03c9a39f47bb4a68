//! Writing a response into a buffer that is already there.

use super::edns::{ExtendedError, Opt};
use super::query::{HEADER_OCTETS, Rcode};

/// No room is left: the response is to be truncated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// The sections that records go into, by where their count stands in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Section {
    /// Records that answer the question.
    Answer = 6,
    /// Delegations and SOA.
    Authority = 8,
    /// Addresses that help.
    Additional = 10,
}

/// A response being written: header, question, records section by section, OPT last.
///
/// Nothing goes past the limit, less the room that the OPT record will need; what does not fit is refused whole.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    buffer: &'a mut [u8],
    at: usize,
    /// Where writing ends for now.
    limit: usize,
    /// Where the response ends at most.
    most: usize,
}

/// AA in the header's third octet.
const AUTHORITATIVE: u8 = 0x04;
/// TC in the header's third octet.
const TRUNCATED: u8 = 0x02;

/// A place to return to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    at: usize,
    count: u16,
}

impl<'a> Writer<'a> {
    /// Begins a response to `request`, whose header is whole, within `limit` octets of the buffer, OPT included.
    pub(super) fn new(buffer: &'a mut [u8], request: &[u8], question: &[u8], limit: usize) -> Self {
        let limit = limit.min(buffer.len());
        let mut header = [0; HEADER_OCTETS];
        header[..4].copy_from_slice(request.get(..4).unwrap_or(&[0; 4]));
        // Opcode and RD as asked; CD too (RFC 4035 section 3.1.6).
        header[2] = header[2] & 0x79 | 0x80;
        header[3] &= 0x10;
        header[5] = u8::from(!question.is_empty());
        buffer[..HEADER_OCTETS].copy_from_slice(&header);
        let at = HEADER_OCTETS + question.len();
        buffer[HEADER_OCTETS..at].copy_from_slice(question);
        Self { buffer, at, limit, most: limit }
    }

    /// Keeps room for the OPT record.
    pub(super) fn reserve(&mut self, opt: &Opt<'_>) {
        self.limit -= opt.octets().min(self.limit);
    }

    /// Sets AA: what follows the question is ours.
    pub(super) fn set_authoritative(&mut self) {
        self.buffer[2] |= AUTHORITATIVE;
    }

    /// Sets TC: the client is to ask again over TCP.
    pub(super) fn set_truncated(&mut self) {
        self.buffer[2] |= TRUNCATED;
    }

    /// Sets the lower four bits of the response code.
    pub(super) fn set_rcode(&mut self, rcode: Rcode) {
        self.buffer[3] = self.buffer[3] & 0xf0 | (rcode as u16 & 0x0f) as u8;
    }

    /// Whether there is a record in the answer section.
    pub(super) fn has_answer(&self) -> bool {
        self.count(Section::Answer) > 0
    }

    /// How many octets still fit.
    pub(super) fn room(&self) -> usize {
        self.limit.saturating_sub(self.at)
    }

    /// Writes into the two octets at a place how many follow them.
    pub(super) fn patch_length(&mut self, at: usize) {
        let length = self.at - at - 2;
        self.buffer[at..at + 2].copy_from_slice(&(length as u16).to_be_bytes());
    }

    /// Where the next octet goes.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Remembers how far a section has come.
    pub(super) fn mark(&self, section: Section) -> Mark {
        Mark { at: self.at, count: self.count(section) }
    }

    /// Takes back all that was written since.
    pub(super) fn rewind(&mut self, section: Section, mark: Mark) {
        self.at = mark.at;
        self.set_count(section, mark.count);
    }

    /// Appends octets.
    pub(super) fn put(&mut self, octets: &[u8]) -> Result<(), Full> {
        let end = self.at + octets.len();
        if end > self.limit {
            return Err(Full);
        }
        self.buffer[self.at..end].copy_from_slice(octets);
        self.at = end;
        Ok(())
    }

    /// Appends a [`compression_pointer`].
    pub(super) fn put_pointer(&mut self, to: usize) -> Result<(), Full> {
        self.put(&compression_pointer(to))
    }

    /// Writes a pointer over two octets already written.
    pub(super) fn patch_pointer(&mut self, at: usize, to: usize) {
        self.buffer[at..at + 2].copy_from_slice(&compression_pointer(to));
    }

    /// Lowers the TTL of the record just written, whose octets from the type on are so many.
    pub(super) fn lower_ttl(&mut self, octets: usize, most_seconds: u32) {
        let at = self.at - octets + 4;
        if let Some(ttl) = self.buffer[at..].first_chunk_mut() {
            *ttl = u32::from_be_bytes(*ttl).min(most_seconds).to_be_bytes();
        }
    }

    /// Counts one more record in a section.
    pub(super) fn count_record(&mut self, section: Section) {
        self.set_count(section, self.count(section) + 1);
    }

    /// How many records a section has.
    pub(super) fn count(&self, section: Section) -> u16 {
        let at = section as usize;
        u16::from_be_bytes([self.buffer[at], self.buffer[at + 1]])
    }

    fn set_count(&mut self, section: Section, count: u16) {
        let at = section as usize;
        self.buffer[at..at + 2].copy_from_slice(&count.to_be_bytes());
    }

    /// Appends the OPT record, whose room was kept or is there, and returns the response's length.
    pub(super) fn finish(
        &mut self,
        opt: Option<&Opt<'_>>,
        rcode: Rcode,
        scope: u8,
        extended: Option<ExtendedError>,
    ) -> usize {
        self.set_rcode(rcode);
        self.limit = self.most;
        if let Some(opt) = opt
            && opt.put(self, rcode, scope, extended).is_ok()
        {
            self.count_record(Section::Additional);
        }
        self.at
    }
}

/// A compression pointer to an earlier place, which is below 2^14 (RFC 1035 section 4.1.4).
pub(super) fn compression_pointer(to: usize) -> [u8; 2] {
    (0xc000 | to as u16).to_be_bytes()
}
