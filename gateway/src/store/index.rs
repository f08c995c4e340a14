//! The index of what sessions showed: for each tenant a database of its own, `index/TENANT.db`, so that the words of one cost
//! no search of another any time (P3). With its SQL, for its tables are nobody else's.
//!
//! Nothing here is believed or needed: a database that is missing or damaged is made anew from the recordings. Not here: how
//! chunks become lines (`act/index.rs`).

use super::Store;
use super::broken::Broken;
use super::database::connect;
use super::heads::{signed, unsigned};
use super::limits::{INDEXED_LINES_MAX, INDEXED_READ_MAX};
use belay_certs::{DeviceName, Id, PersonRef, TenantName, Timestamp};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Connection, Executor, Row};
use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The directory in the gateway's own.
const DIRECTORY: &str = "index";
/// Its tables. The rows of a recording's lines are numbered from its own number times 2^32 on.
const TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS seen (id INTEGER PRIMARY KEY, device TEXT NOT NULL, session TEXT NOT NULL, \
     person TEXT NOT NULL, kind TEXT NOT NULL, started_us BIGINT NOT NULL, chunks BIGINT NOT NULL, \
     UNIQUE (device, session))",
    "CREATE VIRTUAL TABLE IF NOT EXISTS line USING fts5 (text, at_ms UNINDEXED)",
];
const SEEN: &str = "SELECT device, session, chunks FROM seen ORDER BY id LIMIT $1";
const SEEN_ID: &str = "SELECT id FROM seen WHERE device = $1 AND session = $2";
const SEEN_NEXT: &str = "SELECT COALESCE(MAX(id), 0) + 1 FROM seen";
const SEEN_ADD: &str =
    "INSERT INTO seen (id, device, session, person, kind, started_us, chunks) VALUES ($1, $2, $3, $4, $5, $6, $7)";
const SEEN_FORGET: &str = "DELETE FROM seen WHERE id = $1";
const LINE_ADD: &str = "INSERT INTO line (rowid, text, at_ms) VALUES ($1, $2, $3)";
const LINES_FORGET: &str = "DELETE FROM line WHERE rowid >= $1 AND rowid < $2";
const SEARCH: &str = "SELECT s.session, s.device, s.person, s.kind, s.started_us, l.at_ms, l.text FROM line l \
                      JOIN seen s ON s.id = l.rowid >> 32 WHERE line MATCH $1 AND ($2 = '' OR s.person = $2) \
                      AND ($3 = '' OR s.device = $3) AND s.started_us >= $4 AND ($5 = '' OR s.kind = $5) \
                      ORDER BY l.rowid DESC LIMIT $6";
/// SQLite's primary codes for a file that is damaged, or is none of its own.
const DAMAGED: [u64; 2] = [11, 26];

/// Why the index did not answer.
#[derive(Debug)]
pub enum IndexError {
    /// The file is damaged: it is to be made anew.
    Damaged(String),
    /// Something else.
    Broken(Broken),
}

impl From<sqlx::Error> for IndexError {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|error| error.code());
        let code: Option<u64> = code.and_then(|code| code.parse().ok());
        match code.is_some_and(|code| DAMAGED.contains(&(code & 0xff))) {
            true => Self::Damaged(error.to_string()),
            false => Self::Broken(error.into()),
        }
    }
}

impl From<Broken> for IndexError {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// What our own writing made of a row is damage.
impl From<belay_certs::Invalid> for IndexError {
    fn from(invalid: belay_certs::Invalid) -> Self {
        Self::Damaged(invalid.sentence)
    }
}

impl From<IndexError> for Broken {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::Damaged(why) => Self::new(format!("the index is damaged: {why}")),
            IndexError::Broken(broken) => broken,
        }
    }
}

/// A recording, as the index knows it.
pub type Indexed = (DeviceName, Id);

/// Whose lines are added.
#[derive(Debug, Clone)]
pub struct IndexedSession {
    /// The device and the session.
    pub session: Indexed,
    /// Whose session.
    pub person: PersonRef,
    /// `shell`, `exec`, `sftp` or `forward`.
    pub kind: String,
    /// When it began.
    pub started: Timestamp,
    /// Chunks that the lines are of.
    pub chunks: u64,
}

/// What is searched for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Words, next to each other in this order; case and accents do not matter.
    pub text: String,
    /// Only in sessions of this person.
    pub person: Option<PersonRef>,
    /// Only on this device.
    pub device: Option<DeviceName>,
    /// Only in sessions begun from this moment on.
    pub since: Timestamp,
    /// Only in sessions of this kind.
    pub kind: Option<belay_certs::statement::SessionKind>,
    /// At most so many lines.
    pub limit: u32,
}

/// A line that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The session.
    pub session: Id,
    /// The device.
    pub device: DeviceName,
    /// Who.
    pub person: PersonRef,
    /// `shell`, `exec`, `sftp` or `forward`.
    pub kind: String,
    /// When it began.
    pub started: Timestamp,
    /// When the line was shown, in milliseconds since then.
    pub at_ms: u64,
    /// The line.
    pub line: String,
}

