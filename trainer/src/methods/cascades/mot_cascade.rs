//! Mixture of thoughts (Yue et al., ICLR 2024, arXiv 2310.03094): a weak model is sampled under several prompts, and a
//! strong one is asked where the samples do not agree.
//!
//! Program `consistency`. By `vote` the most frequent answer is kept where its share of all samples is at least a
//! threshold; by `verify` the most frequent answers of the prompts must be the same. With one prompt this is the
//! paper's 1D cascade, with prompts of different demonstrations 2D, with a chain of thought and a program of thought
//! its mixture. Prompts are the variants of the log. Nothing is learned but the threshold: it is chosen on one slice of
//! train and judged on the other.
//!
//! # Deviations from the paper and its code (MurongYue/LLM_MoT_cascade)
//! 1. Thresholds are chosen by the score they keep, by a budget or by a promise; the paper draws the curve of 0.4 to 1.
//! 2. A program of thought is run by whoever makes the log or serves the model: its result is the column `answer`. No
//!    tool is called.
//! 3. Samples of each prompt are `samples`, whatever the prompt's length; the code equalises their price.
//! 4. A failed sample counts in the denominator of the share, as in the code.

use super::chain;
use crate::evaluate::Tuning;
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Reads};
use crate::methods::votes::weights::reading;
use crate::promise::{Losses, Promise};
use crate::train::arms;
use crate::validation;
use routewright_data::answers::AnswerTable;
use routewright_data::answers::normalize::Normalizer;
use routewright_data::suggest::near_names;
use routewright_policy::programs::{
    AgreementRule, Consistency, ConsistencyConfig, Reading, SharePoint, Thought, majority,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<MotCascade>(
    "a weak model sampled under several prompts, and a strong one where the samples do not agree",
    Some("2310.03094"),
    Family::After,
    &[],
)
.reading(&[Reads::Outcomes, Reads::Answers]);

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct MotCascade;

/// Parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Model that is sampled; the cheapest that has the samples where empty.
    weak: String,
    /// Model that is asked else; the one of the greatest mean score where empty.
    strong: String,
    /// Prompts, by variant of the log; those that the weak model has where empty, the query itself where it has none.
    variants: Vec<String>,
    /// Texts of the prompts by variant, with the slot `{query}`; the query itself where one is missing.
    prompts: BTreeMap<String, String>,
    /// Samples of each prompt, at least 1.
    samples: usize,
    /// Samples of the strong model, at least 1.
    strong_samples: usize,
    /// When samples agree.
    rule: AgreementRule,
    /// Shares tried, each in (0, 1].
    thresholds: Vec<f64>,
    /// Rule that makes equal answers equal texts, see `data::answers::normalize`.
    normalize: String,
    /// Temperature of the samples when served; the host's where null.
    temperature: Option<f32>,
    /// Share of the strong model's score that the default keeps, in [0, 1].
    retain: f64,
    /// Standard errors by which it is kept, at least 0.
    margin: f64,
    /// Mean price of a query that the default keeps to, US dollars; 0 for no budget.
    budget_usd: f64,
    /// Part of train that thresholds are judged on, in [0, 1).
    judged: f64,
    /// Greatest loss against the strong model that is promised, below 1; 0 for no promise.
    max_drop: f64,
    /// Probability that the promise holds, in (0, 1).
    confidence: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            weak: String::new(),
            strong: String::new(),
            variants: Vec::new(),
            prompts: BTreeMap::new(),
            samples: 5,
            strong_samples: 1,
            rule: AgreementRule::Vote,
            thresholds: (8..=20).map(|at| f64::from(at) / 20.0).collect(),
            normalize: "exact".to_owned(),
            temperature: Some(0.7),
            retain: 1.0,
            margin: 0.0,
            budget_usd: 0.0,
            judged: 0.5,
            max_drop: 0.0,
            confidence: 0.95,
        }
    }
}

fn refused(reason: String) -> FitError {
    FitError::Params { method: MotCascade::NAME, reason }
}

fn fault(reason: String) -> FitError {
    FitError::Log { method: MotCascade::NAME, reason }
}

