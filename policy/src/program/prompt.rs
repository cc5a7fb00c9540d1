//! What is sent to a callee: the query, or a text of the artifact with slots.

use std::collections::BTreeMap;

/// What is sent to a callee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// The query as it came.
    Query,
    /// A text of the artifact.
    Template {
        /// Id of the text in the artifact.
        id: String,
        /// What is filled in, by name; `query` is filled in by itself.
        slots: BTreeMap<String, String>,
    },
}

/// Why a prompt could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PromptError {
    /// The artifact has no text of that id.
    #[error("cannot make the prompt `{id}`: the policy has the prompts {known}")]
    Unknown {
        /// Id asked for.
        id: String,
        /// Ids there are, comma-separated.
        known: String,
    },
}

/// The text to send: `query` itself, or the template with `{query}` and each `{slot}` replaced.
///
/// One pass: what is filled in is not searched for slots. Braces around any other word stay as they are.
///
/// # Errors
/// If `texts` has no template of that id.
pub fn render(prompt: &Prompt, query: &str, texts: &[(&str, &str)]) -> Result<String, PromptError> {
    let Prompt::Template { id, slots } = prompt else { return Ok(query.to_owned()) };
    let Some((_, text)) = texts.iter().find(|(known, _)| known == id) else {
        let known = texts.iter().map(|(id, _)| format!("`{id}`")).collect::<Vec<_>>().join(", ");
        return Err(PromptError::Unknown { id: id.clone(), known });
    };
    let value = |name: &str| match slots.get(name) {
        Some(value) => Some(value.as_str()),
        None => (name == "query").then_some(query),
    };
    let mut out = String::with_capacity(text.len() + query.len());
    let mut rest = *text;
    while let Some(open) = rest.find('{') {
        let (before, from) = rest.split_at(open);
        out.push_str(before);
        let filled = from.find('}').and_then(|close| Some((close, value(&from[1..close])?)));
        match filled {
            Some((close, value)) => {
                out.push_str(value);
                rest = &from[close + 1..];
            }
            None => {
                out.push('{');
                rest = &from[1..];
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(id: &str, slots: &[(&str, &str)]) -> Prompt {
        let slots = slots.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Prompt::Template { id: id.to_owned(), slots }
    }

    #[test]
    fn slots_are_filled_once_and_other_braces_stay() {
        let texts = [("verify", "{ {query} } says {answer}; {other} {\u{e9}} {")];
        assert_eq!(render(&Prompt::Query, "2+2?", &texts).unwrap(), "2+2?");
        let made = render(&template("verify", &[("answer", "{query}")]), "2+2?", &texts).unwrap();
        assert_eq!(made, "{ 2+2? } says {query}; {other} {\u{e9}} {");
        let error = render(&template("judge", &[]), "q", &texts).unwrap_err().to_string();
        assert_eq!(error, "cannot make the prompt `judge`: the policy has the prompts `verify`");
    }
}
