//! The text of a recording, chunk by chunk as it is checked and opened with the auditor's age key.

use super::taken::{Extent, Taken};
use crate::{
    failure::{Outcome, While},
    home::{self, Home},
};
use belay_certs::{
    TenantName,
    recording::{
        Note,
        blob::{self, Identities},
    },
};
use std::path::Path;

/// The auditor's age key: the file given, or the one that `belay init` wrote here, if it is still here.
///
/// # Errors
/// The file cannot be read or holds no key.
pub fn identities(home: &Home, tenant: &TenantName, given: Option<&Path>) -> Outcome<Option<Identities>> {
    let kept = home.keys(tenant).join("auditor.age");
    let path = match given {
        Some(path) => path,
        None if kept.exists() => &kept,
        None => return Ok(None),
    };
    let parsed = Identities::parse(&home::read_text(path)?).during(|| path.display().to_string())?;
    Ok(Some(parsed))
}

impl Taken<'_> {
    /// Hands on the text of each chunk.
    ///
    /// # Errors
    /// The recording is cut off, altered or encrypted to somebody else, with the chunk's number; or `take` fails.
    pub fn text(
        &self,
        identities: Option<&Identities>,
        take: &mut dyn FnMut(&Note, &[u8]) -> Outcome,
    ) -> Outcome<Extent> {
        self.read(&mut |chunk| {
            let text = blob::open(chunk.blob, identities)
                .map_err(|invalid| invalid.of(format!("chunk {} of the recording", chunk.note.chunk)))?;
            take(&chunk.note, &text)
        })
    }
}
