//! The index of what sessions showed and runs printed: for each tenant a database of its own, `index/TENANT.db`, so that the words
//! of one cost no search of another any time (P3). With its SQL, for its tables are nobody else's.
//!
//! Nothing here is believed or needed: a database that is missing or damaged is made anew from the recordings. Not here: how
//! chunks become lines (`act/index.rs`).

use super::Store;
use super::broken::Broken;
use super::database::{BEGIN, connect};
use super::heads::{signed, unsigned};
use super::limits::{INDEX_BATCH_BYTES, INDEXED_PAGES_MAX, INDEXED_READ_MAX};
use belay_certs::recording::cast::Kind;
use belay_certs::screen::Line;
use belay_certs::screen::pages::{Page, Phrase, words_of};
use belay_certs::{DeviceName, Id, PersonRef, TenantName, Timestamp};
use futures_util::TryStreamExt;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Connection, Executor, Row};
use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The directory in the gateway's own.
const DIRECTORY: &str = "index";
/// Changes whenever the tables do, or what a word is: an index of another number is made anew.
const FORMAT: i64 = 3;
/// Its tables. A page's number is its recording's times 2^24 and on; so the newest recordings' pages are walked first, and a
/// walk ends when enough is found. The words of a page stand nowhere but in the full-text table's own lists.
const TABLES: [&str; 5] = [
    "CREATE TABLE seen (id INTEGER PRIMARY KEY, device TEXT NOT NULL, session TEXT NOT NULL, person TEXT NOT NULL, \
     kind TEXT NOT NULL, started_us BIGINT NOT NULL, chunks BIGINT NOT NULL, source BIGINT NOT NULL, sealed BIGINT NOT NULL, \
     UNIQUE (device, session, source))",
    "CREATE TABLE page (id INTEGER PRIMARY KEY, lines BLOB NOT NULL)",
    "CREATE VIRTUAL TABLE word USING fts5 (words, content = '', columnsize = 0, tokenize = 'ascii')",
    // What is deleted leaves the lists at once.
    "INSERT INTO word (word, rank) VALUES ('secure-delete', 1)",
    // Written to the file in pieces of so many bytes: as much as one transaction adds.
    "INSERT INTO word (word, rank) VALUES ('hashsize', 33554432)",
];
const PAGES_BITS: u32 = 24;
const FORMAT_READ: &str = "PRAGMA user_version";
const FORMAT_WRITE: &str = "PRAGMA user_version = 3";
const TABLES_COUNT: &str = "SELECT COUNT(*) FROM sqlite_master";
const SEEN: &str = "SELECT device, session, source, chunks FROM seen ORDER BY id LIMIT $1";
const SEEN_ID: &str = "SELECT id FROM seen WHERE device = $1 AND session = $2 AND source = $3";
const SEEN_NEXT: &str = "SELECT COALESCE(MAX(id), 0) + 1 FROM seen";
const SEEN_ADD: &str = "INSERT INTO seen (id, device, session, person, kind, started_us, chunks, source, sealed) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
const SEEN_FORGET: &str = "DELETE FROM seen WHERE id = $1";
const SEEN_FOUND: &str = "SELECT session, device, person, kind, started_us FROM seen WHERE id = $1";
const PAGE_ADD: &str = "INSERT INTO page (id, lines) VALUES ($1, $2)";
const WORDS_ADD: &str = "INSERT INTO word (rowid, words) VALUES ($1, $2)";
const PAGE_NEXT: &str = "SELECT id, lines FROM page WHERE id >= $1 AND id < $2 ORDER BY id LIMIT 1";
const PAGE_FORGET: &str = "DELETE FROM page WHERE id = $1";
/// A table without its words must be told which ones go.
const WORDS_FORGET: &str = "INSERT INTO word (word, rowid, words) VALUES ('delete', $1, $2)";
/// The sessions that a search may look into.
macro_rules! meant {
    () => {
        "FROM seen WHERE ($1 = '' OR person = $1) AND ($2 = '' OR device = $2) AND started_us >= $3 AND ($4 = '' OR kind = $4)"
    };
}
const MEANT: &str = concat!("SELECT MIN(id), MAX(id), COUNT(*), (SELECT COUNT(*) FROM seen) ", meant!());
/// Runs of which nothing is in it, for only auditors can read what they printed.
const SEALED_RUNS: &str = "SELECT device, session FROM seen WHERE sealed = 1 LIMIT $1";
/// How many of those that are meant are so.
const SEALED: &str = concat!("SELECT COUNT(*) ", meant!(), " AND sealed = 1");
/// `CROSS JOIN` has SQLite begin with the words; the bounds let it skip what is newer or older than all that is meant.
const SEARCH: &str = concat!(
    "SELECT p.id, p.lines FROM word w CROSS JOIN page p ON p.id = w.rowid WHERE w.word MATCH $5 AND w.rowid >= $6 AND w.rowid < $7 \
     AND ($8 = 1 OR w.rowid >> 24 IN (SELECT id ",
    meant!(),
    ")) ORDER BY w.rowid DESC"
);
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

