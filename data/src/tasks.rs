//! Reads a task list: prompts with the answers that count as right.

use crate::log::{LogError, LogReader, TaskRow, required};
use crate::schema;
use std::path::Path;

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