impl Params {
    fn check(&self) -> Result<(), FitError> {
        for (key, value) in [("samples", self.samples), ("strong_samples", self.strong_samples)] {
            if !(1..=256).contains(&value) {
                return Err(refused(format!("`{key}` is `{value}`, expected 1 to 256")));
            }
        }
        if self.thresholds.is_empty() {
            return Err(refused("`thresholds` is empty, expected shares in (0, 1]".to_owned()));
        }
        // NaN is in no range.
        if let Some(value) = self.thresholds.iter().find(|value| !(**value > 0.0 && **value <= 1.0)) {
            return Err(refused(format!("`thresholds` has `{value}`, expected shares in (0, 1]")));
        }
        let numbers = [
            ("retain", self.retain, 1.0),
            ("margin", self.margin, 1e6),
            ("budget_usd", self.budget_usd, f64::MAX),
            ("judged", self.judged, 0.99),
        ];
        if let Some((key, value, most)) =
            numbers.into_iter().find(|(_, value, most)| !(0.0..=*most).contains(value))
        {
            return Err(refused(format!("`{key}` is `{value}`, expected a number in [0, {most}]")));
        }
        self.promise().map_or(Ok(()), |promise| promise.check()).map_err(refused)
    }

    fn promise(&self) -> Option<Promise> {
        (self.max_drop != 0.0).then_some(Promise { max_drop: self.max_drop, confidence: self.confidence })
    }
}

/// Samples of the weak model prompt by prompt, and those of the strong one.
struct Played {
    weak: Vec<Vec<Option<String>>>,
    weak_scores: Vec<f64>,
    weak_usd: f64,
    /// Score of the strong model's most frequent answer, and the price of all its samples.
    strong: (f64, f64),
}

impl Played {
    /// Score, price, and whether it was passed on.
    fn at(&self, config: &ConsistencyConfig, threshold: f64) -> (f64, f64, bool) {
        let samples: Vec<Vec<Option<&str>>> =
            self.weak.iter().map(|own| own.iter().map(Option::as_deref).collect()).collect();
        match config.agreed(&samples, threshold) {
            Some(at) => (self.weak_scores[at], self.weak_usd, false),
            None => (self.strong.0, self.weak_usd + self.strong.1, true),
        }
    }
}

/// The weak and the strong model.
type Pair = (usize, usize);

/// What is read of a log.
struct Log<'a> {
    context: &'a FitContext<'a>,
    answers: &'a AnswerTable,
    rule: &'static Normalizer,
    reads: Reading,
}

