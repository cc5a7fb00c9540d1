//! The logs of answers: one line of JSON a prompt, written as it is made; a run that is begun again goes on behind the
//! last whole line. Learning and judging replay them.

use super::kept::Kept;
use super::questions::{PREAMBLE, Question};
use super::table::{Confidence, Entropy, Gate, Place, Rule, Static, Table, union};
use anyhow::Context as _;
use routewright_decoder::align::{Align as _, Union};
use routewright_decoder::backend::Backend;
use routewright_decoder::fuse::{Fuser, System as _};
use routewright_decoder::generation::{Ask, Generation};
use routewright_decoder::pool::Pool;
use routewright_decoder::token::byte_mixture::{ByteMixture, Params as Mixture};
use routewright_decoder::token::citer::label;
use routewright_decoder::weigh::{Loss, Perplexity, View, Weigh as _};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::sync::Arc;

/// Names of the members and the files `.ci/models` unpacks.
pub const MODELS: [(&str, &str); 2] =
    [("smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"), ("gemma3", "gemma-3-270m-q4_k_m.gguf")];
/// Weights of the first member a span may be written with.
pub const GRID: [f32; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];
/// Thresholds of the gate.
pub const GATES: [f32; 3] = [0.3, 0.6, 0.9];
/// Bytes of a filling at most, where a system of the product writes it.
const BYTES: usize = 24;

/// Everything the weights of the grid lead to from one prompt, span by span.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// Key of the question.
    pub id: String,
    /// Its fold.
    pub fold: usize,
    /// Its kind.
    pub kind: String,
    /// The text before the blank.
    pub stem: String,
    /// Places where a span begins, the first first.
    pub places: Vec<Spot>,
    /// Different fillings.
    pub ends: Vec<End>,
    /// Fillings by rules that choose weights token by token.
    pub rules: BTreeMap<String, Filled>,
    /// Texts the models were asked about.
    pub nodes: usize,
    /// Tokens each model read.
    pub read: [u64; 2],
    /// Processor time, seconds.
    pub cpu: f64,
}

/// A place where a span begins.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spot {
    /// The filling so far.
    pub text: String,
    /// Spans before.
    pub span: usize,
    /// What the members say comes next, in numbers.
    pub numbers: Vec<f32>,
    /// Their hidden states.
    pub hidden: Vec<f32>,
    /// Where each weight of [`GRID`] leads to.
    pub leads: Vec<Lead>,
}

/// Where a span leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lead {
    /// Another span.
    Place(usize),
    /// A filling.
    End(usize),
}

/// A filling of the tree.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct End {
    /// The text.
    pub text: String,
    /// Whether it is right.
    pub right: bool,
    /// Times the members were asked.
    pub asked: u64,
}

/// A filling in another way.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Filled {
    /// The text.
    pub text: String,
    /// Whether it is right.
    pub right: bool,
    /// Times each member was asked for what comes next.
    pub asked: [u64; 2],
}

/// Fillings by rivals that cost more than they share, and labels of the right answer for routers of tokens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rivals {
    /// Key of the question.
    pub id: String,
    /// Its fold.
    pub fold: usize,
    /// By rival.
    pub filled: BTreeMap<String, Filled>,
    /// States on the way of the right answer, and whether each member is right there.
    pub labels: Vec<(Vec<f32>, [f32; 2])>,
    /// Processor time of each, seconds.
    pub cpu: BTreeMap<String, f64>,
}

/// Fillings by routers of tokens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Routed {
    /// Key of the question.
    pub id: String,
    /// One a seed.
    pub seeds: Vec<Filled>,
}

/// A line of a log.
pub trait Line: Serialize + DeserializeOwned {
    /// Key of the question.
    fn id(&self) -> &str;
}

impl Line for Row {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Line for Rivals {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Line for Routed {
    fn id(&self) -> &str {
        &self.id
    }
}

/// Models, kept, and what is made of them once.
#[derive(Debug)]
pub struct Pair {
    kept: [Kept; 2],
    backends: Vec<Arc<dyn Backend>>,
    union: Union,
    /// Ids of the examples, by member.
    examples: [usize; 2],
}

impl Pair {
    /// Two models.
    ///
    /// # Errors
    /// If one declares no tokenizer.
    pub fn new(models: [Arc<dyn Backend>; 2]) -> anyhow::Result<Self> {
        let [first, second] = models;
        let kept = [Kept::new(first)?, Kept::new(second)?];
        let backends: Vec<Arc<dyn Backend>> =
            kept.iter().map(|kept| -> Arc<dyn Backend> { Arc::new(kept.clone()) }).collect();
        let union = union(&backends)?;
        let ids = |kept: &Kept| kept.tokenizer().map_or(0, |known| known.encode(PREAMBLE.as_bytes()).len());
        let examples = kept.each_ref().map(ids);
        Ok(Self { kept, backends, union, examples })
    }

