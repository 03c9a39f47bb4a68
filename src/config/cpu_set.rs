//! CPUs by their numbers.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// The highest number that a CPU may have, as Linux can be built with.
pub const MAX_CPU: usize = 8_191;

/// At least one CPU, by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuSet(pub BTreeSet<usize>);

/// As `taskset -c` and the kernel write it: `0-3,8`.
impl FromStr for CpuSet {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| {
            let is_number = text.bytes().all(|octet| octet.is_ascii_digit());
            let number = text.parse().ok().filter(|_| is_number).ok_or("not CPUs by number, with ranges")?;
            if number > MAX_CPU { Err("no CPU has a number above 8191") } else { Ok(number) }
        };
        let mut cpus = BTreeSet::new();
        for range in text.split(',').map(str::trim) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (usize, usize) = (number(first)?, number(last)?);
            if first > last {
                return Err("a range begins above its end");
            }
            cpus.extend(first..=last);
        }
        Ok(Self(cpus))
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let starts = self.0.iter().filter(|cpu| cpu.checked_sub(1).is_none_or(|before| !self.0.contains(&before)));
        for &first in starts {
            let last = self.0.range(first..).zip(first..).take_while(|&(&cpu, expected)| cpu == expected).last();
            write!(f, "{separator}{first}")?;
            match last {
                Some((&last, _)) if last > first => write!(f, "-{last}")?,
                _ => {}
            }
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    fn cpus(text: &str) -> CpuSet {
        text.parse().unwrap()
    }

    #[test]
    fn lists_are_read_and_written_as_the_kernel_does() {
        for (text, numbers, written) in [
            ("0", vec![0], "0"),
            ("0-3,8", vec![0, 1, 2, 3, 8], "0-3,8"),
            ("8, 1,0 ,2-2", vec![0, 1, 2, 8], "0-2,8"),
            ("4-4,6,5,8191", vec![4, 5, 6, 8191], "4-6,8191"),
        ] {
            assert_eq!(
                (cpus(text).0.into_iter().collect(), cpus(text).to_string()),
                (numbers, written.to_owned()),
                "{text}"
            );
        }
        for text in ["", "-", "a", "1-", "-1", "3-1", "1,,2", "+1", "8192", "0-8192", "1:2", "99999999999999999999"] {
            assert!(text.parse::<CpuSet>().is_err(), "{text}");
        }
    }
}
