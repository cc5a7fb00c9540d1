//! The union of all vocabularies, token by token as byte strings (GaC, arXiv 2406.12585).
//!
//! Units stand in the order of the ids of the first vocabulary that has them, so that they are the same in every
//! process and the masses of the first member keep its order. Ids that stand for the same bytes share a unit,
//! ends of answers share unit 0, other special tokens have none. A map is one index an id: a projection is a
//! scatter, no matrix.

use super::{Align, Aligned, END, Unlisted};
use crate::backend::BackendError;
use crate::distribution::Distribution;
use crate::mass::{add_weighted, probabilities};
use crate::member::Member;
use crate::vocabulary::{Role, Vocabulary};
use std::borrow::Cow;
use std::ops::Range;

/// Byte strings of several vocabularies.
#[derive(Debug, Clone)]
pub struct Space {
    units: Vec<Box<[u8]>>,
    /// Units but the end, sorted by their bytes.
    sorted: Vec<u32>,
    /// By vocabulary.
    maps: Vec<Map>,
    /// The units that are tokens of a vocabulary.
    has: Vec<Vec<bool>>,
}

/// Where the ids of a vocabulary stand among the units.
#[derive(Debug, Clone)]
struct Map {
    /// Unit of every id; one past the last unit where there is none.
    units: Vec<u32>,
    /// Ids one after another whose units stand one after another, in order: sums over them need no look-up.
    runs: Vec<Range<usize>>,
}

/// Ids that are worth a run.
const RUN: usize = 128;

impl Map {
    fn new(units: Vec<u32>) -> Self {
        let mut runs = Vec::new();
        let mut start = 0;
        for chunk in units.chunk_by(|a, b| a + 1 == *b) {
            if chunk.len() >= RUN {
                runs.push(start..start + chunk.len());
            }
            start += chunk.len();
        }
        Self { units, runs }
    }

    /// Adds the masses `by_id` of the ids from `first` on.
    fn add(&self, first: usize, by_id: &[f32], mass: &mut [f32]) {
        let end = first + by_id.len().min(self.units.len().saturating_sub(first));
        let scatter = |mass: &mut [f32], ids: Range<usize>| {
            let told = &by_id[ids.start - first..ids.end - first];
            for (unit, p) in self.units[ids].iter().zip(told) {
                mass[*unit as usize] += p;
            }
        };
        let mut at = first;
        let from = self.runs.partition_point(|run| run.end <= first);
        for run in self.runs[from..].iter().take_while(|run| run.start < end) {
            let ids = run.start.max(first)..run.end.min(end);
            scatter(mass, at..ids.start);
            let unit = self.units[ids.start] as usize;
            add_weighted(&mut mass[unit..unit + ids.len()], &by_id[ids.start - first..ids.end - first], 1.0);
            at = ids.end;
        }
        scatter(mass, at..end);
    }
}

impl Space {
    /// The union of `vocabularies`.
    pub fn union(vocabularies: &[&Vocabulary]) -> Self {
        let mut tokens: Vec<(&[u8], u32, u32)> = Vec::new();
        for (which, vocabulary) in vocabularies.iter().enumerate() {
            for id in 0..index(vocabulary.len()) {
                if vocabulary.role(id) == Role::Text {
                    tokens.push((vocabulary.bytes(id), index(which), id));
                }
            }
        }
        tokens.sort_unstable();
        // The first of equal strings is that of the first vocabulary.
        let groups: Vec<&[(&[u8], u32, u32)]> = tokens.chunk_by(|a, b| a.0 == b.0).collect();
        let mut order: Vec<u32> = (0..index(groups.len())).collect();
        order.sort_unstable_by_key(|group| (groups[*group as usize][0].1, groups[*group as usize][0].2));
        let nowhere = index(groups.len() + 1);
        let mut maps: Vec<Vec<u32>> = vocabularies.iter().map(|v| vec![nowhere; v.len()]).collect();
        let mut units: Vec<Box<[u8]>> = vec![Box::default()];
        let mut sorted = vec![0; groups.len()];
        for group in order {
            let unit = index(units.len());
            sorted[group as usize] = unit;
            units.push(groups[group as usize][0].0.into());
            for (_, which, id) in groups[group as usize] {
                maps[*which as usize][*id as usize] = unit;
            }
        }
        for (vocabulary, map) in vocabularies.iter().zip(&mut maps) {
            for id in vocabulary.ends() {
                map[*id as usize] = index(END);
            }
        }
        let has = maps.iter().map(|map| {
            let mut has = vec![false; units.len()];
            map.iter().filter(|unit| **unit != nowhere).for_each(|unit| has[*unit as usize] = true);
            has
        });
        let has = has.collect();
        Self { units, sorted, maps: maps.into_iter().map(Map::new).collect(), has }
    }