    /// The members.
    pub fn backends(&self) -> &[Arc<dyn Backend>] {
        &self.backends
    }

    /// The tree of one prompt, and what the rules make of it.
    ///
    /// # Errors
    /// If a model fails.
    pub fn row(&self, question: &Question) -> anyhow::Result<Row> {
        let (cpu, read) = (cpu_seconds(), self.read());
        let mut table = Table::new(&self.union);
        let mut begin = table.begin(&self.backends, &question.prompt())?;
        let root = table.copy(&mut begin)?;
        let (places, ends) = tree(&mut table, question, root)?;
        let mut rules = BTreeMap::new();
        for (name, mut rule) in token_rules() {
            let mut place = table.copy(&mut begin)?;
            table.fill(&mut place, &mut *rule)?;
            rules.insert(name, filled(question, &place));
        }
        let now = self.read();
        let row = Row {
            id: question.id.clone(),
            fold: question.fold,
            kind: question.kind.to_owned(),
            stem: question.stem.clone(),
            places,
            ends,
            rules,
            nodes: table.len(),
            read: [now[0] - read[0], now[1] - read[1]],
            cpu: cpu_seconds() - cpu,
        };
        self.forget();
        Ok(row)
    }

    /// What the rivals make of a prompt.
    ///
    /// # Errors
    /// If a model fails.
    pub fn rivals(&self, question: &Question, bytes: &ByteMixture) -> anyhow::Result<Rivals> {
        let (mut filled, mut cpu) = (BTreeMap::new(), BTreeMap::new());
        let mut since = cpu_seconds();
        let mut spent = |name: &str| {
            let now = cpu_seconds();
            cpu.insert(name.to_owned(), now - since);
            since = now;
        };
        // First, since it reads the prompt token by token, and what follows is read behind it.
        filled.insert("packllm".to_owned(), self.packed(question)?);
        spent("packllm");
        let labels = self.labels(question)?;
        spent("labels");
        filled.insert("byte mixture".to_owned(), self.fused(question, bytes)?);
        spent("byte mixture");
        self.forget();
        Ok(Rivals { id: question.id.clone(), fold: question.fold, filled, labels, cpu })
    }

    /// A filling by a system of the product, on this thread alone.
    ///
    /// # Errors
    /// If a model fails.
    pub fn fused(&self, question: &Question, fuser: &dyn Fuser) -> anyhow::Result<Filled> {
        let ask = Self::ask(&question.prompt());
        let mut generation = Generation::open_alone(&self.backends, ask, Box::new(|_| {}))?;
        fuser.fuse(&mut generation)?;
        let answer = generation.close();
        let told = |at: usize| answer.trace.members().get(at).map_or(0, |member| member.usage.told);
        Ok(Filled { right: question.right(&answer.text), asked: [told(0), told(1)], text: answer.text })
    }

    /// Forgets what was said of a prompt.
    pub fn forget(&self) {
        self.kept.iter().zip(self.examples).for_each(|(kept, n)| kept.forget_beyond(n));
    }

    /// Ids the models have read.
    fn read(&self) -> [u64; 2] {
        self.kept.each_ref().map(Kept::read)
    }

    fn ask(prompt: &str) -> Ask {
        let mut ask = Ask::new(prompt.as_bytes());
        (ask.limits.stop, ask.limits.bytes) = (vec![".".to_owned(), "\n".to_owned()], BYTES);
        ask
    }

    /// A filling with the weights of PackLLM.
    fn packed(&self, question: &Question) -> anyhow::Result<Filled> {
        let prompt = question.prompt();
        let mut generation = Generation::open_alone(&self.backends, Self::ask(&prompt), Box::new(|_| {}))?;
        let weigh = Perplexity { loss: Loss::Sim, tau: 1.0, map: None };
        let mut weigher = weigh.start(&mut generation)?;
        let aligned = self.union.align(&mut [], &[None, None])?;
        let told = [None, None];
        let view = View { step: 0, prompt: prompt.as_bytes(), text: b"", told: &told, aligned: &aligned };
        let weights = weigher.weigh(&view)?.values;
        let mut table = Table::new(&self.union);
        let mut place = table.begin(&self.backends, &prompt)?;
        table.fill(&mut place, &mut Static(Pool::LogLinear, [weights[0], weights[1]]))?;
        Ok(filled(question, &place))
    }

    /// Labels of the tokens of the right answer, its full stop included.
    fn labels(&self, question: &Question) -> anyhow::Result<Vec<(Vec<f32>, [f32; 2])>> {
        let right =
            |scores: &[Option<f32>]| [0, 1].map(|at| scores.get(at).copied().flatten().unwrap_or(0.0));
        let reference = format!(" {}.", question.gold);
        let ask = Self::ask(&question.prompt());
        let labels = label(&self.backends, ask, reference.as_bytes(), 0, true)?;
        // The last score is that of the end token, which no answer contains here.
        let within = labels.into_iter().filter(|label| label.at < reference.len());
        Ok(within.map(|label| (rounded(&label.state), right(&label.scores))).collect())
    }

