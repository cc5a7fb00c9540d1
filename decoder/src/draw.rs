//! Weights over the text as a coloured strip: one self-contained page, or an SVG.
//!
//! Every unit is a box in the mix of its members' colours; below the text each member's weight is a band over the
//! units. Nothing is fetched: the page opens anywhere.

use crate::generation::Answer;
use crate::trace::{Step, Trace};
use std::fmt::Write as _;

/// Colours of members, far apart for the colour-blind too (Okabe and Ito); more members repeat them.
const COLOURS: [(u8, u8, u8); 7] = [
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (213, 94, 0),
    (240, 228, 66),
];
const WIDTH: usize = 960;
const BAND: usize = 22;
const NAME: usize = 130;

/// One page with the text, a legend, the bands and a table of the members.
pub fn html(answer: &Answer, title: &str) -> String {
    let trace = &answer.trace;
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title><style>\
         body{{font:15px/1.7 system-ui,sans-serif;max-width:{WIDTH}px;margin:2em auto;padding:0 1em}}\
         .text{{white-space:pre-wrap;word-break:break-word}}.text span{{border-radius:2px}}\
         .prompt{{color:#666}}table{{border-collapse:collapse}}td,th{{padding:.1em .8em;text-align:right}}\
         td:first-child,th:first-child{{text-align:left}}i{{display:inline-block;width:.9em;height:.9em;\
         margin-right:.4em;border-radius:2px}}</style></head><body><h1>{0}</h1>",
        escape(title)
    );
    let _ = write!(page, "<p class=\"text\"><span class=\"prompt\">{}</span>", lossy(trace.prompt()));
    trace.steps().iter().for_each(|step| page.push_str(&unit(step, trace)));
    page.push_str("</p>");
    for drop in trace.drops() {
        let name = &trace.members()[drop.member].name;
        let _ = write!(
            page,
            "<p>After {} units {} was left out: {}</p>",
            drop.step,
            escape(name),
            escape(&drop.reason)
        );
    }
    page.push_str(&members(answer));
    page.push_str(&svg(trace));
    page.push_str("</body></html>\n");
    page
}

/// The bands alone: one a member, as dark as its weight, with a line for the probability it gives each unit where that
/// is known; units can be read by pointing at them.
pub fn svg(trace: &Trace) -> String {
    let n = trace.steps().len().max(1);
    let (step_width, height) = ((WIDTH - NAME) as f64 / n as f64, BAND * (trace.members().len() + 1));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"system-ui,sans-serif\" font-size=\"13\">"
    );
    for (member, of) in trace.members().iter().enumerate() {
        let top = member * BAND;
        let _ = write!(svg, "<text x=\"0\" y=\"{}\">{}</text>", top + 15, escape(&of.name));
        let (r, g, b) = COLOURS[member % COLOURS.len()];
        let mut line = String::new();
        for (at, step) in trace.steps().iter().enumerate() {
            let weight = share(step, member);
            let (left, band) = (NAME as f64 + at as f64 * step_width, BAND - 3);
            let _ = write!(
                svg,
                "<rect x=\"{left:.2}\" y=\"{top}\" width=\"{:.2}\" height=\"{band}\" fill=\"rgb({r},{g},{b})\" \
                 fill-opacity=\"{weight:.3}\"><title>{}</title></rect>",
                step_width + 0.05,
                escape(&note(step, trace)),
            );
            if let Some(p) = step.probabilities.get(member).filter(|p| p.is_finite()) {
                let y = top as f64 + band as f64 * (1.0 - f64::from(p.clamp(0.0, 1.0)));
                let _ = write!(line, "{:.2},{y:.2} ", left + step_width / 2.0);
            }
        }
        if !line.is_empty() {
            let _ =
                write!(svg, "<polyline points=\"{line}\" fill=\"none\" stroke=\"#000\" stroke-width=\"1\"/>");
        }
    }
    let (left, bottom) = (NAME, height - 6);
    let _ = write!(
        svg,
        "<text x=\"{left}\" y=\"{bottom}\" fill=\"#666\">{n} units, first to last; shade: weight, \
         line: probability of the unit</text></svg>"
    );
    svg
}

