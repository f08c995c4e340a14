//! What a long-running program says: kept in memory for those who wait for a line, and in a file for people.

use crate::wait::Watched;
use anyhow::{Result, anyhow};
use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

/// Lines shown of a log when something went wrong.
const TAIL_LINES: usize = 15;

/// The lines of one program, over all its lives.
#[derive(Debug, Clone, Default)]
pub struct Log {
    said: Arc<Watched<Lines>>,
}

#[derive(Debug, Default)]
struct Lines {
    all: Vec<String>,
    /// How many outputs are still open.
    open: usize,
}

impl Log {
    /// Copies `output` until its end, line by line, into the log and into `file`.
    pub(crate) fn follow(&self, output: impl Read + Send + 'static, mut file: File) -> JoinHandle<()> {
        let said = Arc::clone(&self.said);
        said.change(|lines| lines.open += 1);
        thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                let _ = writeln!(file, "{line}");
                said.change(|lines| lines.all.push(line));
            }
            said.change(|lines| lines.open -= 1);
        })
    }

    /// How many lines there are: a place to wait from.
    pub fn mark(&self) -> usize {
        self.said.lock().all.len()
    }

    /// Waits for a line at or after `mark` for which `wanted` holds.
    ///
    /// # Errors
    /// The program ended or the time is over without it.
    pub fn wait(&self, what: &str, mark: usize, within: Duration, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let mut at = mark;
        let found = self.said.wait(within, |lines| {
            while let Some(line) = lines.all.get(at) {
                at += 1;
                if wanted(line) {
                    return Some(Some(line.clone()));
                }
            }
            (lines.open == 0).then_some(None)
        });
        match found {
            Some(Some(line)) => Ok(line),
            Some(None) => Err(anyhow!("it ended without a line with {what}:\n{}", self.tail())),
            None => Err(anyhow!("no line with {what} within {} s:\n{}", within.as_secs(), self.tail())),
        }
    }

    /// Every line since `mark`.
    pub fn since(&self, mark: usize) -> Vec<String> {
        self.said.lock().all.iter().skip(mark).cloned().collect()
    }

    /// The last lines.
    pub fn tail(&self) -> String {
        let lines = self.said.lock();
        let from = lines.all.len().saturating_sub(TAIL_LINES);
        lines.all.iter().skip(from).cloned().collect::<Vec<_>>().join("\n")
    }
}
