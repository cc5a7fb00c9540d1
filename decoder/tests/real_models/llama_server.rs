//! The dialect `llama-cpp` against a real llama.cpp server of SmolLM2: what it says, what it writes, and as a member
//! beside the same model in this process. Runs where `ROUTEWRIGHT_LLAMA_SERVER` is the URL of one; `.ci/llama-server`
//! starts one.

use crate::{SMOLLM2, file, model};
use routewright_data::{rng, testing};
use routewright_decoder::backend::{Backend, Draft, Stop};
use routewright_decoder::backends;
use routewright_decoder::chat::Message;
use routewright_decoder::ensemble::MemberFile;
use routewright_decoder::fuse::{answer, find};
use routewright_decoder::generation::Ask;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

/// Greatest and mean difference of a log-probability to the same model in this process, nats: both round activations
/// to 8 bits (see `llama_cpp.rs`), and of candidates for one place the differences have one cause.
const NEAR: (f32, f32) = (0.8, 0.4);
const PROMPTS: [&str; 3] =
    ["The capital of France is", "Once upon a time, there was", "Grüße aus Köln! 1 + 1 ="];

type Model = Arc<dyn Backend>;

/// URL of the server, the model here, and the model there with these settings more.
fn pair(more: &Value) -> Option<(String, Model, Model)> {
    let Ok(url) = std::env::var("ROUTEWRIGHT_LLAMA_SERVER") else {
        let why = "`ROUTEWRIGHT_LLAMA_SERVER` names no llama.cpp server; `.ci/llama-server` starts one";
        testing::skip("llama.cpp server", why);
        return None;
    };
    let mut settings = json!({"url": url, "dialect": "llama-cpp", "tokenizer": file(SMOLLM2)?});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let settings = settings.as_object().unwrap().clone();
    let member = MemberFile { name: "far".into(), backend: "http".into(), settings };
    Some((url, model("smollm2")?, backends::open(&member, Path::new("")).unwrap()))
}

fn post(url: &str, path: &str, body: &Value) -> Value {
    let mut reply = ureq::post(format!("{url}{path}"))
        .header("content-type", "application/json")
        .send(body.to_string().as_bytes())
        .unwrap();
    serde_json::from_str(&reply.body_mut().read_to_string().unwrap()).unwrap()
}

fn draft(tokens: usize, stop: &[&str]) -> Draft {
    let stop = stop.iter().map(|stop| stop.as_bytes().to_vec()).collect();
    Draft { tokens, stop, temperature: 0.0, top_p: 1.0 }
}

#[test]
fn it_reads_the_same_ids_and_says_what_the_model_here_says() {
    let Some((_, near, far)) = pair(&json!({"top": 200})) else { return };
    for prompt in PROMPTS {
        let open = |model: &Model| model.open(prompt.as_bytes(), &Stop::default()).unwrap();
        let (mut far, mut near) = (open(&far), open(&near));
        assert_eq!(far.ids(), near.ids());
        let (listed, all) = (far.next().unwrap(), near.next().unwrap());
        // All of its candidates, of which the first are likely enough not to be noise of rounding.
        assert!(listed.top(usize::MAX).len() >= 190, "{}", listed.top(usize::MAX).len());
        let likely = listed.top(40);
        let far: Vec<f32> = likely.iter().map(|(id, p)| (p - all.log_prob(*id).unwrap()).abs()).collect();
        let (most, mean) =
            (far.iter().copied().fold(0.0, f32::max), far.iter().sum::<f32>() / far.len() as f32);
        println!("`{prompt}`: {most:.3} at most, {mean:.3} in the mean over {} candidates", far.len());
        assert!(most < NEAR.0 && mean < NEAR.1, "`{prompt}`: {most} {mean}");
    }
}

#[test]
fn it_writes_what_the_server_writes_when_it_is_asked_directly() {
    let Some((url, _, far)) = pair(&json!({})) else { return };
    for (prompt, stop) in PROMPTS.into_iter().zip([&[][..], &[","], &["\n"]]) {
        let ids = far.tokenizer().unwrap().encode(prompt.as_bytes());
        let asked = json!({
            "prompt": ids, "n_predict": 16, "temperature": 0, "stop": stop, "repeat_penalty": 1.0, "cache_prompt": true,
        });
        let expected = post(&url, "/completion", &asked)["content"].as_str().unwrap().to_owned();
        let mut session = far.open(prompt.as_bytes(), &Stop::default()).unwrap();
        let written = session.write(&draft(16, stop), &mut rng::stream(0, "none")).unwrap();
        assert_eq!(String::from_utf8_lossy(&written.text), expected, "`{prompt}`");
        assert!(!expected.is_empty() && (stop.is_empty() || !expected.contains(stop[0])), "{expected}");
        // Token by token it comes to the same, as far as it was no tie.
        let mut session = far.open(prompt.as_bytes(), &Stop::default()).unwrap();
        let mut text = Vec::new();
        while text.len() < written.text.len() {
            let id = session.next().unwrap().best().0;
            session.feed(&[id]).unwrap();
            text.extend_from_slice(far.tokenizer().unwrap().vocabulary().bytes(id));
        }
        text.truncate(written.text.len());
        assert_eq!(String::from_utf8_lossy(&text), expected, "`{prompt}`");
    }
}

#[test]
fn a_conversation_is_put_in_the_template_as_the_server_puts_it() {
    let Some((url, _, far)) = pair(&json!({"template": "chat"})) else { return };
    let chat = [Message::user("Name three colors.")];
    let said =
        post(&url, "/v1/chat/completions", &json!({"messages": chat, "temperature": 0, "max_tokens": 20}));
    let expected = said["choices"][0]["message"]["content"].as_str().unwrap();
    let mut session = far.open_chat(&chat, &Stop::default()).unwrap();
    assert_eq!(json!(session.ids().len()), said["usage"]["prompt_tokens"]);
    let written = session.write(&draft(20, &[]), &mut rng::stream(0, "none")).unwrap();
    assert_eq!(String::from_utf8_lossy(&written.text), expected);
}

#[test]
fn it_is_a_member_beside_the_model_here() {
    let Some((_, near, far)) = pair(&json!({"top": 100})) else { return };
    let members = [far, near];
    for system in ["gac", "unite", "agreement", "sweetspan", "specfuse"] {
        let built = find(system).unwrap().build(&json!({}), &members);
        let fuser = match built {
            Ok(fuser) => fuser,
            // llama.cpp scores no text.
            Err(error) => {
                assert!(error.to_string().contains("log-probabilities of given texts"), "{system}: {error}");
                continue;
            }
        };
        let mut ask = Ask::new(PROMPTS[0].as_bytes());
        (ask.limits.steps, ask.limits.tokens) = (12, 12);
        let answer = answer(&*fuser, &members, ask, Box::new(|_| {})).unwrap();
        assert!(answer.trace.drops().is_empty(), "{system}: {:?}", answer.trace.drops());
        assert!(answer.text.contains("Paris"), "{system}: {:?}", answer.text);
        let agreed = answer.trace.steps().iter().filter(|step| step.agree == [true, true]).count();
        println!(
            "{system}: both agree in {agreed} of {} steps: {:?}",
            answer.trace.steps().len(),
            answer.text
        );
    }
}