/// A recording, as the index knows it: of a session, or of a device's run of the job of that id.
pub type Indexed = (DeviceName, Id, Source);

/// What was recorded. A device chooses its sessions' ids: one that chooses a job's must not hide what its run printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// A session.
    Session,
    /// A run.
    Run,
}

impl Source {
    fn number(self) -> i64 {
        match self {
            Self::Session => 0,
            Self::Run => 1,
        }
    }

    fn of(number: i64) -> Self {
        if number == Self::Run.number() { Self::Run } else { Self::Session }
    }
}

/// Whose lines are added.
#[derive(Debug, Clone)]
pub struct IndexedSession {
    /// The device, and the session or the run's job.
    pub session: Indexed,
    /// Whose session, or who ordered the run.
    pub person: PersonRef,
    /// `shell`, `exec`, `sftp` or `run`.
    pub kind: String,
    /// When it began.
    pub started: Timestamp,
    /// Chunks, or bytes of an output, that the lines are of.
    pub chunks: u64,
    /// Whether only auditors can read it: then it has no lines here, and is only counted.
    pub is_sealed: bool,
}

/// What is searched for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Words, next to each other in this order.
    pub words: Phrase,
    /// Only in sessions of this person.
    pub person: Option<PersonRef>,
    /// Only on this device.
    pub device: Option<DeviceName>,
    /// Only in sessions begun from this moment on.
    pub since: Timestamp,
    /// Only in sessions of this kind.
    pub kind: Option<Kind>,
    /// At most so many lines.
    pub limit: u32,
}

impl Wanted {
    /// The kind as the tables have it; empty for any.
    pub(super) fn kind_word(&self) -> &'static str {
        match self.kind {
            None => "",
            Some(Kind::Shell) => "shell",
            Some(Kind::Exec) => "exec",
            Some(Kind::Sftp) => "sftp",
            Some(Kind::Run) => "run",
        }
    }
}

