//! The style limits that are tests, not opinions: dependency arrows, sizes, the registry rule.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "tidy/imports.rs"]
mod imports;

use imports::{Crate, circles};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 600;
const LINE_WIDTH_MAX: usize = 120;
/// Files of a crate that may import each other in a circle.
const CIRCLE_MAX: usize = 4;
/// One table or one closed idea each; a new entry needs a reason.
const LONG_FILES: &[&str] = &[];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of the repository but build outputs.
fn sources() -> Vec<PathBuf> {
    let tops = ["src", "data", "policy", "trainer", "decoder", "policy-server", "experiments", "tests"];
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = tops.iter().map(|top| root().join(top)).collect();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 50, "the walk found {} files only", files.len());
    files
}

/// First line and length of every function: the code is formatted, so a function ends at the first closing
/// brace of its own indentation.
fn functions(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let qualifier = |word: &str| word.starts_with("pub") || ["const", "async", "unsafe"].contains(&word);
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let mut words = line.split_whitespace().skip_while(|word| qualifier(word) || word.ends_with(')'));
        let open = !line.trim_end().ends_with('}') && !line.trim_end().ends_with(';');
        if words.next() != Some("fn") || !open {
            continue;
        }
        if let Some(end) = lines[at..].iter().position(|l| indent(l) == indent(line) && l.trim() == "}") {
            found.push((at + 1, end + 1));
        }
    }
    found
}

#[test]
fn functions_and_files_are_short_and_lines_are_narrow() {
    let mut complaints = Vec::new();
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        let shown = path.strip_prefix(root()).unwrap().display().to_string();
        for (line, length) in functions(&text).into_iter().filter(|(_, length)| *length > FUNCTION_LINES_MAX)
        {
            complaints
                .push(format!("{shown}:{line}: function of {length} lines, at most {FUNCTION_LINES_MAX}"));
        }
        let length = text.lines().count();
        if length > FILE_LINES_MAX && !LONG_FILES.contains(&shown.as_str()) {
            complaints.push(format!("{shown}: {length} lines, at most {FILE_LINES_MAX}"));
        }
        for (at, line) in text.lines().enumerate() {
            let width = line.chars().count();
            if width > LINE_WIDTH_MAX {
                complaints.push(format!("{shown}:{}: {width} columns, at most {LINE_WIDTH_MAX}", at + 1));
            }
        }
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn function_lengths_are_measured() {
    let method = "impl B {\n    pub fn b(\n        &self,\n    ) -> u8 {\n        1\n    }\n}\n";
    let text = format!("fn a() {{\n    x;\n}}\n\n{method}fn c() {{}}\n");
    assert_eq!(functions(&text), [(1, 3), (6, 5)]);
}

/// Who may depend on whom among our own packages.
#[test]
fn arrows_point_as_the_architecture_says() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("routewright-data", &[][..]),
        ("routewright-policy", &["data"][..]),
        ("routewright-trainer", &["data", "policy"][..]),
        ("routewright-decoder", &["data", "policy"][..]),
        ("routewright-policy-server", &["data", "policy", "decoder"][..]),
        ("routewright", &["data", "policy", "trainer", "decoder", "policy-server"][..]),
        ("routewright-experiments", &["data", "policy", "trainer", "decoder"][..]),
    ]);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert_eq!(packages.len(), allowed.len());
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let allowed: BTreeSet<String> =
            allowed[name].iter().map(|folder| format!("routewright-{folder}")).collect();
        for dependency in package["dependencies"].as_array().unwrap() {
            let dependency = dependency["name"].as_str().unwrap();
            let ours = dependency.starts_with("routewright");
            assert!(!ours || allowed.contains(dependency), "{name} must not depend on {dependency}");
        }
    }
}

/// Source folders of our crates.
const CRATES: [&str; 7] = ["data", "policy", "trainer", "decoder", "policy-server", "experiments", "."];

#[test]
fn no_circle_of_imports_is_large() {
    for name in CRATES {
        let edges = Crate::read(&root().join(name).join("src")).edges();
        let largest = circles(&edges).into_iter().next().unwrap_or_default();
        assert!(
            largest.len() <= CIRCLE_MAX,
            "{} files of `{name}` import each other in a circle, at most {CIRCLE_MAX} may: {largest:#?}",
            largest.len()
        );
    }
}

