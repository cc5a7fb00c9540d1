//! Chunks of chat as events of a response.
//!
//! Every item has its place in the output and may be open while others are, so what comes is sent at once. A text is
//! over when something else begins, a call when its arguments are whole and something else begins, or at the end. Ids
//! of items are made once and stand in every event of the item.

use super::Frame;
use super::calls::{Known, Place, place};
use super::nesting::Nesting;
use super::replies::shown;
use super::response_shape::{Item, free_text, response, response_id, status_of};
use crate::dialect::Dialect;
use crate::dialect::failure::{self, Problem};
use crate::dialect::json::{Value, Writer};
use crate::dialect::sse::{self, Event};
use crate::dialect::usage::Counts;

/// Bytes of the answer kept, which the last event tells once more.
const KEPT_MAX: usize = 32 << 20;
/// Items of an answer at most.
const ITEMS_MAX: usize = 1024;

#[derive(Debug)]
struct Open {
    item: Item,
    id: String,
    is_over: bool,
    /// Of a call.
    index: i64,
    call_id: String,
    nesting: Nesting,
    /// Its place in the output, which it has from its beginning on: a call begins with its name.
    place: Option<u64>,
}

/// The machine.
#[derive(Debug)]
pub(super) struct ToResponses {
    frame: Frame,
    id: String,
    model: String,
    began: bool,
    number: u64,
    /// Items that have a place.
    places: u64,
    items: Vec<Open>,
    kept: usize,
    counts: Option<Counts>,
    finish: Option<String>,
}

impl ToResponses {
    pub(super) fn new(frame: Frame) -> Self {
        let (id, model, items) = (String::new(), String::new(), Vec::new());
        Self {
            frame,
            id,
            model,
            began: false,
            number: 0,
            places: 0,
            items,
            kept: 0,
            counts: None,
            finish: None,
        }
    }

    pub(super) fn counts(&self) -> Option<&Counts> {
        self.counts.as_ref()
    }

    /// Takes an event; whether it was the last.
    pub(super) fn event(&mut self, event: &Event<'_>, out: &mut String) -> bool {
        if event.is_done() {
            self.end(out);
            return true;
        }
        let Some(chunk) = event.json() else { return false };
        let is_error =
            chunk.has("error").is_some_and(|error| !matches!(error.raw(), "false" | "\"\"" | "0" | "{}"));
        if is_error || event.name == "error" {
            self.fail(&failure::of_event(&event.data).problem(), out);
            return true;
        }
        if let Some(counts) = Counts::of_reply(chunk) {
            self.counts.get_or_insert_default().merge(counts);
        }
        let is_first = |choice: &Value<'_>| choice.get("index").and_then(Value::integer).unwrap_or(0) == 0;
        let Some(choice) = chunk.get("choices").and_then(|choices| choices.items().find(is_first)) else {
            return false;
        };
        self.begin(Some(chunk), out);
        if let Some(delta) = choice.has("delta").or(choice.has("message")) {
            self.delta(delta, out);
        }
        if let Some(finish) = choice.has("finish_reason").and_then(Value::text) {
            self.finish = Some(finish.into_owned());
        }
        if self.kept > KEPT_MAX || self.items.len() > ITEMS_MAX {
            self.fail(&Problem::new(502, "upstream_malformed", "the answer does not end"), out);
            return true;
        }
        false
    }

    /// The stream of the arm is over, without `[DONE]`.
    pub(super) fn finish(&mut self, out: &mut String) {
        self.end(out);
    }

    fn begin(&mut self, chunk: Option<Value<'_>>, out: &mut String) {
        if std::mem::replace(&mut self.began, true) {
            return;
        }
        let text = |name: &str| chunk.and_then(|chunk| chunk.get(name)).and_then(Value::text);
        let (id, model) = (text("id"), text("model"));
        self.id = response_id(&self.frame, id.as_deref());
        self.model = shown(self.frame.model.as_deref(), model.as_deref(), "").to_owned();
        let response = response(&self.id, &self.model, ("in_progress", None), &[], None, &self.frame);
        for kind in ["response.created", "response.in_progress"] {
            self.send(
                kind,
                |event| {
                    event.name("response").raw(&response);
                },
                out,
            );
        }
    }

    fn delta(&mut self, delta: Value<'_>, out: &mut String) {
        let text = |name: &str| delta.has(name).and_then(Value::text).filter(|text| !text.is_empty());
        if let Some(thought) = text("reasoning_content").or(text("reasoning")) {
            self.piece(Item::Reasoning(String::new()), &thought, out);
        }
        if let Some(content) = text("content") {
            self.piece(Item::Text(String::new()), &content, out);
        }
        if let Some(refusal) = text("refusal") {
            self.piece(Item::Refusal(String::new()), &refusal, out);
        }
        for call in delta.get("tool_calls").into_iter().flat_map(Value::items) {
            self.call(call, out);
        }
    }

