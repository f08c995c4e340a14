//! An exported log: whole, it passes Belay's verifier and one that shares no code with it; damaged in any way, both say
//! no and name the broken piece.

#[path = "parts/exported.rs"]
mod exported;

use belay_certs::tlog::{Hash, NoteSigner, encode_bundle, encode_hashes, entries_path, leaf_hash};
use belay_fuzz::Seeded;
use belay_tests::export::{self, Files};
use exported::{COMMANDS, Exported, ORIGIN, WIDTH, both_name_path, flipped, path};
use std::fs;

/// Random damages tried against the library's check, for every day and with BELAY_LONG=1; and of those against both programs.
const DAMAGES: usize = 200;
const DAMAGES_LONG: usize = 2_000;
const DAMAGES_BY_PROGRAM: usize = 12;
/// How a device's statement, the last member of an entry, begins.
const STATEMENT: &str = "\"statement\":{";

#[test]
fn a_whole_log_passes_both_verifiers_and_they_count_the_same() {
    let exported = Exported::shared();
    let tar = exported.write("whole", &exported.whole);
    let entries = export::entries(&exported.whole).len();
    assert!(entries > WIDTH && entries < 2 * WIDTH, "{entries} entries, and these tests name their tiles");
    let saved = exported.world.dir().join("whole.saved");
    let said = exported.belay("whole", &tar, &["--save", saved.to_str().unwrap()]).must();
    assert!(said.out().contains(&format!("{ORIGIN} is whole: {entries} entries, 3 tiles, ")), "{}", said.story());
    assert_eq!(fs::read(saved).unwrap(), exported.whole["checkpoint"]);
    let theirs = exported.independent(&tar, None).must().out();
    assert!(theirs.starts_with(&format!("ok: {ORIGIN}: {entries} entries, 3 tiles, ")), "{theirs}");
    let root = theirs.trim_end().rsplit(' ').next().unwrap();
    assert!(said.out().contains(&format!("root {root}")), "{}", said.story());
}

#[test]
fn a_log_continues_every_checkpoint_it_ever_had() {
    let exported = Exported::shared();
    let (tar, since) = (exported.write("on", &exported.whole), exported.write_checkpoint("on", &exported.early));
    let early = export::entries(&exported.early).len();
    let said = exported.belay("on", &tar, &["--since", since.to_str().unwrap()]).must();
    assert!(said.out().contains(&format!("it continues the checkpoint of {early} entries")), "{}", said.story());
    let said = exported.independent(&tar, Some(&since)).must();
    assert!(said.out().contains(&format!("continues the checkpoint of {early}")), "{}", said.story());
}

#[test]
fn what_was_done_is_in_the_log_and_the_sessions_say_so() {
    let exported = Exported::shared();
    let events = export::events(&exported.whole);
    let count = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
    let commands: Vec<&str> = events
        .iter()
        .filter(|event| event["type"] == "session.opened")
        .filter_map(|event| event["command"].as_str())
        .collect();
    for worker in 0..3 {
        for n in 0..COMMANDS / 3 {
            let command = format!("echo {worker} {n}");
            assert_eq!(commands.iter().filter(|found| **found == command).count(), 1, "{command}");
        }
    }
    assert_eq!(count("session.opened"), count("session.ended"));
    assert_eq!((count("session.refused"), count("access.refused")), (1, 1));
    assert!(events.iter().any(|event| event["type"] == "session.ended" && event["exit"] == 7));
}

#[test]
fn a_flip_anywhere_is_caught_and_the_piece_is_named_by_both() {
    let exported = Exported::shared();
    let whole = &exported.whole;
    for (name, start) in [
        ("flip-checkpoint", "checkpoint"),
        ("flip-key", "log.vkey"),
        ("flip-full-tile", "tile/0/000"),
        ("flip-partial-tile", "tile/0/001.p/"),
        ("flip-upper-tile", "tile/1/000.p/"),
        ("flip-full-bundle", "tile/entries/000"),
        ("flip-partial-bundle", "tile/entries/001.p/"),
    ] {
        let path = path(whole, start);
        let length = whole[&path].len();
        for (which, at) in [("first", 0), ("middle", length / 2), ("last", length - 2)] {
            both_name_path(&exported, &format!("{name}-{which}"), &flipped(whole, &path, at), &path);
        }
    }
}

