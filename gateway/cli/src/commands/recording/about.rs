//! `belay recording SESSION --json`: what the gateway says of a recording, when it is what the device signed and all of it is
//! there; of one that was deleted its notes.

use super::super::desk::{case::Case, deleted::Noted, taken::Taken};
use crate::{
    failure::{Outcome, refused},
    screen::{json, note},
};
use serde_json::{Value, json};

/// What the notes of a recording say together.
#[derive(Default)]
struct Sums {
    noted: Noted,
    /// Of the device's record, as the first note says it.
    serial: Option<u64>,
}

/// Prints it.
///
/// # Errors
/// A chunk is missing or altered, or the gateway says of it what the device did not sign.
pub fn tell(case: &Case<'_>) -> Outcome {
    let taken = Taken::fetch_any(case)?;
    let mut sums = Sums::default();
    let extent = match &case.deleted {
        Some(deleted) => {
            let extent = taken.read_notes(&mut |note, signed| {
                sums.serial.get_or_insert(note.serial);
                sums.noted.take(note, signed.digest());
                Ok(())
            })?;
            deleted.check(&sums.noted)?;
            extent
        }
        None => taken.read(&mut |chunk| {
            sums.serial.get_or_insert(chunk.note.serial);
            sums.noted.take(&chunk.note, chunk.signed.digest());
            Ok(())
        })?,
    };
    let about = taken.about()?;
    check(&about, case, &sums)?;
    json(&about);
    match &case.deleted {
        Some(deleted) => note(&format!("belay: {}", deleted.refusal())),
        None => super::tell(case, extent),
    }
    Ok(())
}

/// Whether the gateway says what the device signed; what only the gateway knows (when it recorded it, whether it is held) stays its
/// word.
fn check(about: &Value, case: &Case<'_>, sums: &Sums) -> Outcome {
    let intent = &case.said.intent;
    let mut signed = vec![
        ("session", json!(case.whose.session)),
        ("tenant", json!(case.whose.device.tenant)),
        ("device", json!(case.whose.device)),
        ("serial", json!(sums.serial)),
        ("person", json!(intent.person)),
        ("account", json!(intent.account)),
        ("kind", json!(intent.kind)),
        ("command", json!(intent.command.as_ref().map(|command| &command.text))),
        ("ticket", json!(intent.ticket)),
        ("chunks", json!(sums.noted.chunks)),
        ("bytes", json!(sums.noted.bytes)),
    ];
    // One that goes on may end while it is asked for.
    signed.extend(case.said.is_over.then(|| ("head", json!(case.said.recording))));
    match signed.into_iter().find(|(field, value)| about.get(field) != Some(value)) {
        None => Ok(()),
        Some((field, value)) => {
            let said = about.get(field).unwrap_or(&Value::Null);
            Err(refused(format!("the gateway says of it that its {field} is {said}, and its device signed {value}")))
        }
    }
}
