//! The one write: makes events durable, log entry and tables and signed head in one transaction, and reads them back.
//!
//! The only place with SQL. Whoever wants something to happen calls [`Store::record`] first and acts on its `Ok`.
//!
//! | file | what it knows |
//! |---|---|
//! | `record.rs` | the way in: an ask is queued, and answered when it is durable |
//! | `writer.rs` | the one writer: a batch is one transaction; what happens when it fails |
//! | `turn.rs`, `turn_devices.rs`, `turn_live.rs`, `turn_jobs.rs`, `turn_recordings.rs`, `turn_rare.rs`, `turn_restart.rs` | one ask: read what bears on it, let the rules judge, stage the result |
//! | `stage.rs`, `rows.rs`, `transaction.rs` | what a transaction writes at its end, and how |
//! | `devices.rs`, `jobs.rs` | the devices and jobs that the writer remembers |
//! | `reviews.rs` | the work list of auditors |
//! | `freezes.rs` | the freezes in force, for the writer and every door |
//! | `heads.rs`, `proofs.rs` | the newest durable log heads in memory, and receipts made from them |
//! | `recordings.rs`, `objects.rs` | what sessions showed: the rows, and the bytes beside the database |
//! | `aged.rs` | by which moment recordings grow old |
//! | `index.rs` | what was shown, to be searched: a database for each tenant that can be made anew |
//! | `read.rs`, `read_devices.rs`, `sessions.rs`, `named.rs`, `library.rs`, `export.rs` | lists for doors, and a whole log as an archive |
//! | `database.rs`, `sql.rs`, `keys.rs`, `limits.rs` | the file, every SQL text, the log keys, every maximum |

mod aged;
mod broken;
mod database;
mod devices;
mod export;
mod freezes;
mod gathering;
mod heads;
mod index;
mod jobs;
mod keys;
mod library;
pub mod limits;
mod named;
mod objects;
mod outputs;
mod proofs;
mod read;
mod read_devices;
mod record;
mod recordings;
mod reviews;
mod rows;
mod sessions;
mod sql;
mod stage;
mod transaction;
mod turn;
mod turn_devices;
mod turn_jobs;
mod turn_live;
mod turn_outputs;
mod turn_rare;
mod turn_recordings;
mod turn_restart;
mod writer;

#[cfg(test)]
mod tests;

pub use broken::{Broken, RecordError};
pub use export::Exported;
pub use index::{Found, Index, IndexError, Indexed, IndexedSession, Source, Wanted};
pub use jobs::{RunEnded, RunRow};
pub use keys::LogKeys;
pub use library::{JobDocuments, JobRow, RunbookRow, SignedRunbook};
pub use named::SessionNamed;
pub use outputs::{OutputRow, OutputsFrom};
pub use proofs::ApprovedAt;
pub use read::{TenantRow, TenantStore, TokenRow};
pub use read_devices::{
    ApprovalRow, ApprovedFacts, DeviceRow, ListedRow, PendingRow, PendingWanted, PresenceFacts, Seen, Standing,
};
pub use record::{Recorded, Urgency};
pub use recordings::{Chunk, ChunkRow, Kept, RecordingRow};
pub use reviews::{OpinionRow, ReviewRow};
pub use sessions::{SessionEndFacts, SessionFilter, SessionRow};
pub use turn_jobs::Piece;

use belay_certs::Timestamp;
use belay_rules::LogName;
use database::Database;
pub(crate) use database::FILE as DATABASE_FILE;
use heads::{FullTiles, Heads, Shared};
pub(crate) use objects::DIRECTORY as RECORDINGS;
use objects::Objects;
use sqlx::AnyPool;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use writer::Writer;

/// The gateway's store. Cheap to clone; the writer ends when the last one is dropped or [`Store::close`] is called.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// To the writer.
    queue: mpsc::Sender<record::Job>,
    /// What the writer makes durable and readers prove from.
    shared: Arc<Shared>,
    /// Connections that read.
    readers: AnyPool,
    /// The bytes of recordings.
    objects: Objects,
    /// The gateway's directory.
    directory: PathBuf,
    /// Tells the writer to finish.
    stop: CancellationToken,
    /// The writer's task.
    tasks: TaskTracker,
}

impl Store {
    /// Opens the store in the gateway's directory, making what is not there: the database, and the system log with its
    /// key. Every log's head is checked against its key and its tree. The caller holds the directory's lock.
    ///
    /// # Errors
    /// When the database cannot be used, a log key is missing, or a head does not fit: nothing is served then.
    pub async fn open(directory: &Path, keys: LogKeys, now: Timestamp) -> Result<Self, Broken> {
        if Database::is_missing(directory) && keys.is_there(&LogName::System) {
            let aside = keys.aside_next(&LogName::System)?;
            return Err(Broken::new(format!(
                "belay.db is missing or empty, and the keys of its logs are there: it was lost. Restore it from a backup; or, to begin \
                 every log anew under its next name, rename keys/log-system.key to keys/{aside} and start again"
            )));
        }
        Database::settle(directory)?;
        let database = Database::open(directory).await?;
        let (heads, tiles, over) = (Heads::default(), FullTiles::default(), CancellationToken::new());
        let shared = Arc::new(Shared { database, heads, tiles, freezes: freezes::Durable::default(), over });
        let readers = shared.database.readers()?;
        let objects = Objects::open(directory)?;
        let writer = Writer::open(shared.clone(), keys, now).await?;
        Ok(Self::start(shared, readers, (objects, directory.to_owned()), writer))
    }

    fn start(shared: Arc<Shared>, readers: AnyPool, (objects, directory): (Objects, PathBuf), writer: Writer) -> Self {
        let (queue, asks) = mpsc::channel(limits::QUEUE_MAX);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(writer.run(asks, stop.clone()));
        tasks.close();
        Self(Arc::new(Inner { queue, shared, readers, objects, directory, stop, tasks }))
    }

    /// Returns when the disk did not keep what was written: nothing is recorded any more, and only a new start helps.
    pub async fn over(&self) {
        self.shared().over.cancelled().await;
    }

    /// A whole copy of the database as it is at one moment, in a file in `directory` that has no name any more.
    ///
    /// # Errors
    /// When it cannot be read or the disk has no room for it twice.
    pub async fn snapshot(&self, directory: &Path) -> Result<File, Broken> {
        self.shared().database.snapshot(directory).await
    }

    /// Records what is queued, then ends the writer and closes the database. Later asks are told that it is closed.
    pub async fn close(&self) {
        self.0.stop.cancel();
        self.0.tasks.wait().await;
        self.0.readers.close().await;
    }

    /// Whether more waits for the writer than it takes at once, twice over.
    pub(crate) fn is_pressed(&self) -> bool {
        let waiting = limits::QUEUE_MAX.saturating_sub(self.sender().capacity());
        waiting > 2 * limits::BATCH_ASKS_MAX
    }

    fn sender(&self) -> &mpsc::Sender<record::Job> {
        &self.0.queue
    }

    fn shared(&self) -> &Shared {
        &self.0.shared
    }

    fn directory(&self) -> &Path {
        &self.0.directory
    }

    fn objects(&self) -> &Objects {
        &self.0.objects
    }

    fn readers(&self) -> &AnyPool {
        &self.0.readers
    }
}
