//! "did you mean": the known name nearest to one that is not known.

/// What to do about a name that is none of `known`: the nearest one, else the list of them.
pub(super) fn instead_of<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(name, &known) {
        Some(nearest) => format!("did you mean {nearest:?}?"),
        None if known.is_empty() => "there is none yet".to_owned(),
        None => format!("known here: {}", known.join(", ")),
    }
}

/// The known name that a slip of the hand would turn into `name`: up to a third of its letters wrong, or another case
/// or separator.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let folded = fold(name);
    let allowed = folded.chars().count() / 3;
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&folded, &fold(candidate)), *candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn fold(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_and_the_list_where_none_is_near() {
        let known = ["dashboard", "litellm"];
        assert_eq!(instead_of("dashbord", known), "did you mean \"dashboard\"?");
        assert_eq!(instead_of("LiteLLM", known), "did you mean \"litellm\"?");
        assert_eq!(instead_of("postgres", known), "known here: dashboard, litellm");
        assert_eq!(instead_of("x", []), "there is none yet");
        assert_eq!(instead_of("trusted-proxies", ["trusted_proxies"]), "did you mean \"trusted_proxies\"?");
        assert_eq!(instead_of("a", ["b"]), "known here: b");
    }
}
