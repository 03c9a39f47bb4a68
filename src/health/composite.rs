//! The health of an endpoint that several checks speak about.

use super::Verdict;
use super::endpoint::Score;

/// What one input says, and how it counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Said {
    /// Its verdict.
    pub verdict: Verdict,
    /// How well it went of late.
    pub score: Score,
    /// How much it counts.
    pub weight: u32,
    /// Whether nothing can stand in for it.
    pub must_pass: bool,
}

/// The verdict and the score of what is needed least: inputs are taken from the healthiest on until they weigh `required`, and the
/// last of them decides, unless one that must pass is worse.
///
/// So with all required the worst decides, and with any the best. Where all together weigh less than `required`, all are needed;
/// where nothing is, nothing is known, which serves.
pub fn combine(required: u64, inputs: &mut [Said]) -> (Verdict, Score) {
    inputs.sort_by(|a, b| rank(a.verdict).cmp(&rank(b.verdict)).then(b.score.value().total_cmp(&a.score.value())));
    let mut weight = 0;
    let mut worst: Option<(Verdict, Score)> = None;
    for input in inputs.iter() {
        let is_needed = weight < required;
        weight += u64::from(input.weight);
        if is_needed && input.weight > 0 || input.must_pass {
            let (verdict, score) = worst.unwrap_or((input.verdict, input.score));
            let verdict = if rank(verdict) < rank(input.verdict) { input.verdict } else { verdict };
            let score = if score.value() < input.score.value() { score } else { input.score };
            worst = Some((verdict, score));
        }
    }
    worst.unwrap_or((Verdict::Unknown, Score::FULL))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::health::Grade;

    /// Inputs such as `U`, `2D` (weighs two) or `!P` (must pass); up, unknown (`?`), degraded (`P`) and down.
    fn of(required: u64, inputs: &str) -> Verdict {
        let mut inputs: Vec<Said> = inputs
            .split(' ')
            .map(|input| {
                let verdict = match input.chars().last() {
                    Some('U') => Verdict::Up,
                    Some('P') => Verdict::Degraded,
                    Some('D') => Verdict::Down,
                    _ => Verdict::Unknown,
                };
                let weight = input.chars().find_map(|letter| letter.to_digit(10)).unwrap_or(1);
                Said { verdict, score: Score::FULL, weight, must_pass: input.starts_with('!') }
            })
            .collect();
        combine(required, &mut inputs).0
    }

    #[test]
    fn the_least_healthy_that_is_needed_decides() {
        use Verdict::{Degraded, Down, Unknown, Up};
        for (required, inputs, expected) in [
            (1, "U", Up),
            (3, "U U U", Up),
            (3, "U P U", Degraded),
            (3, "U D U", Down),
            (3, "U ? U", Unknown),
            (3, "U ? P", Degraded),
            (1, "D D U", Up),
            (1, "D D P", Degraded),
            (1, "D D ?", Unknown),
            (1, "D D", Down),
            (2, "U D U", Up),
            (2, "U D D", Down),
            (2, "2U D D", Up),
            (3, "2U D U", Up),
            (3, "2D U U", Down),
            (1, "U !D", Down),
            (1, "U !P", Degraded),
            (1, "!U D", Up),
            (0, "D D", Unknown),
            (0, "!D U", Down),
            (9, "U U", Up),
            (9, "U D", Down),
            (1, "0U D", Down),
        ] {
            assert_eq!(of(required, inputs), expected, "{required} of {inputs}");
        }
    }

    #[test]
    fn the_score_is_that_of_the_worst_needed() {
        let said = |verdict, failures: usize| {
            let score = (0..failures).fold(Score::FULL, |score, _| score.after(Grade::Failed));
            Said { verdict, score, weight: 1, must_pass: false }
        };
        let mut inputs = [said(Verdict::Up, 3), said(Verdict::Up, 1), said(Verdict::Degraded, 2)];
        let score = |failures| said(Verdict::Up, failures).score;
        assert_eq!(combine(1, &mut inputs), (Verdict::Up, score(1)));
        assert_eq!(combine(2, &mut inputs), (Verdict::Up, score(3)));
        assert_eq!(combine(3, &mut inputs), (Verdict::Degraded, score(3)));
        let mut inputs = [said(Verdict::Up, 0), Said { must_pass: true, ..said(Verdict::Up, 4) }];
        assert_eq!(combine(1, &mut inputs), (Verdict::Up, score(4)), "nothing stands in for it");
    }

    proptest! {
        /// It serves exactly where what serves weighs enough, and all that must pass serves.
        #[test]
        fn it_serves_where_enough_does(
            required in 0u64..12,
            inputs in proptest::collection::vec((0usize..4, 0u32..4, any::<bool>()), 1..6),
        ) {
            let mut inputs: Vec<Said> = inputs
                .iter()
                .map(|&(verdict, weight, must_pass)| Said { verdict: Verdict::ALL[verdict], score: Score::FULL, weight, must_pass })
                .collect();
            let weight = |serving: bool| -> u64 {
                inputs.iter().filter(|input| !serving || input.verdict.serves()).map(|input| u64::from(input.weight)).sum()
            };
            let is_enough = weight(true) >= required.min(weight(false));
            let must = inputs.iter().all(|input| !input.must_pass || input.verdict.serves());
            prop_assert_eq!(combine(required, &mut inputs).0.serves(), is_enough && must);
        }
    }
}
