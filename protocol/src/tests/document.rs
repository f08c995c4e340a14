//! PROTOCOL.md says what the code does: every message with its fields and bounds, every phase, close code and refusal code.

use super::samples::{ForEach, for_each};
use crate::kinds::KINDS;
use crate::*;

const DOCUMENT: &str = include_str!("../../PROTOCOL.md");

fn has_line(line: &str) {
    assert!(DOCUMENT.lines().any(|found| found == line), "PROTOCOL.md lacks this line:\n{line}");
}

/// The section of the document under `### heading`.
fn section(heading: &str) -> &'static str {
    let start = format!("### {heading}\n");
    let after = DOCUMENT.split_once(&start).unwrap_or_else(|| panic!("PROTOCOL.md lacks: {start}")).1;
    after.split("\n### ").next().unwrap().split("\n## ").next().unwrap()
}

fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}

struct Fields;

impl ForEach for Fields {
    fn message<M: Message + Clone + PartialEq + std::fmt::Debug>(&mut self, sample: M) {
        let text = section(&format!("{} {}", M::KIND, M::NAME));
        let size = format!("version {}, body at most {} bytes", M::VERSION, grouped(M::BYTES_MAX));
        assert!(text.contains(&size), "{} lacks: {size}", M::NAME);

        let shown = format!("{sample:#?}");
        let fields = shown
            .lines()
            .filter_map(|line| line.strip_prefix("    "))
            .filter(|line| !line.starts_with([' ', ']', '}', ')']));
        let fields: Vec<String> =
            fields.filter_map(|line| Some(format!("| `{}` |", line.split_once(": ")?.0))).collect();
        assert!(!fields.is_empty());
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(rows.len(), fields.len(), "{} has a row for each field", M::NAME);
        for (row, field) in rows.iter().zip(&fields) {
            assert!(row.starts_with(field), "{}: {field} is not where it is in the code: {row}", M::NAME);
        }
    }
}

#[test]
fn every_message_and_field_is_in_the_document_in_order() {
    for_each(&mut Fields);
    let headings: Vec<&str> = DOCUMENT.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let numbered = headings.iter().filter(|heading| heading.starts_with(|first: char| first.is_ascii_digit()));
    assert_eq!(numbered.count(), KINDS.len(), "the document has no message that the code lacks");
}

#[test]
fn every_close_code_is_in_the_document() {
    for code in CloseCode::ALL {
        has_line(&format!("| {} | {} | {} |", code.code(), code.name(), code.meaning()));
    }
}

#[test]
fn every_refusal_code_is_in_the_document() {
    for code in RefusalCode::ALL {
        let start = format!("| {} | {code:?} | ", code.code());
        assert!(DOCUMENT.lines().any(|line| line.starts_with(&start)), "PROTOCOL.md lacks: {start}");
    }
}

fn phases<P: Phase>() {
    for phase in P::ALL {
        let legal = phase.legal();
        let legal = if legal.is_empty() { "nothing".to_owned() } else { legal.join(", ") };
        let unknown = if phase.skips_unknown() { "skipped, counted" } else { "closes" };
        has_line(&format!("| {} | {legal} | {unknown} |", phase.words()));
    }
}

#[test]
fn every_phase_is_in_the_document() {
    phases::<GatewayPhase>();
    phases::<AgentPhase>();
}

#[test]
fn the_protocol_names_are_in_the_document() {
    for alpn in [ALPN, ALPN_JOIN, ALPN_PEER] {
        assert!(DOCUMENT.contains(&format!("`{}`", str::from_utf8(alpn).unwrap())));
    }
    assert!(DOCUMENT.contains(&format!("This document is minor version {MINOR}.")));
}