    /// More of a text; another kind than the last begins an item.
    fn piece(&mut self, kind: Item, piece: &str, out: &mut String) {
        let is_same = |open: &Open| {
            !open.is_over && std::mem::discriminant(&open.item) == std::mem::discriminant(&kind)
        };
        if !self.items.last().is_some_and(is_same) {
            self.close(false, out);
            self.items.push(self.open(kind, -1));
        }
        let at = self.items.len() - 1;
        self.add(at, piece, out);
    }

    fn open(&self, item: Item, index: i64) -> Open {
        let (id, call_id) = (String::new(), String::new());
        Open { item, id, is_over: false, index, call_id, nesting: Nesting::default(), place: None }
    }

    fn call(&mut self, call: Value<'_>, out: &mut String) {
        let text = |value: Option<Value<'_>>| value.and_then(Value::text).unwrap_or_default().into_owned();
        let (id, name) = (text(call.get("id")), text(call.at(&["function", "name"])));
        let arguments = call.at(&["function", "arguments"]);
        let arguments =
            arguments.map(|value| value.text().map_or_else(|| value.raw().into(), |text| text.into_owned()));
        let index = call.get("index").and_then(Value::integer);
        let calls: Vec<usize> =
            (0..self.items.len()).filter(|at| matches!(self.items[*at].item, Item::Call(..))).collect();
        let known = |at: &usize| {
            let open = &self.items[*at];
            let is_whole = open.nesting.is_whole();
            Known { index: open.index, id: &open.call_id, is_whole, is_over: open.is_over }
        };
        let known: Vec<Known<'_>> = calls.iter().map(known).collect();
        let at = match place(&known, index, &id, &name) {
            Place::Nowhere => return,
            Place::Known(at) => calls[at],
            Place::New => {
                self.close(false, out);
                let minted = format!("call_{}", calls.len());
                let item = Item::Call(minted, String::new(), String::new());
                self.items.push(self.open(item, index.unwrap_or(-1)));
                self.items.len() - 1
            }
        };
        let open = &mut self.items[at];
        if let Item::Call(call_id, own_name, _) = &mut open.item {
            if open.call_id.is_empty() && !id.is_empty() && open.place.is_none() {
                call_id.clone_from(&id);
            }
            if own_name.is_empty() && open.place.is_none() {
                *own_name = name;
            }
        }
        if open.call_id.is_empty() {
            open.call_id = id;
        }
        self.add(at, &arguments.unwrap_or_default(), out);
    }

    /// Adds a piece to an item and sends it, and before it the item's beginning.
    fn add(&mut self, at: usize, piece: &str, out: &mut String) {
        self.kept += piece.len();
        let open = &mut self.items[at];
        open.nesting.read(piece);
        let is_nameless = matches!(&open.item, Item::Call(_, name, _) if name.is_empty());
        if is_nameless {
            open.item.push(piece);
            return;
        }
        let mut piece = piece.to_owned();
        if open.place.is_none() {
            // What came before its name.
            if let Item::Call(_, _, arguments) = &mut open.item {
                piece.insert_str(0, &std::mem::take(arguments));
            }
            self.begin_item(at, out);
        }
        let open = &mut self.items[at];
        open.item.push(&piece);
        // The free text of a tool is within JSON until its call is whole.
        let is_custom =
            matches!(&open.item, Item::Call(_, name, _) if self.frame.custom_tools.contains(name));
        if piece.is_empty() || is_custom {
            return;
        }
        let kind = match open.item {
            Item::Reasoning(_) => "response.reasoning_summary_text.delta",
            Item::Text(_) => "response.output_text.delta",
            Item::Refusal(_) => "response.refusal.delta",
            Item::Call(..) => "response.function_call_arguments.delta",
        };
        self.of_item(
            kind,
            at,
            |event| {
                event.name("delta").text(&piece);
            },
            out,
        );
    }

    fn begin_item(&mut self, at: usize, out: &mut String) {
        let place = self.places;
        self.places += 1;
        self.items[at].id = self.items[at].item.id(&self.id, place, &self.frame);
        self.items[at].place = Some(place);
        let open = &self.items[at];
        let item = open.item.json(&open.id, "in_progress", &self.frame);
        let output_index = place;
        self.send(
            "response.output_item.added",
            |event| {
                event.name("output_index").number(output_index).name("item").raw(&item);
            },
            out,
        );
        let part = self.items[at].item.part();
        let kind = match self.items[at].item {
            Item::Reasoning(_) => "response.reasoning_summary_part.added",
            Item::Text(_) | Item::Refusal(_) => "response.content_part.added",
            Item::Call(..) => return,
        };
        self.of_item(
            kind,
            at,
            |event| {
                event.name("part").raw(&part);
            },
            out,
        );
    }

