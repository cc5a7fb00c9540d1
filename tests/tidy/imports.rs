//! The import graph of a crate: which file uses an item that another file defines, re-exports resolved.
//!
//! It reads source text, not types: paths in `use` declarations and in code are followed through modules, bindings and
//! `pub use` to the file that defines the item. Calls of methods make no edge. Code under `#[cfg(test)]` is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Path of a module below its crate; empty for the root.
type Module = Vec<String>;

/// Edges of the graph: from file to file, with the items used.
pub(crate) type Edges = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// One name that a file binds with `use`.
#[derive(Debug, Clone)]
struct Binding {
    path: Vec<String>,
    /// The name bound; `None` for a glob.
    name: Option<String>,
    /// Whether it passes the item on to others.
    is_public: bool,
}

#[derive(Debug, Default)]
struct Source {
    file: String,
    defined: BTreeSet<String>,
    bindings: Vec<Binding>,
    /// Paths of two segments or more in the code.
    paths: BTreeSet<Vec<String>>,
    /// Every name in the code, declarations of `use` left out.
    words: BTreeSet<String>,
}

/// The modules of a crate, by path.
#[derive(Debug, Default)]
pub(crate) struct Crate {
    modules: BTreeMap<Module, Source>,
}

impl Crate {
    /// Reads every file under the source folder of a crate but those that are tests.
    pub(crate) fn read(src: &Path) -> Self {
        let (mut modules, mut tests) = (BTreeMap::new(), BTreeSet::new());
        let mut folders = vec![src.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let module = module_of(&path, src);
                    let text = fs::read_to_string(&path).unwrap_or_default();
                    let file = path.strip_prefix(src).unwrap_or(&path).display().to_string();
                    let (source, of_tests) = Source::parse(file, &text);
                    tests.extend(of_tests.into_iter().map(|name| [module.clone(), vec![name]].concat()));
                    modules.insert(module, source);
                }
            }
        }
        modules.retain(|module, _| !tests.iter().any(|test: &Module| module.starts_with(test)));
        Self { modules }
    }

    /// Every edge between two files.
    pub(crate) fn edges(&self) -> Edges {
        let mut edges = Edges::new();
        for (module, source) in &self.modules {
            for path in source.uses() {
                let Some((found, item)) = self.resolve(module, path, 0) else { continue };
                let Some(item) = item else { continue };
                let to = &self.modules[&found].file;
                if *to != source.file {
                    edges.entry(source.file.clone()).or_default().entry(to.clone()).or_default().insert(item);
                }
            }
        }
        edges
    }

    /// The module that defines what a path names, with the name; no name where the path is a module.
    fn resolve(&self, from: &Module, path: &[String], depth: usize) -> Option<(Module, Option<String>)> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            _ if depth > 16 => None,
            "crate" => self.walk(&Module::new(), rest, depth),
            "self" => self.walk(from, rest, depth),
            "super" => {
                let parent = &from[..from.len().checked_sub(1)?];
                match rest.first().map(String::as_str) {
                    Some("super") => self.resolve(&parent.to_vec(), rest, depth + 1),
                    _ => self.walk(&parent.to_vec(), rest, depth),
                }
            }
            _ => self.walk(from, path, depth),
        }
    }

    fn walk(&self, module: &Module, path: &[String], depth: usize) -> Option<(Module, Option<String>)> {
        let Some((first, rest)) = path.split_first() else { return Some((module.clone(), None)) };
        let source = self.modules.get(module)?;
        let child = [module.as_slice(), std::slice::from_ref(first)].concat();
        if self.modules.contains_key(&child) {
            return self.walk(&child, rest, depth);
        }
        if source.defined.contains(first) {
            return Some((module.clone(), Some(first.clone())));
        }
        for binding in source.bindings.iter().filter(|binding| binding.name.as_ref() == Some(first)) {
            // `use serde::Serialize` binds a name that is not ours; a path that begins with itself leads nowhere.
            if binding.path.first() == Some(first) && binding.path.len() == 1 {
                continue;
            }
            match self.resolve(module, &binding.path, depth + 1) {
                Some((found, None)) => return self.walk(&found, rest, depth + 1),
                Some(item) => return Some(item),
                None => {}
            }
        }
        let globs = source.bindings.iter().filter(|binding| binding.name.is_none());
        globs.filter_map(|glob| self.resolve(module, &glob.path, depth + 1)).find_map(|(found, item)| {
            match item {
                None if found != *module => self.walk(&found, path, depth + 4),
                _ => None,
            }
        })
    }
}

