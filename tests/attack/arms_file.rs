//! The file of arms that a policy which learns follows: read, checked and applied as a server does it.

use crate::artifact;
use crate::harness::{Parts, Target, Verdict, attack, refused_in};
use crate::random::{Rng, below, one_in, pick};
use crate::scratch::Scratch;
use crate::text;
use crate::toml_files::damaged;
use routewright_policy::{Policy, artifact as stored};
use routewright_policy_server::check_arms_file;
use std::collections::BTreeSet;

const FILE: &str = "[arms.\"model-0\"]\ncost_usd = 0.0004\nlatency_ms = 900.0\ntags = ['eu', 'fast']\n\
    [arms.\"model-1\"]\nremoved = true\n[arms.\"org/new-1\"]\ncost_usd = 0.01\nquality = 0.5\nweight = 20.0\n\
    [arms.new2]\nquality = 0.25\nremoved = false\n";

struct Arms {
    scratch: Scratch,
    /// Policies that learn.
    policies: Vec<Policy>,
}

impl Target for Arms {
    const NAME: &'static str = "arms-file";
    const CASES: u64 = 4000;
    /// A learner keeps a matrix for each of up to 256 arms, and is copied to try a change.
    const MEMORY: usize = 48 << 20;

    fn input(&mut self, rng: &mut Rng) -> Parts {
        let policy = below(rng, self.policies.len());
        let first = &self.policies[policy].arms[0].model;
        let mut file = FILE.replace("model-0", first);
        if one_in(rng, 10) {
            file = (0..below(rng, 300)).map(|n| format!("[arms.a{n}]\ncost_usd = 0.1\n")).collect();
        }
        if one_in(rng, 10) {
            file.push_str(&format!("[arms.{:?}]\nquality = {}\n", text::any(rng), text::number(rng)));
        }
        let bytes = if one_in(rng, 20) { file.into_bytes() } else { damaged(&file, rng) };
        let range = *pick(rng, &["0 1", "-1 1", "0 1000000"]);
        vec![
            ("arms.toml".to_owned(), bytes),
            ("policy.txt".to_owned(), format!("{policy} {range}").into_bytes()),
        ]
    }

    fn feed(&mut self, parts: &Parts) -> Result<Verdict, String> {
        let path = self.scratch.write("arms.toml", &parts[0].1);
        let numbers = String::from_utf8_lossy(&parts[1].1);
        let mut numbers = numbers.split(' ').filter_map(|number| number.parse::<f64>().ok());
        let mut next = || numbers.next().unwrap_or_default();
        let policy = &self.policies[next() as usize % self.policies.len()];
        let range = [next(), next()];
        let arms = match check_arms_file(&path, policy, range) {
            Ok(arms) => arms,
            // What is checked is applied: nothing is half in force.
            Err(words) if words.contains("cannot be taken in") => return Err(words),
            Err(words) => return refused_in(&words, parts),
        };
        let names: BTreeSet<&str> = arms.iter().map(|arm| arm.model.as_str()).collect();
        let is_left = arms.iter().any(|arm| !arm.retired);
        let are_kept = policy.arms.iter().zip(&arms).all(|(before, now)| before.model == now.model);
        let prices = arms.iter().filter_map(|arm| arm.price.mean_cost_usd);
        if names.len() != arms.len()
            || !is_left
            || !are_kept
            || prices.clone().any(|p| !(0.0..=1e6).contains(&p))
        {
            return Err(format!("the arms are {arms:?}"));
        }
        Ok(Verdict::Accepted)
    }
}

#[test]
#[ignore = "a policy of comparisons refits up to 2,048 coefficients for each file: minutes in a dev build"]
fn files_of_arms() {
    let scratch = Scratch::new();
    let learns = |parts: Parts| {
        let policy = stored::load(&scratch.write_all("policy", &parts)).unwrap();
        let router = policy.router().ok()?;
        router.predictor.learner().is_some().then_some(policy)
    };
    let policies: Vec<Policy> = artifact::wholes(&scratch).into_iter().filter_map(learns).collect();
    assert!(policies.len() > 2, "{} policies learn", policies.len());
    attack(Arms { scratch, policies });
}