    /// The byte mixture of the pair, with equal weights.
    ///
    /// # Errors
    /// If it cannot be built.
    pub fn byte_mixture(&self) -> anyhow::Result<ByteMixture> {
        Ok(ByteMixture::build(Mixture::default(), &self.backends)?)
    }
}

/// All places and fillings that weights of the grid lead to.
fn tree(table: &mut Table<'_>, question: &Question, begin: Place) -> anyhow::Result<(Vec<Spot>, Vec<End>)> {
    let (mut spots, mut ends): (Vec<Spot>, Vec<End>) = (Vec::new(), Vec::new());
    let (mut open, mut known) = (vec![(begin, 0)], HashMap::from([(String::new(), 0)]));
    while spots.len() < open.len() {
        let (place, span) = &mut open[spots.len()];
        let span = *span;
        let (numbers, hidden) = table.state(place)?;
        let (next, which) = table.spans(place, &GRID)?;
        let mut leads = Vec::new();
        let text = place.answer();
        for place in next {
            let text = place.answer();
            let at = if place.over {
                let same = ends.iter().position(|end| end.text == text);
                if same.is_none() {
                    ends.push(End { right: question.right(&text), asked: place.asked[0], text });
                }
                Lead::End(same.unwrap_or(ends.len() - 1))
            } else {
                let at = *known.entry(text).or_insert(open.len());
                if at == open.len() {
                    open.push((place, span + 1));
                }
                Lead::Place(at)
            };
            leads.push(at);
        }
        let (numbers, hidden) = (rounded(&numbers), rounded(&hidden));
        spots.push(Spot { text, span, numbers, hidden, leads: which.iter().map(|at| leads[*at]).collect() });
    }
    Ok((spots, ends))
}

/// Rules that choose weights token by token and learn nothing but a threshold.
fn token_rules() -> Vec<(String, Box<dyn Rule>)> {
    let mut rules: Vec<(String, Box<dyn Rule>)> =
        vec![("confidence".to_owned(), Box::new(Confidence)), ("entropy".to_owned(), Box::new(Entropy))];
    for threshold in GATES {
        for (first, (name, _)) in MODELS.iter().enumerate() {
            rules.push((format!("gate {name} {threshold}"), Box::new(Gate { first, threshold })));
        }
    }
    rules
}

fn filled(question: &Question, place: &Place) -> Filled {
    let text = place.answer();
    Filled { right: question.right(&text), text, asked: place.asked }
}

/// Three digits behind the point are enough of a state.
fn rounded(values: &[f32]) -> Vec<f32> {
    values.iter().map(|value| (value * 1000.0).round() / 1000.0).collect()
}

/// Processor time of this process so far, seconds; 0 where the system does not say.
pub fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(") ").next().unwrap_or_default();
    let ticks: f64 = after.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    ticks / 100.0
}

/// The lines of a log; none where there is no file. A last line that was cut off is left out.
///
/// # Errors
/// If it cannot be read, or another line is none of this log.
pub fn read<L: Line>(path: &Path) -> anyhow::Result<Vec<L>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let lines: Vec<String> = BufReader::new(std::fs::File::open(path)?).lines().collect::<Result<_, _>>()?;
    let mut rows = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        match serde_json::from_str(line) {
            Ok(row) => rows.push(row),
            Err(_) if at + 1 == lines.len() => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("line {} of `{}` is no row", at + 1, path.display()));
            }
        }
    }
    Ok(rows)
}

/// Appends to the log at `path` the result of `make` for each question it lacks, and calls `say` after each.
///
/// # Errors
/// If `make` fails or the log cannot be written.
pub fn add<L: Line>(
    path: &Path,
    questions: &[Question],
    say: &dyn Fn(&str),
    make: impl Fn(&Question) -> anyhow::Result<L>,
) -> anyhow::Result<()> {
    let rows: Vec<L> = read(path)?;
    let done: HashSet<&str> = rows.iter().map(Line::id).collect();
    // Without a line that was cut off.
    let whole = rows.iter().map(|row| Ok(format!("{}\n", serde_json::to_string(row)?)));
    routewright_data::files::write_file(path, whole.collect::<anyhow::Result<String>>()?.as_bytes())?;
    let mut file = std::fs::OpenOptions::new().append(true).open(path)?;
    for question in questions.iter().filter(|question| !done.contains(&*question.id)) {
        let since = cpu_seconds();
        let row = make(question)?;
        file.write_all(format!("{}\n", serde_json::to_string(&row)?).as_bytes())?;
        say(&format!("{}: {:.2} s of processor time", row.id(), cpu_seconds() - since));
    }
    Ok(())
}