/// A line that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The session, or the run's job.
    pub session: Id,
    /// The device.
    pub device: DeviceName,
    /// Who.
    pub person: PersonRef,
    /// `shell`, `exec`, `sftp` or `run`.
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
    /// Bytes of words that are added and not committed; none when no transaction is open.
    added: Option<usize>,
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
        if format(&mut connection).await? == 0 {
            connection.execute(BEGIN).await?;
            // Whoever else opened it meanwhile has made them.
            if format(&mut connection).await? == 0 {
                for text in TABLES.into_iter().chain([FORMAT_WRITE]) {
                    connection.execute(text).await?;
                }
            }
            connection.execute("COMMIT").await?;
        }
        Ok(Self { connection, added: None })
    }

    /// Every recording that is in it, with its chunks.
    ///
    /// # Errors
    /// As [`Store::index`]; so for every function here.
    pub async fn seen(&mut self) -> Result<HashMap<Indexed, u64>, IndexError> {
        let mut all = HashMap::new();
        let rows = sqlx::query(SEEN).bind(INDEXED_READ_MAX).fetch_all(&mut self.connection).await?;
        for row in &rows {
            let source = Source::of(row.try_get(2)?);
            let session = (row.try_get::<&str, _>(0)?.parse()?, row.try_get::<&str, _>(1)?.parse()?, source);
            all.insert(session, unsigned(row.try_get(3)?)?);
        }
        Ok(all)
    }

    /// Begins a recording, in the place of what there was of it. Nothing of it is found before [`Index::keep`].
    ///
    /// # Errors
    /// As [`Store::index`]; the connection is not to be used again then, here and in every function of [`Adding`].
    pub async fn add(&mut self, session: IndexedSession) -> Result<Adding<'_>, IndexError> {
        self.forget(&session.session).await?;
        let id: i64 = sqlx::query(SEEN_NEXT).fetch_one(&mut self.connection).await?.try_get(0)?;
        Ok(Adding { index: self, session, id, pages: 0 })
    }

    /// Removes a recording; it is there until [`Index::keep`].
    pub async fn forget(&mut self, (device, session, source): &Indexed) -> Result<(), IndexError> {
        self.begin().await?;
        let query = sqlx::query(SEEN_ID).bind(device.as_str()).bind(session.to_string()).bind(source.number());
        let Some(row) = query.fetch_optional(&mut self.connection).await? else { return Ok(()) };
        let id: i64 = row.try_get(0)?;
        let (from, end) = (id << PAGES_BITS, (id + 1) << PAGES_BITS);
        loop {
            let next = sqlx::query(PAGE_NEXT).bind(from).bind(end).fetch_optional(&mut self.connection).await?;
            let Some(row) = next else { break };
            let (page, words): (i64, String) = (row.try_get(0)?, words_of(row.try_get(1)?)?);
            sqlx::query(WORDS_FORGET).bind(page).bind(words).execute(&mut self.connection).await?;
            sqlx::query(PAGE_FORGET).bind(page).execute(&mut self.connection).await?;
        }
        sqlx::query(SEEN_FORGET).bind(id).execute(&mut self.connection).await?;
        Ok(())
    }

    /// Opens a transaction unless one is open.
    async fn begin(&mut self) -> Result<(), IndexError> {
        if self.added.is_none() {
            self.connection.execute(BEGIN).await?;
            self.added = Some(0);
        }
        Ok(())
    }

    /// What was added and removed is there from now on.
    ///
    /// Cut off before: nothing of it happened.
    pub async fn keep(&mut self) -> Result<(), IndexError> {
        if self.added.take().is_some() {
            self.connection.execute("COMMIT").await?;
        }
        Ok(())
    }

    /// The lines that hold the wanted words, those of the newest recordings first.
    pub async fn search(&mut self, wanted: &Wanted) -> Result<Vec<Found>, IndexError> {
        let person = wanted.person.as_ref().map(ToString::to_string).unwrap_or_default();
        let device = wanted.device.as_ref().map_or("", DeviceName::as_str);
        let (since, kind) = (wanted.since.micros(), wanted.kind_word());
        let meant = sqlx::query(MEANT).bind(person.as_str()).bind(device).bind(since).bind(kind);
        let meant = meant.fetch_one(&mut self.connection).await?;
        let (Some(oldest), Some(newest)) = (meant.try_get::<Option<i64>, _>(0)?, meant.try_get::<Option<i64>, _>(1)?)
        else {
            return Ok(Vec::new());
        };
        let all = meant.try_get::<i64, _>(2)? == meant.try_get::<i64, _>(3)?;
        let limit = wanted.limit as usize;
        let mut hits: Vec<(i64, Line)> = Vec::new();
        {
            let query = sqlx::query(SEARCH).bind(person.as_str()).bind(device).bind(since).bind(kind);
            let query = query.bind(wanted.words.query()).bind(oldest << PAGES_BITS).bind((newest + 1) << PAGES_BITS);
            let mut pages = query.bind(i64::from(all)).fetch(&mut self.connection);
            while hits.len() < limit {
                let Some(page) = pages.try_next().await? else { break };
                let seen = page.try_get::<i64, _>(0)? >> PAGES_BITS;
                let lines = wanted.words.lines(page.try_get(1)?)?;
                hits.extend(lines.into_iter().rev().map(|line| (seen, line)));
            }
        }
        hits.truncate(limit);
        let (mut sessions, mut found) = (HashMap::new(), Vec::with_capacity(hits.len()));
        for (seen, line) in hits {
            let known = match sessions.get(&seen) {
                Some(known) => known,
                None => {
                    let row = sqlx::query(SEEN_FOUND).bind(seen).fetch_one(&mut self.connection).await?;
                    sessions.entry(seen).or_insert(found_in(&row)?)
                }
            };
            found.push(Found { at_ms: line.at_ms, line: line.text, ..known.clone() });
        }
        Ok(found)
    }

    /// How many a search would look into that only auditors can read.
    pub async fn sealed(&mut self, wanted: &Wanted) -> Result<u64, IndexError> {
        let query = sqlx::query(SEALED)
            .bind(wanted.person.as_ref().map(ToString::to_string).unwrap_or_default())
            .bind(wanted.device.as_ref().map_or("", DeviceName::as_str))
            .bind(wanted.since.micros())
            .bind(wanted.kind_word());
        Ok(unsigned(query.fetch_one(&mut self.connection).await?.try_get(0)?)?)
    }

    /// The runs whose output only auditors can read.
    pub async fn sealed_runs(&mut self) -> Result<HashSet<(DeviceName, Id)>, IndexError> {
        let rows = sqlx::query(SEALED_RUNS).bind(INDEXED_READ_MAX).fetch_all(&mut self.connection).await?;
        let run = |row: &AnyRow| -> Result<(DeviceName, Id), IndexError> {
            Ok((row.try_get::<&str, _>(0)?.parse()?, row.try_get::<&str, _>(1)?.parse()?))
        };
        rows.iter().map(run).collect()
    }

    /// Ends its use.
    pub async fn close(self) {
        let _ = self.connection.close().await;
    }
}

