//! What recordings showed that only the auditor can open, line by line, in a file of this home that can be made anew at any time.
//!
//! Not here: where recordings come from, and what of them is believed.

use crate::{
    failure::{Outcome, While},
    home::Home,
};
use belay_certs::{
    Id,
    screen::{
        Line,
        pages::{Page, Pages, Phrase, words_of},
    },
};
use rusqlite::{Connection, ErrorCode, OpenFlags, params};
use std::{cell::Cell, fs, os::unix::fs::OpenOptionsExt, path::PathBuf};

/// Changes whenever the tables do, or what a word is: another number is another file's, and it is made anew.
const FORMAT: i64 = 2;
/// The tables, as the gateway's index has them. A page's number is its session's times 2^24 and on.
const TABLES: &str = "
    PRAGMA journal_mode = WAL;
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS session (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, chunks INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS page (id INTEGER PRIMARY KEY, lines BLOB NOT NULL);
    CREATE VIRTUAL TABLE IF NOT EXISTS word USING fts5 (words, content = '', columnsize = 0, tokenize = 'ascii');
    PRAGMA user_version = 2;
    COMMIT;
";
/// What is lost with a power cut is fetched again.
const BEGUN: &str = "PRAGMA synchronous = NORMAL; CREATE TEMP TABLE wanted (id TEXT NOT NULL PRIMARY KEY)";
const PAGES_BITS: u32 = 24;
/// Pages of one session that are kept: a gigabyte of text. Below 2^24, for they are numbered so.
const PAGES_MAX: i64 = 65_536;
/// `CROSS JOIN` has SQLite begin with the words, and with those of what was put in last.
const FIND: &str = "
    SELECT p.id, p.lines FROM word w CROSS JOIN page p ON p.id = w.rowid WHERE w.word MATCH ?1
    AND w.rowid >> 24 IN (SELECT n FROM session WHERE id IN (SELECT id FROM wanted)) ORDER BY w.rowid DESC";

/// A line that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// In which session.
    pub session: String,
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

    /// Whether these chunks of a session are in it already.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn has(&self, session: &Id, chunks: u64) -> Outcome<bool> {
        let has = || {
            let mut query = self.connection.prepare("SELECT count(*) FROM session WHERE id = ?1 AND chunks = ?2")?;
            query.query_row(params![session.to_string(), chunks.cast_signed()], |row| row.get::<_, i64>(0))
        };
        Ok(self.said(has(), unread)? > 0)
    }

    /// Puts a session in, in place of what was there of it. `lines` writes each line; when it fails nothing is changed.
    ///
    /// # Errors
    /// It cannot be written, or `lines` fails.
    pub fn put(
        &mut self,
        session: &Id,
        chunks: u64,
        lines: impl FnOnce(&mut dyn FnMut(Line) -> Outcome) -> Outcome,
    ) -> Outcome {
        let id = session.to_string();
        let change = self.said(self.connection.unchecked_transaction(), unwritten)?;
        self.remove(&id)?;
        let next = "INSERT INTO session (id, chunks) VALUES (?1, ?2) RETURNING n";
        let row = params![id, chunks.cast_signed()];
        let n: i64 = self.said(change.query_row(next, row, |row| row.get(0)), unwritten)?;
        let (mut pages, mut count) = (Pages::default(), 0);
        let mut keep = |page: Page| -> Outcome {
            if count < PAGES_MAX {
                self.said(write(&change, (n << PAGES_BITS) + count, &page), unwritten)?;
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

    /// Removes a session, within the transaction that is open.
    fn remove(&self, id: &str) -> Outcome {
        let pages = || {
            let mut query = self.connection.prepare(
                "SELECT p.id, p.lines FROM session s JOIN page p ON p.id >= s.n << 24 AND p.id < (s.n + 1) << 24 \
                 WHERE s.id = ?1",
            )?;
            let rows = query.query_map([id], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        for (page, lines) in self.said(pages(), unread)? {
            // A table without its words must be told which ones go.
            let words = words_of(&lines)?;
            let forget = "INSERT INTO word (word, rowid, words) VALUES ('delete', ?1, ?2)";
            self.said(self.connection.execute(forget, params![page, words]), unwritten)?;
            self.said(self.connection.execute("DELETE FROM page WHERE id = ?1", [page]), unwritten)?;
        }
        self.said(self.connection.execute("DELETE FROM session WHERE id = ?1", [id]), unwritten).map(drop)
    }

    /// `limit` lines of these sessions that hold the words, those of what was put in last first.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn find(&self, phrase: &Phrase, sessions: &[Id], limit: usize) -> Outcome<Vec<Found>> {
        self.said(self.want(sessions), unread)?;
        let mut query = self.said(self.connection.prepare(FIND), unread)?;
        let mut pages = self.said(query.query([phrase.query()]), unread)?;
        let mut found: Vec<(i64, Line)> = Vec::new();
        while found.len() < limit
            && let Some(row) = self.said(pages.next(), unread)?
        {
            let (page, lines) =
                self.said(row.get(0).and_then(|page: i64| Ok((page, row.get::<_, Vec<u8>>(1)?))), unread)?;
            found.extend(phrase.lines(&lines)?.into_iter().rev().map(|line| (page >> PAGES_BITS, line)));
        }
        found.truncate(limit);
        let id = |n: i64| {
            let mut query = self.connection.prepare("SELECT id FROM session WHERE n = ?1")?;
            query.query_row([n], |row| row.get(0))
        };
        let named = |(n, line): (i64, Line)| {
            Ok(Found { session: self.said(id(n), unread)?, at_ms: line.at_ms, text: line.text })
        };
        found.into_iter().map(named).collect()
    }

    /// Says which sessions are meant.
    fn want(&self, sessions: &[Id]) -> rusqlite::Result<()> {
        let change = self.connection.unchecked_transaction()?;
        change.execute("DELETE FROM wanted", [])?;
        {
            let mut insert = change.prepare("INSERT OR IGNORE INTO wanted (id) VALUES (?1)")?;
            for session in sessions {
                insert.execute([session.to_string()])?;
            }
        }
        change.commit()
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
mod tests {
    use super::*;
    use crate::testing;
    use std::os::unix::fs::PermissionsExt;

    fn put(index: &mut Index, session: &Id, chunks: u64, texts: &[&str]) {
        let lines = |take: &mut dyn FnMut(Line) -> Outcome| {
            (0..).zip(texts).try_for_each(|(at_ms, text)| take(Line { at_ms, text: (*text).to_owned() }))
        };
        index.put(session, chunks, lines).unwrap();
    }

    fn texts(index: &Index, text: &str, sessions: &[Id]) -> Vec<String> {
        let phrase = Phrase::new(text).unwrap().unwrap();
        index.find(&phrase, sessions, 10).unwrap().into_iter().map(|found| found.text).collect()
    }

    #[test]
    fn words_are_found_in_the_sessions_that_are_meant_the_last_put_in_first() {
        let (_dir, home) = testing::home();
        let (one, two) = (Id([1; 16]), Id([2; 16]));
        let mut index = Index::open(&home).unwrap();
        put(&mut index, &one, 3, &["cat /etc/shadow", "Zürich \"quoted\" 100%"]);
        put(&mut index, &two, 1, &["CAT /ETC/HOSTS", "x OR y NEAR z*"]);
        assert_eq!(texts(&index, "cat /etc/", &[one, two]), ["CAT /ETC/HOSTS", "cat /etc/shadow"]);
        assert_eq!(texts(&index, "cat /etc/", &[two]), ["CAT /ETC/HOSTS"]);
        assert_eq!(texts(&index, "\"quoted\" 100%", &[one]), ["Zürich \"quoted\" 100%"]);
        assert_eq!(texts(&index, "OR y NEAR", &[one, two]), ["x OR y NEAR z*"]);
        assert_eq!(texts(&index, "z*", &[one, two]), ["x OR y NEAR z*"]);
        assert!(texts(&index, "nowhere", &[one, two]).is_empty());
        assert!(index.has(&one, 3).unwrap() && !index.has(&one, 4).unwrap());
        put(&mut index, &one, 4, &["again"]);
        assert!(texts(&index, "shadow", &[one]).is_empty());
        let phrase = Phrase::new("etc").unwrap().unwrap();
        assert_eq!(index.find(&phrase, &[one, two], 1).unwrap().len(), 1);
    }

    #[test]
    fn it_is_nobody_elses_and_a_damaged_one_is_made_anew() {
        let (_dir, home) = testing::home();
        let path = home.dir().join("search.db");
        let mut index = Index::open(&home).unwrap();
        put(&mut index, &Id([1; 16]), 1, &["secret"]);
        drop(index);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Index::open(&home).unwrap().has(&Id([1; 16]), 1).unwrap());
        fs::write(&path, vec![7; 10_000]).unwrap();
        let index = Index::open(&home).unwrap();
        assert!(!index.has(&Id([1; 16]), 1).unwrap() && !index.is_damaged());
        drop(index);
        // Behind what is read when it is opened.
        let mut bytes = fs::read(&path).unwrap();
        bytes[4_096..].fill(7);
        fs::write(&path, bytes).unwrap();
        let index = Index::open(&home).unwrap();
        assert!(index.has(&Id([1; 16]), 1).is_err() && index.is_damaged());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_fails_halfway_changes_nothing() {
        let (_dir, home) = testing::home();
        let mut index = Index::open(&home).unwrap();
        put(&mut index, &Id([1; 16]), 1, &["before"]);
        let failed = index.put(&Id([1; 16]), 2, |take| {
            take(Line { at_ms: 0, text: "half".to_owned() })?;
            Err(crate::failure::refused("cut off"))
        });
        assert!(failed.is_err() && index.has(&Id([1; 16]), 1).unwrap());
        assert_eq!(texts(&index, "before", &[Id([1; 16])]), ["before"]);
    }
}
