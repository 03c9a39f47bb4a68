//! Endpoints that depend on several inputs.

use meridian::health::Verdict;

use super::{Checker, Rule};

/// The healthier the less.
fn rank(verdict: Verdict) -> usize {
    [Verdict::Up, Verdict::Unknown, Verdict::Degraded, Verdict::Down]
        .iter()
        .position(|known| *known == verdict)
        .unwrap()
}

impl Checker<'_> {
    /// The last of those that are required is what all say together.
    pub(super) fn inputs(&mut self) {
        let log = self.log;
        for (endpoint, line) in log.endpoints.iter().enumerate() {
            let required = self.site.pools[self.site.endpoints[endpoint].pool].required;
            let inputs: Vec<_> = self.site.inputs(endpoint).map(|input| &log.targets[input]).collect();
            let mut moments: Vec<_> = inputs.iter().flat_map(|input| input.changes()).map(|(at, ..)| at).collect();
            moments.extend(line.changes().map(|(at, ..)| at));
            for at in moments {
                let says: Option<Vec<Verdict>> = inputs.iter().map(|input| input.at(at)).collect();
                let (Some(mut says), Some(found)) = (says, line.at(at).found()) else { continue };
                says.sort_by_key(|verdict| rank(*verdict));
                if says[required - 1] != found {
                    let details = format!("it is {found}, where {required} of these have to serve: {says:?}");
                    self.blame(Rule::CombinedWrongly, at, Some(endpoint), details);
                }
            }
        }
    }
}
