use super::actor::{ActorCritic, Batch, Bound, Played};
use super::trajectory::advantages;
use super::*;
use crate::progress::Silent;
use rand::RngExt as _;
use routewright_data::features::{FeatureInput, Featurizer as _, State};
use routewright_data::rng;
use routewright_policy::env::{Chooser, Environment, Outcome};
use routewright_policy::simplex::OverWeights;

/// Two members; a prompt names, segment by segment, who is right: the answer is right if every span is led by him.
#[derive(Debug)]
struct Orders(Vec<String>);

impl Orders {
    fn new(n: usize) -> Self {
        let mut rng = rng::stream(7, "orders");
        let prompt = |_| {
            let words: Vec<&str> = (0..3).map(|_| if rng.random::<bool>() { "one" } else { "two" }).collect();
            words.join(";")
        };
        Self((0..n).map(prompt).collect())
    }
}

impl Environment for Orders {
    fn members(&self) -> Vec<String> {
        vec!["one".to_owned(), "two".to_owned()]
    }

    fn n_tasks(&self) -> usize {
        self.0.len()
    }

    fn play(&self, task: usize, _seed: u64, chooser: &mut dyn Chooser) -> Result<Outcome, String> {
        let prompt = &self.0[task];
        let mut text = String::new();
        let mut right = true;
        for (span, name) in prompt.split(';').enumerate() {
            let weights = chooser.choose(&State { prompt, text: &text, span })?.weights;
            right &= (weights[0] > weights[1]) == (name == "one");
            text.push_str("x;");
        }
        Ok(Outcome { reward: f32::from(u8::from(right)), calls: 6 })
    }
}

fn quick(agents: Agents) -> Params {
    Params { agents, rounds: 40, episodes: 64, width: 16, spans: 4, hidden: vec![16], ..Params::default() }
}

fn worth(params: &Params) -> f32 {
    let orders = Orders::new(80);
    let (tasks, valid): (Vec<usize>, Vec<usize>) = ((0..60).collect(), (60..80).collect());
    let learned = train(params, &orders, [&tasks, &valid], 1, &Silent, None).unwrap();
    learned.curve.iter().map(|point| point.valid).fold(0.0, f32::max)
}

#[test]
fn every_kind_of_agent_learns_weights_that_follow_the_text() {
    for (agents, action) in [
        (Agents::One, Action::Dirichlet),
        (Agents::One, Action::Gaussian),
        (Agents::Joint, Action::Dirichlet),
        (Agents::Independent, Action::Gaussian),
    ] {
        // Weights that stay are right on an eighth of the orders, chance on an eighth.
        let worth = worth(&Params { action, ..quick(agents) });
        assert!(worth > 0.9, "{agents:?} {action:?}: {worth}");
    }
}

#[test]
fn who_sees_the_prompt_alone_does_worse_where_spans_say_nothing() {
    // One entry for all spans: the prompt says who is right, but not how far the answer has come.
    let blind = Params { sight: Sight::Prompt, spans: 1, ..quick(Agents::One) };
    assert!(worth(&blind) < 0.6);
}

#[test]
fn a_killed_run_goes_on_to_the_same_weights() {
    let (orders, dir) = (Orders::new(20), tempfile::tempdir().unwrap());
    let (tasks, valid): (Vec<usize>, Vec<usize>) = ((0..15).collect(), (15..20).collect());
    let params = Params { rounds: 6, every: 2, ..quick(Agents::One) };
    let run = |params: &Params, folder| train(params, &orders, [&tasks, &valid], 1, &Silent, folder);
    let whole = run(&params, None).unwrap();
    let error = {
        // The third judgement cannot be kept: the run ends as if it had been killed.
        let stopped = Stop(&orders, std::sync::atomic::AtomicUsize::new(0));
        train(&params, &stopped, [&tasks, &valid], 1, &Silent, Some(dir.path())).unwrap_err()
    };
    assert!(error.to_string().contains("killed"), "{error}");
    let resumed = run(&params, Some(dir.path())).unwrap();
    assert_eq!(resumed.form, whole.form);
    assert_eq!(resumed.curve, whole.curve);
    let other = Params { rate: 1e-3, ..params };
    assert!(run(&other, Some(dir.path())).unwrap_err().to_string().contains("another"));
}

/// Fails after some answers.
#[derive(Debug)]
struct Stop<'a>(&'a Orders, std::sync::atomic::AtomicUsize);

impl Environment for Stop<'_> {
    fn members(&self) -> Vec<String> {
        self.0.members()
    }

    fn n_tasks(&self) -> usize {
        self.0.n_tasks()
    }

    fn play(&self, task: usize, seed: u64, chooser: &mut dyn Chooser) -> Result<Outcome, String> {
        if self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 64 * 4 {
            return Err("killed".to_owned());
        }
        self.0.play(task, seed, chooser)
    }
}

