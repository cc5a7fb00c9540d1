//! LE-MCTS (arXiv 2412.15797): an answer is a chain of steps, each written by one of the members; a tree search
//! guided by a process reward looks for the best chain.
//!
//! A node is the prompt and some steps. The next step is written by one member, to the end of a line. Selection
//! is UCT ([`super::search`]); a new node is worth what the process reward ([`super::reward`]) says of its chain;
//! what is backed up is the greatest value of the children, not their mean: one good chain is enough. The
//! complete chain of greatest reward is the answer. Where the search found none that is complete, the best chain
//! goes on as its last member writes.
//!
//! There is no released code. What the paper leaves open is filled in so: 1. a node asks the members in turn. 2.
//! At temperature 0 a member has one step after a chain, so a node has at most as many children as there are
//! members. 3. A step that another member wrote already is no new child. 4. What is complete is closed: its
//! reward will not change. 5. A node that has room for another child keeps its own reward where that is greater.
//! 6. The process reward is any member that is asked for a verdict, not one model of a fixed kind.

use super::reward::{ProcessReward, Reward};
use super::search::{Backup, Tree};
use crate::backend::{Backend, Draft, NextTokens};
use crate::backends::writing::first_of;
use crate::fuse::{Fuser, Grain, MemberNeed, System, unfit};
use crate::generation::{FuseError, Generation, Unit};
use crate::trace::{Proposal, Step};
use std::sync::{Arc, Mutex, PoisonError};

/// Parameters of LE-MCTS.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Steps that are looked for in all.
    pub iterations: usize,
    /// How much UCT values what was seldom looked at.
    pub exploration: f64,
    /// Steps that are looked for after a chain.
    pub branch: usize,
    /// Steps of a chain at most.
    pub depth: usize,
    /// What ends a step; part of it.
    pub delimiter: String,
    /// Tokens of a step at most.
    pub tokens: usize,
    /// Tokens that are written in all at most; 0 for no limit.
    pub tokens_in_all: usize,
    /// What a node's value is made of.
    pub backup: Backup,
    /// What a chain is worth.
    pub reward: Reward,
    /// Names of the members that write; all where empty.
    pub writers: Vec<String>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            iterations: 64,
            exploration: 0.5,
            branch: 3,
            depth: 16,
            delimiter: "\n".to_owned(),
            tokens: 64,
            tokens_in_all: 0,
            backup: Backup::Max,
            reward: Reward::default(),
            writers: Vec::new(),
        }
    }
}

/// The system.
#[derive(Debug)]
pub struct LeMcts {
    params: Params,
    reward: Box<dyn ProcessReward>,
    writers: Vec<usize>,
}

/// One step of a chain.
#[derive(Debug, Clone, Default)]
struct Thought {
    member: usize,
    text: Vec<u8>,
    ids: Vec<u32>,
    ends: bool,
    /// It ends the answer, or a stop string does.
    complete: bool,
}

impl System for LeMcts {
    const NAME: &'static str = "le-mcts";
    const TITLE: &'static str = "steps by any member, searched as a tree guided by a process reward";
    const PAPER: Option<&'static str> = Some("2412.15797");
    const GRAIN: Grain = Grain::Process;
    const NEEDS: &'static [MemberNeed] = &[MemberNeed::Next(NextTokens::None)];
    type Params = Params;

    fn build(params: Params, backends: &[Arc<dyn Backend>]) -> Result<Self, FuseError> {
        let known = |name: &String| backends.iter().any(|backend| backend.name() == name);
        let judge = match &params.reward {
            Reward::Verdict(verdict) if !verdict.judge.is_empty() => Some(&verdict.judge),
            _ => None,
        };
        if let Some(name) = params.writers.iter().chain(judge).find(|name| !known(name)) {
            return Err(unfit::<Self>(&format!("there is no member `{name}` to write or judge")));
        }
        let asked = |backend: &&Arc<dyn Backend>| judge.is_none_or(|judge| backend.name() == judge);
        let mute = backends.iter().filter(asked).find(|backend| !backend.capabilities().scoring);
        if let Some(backend) = mute.filter(|_| params.reward.scores()) {
            let name = backend.name();
            return Err(unfit::<Self>(&format!(
                "its reward asks member `{name}`, which gives no log-probabilities of given texts"
            )));
        }
        let reward = params.reward.clone().open();
        Self::with_reward(params, reward, backends)
    }
}

