//! Near names for a typo: the second half of every "unknown x" error.

/// Names offered before the list is cut off.
const NAMES_MAX: usize = 12;
/// Longest name that is compared, bytes: it takes time in proportion, and callers of a server choose the name.
const NAME_BYTES_MAX: usize = 256;

/// A hint for an unknown `name`: the near ones among `known`, else all of them.
///
/// Reads ``did you mean `a` or `b`?`` or ``known: `a`, `b`, `c` ``.
pub fn near_names<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let lower = if name.len() <= NAME_BYTES_MAX { name.to_lowercase() } else { String::new() };
    let mut near: Vec<(f64, &str)> = known
        .iter()
        .filter(|_| !lower.is_empty())
        .map(|&k| (strsim::jaro_winkler(&lower, &k.to_lowercase()), k))
        .filter(|(similarity, _)| *similarity > 0.82)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    if !near.is_empty() {
        let names: Vec<String> = near.iter().take(3).map(|(_, k)| format!("`{k}`")).collect();
        return format!("did you mean {}?", names.join(" or "));
    }
    let mut names: Vec<String> = known.iter().take(NAMES_MAX).map(|k| format!("`{k}`")).collect();
    if known.len() > NAMES_MAX {
        names.push(format!("and {} more", known.len() - NAMES_MAX));
    }
    if names.is_empty() { "there are none".to_owned() } else { format!("known: {}", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::near_names;

    #[test]
    fn a_typo_finds_its_name_and_a_stranger_gets_the_list() {
        assert_eq!(near_names("modle", ["score", "model"]), "did you mean `model`?");
        assert_eq!(near_names("zzz", ["score", "model"]), "known: `score`, `model`");
        assert_eq!(near_names("x", []), "there are none");
        let long = "model".repeat(1 << 20);
        assert_eq!(near_names(&long, [long.as_str()]).len(), long.len() + "known: ``".len(), "near nothing");
    }
}