fn module_of(path: &Path, src: &Path) -> Module {
    let relative: PathBuf = path.strip_prefix(src).unwrap_or(path).with_extension("");
    let mut module: Module =
        relative.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|last| last == "mod") || ["lib", "main"].iter().any(|root| module == [*root])
    {
        module.pop();
    }
    module
}

impl Source {
    /// The source, and names of the modules that are only compiled for tests.
    fn parse(file: String, text: &str) -> (Self, Vec<String>) {
        let (tokens, tests) = without_tests(tokens(text));
        let mut source = Self { file, ..Self::default() };
        let (mut at, mut depth) = (0, 0_usize);
        while at < tokens.len() {
            match tokens[at].as_str() {
                "{" => depth += 1,
                "}" => depth = depth.saturating_sub(1),
                "use" => {
                    let is_public = is_public(&tokens[..at]);
                    at += 1 + source.declare(&tokens[at + 1..], &mut Vec::new(), is_public);
                    continue;
                }
                "fn" | "struct" | "enum" | "trait" | "type" | "const" | "static" | "union" if depth == 0 => {
                    let name = tokens[at + 1..].iter().find(|word| *word != "mut");
                    source.defined.extend(name.filter(|name| is_name(name)).cloned());
                }
                // The name of a module in its declaration is no use of an item of that name.
                "mod" => at += 1,
                word if is_name(word) && at + 2 < tokens.len() && tokens[at + 1] == "::" => {
                    at += source.path(&tokens[at..]);
                    continue;
                }
                word if is_name(word) => {
                    source.words.insert(word.to_owned());
                }
                _ => {}
            }
            at += 1;
        }
        (source, tests)
    }

    /// Paths of what the file uses. A re-export passes an item on; it is a use where the code names the item, too.
    fn uses(&self) -> impl Iterator<Item = &Vec<String>> {
        let is_used = |binding: &&Binding| {
            !binding.is_public || binding.name.as_ref().is_some_and(|name| self.words.contains(name))
        };
        self.bindings.iter().filter(is_used).map(|binding| &binding.path).chain(&self.paths)
    }

    /// Reads one tree of a `use` declaration, with its end; returns the number of tokens.
    fn declare(&mut self, tokens: &[String], prefix: &mut Vec<String>, is_public: bool) -> usize {
        let (mut at, before) = (0, prefix.len());
        let mut bound: Option<Option<String>> = None;
        while let Some(token) = tokens.get(at) {
            match token.as_str() {
                "::" => {}
                "{" => {
                    at += 1;
                    while tokens.get(at).is_some_and(|token| token != "}") {
                        at += self.declare(&tokens[at..], prefix, is_public);
                        at += usize::from(tokens.get(at).is_some_and(|token| token == ","));
                    }
                    bound = None;
                    at += 1;
                    break;
                }
                "*" => bound = Some(None),
                "as" => {
                    at += 1;
                    bound = tokens.get(at).cloned().map(Some);
                }
                word if is_name(word) => {
                    if word != "self" || prefix.is_empty() {
                        prefix.push(word.to_owned());
                    }
                    bound = Some(prefix.last().cloned());
                }
                _ => break,
            }
            at += 1;
        }
        if let Some(name) = bound {
            self.bindings.push(Binding { path: prefix.clone(), name, is_public });
        }
        prefix.truncate(before);
        at
    }

    /// Reads a path in the code; returns the number of tokens.
    fn path(&mut self, tokens: &[String]) -> usize {
        let mut path = vec![tokens[0].clone()];
        let mut at = 1;
        while at + 1 < tokens.len() && tokens[at] == "::" && is_name(&tokens[at + 1]) {
            path.push(tokens[at + 1].clone());
            at += 2;
        }
        self.words.extend(path.iter().cloned());
        if path.len() > 1 {
            self.paths.insert(path);
        }
        at
    }
}