/// A recording whose pages are being added.
#[derive(Debug)]
pub struct Adding<'a> {
    index: &'a mut Index,
    session: IndexedSession,
    id: i64,
    pages: i64,
}

impl Adding<'_> {
    /// Adds a page; beyond [`INDEXED_PAGES_MAX`] none is.
    ///
    /// # Errors
    /// As [`Index::add`].
    pub async fn page(&mut self, page: Page) -> Result<(), IndexError> {
        if self.pages >= INDEXED_PAGES_MAX {
            return Ok(());
        }
        let number = (self.id << PAGES_BITS).saturating_add(self.pages);
        let Index { connection, added } = &mut *self.index;
        *added = added.map(|bytes| bytes.saturating_add(page.words.len()));
        sqlx::query(PAGE_ADD).bind(number).bind(page.packed).execute(&mut *connection).await?;
        sqlx::query(WORDS_ADD).bind(number).bind(page.words).execute(&mut *connection).await?;
        self.pages += 1;
        Ok(())
    }

    /// Nothing of it is to be there, nor of what was added since [`Index::keep`].
    ///
    /// # Errors
    /// As [`Index::add`].
    pub async fn give_up(self) -> Result<(), IndexError> {
        if self.index.added.take().is_some() {
            self.index.connection.execute("ROLLBACK").await?;
        }
        Ok(())
    }

    /// All pages are there. Once many are they are kept: small recordings share a transaction.
    ///
    /// # Errors
    /// As [`Index::add`].
    pub async fn finish(self) -> Result<(), IndexError> {
        let Self { index, session, id, .. } = self;
        let query = sqlx::query(SEEN_ADD)
            .bind(id)
            .bind(session.session.0.as_str())
            .bind(session.session.1.to_string())
            .bind(session.person.to_string())
            .bind(session.kind.as_str())
            .bind(session.started.micros())
            .bind(signed(session.chunks)?)
            .bind(session.session.2.number())
            .bind(i64::from(session.is_sealed));
        query.execute(&mut index.connection).await?;
        if index.added.is_some_and(|bytes| bytes >= INDEX_BATCH_BYTES) { index.keep().await } else { Ok(()) }
    }
}

/// The format of the tables; 0 when there are none.
async fn format(connection: &mut AnyConnection) -> Result<i64, IndexError> {
    let format: i64 = connection.fetch_one(FORMAT_READ).await?.try_get(0)?;
    let tables: i64 = connection.fetch_one(TABLES_COUNT).await?.try_get(0)?;
    match (format, tables) {
        (0, 0) => Ok(0),
        (FORMAT, _) => Ok(FORMAT),
        (other, _) => Err(IndexError::Damaged(format!("it is of format {other}, and this version writes {FORMAT}"))),
    }
}

/// Where a line was found, without the line.
fn found_in(row: &AnyRow) -> Result<Found, IndexError> {
    Ok(Found {
        session: row.try_get::<&str, _>(0)?.parse()?,
        device: row.try_get::<&str, _>(1)?.parse()?,
        person: row.try_get::<&str, _>(2)?.parse()?,
        kind: row.try_get(3)?,
        started: Timestamp::from_micros(row.try_get(4)?),
        at_ms: 0,
        line: String::new(),
    })
}

#[cfg(test)]
mod tests;