/// The floors of the server: their files, and the floors they stand on.
const FLOORS: [(&str, &[&str], &[&str]); 12] = [
    ("base", &["caller", "clock", "error", "exposition", "fingerprint", "ids", "lifecycle", "log"], &[]),
    ("dialect", &["dialect"], &[]),
    ("settings", &["settings"], &["base", "dialect"]),
    ("upstream", &["upstream"], &["base", "dialect", "settings"]),
    ("collect", &["collect"], &["base", "dialect", "settings", "upstream"]),
    ("registry", &["registry"], &["base"]),
    ("ledger", &["ledger"], &["base", "settings"]),
    ("live", &["live", "serve_error"], &["base", "dialect", "settings", "registry", "ledger"]),
    ("decide", &["decide"], &["base", "dialect", "settings", "upstream", "ledger", "live"]),
    ("upkeep", &["upkeep"], &["base", "settings", "registry", "ledger", "live"]),
    (
        "http",
        &["http"],
        &["base", "dialect", "settings", "upstream", "registry", "ledger", "live", "decide", "upkeep"],
    ),
    // Composition.
    (
        "server",
        &["app", "server", "lib"],
        &[
            "base", "dialect", "settings", "upstream", "collect", "registry", "ledger", "live", "decide",
            "upkeep", "http",
        ],
    ),
];

/// First part of the path of a file, without its extension.
fn top(file: &str) -> &str {
    let first = file.split('/').next().unwrap_or_default();
    first.strip_suffix(".rs").unwrap_or(first)
}

