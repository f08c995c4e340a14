//! Words for a person before any key exchange: an SSH version line and a clear-text disconnect message.
//!
//! RFC 4253 section 11.1 allows the message at any time; stock `ssh` prints it, also through a jump.

use crate::limits::FAREWELL_WAIT;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Says `sentence` and closes. Cut off half-way the person sees a closed connection.
pub(crate) async fn say(mut stream: impl AsyncRead + AsyncWrite + Unpin, sentence: &str) {
    let words = belay_protocol::farewell::packet(sentence);
    let _ = tokio::time::timeout(FAREWELL_WAIT, async {
        stream.write_all(&words).await?;
        stream.flush().await?;
        // The client speaks before it listens: closing first would break its pipe, and the words would be lost.
        let mut sink = [0; 512];
        while stream.read(&mut sink).await? > 0 {}
        Ok::<_, std::io::Error>(())
    })
    .await;
    let _ = stream.shutdown().await;
}