    /// Ends items: all of them, or those to which nothing can be added.
    fn close(&mut self, is_end: bool, out: &mut String) {
        for at in 0..self.items.len() {
            let open = &self.items[at];
            let is_call = matches!(open.item, Item::Call(..));
            if open.is_over || (is_call && !is_end && !open.nesting.is_whole()) {
                continue;
            }
            if open.place.is_none() {
                self.begin_item(at, out);
            }
            self.items[at].is_over = true;
            self.close_item(at, out);
        }
    }

    fn close_item(&mut self, at: usize, out: &mut String) {
        if let Item::Call(_, _, arguments) = &mut self.items[at].item
            && arguments.trim().is_empty()
        {
            *arguments = "{}".to_owned();
        }
        let (item, part) = (self.items[at].item.clone(), self.items[at].item.part());
        let whole = |name: &'static str, text: String| {
            move |event: &mut Writer| {
                event.name(name).text(&text);
            }
        };
        let with_part = |event: &mut Writer| {
            event.name("part").raw(&part);
        };
        match item {
            Item::Reasoning(text) => {
                self.of_item("response.reasoning_summary_text.done", at, whole("text", text), out);
                self.of_item("response.reasoning_summary_part.done", at, with_part, out);
            }
            Item::Text(text) => {
                self.of_item("response.output_text.done", at, whole("text", text), out);
                self.of_item("response.content_part.done", at, with_part, out);
            }
            Item::Refusal(text) => {
                self.of_item("response.refusal.done", at, whole("refusal", text), out);
                self.of_item("response.content_part.done", at, with_part, out);
            }
            Item::Call(_, name, arguments) if self.frame.custom_tools.contains(&name) => {
                let input = free_text(&arguments);
                self.of_item("response.custom_tool_call_input.delta", at, whole("delta", input.clone()), out);
                self.of_item("response.custom_tool_call_input.done", at, whole("input", input), out);
            }
            Item::Call(_, name, arguments) => {
                let named = move |event: &mut Writer| {
                    event.name("arguments").text(&arguments).name("name").text(&name);
                };
                self.of_item("response.function_call_arguments.done", at, named, out);
            }
        }
        let (item, output_index) = (self.item(at, "completed"), self.output_index(at));
        self.send(
            "response.output_item.done",
            |event| {
                event.name("output_index").number(output_index).name("item").raw(&item);
            },
            out,
        );
    }

    fn output_index(&self, at: usize) -> u64 {
        self.items[at].place.unwrap_or_default()
    }

    fn item(&self, at: usize, status: &str) -> String {
        self.items[at].item.json(&self.items[at].id, status, &self.frame)
    }

    /// The end: whole where the model said why it ended, else an error.
    fn end(&mut self, out: &mut String) {
        let Some(finish) = self.finish.take() else {
            let problem = Problem::new(
                502,
                "upstream_failed",
                "the stream of the model server ended before its answer",
            );
            return self.fail(&problem, out);
        };
        self.begin(None, out);
        self.close(true, out);
        let status = status_of(&finish);
        let mut order: Vec<usize> = (0..self.items.len()).collect();
        order.sort_by_key(|at| self.output_index(*at));
        let output: Vec<String> = order.into_iter().map(|at| self.item(at, "completed")).collect();
        let counts = self.counts.clone().unwrap_or_default();
        let usage = counts.settle_or(Dialect::Chat, self.frame.input_estimate, 0);
        let response = response(&self.id, &self.model, status, &output, Some(&usage), &self.frame);
        let kind = if status.0 == "incomplete" { "response.incomplete" } else { "response.completed" };
        self.send(
            kind,
            |event| {
                event.name("response").raw(&response);
            },
            out,
        );
    }

    fn fail(&mut self, problem: &Problem, out: &mut String) {
        out.push_str(&problem.event(Dialect::Responses, self.number));
        self.number += 1;
    }

    /// Sends an event about an item.
    fn of_item(&mut self, kind: &str, at: usize, rest: impl FnOnce(&mut Writer), out: &mut String) {
        let (id, output_index) = (self.items[at].id.clone(), self.output_index(at));
        let place = match self.items[at].item {
            Item::Reasoning(_) => Some("summary_index"),
            Item::Text(_) | Item::Refusal(_) => Some("content_index"),
            Item::Call(..) => None,
        };
        let has_logprobs = kind.starts_with("response.output_text");
        let with = |event: &mut Writer| {
            event.name("item_id").text(&id).name("output_index").number(output_index);
            if let Some(place) = place {
                event.name(place).number(0);
            }
            rest(event);
            if has_logprobs {
                event.name("logprobs").raw("[]");
            }
        };
        self.send(kind, with, out);
    }

    fn send(&mut self, kind: &str, rest: impl FnOnce(&mut Writer), out: &mut String) {
        let mut event = Writer::default();
        event.open('{').name("type").text(kind).name("sequence_number").number(self.number);
        rest(&mut event);
        event.close('}');
        self.number += 1;
        out.push_str(&sse::written(kind, &event.finish()));
    }
}
