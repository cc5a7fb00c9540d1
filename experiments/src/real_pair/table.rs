//! Answers to one prompt in every way that is compared, over one tree of texts.
//!
//! A node is what both members say after some tokens, brought into the union of their vocabularies once. A way to
//! answer ([`Rule`]) chooses a unit at every node; ways that agree so far share their nodes. A blank ends before a full
//! stop or a line break, at the end of the answer, or after [`UNITS`] units, in spans of [`SPAN`].

use anyhow::Context as _;
use routewright_data::rng;
use routewright_decoder::align::{Align, Aligned, END, Space, Union, own};
use routewright_decoder::backend::{Backend, Stop};
use routewright_decoder::distribution::Distribution;
use routewright_decoder::member::Member;
use routewright_decoder::pick::Pick;
use routewright_decoder::pool::Pool;
use routewright_decoder::token::state::state;
use routewright_decoder::vocabulary::Vocabulary;
use routewright_decoder::weigh::among;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// Units of a filling at most.
pub const UNITS: usize = 6;
/// Units of a span; the weights may change after each span.
pub const SPAN: usize = 2;

/// What both members say at a place.
#[derive(Debug)]
pub struct Node<'a> {
    /// In their own tokens.
    pub told: Vec<Option<Distribution>>,
    /// Over the units they share.
    pub aligned: Aligned<'a>,
}

impl Node<'_> {
    /// The unit of most mass after pooling with `weights`.
    pub fn unit(&self, pool: Pool, weights: &[f32]) -> Option<usize> {
        // Confidences may sum to anything.
        let weights = among(weights, &[true, true]);
        if let Some(alone) = weights.iter().position(|weight| *weight >= 1.0) {
            return self.aligned.best(alone);
        }
        Pick::default().pick(&pool.of(&self.aligned, &weights)?, &mut rng::stream(0, "none"))
    }

    /// A number of what each member says.
    fn weights(&self, of: impl Fn(&Distribution) -> f32) -> Vec<f32> {
        self.told.iter().map(|told| told.as_ref().map_or(0.0, &of)).collect()
    }
}

/// A blank that is being filled.
#[derive(Debug)]
pub struct Place {
    members: Vec<Member>,
    /// What is in the blank so far.
    pub text: Vec<u8>,
    /// Units so far.
    pub units: usize,
    /// The blank is filled.
    pub over: bool,
    /// Times each member was asked for what comes next.
    pub asked: [u64; 2],
}

impl Place {
    /// What is in the blank.
    pub fn answer(&self) -> String {
        String::from_utf8_lossy(&self.text).into_owned()
    }
}

/// The tree of one prompt.
#[derive(Debug)]
pub struct Table<'a> {
    union: &'a Union,
    stop: Stop,
    nodes: HashMap<Vec<Vec<u32>>, Rc<Node<'a>>>,
}

/// The union of the members' vocabularies.
///
/// # Errors
/// If one declares no tokenizer.
pub fn union(backends: &[Arc<dyn Backend>]) -> anyhow::Result<Union> {
    let vocabularies: Option<Vec<&Vocabulary>> =
        backends.iter().map(|backend| Some(backend.tokenizer()?.vocabulary())).collect();
    Ok(Union::new(Space::union(&vocabularies.context("a member declares no tokenizer")?)))
}

impl<'a> Table<'a> {
    /// A tree of which nothing is known.
    pub fn new(union: &'a Union) -> Self {
        Self { union, stop: Stop::default(), nodes: HashMap::new() }
    }

    /// The place where an answer begins.
    ///
    /// # Errors
    /// If a model fails.
    pub fn begin(&self, backends: &[Arc<dyn Backend>], prompt: &str) -> anyhow::Result<Place> {
        let member = |backend: &Arc<dyn Backend>| {
            Ok(Member::new(backend.name(), backend.open(prompt.as_bytes(), &self.stop)?))
        };
        let members = backends.iter().map(member).collect::<anyhow::Result<_>>()?;
        Ok(Place { members, text: Vec::new(), units: 0, over: false, asked: [0; 2] })
    }

