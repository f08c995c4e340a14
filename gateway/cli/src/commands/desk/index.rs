//! What recordings showed that only the auditor can open, line by line, in a file of this home that can be made anew at any time.
//!
//! Which recordings there are, as their gateways list them, is in `known.rs`. Not here: where recordings come from, and what of
//! them is believed.

mod known;

pub use known::{Filter, Known, Listed, Recording, kind_word};

use crate::{
    failure::{Outcome, While},
    home::Home,
};
use belay_certs::screen::{
    Line,
    pages::{Page, Pages, Phrase, words_of},
};
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior, params};
use std::{cell::Cell, fs, os::unix::fs::OpenOptionsExt, path::PathBuf};

/// Changes whenever the tables do, or what a word is: another number is another file's, and it is made anew.
const FORMAT: i64 = 4;
/// The tables. A page's number is its text's times 2^24 and on; `text` of a recording is none before it was fetched and checked,
/// and `text_chunks` says of how many chunks it is.
const TABLES: &str = "
    PRAGMA journal_mode = WAL;
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS recording (n INTEGER PRIMARY KEY, tenant TEXT NOT NULL, device TEXT NOT NULL, id TEXT NOT NULL,
        person TEXT NOT NULL, kind TEXT NOT NULL, started_us INTEGER NOT NULL, chunks INTEGER NOT NULL, list INTEGER NOT NULL,
        text INTEGER UNIQUE, text_chunks INTEGER, is_run INTEGER NOT NULL, UNIQUE (tenant, device, id, is_run));
    CREATE TABLE IF NOT EXISTS until (gateway TEXT NOT NULL, tenant TEXT NOT NULL, us INTEGER NOT NULL,
        PRIMARY KEY (gateway, tenant));
    CREATE TABLE IF NOT EXISTS page (id INTEGER PRIMARY KEY, lines BLOB NOT NULL);
    CREATE VIRTUAL TABLE IF NOT EXISTS word USING fts5 (words, content = '', columnsize = 0, tokenize = 'ascii');
    INSERT INTO word (word, rank) VALUES ('secure-delete', 1);
    PRAGMA user_version = 4;
    COMMIT;
";
/// What is lost with a power cut is fetched again; what is deleted is overwritten.
const BEGUN: &str = "PRAGMA synchronous = NORMAL; PRAGMA secure_delete = ON; CREATE TEMP TABLE meant (tenant TEXT NOT NULL PRIMARY KEY)";
const PAGES_BITS: u32 = 24;
/// Pages of one recording that are kept: a gigabyte of text. Below 2^24, for they are numbered so.
const PAGES_MAX: i64 = 65_536;
/// `CROSS JOIN` has SQLite begin with the words, and with those of what was put in last.
const FIND: &str = concat!(
    "SELECT p.id, p.lines FROM word w CROSS JOIN page p ON p.id = w.rowid WHERE w.word MATCH ?5 AND w.rowid >> 24 IN \
     (SELECT text ",
    known::meant!(),
    " AND text_chunks = chunks) ORDER BY w.rowid DESC"
);

/// A line that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// In which recording.
    pub recording: Recording,
    /// When, in milliseconds since its start.
    pub at_ms: u64,
    /// The line.
    pub text: String,
}

/// The index of one home.
pub struct Index {
    connection: Connection,
    /// SQLite found something that it never wrote.
    damaged: Cell<bool>,
}

impl Index {
    /// Whether this home has one.
    pub fn is_there(home: &Home) -> bool {
        path(home).exists()
    }

