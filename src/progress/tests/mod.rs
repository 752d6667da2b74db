// SPDX-License-Identifier: Apache-2.0
//! A monitor that remembers what it was told, and tests of counted readers and writers.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};

use super::{Counted, Monitor, Task};

/// A task as a [`Recorder`] keeps it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TaskRecord {
    /// Its name.
    pub name: String,
    /// Its size in bytes or items, if it was known.
    pub total: Option<u64>,
    /// How far each step went, in order.
    pub steps: Vec<u64>,
}

/// A monitor that keeps tasks and warnings for a test to look at.
#[derive(Debug, Default)]
pub struct Recorder {
    warnings: Mutex<Vec<String>>,
    tasks: Mutex<Vec<Arc<Mutex<TaskRecord>>>>,
}

impl Task for Mutex<TaskRecord> {
    fn advance(&self, n: u64) {
        if let Ok(mut task) = self.lock() {
            task.steps.push(n);
        }
    }
}

impl Task for Arc<Mutex<TaskRecord>> {
    fn advance(&self, n: u64) {
        self.as_ref().advance(n);
    }
}

impl Recorder {
    /// Returns how far all tasks of a name went together.
    pub fn passed(&self, name: &str) -> u64 {
        let tasks = self.tasks().into_iter().filter(|task| task.name == name);
        tasks.flat_map(|task| task.steps).sum()
    }

    /// Returns the tasks so far, in order.
    pub fn tasks(&self) -> Vec<TaskRecord> {
        let tasks = self.tasks.lock().map(|t| t.clone()).unwrap_or_default();
        tasks
            .iter()
            .filter_map(|t| t.lock().ok().map(|t| t.clone()))
            .collect()
    }

    /// Returns the warnings so far, in order.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().map(|w| w.clone()).unwrap_or_default()
    }
}

impl Monitor for Recorder {
    fn task(&self, name: &str, total: Option<u64>) -> Box<dyn Task> {
        let task = Arc::new(Mutex::new(TaskRecord {
            name: name.to_owned(),
            total,
            steps: Vec::new(),
        }));
        if let Ok(mut tasks) = self.tasks.lock() {
            tasks.push(Arc::clone(&task));
        }
        Box::new(task)
    }

    fn warn(&self, message: fmt::Arguments<'_>) {
        if let Ok(mut warnings) = self.warnings.lock() {
            warnings.push(message.to_string());
        }
    }

    fn info(&self, _message: fmt::Arguments<'_>) {}
}

#[test]
fn bytes_are_told_in_large_steps_and_none_is_lost() {
    let recorder = Recorder::default();
    let task: Arc<dyn Task> = Arc::from(recorder.task("t", None));
    let mut buffer = vec![0; 300 << 10];
    let mut reader = Counted::new(io::repeat(0).take(3_000_000), &task);
    while reader.read(&mut buffer).expect("zeros") > 0 {}
    drop(reader);
    let mut writer = Counted::new(io::sink(), &task);
    writer.write_all(&buffer).expect("sink");
    drop(writer);
    let steps = &recorder.tasks()[0].steps;
    assert_eq!(*steps, [1_228_800, 1_228_800, 542_400, 307_200]);
}