/// Whether what stands before a `use` makes it public.
fn is_public(before: &[String]) -> bool {
    match before.last().map(String::as_str) {
        Some("pub") => true,
        Some(")") => before
            .iter()
            .rev()
            .find(|token| ["pub", ";", "}"].contains(&token.as_str()))
            .is_some_and(|t| t == "pub"),
        _ => false,
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names, `::` and single signs; comments, texts and attributes' texts are left out.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let (mut tokens, mut at) = (Vec::new(), 0);
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    while at < chars.len() {
        let (c, next) = (chars[at], chars.get(at + 1).copied().unwrap_or(' '));
        let raw = (c == 'r' || c == 'b') && at.checked_sub(1).is_none_or(|before| !is_word(chars[before]));
        match c {
            '/' if next == '/' => at = end_of(&chars, at, "\n"),
            '/' if next == '*' => at = end_of(&chars, at + 2, "*/"),
            '"' => at = end_of_text(&chars, at + 1),
            '\'' if next == '\\' => at = end_of(&chars, at + 3, "'"),
            '\'' if chars.get(at + 2) == Some(&'\'') => at += 3,
            // A lifetime.
            '\'' => at += 1 + chars[at + 1..].iter().take_while(|c| is_word(**c)).count(),
            'r' if raw
                && (next == '"'
                    || (next == '#' && chars[at + 1..].iter().find(|c| **c != '#') == Some(&'"'))) =>
            {
                let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
                at = end_of(&chars, at + 2 + hashes, &format!("\"{}", "#".repeat(hashes)));
            }
            ':' if next == ':' => {
                tokens.push("::".to_owned());
                at += 2;
            }
            _ if is_word(c) => {
                let word: String = chars[at..].iter().take_while(|c| is_word(**c)).collect();
                at += word.chars().count();
                tokens.push(word);
            }
            _ => {
                tokens.extend((!c.is_whitespace()).then(|| c.to_string()));
                at += 1;
            }
        }
    }
    tokens
}

/// Position behind the first `end` from `at` on.
fn end_of(chars: &[char], at: usize, end: &str) -> usize {
    let end: Vec<char> = end.chars().collect();
    let found = (at..chars.len()).find(|&at| chars[at..].starts_with(&end));
    found.map_or(chars.len(), |at| at + end.len())
}

fn end_of_text(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// Leaves out the item behind every `#[cfg(test)]` or `#[cfg(all(test, ...))]`; returns names of such modules.
fn without_tests(tokens: Vec<String>) -> (Vec<String>, Vec<String>) {
    let (mut kept, mut tests, mut at) = (Vec::new(), Vec::new(), 0);
    while at < tokens.len() {
        let starts = |words: &[&str]| {
            words.iter().enumerate().all(|(i, word)| tokens.get(at + i).is_some_and(|t| t == word))
        };
        if !starts(&["#", "[", "cfg", "(", "test"]) && !starts(&["#", "[", "cfg", "(", "all", "(", "test"]) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        if let Some(name) =
            tokens[at..].iter().skip_while(|token| *token != "]").skip_while(|t| *t != "mod").nth(1)
        {
            let head = tokens[at..].iter().position(|token| token == "mod").unwrap_or(usize::MAX);
            if tokens[at..]
                .iter()
                .position(|token| token == ";" || token == "{")
                .is_some_and(|end| head < end)
            {
                tests.push(name.clone());
            }
        }
        // To the semicolon, or the brace that closes the first one.
        let mut depth = 0;
        while at < tokens.len() {
            match tokens[at].as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            at += 1;
            if depth == 0 && (tokens[at - 1] == "}" || tokens[at - 1] == ";") {
                break;
            }
        }
    }
    (kept, tests)
}

/// Sets of files that import each other in a circle, the largest first.
pub(crate) fn circles(edges: &Edges) -> Vec<BTreeSet<String>> {
    let reach = |from: &String| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(file) = next.pop() {
            let targets = edges.get(file).into_iter().flat_map(|to| to.keys());
            next.extend(targets.filter(|to| seen.insert((*to).clone())));
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<String>> = edges.keys().map(|file| (file, reach(file))).collect();
    let of = |file: &String| -> BTreeSet<String> {
        let both = |other: &&String| reached.get(other).is_some_and(|back| back.contains(file));
        reached[file].iter().filter(both).cloned().collect()
    };
    let found: BTreeSet<BTreeSet<String>> = edges.keys().map(of).filter(|circle| circle.len() > 1).collect();
    let mut circles: Vec<BTreeSet<String>> = found.into_iter().collect();
    circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
    circles
}
