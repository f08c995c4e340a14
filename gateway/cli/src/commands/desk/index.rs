//! What recordings showed that only the auditor can open, line by line, in a file of this home that can be made anew at any time.
//!
//! Not here: where recordings come from, and what of them is believed.

use crate::{
    failure::{Outcome, While},
    home::Home,
};
use belay_certs::{Id, screen::Line};
use rusqlite::{Connection, OpenFlags, params};
use std::{fs, os::unix::fs::OpenOptionsExt, path::Path};

/// Changes whenever the tables do: another number is another file's, and it is made anew.
const FORMAT: i64 = 1;
/// Characters of a text that can be looked up; of shorter ones every line is read.
const TRIGRAM: usize = 3;
/// The tables. A line is found by any three of its characters in a row.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS session (id TEXT NOT NULL PRIMARY KEY, chunks INTEGER NOT NULL);
    CREATE VIRTUAL TABLE IF NOT EXISTS line USING fts5(text, session UNINDEXED, at_ms UNINDEXED, tokenize = 'trigram');
    CREATE TEMP TABLE wanted (id TEXT NOT NULL PRIMARY KEY);
    PRAGMA user_version = 1;
";

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
pub struct Index(Connection);

impl Index {
    /// Opens it; one that cannot be read is made anew.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn open(home: &Home) -> Outcome<Self> {
        let path = home.dir().join("search.db");
        Self::try_open(&path).or_else(|_| {
            for end in ["", "-wal", "-shm", "-journal"] {
                let _ = fs::remove_file(path.with_extension(format!("db{end}")));
            }
            Self::try_open(&path).during(|| format!("cannot use {}", path.display()))
        })
    }

    fn try_open(path: &Path) -> rusqlite::Result<Self> {
        // Decrypted text: made for nobody else before the first byte is in it.
        let made = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path);
        made.map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let format: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if format != FORMAT && format != 0 {
            return Err(rusqlite::Error::InvalidQuery);
        }
        connection.execute_batch(TABLES)?;
        let whole: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if whole != "ok" {
            return Err(rusqlite::Error::InvalidQuery);
        }
        Ok(Self(connection))
    }

    /// Whether these chunks of a session are in it already.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn has(&self, session: &Id, chunks: u64) -> Outcome<bool> {
        let query = "SELECT count(*) FROM session WHERE id = ?1 AND chunks = ?2";
        let count =
            self.0.query_row(query, params![session.to_string(), chunks.cast_signed()], |row| row.get::<_, i64>(0));
        Ok(count.during(unread)? > 0)
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
        let change = self.0.transaction().during(unwritten)?;
        change.execute("DELETE FROM line WHERE session = ?1", [&id]).during(unwritten)?;
        {
            let mut insert =
                change.prepare("INSERT INTO line (text, session, at_ms) VALUES (?1, ?2, ?3)").during(unwritten)?;
            lines(&mut |line| {
                insert.execute(params![line.text, id, line.at_ms.cast_signed()]).map(drop).during(unwritten)
            })?;
        }
        let row = params![id, chunks.cast_signed()];
        change.execute("INSERT OR REPLACE INTO session (id, chunks) VALUES (?1, ?2)", row).during(unwritten)?;
        change.commit().during(unwritten)
    }

    /// The first `limit` lines of these sessions that hold `text`, capitals or not.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn find(&self, text: &str, sessions: &[Id], limit: usize) -> Outcome<Vec<Found>> {
        self.0.execute("DELETE FROM wanted", []).during(unread)?;
        let mut insert = self.0.prepare("INSERT OR IGNORE INTO wanted (id) VALUES (?1)").during(unread)?;
        for session in sessions {
            insert.execute([session.to_string()]).during(unread)?;
        }
        let (condition, wanted) = if text.chars().count() >= TRIGRAM {
            ("line MATCH ?1", format!("text : \"{}\"", text.replace('"', "\"\"")))
        } else {
            ("instr(lower(text), lower(?1)) > 0", text.to_owned())
        };
        let query = format!(
            "SELECT session, at_ms, text FROM line WHERE {condition} AND session IN (SELECT id FROM wanted) \
             ORDER BY session, at_ms LIMIT ?2"
        );
        let mut query = self.0.prepare(&query).during(unread)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = query.query_map(params![wanted, limit], |row| {
            let at_ms = row.get::<_, i64>(1)?.cast_unsigned();
            Ok(Found { session: row.get(0)?, at_ms, text: row.get(2)? })
        });
        rows.and_then(|rows| rows.collect()).during(unread)
    }
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
        index.find(text, sessions, 10).unwrap().into_iter().map(|found| found.text).collect()
    }

    #[test]
    fn any_part_of_a_line_is_found_in_the_sessions_that_are_meant() {
        let (_dir, home) = testing::home();
        let (one, two) = (Id([1; 16]), Id([2; 16]));
        let mut index = Index::open(&home).unwrap();
        put(&mut index, &one, 3, &["cat /etc/shadow", "Zürich \"quoted\" 100%"]);
        put(&mut index, &two, 1, &["CAT /ETC/HOSTS", "x OR y NEAR z*"]);
        assert_eq!(texts(&index, "cat /etc/", &[one, two]), ["cat /etc/shadow", "CAT /ETC/HOSTS"]);
        assert_eq!(texts(&index, "cat /etc/", &[two]), ["CAT /ETC/HOSTS"]);
        assert_eq!(texts(&index, "\"quoted\" 100%", &[one]), ["Zürich \"quoted\" 100%"]);
        assert_eq!(texts(&index, "OR y NEAR", &[one, two]), ["x OR y NEAR z*"]);
        assert_eq!(texts(&index, "z*", &[one, two]), ["x OR y NEAR z*"]);
        assert!(texts(&index, "nowhere", &[one, two]).is_empty());
        assert!(index.has(&one, 3).unwrap() && !index.has(&one, 4).unwrap());
        put(&mut index, &one, 4, &["again"]);
        assert!(texts(&index, "shadow", &[one]).is_empty());
        assert_eq!(index.find("c", &[one, two], 1).unwrap().len(), 1);
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
        assert!(!Index::open(&home).unwrap().has(&Id([1; 16]), 1).unwrap());
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
