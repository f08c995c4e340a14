//! What runs printed, on its way into the index: outputs that are whole, that their device's signed digest proves, and that the
//! gateway can read. Of those that are sealed the index holds only that there are some.

use crate::{
    limits,
    store::{Broken, Index, IndexError, Indexed, IndexedSession, OutputRow, OutputsFrom, Source, TenantStore},
};
use belay_certs::{
    Digest, Invalid, Timestamp,
    output::{Line as Printed, read_cut_off},
    screen::{
        Line, Lines,
        pages::{Page, Pages},
    },
};

/// Goes through the outputs that changed, a part at a time.
pub(super) struct Changed<'a> {
    store: &'a TenantStore,
    /// The part under way.
    rows: std::vec::IntoIter<OutputRow>,
    /// From where the next part begins; none when there is no more.
    from: Option<OutputsFrom>,
    /// What changes from then on is left to the next pass: a run that prints changes again and again.
    until: Timestamp,
}

impl<'a> Changed<'a> {
    /// Those that changed from `since` on and before `until`, the first part read.
    pub(super) async fn between(store: &'a TenantStore, since: Timestamp, until: Timestamp) -> Result<Self, Broken> {
        let mut changed = Self { store, rows: Vec::new().into_iter(), from: Some(OutputsFrom::since(since)), until };
        changed.read_on().await?;
        Ok(changed)
    }

    /// Whether nothing changed.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.as_slice().is_empty()
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Result<Option<OutputRow>, Broken> {
        if self.is_empty() {
            self.read_on().await?;
        }
        Ok(self.rows.next())
    }

    async fn read_on(&mut self) -> Result<(), Broken> {
        let Some(from) = self.from.take() else { return Ok(()) };
        let mut rows = self.store.outputs_changed(&from).await?;
        self.from = rows.last().filter(|last| last.changed < self.until).map(OutputsFrom::behind);
        rows.retain(|row| row.changed < self.until);
        self.rows = rows.into_iter();
        Ok(())
    }
}

/// What the index calls it.
pub(super) fn key(row: &OutputRow) -> Indexed {
    (row.name.device.clone(), row.name.job, Source::Run)
}

/// Adds one output. One that is not what its device signed, or does not read, is in the index without a line.
pub(super) async fn add(
    store: &TenantStore,
    index: &mut Index,
    row: &OutputRow,
    digest: Digest,
) -> Result<(), IndexError> {
    let read = match read(store, row, digest).await {
        Ok(Some(read)) => read,
        // Deleted meanwhile.
        Ok(None) => return Ok(()),
        Err(broken) => {
            index.keep().await?;
            return Err(broken.into());
        }
    };
    let (is_sealed, pages) = match read {
        Read::Sealed => (true, Vec::new()),
        Read::Open(pages) => (false, pages),
    };
    let session = IndexedSession {
        session: key(row),
        person: row.person.clone(),
        kind: limits::INDEXED_RUN.to_owned(),
        started: row.started,
        chunks: row.kept,
        is_sealed,
    };
    let mut adding = index.add(session).await?;
    for page in pages {
        adding.page(page).await?;
    }
    adding.finish().await
}

/// An output file, read.
enum Read {
    /// Only auditors can read it.
    Sealed,
    /// Its lines.
    Open(Vec<Page>),
}

async fn read(store: &TenantStore, row: &OutputRow, digest: Digest) -> Result<Option<Read>, Broken> {
    let name = &row.name;
    let mut file = Vec::new();
    loop {
        let bytes = store.output(name.job, &name.device, file.len() as u64).await?;
        if bytes.is_empty() {
            break;
        }
        file.extend(bytes);
    }
    if (file.len() as u64) < row.kept {
        return Ok(None);
    }
    let read = tokio::task::spawn_blocking(move || {
        if Digest::of(&file) != digest {
            return Ok(Err("what the gateway has is not what the device signed".to_owned()));
        }
        match read_cut_off(&file) {
            Ok(read) if read.is_sealed() => Ok(Ok(Read::Sealed)),
            Ok(read) => pages(&read.lines).map(Read::Open).map(Ok),
            Err(invalid) => Ok(Err(invalid.sentence)),
        }
    });
    let read = read.await.map_err(|error| Broken::new(error.to_string()))?;
    match read.map_err(|invalid: Invalid| Broken::new(invalid.sentence))? {
        Ok(read) => Ok(Some(read)),
        Err(why) => {
            tracing::warn!(job = %name.job, device = %name.device, "the output of a run is not searched: {why}");
            Ok(Some(Read::Open(Vec::new())))
        }
    }
}

/// Both streams as they were written, as the lines of a command without a terminal.
fn pages(printed: &[Printed]) -> Result<Vec<Page>, Invalid> {
    let mut screen = Lines::new(limits::INDEXED_RUN_COLUMNS, limits::INDEXED_RUN_ROWS).returning();
    let (mut pages, mut full) = (Pages::default(), Vec::new());
    let mut keep = |lines: Vec<Line>| {
        for line in lines.iter().filter(|line| !line.text.trim().is_empty()) {
            full.extend(pages.add(line)?);
        }
        Ok::<(), Invalid>(())
    };
    for line in printed {
        keep(match line {
            Printed::Piece { at, bytes, .. } => screen.feed(*at, bytes),
            Printed::Cut { at, dropped } => {
                vec![Line { at_ms: *at, text: format!("{dropped} bytes were not kept") }]
            }
            Printed::Sealed { .. } => Vec::new(),
        })?;
    }
    keep(screen.finish())?;
    full.extend(pages.finish()?);
    Ok(full)
}

#[cfg(test)]
mod tests {
    use super::*;
    use belay_certs::{output::Stream, screen::pages::Phrase};

    fn found(pages: &[Page], words: &str) -> Vec<(u64, String)> {
        let phrase = Phrase::new(words).unwrap().unwrap();
        let lines = pages.iter().flat_map(|page| phrase.lines(&page.packed).unwrap());
        lines.map(|line| (line.at_ms, line.text)).collect()
    }

    #[test]
    fn both_streams_are_lines_in_their_order_with_the_moment_of_their_piece_and_a_cut_is_one() {
        let piece = |at, stream, text: &str| Printed::Piece { at, stream, bytes: text.as_bytes().to_vec() };
        let pages = pages(&[
            piece(5, Stream::Out, "restarting \x1b[1mcups\x1b[0m\nhalf a "),
            piece(7, Stream::Err, "line\n"),
            Printed::Cut { at: 9, dropped: 70 },
            piece(11, Stream::Out, "the end"),
        ])
        .unwrap();
        for (words, line) in [
            ("restarting", (5, "restarting cups")),
            ("half", (7, "half a line")),
            ("not kept", (9, "70 bytes were not kept")),
            ("end", (11, "the end")),
        ] {
            assert_eq!(found(&pages, words), [(line.0, line.1.to_owned())], "{words}");
        }
        assert!(super::pages(&[]).unwrap().is_empty());
    }
}
