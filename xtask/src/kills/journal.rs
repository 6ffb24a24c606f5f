//! The file of results: a line of JSON for each kill, each run that came to its end, and each that did not go on.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::Value;

use super::moment::Moment;

/// The lines of one kind of kills; those of the other are left alone.
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    lines: Vec<Value>,
}

impl Journal {
    /// Opens the file to go on, or begins it.
    pub(super) fn open(path: &Path, power: bool) -> Result<Self> {
        let fail = || format!("opening {}", path.display());
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            text => text.with_context(fail)?,
        };
        let lines: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>().with_context(fail)?;
        let lines = lines.into_iter().filter(|line| line["power"] == power).collect();
        let file = OpenOptions::new().append(true).create(true).open(path).with_context(fail)?;
        Ok(Self { path: path.into(), file, lines })
    }

    pub(super) fn add(&mut self, line: Value) -> Result<()> {
        self.file
            .write_all(format!("{line}\n").as_bytes())
            .with_context(|| format!("writing {}", self.path.display()))?;
        self.lines.push(line);
        Ok(())
    }

    /// How often the trainer was started.
    pub(super) fn attempts(&self) -> usize {
        self.lines.len()
    }

    pub(super) fn kills(&self) -> usize {
        self.lines.iter().filter(|line| line["moment"].is_string()).count()
    }

    pub(super) fn finished(&self) -> usize {
        self.lines.iter().filter(|line| line["finished"].is_number()).count()
    }

    /// What must not be.
    pub(super) fn failures(&self) -> usize {
        self.lines.iter().filter(|line| !reasons(line).is_empty()).count()
    }

    /// What was found: of each moment, then what it was.
    pub(super) fn table(&self) -> Vec<String> {
        let row = |cells: [String; 5]| {
            let [moment, kills, lost, differing, refused] = cells;
            format!("{moment:<10} | {kills:>5} | {lost:>16} | {differing:>11} | {refused:>7}")
        };
        let count = |counts: &dyn Fn(&Value) -> bool| self.lines.iter().filter(|line| counts(line)).count().to_string();
        let mut rows = vec![row(["moment", "kills", "lost checkpoints", "differences", "refused"].map(String::from))];
        // What a run has come to is told of the moment of its last kill; `-` where it had none.
        for moment in Moment::ALL.map(Moment::name).into_iter().map(Some).chain([None]) {
            let after = |line: &Value| line["after"].as_str() == moment && line["moment"].is_null();
            let cells = [
                moment.unwrap_or("-").into(),
                count(&|line| line["moment"].is_string() && line["moment"].as_str() == moment),
                count(&|line| line["lost"].is_string() && line["moment"].as_str() == moment),
                count(&|line| line["differences"].as_u64().is_some_and(|found| found > 0) && after(line)),
                count(&|line| line["refused"].is_string() && after(line)),
            ];
            rows.extend((moment.is_some() || cells[3..] != ["0", "0"]).then(|| row(cells)));
        }
        rows.push(format!("{} kills, {} runs came to their end", self.kills(), self.finished()));
        let mut found = BTreeMap::new();
        for reason in self.lines.iter().flat_map(reasons) {
            *found.entry(reason).or_insert(0) += 1;
        }
        rows.extend(found.into_iter().map(|(reason, times)| format!("{times} times: {reason}")));
        rows
    }
}

/// What is wrong in a line.
fn reasons(line: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map(String::from);
    let lost = text(&line["lost"]).map(|lost| format!("lost {lost}"));
    let differences = line["what"].as_array().into_iter().flatten().filter_map(text);
    lost.into_iter().chain(text(&line["refused"])).chain(differences).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn results_are_counted_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kills.jsonl");
        let mut journal = Journal::open(&path, false).unwrap();
        assert_eq!((journal.kills(), journal.failures(), journal.table().len()), (0, 0, 8));
        for (moment, lost) in [("step", None), ("step", Some("checkpoint-3: is gone")), ("end", None)] {
            journal.add(json!({ "moment": moment, "lost": lost, "power": false })).unwrap();
        }
        journal.add(json!({ "finished": 1, "after": "end", "differences": 0, "what": [], "power": false })).unwrap();
        journal.add(json!({ "finished": 2, "differences": 1, "what": ["a"], "power": false })).unwrap();
        journal.add(json!({ "refused": "b", "after": "end", "power": false })).unwrap();
        Journal::open(&path, true).unwrap().add(json!({ "moment": "step", "power": true })).unwrap();
        let journal = Journal::open(&path, false).unwrap();
        assert_eq!((journal.attempts(), journal.kills(), journal.finished(), journal.failures()), (6, 3, 2, 3));
        let squeezed = |line: String| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let table: Vec<_> = journal.table().into_iter().map(squeezed).collect();
        assert_eq!(table[3], "step | 2 | 1 | 0 | 0");
        assert_eq!(table[6..8], ["end | 1 | 0 | 0 | 1", "- | 0 | 0 | 1 | 0"]);
        assert_eq!(table[8], "3 kills, 2 runs came to their end");
        assert_eq!(table[9..], ["1 times: a", "1 times: b", "1 times: lost checkpoint-3: is gone"]);
        assert_eq!(Journal::open(&path, true).unwrap().kills(), 1);
    }
}
