//! Chat templates: a conversation as the ids an instruct model was trained to read.
//!
//! A template is a Jinja text that comes with the model. It is rendered as Hugging Face's `apply_chat_template` does
//! (blocks trimmed, `raise_exception`, `strftime_now`, methods of Python's strings), by minijinja. Special tokens
//! (`<|im_start|>`) are parsed in what the template wrote, never in what was said: a prompt cannot smuggle one in.
//!
//! Deviation: a beginning-of-text token that the tokenizer puts before every text is there also where the template
//! does not write it, as in llama.cpp.

mod find;

use crate::chat::Message;
use crate::vocabulary::Tokenizer;
use minijinja::{Environment, Error, ErrorKind, context};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Name of the template in its environment, which errors show.
const NAME: &str = "chat_template";
/// Steps a template may take: one that loops for ever is no template.
const FUEL: u64 = 10_000_000;
/// Bytes a template may write: so many, and so many for each that was said. Few steps can write much.
const WRITTEN_MAX: usize = 1 << 20;
const WRITTEN_PER_BYTE: usize = 16;

/// The template of a model.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Arc<Environment<'static>>,
    begin: String,
    end: String,
}

impl ChatTemplate {
    /// The template of a model's own files: a GGUF file, or a tokenizer file with `chat_template.jinja` or
    /// `tokenizer_config.json` beside it.
    ///
    /// # Errors
    /// If there is none, or it is no Jinja.
    pub fn of_model(path: &Path) -> Result<Self, String> {
        find::of_model(path)?.parse()
    }

    /// The template in a file of its own, for the model of `tokenizer`.
    ///
    /// # Errors
    /// If the file cannot be read or is no Jinja.
    pub fn open(path: &Path, tokenizer: &Tokenizer) -> Result<Self, String> {
        let source = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read template `{}`: {error}", path.display()))?;
        let shown = |id: Option<u32>| id.and_then(|id| tokenizer.shown(id)).unwrap_or_default().to_owned();
        let end = tokenizer.vocabulary().ends().first().copied();
        Self::new(source, shown(tokenizer.begin()), shown(end))
    }

    /// A template and what `bos_token` and `eos_token` are in it.
    ///
    /// # Errors
    /// If it is no Jinja.
    pub fn new(source: String, begin: String, end: String) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |reason: String| -> Result<(), Error> {
            Err(Error::new(ErrorKind::InvalidOperation, reason))
        });
        environment.add_function("strftime_now", |format: &str| today(format, SystemTime::now()));
        environment
            .add_template_owned(NAME, source)
            .map_err(|error| format!("its chat template cannot be read: {error:#}"))?;
        Ok(Self { environment: Arc::new(environment), begin, end })
    }

    /// A conversation as text: with the beginning of an answer after it, or, where it ends with one, up to there.
    ///
    /// # Errors
    /// If the template refuses the conversation, as many do where roles do not take turns.
    pub fn render(&self, chat: &[Message]) -> Result<String, String> {
        let begun = chat.last().filter(|message| message.role == "assistant");
        let values = context! {
            messages => chat,
            add_generation_prompt => begun.is_none(),
            bos_token => self.begin,
            eos_token => self.end,
        };
        let said: usize = chat.iter().map(|message| message.role.len() + message.content.len()).sum();
        let mut written = Written { text: Vec::new(), max: WRITTEN_MAX + WRITTEN_PER_BYTE * said };
        let template = self.environment.get_template(NAME);
        template.and_then(|template| template.render_captured_to(values, &mut written).map(|_| ())).map_err(
            |error| {
                let why = std::error::Error::source(&error).map_or(String::new(), |why| format!(" ({why})"));
                format!("its chat template refuses the conversation: {error:#}{why}")
            },
        )?;
        let mut text = String::from_utf8(written.text)
            .map_err(|_not| "its chat template writes what is not UTF-8".to_owned())?;
        if let Some(begun) = begun {
            let content = begun.content.trim();
            let at = text.rfind(content).filter(|_| !content.is_empty());
            let at = at.ok_or("its chat template does not show the answer that was begun")?;
            text.truncate(at + content.len());
        }
        Ok(text)
    }

    /// A conversation as ids; what was said in it is text alone.
    ///
    /// # Errors
    /// If the template refuses the conversation.
    pub fn encode(&self, chat: &[Message], tokenizer: &Tokenizer) -> Result<Vec<u32>, String> {
        let said = |character: char| {
            let within = |text: &String| text.contains(character);
            chat.iter().any(|message| within(&message.role) || within(&message.content))
        };
        let guard = ('\u{e000}'..='\u{f8ff}').find(|character| !said(*character));
        let guard = guard.ok_or("the conversation has every private character of Unicode")?;
        let guarded: Vec<Message> = chat
            .iter()
            .map(|message| Message {
                role: tokenizer.guarded(&message.role, guard),
                content: tokenizer.guarded(&message.content, guard),
            })
            .collect();
        Ok(tokenizer.encode_template(&self.render(&guarded)?, guard))
    }
}

