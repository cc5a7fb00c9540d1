//! Prompts in running text that end in a blank: facts, sums and word problems, forms of words, formats. What is asked
//! and its gold answer come from the lists here.
//!
//! `The capital of Peru is ___`, behind a few sentences that show how blanks are filled. A filling ends before a full
//! stop or a line break. Nothing but the words tells the kinds apart. Prompts fall in folds: no item of a list is in
//! two of them, nor a pair of operands, so that what is learned on some folds has not seen what the others ask.

use rand::RngExt as _;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use routewright_data::rng::{self, Rng};
use std::collections::HashSet;

/// What is before every blank: the pattern, by example.
pub const PREAMBLE: &str = "\
The capital of Italy is Rome. The sum of 14 and 9 is 23.
The number 45 in words is forty-five. The opposite of long is short.
The plural of bus is buses. The chemical symbol of nitrogen is N.
Kim had 15 stamps and lost 4, so the number of stamps left is 11. The past tense of see is saw.
The product of 3 and 4 is 12. The time half past one in digits is 1:30.
The word tree in capitals is TREE. The continent of India is Asia.
";

/// Folds.
pub const FOLDS: usize = 5;

/// Whether the prompts of a fold may have an item.
fn has(fold: usize, item: u64) -> bool {
    // The highest bits of a hash, so that neighbours in a list fall apart.
    let hash = item.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (u128::from(hash) * FOLDS as u128) >> 64 == fold as u128
}

/// A prompt and what is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// `17`.
    pub id: String,
    /// Its fold.
    pub fold: usize,
    /// Its kind.
    pub kind: &'static str,
    /// The text before the blank, from the beginning of its sentence.
    pub stem: String,
    /// What is right.
    pub gold: String,
}

impl Question {
    /// The text before the blank, examples included.
    pub fn prompt(&self) -> String {
        format!("{PREAMBLE}{}", self.stem)
    }

    /// Whether `answer` is right.
    pub fn right(&self, answer: &str) -> bool {
        answer.trim() == self.gold
    }
}

/// The first `n` questions; a longer list begins with a shorter one. Folds follow each other; `pilot` makes a list to
/// try the experiment with.
pub fn questions(n: usize, pilot: bool) -> Vec<Question> {
    let mut rng = rng::stream(11, if pilot { "pilot" } else { "questions" });
    let (mut kinds, mut used) = (Vec::new(), HashSet::new());
    let mut all = Vec::new();
    for at in 0..n {
        let fold = at % FOLDS;
        // Every kind as often in every fold.
        if fold == 0 {
            kinds.pop();
            if kinds.is_empty() {
                kinds = KINDS.to_vec();
                kinds.shuffle(&mut rng);
            }
        }
        let kind = kinds.last().copied().unwrap_or(KINDS[0]);
        let (stem, gold) = fresh(kind, fold, &mut used, &mut rng);
        all.push(Question { id: at.to_string(), fold, kind, stem, gold });
    }
    all
}

/// The stem and gold answer of an item of a fold, one that was not asked yet as long as there are any.
fn fresh(kind: &str, fold: usize, used: &mut HashSet<String>, rng: &mut Rng) -> (String, String) {
    let mut tries = 0;
    loop {
        let (item, stem, gold) = draw(kind, rng);
        tries += 1;
        let known = PREAMBLE.contains(&stem) || used.contains(&stem);
        if has(fold, item) && (!known || tries > TRIES) {
            used.insert(stem.clone());
            return (stem, gold);
        }
    }
}

/// Draws until an item may be asked again.
const TRIES: usize = 1000;

/// Every kind of question, equally frequent.
pub const KINDS: [&str; 15] = [
    "capital",
    "continent",
    "symbol",
    "sum",
    "difference",
    "product",
    "gain",
    "loss",
    "plural",
    "past",
    "opposite",
    "capitals",
    "words",
    "digits",
    "time",
];

