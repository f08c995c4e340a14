//! Tar archives as they go out (POSIX ustar). Moments are left out: the same content gives the same archive.

use std::io;
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// An archive is made of blocks of this size.
pub(crate) const BLOCK_BYTES: usize = 512;
/// The end of an archive: two empty blocks.
pub(crate) const END: [u8; 2 * BLOCK_BYTES] = [0; 2 * BLOCK_BYTES];

/// One file of the archive.
///
/// # Errors
/// The path is too long for the format, or nobody takes the bytes.
pub(crate) async fn append(
    out: &mut (impl AsyncWrite + Unpin + Send + ?Sized),
    path: &str,
    bytes: &[u8],
) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_path(path)?;
    header.set_size(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    out.write_all(header.as_bytes()).await?;
    out.write_all(bytes).await?;
    let padding = bytes.len().next_multiple_of(BLOCK_BYTES) - bytes.len();
    out.write_all(END.get(..padding).unwrap_or_default()).await
}