/// What a template writes, up to a length.
struct Written {
    text: Vec<u8>,
    max: usize,
}

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.text.len() + bytes.len() > self.max {
            return Err(std::io::Error::other(format!("it writes more than {} bytes", self.max)));
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The date in Coordinated Universal Time, as `strftime` writes `%d`, `%b`, `%B`, `%m`, `%Y` and `%%`.
fn today(format: &str, now: SystemTime) -> Result<String, Error> {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let days = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / 86_400;
    let (year, month, day) = civil(i64::try_from(days).unwrap_or_default());
    let name = MONTHS[month.saturating_sub(1).min(11)];
    let mut text = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        match (character, if character == '%' { characters.next() } else { None }) {
            ('%', Some('d')) => text.push_str(&format!("{day:02}")),
            ('%', Some('m')) => text.push_str(&format!("{month:02}")),
            ('%', Some('Y')) => text.push_str(&year.to_string()),
            ('%', Some('b')) => text.push_str(&name[..3]),
            ('%', Some('B')) => text.push_str(name),
            ('%', Some('%')) => text.push('%'),
            ('%', other) => {
                let reason = format!("strftime_now knows `%d %m %Y %b %B`, not `%{}`", other.unwrap_or(' '));
                return Err(Error::new(ErrorKind::InvalidOperation, reason));
            }
            (character, _) => text.push(character),
        }
    }
    Ok(text)
}

/// Year, month and day of a number of days since 1970 (Hinnant's algorithm for the proleptic Gregorian calendar).
fn civil(days: i64) -> (i64, usize, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + i64::from(month <= 2), usize::try_from(month).unwrap_or(1), day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Its steps are few, what each writes is long: 100 MB, once.
    #[test]
    fn a_template_that_writes_without_end_is_stopped() {
        let source = "{% for a in range(100000) %}{{ 'x' * 1000 }}{% endfor %}";
        let template = ChatTemplate::new(source.to_owned(), String::new(), String::new()).unwrap();
        let error = template.render(&[Message::user("hello")]).unwrap_err();
        assert!(error.contains("writes more than"), "{error}");
    }

    #[test]
    fn dates_by_the_calendar() {
        let at = |days: u64| UNIX_EPOCH + Duration::from_secs(days * 86_400 + 7);
        // date -u -d @..., GNU coreutils 9.1.
        for (days, expected) in [(0, "01 Jan 1970"), (11_016, "29 Feb 2000"), (20_787, "30 Nov 2026")] {
            assert_eq!(today("%d %b %Y", at(days)).unwrap(), expected);
        }
        assert_eq!(today("%B %m %%", at(20_787)).unwrap(), "November 11 %");
        assert!(today("%H", at(0)).unwrap_err().to_string().contains("`%H`"));
    }
}