/// One tenant's index, open.
#[derive(Debug)]
pub struct Index {
    connection: AnyConnection,
}

impl Store {
    /// A tenant's index, made when it is not there.
    ///
    /// # Errors
    /// [`IndexError::Damaged`] when it is to be made anew; so for every function here.
    pub async fn index(&self, tenant: &TenantName) -> Result<Index, IndexError> {
        Index::open(&path(self.directory(), tenant)?).await
    }

    /// Removes a tenant's index.
    ///
    /// # Errors
    /// When its files cannot be removed.
    pub fn forget_index(&self, tenant: &TenantName) -> Result<(), Broken> {
        let path = path(self.directory(), tenant)?;
        for end in ["", "-wal", "-shm"] {
            let mut file = path.clone().into_os_string();
            file.push(end);
            match std::fs::remove_file(&file) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

fn path(directory: &Path, tenant: &TenantName) -> Result<PathBuf, Broken> {
    let folder = directory.join(DIRECTORY);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    Ok(folder.join(format!("{tenant}.db")))
}

impl Index {
    async fn open(path: &Path) -> Result<Self, IndexError> {
        let mut connection = connect(path, "rwc").await?;
        // What is lost with a power cut is read again from the recordings; what is deleted there must not stay here.
        for text in ["PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL", "PRAGMA secure_delete = ON"] {
            connection.execute(text).await?;
        }
        for text in TABLES {
            connection.execute(text).await?;
        }
        Ok(Self { connection })
    }

    /// Every recording that is in it, with its chunks.
    ///
    /// # Errors
    /// As [`Store::index`]; so for every function here.
    pub async fn seen(&mut self) -> Result<HashMap<Indexed, u64>, IndexError> {
        let mut all = HashMap::new();
        let rows = sqlx::query(SEEN).bind(INDEXED_READ_MAX).fetch_all(&mut self.connection).await?;
        for row in &rows {
            let session = (row.try_get::<&str, _>(0)?.parse()?, row.try_get::<&str, _>(1)?.parse()?);
            all.insert(session, unsigned(row.try_get(2)?)?);
        }
        Ok(all)
    }

    /// Begins a recording, in the place of what there was of it. Nothing of it is found before [`Adding::finish`].
    pub async fn add(&mut self, session: IndexedSession) -> Result<Adding<'_>, IndexError> {
        self.forget(&session.session).await?;
        sqlx::query("BEGIN IMMEDIATE").execute(&mut self.connection).await?;
        let id: i64 = sqlx::query(SEEN_NEXT).fetch_one(&mut self.connection).await?.try_get(0)?;
        Ok(Adding { index: self, session, id, lines: 0 })
    }

    /// Removes a recording.
    pub async fn forget(&mut self, (device, session): &Indexed) -> Result<(), IndexError> {
        let query = sqlx::query(SEEN_ID).bind(device.as_str()).bind(session.to_string());
        let Some(row) = query.fetch_optional(&mut self.connection).await? else { return Ok(()) };
        let id: i64 = row.try_get(0)?;
        let mut transaction = self.connection.begin().await?;
        sqlx::query(LINES_FORGET).bind(id << 32).bind((id + 1) << 32).execute(&mut *transaction).await?;
        sqlx::query(SEEN_FORGET).bind(id).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// The lines that hold the wanted words, the newest first.
    pub async fn search(&mut self, wanted: &Wanted) -> Result<Vec<Found>, IndexError> {
        let phrase = format!("\"{}\"", wanted.text.replace('"', "\"\"").replace('\0', " "));
        let query = sqlx::query(SEARCH)
            .bind(phrase)
            .bind(wanted.person.as_ref().map(ToString::to_string).unwrap_or_default())
            .bind(wanted.device.as_ref().map_or("", DeviceName::as_str))
            .bind(wanted.since.micros())
            .bind(wanted.kind.map_or("", super::rows::kind_word))
            .bind(i64::from(wanted.limit));
        query.fetch_all(&mut self.connection).await?.iter().map(found).collect()
    }

    /// Ends its use.
    pub async fn close(self) {
        let _ = self.connection.close().await;
    }
}

/// A recording whose lines are being added. Dropped before its end, nothing of it is there: the connection is not used again.
#[derive(Debug)]
pub struct Adding<'a> {
    index: &'a mut Index,
    session: IndexedSession,
    id: i64,
    lines: i64,
}

impl Adding<'_> {
    /// Adds a line; beyond [`INDEXED_LINES_MAX`] none is.
    ///
    /// # Errors
    /// As [`Store::index`].
    pub async fn line(&mut self, at_ms: u64, text: &str) -> Result<(), IndexError> {
        if self.lines >= INDEXED_LINES_MAX {
            return Ok(());
        }
        let number = (self.id << 32).saturating_add(self.lines);
        let query = sqlx::query(LINE_ADD).bind(number).bind(text).bind(signed(at_ms)?);
        query.execute(&mut self.index.connection).await?;
        self.lines += 1;
        Ok(())
    }

    /// All lines are there.
    ///
    /// # Errors
    /// As [`Store::index`].
    pub async fn finish(self) -> Result<(), IndexError> {
        let Self { index, session, id, .. } = self;
        let query = sqlx::query(SEEN_ADD)
            .bind(id)
            .bind(session.session.0.as_str())
            .bind(session.session.1.to_string())
            .bind(session.person.to_string())
            .bind(session.kind.as_str())
            .bind(session.started.micros())
            .bind(signed(session.chunks)?);
        query.execute(&mut index.connection).await?;
        sqlx::query("COMMIT").execute(&mut index.connection).await?;
        Ok(())
    }
}

fn found(row: &AnyRow) -> Result<Found, IndexError> {
    Ok(Found {
        session: row.try_get::<&str, _>(0)?.parse()?,
        device: row.try_get::<&str, _>(1)?.parse()?,
        person: row.try_get::<&str, _>(2)?.parse()?,
        kind: row.try_get(3)?,
        started: Timestamp::from_micros(row.try_get(4)?),
        at_ms: unsigned(row.try_get(5)?)?,
        line: row.try_get(6)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(number: u8, kind: &str) -> IndexedSession {
        let session = ("web1".parse().unwrap(), Id([number; 16]));
        let started = Timestamp::from_seconds(i64::from(number));
        IndexedSession { session, person: "ann".parse().unwrap(), kind: kind.to_owned(), started, chunks: 2 }
    }

    fn wanted(text: &str) -> Wanted {
        let (person, device, kind) = (None, None, None);
        Wanted { text: text.to_owned(), person, device, since: Timestamp::from_seconds(0), kind, limit: 10 }
    }

    async fn add(index: &mut Index, number: u8, kind: &str, lines: &[&str]) {
        let mut adding = index.add(session(number, kind)).await.unwrap();
        for (at, line) in lines.iter().enumerate() {
            adding.line(at as u64, line).await.unwrap();
        }
        adding.finish().await.unwrap();
    }

    async fn lines(index: &mut Index, wanted: &Wanted) -> Vec<(u8, String)> {
        let found = index.search(wanted).await.unwrap();
        found.into_iter().map(|found| (found.session.0[0], found.line)).collect()
    }

    #[tokio::test]
    async fn words_are_found_newest_first_with_every_filter_and_forgotten() {
        sqlx::any::install_default_drivers();
        let directory = tempfile::tempdir().unwrap();
        let mut index = Index::open(&directory.path().join("acme.db")).await.unwrap();
        add(&mut index, 1, "shell", &["rm -rf /var/cache", "Zürich \"quoted\" NEAR OR *"]).await;
        add(&mut index, 2, "exec", &["removed /var/cache/apt"]).await;
        let both = [(2, "removed /var/cache/apt".to_owned()), (1, "rm -rf /var/cache".to_owned())];
        assert_eq!(lines(&mut index, &wanted("VAR cache")).await, both);
        assert_eq!(lines(&mut index, &wanted("cache var")).await, []);
        for odd in ["\"quoted\" NEAR OR *", "zurich"] {
            assert_eq!(lines(&mut index, &wanted(odd)).await.len(), 1, "{odd}");
        }
        for nothing in ["", "---", "\0", "\"", "' OR 1=1 --", "line:x"] {
            assert_eq!(lines(&mut index, &wanted(nothing)).await, [], "{nothing:?}");
        }
        let exec = Wanted { kind: Some(belay_certs::statement::SessionKind::Exec), ..wanted("cache") };
        assert_eq!(lines(&mut index, &exec).await.len(), 1);
        let later = Wanted { since: Timestamp::from_seconds(2), ..wanted("cache") };
        assert_eq!(lines(&mut index, &later).await.len(), 1);
        let other = Wanted { person: Some("bob".parse().unwrap()), ..wanted("cache") };
        assert_eq!(lines(&mut index, &other).await, []);
        add(&mut index, 1, "shell", &["another"]).await;
        assert_eq!(lines(&mut index, &wanted("cache")).await.len(), 1, "it took the place of what there was");
        index.forget(&session(2, "exec").session).await.unwrap();
        assert_eq!(lines(&mut index, &wanted("cache")).await, []);
        assert_eq!(index.seen().await.unwrap(), [(session(1, "shell").session, 2)].into());
    }

    #[tokio::test]
    async fn a_file_that_is_none_is_damaged_and_not_broken() {
        sqlx::any::install_default_drivers();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("acme.db");
        std::fs::write(&path, vec![7; 9_000]).unwrap();
        assert!(matches!(Index::open(&path).await, Err(IndexError::Damaged(_))));
    }

    #[tokio::test]
    async fn a_recording_that_was_half_added_is_not_there() {
        sqlx::any::install_default_drivers();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("acme.db");
        let mut index = Index::open(&path).await.unwrap();
        let mut adding = index.add(session(1, "shell")).await.unwrap();
        adding.line(0, "half").await.unwrap();
        drop(adding);
        drop(index);
        let mut index = Index::open(&path).await.unwrap();
        assert!(index.search(&wanted("half")).await.unwrap().is_empty() && index.seen().await.unwrap().is_empty());
    }
}