    /// Nodes so far.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether nothing was asked yet.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// What the members say at a place.
    ///
    /// # Errors
    /// If a model fails.
    pub fn node(&mut self, place: &mut Place) -> anyhow::Result<Rc<Node<'a>>> {
        let mut ids = Vec::new();
        for member in &mut place.members {
            ids.push(member.session()?.ids().to_vec());
        }
        if let Some(node) = self.nodes.get(&ids) {
            return Ok(node.clone());
        }
        let told = place.members.iter_mut().map(Member::next).collect::<Result<Vec<_>, _>>()?;
        let told: Vec<Option<Distribution>> = told.into_iter().map(Some).collect();
        let aligned = self.union.align(&mut [], &told)?;
        let node = Rc::new(Node { told, aligned });
        self.nodes.insert(ids, node.clone());
        Ok(node)
    }

    /// The place after `unit`, which was chosen at `node`.
    ///
    /// # Errors
    /// If a model fails.
    pub fn after(&self, place: &mut Place, node: &Node<'_>, unit: Option<usize>) -> anyhow::Result<Place> {
        let mut next = self.copy(place)?;
        self.push(&mut next, node, unit);
        Ok(next)
    }

    /// A second writer at the same place.
    ///
    /// # Errors
    /// If a model fails.
    pub fn copy(&self, place: &mut Place) -> anyhow::Result<Place> {
        let members = place.members.iter_mut().map(Member::fork).collect::<Result<_, _>>()?;
        let Place { text, units, over, asked, .. } = &*place;
        Ok(Place { members, text: text.clone(), units: *units, over: *over, asked: *asked })
    }

    /// Writes `unit` at a place.
    pub fn push(&self, place: &mut Place, node: &Node<'_>, unit: Option<usize>) {
        let Some(bytes) = unit.filter(|unit| *unit != END).map(|unit| &*node.aligned.units[unit]) else {
            place.over = true;
            return;
        };
        if let Some(end) = bytes.iter().position(|byte| b".\n".contains(byte)) {
            place.text.extend_from_slice(&bytes[..end]);
            place.over = true;
            return;
        }
        for (member, told) in place.members.iter_mut().zip(&node.told) {
            let own = told.as_ref().and_then(|told| own(member, told, bytes));
            member.commit(bytes, own);
        }
        place.text.extend_from_slice(bytes);
        place.units += 1;
        place.over = place.units >= UNITS;
    }

    /// Fills the blank as `rule` chooses.
    ///
    /// # Errors
    /// If a model fails.
    pub fn fill(&mut self, place: &mut Place, rule: &mut dyn Rule) -> anyhow::Result<()> {
        while !place.over {
            let node = self.node(place)?;
            let choice = rule.choose(&node, place);
            place.asked.iter_mut().zip(choice.asked).for_each(|(sum, asked)| *sum += u64::from(asked));
            self.push(place, &node, choice.unit);
        }
        Ok(())
    }

    /// Where a span ends with each of `grid` as weight of the first member: different places once, and which of them
    /// each weight leads to.
    ///
    /// # Errors
    /// If a model fails.
    pub fn spans(&mut self, place: &mut Place, grid: &[f32]) -> anyhow::Result<(Vec<Place>, Vec<usize>)> {
        let mut ends = Vec::new();
        let mut leads = vec![0; grid.len()];
        let mut open = vec![(self.copy(place)?, (0..grid.len()).collect::<Vec<usize>>())];
        while let Some((mut here, which)) = open.pop() {
            if here.over || here.units >= place.units + SPAN {
                // Other tokens may have come to the same text.
                let same = |end: &Place| end.text == here.text && end.over == here.over;
                let known = ends.iter().position(same);
                which.iter().for_each(|at| leads[*at] = known.unwrap_or(ends.len()));
                if known.is_none() {
                    ends.push(here);
                }
                continue;
            }
            let node = self.node(&mut here)?;
            let mut by_unit: Vec<(Option<usize>, Vec<usize>)> = Vec::new();
            for at in which {
                let unit = node.unit(Pool::Linear, &[grid[at], 1.0 - grid[at]]);
                match by_unit.iter_mut().find(|(known, _)| *known == unit) {
                    Some((_, which)) => which.push(at),
                    None => by_unit.push((unit, vec![at])),
                }
            }
            for (unit, which) in by_unit {
                let mut next = self.after(&mut here, &node, unit)?;
                next.asked.iter_mut().for_each(|asked| *asked += 1);
                open.push((next, which));
            }
        }
        Ok((ends, leads))
    }

    /// The state at a place: eight numbers of what each member says, the probability each gives what the other would
    /// say, and the hidden states.
    ///
    /// # Errors
    /// If a model fails.
    pub fn state(&mut self, place: &mut Place) -> anyhow::Result<(Vec<f32>, Vec<f32>)> {
        let node = self.node(place)?;
        let (mut numbers, mut hidden) = (Vec::new(), Vec::new());
        for (member, told) in place.members.iter_mut().zip(node.told.iter().flatten()) {
            numbers.extend(state(member, told, place.units, false)?);
            hidden.extend(member.hidden()?);
        }
        for (own, other) in [(0, 1), (1, 0)] {
            let unit = node.aligned.best(own);
            numbers.push(unit.and_then(|unit| Some(node.aligned.mass[other].as_ref()?[unit])).unwrap_or(0.0));
        }
        Ok((numbers, hidden))
    }
}

