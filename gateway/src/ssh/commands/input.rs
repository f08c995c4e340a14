//! A command's standard input: read whole, up to a size and within a time.

use super::{Failure, Input};
use crate::limits::COMMAND_INPUT_WAIT;
use belay_certs::{
    Signed, envelope,
    limits::{POLICY_SIGNATURES_MAX, SIGNATURE_BYTES_MAX},
};
use tokio::{io::AsyncReadExt, time::timeout};

/// Everything up to the end of input, at most `bytes_max`. No more is held than has arrived.
pub(super) async fn read(stdin: &mut Input<'_>, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let mut stdin = stdin.take(limit);
    match timeout(COMMAND_INPUT_WAIT, stdin.read_to_end(&mut bytes)).await {
        Ok(Ok(_)) if bytes.len() > bytes_max => {
            Err(Failure::Refused(format!("the input is larger than {bytes_max} bytes; nothing was done with it")))
        }
        Ok(Ok(_)) if bytes.is_empty() => Err(Failure::Usage(
            "this command reads its input, and there was none; write `ssh gw COMMAND < FILE`".to_owned(),
        )),
        Ok(Ok(_)) => Ok(bytes),
        Ok(Err(_)) => Err(Failure::Gone),
        Err(_) => {
            let seconds = COMMAND_INPUT_WAIT.as_secs();
            Err(Failure::Refused(format!("the input did not end within {seconds} s; nothing was done with it")))
        }
    }
}

/// A signed document followed by its signatures, the document at most `bytes_max`.
pub(super) async fn read_signed(stdin: &mut Input<'_>, bytes_max: usize) -> Result<Signed, Failure> {
    // One more line for each signature's line ends.
    let stream = read(stdin, bytes_max + POLICY_SIGNATURES_MAX * (SIGNATURE_BYTES_MAX + 2)).await?;
    Ok(envelope::split(&stream, bytes_max)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn input_is_read_to_its_end_and_not_beyond_its_limit() {
        assert_eq!(read(&mut &b"abc"[..], 3).await.unwrap(), b"abc");
        assert!(
            matches!(read(&mut &b"abcd"[..], 3).await, Err(Failure::Refused(sentence)) if sentence.contains("larger than 3"))
        );
        assert!(matches!(read(&mut &b""[..], 3).await, Err(Failure::Usage(_))));
    }

    #[tokio::test]
    async fn a_document_without_a_signature_is_refused() {
        let failure = read_signed(&mut &b"format = 1\n"[..], 100).await.unwrap_err();
        assert!(matches!(failure, Failure::Refused(sentence) if sentence.contains("signature")));
    }
}
