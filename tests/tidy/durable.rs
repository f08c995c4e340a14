//! Every step that makes something durable, each with the tests of its two faults: it failed; and it happened although it was
//! reported as failed, or its answer was lost. A step that is in no row, and a row whose step or test is gone, fail here.
//!
//! A step is a function of the programs that syncs a file, gives one its name, or commits. Where a function only writes whole
//! files by `files::write` or `write_whole`, the faults of that one mechanism are its own.

use super::{none, sources};
use std::collections::BTreeSet;

/// Where durable state is written; files that people copy to a machine are theirs.
const WHERE: [&str; 4] = ["agent/src/state/", "agent/src/recorder/", "gateway/src/store/", "gateway/src/admin"];
/// What makes a function a step.
const MAKES_DURABLE: [&str; 13] = [
    ".sync_all(",
    ".sync_data(",
    "files::write(",
    "files::replace(",
    "files::make_directory(",
    "write_whole(",
    "write_secret(",
    "fs::rename(",
    ".set_len(",
    "stage.commit(",
    "outbox.commit(",
    "objects.put(",
    "store.delete(",
];

/// A step: its file, its function, the test of its failing, the test of its happening all the same.
type Row = (&'static str, &'static str, &'static str, &'static str);

const DESK_DIES: &str = "a_desk_that_dies_after_the_write_and_before_the_answer_left_it_all_on_disk";
const OLD_FILE: &str = "a_failed_write_leaves_the_old_file";
const DRAFT_LEFT: &str = "a_draft_left_by_a_crash_changes_nothing_and_is_replaced";
const RENEWAL: &str =
    "a_renewal_that_cannot_be_written_leaves_the_old_pair_and_one_that_was_all_the_same_is_used_at_the_next_start";
const NOTHING_LEFT: &str = "a_failed_transaction_leaves_nothing_and_the_store_goes_on";
const TAKEN_UP: &str = "a_commit_that_happened_and_was_reported_as_failed_is_taken_up";
const TENANT_THERE: &str = "a_tenant_whose_adding_was_reported_as_failed_is_there_with_its_key";
const RESTART_FAILED: &str = "a_restart_that_failed_leaves_the_log_as_it_was";
const RESTART_HAPPENED: &str = "a_restart_that_happened_and_was_reported_as_failed_is_taken_up";
const MADE_ONCE: &str = "a_directory_is_made_private_and_read_back_and_never_made_twice";
const EXCHANGE_FAILS: &str = "an_exchange_that_fails_before_its_certificate_is_in_place_changes_nothing";
const EXCHANGE_HAPPENED: &str = "an_exchange_cut_off_after_its_certificate_is_in_place_has_happened";
const SETTLED: &str = "a_write_ahead_log_is_settled_without_a_change_and_one_that_cannot_be_is_not_used";
const NOT_KEPT: &str = "a_policy_that_cannot_be_kept_is_not_gone_by";
const COUNTS_AGAIN: &str = "a_new_policy_counts_at_once_and_after_a_restart";
const RESTORES_NOTHING: &str = "a_backup_that_was_cut_off_or_changed_restores_nothing";
const RESTORED_EARLY: &str = "a_gateway_restored_before_anything_new_was_recorded_goes_on_as_if_nothing_had_been";
const NO_BACKUP: &str = "a_file_that_cannot_be_written_or_named_leaves_nothing";
const OFFER_UNKEPT: &str = "an_offer_that_cannot_be_written_is_not_kept";
const OFFER_SWEPT: &str = "an_offer_is_kept_and_read_back_and_swept_away_when_nobody_knows_it";
const OUTPUT_UNWRITTEN: &str = "lines_that_cannot_be_written_are_not_in_the_output";
const OUTPUT_CUT: &str = "what_was_written_and_never_said_is_cut_off_after_a_crash";
const STAMP: &str = "the_stamp_is_made_once_and_a_failed_one_is_made_later";
const BACKUP: &str = "a_file_is_private_whole_and_never_in_the_place_of_another";

