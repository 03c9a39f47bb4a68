//! Which of the known names was meant.

/// Names longer than this, in characters, are compared for equality only.
const MAX_COMPARED: usize = 64;

/// The known name that takes the fewest edits, if that is at most a third of the name's length (and at least one).
pub(super) fn closest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = folded(name);
    let allowed = (name.len() / 3).max(1);
    if name.len() > MAX_COMPARED {
        return None;
    }
    known
        .into_iter()
        .filter_map(|candidate| {
            let folded = folded(candidate);
            if folded.len().abs_diff(name.len()) > allowed {
                return None;
            }
            let edits = edits(&name, &folded);
            (edits <= allowed).then_some((edits, candidate))
        })
        .min_by_key(|&(edits, _)| edits)
        .map(|(_, candidate)| candidate)
}

/// Without regard to case, or to which of `-` and `_` separates the words.
fn folded(name: &str) -> Vec<char> {
    name.chars().map(|character| if character == '_' { '-' } else { character.to_ascii_lowercase() }).collect()
}

/// Insertions, deletions, replacements and swaps of neighbours that make one of the other.
fn edits(from: &[char], to: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (row, &a) in from.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, &b) in to.iter().enumerate() {
            let replaced = last[column] + usize::from(a != b);
            let mut fewest = replaced.min(last[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && a == to[column - 1] && b == from[row - 1] {
                fewest = fewest.min(before_last[column - 1] + 1);
            }
            current.push(fewest);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn finds_what_was_meant() {
        let known = ["us-east", "us-west", "eu-central", "ap"];
        for (name, expected) in [
            ("us-eats", Some("us-east")),
            ("us_east", Some("us-east")),
            ("US-WEST", Some("us-west")),
            ("eu-centrl", Some("eu-central")),
            ("eucentral", Some("eu-central")),
            ("aq", Some("ap")),
            ("us", None),
            ("xy", None),
            ("", None),
            ("africa", None),
        ] {
            assert_eq!(closest(name, known), expected, "{name}");
        }
        assert_eq!(closest(&"x".repeat(10_000), known), None);
        assert_eq!(closest("", []), None);
    }
}
