//! The ensemble file: which models, which system, how far an answer may go.
//!
//! ```toml
//! system = "gac"
//! params = { weights = [0.5, 0.5] }
//!
//! [limits]
//! steps = 200
//! stop = ["\n\n"]
//!
//! [[members]]
//! name = "stories"
//! backend = "llama2c"
//! checkpoint = "stories260k/model.bin"    # paths are relative to this file
//! tokenizer = "stories260k/tokenizer.bin"
//! ```

use crate::backend::{Backend, BackendError, Stop};
use crate::backends;
pub use crate::backends::MemberFile;
use crate::fuse::{Fuser, SystemRow, answer, find};
use crate::generation::{Answer, Ask, FuseError, Limits, Listener, OnContext, OnFailure};
use crate::pick::Pick;
use crate::token::rlae::is_url;
use routewright_data::files;
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of an ensemble file at most.
const BYTES_MAX: u64 = 1 << 20;

/// What an ensemble file says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnsembleFile {
    /// Name of the system, a row of [`crate::fuse::ALL`].
    pub system: String,
    /// Its parameters.
    #[serde(default)]
    pub params: serde_json::Map<String, serde_json::Value>,
    /// How far an answer may go.
    #[serde(default)]
    pub limits: LimitsFile,
    /// How a unit is chosen, where the caller does not say.
    #[serde(default)]
    pub pick: Pick,
    /// What is done with a member that fails.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// What is done with a member whose context the answer has filled.
    #[serde(default)]
    pub on_context: OnContext,
    /// The models, in order.
    pub members: Vec<MemberFile>,
}

/// Limits as an ensemble file says them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsFile {
    /// Units committed at most.
    pub steps: usize,
    /// Bytes of the answer at most.
    pub bytes: usize,
    /// Tokens of the answer at most, as the first member that declares a tokenizer cuts it; 0 for no limit.
    pub tokens: usize,
    /// Calls of all models together at most; 0 for no limit.
    pub calls: u64,
    /// Wall time of an answer at most, milliseconds.
    pub deadline_ms: u64,
    /// The answer ends before the first of these.
    pub stop: Vec<String>,
}

impl Default for LimitsFile {
    fn default() -> Self {
        let Limits { steps, bytes, .. } = Limits::default();
        Self { steps, bytes, tokens: 0, calls: 0, deadline_ms: 120_000, stop: Vec::new() }
    }
}

/// Why an ensemble could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnsembleError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] files::FileError),
    /// The file is not what an ensemble file may hold.
    #[error("cannot read ensemble `{path}`: {reason}")]
    Syntax {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A model cannot be had.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The system does not fit.
    #[error(transparent)]
    Fuse(#[from] FuseError),
}

/// Models and a system, ready to answer.
#[derive(Debug)]
pub struct Ensemble {
    row: &'static SystemRow,
    fuser: Box<dyn Fuser>,
    backends: Vec<Arc<dyn Backend>>,
    file: EnsembleFile,
}

impl EnsembleFile {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read or holds what is not known.
    pub fn read(path: &Path) -> Result<Self, EnsembleError> {
        let failed = |reason: String| EnsembleError::Syntax { path: path.display().to_string(), reason };
        let bytes = files::read_up_to(path, BYTES_MAX)?;
        let text = std::str::from_utf8(&bytes).map_err(|error| failed(error.to_string()))?;
        let file: Self = toml::from_str(text).map_err(|error| failed(syntax(text, &error)))?;
        let names: Vec<&str> = file.members.iter().map(|member| member.name.as_str()).collect();
        if let Some(at) = (1..names.len()).find(|at| names[..*at].contains(&names[*at])) {
            return Err(failed(format!(
                "two members are named `{}`; each needs a name of its own",
                names[at]
            )));
        }
        Ok(file)
    }
}

/// Where and what the reader complains of; its own words repeat the line, however long that is.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    const SAID_MAX: usize = 300;
    let message: String = error.message().chars().take(SAID_MAX).collect();
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else { return message };
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}: {message}")
}

impl Ensemble {
    /// Loads the models of a file and builds its system; paths in it are relative to the file.
    ///
    /// # Errors
    /// If the file, a model or the system is not as it must be.
    pub fn open(path: &Path) -> Result<Self, EnsembleError> {
        Self::load(EnsembleFile::read(path)?, path.parent().unwrap_or(Path::new("")))
    }