/// An item's number, the stem and what is right.
fn draw(kind: &str, rng: &mut Rng) -> (u64, String, String) {
    let mut listed = |list: &[(&str, &str)], before: &str| {
        let at = rng.random_range(0..list.len());
        (at as u64, format!("The {before} {} is", list[at].0), list[at].1.to_owned())
    };
    match kind {
        "capital" => listed(&CAPITALS, "capital of"),
        "continent" => listed(&CONTINENTS, "continent of"),
        "symbol" => listed(&SYMBOLS, "chemical symbol of"),
        "plural" => listed(&PLURALS, "plural of"),
        "past" => listed(&PASTS, "past tense of"),
        "opposite" => listed(&OPPOSITES, "opposite of"),
        "capitals" => {
            let at = rng.random_range(0..WORDS.len());
            (at as u64, format!("The word {} in capitals is", WORDS[at]), WORDS[at].to_uppercase())
        }
        "words" | "digits" => {
            let n = rng.random_range(21..100_usize);
            match kind {
                "words" => (n as u64, format!("The number {n} in words is"), words(n)),
                _ => (n as u64, format!("The number {} in digits is", words(n)), n.to_string()),
            }
        }
        "time" => {
            let (hour, quarter) = (rng.random_range(1..13_usize), rng.random_range(0..3_usize));
            let (name, minutes) = [("quarter past", 15), ("half past", 30), ("quarter to", 45)][quarter];
            let of = if minutes == 45 { (hour + 10) % 12 + 1 } else { hour };
            let stem = format!("The time {name} {} in digits is", words(hour));
            ((hour * 3 + quarter) as u64, stem, format!("{of}:{minutes}"))
        }
        _ => numbers(kind, rng),
    }
}

fn numbers(kind: &str, rng: &mut Rng) -> (u64, String, String) {
    let (mut a, b) = match kind {
        "product" => (rng.random_range(2..13_u64), rng.random_range(2..13)),
        _ => (rng.random_range(3..60), rng.random_range(2..20)),
    };
    if matches!(kind, "difference" | "loss") {
        a += b;
    }
    let thing = THINGS.choose(rng).copied().unwrap_or_default();
    let name = NAMES.choose(rng).copied().unwrap_or_default();
    let (stem, gold) = match kind {
        "sum" => (format!("The sum of {a} and {b} is"), a + b),
        "difference" => (format!("The difference of {a} and {b} is"), a - b),
        "product" => (format!("The product of {a} and {b} is"), a * b),
        "gain" => (format!("{name} had {a} {thing} and got {b}, so the number of {thing} is"), a + b),
        _ => (format!("{name} had {a} {thing} and lost {b}, so the number of {thing} left is"), a - b),
    };
    // Operands in either order are one item.
    (a.min(b) * 64 + a.max(b), stem, gold.to_string())
}

/// A number below 100 in words.
fn words(n: usize) -> String {
    match n {
        0..20 => SMALL[n].to_owned(),
        _ if n.is_multiple_of(10) => TENS[n / 10].to_owned(),
        _ => format!("{}-{}", TENS[n / 10], SMALL[n % 10]),
    }
}