impl Log<'_> {
    /// Forms, scores and prices of the first samples of an arm under a prompt; `None` where there are too few, or one
    /// has no score.
    fn samples(
        &self,
        row: usize,
        arm: usize,
        variant: Option<&str>,
        n: usize,
    ) -> Option<Vec<(Option<String>, f64, f64)>> {
        let own = self.answers.samples(row, arm).filter(|one| variant.is_none() || one.variant == variant);
        let of = |one: routewright_data::answers::AnswerRow<'_>| {
            let form = self.reads.form(self.rule, one.answer, one.text);
            let cost = one.cost_usd.or(self.context.train.cost_usd.get(row, arm).map(f64::from));
            Some((form, f64::from(one.score?), cost?))
        };
        let found: Option<Vec<_>> = own.take(n).map(of).collect();
        found.filter(|found| found.len() == n)
    }

    fn play(
        &self,
        params: &Params,
        row: usize,
        (weak, strong): (usize, usize),
        variants: &[Option<String>],
    ) -> Option<Played> {
        let samples =
            variants.iter().map(|variant| self.samples(row, weak, variant.as_deref(), params.samples));
        let samples: Vec<Vec<(Option<String>, f64, f64)>> = samples.collect::<Option<_>>()?;
        let other = self.samples(row, strong, None, params.strong_samples)?;
        let forms: Vec<Option<&str>> = other.iter().map(|(form, ..)| form.as_deref()).collect();
        let best = majority(&forms).unwrap_or(0);
        Some(Played {
            weak_scores: samples.iter().flatten().map(|(_, score, _)| *score).collect(),
            weak_usd: samples.iter().flatten().map(|(.., usd)| usd).sum(),
            weak: samples.into_iter().map(|own| own.into_iter().map(|(form, ..)| form).collect()).collect(),
            strong: (other[best].1, other.iter().map(|(.., usd)| usd).sum()),
        })
    }

    /// The two models, and the prompts of the weak one.
    fn models(&self, params: &Params) -> Result<(Pair, Vec<Option<String>>), FitError> {
        let train = self.context.train;
        let named = |key: &str, model: &String| {
            let hint = || near_names(model, train.models.iter().map(String::as_str));
            let at = train.models.iter().position(|known| known == model);
            at.ok_or_else(|| {
                refused(format!("`{key}` is `{model}`, which is no model of the log; {}", hint()))
            })
        };
        let mean = |arm: usize| train.score.column_mean(arm).unwrap_or(0.0);
        let all = 0..train.n_arms();
        let strong = match params.strong.is_empty() {
            false => named("strong", &params.strong)?,
            true => all.clone().max_by(|a, b| mean(*a).total_cmp(&mean(*b)).then(b.cmp(a))).unwrap_or(0),
        };
        let most =
            |arm: &usize| (0..train.n_queries()).map(|row| self.answers.samples(row, *arm).len()).max();
        let usd = |arm: usize| train.cost_usd.column_mean(arm).unwrap_or(f64::INFINITY);
        let weak = match params.weak.is_empty() {
            false => named("weak", &params.weak)?,
            true => all
                .filter(|arm| *arm != strong && most(arm).is_some_and(|n| n >= params.samples))
                .min_by(|a, b| usd(*a).total_cmp(&usd(*b)).then(a.cmp(b)))
                .ok_or_else(|| {
                    let samples = params.samples;
                    fault(format!(
                        "no model beside the best has `{samples}` samples of a query, see `samples`"
                    ))
                })?,
        };
        if weak == strong {
            return Err(refused(format!(
                "`weak` and `strong` are both `{}`, expected two models",
                train.models[weak]
            )));
        }
        let known: BTreeSet<&str> = (0..train.n_queries())
            .flat_map(|row| self.answers.samples(row, weak).filter_map(|one| one.variant))
            .collect();
        if let Some(unknown) = params.variants.iter().find(|name| !known.contains(name.as_str())) {
            let hint = near_names(unknown, known);
            return Err(refused(format!("`variants` has `{unknown}`, which the weak model lacks; {hint}")));
        }
        let variants: Vec<Option<String>> = match (params.variants.is_empty(), known.is_empty()) {
            (true, true) => vec![None],
            (true, false) => known.into_iter().map(|name| Some(name.to_owned())).collect(),
            (false, _) => params.variants.iter().cloned().map(Some).collect(),
        };
        Ok(((weak, strong), variants))
    }

    /// The program without its thresholds.
    fn config(
        &self,
        params: &Params,
        (weak, strong): (usize, usize),
        variants: &[Option<String>],
    ) -> ConsistencyConfig {
        let name = |arm: usize| self.context.train.models[arm].clone();
        let thought =
            |prompt: &Option<String>| Thought { prompt: prompt.clone(), samples: params.samples as u32 };
        ConsistencyConfig {
            weak: name(weak),
            strong: name(strong),
            thoughts: variants.iter().map(thought).collect(),
            strong_samples: params.strong_samples as u32,
            rule: params.rule,
            temperature: params.temperature,
            answers: self.rule.name.to_owned(),
            reads: self.reads,
            points: Vec::new(),
            default: 0,
        }
    }
}

/// Mean score, price and share passed on.
fn means(rows: &[Played], config: &ConsistencyConfig, threshold: f64) -> [f64; 3] {
    let n = rows.len().max(1) as f64;
    let mut sums = [0.0; 3];
    for row in rows {
        let (score, usd, is_passed) = row.at(config, threshold);
        let values = [score, usd, f64::from(u8::from(is_passed))];
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
    }
    sums.map(|sum| sum / n)
}

