//! Documents: the example of DESIGN.md reads, and everything wrong is told with its line.

use super::fixture::{Draft, moment, public};
use crate::invalid::Fault;
use crate::policy::*;

const EXAMPLE: &str = include_str!("../fixtures/example.toml");

/// The line, from 1, of the first place where `needle` stands.
fn line_of(text: &str, needle: &str) -> usize {
    1 + text[..text.find(needle).unwrap()].matches('\n').count()
}

/// The refusal of the example with one piece replaced.
fn refused(from: &str, to: &str) -> crate::Invalid {
    assert!(EXAMPLE.contains(from), "{from}");
    Policy::parse(EXAMPLE.replacen(from, to, 1).as_bytes()).unwrap_err()
}

#[test]
fn the_example_of_the_design_reads() {
    let policy = Policy::parse(EXAMPLE.as_bytes()).unwrap();
    assert_eq!((policy.tenant.as_str(), policy.version), ("acme", 3));
    assert_eq!(policy.issued, moment("2026-11-21T09:00:00Z"));
    assert_eq!((policy.root.threshold, policy.root.keys.len()), (1, 2));
    assert_eq!(policy.root.keys[1].comment(), "acme-root-2");
    assert_eq!(policy.gateway.logs[0].origin, "gw.example/acme");
    assert_eq!(policy.imports.keys().map(|tenant| tenant.as_str()).collect::<Vec<_>>(), ["msp"]);
    assert!(policy.people[1].robot && !policy.people[0].robot);
    assert_eq!(policy.recording.keep_days, Some(400));
    assert!(policy.recording.is_on() && !policy.recording.input);
    let [field, nightly] = policy.grants.as_slice() else { panic!("two grants") };
    assert_eq!(field.who[0].to_string(), "msp:field");
    assert_eq!(field.actions, [ActionKind::Shell, ActionKind::Files, ActionKind::Forward]);
    assert_eq!(field.hours.as_ref().unwrap().to_string(), "Mon-Fri 07:00-19:00 Europe/Berlin");
    assert_eq!((nightly.devices_max, nightly.risk, nightly.review), (Some(50), Risk::Normal, false));
}

#[test]
fn a_grant_knows_the_line_of_its_header() {
    let policy = Policy::parse(EXAMPLE.as_bytes()).unwrap();
    let lines: Vec<usize> =
        EXAMPLE.lines().enumerate().filter(|(_, l)| *l == "[[grants]]").map(|(n, _)| n + 1).collect();
    assert_eq!(policy.grants.iter().map(|grant| grant.line).collect::<Vec<_>>(), lines);
    let inline = "grants = [\n  { who = [\"a\"], on = [\"*\"], do = [\"audit\"] },\n\n  { who = [\"a\"], on = [\"*\"], do = [\"enrol\"] },\n]\n[[people]]\nname = \"a\"\nkeys = []\n";
    let text = Draft::new("acme", "").text();
    let text = text.replacen("[root]", &format!("{inline}[root]"), 1);
    let first = line_of(&text, "  { who");
    let grants = Policy::parse(text.as_bytes()).unwrap().grants;
    assert_eq!(grants.iter().map(|grant| grant.line).collect::<Vec<_>>(), [first, first + 2]);
}

