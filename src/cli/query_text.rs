//! The rule a log's prompts were made by, beside the rule a policy reads requests by.

use anyhow::{bail, ensure};
use routewright_data::QueryText;
use routewright_data::decisions::query_text_of_decisions;
use routewright_data::log::{LogError, query_text_of, schema_of};
use routewright_data::schema;
use routewright_policy::Policy;
use std::path::Path;

/// The rule a policy trained on `log` reads requests by, and whether the log names it.
///
/// # Errors
/// If `asked` is another rule than the log names.
pub(crate) fn of_log(log: &Path, asked: Option<QueryText>) -> anyhow::Result<(QueryText, bool)> {
    match (named_by(log)?, asked) {
        (Some(named), Some(asked)) if named != asked => bail!(
            "`--query-text {asked}` does not hold for `{}`: its prompts were made by `{named}`; leave the flag out, or \
             import the requests again with `--query-text {asked}`",
            log.display()
        ),
        (Some(named), _) => Ok((named, true)),
        (None, asked) => Ok((asked.unwrap_or_default(), asked.is_some())),
    }
}

/// The rule a log of outcomes or decisions names.
pub(crate) fn named_by(log: &Path) -> Result<Option<QueryText>, LogError> {
    match schema_of(log)?.name == schema::DECISION.name {
        true => query_text_of_decisions(log),
        false => query_text_of(log),
    }
}

/// Refuses two logs whose prompts were made by two rules; a log that names none is taken as it is.
pub(crate) fn check_same(log: &Path, pairs: &Path) -> anyhow::Result<()> {
    if let (Some(first), Some(second)) = (named_by(log)?, named_by(pairs)?) {
        let (log, pairs) = (log.display(), pairs.display());
        ensure!(
            first == second,
            "the prompts of `{log}` were made by `{first}`, those of `{pairs}` by `{second}`; import one of them again"
        );
    }
    Ok(())
}

/// Refuses to judge a policy on texts that it would not be served.
///
/// A log or an artifact that names no rule is taken as it is.
pub(crate) fn check(policy: &Policy, log: &Path) -> anyhow::Result<()> {
    let (reads, made) = (policy.manifest.query_text, named_by(log)?);
    if let (Some(reads), Some(made)) = (reads, made) {
        ensure!(
            reads == made,
            "policy `{}` reads requests by `{reads}`, the prompts of `{}` were made by `{made}`; import the requests \
             again with `--query-text {reads}`",
            policy.manifest.name,
            log.display()
        );
    }
    Ok(())
}
