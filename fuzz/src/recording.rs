//! What a session showed, as anybody may hand it over: notes, blobs and casts. Signatures and chains are not here.

use belay_certs::{
    limits::RECORDING_TEXT_BYTES_MAX,
    recording::{
        Note, blob,
        cast::{Event, EventKind, Reader, Writer},
    },
};

/// The least header there is.
const HEADER: &str = "{\"version\":2,\"width\":80,\"height\":24,\"timestamp\":0,\"env\":{},\"belay\":{\
    \"session\":\"07070707070707070707070707070707\",\"tenant\":\"acme\",\"device\":\"web1.acme\",\"person\":\"kim\",\
    \"account\":\"root\",\"kind\":\"shell\",\"command\":null,\"ticket\":null}}\n";

/// A note has one spelling; a blob opens to no more than it may; whatever is shown comes back.
pub(crate) fn recording(input: &[u8]) {
    let note = std::str::from_utf8(input).ok().and_then(|text| Note::parse(text).ok());
    note.iter().for_each(|note| assert_eq!(note.to_text().as_bytes(), input, "one spelling"));
    let text = blob::open(input, None).unwrap_or_default();
    assert!(text.len() <= RECORDING_TEXT_BYTES_MAX, "more than a chunk");
    for cast in [input, text.as_slice()] {
        if let Ok(events) = Reader::default().read(cast) {
            assert_eq!(shown(&again(&events)), shown(&events), "what was shown is read again");
        }
    }
    let all = [Event { at: 0, kind: EventKind::Output(input.to_vec()) }];
    assert_eq!(shown(&again(&all)), input, "any bytes come back");
}

/// The events written and read.
fn again(events: &[Event]) -> Vec<Event> {
    let (mut writer, mut text) = (Writer::default(), HEADER.to_owned());
    for event in events {
        match &event.kind {
            EventKind::Output(bytes) => writer.output(event.at, bytes, &mut text),
            EventKind::Input(bytes) => writer.input(event.at, bytes, &mut text),
            EventKind::Resize { columns, rows } => writer.resize(event.at, *columns, *rows, &mut text),
            EventKind::Marker(words) => writer.marker(event.at, words, &mut text),
        }
    }
    writer.flush(&mut text);
    Reader::default().read(text.as_bytes()).unwrap_or_default()
}

fn shown(events: &[Event]) -> Vec<u8> {
    let bytes = events.iter().filter_map(|event| match &event.kind {
        EventKind::Output(bytes) => Some(bytes.as_slice()),
        EventKind::Input(_) | EventKind::Resize { .. } | EventKind::Marker(_) => None,
    });
    bytes.flatten().copied().collect()
}
