//! `routewright fuse --demo`: two models made of scripts, so that every page on fusion can be followed without a model.
//!
//! They know one story each, in tokens of their own: `stories` writes words, `baby` letters. Asked what a boy or a girl
//! did, `stories` is right; of animals it is unsure, and `baby` knows.

use super::output;
use anyhow::bail;
use routewright_data::files;
use routewright_data::log::{RowWriter, TaskRow, WriteOptions};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

/// Letters of the end of a text by which a script knows where it is.
const SEEN: usize = 24;
const START: &str = "Once upon a time";
const STORIES: &str = ", there was a little girl named Lily. She loved to play outside in the park. One day, she saw a \
                       big red ball.";
const BABY: &str = ", there was a little girl named Lily. She loved to play with her toys and her dog. One day, she \
                    saw a big tree.";
const CHILDREN: [&str; 6] = ["Tim", "Lily", "Sue", "Ben", "Mia", "Tom"];
const ANIMALS: [&str; 6] = ["Rex", "Bella", "Max", "Coco", "Rocky", "Luna"];
const PLACES: [&str; 5] = ["park", "zoo", "lake", "farm", "sea"];

/// Lines of a script: what follows the end of a text.
#[derive(Debug, Default)]
struct Script(BTreeMap<String, BTreeMap<String, f32>>);

impl Script {
    /// Goes on from `start` with `text`, piece by piece, each with this probability, and ends.
    fn learn(&mut self, start: &str, text: &str, p: f32, cut: fn(&str) -> usize) {
        let mut read = start.to_owned();
        let mut rest = text;
        loop {
            let piece = &rest[..cut(rest)];
            let after: String = read.chars().skip(read.chars().count().saturating_sub(SEEN)).collect();
            self.0.entry(after).or_default().entry(piece.to_owned()).or_insert(p);
            if piece.is_empty() {
                return;
            }
            read.push_str(piece);
            rest = &rest[piece.len()..];
        }
    }

    fn member(&self, name: &str, pieces: &[String]) -> String {
        let mut text =
            format!("\n[[members]]\nname = \"{name}\"\nbackend = \"scripted\"\nembeddings = true\n");
        text.push_str(&format!("pieces = {pieces:?}\nscript = [\n"));
        for (after, next) in &self.0 {
            // What can be said at one place shares what is sure.
            let n = next.len() as f32;
            let next: Vec<String> = next.iter().map(|(piece, p)| format!("{piece:?} = {}", p / n)).collect();
            text.push_str(&format!("    {{ after = {after:?}, next = {{ {} }} }},\n", next.join(", ")));
        }
        text + "]\n"
    }

    fn pieces(&self) -> Vec<String> {
        let mut pieces: Vec<String> = self.0.values().flat_map(|next| next.keys().cloned()).collect();
        pieces.sort();
        pieces.dedup();
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }
}

/// A word with the space before it, or one mark.
fn word(text: &str) -> usize {
    let is_mark = |c: char| ",.".contains(c);
    match text.chars().next() {
        None => 0,
        Some(first) if is_mark(first) => first.len_utf8(),
        Some(first) => text[first.len_utf8()..]
            .find(|c: char| c == ' ' || is_mark(c))
            .map_or(text.len(), |at| at + first.len_utf8()),
    }
}

fn letter(text: &str) -> usize {
    text.chars().next().map_or(0, char::len_utf8)
}

/// An opening and what goes on from it rightly.
fn tasks() -> Vec<TaskRow> {
    let mut tasks = Vec::new();
    for (at, place) in PLACES.iter().enumerate() {
        let children = CHILDREN.iter().map(|name| (name, "child", " and ran home"));
        let animals = ANIMALS.iter().map(|name| (name, "animal", " and ate a bone"));
        for (name, skill, reference) in children.chain(animals) {
            tasks.push(TaskRow {
                task_id: format!("{place}-{name}"),
                split: Some(if at < 3 { "train" } else { "test" }.to_owned()),
                source: Some(skill.to_owned()),
                prompt: format!("One day at the {place} there was {name}"),
                reference: reference.to_owned(),
                skills: vec![skill.to_owned()],
            });
        }
    }
    tasks
}

/// Both scripts: `stories` and `baby`.
fn scripts() -> (Script, Script) {
    let (mut stories, mut baby) = (Script::default(), Script::default());
    stories.learn(START, STORIES, 0.8, word);
    baby.learn(START, BABY, 0.7, letter);
    // A step of reasoning that can be checked, for `le-mcts`.
    stories.learn("2+3=", "6\n", 0.8, letter);
    baby.learn("2+3=", "5\n", 0.8, letter);
    for task in tasks() {
        let is_child = task.source.as_deref() == Some("child");
        let (sure, text) = if is_child { (0.9, " and ran home.") } else { (0.5, " and went to sleep.") };
        stories.learn(&task.prompt, text, sure, word);
        baby.learn(&task.prompt, if is_child { " and barked." } else { " and ate a bone." }, 0.8, letter);
    }
    (stories, baby)
}

/// Writes the folder and says what can be done with it.
pub(crate) fn write(folder: &Path) -> anyhow::Result<ExitCode> {
    if folder.exists() {
        bail!("`--demo {}`: it exists; the name of a new folder is accepted", folder.display());
    }
    std::fs::create_dir_all(folder)?;
    let (stories, baby) = scripts();
    let head =
        "# Two models made of scripts: routewright fuse --demo.\nsystem = \"gac\"\n\n[limits]\nsteps = 60\n";
    let two = format!("{head}{}{}", stories.member("stories", &[]), baby.member("baby", &[]));
    files::write_file(&folder.join("ensemble.toml"), two.as_bytes())?;
    // One vocabulary, for systems that need one.
    let pieces = stories.pieces();
    let twice = format!("{head}{}{}", stories.member("stories", &pieces), stories.member("again", &pieces));
    files::write_file(&folder.join("twice.toml"), twice.as_bytes())?;
    let mut writer = RowWriter::create(&folder.join("tasks.parquet"), WriteOptions::default())?;
    for task in tasks() {
        writer.push(task)?;
    }
    writer.finish()?;
    let at = |file: &str| folder.join(file).display().to_string();
    let (two, twice, tasks) = (at("ensemble.toml"), at("twice.toml"), at("tasks.parquet"));
    output::say(&format!(
        "wrote {two}, {twice}, {tasks}\n\n\
         routewright fuse --ensemble {two} --prompt \"{START}\"\n\
         routewright fuse --ensemble {two} --system byte-mixture --steps 120 --prompt \"{START}\" --draw demo.html\n\
         routewright fuse --ensemble {twice} --system speculative-ensemble --prompt \"{START}\"\n\
         routewright fuse --ensemble {two} --system sweetspan --tasks {tasks} --split test --stop .\n\n\
         Every page of docs/fusion works with these files in place of the models it names; texts and figures differ."
    ));
    Ok(ExitCode::SUCCESS)
}
