//! The registry on disk: what is allowed, what is refused, what a damaged file does.

use crate::registry::*;
use std::fs;
use std::time::SystemTime;

fn digest(name: &str) -> String {
    blake3::hash(name.as_bytes()).to_hex().to_string()
}

fn promote(name: &str, to: Target) -> Verb {
    Verb::Promote { digest: digest(name), path: Some(name.into()), to }
}

fn ask(verb: Verb, grounds: Grounds, reason: &str) -> Ask {
    Ask { who: "test".to_owned(), verb, reason: reason.to_owned(), grounds, revision: None }
}

fn forced(verb: Verb) -> Ask {
    ask(verb, Grounds::Forced(None), "because")
}

fn registry() -> (Registry, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::at(dir.path().join("slot"));
    registry.apply(&ask(promote("a", Target::Active), Grounds::Nothing, "the first")).unwrap();
    (registry, dir)
}

fn state(slot: &Slot, name: &str) -> State {
    slot.find(&digest(name)).unwrap().state
}

fn refused(registry: &Registry, ask: &Ask, says: &str) {
    let before = (registry.read().unwrap(), registry.history().unwrap().len());
    let error = registry.apply(ask).unwrap_err().to_string();
    assert!(error.starts_with("refused: ") && error.contains(says), "{error}");
    let history = registry.history().unwrap();
    assert_eq!(
        (registry.read().unwrap(), history.len()),
        (before.0, before.1 + 1),
        "only the audit has grown"
    );
    let last = history.last().unwrap();
    assert!(last.outcome == Outcome::Refused && last.refusal.contains(says), "{last:?}");
}

#[test]
fn a_version_goes_its_way_and_the_audit_tells_all_of_it() {
    let (registry, _dir) = registry();
    registry.apply(&ask(promote("b", Target::Shadow), Grounds::Nothing, "look")).unwrap();
    registry.apply(&forced(promote("b", Target::Canary(0.25)))).unwrap();
    let evidence = Grounds::Evidence(serde_json::json!({ "lower_bound": 0.1 }));
    let slot = registry.apply(&ask(promote("b", Target::Active), evidence, "better")).unwrap();
    assert_eq!((state(&slot, "a"), state(&slot, "b"), slot.revision), (State::Retired, State::Active, 4));
    assert!(slot.find(&digest("a")).unwrap().reason.starts_with("replaced by"));
    let slot = registry.apply(&ask(Verb::Rollback, Grounds::Nothing, "complaints")).unwrap();
    assert_eq!((state(&slot, "a"), state(&slot, "b")), (State::Active, State::Retired));
    refused(&registry, &ask(Verb::Rollback, Grounds::Nothing, ""), "none to go back to");
    let told: Vec<_> = registry.history().unwrap().into_iter().map(|l| (l.action, l.from, l.to)).collect();
    let line = |action: &str, from, to: &str| (action.to_owned(), from, to.to_owned());
    assert_eq!(
        told[1..5],
        [
            line("promote", None, "shadow"),
            line("promote", Some(State::Shadow), "canary:0.25"),
            line("promote", Some(State::Canary), "active"),
            line("rollback", Some(State::Active), "retired"),
        ]
    );
    let history = registry.history().unwrap();
    assert_eq!(history[3].evidence["lower_bound"], 0.1);
    assert_eq!(history[4].restored, Some(digest("a")));
    assert_eq!(
        history.iter().map(|line| line.forced).collect::<Vec<_>>(),
        [false, false, true, false, false, false]
    );
}

#[test]
fn a_rollback_takes_the_canary_first() {
    let (registry, _dir) = registry();
    registry.apply(&forced(promote("b", Target::Canary(0.5)))).unwrap();
    let slot = registry.apply(&ask(Verb::Rollback, Grounds::Nothing, "")).unwrap();
    assert_eq!((state(&slot, "a"), state(&slot, "b")), (State::Active, State::Retired));
}

#[test]
fn what_is_not_allowed_is_refused_in_words() {
    let (registry, dir) = registry();
    registry.apply(&ask(promote("b", Target::Candidate), Grounds::Nothing, "")).unwrap();
    for (ask, says) in [
        (ask(promote("b", Target::Canary(0.1)), Grounds::Nothing, ""), "needs evidence"),
        (ask(promote("b", Target::Active), Grounds::Nothing, ""), "needs evidence"),
        (ask(promote("b", Target::Active), Grounds::Forced(None), " "), "needs a reason"),
        (forced(promote("a", Target::Retired)), "never left without"),
        (forced(promote("a", Target::Canary(0.1))), "never left without"),
        (forced(promote("b", Target::Candidate)), "candidate already"),
        (
            forced(Verb::Promote { digest: digest("c"), path: None, to: Target::Shadow }),
            "not in the registry",
        ),
        (forced(promote("c", Target::Retired)), "not in the registry"),
        (Ask { revision: Some(1), ..forced(promote("b", Target::Active)) }, "judge again"),
    ] {
        refused(&registry, &ask, says);
    }
    registry.apply(&forced(promote("b", Target::Canary(0.1)))).unwrap();
    refused(&registry, &forced(promote("c", Target::Canary(0.1))), "is canary already");
    refused(&registry, &forced(promote("b", Target::Canary(0.1))), "is canary:0.1 already");
    registry.apply(&forced(promote("b", Target::Canary(0.2)))).unwrap();
    registry.apply(&ask(promote("b", Target::Retired), Grounds::Nothing, "")).unwrap();
    refused(&registry, &forced(promote("b", Target::Active)), "promote it to candidate first");
    let empty = Registry::at(dir.path().join("empty"));
    refused(&empty, &forced(promote("b", Target::Canary(0.1))), "no active policy");
    refused(&empty, &ask(Verb::Rollback, Grounds::Nothing, ""), "nothing to roll back");
    for text in ["canary", "canary:0", "canary:1", "canary:x", "live"] {
        assert!(text.parse::<Target>().unwrap_err().contains(text));
    }
}