#[test]
fn a_flip_in_any_object_is_caught_and_the_object_is_named_by_both() {
    let exported = Exported::shared();
    let objects: Vec<&String> = exported.whole.keys().filter(|path| path.starts_with("objects/")).collect();
    assert!(objects.len() >= 4, "a policy, a token and an approval with their signatures: {objects:?}");
    for (number, path) in objects.into_iter().enumerate() {
        both_name_path(&exported, &format!("flip-object-{number}"), &flipped(&exported.whole, path, 3), path);
    }
}

#[test]
fn a_missing_file_is_named_by_both() {
    let exported = Exported::shared();
    let needed = exported.whole.keys().filter(|path| !path.starts_with("objects/") && *path != "log.vkey");
    for (number, path) in needed.enumerate() {
        let mut files = exported.whole.clone();
        files.remove(path);
        exported.both_name(&format!("drop-{number}"), &files, None, &[path]);
    }
}

#[test]
fn swapped_entries_are_caught_also_together_with_their_hashes() {
    let exported = Exported::shared();
    for (name, place) in
        [("full", "000".to_owned()), ("partial", path(&exported.whole, "tile/0/001.p/")[7..].to_owned())]
    {
        let (bundle, tile) = (format!("tile/entries/{place}"), format!("tile/0/{place}"));
        let mut files = exported.whole.clone();
        let mut entries = export::bundle(&files[&bundle]);
        let last = entries.len() - 1;
        entries.swap(last - 1, last);
        files.insert(bundle.clone(), encode_bundle(&entries).unwrap());
        both_name_path(&exported, &format!("swap-{name}"), &files, &bundle);
        let hashes: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        files.insert(tile.clone(), encode_hashes(&hashes));
        // With the hashes swapped too, what is broken is the level above, the root, or a device's chain of statements.
        let entry = format!("{bundle}: entry ");
        exported.both_name(
            &format!("swap-{name}-hashes"),
            &files,
            None,
            &["tile/1/000.p/1", "checkpoint: the signed root", &entry],
        );
    }
}

#[test]
fn swapped_files_are_caught() {
    let exported = Exported::shared();
    let mut files = exported.whole.clone();
    let (a, b) = (path(&files, "tile/entries/000"), path(&files, "tile/entries/001.p/"));
    let (one, other) = (files[&a].clone(), files[&b].clone());
    files.insert(a.clone(), other);
    files.insert(b, one);
    both_name_path(&exported, "swap-bundles", &files, &a);
}

#[test]
fn a_log_cut_short_is_caught() {
    let exported = Exported::shared();
    let place = path(&exported.whole, "tile/0/001.p/")["tile/0/".len()..].to_owned();
    let (bundle, tile) = (format!("tile/entries/{place}"), format!("tile/0/{place}"));
    // The last entry, cut off its bundle: too few for the name.
    let mut files = exported.whole.clone();
    let mut entries = export::bundle(&files[&bundle]);
    entries.pop();
    files.insert(bundle.clone(), encode_bundle(&entries).unwrap());
    exported.both_name("cut-entry", &files, None, &[&bundle]);
    // The same, with everything renamed as if the log were one entry shorter.
    let hashes = files.remove(&tile).unwrap();
    let shorter = |path: &str| path.replace(&place, &format!("001.p/{}", entries.len()));
    let cut = files.remove(&bundle).unwrap();
    files.insert(shorter(&bundle), cut);
    files.insert(shorter(&tile), hashes[..hashes.len() - 32].to_vec());
    exported.both_name("cut-and-renamed", &files, None, &[&bundle]);
    // A file that ends in the middle.
    for path in [&bundle, &tile, &"checkpoint".to_owned()] {
        let mut files = exported.whole.clone();
        let half = files[path].len() / 2 + 1;
        files.get_mut(path).unwrap().truncate(half);
        both_name_path(&exported, &format!("cut-{}", path.replace('/', "-")), &files, path);
    }
}

