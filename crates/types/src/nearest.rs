//! The right name that somebody meant who wrote a wrong one.

/// The name that is nearest to a wrong one, if at most so many letters differ; upper and lower case count the same.
pub fn nearest<'a>(wrong: &str, names: &[&'a str], letters: usize) -> Option<&'a str> {
    let lower = wrong.to_ascii_lowercase();
    let found = names.iter().map(|name| (distance(&lower, &name.to_ascii_lowercase()), *name)).min();
    found.filter(|(differ, _)| *differ <= letters).map(|(_, name)| name)
}

/// What to say of a wrong name: which was meant, if one is near (a third of its letters may be wrong), else all.
pub fn hint(wrong: &str, names: &[&str]) -> String {
    match nearest(wrong, names, wrong.len().div_ceil(3)) {
        Some(name) => format!("did you mean {name}?"),
        None => format!("known: {}", names.join(", ")),
    }
}

/// How many letters must be put in, taken out or changed to make one text the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (b, above) in other.bytes().zip(row.iter_mut().skip(1)) {
            let changed = diagonal + usize::from(a != b);
            diagonal = *above;
            left = changed.min(diagonal + 1).min(left + 1);
            *above = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_letters() {
        for (one, other, letters) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(distance(one, other), letters, "{one} {other}");
        }
    }

    #[test]
    fn the_nearest_name_is_meant_unless_all_are_far() {
        let names = ["Pool", "Network", "Host"];
        for (wrong, meant) in
            [("Netwrk", "Network"), ("NETWORKS", "Network"), ("pol", "Pool"), ("Hots", "Host")]
        {
            assert_eq!(hint(wrong, &names), format!("did you mean {meant}?"), "{wrong}");
        }
        for wrong in ["", "Service", "x"] {
            assert_eq!(hint(wrong, &names), "known: Pool, Network, Host", "{wrong}");
        }
    }
}