    /// What members give units that they do not list; `which` is the vocabulary of a member.
    pub fn unlisted(
        &self,
        told: &[Option<Distribution>],
        which: impl Fn(usize) -> usize,
    ) -> Vec<Unlisted<'_>> {
        if told.iter().flatten().all(Distribution::is_full) {
            return Vec::new();
        }
        let unlisted = |(member, told): (usize, &Option<Distribution>)| {
            let which = which(member);
            let mass = told.as_ref().map_or(0.0, |told| told.unlisted(self.maps[which].units.len()));
            Unlisted { mass, has: Some(&self.has[which]) }
        };
        told.iter().enumerate().map(unlisted).collect()
    }

    /// Bytes of the units; unit 0 is the end.
    pub fn units(&self) -> &[Box<[u8]>] {
        &self.units
    }

    /// The unit of these bytes, if there is one.
    pub fn find(&self, bytes: &[u8]) -> Option<usize> {
        let at = self.sorted.binary_search_by(|unit| (*self.units[*unit as usize]).cmp(bytes)).ok()?;
        Some(self.sorted[at] as usize)
    }

    /// Masses over the units of masses over the ids of vocabulary `which`.
    pub fn spread(&self, which: usize, by_id: &[f32]) -> Vec<f32> {
        let mut mass = self.nothing();
        self.maps[which].add(0, by_id, &mut mass);
        self.without_nowhere(mass)
    }

    /// Masses over the units of what vocabulary `which` has.
    pub fn project(&self, which: usize, told: &Distribution) -> Vec<f32> {
        let mut mass = self.nothing();
        let map = &self.maps[which];
        match told {
            Distribution::Full(all) => probabilities(all, |at, p| map.add(at, p, &mut mass)),
            Distribution::Top { entries, .. } => {
                for (id, p) in entries {
                    if let Some(unit) = map.units.get(*id as usize) {
                        mass[*unit as usize] += p.exp();
                    }
                }
            }
        }
        self.without_nowhere(mass)
    }

    /// A mass of 0 for every unit, and for what has none.
    fn nothing(&self) -> Vec<f32> {
        vec![0.0; self.units.len() + 1]
    }

    fn without_nowhere(&self, mut mass: Vec<f32>) -> Vec<f32> {
        mass.truncate(self.units.len());
        mass
    }
}

/// Aligns in a [`Space`] built once.
#[derive(Debug, Clone)]
pub struct Union {
    space: Space,
}

impl Union {
    /// Members whose vocabularies have this union, in order.
    pub fn new(space: Space) -> Self {
        Self { space }
    }
}

impl Align for Union {
    fn align<'a>(
        &'a self,
        _members: &mut [Option<Member>],
        told: &[Option<Distribution>],
    ) -> Result<Aligned<'a>, BackendError> {
        let mass = told.iter().enumerate();
        let mass = mass.map(|(which, told)| told.as_ref().map(|told| self.space.project(which, told)));
        Ok(Aligned {
            units: Cow::Borrowed(&self.space.units),
            mass: mass.collect(),
            unlisted: self.space.unlisted(told, |member| member),
        })
    }
}

fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary(tokens: &[&str]) -> Vocabulary {
        let text = tokens.iter().map(|token| (token.as_bytes().to_vec(), Role::Text));
        Vocabulary::new(text.chain([(Vec::new(), Role::End), (Vec::new(), Role::Control)]))
    }

    #[test]
    fn ids_of_the_same_bytes_share_a_unit_and_ends_meet() {
        let (a, b) = (vocabulary(&["b", "a", "b"]), vocabulary(&["ab", "b"]));
        let space = Space::union(&[&a, &b]);
        let units: Vec<&[u8]> = space.units().iter().map(|unit| &**unit).collect();
        assert_eq!(units, [&b""[..], b"b", b"a", b"ab"]);
        assert_eq!(
            [&b"a"[..], b"ab", b"b", b"c", b""].map(|bytes| space.find(bytes)),
            [Some(2), Some(3), Some(1), None, None]
        );
        let told = Distribution::from_logits([0.1_f32, 0.2, 0.3, 0.15, 0.25].map(f32::ln).to_vec()).unwrap();
        let mass = space.project(0, &told);
        for (mass, expected) in mass.iter().zip([0.15, 0.4, 0.2, 0.0]) {
            assert!((mass - expected).abs() < 1e-6, "{mass} {expected}");
        }
        let told = Distribution::from_top(vec![(1, 0.5_f32.ln()), (2, 0.25_f32.ln())]).unwrap();
        let mass = space.project(1, &told);
        assert!((mass[END] - 0.25).abs() < 1e-6 && (mass[1] - 0.5).abs() < 1e-6 && mass[2] == 0.0);
    }

    #[test]
    fn runs_of_ids_and_ids_one_by_one_sum_to_the_same() {
        let words = |from: usize, n: usize| (from..from + n).map(|at| format!("w{at}")).collect::<Vec<_>>();
        let (first, second) = (words(0, 2 * RUN + 50), words(RUN, 3 * RUN));
        let mixed: Vec<String> =
            words(5, 40).into_iter().rev().chain(words(1000, RUN + 9)).chain(words(0, 7)).collect();
        let lists = [&first, &second, &mixed];
        let vocabularies = lists.map(|list| vocabulary(&list.iter().map(String::as_str).collect::<Vec<_>>()));
        let space = Space::union(&vocabularies.each_ref());
        assert!(space.maps.iter().all(|map| !map.runs.is_empty()), "{:?}", space.maps);
        for (which, list) in lists.into_iter().enumerate() {
            let by_id: Vec<f32> = (0..list.len() + 2).map(|at| 1.0 + at as f32).collect();
            let mass = space.spread(which, &by_id);
            assert_eq!(mass.len(), space.units().len());
            let mut expected = vec![0.0; mass.len()];
            expected[END] = by_id[list.len()];
            for (word, p) in list.iter().zip(&by_id) {
                expected[space.find(word.as_bytes()).unwrap()] += p;
            }
            assert_eq!(mass, expected);
            // In parts, as probabilities come.
            let mut parts = space.nothing();
            for at in (0..by_id.len()).step_by(37) {
                space.maps[which].add(at, &by_id[at..by_id.len().min(at + 37)], &mut parts);
            }
            assert_eq!(space.without_nowhere(parts), expected);
        }
    }
}
