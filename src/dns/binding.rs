//! A service's HTTPS or SVCB record, with hints of the decision that A and AAAA are answered by (RFC 9460).

use super::answer::{Answer, Step};
use super::edns::ExtendedError;
use super::encode::{Full, Section};
use super::query::Rcode;
use crate::routing::{Family, Outcome, decide_both};
use crate::snapshot::{Binding, Service};
use crate::zone::{Node, rtype};

/// The families with the numbers of their hints, which go into a record in this order (RFC 9460 section 14.3.2).
const HINTS: [(Family, u16); 2] = [(Family::V4, 4), (Family::V6, 6)];

impl<'s> Answer<'s, '_, '_> {
    /// The one record of the asked type, whose owner stands at this place.
    pub(super) fn binding(
        &mut self,
        node: &'s Node,
        service: &'s Service,
        binding: &'s Binding,
        owner: usize,
    ) -> Result<Step, Full> {
        /// Type, class, TTL and RDLENGTH.
        const FIXED_OCTETS: usize = 10;
        let both = decide_both(self.snapshot, service, self.asker.client, &mut self.draw);
        let leading = &both.families[both.leading.index()];
        if let Outcome::NoData = leading.outcome {
            self.negative_for(node, owner, both.ttl)?;
            self.scope = self.scope.max(both.scope);
            self.extended = Some(ExtendedError::NoEndpoint);
            return Ok(Step::Done(Rcode::NoError));
        }
        let mut fixed = [0; FIXED_OCTETS];
        fixed[..2].copy_from_slice(&self.qtype.to_be_bytes());
        fixed[2..4].copy_from_slice(&rtype::CLASS_IN.to_be_bytes());
        fixed[4..8].copy_from_slice(&both.ttl.to_be_bytes());
        let mark = self.writer.mark(Section::Answer);
        let mut put = || {
            self.writer.put_pointer(owner)?;
            self.writer.put(&fixed)?;
            let length_at = self.writer.position() - 2;
            self.writer.put(&binding.head)?;
            for (family, key) in HINTS.into_iter().filter(|_| binding.hints) {
                let outcome = &both.families[family.index()].outcome;
                if let Outcome::NoData = outcome {
                    continue;
                }
                self.writer.put(&key.to_be_bytes())?;
                let value_at = self.writer.position();
                self.writer.put(&[0; 2])?;
                outcome.try_for_each_address(family, |address| self.writer.put(address))?;
                self.writer.patch_length(value_at);
            }
            self.writer.patch_length(length_at);
            Ok(())
        };
        if let Err(Full) = put() {
            self.writer.rewind(Section::Answer, mark);
            return Err(Full);
        }
        self.writer.count_record(Section::Answer);
        self.scope = self.scope.max(both.scope);
        service.count(self.snapshot, leading, self.draw.worker);

        // RFC 9460 section 4.2: what the client would ask for next.
        let is_helped = binding.leads_here && !self.minimal;
        for (family, _) in HINTS.into_iter().filter(|_| is_helped) {
            let mark = self.writer.mark(Section::Additional);
            let outcome = &both.families[family.index()].outcome;
            let put = |address: &[u8]| self.put_address(Section::Additional, family, owner, both.ttl, address);
            if outcome.try_for_each_address(family, put).is_err() {
                self.writer.rewind(Section::Additional, mark);
                break;
            }
        }
        Ok(Step::Done(Rcode::NoError))
    }
}