impl LeMcts {
    /// The search with a process reward of the caller's; that of the parameters is not looked at.
    ///
    /// # Errors
    /// If a parameter is out of range.
    pub fn with_reward(
        params: Params,
        reward: Box<dyn ProcessReward>,
        backends: &[Arc<dyn Backend>],
    ) -> Result<Self, FuseError> {
        let Params { iterations, branch, depth, tokens, exploration, delimiter, .. } = &params;
        if [iterations, branch, depth, tokens].contains(&&0) || delimiter.is_empty() {
            let reason =
                "`iterations`, `branch`, `depth` and `tokens` must be at least 1, `delimiter` some text";
            return Err(unfit::<Self>(reason));
        }
        if !(*exploration >= 0.0 && exploration.is_finite()) {
            return Err(unfit::<Self>(&format!(
                "`exploration` is `{exploration}`; numbers of at least 0 are accepted"
            )));
        }
        let writes = |at: &usize| {
            params.writers.is_empty() || params.writers.iter().any(|name| name == backends[*at].name())
        };
        let writers = (0..backends.len()).filter(writes).collect();
        Ok(Self { params, reward, writers })
    }
}

impl Fuser for LeMcts {
    fn fuse(&self, generation: &mut Generation<'_>) -> Result<(), FuseError> {
        let greedy = generation.picking().temperature <= 0.0;
        let branch = if greedy { self.params.branch.min(self.writers.len()) } else { self.params.branch };
        let root = Thought::default();
        let mut tree = Tree::new(root, self.params.backup, self.params.exploration, branch);
        let mut tokens = 0;
        for _ in 0..self.params.iterations {
            let spent = self.params.tokens_in_all > 0 && tokens >= self.params.tokens_in_all;
            if spent || generation.is_over()? {
                break;
            }
            let Some(at) = tree.select() else { break };
            tokens += self.expand(generation, &mut tree, at)?;
        }
        self.answer(generation, &tree)
    }
}

impl LeMcts {
    /// Looks for one step after a chain; how many tokens were written.
    fn expand(
        &self,
        generation: &mut Generation<'_>,
        tree: &mut Tree<Thought>,
        at: usize,
    ) -> Result<usize, FuseError> {
        let path = tree.path(at);
        let chain: Vec<u8> = path.iter().flat_map(|node| tree.nodes()[*node].content.text.clone()).collect();
        let writer = self.writers[tree.nodes()[at].tries % self.writers.len()];
        let Some((thought, tokens)) = self.think(generation, writer, &chain)? else {
            tree.add(at, None);
            return Ok(0);
        };
        let mut siblings = tree.nodes()[at].children.iter().map(|child| &tree.nodes()[*child].content);
        let is_known = siblings.any(|s| s.text == thought.text && s.ends == thought.ends);
        if is_known || thought.text.is_empty() && !thought.ends {
            tree.add(at, None);
            return Ok(tokens);
        }
        let chain = [&chain[..], &thought.text].concat();
        let reward = self.reward.reward(generation, &chain, thought.ends)?;
        let long = path.len() + 1 >= self.params.depth.min(generation.limits().steps);
        let last = thought.complete || long || chain.len() >= generation.limits().bytes;
        tree.add(at, Some((thought, reward, last)));
        Ok(tokens)
    }