const CHUNK_FAILED: &str = "a_chunk_whose_bytes_cannot_be_written_is_not_acknowledged_and_is_taken_later";
const CHUNK_LOST: &str = "a_chunk_whose_answer_was_lost_is_there_and_bytes_without_a_row_are_written_anew";
const DELETED_HALF: &str = "what_is_due_is_deleted_with_a_record_unless_it_is_held_and_its_notes_stay";
const MOMENT_FAILED: &str = "a_moment_that_cannot_be_kept_leaves_the_one_before";
const MOMENT_DRAFT: &str = "a_draft_that_a_crash_left_counts_for_nothing_and_what_is_no_moment_is_named";
const DELETED_LOST: &str = "a_deletion_whose_answer_was_lost_has_happened";

#[rustfmt::skip]
const STEPS: &[Row] = &[
    ("agent/src/recorder/desk.rs", "finish", "a_full_disk_starts_nothing_and_is_survived", DESK_DIES),
    ("agent/src/state/clock.rs", "keep_mark", OLD_FILE, "a_clock_set_back_over_a_restart_is_found_out_and_the_mark_is_named"),
    ("agent/src/state/files.rs", "replace", OLD_FILE, DRAFT_LEFT),
    ("agent/src/state/files.rs", "sync_parent", OLD_FILE, DRAFT_LEFT),
    ("agent/src/state/forgetting.rs", "finish", "a_decision_that_could_not_be_written_leaves_the_machine_pinned", "a_decision_that_was_reported_as_failed_and_happened_is_carried_out_by_whatever_comes_next"),
    ("agent/src/state/forgetting.rs", "set_aside", "a_decision_that_could_not_be_written_leaves_the_machine_pinned", "a_decision_that_was_reported_as_failed_and_happened_is_carried_out_by_whatever_comes_next"),
    ("agent/src/state/identity.rs", "host_key", OLD_FILE, "keys_are_made_once_and_used_by_every_later_try"),
    ("agent/src/state/identity.rs", "write_json", RENEWAL, RENEWAL),
    ("agent/src/state/outbox.rs", "commit", "a_failed_write_never_happened_and_the_next_one_works", DESK_DIES),
    ("agent/src/state/outbox.rs", "cut", "a_write_that_failed_after_half_of_it_is_cut_off_before_the_next", "a_record_cut_off_by_a_crash_is_gone_and_the_next_one_follows_the_last_whole_one"),
    ("agent/src/state/outbox.rs", "compact", "a_compaction_that_does_not_fit_on_the_disk_leaves_no_draft_and_is_soon_tried_again", "a_long_journal_is_compacted_and_says_the_same"),
    ("agent/src/state/policies.rs", "open", NOT_KEPT, COUNTS_AGAIN),
    ("agent/src/state/policies.rs", "keep", NOT_KEPT, COUNTS_AGAIN),
    ("agent/src/state/record.rs", "keep", OLD_FILE, "the_same_approval_again_is_no_change_even_when_its_approver_has_left"),
    ("agent/src/state/record.rs", "keep_certificate", OLD_FILE, "a_device_ca_is_exchanged_and_no_session_notices"),
    ("agent/src/state/runs.rs", "open", OFFER_UNKEPT, OFFER_SWEPT),
    ("agent/src/state/runs.rs", "keep", OFFER_UNKEPT, OFFER_SWEPT),
    ("agent/src/state/runs.rs", "append", OUTPUT_UNWRITTEN, OUTPUT_CUT),
    ("agent/src/state/runs.rs", "trim", OUTPUT_UNWRITTEN, OUTPUT_CUT),
    ("agent/src/state/runs.rs", "remembers_since", STAMP, STAMP),
    ("gateway/src/admin.rs", "export", "a_failed_export_leaves_the_file_that_was_there", "without_a_serving_gateway_commands_are_done_directly"),
    ("gateway/src/admin.rs", "log_export", "a_failed_export_leaves_the_file_that_was_there", "without_a_serving_gateway_commands_are_done_directly"),
    ("gateway/src/admin/backup.rs", "put", NO_BACKUP, BACKUP),
    ("gateway/src/admin/backup.rs", "whole_and_new", NO_BACKUP, BACKUP),
    ("gateway/src/admin/directory.rs", "make", EXCHANGE_FAILS, MADE_ONCE),
    ("gateway/src/admin/directory.rs", "make_host_key", EXCHANGE_FAILS, MADE_ONCE),
    ("gateway/src/admin/directory.rs", "make_transport_ca", EXCHANGE_FAILS, MADE_ONCE),
    ("gateway/src/admin/directory.rs", "exchange_transport_ca", EXCHANGE_FAILS, EXCHANGE_HAPPENED),
    ("gateway/src/admin/directory.rs", "settle_transport_key", EXCHANGE_FAILS, EXCHANGE_HAPPENED),
    ("gateway/src/admin/directory.rs", "write_whole", EXCHANGE_FAILS, EXCHANGE_HAPPENED),
    ("gateway/src/admin/restore.rs", "unpack_and_check", RESTORES_NOTHING, RESTORED_EARLY),
    ("gateway/src/admin/restore.rs", "unpack", RESTORES_NOTHING, RESTORED_EARLY),
    ("gateway/src/admin/restore.rs", "write", RESTORES_NOTHING, RESTORED_EARLY),
    ("gateway/src/admin/socket.rs", "open", "what_a_gateway_that_was_killed_left_behind_does_not_keep_the_next_one_away", "what_a_gateway_that_was_killed_left_behind_does_not_keep_the_next_one_away"),
    ("gateway/src/store/aged.rs", "keep", MOMENT_FAILED, MOMENT_DRAFT),
    ("gateway/src/store/database.rs", "settle", SETTLED, SETTLED),
    ("gateway/src/store/keys.rs", "load", RESTART_FAILED, RESTART_HAPPENED),
    ("gateway/src/store/keys.rs", "make_next", RESTART_FAILED, RESTART_HAPPENED),
    ("gateway/src/store/keys.rs", "make", NOTHING_LEFT, TENANT_THERE),
    ("gateway/src/store/keys.rs", "put_aside", NOTHING_LEFT, TENANT_THERE),
    ("gateway/src/store/keys.rs", "write_secret", NOTHING_LEFT, TENANT_THERE),
    ("gateway/src/store/keys.rs", "sync", NOTHING_LEFT, TENANT_THERE),
    ("gateway/src/store/objects.rs", "remove", DELETED_HALF, DELETED_LOST),
    ("gateway/src/store/recordings.rs", "keep_chunk", CHUNK_FAILED, CHUNK_LOST),
    ("gateway/src/store/writer.rs", "commit", NOTHING_LEFT, TAKEN_UP),
    ("gateway/src/store/writer.rs", "begin_system_log", NOTHING_LEFT, TAKEN_UP),
];

