//! The database file and its connections: one that writes, a few that read.
//!
//! SQLite now; the texts in `sql.rs` also run on PostgreSQL, and what differs between the two is in this file only.

use super::broken::Broken;
use super::limits::{PAGES_HELD_KIB, READERS_MAX, SETTLED_AT_ONCE_BYTES};
use super::sql;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool, AssertSqlSafe, ConnectOptions, Connection, Executor};
use std::fmt::Write;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// The database's file in the gateway's directory.
pub(crate) const FILE: &str = "belay.db";
/// A copy that is being made.
const SNAPSHOT: &str = "belay.db.copy";
/// Takes the write lock at once: a transaction that reads first and then writes can otherwise fail halfway.
pub(super) const BEGIN: &str = "BEGIN IMMEDIATE";

/// Where the database is.
#[derive(Debug, Clone)]
pub(super) struct Database {
    url: String,
}

impl Database {
    /// Whether nothing is in the directory that ever was a database.
    pub(super) fn is_missing(directory: &Path) -> bool {
        std::fs::metadata(directory.join(FILE)).map_or(true, |file| file.len() == 0)
    }

    /// Makes sure that what this start will read from the write-ahead log is on the disk: every byte is written once more, as
    /// it is, and synced. After a failed sync a kernel shows pages that the disk never got; built upon, they would take with
    /// them at a power cut what was acknowledged later. Nobody else may use the database meanwhile.
    ///
    /// Cut off half-way: the same bytes stand.
    pub(super) fn settle(directory: &Path) -> Result<(), Broken> {
        let path = directory.join(FILE).with_extension("db-wal");
        let settled = || -> std::io::Result<()> {
            let file = match OpenOptions::new().read(true).write(true).open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            };
            let (mut bytes, mut at) = (vec![0; SETTLED_AT_ONCE_BYTES], 0);
            loop {
                let count = file.read_at(&mut bytes, at)?;
                if count == 0 {
                    return file.sync_all();
                }
                file.write_all_at(bytes.get(..count).unwrap_or_default(), at)?;
                at = at.saturating_add(count as u64);
            }
        };
        settled().map_err(|error| Broken::from(error).of(path.display()))
    }

    /// The database in `directory`, made when it is not there, and brought to this version's tables.
    pub(super) async fn open(directory: &Path) -> Result<Self, Broken> {
        sqlx::any::install_default_drivers();
        let path = directory.join(FILE);
        let named = |error: Broken| error.of(path.display());
        // SQLite gives its other files the mode of this one.
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
        file.map_err(|error| named(error.into()))?;
        let database = Self { url: format!("sqlite://{}?mode=rw", escaped(&path)) };
        database.migrate().await.map_err(named)?;
        Ok(database)
    }

    /// Brings the tables to this version.
    async fn migrate(&self) -> Result<(), Broken> {
        // The first connection makes the mode, which stays in the file.
        self.writer().await?.close().await?;
        let one = AnyPoolOptions::new().max_connections(1).connect(&self.url).await?;
        sqlx::migrate!("./migrations").run(&one).await?;
        one.close().await;
        Ok(())
    }

    /// A connection that writes. Every commit is on the disk when it returns (`synchronous = FULL`).
    pub(super) async fn writer(&self) -> Result<AnyConnection, Broken> {
        let options: AnyConnectOptions = self.url.parse()?;
        let mut connection = options.disable_statement_logging().connect().await?;
        connection.execute("PRAGMA journal_mode = WAL").await?;
        connection.execute("PRAGMA synchronous = FULL").await?;
        connection.execute(AssertSqlSafe(format!("PRAGMA cache_size = -{PAGES_HELD_KIB}"))).await?;
        Ok(connection)
    }

    /// A whole copy of the database as it is at one moment, while others go on writing: an open file that has no name any
    /// more, readable by nobody else at any time. The caller makes one at a time.
    pub(super) async fn snapshot(&self, directory: &Path) -> Result<File, Broken> {
        let path = directory.join(SNAPSHOT);
        let named = |error: Broken| error.of(path.display());
        let absent = |removed: std::io::Result<()>| match removed {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Broken::from(error)),
            Ok(()) | Err(_) => Ok(()),
        };
        // Left by one that was cut off.
        absent(std::fs::remove_file(&path)).map_err(named)?;
        // SQLite writes into an empty file that is there, and leaves its mode as it is.
        let file = OpenOptions::new().read(true).append(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|error| named(error.into()))?;
        let text = path.to_str().ok_or_else(|| Broken::new(format!("{} is not UTF-8", path.display())))?;
        let copied = async {
            let options: AnyConnectOptions = self.url.parse()?;
            let mut connection = options.disable_statement_logging().connect().await?;
            sqlx::query(sql::SNAPSHOT).bind(text).execute(&mut connection).await?;
            connection.close().await?;
            Ok(())
        };
        let copied: Result<(), Broken> = copied.await;
        absent(std::fs::remove_file(&path)).map_err(named)?;
        copied.map_err(named)?;
        match file.metadata().map_err(|error| named(error.into()))?.len() {
            0 => Err(named(Broken::new("nothing was copied into it"))),
            _ => Ok(file),
        }
    }

    /// Connections that read, made when they are wanted.
    pub(super) fn readers(&self) -> Result<AnyPool, Broken> {
        let options: AnyConnectOptions = self.url.parse()?;
        let pool =
            AnyPoolOptions::new().max_connections(READERS_MAX).min_connections(0).after_connect(|connection, _| {
                Box::pin(async move { connection.execute("PRAGMA query_only = TRUE").await.map(|_| ()) })
            });
        Ok(pool.connect_lazy_with(options.disable_statement_logging()))
    }
}

