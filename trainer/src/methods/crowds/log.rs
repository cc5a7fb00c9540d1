//! The answers of a log as the methods that compare them read them.

use crate::method::{FitContext, FitError};
use crate::methods::votes::weights::{Votes, reading};
use routewright_data::Query;
use routewright_data::answers::normalize::Normalizer;
use routewright_data::answers::{AnswerRow, AnswerTable};
use routewright_data::suggest::near_names;
use routewright_policy::programs::Reading;
use routewright_policy::programs::select::{Given, Grouping, Panel};

/// What a method asks of a log.
#[derive(Debug, Clone, Copy)]
pub(in crate::methods) struct Asked<'a> {
    /// Name of the method, in errors.
    pub(in crate::methods) method: &'static str,
    /// Name of the parameter that names models.
    pub(in crate::methods) key: &'static str,
    /// Models it names; all where empty.
    pub(in crate::methods) models: &'a [String],
    /// Rule that makes equal answers equal texts.
    pub(in crate::methods) normalize: &'a str,
}

/// Scores, forms and texts of the members' first answers.
#[derive(Debug)]
pub(in crate::methods) struct Log<'a> {
    pub(in crate::methods) votes: Votes,
    /// Models that answer.
    pub(in crate::methods) models: Vec<String>,
    /// Arm of each.
    pub(in crate::methods) arms: Vec<usize>,
    pub(in crate::methods) rule: &'static Normalizer,
    pub(in crate::methods) reads: Reading,
    pub(in crate::methods) queries: &'a [Query],
    answers: &'a AnswerTable,
}

impl<'a> Log<'a> {
    /// Reads the log of a fit. Answers without a form are no fault here, see [`Log::expect_forms`].
    ///
    /// # Errors
    /// If the log has no answers, or a model or the rule is unknown.
    pub(in crate::methods) fn read(asked: &Asked<'_>, context: &FitContext<'a>) -> Result<Self, FitError> {
        let refused = |reason: String| FitError::Params { method: asked.method, reason };
        let rule = Normalizer::named(asked.normalize).map_err(refused)?;
        let known = &context.train.models;
        let arm = |model: &String| {
            known.iter().position(|name| name == model).ok_or_else(|| {
                let hint = near_names(model, known.iter().map(String::as_str));
                refused(format!("`{}` names `{model}`, which is no model of the log; {hint}", asked.key))
            })
        };
        let arms: Vec<usize> = match asked.models.is_empty() {
            true => (0..known.len()).collect(),
            false => asked.models.iter().map(arm).collect::<Result<_, _>>()?,
        };
        let fault = "it has no answers, expected a column `answer` or `response`".to_owned();
        let answers = context.answers.ok_or(FitError::Log { method: asked.method, reason: fault })?;
        let votes = Votes::of(&context.train.queries, answers, &arms, rule);
        let models = arms.iter().map(|arm| known[*arm].clone()).collect();
        let (queries, reads) = (context.train.queries.as_slice(), reading(answers));
        Ok(Self { votes, models, arms, rule, reads, queries, answers })
    }

    /// Checks that the rule reads an answer.
    ///
    /// # Errors
    /// If no answer has a form.
    pub(in crate::methods) fn expect_forms(&self, method: &'static str) -> Result<(), FitError> {
        if self.votes.forms.iter().any(Option::is_some) {
            return Ok(());
        }
        let reason = format!(
            "the rule `{}` reads no answer in it; try another `normalize`, or fill the column `answer`",
            self.rule.name
        );
        Err(FitError::Log { method, reason })
    }

    /// Number of queries.
    pub(in crate::methods) fn n_queries(&self) -> usize {
        self.queries.len()
    }

    /// The first answer of a member to a query.
    pub(in crate::methods) fn answer(&self, query: usize, member: usize) -> Option<AnswerRow<'a>> {
        self.answers.samples(query, self.arms[member]).next()
    }

    /// Text of that answer as a replay gives it; empty where there is none.
    pub(in crate::methods) fn text(&self, query: usize, member: usize) -> &'a str {
        self.answer(query, member).and_then(|row| row.text.or(row.answer)).unwrap_or_default()
    }

    /// The answers of some members to a query, as a program sees them; a member without one was not asked.
    pub(in crate::methods) fn panel(
        &self,
        query: usize,
        members: &[usize],
        grouping: Grouping,
        strengths: &[f64],
    ) -> Panel<'_> {
        let forms = self.votes.row(query);
        let given = |member: &usize| {
            let row = self.answer(query, *member)?;
            Some(Given {
                member: *member,
                form: forms[*member].as_deref(),
                text: row.text.or(row.answer).unwrap_or_default(),
                logprob_mean: row.logprob_mean,
                option_probs: row.option_probs.unwrap_or_default(),
            })
        };
        let givens: Vec<Given<'_>> = members.iter().filter_map(given).collect();
        let (n_asked, one) = (givens.len(), &self.queries[query]);
        Panel::of(&one.prompt, one.source.as_deref(), givens, n_asked, grouping, strengths)
    }

    /// The member of the greatest strength, the first of equals.
    pub(in crate::methods) fn strongest(strengths: &[f64]) -> usize {
        (0..strengths.len())
            .max_by(|a, b| strengths[*a].total_cmp(&strengths[*b]).then(b.cmp(a)))
            .unwrap_or(0)
    }
}