/// What a member counted for: all of it where it wrote the unit, or its weight.
fn share(step: &Step, member: usize) -> f32 {
    match (step.winner, step.weights.get(member)) {
        (Some(winner), _) => f32::from(winner == member),
        (None, Some(weight)) if weight.is_finite() => weight.clamp(0.0, 1.0),
        _ => 0.0,
    }
}

fn unit(step: &Step, trace: &Trace) -> String {
    if step.text.is_empty() {
        return String::new();
    }
    let mut mixed = [255.0_f32; 3];
    for member in 0..trace.members().len() {
        let (r, g, b) = COLOURS[member % COLOURS.len()];
        for (mixed, colour) in mixed.iter_mut().zip([r, g, b]) {
            // Half as strong as the bands, so that the text stays readable.
            *mixed -= 0.5 * share(step, member) * (255.0 - f32::from(colour));
        }
    }
    let [r, g, b] = mixed.map(|value| value.clamp(0.0, 255.0) as u8);
    let (note, text) = (escape(&note(step, trace)), lossy(&step.text));
    format!("<span style=\"background:rgb({r},{g},{b})\" title=\"{note}\">{text}</span>")
}

/// A unit with what each member counted for and said of it.
fn note(step: &Step, trace: &Trace) -> String {
    let mut note = format!("{:?}\n", String::from_utf8_lossy(&step.text));
    for (at, member) in trace.members().iter().enumerate() {
        let _ = write!(note, "{}: weight {:.3}", member.name, share(step, at));
        if let Some(p) = step.probabilities.get(at).filter(|p| p.is_finite()) {
            let _ = write!(note, ", p {p:.3}");
        }
        note.push('\n');
    }
    if let Some(fused) = step.fused {
        let _ = write!(note, "fused p {fused:.3}");
    }
    note
}

fn members(answer: &Answer) -> String {
    let mut table =
        "<table><tr><th>member</th><th>calls</th><th>read</th><th>pushed</th><th>rolled back</th></tr>"
            .to_owned();
    for (at, member) in answer.trace.members().iter().enumerate() {
        let (r, g, b) = COLOURS[at % COLOURS.len()];
        let left = answer.trace.drops().iter().find(|drop| drop.member == at);
        let left = left.map_or(String::new(), |drop| format!(" (left out after {} units)", drop.step));
        let _ = write!(
            table,
            "<tr><td><i style=\"background:rgb({r},{g},{b})\"></i>{}{left}</td>\
             <td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&member.name),
            member.usage.calls,
            member.usage.read,
            member.pushed,
            member.rolled_back,
        );
    }
    let seconds = answer.micros as f64 / 1e6;
    let _ = write!(
        table,
        "</table><p>{} units, {} calls, {seconds:.2} s</p>",
        answer.trace.steps().len(),
        answer.calls
    );
    table
}

fn lossy(bytes: &[u8]) -> String {
    escape(&String::from_utf8_lossy(bytes))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::Finish;

    #[test]
    fn every_unit_is_drawn_and_nothing_breaks_out_of_the_page() {
        let names = ["a<b".to_owned(), "c".to_owned()];
        let mut trace = Trace::new(&names, b"<script>");
        let step = Step { text: b"\"<x>\"".to_vec(), weights: vec![0.25, 0.75], ..Step::default() };
        trace.push(step.clone());
        trace.push(Step { weights: Vec::new(), winner: Some(1), ..step });
        let answer = Answer {
            text: String::new(),
            finish: Finish::Stop,
            calls: 4,
            tokens: 2,
            unsaid: 0,
            micros: 10,
            trace,
        };
        let page = html(&answer, "t & u");
        assert!(!page.contains("<script>") && !page.contains("<x>") && page.contains("a&lt;b"));
        assert_eq!(page.matches("<span style").count(), 2);
        assert_eq!(page.matches("<rect").count(), 4);
        assert!(page.contains("fill-opacity=\"0.750\"") && page.contains("fill-opacity=\"1.000\""));
        assert!(!page.contains("http") || page.matches("http").count() == page.matches("www.w3.org").count());
    }
}