const SMALL: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 10] =
    ["", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
const NAMES: [&str; 8] = ["Tom", "Ann", "Ben", "Eva", "Sam", "Lily", "Max", "Nora"];
const THINGS: [&str; 8] = ["apples", "pens", "books", "coins", "cards", "eggs", "stones", "shells"];
const WORDS: [&str; 40] = [
    "lamp", "river", "stone", "cloud", "bread", "horse", "chair", "apple", "grape", "table", "plant",
    "train", "tiger", "candle", "window", "garden", "silver", "forest", "bridge", "market", "paper", "music",
    "water", "light", "house", "green", "sugar", "beach", "knife", "piano", "smile", "dance", "queen",
    "voice", "spoon", "wheel", "shirt", "field", "ocean", "storm",
];
const CAPITALS: [(&str, &str); 56] = [
    ("Peru", "Lima"),
    ("Japan", "Tokyo"),
    ("Egypt", "Cairo"),
    ("Norway", "Oslo"),
    ("Kenya", "Nairobi"),
    ("Cuba", "Havana"),
    ("Greece", "Athens"),
    ("Spain", "Madrid"),
    ("Portugal", "Lisbon"),
    ("Poland", "Warsaw"),
    ("Iran", "Tehran"),
    ("Iraq", "Baghdad"),
    ("Chile", "Santiago"),
    ("Austria", "Vienna"),
    ("Ireland", "Dublin"),
    ("Finland", "Helsinki"),
    ("Turkey", "Ankara"),
    ("Hungary", "Budapest"),
    ("Thailand", "Bangkok"),
    ("Vietnam", "Hanoi"),
    ("Nepal", "Kathmandu"),
    ("Sweden", "Stockholm"),
    ("Ecuador", "Quito"),
    ("Canada", "Ottawa"),
    ("Australia", "Canberra"),
    ("France", "Paris"),
    ("Germany", "Berlin"),
    ("Russia", "Moscow"),
    ("China", "Beijing"),
    ("Belgium", "Brussels"),
    ("Denmark", "Copenhagen"),
    ("Romania", "Bucharest"),
    ("Bulgaria", "Sofia"),
    ("Serbia", "Belgrade"),
    ("Croatia", "Zagreb"),
    ("Colombia", "Bogota"),
    ("Uruguay", "Montevideo"),
    ("Jamaica", "Kingston"),
    ("Ghana", "Accra"),
    ("Senegal", "Dakar"),
    ("Morocco", "Rabat"),
    ("Tunisia", "Tunis"),
    ("Libya", "Tripoli"),
    ("Lebanon", "Beirut"),
    ("Jordan", "Amman"),
    ("Syria", "Damascus"),
    ("Afghanistan", "Kabul"),
    ("Indonesia", "Jakarta"),
    ("Taiwan", "Taipei"),
    ("Iceland", "Reykjavik"),
    ("Ukraine", "Kyiv"),
    ("Latvia", "Riga"),
    ("Estonia", "Tallinn"),
    ("Zimbabwe", "Harare"),
    ("Angola", "Luanda"),
    ("Qatar", "Doha"),
];
const CONTINENTS: [(&str, &str); 40] = [
    ("Peru", "South America"),
    ("Japan", "Asia"),
    ("Egypt", "Africa"),
    ("Norway", "Europe"),
    ("Kenya", "Africa"),
    ("Canada", "North America"),
    ("Greece", "Europe"),
    ("Spain", "Europe"),
    ("Chile", "South America"),
    ("Iran", "Asia"),
    ("Iraq", "Asia"),
    ("Austria", "Europe"),
    ("Ghana", "Africa"),
    ("Thailand", "Asia"),
    ("Vietnam", "Asia"),
    ("Nepal", "Asia"),
    ("Sweden", "Europe"),
    ("Ecuador", "South America"),
    ("Mexico", "North America"),
    ("France", "Europe"),
    ("Germany", "Europe"),
    ("China", "Asia"),
    ("India", "Asia"),
    ("Brazil", "South America"),
    ("Nigeria", "Africa"),
    ("Mali", "Africa"),
    ("Angola", "Africa"),
    ("Uganda", "Africa"),
    ("Bolivia", "South America"),
    ("Argentina", "South America"),
    ("Italy", "Europe"),
    ("Poland", "Europe"),
    ("Korea", "Asia"),
    ("Laos", "Asia"),
    ("Mongolia", "Asia"),
    ("Zambia", "Africa"),
    ("Belgium", "Europe"),
    ("Denmark", "Europe"),
    ("Colombia", "South America"),
    ("Senegal", "Africa"),
];
const SYMBOLS: [(&str, &str); 36] = [
    ("gold", "Au"),
    ("silver", "Ag"),
    ("iron", "Fe"),
    ("sodium", "Na"),
    ("oxygen", "O"),
    ("copper", "Cu"),
    ("tin", "Sn"),
    ("lead", "Pb"),
    ("helium", "He"),
    ("calcium", "Ca"),
    ("zinc", "Zn"),
    ("carbon", "C"),
    ("neon", "Ne"),
    ("potassium", "K"),
    ("hydrogen", "H"),
    ("lithium", "Li"),
    ("boron", "B"),
    ("fluorine", "F"),
    ("magnesium", "Mg"),
    ("aluminum", "Al"),
    ("silicon", "Si"),
    ("phosphorus", "P"),
    ("sulfur", "S"),
    ("chlorine", "Cl"),
    ("argon", "Ar"),
    ("titanium", "Ti"),
    ("chromium", "Cr"),
    ("manganese", "Mn"),
    ("cobalt", "Co"),
    ("nickel", "Ni"),
    ("bromine", "Br"),
    ("iodine", "I"),
    ("mercury", "Hg"),
    ("platinum", "Pt"),
    ("uranium", "U"),
    ("tungsten", "W"),
];
const PLURALS: [(&str, &str); 44] = [
    ("mouse", "mice"),
    ("child", "children"),
    ("foot", "feet"),
    ("tooth", "teeth"),
    ("man", "men"),
    ("woman", "women"),
    ("goose", "geese"),
    ("leaf", "leaves"),
    ("knife", "knives"),
    ("city", "cities"),
    ("box", "boxes"),
    ("wolf", "wolves"),
    ("wife", "wives"),
    ("life", "lives"),
    ("shelf", "shelves"),
    ("half", "halves"),
    ("thief", "thieves"),
    ("baby", "babies"),
    ("lady", "ladies"),
    ("party", "parties"),
    ("story", "stories"),
    ("country", "countries"),
    ("fox", "foxes"),
    ("dish", "dishes"),
    ("glass", "glasses"),
    ("watch", "watches"),
    ("potato", "potatoes"),
    ("tomato", "tomatoes"),
    ("hero", "heroes"),
    ("ox", "oxen"),
    ("cactus", "cacti"),
    ("person", "people"),
    ("berry", "berries"),
    ("fly", "flies"),
    ("church", "churches"),
    ("brush", "brushes"),
    ("loaf", "loaves"),
    ("calf", "calves"),
    ("key", "keys"),
    ("toy", "toys"),
    ("dog", "dogs"),
    ("tree", "trees"),
    ("crisis", "crises"),
    ("analysis", "analyses"),
];
const PASTS: [(&str, &str); 46] = [
    ("go", "went"),
    ("eat", "ate"),
    ("run", "ran"),
    ("take", "took"),
    ("write", "wrote"),
    ("buy", "bought"),
    ("think", "thought"),
    ("sing", "sang"),
    ("begin", "began"),
    ("swim", "swam"),
    ("fly", "flew"),
    ("give", "gave"),
    ("drive", "drove"),
    ("speak", "spoke"),
    ("break", "broke"),
    ("choose", "chose"),
    ("drink", "drank"),
    ("fall", "fell"),
    ("feel", "felt"),
    ("find", "found"),
    ("forget", "forgot"),
    ("grow", "grew"),
    ("hear", "heard"),
    ("keep", "kept"),
    ("know", "knew"),
    ("leave", "left"),
    ("lose", "lost"),
    ("make", "made"),
    ("meet", "met"),
    ("pay", "paid"),
    ("ride", "rode"),
    ("rise", "rose"),
    ("sell", "sold"),
    ("send", "sent"),
    ("sleep", "slept"),
    ("stand", "stood"),
    ("steal", "stole"),
    ("teach", "taught"),
    ("tell", "told"),
    ("wear", "wore"),
    ("win", "won"),
    ("walk", "walked"),
    ("play", "played"),
    ("stop", "stopped"),
    ("try", "tried"),
    ("bring", "brought"),
];
const OPPOSITES: [(&str, &str); 40] = [
    ("hot", "cold"),
    ("big", "small"),
    ("fast", "slow"),
    ("open", "closed"),
    ("early", "late"),
    ("rich", "poor"),
    ("strong", "weak"),
    ("high", "low"),
    ("full", "empty"),
    ("dark", "light"),
    ("wet", "dry"),
    ("old", "young"),
    ("happy", "sad"),
    ("hard", "soft"),
    ("clean", "dirty"),
    ("good", "bad"),
    ("near", "far"),
    ("up", "down"),
    ("left", "right"),
    ("inside", "outside"),
    ("black", "white"),
    ("day", "night"),
    ("true", "false"),
    ("first", "last"),
    ("wide", "narrow"),
    ("thick", "thin"),
    ("heavy", "light"),
    ("noisy", "quiet"),
    ("safe", "dangerous"),
    ("sharp", "blunt"),
    ("sweet", "sour"),
    ("deep", "shallow"),
    ("win", "lose"),
    ("buy", "sell"),
    ("push", "pull"),
    ("begin", "end"),
    ("love", "hate"),
    ("north", "south"),
    ("east", "west"),
    ("above", "below"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn gold_answers_by_hand() {
        assert_eq!([7, 20, 45, 99].map(words), ["seven", "twenty", "forty-five", "ninety-nine"]);
        let mut rng = rng::stream(3, "times");
        for _ in 0..200 {
            let (_, stem, gold) = draw("time", &mut rng);
            assert!(!stem.contains("quarter to six") || gold == "5:45", "{stem} {gold}");
            let (_, stem, gold) = draw("loss", &mut rng);
            let numbers: Vec<u64> = stem.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
            assert_eq!((numbers[0] - numbers[1]).to_string(), gold, "{stem}");
        }
        let stem = "The plural of ox is".to_owned();
        let question = Question { id: String::new(), fold: 0, kind: "plural", stem, gold: "oxen".to_owned() };
        assert!(question.prompt().ends_with("Asia.\nThe plural of ox is"));
        assert!(question.right(" oxen ") && !question.right(" ox"));
    }

    #[test]
    fn folds_share_no_item_and_lists_grow_at_their_end() {
        let questions_ = questions(750, false);
        let items = |stem: &str| -> String {
            stem.split(' ').filter(|word| !NAMES.contains(word) && !THINGS.contains(word)).collect()
        };
        let mut folds = HashMap::new();
        for question in &questions_ {
            let fold = *folds.entry(items(&question.stem)).or_insert(question.fold);
            assert_eq!(fold, question.fold, "{}", question.stem);
        }
        for kind in KINDS {
            let n = questions_.iter().filter(|q| q.kind == kind).count();
            assert_eq!(n, 50, "{kind}");
        }
        assert_eq!(questions(7, false), questions_[..7]);
        assert_ne!(questions(7, true), questions_[..7]);
    }
}