#[test]
fn an_archive_cut_off_is_no_log() {
    let exported = Exported::shared();
    let whole = export::pack(&exported.whole);
    let (_, objects) = exported.whole.iter().find(|(path, _)| path.starts_with("objects/")).unwrap();
    for (number, length) in [0, 300, 700, whole.len() / 2, whole.len() - objects.len() - 2000].into_iter().enumerate() {
        let tar = exported.world.dir().join(format!("cut-archive-{number}.tar"));
        fs::write(&tar, &whole[..length]).unwrap();
        exported.belay("cut-archive", &tar, &[]).must_refuse(1, &[]);
        exported.independent(&tar, None).must_refuse(1, &[]);
    }
}

#[test]
fn a_rolled_back_log_is_caught_by_the_checkpoint_that_was_kept() {
    let exported = Exported::shared();
    let since = exported.write_checkpoint("rollback", &exported.whole);
    exported.both_name("rollback", &exported.early, Some(&since), &["checkpoint: the log has "]);
    // Without being told to: a laptop keeps the last checkpoint that it verified.
    let (whole, early) = (exported.write("kept-whole", &exported.whole), exported.write("kept-early", &exported.early));
    exported.belay("kept", &early, &[]).must();
    exported.belay("kept", &whole, &[]).must();
    let said = exported.belay("kept", &early, &[]);
    said.must_refuse(1, &["it was rolled back"]);
    let said = exported.belay("kept", &whole, &[]).must();
    assert!(said.out().contains("it continues the checkpoint of"), "a refused log moves nothing: {}", said.story());
}

#[test]
fn a_history_rewritten_and_signed_again_is_caught_by_an_older_checkpoint() {
    let exported = Exported::shared();
    let events = export::events(&exported.whole);
    let mut entries = export::entries(&exported.whole);
    let seen = events.iter().filter_map(|event| export::statement(event)["checkpoint"]["size"].as_u64()).max().unwrap();
    let last = events.iter().rposition(|event| event["statement"].is_null()).unwrap();
    assert!(last as u64 >= seen, "the last entry of the gateway's own was seen by the device");
    entries[last] = earlier(&entries[last]);
    let rewritten = exported.resigned(&entries);
    // Nobody who never saw the log before can know (TRUST.md).
    let tar = exported.write("rewritten-alone", &rewritten);
    exported.belay("rewritten-alone", &tar, &[]).must();
    exported.independent(&tar, None).must();
    let since = exported.write_checkpoint("rewritten", &exported.whole);
    exported.both_name("rewritten", &rewritten, Some(&since), &["entries are not those of the older checkpoint"]);
    // And grown afterwards, so that not even the size is the same.
    entries.extend(entries.clone().into_iter().rev().find(|entry| !has_statement(entry)));
    exported.both_name(
        "rewritten-grown",
        &exported.resigned(&entries),
        Some(&since),
        &["entries are not those of the older checkpoint"],
    );
}

#[test]
fn a_history_that_a_device_saw_is_not_rewritten_even_for_a_first_reader() {
    let exported = Exported::shared();
    let mut entries = export::entries(&exported.whole);
    let index = entries.iter().position(|entry| !has_statement(entry)).unwrap();
    entries[index] = earlier(&entries[index]);
    let tar = exported.write("seen", &exported.resigned(&entries));
    exported
        .belay("seen", &tar, &[])
        .must_refuse(1, &["its device saw a log of", "that is not the beginning of this one"]);
}