/// What a rule chose.
#[derive(Debug, Clone, Copy)]
pub struct Chosen {
    /// The unit; `None` where there is none.
    pub unit: Option<usize>,
    /// The members it had to ask.
    pub asked: [bool; 2],
}

/// A way to answer.
pub trait Rule {
    /// The unit at a node.
    fn choose(&mut self, node: &Node<'_>, place: &Place) -> Chosen;
}

/// Weights that stay.
#[derive(Debug, Clone, Copy)]
pub struct Static(pub Pool, pub [f32; 2]);

impl Rule for Static {
    fn choose(&mut self, node: &Node<'_>, _: &Place) -> Chosen {
        let asked = self.1.map(|weight| weight > 0.0);
        Chosen { unit: node.unit(self.0, &self.1), asked }
    }
}

/// Each member weighs what it is sure of its most probable token.
#[derive(Debug, Clone, Copy)]
pub struct Confidence;

impl Rule for Confidence {
    fn choose(&mut self, node: &Node<'_>, _: &Place) -> Chosen {
        let weights = node.weights(|told| told.best().1.exp());
        Chosen { unit: node.unit(Pool::Linear, &weights), asked: [true; 2] }
    }
}

/// Each member weighs `exp(-entropy)`: the inverse of the number of tokens it hesitates between.
#[derive(Debug, Clone, Copy)]
pub struct Entropy;

impl Rule for Entropy {
    fn choose(&mut self, node: &Node<'_>, _: &Place) -> Chosen {
        let weights = node.weights(|told| (-told.entropy()).exp());
        Chosen { unit: node.unit(Pool::Linear, &weights), asked: [true; 2] }
    }
}

/// One member alone where it gives its token more than a threshold, else equal weights (the gate of GaC).
#[derive(Debug, Clone, Copy)]
pub struct Gate {
    /// The member asked first.
    pub first: usize,
    /// Its probability.
    pub threshold: f32,
}

impl Rule for Gate {
    fn choose(&mut self, node: &Node<'_>, _: &Place) -> Chosen {
        let mut asked = [true; 2];
        let mut weights = [0.5; 2];
        if node.told[self.first].as_ref().is_some_and(|told| told.best().1.exp() > self.threshold) {
            (weights, asked) = ([0.0; 2], [false; 2]);
            (weights[self.first], asked[self.first]) = (1.0, true);
        }
        Chosen { unit: node.unit(Pool::Linear, &weights), asked }
    }
}