/// What is replaced in the example, by what, and what the refusal says about it.
const WRONG: &[(&str, &str, &str)] = &[
    ("tenant = \"acme\"", "tenant = \"com\"", "public Internet"),
    ("version = 3", "version = -3", "expected u64"),
    ("previous = \"sha256:", "previous = \"sha1:", "digest"),
    ("issued = 2026-11-21T09:00:00Z", "issued = 2026-11-21T09:00:00+01:00", "UTC"),
    ("issued = 2026-11-21T09:00:00Z", "issued = 2026-11-21", "UTC"),
    ("issued = 2026-11-21T09:00:00Z", "issued = \"2026-11-21T09:00:00Z\"", "datetime"),
    ("expires = 2027-02-19T09:00:00Z", "expires = 2027-02-19T09:00:01Z", "90 days"),
    ("expires = 2027-02-19T09:00:00Z", "expires = 2026-11-21T09:00:00Z", "90 days"),
    ("min_agent = \"0.1.0\"", "min_agent = \"newest\"", "version"),
    ("threshold = 1", "threshold = 0", "1 to the number"),
    ("threshold = 1", "threshold = 3", "1 to the number"),
    ("ssh = \"gw.example:2222\"", "ssh = \"gw.example\"", "address"),
    ("addresses = [\"gw.example:4433\"]", "addresses = []", "at least one"),
    ("origin = \"gw.example/acme\"", "origin = \"gw example\"", "origin"),
    ("vkey = \"gw.example/acme+", "vkey = \"gw.example/acmee+", "log's key"),
    ("revoked = []", "revoked = [1, 1]", "twice"),
    ("revoked = []", "revoked = [-1]", "expected u64"),
    ("[import.msp]", "[import.acme]", "import itself"),
    ("policy0 = \"sha256:", "policy0 = \"", "digest"),
    ("name = \"auditor\"", "name = \"Auditor\"", "not a name"),
    ("name = \"nightly\"", "name = \"auditor\"", "two people"),
    ("robot = true", "robot = \"yes\"", "boolean"),
    ("who = [\"msp:field\"]", "who = [\"field\"]", "neither a person nor a team"),
    ("who = [\"msp:field\"]", "who = [\"other:field\"]", "no imported policy"),
    ("who = [\"msp:field\"]", "who = [\"acme:auditor\"]", "no imported policy"),
    ("who = [\"msp:field\"]", "who = [\"msp:*\"]", "not a name"),
    ("who = [\"nightly\"]", "who = [\"nightly\", \"nightly\"]", "twice"),
    ("on = [\"*\"]", "on = [\"tag:*\"]", "label pattern"),
    ("except = [\"db1\"]", "except = [\"!db1\"]", "name pattern"),
    ("do = [\"run\"]", "do = [\"rum\"]", "not an action"),
    ("as = [\"root\", \"deploy\"]", "as = [\"root,deploy\"]", "account name"),
    ("forward_to = [\"192", "forward_to = [\"*:80\", \"192", "not possible"),
    ("hours = \"Mon-Fri", "hours = \"Mon-Fry", "days are"),
    ("ticket = \"INC-[0-9]+\"", "ticket = \".*\"", "ticket pattern"),
    ("runbooks = [\"restart-*\"]", "runbooks = [\"restart *\"]", "name pattern"),
    ("risk = \"normal\"", "risk = \"low\"", "not a risk"),
    ("devices_max = 50", "devices_max = \"50\"", "string"),
    ("signers = [\"msp:authors\"]", "signers = [\"authors\"]", "neither a person"),
    ("withdrawn = []", "withdrawn = [\"x\"]", "digest"),
    ("to = [\"age1ql3", "to = [\"age1qq3", "recipient"),
    ("keep = \"400d\"", "keep = \"400\"", "days"),
];

/// What is wrong with several values together: the same, and where the line is that is told.
const WRONG_TOGETHER: &[(&str, &str, &str, &str)] = &[
    ("version = 3", "version = 0", "take the line away", "previous = "),
    ("name = \"nightly\"", "name = \"audit\"", "a person and a team", "teams = ["),
    ("who = [\"msp:field\"]", "who = []", "names nobody", "[[grants]]"),
    ("on = [\"*\"]", "on = []", "names no device", "[[grants]]"),
    ("as = [\"root\", \"deploy\"]", "as = []", "at least one", "[[grants]]"),
    ("do = [\"shell\", \"files\", \"forward\"]", "do = [\"shell\"]", "is for `forward`", "[[grants]]"),
    ("do = [\"run\"]", "do = []", "gives nothing", "[[grants]]\nwho = [\"nightly\"]"),
    ("do = [\"run\"]", "do = [\"shell\"]", "are for `run`", "[[grants]]\nwho = [\"nightly\"]"),
];

#[test]
fn every_value_that_is_wrong_is_told_with_its_line() {
    let alone = WRONG.iter().map(|(from, to, why)| (*from, *to, *why, line_of(EXAMPLE, from)));
    let together = WRONG_TOGETHER.iter().map(|(from, to, why, told_at)| (*from, *to, *why, line_of(EXAMPLE, told_at)));
    for (from, to, why, line) in alone.chain(together) {
        let invalid = refused(from, to);
        assert!(
            invalid.sentence.starts_with(&format!("the policy: line {line}: ")),
            "{to}: {invalid}, not line {line}"
        );
        assert!(invalid.sentence.contains(why), "{to}: {invalid}");
        assert_eq!(invalid.fault, Fault::Malformed, "{to}");
    }
}

#[test]
fn unknown_and_missing_keys_are_refused_everywhere() {
    for header in
        ["[root]", "[gateway]", "[devices]", "[import.msp]", "[[people]]", "[[grants]]", "[runbooks]", "[recording]"]
    {
        let changed = EXAMPLE.lines().map(|line| match line.starts_with(header) {
            true => format!("{line}\nsurprise = 1\n"),
            false => format!("{line}\n"),
        });
        let text: String = changed.collect();
        let invalid = Policy::parse(text.as_bytes()).unwrap_err();
        let line = line_of(&text, "surprise");
        assert!(
            invalid.sentence.starts_with(&format!("the policy: line {line}: unknown field")),
            "{header}: {invalid}"
        );
    }
    for key in [
        "tenant = ",
        "issued = ",
        "expires = ",
        "min_agent = ",
        "threshold = ",
        "ssh_host_keys = ",
        "who = ",
        "on = ",
        "do = ",
    ] {
        let text: String =
            EXAMPLE.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect();
        let invalid = Policy::parse(text.as_bytes()).unwrap_err();
        assert!(invalid.sentence.contains("missing field") && invalid.sentence.contains("line "), "{key}: {invalid}");
    }
}

#[test]
fn a_key_twice_in_toml_is_refused() {
    assert!(refused("version = 3", "version = 3\nversion = 4").sentence.contains("duplicate key"));
}