impl Method for MotCascade {
    const NAME: &'static str = "mot-cascade";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        params.check()?;
        let answers = context
            .answers
            .ok_or_else(|| fault("it has no answers, expected a column `answer` or `response`".to_owned()))?;
        let rule = Normalizer::named(&params.normalize).map_err(refused)?;
        let log = Log { context, answers, rule, reads: reading(answers) };
        let (chosen, variants) = log.models(params)?;
        let slice = validation::slice(context.train, context.seed, params.judged);
        let play = |rows: &[usize]| -> Vec<Played> {
            rows.iter().filter_map(|row| log.play(params, *row, chosen, &variants)).collect()
        };
        let (tried, held) = (play(&slice.fit), play(&slice.valid));
        if tried.len().min(held.len()) < 10 {
            let (n, samples) = (tried.len() + held.len(), params.samples);
            return Err(fault(format!(
                "{n} queries have `{samples}` scored and priced samples of each prompt and `{}` of the strong model, \
                 too few to choose by; see `samples` and `strong_samples`",
                params.strong_samples
            )));
        }
        let mut config = log.config(params, chosen, &variants);
        // Loose to strict; one threshold where the rule reads none.
        let mut thresholds = params.thresholds.clone();
        thresholds.sort_by(f64::total_cmp);
        if params.rule == AgreementRule::Verify {
            thresholds.truncate(1);
        }
        let mut metrics = BTreeMap::new();
        config.default = match params.promise() {
            None => default_threshold(params, &config, &thresholds, &tried),
            Some(promise) => {
                let losses = |threshold: &f64| {
                    Losses::of(held.iter().map(|row| row.strong.0 - row.at(&config, *threshold).0))
                };
                let found = promise
                    .keep(thresholds.iter().rev().map(losses))
                    .map_err(|refusal| fault(refusal.to_string()))?;
                metrics.extend(chain::told(promise, &found));
                thresholds.len() - 1 - found.at
            }
        };
        metrics.extend(judge(&mut config, &thresholds, &held));
        let text = |name: &String| params.prompts.get(name).cloned().unwrap_or_else(|| "{query}".to_owned());
        let prompts = variants.iter().flatten().map(|name| (name.clone(), text(name))).collect();
        let all = arms(context.train);
        let used = Params {
            weak: config.weak.clone(),
            strong: config.strong.clone(),
            variants: variants.into_iter().flatten().collect(),
            ..params.clone()
        };
        let program = Consistency::new(config, prompts, &all).map_err(|error| refused(error.to_string()))?;
        let mut fitted = Fitted::steps(Box::new(program), all.len(), &used);
        fitted.metrics = metrics;
        fitted.tuning = Some(Tuning { candidates: thresholds.len(), slices: 1 });
        Ok(fitted)
    }
}

/// Fills in what every threshold does on rows that chose none, and tells it of the default.
fn judge(config: &mut ConsistencyConfig, thresholds: &[f64], held: &[Played]) -> [(String, f64); 4] {
    let judged: Vec<[f64; 3]> = thresholds.iter().map(|threshold| means(held, config, *threshold)).collect();
    let point = |(threshold, [score, cost_usd, _]): (&f64, &[f64; 3])| SharePoint {
        threshold: *threshold,
        score: *score,
        cost_usd: *cost_usd,
    };
    config.points = thresholds.iter().zip(&judged).map(point).collect();
    let alone = held.iter().map(|row| row.strong.0).sum::<f64>() / held.len().max(1) as f64;
    let [score, usd, escalated] = judged[config.default];
    [("slice_score", score), ("slice_cost_usd", usd), ("escalated", escalated), ("strong_score", alone)]
        .map(|(name, value)| (name.to_owned(), value))
}

/// The best within the budget; without one the cheapest that keeps its share of the strong model's score; the strictest
/// where none does.
fn default_threshold(
    params: &Params,
    config: &ConsistencyConfig,
    thresholds: &[f64],
    rows: &[Played],
) -> usize {
    let found: Vec<[f64; 3]> = thresholds.iter().map(|threshold| means(rows, config, *threshold)).collect();
    let all = || 0..thresholds.len();
    let by = |place: usize| {
        move |found: &Vec<[f64; 3]>, a: usize, b: usize| found[a][place].total_cmp(&found[b][place])
    };
    let (by_score, by_cost) = (by(0), by(1));
    let chosen = if params.budget_usd > 0.0 {
        let within = all().filter(|at| found[*at][1] <= params.budget_usd);
        within
            .max_by(|a, b| by_score(&found, *a, *b))
            .or_else(|| all().min_by(|a, b| by_cost(&found, *a, *b)))
    } else {
        let keeps = |at: &usize| {
            let gap = |row: &Played| row.at(config, thresholds[*at]).0 - params.retain * row.strong.0;
            chain::lower_mean(rows.iter().map(gap), params.margin) >= -1e-12
        };
        all().filter(keeps).min_by(|a, b| by_cost(&found, *a, *b))
    };
    chosen.unwrap_or(thresholds.len() - 1)
}

#[cfg(test)]
mod tests;