#[test]
fn a_log_of_drawn_weights_teaches_what_play_teaches() {
    let orders = Orders::new(600);
    let flat = OverWeights::Dirichlet(vec![1.0, 1.0]);
    let mut rng = rng::stream(2, "log");
    let mut answers = Vec::new();
    struct Logger<'a>(&'a OverWeights, &'a mut rng::Rng, Vec<LoggedSpan>);
    impl Chooser for Logger<'_> {
        fn choose(&mut self, state: &State<'_>) -> Result<routewright_policy::env::Choice, String> {
            let drawn = self.0.draw(self.1);
            let (weights, log_density) = (drawn.weights.clone(), drawn.log_density);
            self.2.push(LoggedSpan { state: state.to_text(), weights, log_density });
            Ok(routewright_policy::env::Choice { weights: drawn.weights, log_density: Some(log_density) })
        }
    }
    for task in 0..600 {
        let mut logger = Logger(&flat, &mut rng, Vec::new());
        let outcome = orders.play(task, 0, &mut logger).unwrap();
        answers.push((logger.2, outcome.reward));
    }
    let lesson = learn_from_log(&quick(Agents::One), &answers, 2, 1, &Silent).unwrap();
    assert!(lesson.estimated > lesson.logged + 0.2, "{} {}", lesson.logged, lesson.estimated);
    let featurizer = quick(Agents::One).featurizer().unwrap();
    let state = |text| State { prompt: "one;two;one", text, span: 0 }.to_text();
    for (text, first) in [("", true), ("x;", false)] {
        let features = featurizer.featurize(&[FeatureInput::from(&*state(text))]).unwrap();
        let weights = lesson.form.over_weights(features.row(0)).center();
        assert_eq!(weights[0] > weights[1], first, "{text:?}: {weights:?}");
    }
    let independent = learn_from_log(&quick(Agents::Independent), &answers, 2, 1, &Silent);
    assert!(independent.unwrap_err().to_string().contains("independent"));
}

#[test]
fn advantages_worked_out_by_hand() {
    // gamma 0.5, lambda 0.5: delta_1 = 1 - 0.4 = 0.6; delta_0 = 0.5 * 0.4 - 0.2 = 0; A_0 = 0 + 0.25 * 0.6.
    let (a, r) = advantages(&[0.2, 0.4], 1.0, 0.5, 0.5);
    assert!((a[0] - 0.15).abs() < 1e-6 && (a[1] - 0.6).abs() < 1e-6, "{a:?}");
    assert!((r[0] - 0.35).abs() < 1e-6 && (r[1] - 1.0).abs() < 1e-6, "{r:?}");
}

/// The loss of which the networks' gradient is the gradient, one span at a time.
fn loss(params: &Params, outputs: &[f32], span: &Played, advantage: f64, clip: f64) -> f64 {
    let independent = params.agents == Agents::Independent;
    let action = if independent { Action::Gaussian } else { params.action };
    let over = OverWeights::of(action, outputs, params.sd[0]);
    let surrogate = |ratio: f64| (ratio * advantage).min(ratio.clamp(1.0 - clip, 1.0 + clip) * advantage);
    let push = if independent {
        let variance = f64::from(params.sd[0]).powi(2);
        let one = |at: usize| {
            let off = |mean: f32| f64::from(span.logits[at] - mean).powi(2) / (2.0 * variance);
            surrogate((off(span.means[at]) - off(outputs[at])).exp())
        };
        (0..outputs.len()).map(one).sum()
    } else {
        surrogate((over.log_density(&span.weights) - span.log_density).exp())
    };
    -push - f64::from(params.entropy) * over.entropy().0
}

#[test]
fn the_gradient_is_the_slope_of_the_loss() {
    for (agents, action) in [
        (Agents::One, Action::Dirichlet),
        (Agents::Joint, Action::Gaussian),
        (Agents::Independent, Action::Gaussian),
    ] {
        let params = Params { entropy: 0.1, ..Params { action, ..quick(agents) } };
        let networks = ActorCritic::new(&params, 4, 3, 1);
        let outputs = [0.3_f32, -0.4, 0.8];
        let span = Played {
            features: vec![0.0; 4],
            weights: vec![0.2, 0.3, 0.5],
            logits: vec![0.1, 0.2, 0.9],
            log_density: 0.5,
            means: vec![0.2, -0.1, 0.7],
        };
        for advantage in [0.7_f32, -1.2] {
            let batch = Batch { spans: &[&span], advantages: &[advantage] };
            let gradient = networks.gradient(&outputs, batch, Bound::Clip(5.0), params.entropy);
            for at in 0..3 {
                let shifted = |by: f32| {
                    let mut outputs = outputs;
                    outputs[at] += by;
                    loss(&params, &outputs, &span, f64::from(advantage), 5.0)
                };
                let slope = (shifted(1e-2) - shifted(-1e-2)) / 2e-2;
                assert!((f64::from(gradient[at]) - slope).abs() < 5e-3, "{agents:?} {gradient:?} {slope}");
            }
        }
    }
}