/// A connection to another database of ours, which `mode` opens: `rw`, or `rwc` to make it.
pub(super) async fn connect(path: &Path, mode: &str) -> Result<AnyConnection, sqlx::Error> {
    let options: AnyConnectOptions = format!("sqlite://{}?mode={mode}", escaped(path)).parse()?;
    options.disable_statement_logging().connect().await
}

/// The path as it stands in a URL: every byte but the plainest as `%XX`, so that `?` or `#` in a name is only that.
fn escaped(path: &Path) -> String {
    path.as_os_str().as_bytes().iter().fold(String::new(), |mut out, byte| {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.');
        let _ = if plain { write!(out, "{}", char::from(*byte)) } else { write!(out, "%{byte:02X}") };
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn a_database_is_made_private_in_any_directory_and_opened_again() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("a ?strange#name%20");
        std::fs::create_dir(&directory).unwrap();
        for _ in 0..2 {
            let database = Database::open(&directory).await.unwrap();
            database.readers().unwrap().fetch_all("SELECT name FROM log").await.unwrap();
        }
        assert_eq!(std::fs::metadata(directory.join(FILE)).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Database::open(&parent.path().join("nowhere")).await.unwrap_err().to_string().contains("nowhere"));
    }

    #[tokio::test]
    async fn a_write_ahead_log_is_settled_without_a_change_and_one_that_cannot_be_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        Database::settle(directory.path()).unwrap();
        let bytes: Vec<u8> = (0..3 * SETTLED_AT_ONCE_BYTES + 7).map(|at| (at % 251) as u8).collect();
        let path = directory.path().join("belay.db-wal");
        std::fs::write(&path, &bytes).unwrap();
        Database::settle(directory.path()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let refused = Database::settle(directory.path()).unwrap_err().to_string();
        assert!(refused.contains("belay.db-wal"), "{refused}");
    }

    #[tokio::test]
    async fn every_commit_of_the_writer_is_synced_and_readers_cannot_write() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(directory.path()).await.unwrap();
        let mut writer = database.writer().await.unwrap();
        let full: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut writer).await.unwrap();
        let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut writer).await.unwrap();
        assert_eq!((full, mode.as_str()), (2, "wal"));
        let held: i64 = sqlx::query_scalar("PRAGMA cache_size").fetch_one(&mut writer).await.unwrap();
        assert_eq!(held, -PAGES_HELD_KIB);
        let written = database.readers().unwrap().execute("DELETE FROM entry").await;
        assert!(written.unwrap_err().to_string().contains("readonly"));
    }
}