#[test]
fn every_durable_step_has_a_test_of_its_failing_and_one_of_its_happening_all_the_same() {
    let sources = sources();
    let mut steps = BTreeSet::new();
    for source in sources.iter().filter(|source| WHERE.iter().any(|place| source.path.starts_with(place))) {
        if source.is_for_tests() {
            continue;
        }
        let tests = source.code.find("#[cfg(test)]\nmod tests {").unwrap_or(source.code.len());
        let program: Vec<&str> = source.code[..tests].lines().collect();
        for (name, first, lines) in source.functions() {
            let body = program.iter().skip(first).take(lines.saturating_sub(1));
            if body.clone().any(|line| MAKES_DURABLE.iter().any(|word| line.contains(word))) {
                steps.insert((source.path.clone(), name));
            }
        }
    }
    let rows: BTreeSet<(String, String)> =
        STEPS.iter().map(|(path, name, ..)| ((*path).to_owned(), (*name).to_owned())).collect();
    let mut wrong: Vec<String> = steps
        .difference(&rows)
        .map(|(path, name)| format!("{path}: {name} makes something durable and has no row"))
        .collect();
    wrong.extend(rows.difference(&steps).map(|(path, name)| format!("{path}: {name} has a row and is no step")));
    for test in STEPS.iter().flat_map(|(_, _, failed, happened)| [failed, happened]) {
        let is_there = sources.iter().any(|source| source.code.contains(&format!("fn {test}(")));
        if !is_there {
            wrong.push(format!("there is no test {test}"));
        }
    }
    none(wrong);
}
