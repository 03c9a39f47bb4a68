//! The health of an endpoint that several checks speak about.

use super::Verdict;

/// What one input says, and how it counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Said {
    /// Its verdict.
    pub verdict: Verdict,
    /// How well it went of late, 0..=1.
    pub score: f64,
    /// How much it counts.
    pub weight: u32,
    /// Whether nothing can stand in for it.
    pub must_pass: bool,
}

/// The verdict and the score of what is needed least: inputs are taken from the healthiest on until they weigh `required`, and the
/// last of them decides; then each that must pass.
///
/// So with all required the worst decides, and with any the best. Nothing is unknown, and serves, where nothing is required.
/// Where all together weigh less than `required`, all are.
pub fn combine(required: u64, inputs: &mut [Said]) -> (Verdict, f64) {
    inputs.sort_by(|a, b| (rank(a.verdict), b.score).partial_cmp(&(rank(b.verdict), a.score)).unwrap_or(std::cmp::Ordering::Equal));
    let mut weight = 0;
    let mut worst: Option<(Verdict, f64)> = None;
    for input in inputs.iter() {
        let is_needed = weight < required;
        weight += u64::from(input.weight);
        if is_needed && input.weight > 0 || input.must_pass {
            worst = Some(match worst {
                Some((verdict, score)) if rank(verdict) >= rank(input.verdict) => (verdict, score.min(input.score)),
                Some((_, score)) => (input.verdict, score.min(input.score)),
                None => (input.verdict, input.score),
            });
        }
    }
    worst.unwrap_or((Verdict::Unknown, 1.0))
}

/// The healthier the less.
fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Up => 0,
        Verdict::Unknown => 1,
        Verdict::Degraded => 2,
        Verdict::Down => 3,
    }
}