#[test]
fn a_replaced_statement_is_caught_however_the_tree_is_signed() {
    let exported = Exported::shared();
    let honest = export::entries(&exported.whole);
    let opened: Vec<usize> = (0..honest.len()).filter(|index| is(&honest[*index], "session.opened")).collect();
    let (index, other) = (opened[opened.len() / 2], opened[opened.len() / 2 + 1]);
    let statement = |index: usize| {
        let text = std::str::from_utf8(&honest[index]).unwrap();
        text[text.find(STATEMENT).unwrap()..].to_owned()
    };
    let account = format!(r#"\"account\":\"{}\""#, exported.world.account());
    let since = exported.write_checkpoint("statement", &exported.whole);
    for (name, changed) in [
        ("statement-text", edited(&honest[index], &account, r#"\"account\":\"nobody\""#)),
        ("statement-of-another", edited(&honest[index], &statement(index), &statement(other))),
        ("envelope", edited(&honest[index], r#""person":"tech""#, r#""person":"boss""#)),
    ] {
        let mut entries = honest.clone();
        entries[index] = changed;
        let (width, number) = (entries.len().min((index / WIDTH + 1) * WIDTH) - index / WIDTH * WIDTH, index / WIDTH);
        let bundle = entries_path(number as u64, u16::try_from(width).unwrap());
        let mut files = exported.whole.clone();
        let first = number * WIDTH;
        files.insert(bundle.clone(), encode_bundle(&entries[first..first + width]).unwrap());
        both_name_path(&exported, name, &files, &bundle);
        // Signed again by the gateway: the device's signature is what it cannot make.
        let signed = exported.resigned(&entries);
        let tar = exported.write(&format!("{name}-signed"), &signed);
        exported.belay(name, &tar, &[]).must_refuse(1, &[&format!("{bundle}: entry {index}: ")]);
        exported.both_name(
            &format!("{name}-since"),
            &signed,
            Some(&since),
            &["entries are not those of the older checkpoint", &bundle],
        );
    }
}

#[test]
fn a_statement_left_out_is_caught_although_the_tree_is_signed() {
    let exported = Exported::shared();
    let mut entries = export::entries(&exported.whole);
    let index = entries.iter().position(|entry| is(entry, "session.opened")).unwrap();
    // In its place something that the gateway may say alone, so that everything else stays where it was.
    entries[index] = entries.iter().rfind(|entry| !has_statement(entry)).unwrap().clone();
    let tar = exported.write("left-out", &exported.resigned(&entries));
    exported.belay("left-out", &tar, &[]).must_refuse(1, &["web1.acme says number", "is missing"]);
}

#[test]
fn another_key_opens_nothing() {
    let exported = Exported::shared();
    let stranger = NoteSigner::generate(ORIGIN).unwrap().vkey();
    let tar = exported.write("stranger", &exported.whole);
    exported.belay("stranger", &tar, &["--vkey", &stranger]).must_refuse(1, &["checkpoint: "]);
    export::independent(&tar, &stranger, None).unwrap().must_refuse(1, &["checkpoint: "]);
    exported.belay("stranger", &tar, &["--vkey", &exported.vkey]).must();
}

#[test]
fn no_random_damage_passes() {
    let exported = Exported::shared();
    exported.check(&exported.whole).unwrap();
    let count = if std::env::var_os("BELAY_LONG").is_some() { DAMAGES_LONG } else { DAMAGES };
    let mut seeded = Seeded::new(seed());
    let mut done = 0;
    while done < count {
        let (what, files) = damaged(&exported.whole, &mut seeded);
        if !matters(&exported.whole, &files) {
            continue;
        }
        let Err(sentence) = exported.check(&files) else {
            panic!("damage {done} of BELAY_SEED={}: {what} passed", seed());
        };
        let is_path = |path: &String| sentence.contains(path.as_str());
        let named = sentence.contains("entry ") || exported.whole.keys().any(is_path);
        assert!(named, "damage {done} of BELAY_SEED={}: {what}: {sentence} names no piece", seed());
        if done % (count / DAMAGES_BY_PROGRAM) == 0 {
            let tar = exported.write(&format!("random-{done}"), &files);
            exported.belay("random", &tar, &[]).must_refuse(1, &[]);
            let theirs = exported.independent(&tar, None);
            assert_eq!(theirs.code(), Some(1), "damage {done} of seed {}: {what}: {}", seed(), theirs.story());
        }
        done += 1;
    }
    println!("measured: {count} random damages of BELAY_SEED={} were all caught, each by name", seed());
}

/// What the random damages start from; another with BELAY_SEED.
fn seed() -> u64 {
    std::env::var("BELAY_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(2)
}

/// One damage, and what it was.
fn damaged(whole: &Files, seeded: &mut Seeded) -> (String, Files) {
    let mut files = whole.clone();
    let pick = |seeded: &mut Seeded, start: &str| {
        let paths: Vec<&String> = whole.keys().filter(|path| path.starts_with(start)).collect();
        paths[seeded.below(paths.len())].clone()
    };
    let path = pick(seeded, "");
    let other = pick(seeded, "");
    let bundle = pick(seeded, "tile/entries/");
    match seeded.below(8) {
        0 | 1 => {
            let bytes = seeded.mutate(&whole[&path]);
            files.insert(path.clone(), bytes);
            (format!("edits in {path}"), files)
        }
        2 => {
            let (at, bit) = (seeded.below(whole[&path].len()), seeded.below(8));
            files.get_mut(&path).unwrap()[at] ^= 1 << bit;
            (format!("bit {bit} of byte {at} of {path}"), files)
        }
        3 => {
            files.remove(&path);
            (format!("{path} dropped"), files)
        }
        4 => {
            files.insert(path.clone(), whole[&other].clone());
            files.insert(other.clone(), whole[&path].clone());
            (format!("{path} and {other} swapped"), files)
        }
        kind => {
            let mut entries = export::bundle(&whole[&bundle]);
            let (a, b) = (seeded.below(entries.len()), seeded.below(entries.len()));
            let what = match kind {
                5 => {
                    entries.swap(a, b);
                    format!("entries {a} and {b} of {bundle} swapped with their hashes")
                }
                6 => {
                    entries.remove(a);
                    format!("entry {a} of {bundle} dropped with its hash")
                }
                _ => {
                    entries[b] = entries[a].clone();
                    format!("entry {a} of {bundle} put in the place of {b} with its hash")
                }
            };
            let hashes: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
            files.insert(bundle.clone(), encode_bundle(&entries).unwrap());
            files.insert(bundle.replace("entries", "0"), encode_hashes(&hashes));
            (what, files)
        }
    }
}

/// Whether a damage took something from the reader: an export may come without objects and without its key, which prove
/// nothing, and a line's end after the key says nothing.
fn matters(whole: &Files, files: &Files) -> bool {
    let optional = |path: &str| path == "log.vkey" || path.starts_with("objects/");
    let said = |files: &Files, path: &str| files.get(path).map(|bytes| bytes.trim_ascii_end().to_vec());
    whole.iter().any(|(path, bytes)| match optional(path) {
        true if !files.contains_key(path) => false,
        true if path == "log.vkey" => said(files, path) != said(whole, path),
        _ => files.get(path) != Some(bytes),
    })
}

fn edited(entry: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(entry).unwrap();
    assert!(text.contains(from), "no {from} in {text}");
    text.replacen(from, to, 1).into_bytes()
}

/// The same event, said to have happened in another year.
fn earlier(entry: &[u8]) -> Vec<u8> {
    edited(entry, "\"at\":\"20", "\"at\":\"21")
}

fn has_statement(entry: &[u8]) -> bool {
    std::str::from_utf8(entry).unwrap().contains(STATEMENT)
}

fn is(entry: &[u8], kind: &str) -> bool {
    std::str::from_utf8(entry).unwrap().contains(&format!("\"type\":\"{kind}\""))
}