#[test]
fn no_arrow_of_the_server_points_up() {
    let edges = Crate::read(&root().join("policy-server/src")).edges();
    let floor = |file: &str| {
        let found = FLOORS.iter().find(|(_, tops, _)| tops.contains(&top(file)));
        found.unwrap_or_else(|| panic!("{file} is on no floor: add it to `FLOORS` and ARCHITECTURE.md"))
    };
    let mut wrong = Vec::new();
    for (from, targets) in &edges {
        let (own, _, below) = floor(from);
        for (to, items) in targets {
            let (other, ..) = floor(to);
            if own != other && !below.contains(other) {
                wrong.push(format!("{from} ({own}) uses {items:?} of {to} ({other})"));
            }
            // A handler asks the service, not its machinery.
            let machinery = ["live/batcher.rs", "live/stages.rs", "ledger/store.rs", "ledger/writer.rs"];
            if from.starts_with("http/handlers/") && machinery.contains(&to.as_str()) {
                wrong.push(format!(
                    "{from} uses {items:?} of {to}, which handlers leave to `decide` and `ledger`"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(edges.len() > 60, "{} files only", edges.len());
}

/// A route is one file, one row and one page: every endpoint is declared in `http/handlers`, listed once, described.
#[test]
fn every_route_has_a_row_and_a_page() {
    let handlers = root().join("policy-server/src/http/handlers");
    let table = fs::read_to_string(root().join("policy-server/src/http/routes.rs")).unwrap();
    let page = fs::read_to_string(root().join("docs/http.md")).unwrap();
    let mut routes = 0;
    for path in sources().into_iter().filter(|path| path.starts_with(&handlers)) {
        let text = fs::read_to_string(&path).unwrap();
        let module = path.file_stem().unwrap().to_string_lossy().into_owned();
        for name in text.lines().filter_map(|line| line.strip_prefix("pub(crate) const ")) {
            let Some(name) = name.split(": Endpoint").next().filter(|_| name.contains(": Endpoint")) else {
                continue;
            };
            assert!(table.contains(&format!("{module}::{name},")), "{module}::{name} is not in `TABLE`");
            routes += 1;
        }
        for marker in ["Endpoint::post(\"", "Endpoint::get(\""] {
            for path in text.split(marker).skip(1).filter_map(|rest| rest.split('"').next()) {
                assert!(page.contains(path), "docs/http.md says nothing of {path}");
            }
        }
    }
    assert!(routes > 20, "{routes} routes only");
}

#[test]
fn imports_are_followed_through_modules_and_re_exports() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("imports");
    let write = |path: &str, text: &str| {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("lib.rs", "mod a; mod b; mod c;\npub use a::Thing;\n// use b::Other;\n");
    write("a/mod.rs", "mod inner;\npub use inner::{Thing, helper as help};\n");
    write("a/inner.rs", "pub struct Thing;\npub fn helper() {}\n");
    let uses =
        "use crate::{Thing, a};\nfn f(x: &'static Thing) { a::help(); let _ = \"crate::c::text()\"; }\n";
    let tests = "#[cfg(test)]\nmod tests { use crate::c::g; }\n";
    write("b.rs", &format!("{uses}{tests}"));
    write("c.rs", "pub fn g() { crate::b::f() }\n");
    let edges = Crate::read(&dir).edges();
    let shown: Vec<String> = edges
        .iter()
        .flat_map(|(from, to)| to.iter().map(move |(to, items)| format!("{from} -> {to}: {items:?}")))
        .collect();
    assert_eq!(
        shown,
        ["b.rs -> a/inner.rs: {\"Thing\", \"helper\"}", "c.rs -> b.rs: {\"f\"}"],
        "re-exports, texts, comments and tests make no edges"
    );
    assert!(circles(&edges).is_empty());
    write("a/inner.rs", "pub struct Thing;\npub fn helper() { crate::c::g() }\n");
    let found = circles(&Crate::read(&dir).edges());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].iter().map(String::as_str).collect::<Vec<_>>(), ["a/inner.rs", "b.rs", "c.rs"]);
}

/// Absences that keep the crates what they are.
#[test]
fn what_must_not_be_named_is_not_named() {
    let rules: &[(&[&str], &[&str])] = &[
        (
            &["burn::", "burn_tensor::", "burn_flex::", "axum::", "tokio::"],
            &["data/src", "policy/src", "decoder/src"],
        ),
        (&["SystemTime::now", "Instant::now", "std::env::", "thread_rng", "rand::rng("], &["policy/src"]),
        (&["burn::", "burn_tensor::", "burn_flex::"], &["policy-server/src", "src"]),
        (&["std::fs", "File::open", "files::"], &["policy/src"]),
        (
            &["burn::", "burn_tensor::", "burn_autodiff::", "burn_flex::", "burn_ndarray::", "burn_cuda::"],
            &[
                "trainer/src/methods",
                "trainer/src/evaluate",
                "trainer/src/ope",
                "trainer/src/report",
                "trainer/src/compare",
                "trainer/src/simulate",
                "trainer/src/preferences",
                "trainer/src/rlae",
            ],
        ),
        // The one door to what is in service.
        (&["current.store("], &["policy-server/src"]),
        (
            &["JsonSchema)]", "Deserialize)]", "Deserialize,", "Serialize)]", "Serialize,"],
            &["policy-server/src/http", "policy-server/src/live", "policy-server/src/decide"],
        ),
        (&["routewright_trainer"], &["policy-server/src", "policy/src", "data/src"]),
        // `routewright_data::simd` says why.
        (&["pulp::"], &["data/src/features", "policy/src", "trainer/src", "decoder/src"]),
    ];
    // Where each of them may be named all the same.
    let exceptions = [
        ("std::fs", "policy/src/artifact/"),
        ("File::open", "policy/src/artifact/"),
        ("files::", "policy/src/artifact/"),
        ("current.store(", "policy-server/src/live/in_service.rs"),
        ("erialize", "policy-server/src/http/wire/"),
        ("erialize", "policy-server/src/http/conversation.rs"),
        ("erialize", "policy-server/src/live/arm_table.rs"),
        ("JsonSchema", "policy-server/src/http/wire/"),
        ("JsonSchema", "policy-server/src/http/conversation.rs"),
    ];
    for path in sources() {
        let shown = path.strip_prefix(root()).unwrap().display().to_string();
        let text = fs::read_to_string(&path).unwrap();
        for (needles, folders) in rules {
            if !folders.iter().any(|folder| shown.starts_with(&format!("{folder}/"))) {
                continue;
            }
            let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            let is_excepted = |needle: &str| {
                exceptions.iter().any(|(part, place)| needle.contains(part) && shown.starts_with(place))
            };
            for needle in needles.iter().filter(|needle| !is_excepted(needle)) {
                assert!(!code.iter().any(|line| line.contains(needle)), "{shown} must not name `{needle}`");
            }
        }
    }
}

/// No method name is spelled twice in code: the row is the only source.
#[test]
fn a_method_name_is_spelled_once() {
    let methods = root().join("trainer/src/methods");
    let mut names = BTreeSet::new();
    for path in sources().into_iter().filter(|path| path.starts_with(&methods)) {
        let text = fs::read_to_string(&path).unwrap();
        for line in text.lines() {
            if let Some(rest) = line.trim().strip_prefix("const NAME: &'static str = \"") {
                let name = rest.split('"').next().unwrap().to_owned();
                assert!(names.insert(name), "two methods are named {rest}");
            }
        }
    }
    assert!(names.contains("knn") && names.contains("routerdc"), "{names:?}");
}

/// Every method and every system of fusion, read from its row, has a page that the index of its kind links to.
#[test]
fn every_method_has_a_page() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_routewright")).args(["methods", "--json"]).output().unwrap();
    let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let methods = (root().join("docs/methods"), "index.md");
    let fusion = (root().join("docs/fusion"), "README.md");
    let mut systems = 0;
    for row in rows.as_array().unwrap() {
        let name = row["name"].as_str().unwrap();
        let of_fusion = row["family"] == "fusion";
        systems += usize::from(of_fusion);
        let (docs, index) = if of_fusion { &fusion } else { &methods };
        let page = if row["family"] == "baseline" { "baselines.md".to_owned() } else { format!("{name}.md") };
        let index = fs::read_to_string(docs.join(index)).unwrap();
        assert!(
            index.contains(&format!("`{name}`")) && index.contains(&format!("({page})")),
            "{name} in the index"
        );
        let text = fs::read_to_string(docs.join(&page)).unwrap();
        assert!(text.contains(name), "{page} does not speak of {name}");
        let paper = row["paper"].as_str().filter(|_| of_fusion).unwrap_or_default();
        assert!(text.contains(paper), "{page} does not name its paper, arXiv {paper}");
        let parameters = row["defaults"].as_object().filter(|_| of_fusion);
        for parameter in parameters.into_iter().flat_map(|defaults| defaults.keys()) {
            assert!(text.contains(&format!("`{parameter}`")), "{page} does not explain `{parameter}`");
        }
    }
    assert!(systems > 10, "{systems} systems only");
}

/// Several members have programs; the README's first command names none.
#[test]
fn the_first_command_of_the_readme_knows_its_program() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.contains("\ncargo run --release -- quickstart\n"), "README.md has another first command");
    let args = ["metadata", "--no-deps", "--offline", "--format-version", "1"];
    let output = Command::new(env!("CARGO")).args(args).current_dir(root()).output().unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let defaults: Vec<&str> = packages.iter().filter_map(|p| p["default_run"].as_str()).collect();
    assert_eq!(defaults, ["routewright"]);
}

/// Every relative link of a page leads to a file, and its fragment to a heading of it.
#[test]
fn links_between_pages_lead_somewhere() {
    let mut pages = Vec::new();
    for folder in ["", "docs", "docs/methods", "docs/fusion", "experiments", "experiments/record"] {
        let entries = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        pages.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    let mut broken = Vec::new();
    for page in &pages {
        let text = prose(page);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            let headed = || headings(&target).iter().any(|heading| heading == fragment);
            let leads = target.exists() && (fragment.is_empty() || headed());
            if !link.contains("://") && !link.contains(' ') && !leads {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(pages.len() > 60, "{} pages only", pages.len());
}

/// A page without its code blocks.
fn prose(page: &Path) -> String {
    let text = fs::read_to_string(page).unwrap();
    text.split("```").step_by(2).collect()
}

/// Fragments of the headings of a page, as GitHub makes them.
fn headings(page: &Path) -> Vec<String> {
    let fragment = |heading: &str| {
        let kept = |c: &char| c.is_alphanumeric() || "-_ ".contains(*c);
        heading.trim().to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")
    };
    prose(page)
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| fragment(line.trim_start_matches('#')))
        .collect()
}
