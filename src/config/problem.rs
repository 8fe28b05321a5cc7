//! What is wrong with a configuration, where, and what would put it right.

use std::cell::RefCell;
use std::fmt;

use serde::Serialize;

/// A place in a file. Both count from 1; columns count characters, as editors do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    pub line: usize,
    pub column: usize,
}

/// One mistake. It prints as `conf/cfx.yaml:14:7 routes[2].upstream: no upstream "dashbord", did you mean "dashboard"?`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file as it was named, or the flag that is wrong (`--upstream`).
    pub file: String,
    /// None: the mistake is not at one line (a missing file, a flag).
    pub line: Option<usize>,
    pub column: Option<usize>,
    /// The way to the value: `routes[2].upstream`. Empty: the file as a whole.
    pub path: String,
    pub message: String,
    /// What to do about it, where that can be said.
    pub remedy: Option<String>,
}

/// Where a value stands, for what is to be said of it once it has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub file: String,
    pub mark: Mark,
    /// The way to it: `routes[2].upstream`.
    pub path: String,
}

/// Every mistake of one configuration, file by file and line by line. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

/// The proof that a problem was written down, so that a value can be missing only where its reader said why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reported(());

/// A value, or the proof that what is wrong with it has been reported.
pub(super) type Checked<T> = Result<T, Reported>;

/// The problems of one file while it is being checked. Checking goes on past each of them.
#[derive(Debug)]
pub(super) struct Report {
    file: String,
    problems: RefCell<Vec<Problem>>,
    /// The keys that a mapping may have, by the way to it, as far as any was looked at.
    #[cfg(test)]
    pub(super) known: RefCell<std::collections::HashMap<String, std::collections::BTreeSet<String>>>,
}

impl Report {
    pub(super) fn new(file: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            problems: RefCell::default(),
            #[cfg(test)]
            known: RefCell::default(),
        }
    }

    pub(super) fn add(
        &self,
        mark: Option<Mark>,
        path: &str,
        message: impl Into<String>,
        remedy: Option<String>,
    ) -> Reported {
        self.problems.borrow_mut().push(Problem {
            file: self.file.clone(),
            line: mark.map(|mark| mark.line),
            column: mark.map(|mark| mark.column),
            path: path.to_owned(),
            message: message.into(),
            remedy,
        });
        Reported(())
    }

    /// As problems name it.
    pub(super) fn file(&self) -> &str {
        &self.file
    }

    /// Whether nothing has been reported so far.
    pub(super) fn sound(&self) -> Checked<()> {
        if self.problems.borrow().is_empty() { Ok(()) } else { Err(Reported(())) }
    }

    /// The problems in the order of their lines.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| (problem.line, problem.column));
        problems
    }
}

impl Problem {
    /// What is to be said of the value there. None: the command line gave it.
    pub(super) fn of(place: Option<&Place>, message: String) -> Self {
        let (file, mark, path) = match place {
            Some(Place { file, mark, path }) => (file.as_str(), Some(mark), path.as_str()),
            None => ("command line", None, ""),
        };
        Self {
            file: file.to_owned(),
            line: mark.map(|mark| mark.line),
            column: mark.map(|mark| mark.column),
            path: path.to_owned(),
            message,
            remedy: None,
        }
    }
}

impl Problems {
    /// The proof is asked for so that this is not called where there is none.
    pub(super) fn of(reports: impl IntoIterator<Item = Report>, _: Reported) -> Self {
        Self(reports.into_iter().flat_map(Report::into_problems).collect())
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(formatter, ":{line}:{column}")?;
        }
        if self.path.is_empty() {
            write!(formatter, ": {}", self.message)?;
        } else {
            write!(formatter, " {}: {}", self.path, self.message)?;
        }
        match &self.remedy {
            Some(remedy) => write!(formatter, ", {remedy}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            write!(formatter, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_prints_as_file_line_column_path_message_and_remedy() {
        let report = Report::new("conf/cfx.yaml");
        let mark = Mark { line: 14, column: 7 };
        let remedy = Some("did you mean \"dashboard\"?".to_owned());
        report.add(Some(mark), "routes[2].upstream", "no upstream \"dashbord\"", remedy);
        let reported = report.add(None, "", "cannot be read", None);
        let problems = Problems::of([report], reported);
        assert_eq!(
            problems.to_string(),
            "conf/cfx.yaml: cannot be read\n\
             conf/cfx.yaml:14:7 routes[2].upstream: no upstream \"dashbord\", did you mean \"dashboard\"?"
        );
    }

    #[test]
    fn a_problem_is_json_with_the_same_parts() {
        let report = Report::new("limits.yaml");
        let reported = report.add(Some(Mark { line: 2, column: 21 }), "body", "expected a size", None);
        let json = serde_json::to_value(Problems::of([report], reported).iter().collect::<Vec<_>>()).unwrap();
        let expected = serde_json::json!([{
            "file": "limits.yaml", "line": 2, "column": 21, "path": "body", "message": "expected a size", "remedy": null
        }]);
        assert_eq!(json, expected);
    }
}
