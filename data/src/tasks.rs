//! Reads a task list: prompts with the answers that count as right.

use crate::log::{LogError, LogReader, TaskRow, required};
use crate::schema;
use std::path::Path;

/// What an answer to a task is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reward {
    /// 1 where it is the reference, spaces at both ends aside; else 0.
    #[default]
    Exact,
    /// Share of the lines of the reference that stand in the same place, spaces at both ends aside.
    Lines,
}

impl Reward {
    /// The worth of `text`, in [0, 1].
    pub fn of(self, task: &TaskRow, text: &str) -> f32 {
        let (reference, text) = (task.reference.trim(), text.trim());
        match self {
            Self::Exact => f32::from(u8::from(reference == text)),
            Self::Lines => {
                let mut lines = text.lines();
                let right = reference.lines().filter(|line| lines.next().map(str::trim) == Some(line.trim()));
                right.count() as f32 / reference.lines().count().max(1) as f32
            }
        }
    }
}

impl std::str::FromStr for Reward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "exact" => Ok(Self::Exact),
            "lines" => Ok(Self::Lines),
            other => Err(format!("unknown reward `{other}`; known: `exact`, `lines`")),
        }
    }
}

/// The tasks of a list, of one split where one is named.
///
/// # Errors
/// If a file is not whole Parquet, lacks a required column or has one of a wrong type; if no row is of the split.
pub fn read(path: &Path, split: Option<&str>) -> Result<Vec<TaskRow>, LogError> {
    let columns: Vec<&str> = schema::TASK.columns.iter().map(|column| column.name).collect();
    let mut tasks = Vec::new();
    for batch in LogReader::open(path, &schema::TASK, &columns)? {
        let batch = batch?;
        let [id, prompt, reference] = ["task_id", "prompt", "reference"].map(|name| batch.text(name));
        let [of_split, source] = ["split", "source"].map(|name| batch.text(name));
        let skills = batch.text_list("skills");
        for at in 0..batch.n_rows() {
            let text = |column, name| Ok::<_, LogError>(required(&batch, column, name, at)?.to_owned());
            let row = TaskRow {
                task_id: text(id, "task_id")?,
                split: of_split.and_then(|column| column.get(at)).map(str::to_owned),
                source: source.and_then(|column| column.get(at)).map(str::to_owned),
                prompt: text(prompt, "prompt")?,
                reference: text(reference, "reference")?,
                skills: skills.as_ref().and_then(|column| column.get(at)).unwrap_or_default(),
            };
            if split.is_none_or(|split| row.split.as_deref() == Some(split)) {
                tasks.push(row);
            }
        }
    }
    if tasks.is_empty() {
        let path = path.display().to_string();
        return Err(LogError::Empty { path, expected: "expected at least one task of the split asked for" });
    }
    Ok(tasks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{RowWriter, WriteOptions};

    #[test]
    fn rewards_worked_out_by_hand() {
        let task = TaskRow { reference: "a=1\nb=2\nc=3\n".to_owned(), ..TaskRow::default() };
        let both = |text| [Reward::Exact, Reward::Lines].map(|reward| reward.of(&task, text));
        assert_eq!(both(" a=1\nb=2\nc=3"), [1.0, 1.0]);
        assert_eq!(both("a=1\nb=9\nc=3"), [0.0, 2.0 / 3.0]);
        // A line too many puts the others out of place.
        assert_eq!(both("\nx\na=1\nb=2\nc=3"), [0.0, 0.0]);
        assert_eq!(both(""), [0.0, 0.0]);
    }

    #[test]
    fn tasks_are_read_as_they_were_written_by_split() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tasks.parquet");
        let mut writer = RowWriter::create(&path, WriteOptions::default()).unwrap();
        let task = |id: &str, split: &str| TaskRow {
            task_id: id.to_owned(),
            split: Some(split.to_owned()),
            prompt: "1+1".to_owned(),
            reference: "2".to_owned(),
            skills: vec!["sum".to_owned()],
            ..TaskRow::default()
        };
        for row in [task("a", "train"), task("b", "test")] {
            writer.push(row).unwrap();
        }
        writer.finish().unwrap();
        assert_eq!(read(&path, Some("test")).unwrap(), [task("b", "test")]);
        assert_eq!(read(&path, None).unwrap().len(), 2);
        assert!(read(&path, Some("valid")).unwrap_err().to_string().contains("at least one task"));
    }
}