#[test]
fn a_later_format_is_refused_for_that() {
    let text = EXAMPLE.replacen("format = 1", "format = 2\nnew_thing = true", 1);
    let invalid = Policy::parse(text.as_bytes()).unwrap_err();
    assert!(invalid.sentence.contains("line 1: its format is 2"), "{invalid}");
}

#[test]
fn one_key_under_two_names_is_invalid() {
    let person = |name: &str, key: &str| format!("[[people]]\nname = \"{name}\"\nkeys = [\"{key}\"]\n");
    let key = public("shared");
    let plain = key.line().split(' ').take(2).collect::<Vec<_>>().join(" ");
    for other in [key.line(), plain.clone(), format!("{plain} with another comment")] {
        let body = person("one", &key.line()) + &person("two", &other);
        let invalid = Draft::new("acme", &body).parse().unwrap_err();
        assert!(invalid.sentence.contains("this key of two is one's too"), "{invalid}");
    }
    let twice = person("one", &format!("{}\", \"{plain}", key.line()));
    assert!(Draft::new("acme", &twice).parse().unwrap_err().sentence.contains("twice"));
    let mut roots = Draft::new("acme", "");
    roots.roots = vec!["root", "root"];
    assert!(roots.parse().unwrap_err().sentence.contains("twice"));
}

#[test]
fn only_plain_unix_utf8_within_the_limit_is_read() {
    for (bytes, why) in [
        (EXAMPLE.replace('\n', "\r\n").into_bytes(), "CR"),
        (format!("\u{feff}{EXAMPLE}").into_bytes(), "byte order mark"),
        (EXAMPLE.encode_utf16().flat_map(u16::to_le_bytes).collect(), "UTF-16"),
    ] {
        let invalid = Policy::parse(&bytes).unwrap_err();
        assert!(invalid.sentence.contains(why), "{invalid}");
    }
    let long = format!("{EXAMPLE}#{}\n", "x".repeat(crate::limits::POLICY_BYTES_MAX));
    assert_eq!(Policy::parse(long.as_bytes()).unwrap_err().fault, Fault::TooLarge);
    assert!(Policy::parse(b"").is_err() && Policy::parse(b"format = 1\n").is_err());
}

#[test]
fn lists_over_their_limit_are_refused() {
    let many = |count: usize| (0..count).map(|n| format!("\"a{n}\"")).collect::<Vec<_>>().join(",");
    let grant = "[[grants]]\nwho = [\"a\"]\non = [\"*\"]\ndo = [\"audit\"]\n".to_owned();
    let person = "[[people]]\nname = \"a\"\nkeys = []\n";
    let teams = format!("[[people]]\nname = \"a\"\nkeys = []\nteams = [{}]\n", many(65).replace('a', "t"));
    let imports: String =
        (0..17).map(|n| format!("[import.t-{n}]\npolicy0 = \"{}\"\n", crate::Digest::of(b"x"))).collect();
    for body in [
        format!("{person}{}", grant.repeat(crate::limits::GRANTS_MAX + 1)),
        format!("{person}{}", grant.replace("\"*\"", &many(257))),
        teams,
        imports,
        format!("[devices]\nrevoked = [{}]\n", (0..10_001).map(|n| n.to_string()).collect::<Vec<_>>().join(",")),
    ] {
        let invalid = Draft::new("acme", &body).parse().unwrap_err();
        assert_eq!(invalid.fault, Fault::TooLarge, "{invalid}");
        assert!(invalid.sentence.starts_with("the policy: line "), "{invalid}");
    }
    assert!(Draft::new("acme", &format!("{person}{}", grant.repeat(crate::limits::GRANTS_MAX))).parse().is_ok());
}

#[test]
fn a_recording_that_nobody_can_read_is_refused() {
    let draft = |body: &str| Draft::new("acme", body).parse();
    assert!(draft("[recording]\nkeep = \"1d\"\n").unwrap_err().sentence.contains("nobody could read"));
    let plain = draft("[recording]\nreadable_by_gateway = true\ninput = true\n").unwrap().recording;
    assert!(plain.readable_by_gateway && plain.input && plain.is_on());
    assert!(!draft("").unwrap().recording.is_on(), "without the section nothing is recorded");
    assert!(draft("[recording]\ninput = true\n").unwrap_err().sentence.contains("nobody could read"));
    assert!(draft("[recording]\nreadable_by_gateway = true\ninput = 1\n").is_err());
}

#[test]
fn a_sentence_never_repeats_a_long_text_whole() {
    let invalid = refused("who = [\"nightly\"]", &format!("who = [\"{}\"]", "x".repeat(100_000)));
    assert!(invalid.sentence.len() < 400, "{}", invalid.sentence.len());
}

#[test]
fn a_document_cut_anywhere_is_read_or_refused_and_nothing_else() {
    for end in (0..EXAMPLE.len()).filter(|end| EXAMPLE.is_char_boundary(*end)) {
        if let Err(invalid) = Policy::parse(&EXAMPLE.as_bytes()[..end]) {
            assert!(invalid.sentence.starts_with("the policy: line "), "cut at {end}: {invalid}");
        }
    }
}
