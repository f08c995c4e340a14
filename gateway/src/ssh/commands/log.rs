//! `log tail`, `log export` and `log checkpoint`: a tenant's log as its auditors read it and take it home.

mod follow;
mod ocsf;

pub(super) use follow::{Begin, Until, stream};

use super::{
    Call, Failure, Output,
    show::{self, Form, or_empty},
};
use crate::store::{Broken, limits::ENTRIES_READ_MAX};
use belay_certs::{TenantName, entry::Entry, policy::ActionKind};
use belay_rules::LogName;
use tokio::io::AsyncWriteExt;

/// An archive's bytes on their way from the store to the reader.
const EXPORT_BUFFER_BYTES: usize = 64 << 10;
/// Of an entry's own members, in a line for people.
const DETAIL_CHARS_MAX: usize = 200;

/// The newest `limit` entries, the oldest of them first.
pub(super) async fn tail(
    call: &Call<'_>,
    tenant: &TenantName,
    limit: u64,
    form: Form,
    stdout: &mut Output<'_>,
) -> Result<String, Failure> {
    let log = LogName::Tenant(call.holding(tenant, ActionKind::Audit).await?.tenant);
    let size = call.gateway.store.checkpoint(&log).map_or(0, |(size, _)| size);
    let first = size.saturating_sub(limit);
    let mut next = first;
    while next < size {
        // Page by page: 10,000 entries can be 600 MiB.
        let entries = call.gateway.store.entries(&log, next, (size - next).min(ENTRIES_READ_MAX)).await?;
        if entries.is_empty() {
            return Err(Broken::new(format!("entry {next} of the log {log} is not here")).into());
        }
        let mut page = String::new();
        for entry in entries {
            page.push_str(match form {
                Form::Json if next == first => "[",
                Form::Json => ",",
                Form::Table => "",
            });
            page.push_str(&match form {
                Form::Json => indexed(next, entry)?,
                Form::Table => line(next, &entry)?,
            });
            next += 1;
        }
        stdout.write_all(page.as_bytes()).await?;
    }
    Ok(match form {
        Form::Json if first == size => "[]\n".to_owned(),
        Form::Json => "]\n".to_owned(),
        Form::Table => String::new(),
    })
}

/// The entry's own JSON with its index in front.
fn indexed(index: u64, entry: Vec<u8>) -> Result<String, Broken> {
    let text = String::from_utf8(entry).map_err(|_| unreadable(index))?;
    let members = text.strip_prefix('{').ok_or_else(|| unreadable(index))?;
    Ok(format!("{{\"index\":{index},{}", show::harmless(members)))
}

/// One line for people.
fn line(index: u64, bytes: &[u8]) -> Result<String, Broken> {
    let entry = Entry::parse(bytes)?;
    let detail: String = serde_json::to_string(&entry.detail)?.chars().take(DETAIL_CHARS_MAX).collect();
    let (device, person) = (or_empty(entry.device), or_empty(entry.person));
    let shown = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let at = entry.at.whole_second();
    Ok(format!(
        "{index:>8}  {at}  {:<20}  {:<16}  {:<16}  {}\n",
        entry.kind,
        shown(device),
        shown(person),
        show::escape(&detail)
    ))
}

fn unreadable(index: u64) -> Broken {
    Broken::new(format!("entry {index} is no JSON object"))
}

/// The whole log, or an earlier life of it, as a tar, as it was when the export began. Nothing of it is held here but one buffer.
pub(super) async fn export(
    call: &Call<'_>,
    tenant: &TenantName,
    life: Option<u32>,
    stdout: &mut Output<'_>,
) -> Result<String, Failure> {
    let log = LogName::Tenant(call.holding(tenant, ActionKind::Audit).await?.tenant);
    let (mut near, mut far) = tokio::io::duplex(EXPORT_BUFFER_BYTES);
    // Taken whole into its future: the copy ends when the archive's end is dropped.
    let exporting = async move {
        let store = &call.gateway.store;
        let exported = match life {
            None => store.export(&log, &mut near).await,
            Some(life) => store.export_earlier(&log, life, &mut near).await,
        };
        exported.map_err(Failure::from)
    };
    let copying = async { tokio::io::copy(&mut far, stdout).await.map_err(Failure::from) };
    tokio::try_join!(exporting, copying)?;
    Ok(String::new())
}

/// The newest signed head, for anybody the tenant knows: what an auditor keeps to catch a rollback with.
pub(super) async fn checkpoint(call: &Call<'_>, tenant: &TenantName) -> Result<String, Failure> {
    let log = LogName::Tenant(call.known(tenant).await?.tenant);
    let Some((_, note)) = call.gateway.store.checkpoint(&log) else {
        return Err(Broken::new(format!("there is no log {log}")).into());
    };
    Ok(String::from_utf8(note).map_err(|_| Broken::new(format!("the checkpoint of {log} is not UTF-8")))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = "{\"v\":1,\"id\":\"00000000000000000000000000000001\",\"type\":\"command.ran\",\
        \"at\":\"2026-11-21T09:00:00.5Z\",\"tenant\":\"acme\",\"person\":\"tech\",\"words\":[\"devices\",\"\u{202e}x\"]}";

    #[test]
    fn a_tailed_entry_is_its_own_json_with_the_index() {
        let text = indexed(7, ENTRY.as_bytes().to_vec()).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&value["index"], &value["type"], &value["words"][1]),
            (&7.into(), &"command.ran".into(), &"\u{202e}x".into())
        );
        assert!(!text.contains('\u{202e}'));
        assert!(indexed(7, b"[]".to_vec()).is_err());
    }

    #[test]
    fn a_tailed_line_names_what_who_and_when() {
        let line = line(7, ENTRY.as_bytes()).unwrap();
        assert!(
            line.starts_with("       7  2026-11-21T09:00:00Z  command.ran           -                 tech"),
            "{line}"
        );
        assert!(line.contains("\\u{202e}x") && line.ends_with('\n'));
    }
}