    /// The same of a file that was read; paths in it are relative to `folder`.
    ///
    /// # Errors
    /// If a model or the system is not as it must be.
    pub fn load(mut file: EnsembleFile, folder: &Path) -> Result<Self, EnsembleError> {
        let row = find(&file.system)?;
        for name in ["policy", "rows"] {
            if let Some(serde_json::Value::String(path)) = file.params.get_mut(name)
                && !is_url(path)
            {
                *path = folder.join(&*path).display().to_string();
            }
        }
        let open = |member: &MemberFile| backends::open(member, folder);
        let backends = file.members.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        Self::of(file, row, backends)
    }

    fn of(
        file: EnsembleFile,
        row: &'static SystemRow,
        backends: Vec<Arc<dyn Backend>>,
    ) -> Result<Self, EnsembleError> {
        let params = serde_json::Value::Object(file.params.clone());
        let fuser = row.build(&params, &backends)?;
        Ok(Self { row, fuser, backends, file })
    }

    /// The system.
    pub fn system(&self) -> &'static SystemRow {
        self.row
    }

    /// The models, in order.
    pub fn backends(&self) -> &[Arc<dyn Backend>] {
        &self.backends
    }

    /// What the file says.
    pub fn file(&self) -> &EnsembleFile {
        &self.file
    }

    /// How `prompt` is asked by the file: its limits, its deadline from now on.
    pub fn ask(&self, prompt: &[u8]) -> Ask {
        let limits = &self.file.limits;
        let deadline = Instant::now().checked_add(Duration::from_millis(limits.deadline_ms));
        Ask {
            prompt: prompt.to_vec(),
            chat: None,
            limits: Limits {
                steps: limits.steps,
                bytes: limits.bytes,
                tokens: if limits.tokens == 0 { usize::MAX } else { limits.tokens },
                calls: if limits.calls == 0 { u64::MAX } else { limits.calls },
                stop: limits.stop.clone(),
            },
            stop: Stop::at(deadline),
            on_failure: self.file.on_failure,
            on_context: self.file.on_context,
            pick: self.file.pick,
            seed: 0,
        }
    }

    /// Writes one answer.
    ///
    /// # Errors
    /// If no member is left, none may fail and one does, the caller has gone, or nothing can be said.
    pub fn answer(&self, ask: Ask, listener: Listener<'_>) -> Result<Answer, FuseError> {
        answer(&*self.fuser, &self.backends, ask, listener)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<EnsembleFile, EnsembleError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ensemble.toml");
        std::fs::write(&path, text).unwrap();
        EnsembleFile::read(&path)
    }

    const MEMBER: &str = "[[members]]\nname = 'a'\nbackend = 'llama2c'\ncheckpoint = 'm'\ntokenizer = 't'\n";

    #[test]
    fn a_file_is_read_and_what_is_not_known_is_named() {
        let file = read(&format!("system = 'gac'\nparams = {{ weights = [1.0] }}\n{MEMBER}")).unwrap();
        assert_eq!(file.members[0].settings["checkpoint"], "m");
        let error = read(&format!("system = 'gac'\nsteps = 3\n{MEMBER}")).unwrap_err().to_string();
        assert!(error.contains("unknown field `steps`"), "{error}");
        let long = "x".repeat(100_000);
        let error =
            read(&format!("system = 'gac'\nlimits.steps = '{long}'\n{MEMBER}")).unwrap_err().to_string();
        assert!(error.contains("line 2, column 16: invalid type") && error.len() < 600, "{error}");
        let error = read(&format!("system = 'gac'\n{MEMBER}{MEMBER}")).unwrap_err().to_string();
        assert!(error.contains("two members are named `a`"), "{error}");
    }

    #[test]
    fn unknown_systems_backends_and_settings_are_refused_with_near_names() {
        let open = |text: &str| Ensemble::load(read(text).unwrap(), Path::new(".")).unwrap_err().to_string();
        let error = open(&format!("system = 'gca'\n{MEMBER}"));
        assert!(error.contains("`gca`") && error.contains("gac"), "{error}");
        let error = open(&format!("system = 'gac'\n{}", MEMBER.replace("llama2c", "lama2c")));
        assert!(error.contains("`lama2c`") && error.contains("llama2c"), "{error}");
        let error = open(&format!("system = 'gac'\n{MEMBER}checkpiont = 'x'\n"));
        assert!(error.contains("unknown field `checkpiont`"), "{error}");
    }
}