    /// Opens it; one that cannot be read is made anew.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn open(home: &Home) -> Outcome<Self> {
        let opened = Self::try_open(home).or_else(|error| match error {
            // Another `belay search` writes it: no reason to remove it.
            rusqlite::Error::SqliteFailure(failure, _) if failure.code == ErrorCode::DatabaseBusy => Err(error),
            _ => {
                Self::forget(home);
                Self::try_open(home)
            }
        });
        opened.during(|| format!("cannot use {}", path(home).display()))
    }

    /// Removes it.
    pub fn forget(home: &Home) {
        for end in ["", "-wal", "-shm", "-journal"] {
            let _ = fs::remove_file(path(home).with_extension(format!("db{end}")));
        }
    }

    fn try_open(home: &Home) -> rusqlite::Result<Self> {
        let path = path(home);
        // Decrypted text: made for nobody else before the first byte is in it.
        let made = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        made.map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let format: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if format != FORMAT && format != 0 {
            return Err(rusqlite::Error::InvalidQuery);
        }
        if format == 0 {
            connection.execute_batch(TABLES)?;
        }
        connection.execute_batch(BEGUN)?;
        Ok(Self { connection, damaged: Cell::new(false) })
    }

    /// Whether something that failed did because the file is damaged: then it is to be made anew.
    pub fn is_damaged(&self) -> bool {
        self.damaged.get()
    }

    /// What SQLite answered, for a person.
    fn said<T>(&self, answer: rusqlite::Result<T>, what: fn() -> String) -> Outcome<T> {
        let code = answer.as_ref().err().and_then(rusqlite::Error::sqlite_error_code);
        if matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)) {
            self.damaged.set(true);
        }
        answer.during(what)
    }

    /// One change of the file, whole or not at all. Another `belay search` that writes is waited for.
    fn change(&self) -> Outcome<Transaction<'_>> {
        self.said(Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate), unwritten)
    }

    /// Puts the text of a recording in, in place of what was there of it, with what its device signed of it. `lines` writes each
    /// line; when it fails nothing is changed.
    ///
    /// # Errors
    /// It cannot be written, or `lines` fails.
    pub fn put(
        &mut self,
        known: &Known,
        (person, kind): (&str, &str),
        lines: impl FnOnce(&mut dyn FnMut(Line) -> Outcome) -> Outcome,
    ) -> Outcome {
        let change = self.change()?;
        self.remove_text(known.n)?;
        let next = "UPDATE recording SET text = (SELECT COALESCE(MAX(text), 0) + 1 FROM recording), text_chunks = ?2, person = ?3, \
                    kind = ?4 WHERE n = ?1 AND device = ?5 AND id = ?6 RETURNING text";
        // Another search may have forgotten it, and its number be another one's.
        let (device, id) = (known.device.to_string(), known.session.to_string());
        let row = params![known.n, known.chunks.cast_signed(), person, kind, device, id];
        let text: i64 = self.said(change.query_row(next, row, |row| row.get(0)), unwritten)?;
        let (mut pages, mut count) = (Pages::default(), 0);
        let mut keep = |page: Page| -> Outcome {
            if count < PAGES_MAX {
                self.said(write(&change, (text << PAGES_BITS) + count, &page), unwritten)?;
                count += 1;
            }
            Ok(())
        };
        lines(&mut |line| match pages.add(&line)? {
            Some(page) => keep(page),
            None => Ok(()),
        })?;
        if let Some(page) = pages.finish()? {
            keep(page)?;
        }
        self.said(change.commit(), unwritten)
    }

    /// Removes the text of a recording, within the change that is open.
    fn remove_text(&self, n: i64) -> Outcome {
        let pages = || {
            let mut query = self.connection.prepare(
                "SELECT p.id, p.lines FROM recording r JOIN page p ON p.id >= r.text << 24 AND p.id < (r.text + 1) << 24 \
                 WHERE r.n = ?1",
            )?;
            let rows = query.query_map([n], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        for (page, lines) in self.said(pages(), unread)? {
            // A table without its words must be told which ones go.
            let words = words_of(&lines)?;
            let forget = "INSERT INTO word (word, rowid, words) VALUES ('delete', ?1, ?2)";
            self.said(self.connection.execute(forget, params![page, words]), unwritten)?;
            self.said(self.connection.execute("DELETE FROM page WHERE id = ?1", [page]), unwritten)?;
        }
        let none = "UPDATE recording SET text = NULL, text_chunks = NULL WHERE n = ?1 AND text IS NOT NULL";
        self.said(self.connection.execute(none, [n]), unwritten).map(drop)
    }

    /// `limit` lines of the recordings that are meant and whose text is as new as they are, those of what was put in last first.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn find(&self, phrase: &Phrase, filter: &Filter<'_>, limit: usize) -> Outcome<Vec<Found>> {
        self.mean(filter)?;
        let mut query = self.said(self.connection.prepare(FIND), unread)?;
        let words = phrase.query();
        let asked = params![filter.person(), filter.device(), filter.since.micros(), filter.kind(), words];
        let mut pages = self.said(query.query(asked), unread)?;
        let mut found: Vec<(i64, Line)> = Vec::new();
        while found.len() < limit
            && let Some(row) = self.said(pages.next(), unread)?
        {
            let (page, lines) =
                self.said(row.get(0).and_then(|page: i64| Ok((page, row.get::<_, Vec<u8>>(1)?))), unread)?;
            found.extend(phrase.lines(&lines)?.into_iter().rev().map(|line| (page >> PAGES_BITS, line)));
        }
        found.truncate(limit);
        let named = |(text, line): (i64, Line)| {
            Ok(Found { recording: self.recording(text)?, at_ms: line.at_ms, text: line.text })
        };
        found.into_iter().map(named).collect()
    }
}

fn path(home: &Home) -> PathBuf {
    home.dir().join("search.db")
}

fn write(change: &Connection, number: i64, page: &Page) -> rusqlite::Result<()> {
    let row = params![number, page.packed];
    change.prepare("INSERT INTO page (id, lines) VALUES (?1, ?2)")?.execute(row)?;
    let row = params![number, page.words];
    change.prepare("INSERT INTO word (rowid, words) VALUES (?1, ?2)")?.execute(row)?;
    Ok(())
}

fn unread() -> String {
    "the index of this home cannot be read".to_owned()
}

fn unwritten() -> String {
    "the index of this home cannot be written".to_owned()
}

#[cfg(test)]
mod tests;
