//! What a file session does, in the words of its recording: one marker a deed.

use crate::file_reports::{Close, Report, Way};
use belay_certs::statement::{Deed, path_text};

/// The words for a report; none for what is no deed.
pub fn words(report: &Report) -> Option<String> {
    Some(match report {
        Report::Opened { handle, way: Way::Up, path } => format!("{handle}: opened to write {}", path_text(path)),
        Report::Opened { handle, way: Way::Down, path } => format!("{handle}: opened to read {}", path_text(path)),
        Report::Closed { handle, bytes, close: Close::Whole } => format!("{handle}: closed, {bytes} bytes"),
        Report::Closed { handle, bytes, close: Close::Partial } => format!("{handle}: broken off, {bytes} bytes"),
        Report::Done { deed, path, to } if to.is_empty() => format!("{} {}", verb(*deed), path_text(path)),
        Report::Done { deed, path, to } => format!("{} {} to {}", verb(*deed), path_text(path), path_text(to)),
        Report::Failed => "the machine refused something".to_owned(),
        Report::Moved { .. } | Report::Over => return None,
    })
}

fn verb(deed: Deed) -> &'static str {
    match deed {
        Deed::Up => "wrote",
        Deed::Down => "read",
        Deed::Rename => "renamed",
        Deed::Remove => "removed",
        Deed::Mkdir => "made the directory",
        Deed::Rmdir => "removed the directory",
        Deed::Symlink => "made the link",
        Deed::Hardlink => "linked",
        Deed::Attributes => "changed the attributes of",
        Deed::Copy => "copied",
    }
}