#[test]
fn a_damaged_file_is_refused_and_never_overwritten() {
    let (registry, _dir) = registry();
    registry.apply(&forced(promote("b", Target::Canary(0.5)))).unwrap();
    let path = registry.file();
    let good = fs::read_to_string(&path).unwrap();
    for (from, to, says) in [
        ("\"canary\"", "\"active\"", "2 entries are active"),
        ("\"canary\"", "\"shadow\"", "`share` of entry 1"),
        ("0.5", "1.5", "`share` of entry 1"),
        ("\"format\": 1", "\"format\": 7", "`format` is `7`"),
        (&digest("b"), &digest("a"), "stands in it twice"),
        (&digest("b"), "beef", "64 hex digits"),
        ("\"canary\"", "\"crowned\"", "unknown variant `crowned`"),
        ("{", "", "invalid type"),
    ] {
        let bad = good.replacen(from, to, 1);
        fs::write(&path, &bad).unwrap();
        let error = registry.apply(&forced(promote("c", Target::Shadow))).unwrap_err().to_string();
        assert!(error.contains("registry.json") && error.contains(says), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), bad);
    }
}

#[test]
fn a_line_that_a_crash_cut_off_is_left_out_and_the_next_stands_alone() {
    let (registry, _dir) = registry();
    let path = registry.dir().join(AUDIT_FILE);
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str("{\"at_ms\": 12, \"who\": \"te");
    fs::write(&path, &text).unwrap();
    assert_eq!(registry.history().unwrap().len(), 1);
    registry.apply(&ask(promote("b", Target::Shadow), Grounds::Nothing, "")).unwrap();
    assert_eq!(registry.history().unwrap().len(), 2);
    assert!(fs::read_to_string(&path).unwrap().starts_with(&text), "nothing is cut from an audit");
    fs::write(&path, text + "\nnot ours\n").unwrap();
    assert!(registry.history().unwrap_err().to_string().contains("line 3"));
}

#[test]
fn changes_of_many_at_once_are_made_one_after_the_other() {
    let (registry, _dir) = registry();
    std::thread::scope(|scope| {
        for i in 0..8 {
            let registry = &registry;
            let verb = promote(&format!("v{i}"), Target::Candidate);
            scope.spawn(move || registry.apply(&ask(verb, Grounds::Nothing, "")).unwrap());
        }
    });
    let slot = registry.read().unwrap();
    assert_eq!((slot.entries.len(), slot.revision, registry.history().unwrap().len()), (9, 9, 9));
}

#[test]
fn a_change_that_a_killed_process_did_not_finish_is_noted_as_failed_once() {
    let (registry, _dir) = registry();
    registry.apply(&ask(promote("b", Target::Shadow), Grounds::Nothing, "look")).unwrap();
    // The audit has the line of a second shadow, the registry does not have the change: killed in between.
    let stood = fs::read(registry.file()).unwrap();
    registry.apply(&ask(promote("c", Target::Shadow), Grounds::Nothing, "look")).unwrap();
    fs::write(registry.file(), stood).unwrap();
    let (old, young) = (registry.dir().join(".routewright-old"), registry.dir().join(".routewright-young"));
    for path in [&old, &young] {
        fs::write(path, "half").unwrap();
    }
    let hours_ago = SystemTime::now() - Duration::from_secs(2 * 3600);
    fs::File::options().write(true).open(&old).unwrap().set_modified(hours_ago).unwrap();
    for _ in 0..2 {
        registry.reconcile().unwrap();
        let history = registry.history().unwrap();
        let outcomes: Vec<Outcome> = history.iter().map(|line| line.outcome).collect();
        assert_eq!(outcomes, [Outcome::Done, Outcome::Done, Outcome::Done, Outcome::Failed]);
        let (done, failed) = (&history[2], &history[3]);
        assert_eq!((&failed.digest, failed.revision), (&done.digest, done.revision));
        assert!(failed.refusal.contains("ended before"), "{failed:?}");
        assert!(!old.exists() && young.exists(), "what is young may be being written");
    }
    let slot = registry.apply(&ask(promote("c", Target::Shadow), Grounds::Nothing, "again")).unwrap();
    assert_eq!((state(&slot, "c"), slot.revision), (State::Shadow, 3));
    registry.reconcile().unwrap();
    assert_eq!(registry.history().unwrap().last().unwrap().outcome, Outcome::Done);
}
