//! A reply of chat as a response.

use super::Frame;
use super::notes::{Notes, Refused, invalid};
use super::replies::shown;
use super::response_shape::{Item, response, response_id, status_of};
use crate::dialect::Dialect;
use crate::dialect::json::{Kind, Value};
use crate::dialect::usage::Counts;

pub(super) fn to_response(reply: Value<'_>, frame: &Frame, notes: &mut Notes) -> Result<String, Refused> {
    let choice = reply.at(&["choices", "0"]).ok_or_else(|| invalid("choices", "is empty"))?;
    let message = choice.has("message").ok_or_else(|| invalid("choices[0].message", "is missing"))?;
    if reply.at(&["choices", "1"]).is_some() {
        notes.drop("choices[1]", "a response has one answer")?;
    }
    let text = |name: &str| message.has(name).and_then(Value::text).filter(|text| !text.is_empty());
    let mut items = Vec::new();
    items.extend(
        text("reasoning_content").or(text("reasoning")).map(|text| Item::Reasoning(text.into_owned())),
    );
    items.extend(text("content").map(|text| Item::Text(text.into_owned())));
    let parts = message.get("content").into_iter().flat_map(Value::items);
    items.extend(
        parts
            .filter_map(|part| part.get("text").and_then(Value::text))
            .map(|text| Item::Text(text.into_owned())),
    );
    items.extend(text("refusal").map(|text| Item::Refusal(text.into_owned())));
    for (at, call) in message.get("tool_calls").into_iter().flat_map(Value::items).enumerate() {
        let field = format!("choices[0].message.tool_calls[{at}]");
        let function = call.has("function").ok_or_else(|| invalid(field, "is no call of a function"))?;
        let arguments = function.has("arguments");
        let arguments = match arguments.map(Value::kind) {
            Some(Kind::Object) => arguments.map_or("{}", Value::raw).to_owned(),
            _ => arguments
                .and_then(Value::text)
                .filter(|text| !text.is_empty())
                .unwrap_or("{}".into())
                .into_owned(),
        };
        let id = call.get("id").and_then(Value::text).filter(|id| !id.is_empty());
        let id = id.map_or_else(|| format!("call_{at}"), |id| id.into_owned());
        let name = function.get("name").and_then(Value::text).unwrap_or_default().into_owned();
        items.push(Item::Call(id, name, arguments));
    }
    let (said, model) = (reply.get("id").and_then(Value::text), reply.get("model").and_then(Value::text));
    let id = response_id(frame, said.as_deref());
    let finish = choice.get("finish_reason").and_then(Value::text).unwrap_or_default();
    let status = status_of(&finish);
    let output: Vec<String> = items
        .iter()
        .zip(0..)
        .map(|(item, at)| item.json(&item.id(&id, at, frame), status.0, frame))
        .collect();
    let usage = Counts::of_reply(reply).map(|counts| counts.settle(Dialect::Chat));
    let model = shown(frame.model.as_deref(), model.as_deref(), "");
    Ok(response(&id, model, status, &output, usage.as_ref(), frame))
}
