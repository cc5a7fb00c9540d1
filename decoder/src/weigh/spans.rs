//! Weights set at every span by a chooser (RLAE, arXiv 2506.00439).
//!
//! A span is decoded once, with the weights chosen for it where it begins; nothing is decoded again.

use super::{View, Weigher, Weights};
use crate::generation::FuseError;
use routewright_policy::env::{Choice, Chooser, SpanRule, State};

/// Weights over one answer, a choice a span.
pub struct SpanWeights<'a> {
    rule: SpanRule,
    chooser: Box<dyn Chooser + 'a>,
    choice: Option<Choice>,
    /// Spans begun.
    spans: usize,
    /// Units of the present span.
    units: usize,
    /// Where the present span begins in the answer.
    start: usize,
}

impl std::fmt::Debug for SpanWeights<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpanWeights")
            .field("rule", &self.rule)
            .field("spans", &self.spans)
            .finish_non_exhaustive()
    }
}

impl<'a> SpanWeights<'a> {
    /// Spans that end as `rule` says, with weights of `chooser`.
    pub fn new(rule: SpanRule, chooser: Box<dyn Chooser + 'a>) -> Self {
        Self { rule, chooser, choice: None, spans: 0, units: 0, start: 0 }
    }

    fn is_over(&self, text: &[u8]) -> bool {
        let span = text.get(self.start..).unwrap_or_default();
        let ends = |mark: &String| {
            !mark.is_empty() && span.windows(mark.len()).any(|window| window == mark.as_bytes())
        };
        self.units >= self.rule.units.max(1) || self.rule.marks.iter().any(ends)
    }
}

impl Weigher for SpanWeights<'_> {
    fn weigh(&mut self, view: &View<'_>) -> Result<Weights, FuseError> {
        if self.choice.is_none() || self.is_over(view.text) {
            let (prompt, text) = (String::from_utf8_lossy(view.prompt), String::from_utf8_lossy(view.text));
            let state = State { prompt: &prompt, text: &text, span: self.spans };
            let choice = self
                .chooser
                .choose(&state)
                .map_err(|reason| FuseError::Weights { span: self.spans, reason })?;
            if choice.weights.len() != view.aligned.mass.len() {
                let (found, members) = (choice.weights.len(), view.aligned.mass.len());
                let reason = format!("there are {found} for {members} members");
                return Err(FuseError::Weights { span: self.spans, reason });
            }
            self.choice = Some(choice);
            (self.spans, self.units, self.start) = (self.spans + 1, 0, view.text.len());
        }
        self.units += 1;
        let Some(choice) = &self.choice else { return Ok(Weights::default()) };
        Ok(Weights {
            values: choice.weights.clone(),
            span: Some(self.spans - 1),
            log_density: choice.log_density,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::align::Aligned;
    use std::borrow::Cow;

    /// Says which span it is.
    struct Counter(Vec<String>);

    impl Chooser for Counter {
        fn choose(&mut self, state: &State<'_>) -> Result<Choice, String> {
            self.0.push(format!("{}|{}|{}", state.prompt, state.text, state.span));
            let first = state.span as f32;
            Ok(Choice { weights: vec![first, 1.0], log_density: Some(-1.0) })
        }
    }

    #[test]
    fn a_choice_holds_for_a_span_and_marks_end_it() {
        let mut counter = Counter(Vec::new());
        let rule = SpanRule { units: 3, marks: vec![";".to_owned()] };
        let mut weigher = SpanWeights::new(rule, Box::new(&mut counter));
        let texts = ["", "a", "ab", "abc", "abc;", "abc;d"];
        let mut spans = Vec::new();
        for text in texts {
            let units: Vec<Box<[u8]>> = vec![Box::default()];
            let aligned = Aligned::listed(Cow::Owned(units), vec![None, None]);
            let view = View { step: 0, prompt: b"p", text: text.as_bytes(), told: &[], aligned: &aligned };
            let weights = weigher.weigh(&view).unwrap();
            assert_eq!(weights.values[0], weights.span.unwrap() as f32);
            assert_eq!(weights.log_density, Some(-1.0));
            spans.push(weights.span.unwrap());
        }
        drop(weigher);
        assert_eq!(spans, [0, 0, 0, 1, 2, 2]);
        assert_eq!(counter.0, ["p||0", "p|abc|1", "p|abc;|2"]);
    }
}
