//! The bytes of recordings, each chunk an object: `recordings/TENANT/DEVICE/SESSION/00000000.cast.zst`, with `.age` behind it
//! where it is encrypted.
//!
//! A directory beside the database by default; the seam for a store elsewhere is `object_store`. An object is whole and on the
//! disk, with its name, when [`Objects::put`] returns. Not here: the rows that say what there is (`recordings.rs`).

use super::broken::Broken;
use super::limits::OBJECT_TURNS;
use belay_certs::limits::RECORDING_BLOB_BYTES_MAX;
use belay_certs::recording::blob::file_name;
use belay_certs::{Digest, Id};
use belay_rules::RecordingName;
use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use std::error::Error;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{Mutex, MutexGuard};

/// The directory in the gateway's own.
pub(crate) const DIRECTORY: &str = "recordings";

/// One chunk.
pub(super) struct ChunkName<'a> {
    pub(super) recording: &'a RecordingName,
    pub(super) number: u64,
    pub(super) is_sealed: bool,
}

impl ChunkName<'_> {
    fn path(&self) -> ObjectPath {
        folder(self.recording).join(file_name(self.number, !self.is_sealed))
    }
}

/// Where the bytes are.
#[derive(Debug)]
pub(super) struct Objects {
    store: Arc<dyn ObjectStore>,
    /// Whoever writes chunks of a session has the turn of its number: two connections of one device may both send it.
    turns: Vec<Mutex<Option<Newest>>>,
}

/// The newest chunk that was kept in a turn: whoever brings the next one of the same recording need not look it up.
#[derive(Debug)]
pub(super) struct Newest {
    /// Of which recording.
    pub(super) name: RecordingName,
    /// How many chunks there are with it.
    pub(super) chunks: u64,
    /// Of its note's text.
    pub(super) head: Digest,
}

impl Objects {
    /// The objects in the gateway's directory.
    pub(super) fn open(directory: &Path) -> Result<Self, Broken> {
        let path = directory.join(DIRECTORY);
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|error| Broken::from(error).of(path.display()))?;
        let store = LocalFileSystem::new_with_prefix(&path).map_err(broken)?.with_fsync(true);
        let turns = (0..OBJECT_TURNS).map(|_| Mutex::default()).collect();
        Ok(Self { store: Arc::new(store), turns })
    }

    /// Waits until nobody else writes this session's chunks.
    pub(super) async fn turn(&self, session: Id) -> Option<MutexGuard<'_, Option<Newest>>> {
        let at = usize::from(session.0[0]) % OBJECT_TURNS;
        Some(self.turns.get(at)?.lock().await)
    }

    /// Writes a chunk, in the place of whatever was there: what has a row is never written again.
    pub(super) async fn put(&self, chunk: &ChunkName<'_>, blob: Bytes) -> Result<(), Broken> {
        self.store.put(&chunk.path(), PutPayload::from_bytes(blob)).await.map_err(broken)?;
        Ok(())
    }

    /// A chunk's bytes; none when it is not here.
    pub(super) async fn get(&self, chunk: &ChunkName<'_>) -> Result<Option<Bytes>, Broken> {
        let found = match self.store.get(&chunk.path()).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(broken(error)),
        };
        if found.meta.size > RECORDING_BLOB_BYTES_MAX as u64 {
            // Whatever it is, no chunk is so large: what is handed on does not have its digest.
            return Ok(Some(Bytes::new()));
        }
        Ok(Some(found.bytes().await.map_err(broken)?))
    }

    /// Removes the chunks of a recording; how many.
    ///
    /// Cut off half-way, some are left: whoever starts next removes them.
    pub(super) async fn remove(&self, recording: &RecordingName) -> Result<u64, Broken> {
        let found: Vec<_> = self.store.list(Some(&folder(recording))).try_collect().await.map_err(broken)?;
        let mut removed = 0;
        for object in found {
            self.store.delete(&object.location).await.map_err(broken)?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Every recording that has a folder here. What is none of ours is left alone.
    pub(super) async fn recordings(&self) -> Result<Vec<RecordingName>, Broken> {
        let mut found = Vec::new();
        for tenant in self.folders(None).await? {
            for device in self.folders(Some(&tenant)).await? {
                for session in self.folders(Some(&device)).await? {
                    found.extend(named(&session));
                }
            }
        }
        Ok(found)
    }

    async fn folders(&self, of: Option<&ObjectPath>) -> Result<Vec<ObjectPath>, Broken> {
        Ok(self.store.list_with_delimiter(of).await.map_err(broken)?.common_prefixes)
    }
}

fn folder(recording: &RecordingName) -> ObjectPath {
    let RecordingName { tenant, device, session } = recording;
    ObjectPath::from_iter([tenant.as_str(), device.as_str(), &session.to_string()])
}

fn named(folder: &ObjectPath) -> Option<RecordingName> {
    let mut parts = folder.parts();
    let mut part = || Some(parts.next()?.as_ref().to_owned());
    let (tenant, device, session) = (part()?.parse().ok()?, part()?.parse().ok()?, part()?.parse().ok()?);
    Some(RecordingName { tenant, device, session })
}

/// A fault of the object store. What lies under it says whether the disk is full.
fn broken(error: object_store::Error) -> Broken {
    let sentence = error.to_string();
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
        {
            return Broken::full(sentence);
        }
        cause = error.source();
    }
    Broken::new(sentence)
}