    /// A step that a member writes after a chain; none where it was dropped or the chain fills all it reads.
    fn think(
        &self,
        generation: &mut Generation<'_>,
        writer: usize,
        chain: &[u8],
    ) -> Result<Option<(Thought, usize)>, FuseError> {
        let pick = generation.picking();
        let (temperature, top_p) = (pick.temperature, pick.top_p);
        let draft = Draft { tokens: self.params.tokens, stop: Vec::new(), temperature, top_p };
        let delimiter = std::slice::from_ref(&self.params.delimiter).iter().map(|d| d.clone().into_bytes());
        let delimiter: Vec<Vec<u8>> = delimiter.collect();
        let rng = Mutex::new(generation.streams().swap_remove(writer));
        let written = generation.ask_some(
            |at| at == writer,
            |_, member| {
                let mut rng = rng.lock().unwrap_or_else(PoisonError::into_inner);
                let missing = |text: &[u8], _: usize| usize::from(first_of(text, &delimiter).is_none());
                match member.after(chain, |member| member.propose(&draft, missing, &mut *rng)) {
                    Err(error) if error.is_full() => Ok(None),
                    proposed => proposed.map(Some),
                }
            },
        )?;
        let Some(proposed) = written.into_iter().flatten().flatten().next() else { return Ok(None) };
        let stops: Vec<Vec<u8>> = generation.limits().stop.iter().map(|s| s.clone().into_bytes()).collect();
        let mut thought =
            Thought { member: writer, text: proposed.text, ids: proposed.ids, ..Thought::default() };
        thought.ends = proposed.ends;
        if let Some(at) = first_of(&thought.text, &delimiter) {
            let end = at + self.params.delimiter.len();
            thought.ends &= end == thought.text.len();
            thought.text.truncate(end);
        }
        let stopped = first_of(&[chain, &thought.text].concat(), &stops).is_some();
        thought.complete = thought.ends || stopped;
        Ok(Some((thought, proposed.tokens)))
    }

    /// Commits the best chain, and goes on with it where it is not complete.
    fn answer(&self, generation: &mut Generation<'_>, tree: &Tree<Thought>) -> Result<(), FuseError> {
        let rank = |at: &usize| {
            let node = &tree.nodes()[*at];
            (node.content.complete, node.reward)
        };
        let better = |a: &usize, b: &usize| {
            let ((a_complete, a_reward), (b_complete, b_reward)) = (rank(a), rank(b));
            a_complete.cmp(&b_complete).then(a_reward.total_cmp(&b_reward)).then(b.cmp(a))
        };
        let leaves = (1..tree.nodes().len()).filter(|at| tree.nodes()[*at].children.is_empty());
        let Some(best) = leaves.max_by(better) else {
            generation.cut_short();
            return Ok(());
        };
        for at in tree.path(best) {
            let siblings = tree.nodes()[tree.nodes()[at].parent.unwrap_or(0)].children.iter();
            let proposals = siblings.map(|sibling| {
                let node = &tree.nodes()[*sibling];
                let Thought { member, text, ends, .. } = node.content.clone();
                Proposal { member, text, ends, scores: Vec::new(), merit: node.value as f32 }
            });
            let step = Step { proposals: proposals.collect(), ..Step::default() };
            take(generation, &tree.nodes()[at].content, step);
        }
        let last = &tree.nodes()[best].content;
        let mut complete = last.complete;
        while !complete && !generation.is_over()? {
            let alive = |at: &usize| generation.members()[*at].is_some();
            let mut able = [last.member].into_iter().chain(self.writers.iter().copied());
            let Some(writer) = able.find(alive) else { break };
            match self.think(generation, writer, b"")? {
                Some((thought, _)) if thought.ends || !thought.text.is_empty() => {
                    complete = thought.complete;
                    take(generation, &thought, Step::default());
                }
                // No room is left to go on in.
                _ => {
                    generation.cut_short();
                    break;
                }
            }
        }
        Ok(())
    }
}

fn take(generation: &mut Generation<'_>, thought: &Thought, step: Step) {
    let winner = Some(thought.member);
    if thought.text.is_empty() {
        return generation.commit(Unit::End, &[], Step { winner, ..step });
    }
    generation.commit_written(&thought.text, thought.member, &thought.ids, step);
    if thought.ends {
        generation.commit(Unit::End, &[], Step { winner, ..Step::default() });
    }
}
