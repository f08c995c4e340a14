//! Declarations, arguments and authors: what is read, what is refused and with which line, and who counts.

mod secret;

use super::*;
use crate::policy::tests::fixture::{Draft, monday, private, public};
use crate::sshsig::sign;

/// A runbook with one of everything.
pub(crate) const EXAMPLE: &str = include_str!("fixtures/restart-service.sh");

fn read(text: &str) -> Result<Runbook, Invalid> {
    Runbook::parse(text.as_bytes())
}

fn sentence(text: &str) -> String {
    read(text).unwrap_err().sentence
}

/// A script with this declaration, whose first line is line 3.
fn script(declaration: &str) -> String {
    let lines: String = declaration.lines().map(|line| format!("# {line}\n")).collect();
    format!("#!/bin/sh\n# /// belay\n{lines}# ///\ntrue\n")
}

const HEAD: &str = "name = \"x\"\ndescription = \"y\"\nissued = 2026-11-21T09:00:00Z\n";

fn arguments(pairs: &[(&str, &str)]) -> Arguments {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), (*value).to_owned())).collect()
}

#[test]
fn a_runbook_says_what_it_is_and_its_version_is_its_bytes() {
    let runbook = read(EXAMPLE).unwrap();
    assert_eq!(runbook.version, Digest::of(EXAMPLE.as_bytes()));
    assert_eq!((runbook.name.as_str(), runbook.risk), ("restart-service", Risk::Normal));
    assert_eq!((runbook.timeout.seconds(), runbook.output.bytes()), (60, 65_536));
    assert_eq!((runbook.platforms, runbook.account), (vec![Platform::Linux], Some("root".parse().unwrap())));
    assert_eq!(runbook.interpreter, Interpreter { program: "/bin/sh".to_owned(), argument: None });
    assert_eq!(runbook.issued, "2026-11-21T09:00:00Z".parse().unwrap());
    let names: Vec<&str> = runbook.parameters.keys().map(ParameterName::as_str).collect();
    assert_eq!(names, ["force", "mode", "service", "wait_seconds"]);
    let changed = read(&EXAMPLE.replace("set -eu", "set -e")).unwrap();
    assert_ne!(changed.version, runbook.version, "another byte is another version");
}

#[test]
fn all_mistakes_are_told_at_once_and_the_first_of_them_refuses() {
    let wrong = script(
        "name = \"X y\"\ndescription = \"\"\nissued = 2026-11-21T09:00:00Z\ntimeout = \"1w\"\nrisk = \"low\"\n\
         [parameters.a]\ntype = \"number\"\n[parameters.B]\ntype = \"integer\"\ndefault = \"x\"\n",
    );
    let lines: Vec<String> = Runbook::mistakes(wrong.as_bytes())
        .iter()
        .map(|invalid| invalid.sentence.split_once(':').unwrap().0.to_owned())
        .collect();
    for line in ["line 3", "line 4", "line 6", "line 7", "line 9", "line 10", "line 12"] {
        assert!(lines.iter().any(|has| has == line), "{line}: {lines:?}");
    }
    assert_eq!(lines.len(), 7, "{lines:?}");
    assert!(sentence(&wrong).starts_with("the runbook: line "));
    assert_eq!(Runbook::mistakes(b"true\n").len(), 2, "no interpreter and no declaration");
    assert!(Runbook::mistakes(EXAMPLE.as_bytes()).is_empty());
}

#[test]
fn what_is_left_out_has_a_default() {
    let runbook = read(&script(HEAD)).unwrap();
    assert_eq!((runbook.timeout, runbook.output, runbook.risk), Default::default());
    assert!(runbook.platforms.is_empty() && runbook.account.is_none() && runbook.parameters.is_empty());
    assert!(runbook.check_platform("plan9").is_ok(), "for any platform");
}

#[test]
fn arguments_become_variables_and_defaults_fill_in() {
    let runbook = read(EXAMPLE).unwrap();
    let environment = runbook.environment(&arguments(&[("service", "cups.service")])).unwrap();
    let expected =
        [("BELAY_ARG_MODE", "restart"), ("BELAY_ARG_SERVICE", "cups.service"), ("BELAY_ARG_WAIT_SECONDS", "10")];
    assert_eq!(environment, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let all = [("service", "cups"), ("mode", "reload"), ("wait_seconds", "-3"), ("force", "true")];
    assert_eq!(runbook.environment(&arguments(&all)).unwrap().len(), 4);
}

#[test]
fn wrong_arguments_are_refused_by_the_name_of_the_parameter() {
    let runbook = read(EXAMPLE).unwrap();
    for (pairs, hint) in [
        (&[][..], "runbook restart-service: the parameter service is missing: give service=VALUE"),
        (
            &[("service", "cups"), ("unit", "x")],
            "no parameter unit: its parameters are force, mode, service, wait_seconds",
        ),
        (
            &[("service", "cups; reboot")],
            "the parameter service: \"cups; reboot\" does not fit its pattern [a-z0-9@._-]+",
        ),
        (&[("service", "$(reboot)")], "pattern"),
        (&[("service", "cups\n")], "cannot be seen, breaks the line"),
        (&[("service", "")], "pattern"),
        (&[("service", "cups"), ("mode", "Restart")], "the parameter mode: \"Restart\" is none of restart, reload"),
        (&[("service", "cups"), ("mode", "")], "none of"),
        (&[("service", "cups"), ("force", "yes")], "the parameter force: \"yes\" is not true or false"),
        (&[("service", "cups"), ("wait_seconds", "ten")], "not a whole number"),
        (&[("service", "cups"), ("wait_seconds", "+10")], "not a whole number"),
        (&[("service", "cups"), ("wait_seconds", "010")], "not a whole number"),
        (&[("service", "cups"), ("wait_seconds", "-0")], "not a whole number"),
        (&[("service", "cups"), ("wait_seconds", "9223372036854775808")], "not a whole number"),
    ] {
        let refused = runbook.environment(&arguments(pairs)).unwrap_err();
        assert!(refused.sentence.contains(hint), "{pairs:?}: {refused}");
    }
    let long = "a".repeat(crate::limits::ARGUMENT_BYTES_MAX + 1);
    let refused = runbook.environment(&arguments(&[("service", &long)])).unwrap_err();
    assert_eq!(refused.fault, Fault::TooLarge);
    assert!(refused.sentence.len() < 200, "the value is not repeated: {refused}");
}

#[test]
fn a_string_without_a_pattern_takes_every_plain_text_and_no_hidden_character() {
    let runbook = read(&script(&format!("{HEAD}[parameters.text]\ntype = \"string\"\n"))).unwrap();
    for value in ["", " ", "a b", "-rf /", "'; rm -rf \"$HOME\" #", "größer", "日本", "%s"] {
        let environment = runbook.environment(&arguments(&[("text", value)])).unwrap();
        assert_eq!(environment, [("BELAY_ARG_TEXT".to_owned(), value.to_owned())], "the text itself, nothing added");
    }
    for value in ["\0", "a\nb", "\x1b[31m", "\u{202e}evil", "a\u{200b}b", "\u{feff}", "a\tb", "\u{7f}"] {
        assert!(runbook.environment(&arguments(&[("text", value)])).is_err(), "{value:?}");
    }
}

#[test]
fn every_mistake_in_a_declaration_is_told_with_the_line_of_the_file() {
    for (old, new, hint) in [
        ("# name = \"restart-service\"", "# name = \"Restart\"", "line 3: \"Restart\" is not a name for a runbook"),
        ("# name = \"restart-service\"\n", "", "missing field `name`"),
        ("Restart one service, and wait until it is active.", "", "line 4: the description is empty"),
        ("until it is active.", "\\u202e", "line 4: the description has a character"),
        ("# issued = 2026-11-21T09:00:00Z\n", "", "missing field `issued`"),
        ("2026-11-21T09:00:00Z", "2026-11-21T09:00:00+01:00", "line 5"),
        ("2026-11-21T09:00:00Z", "tomorrow", "line 5"),
        ("[\"linux\"]", "[\"linux\", \"linux\"]", "line 6: `platforms` has \"linux\" twice"),
        ("[\"linux\"]", "[\"Linux\"]", "line 6: \"Linux\" is not a platform"),
        ("account = \"root\"", "account = \"-root\"", "line 7: \"-root\" is not an account name"),
        ("\"60s\"", "\"60\"", "line 8: \"60\" is not a timeout"),
        ("\"60s\"", "60", "line 8"),
        ("\"64KiB\"", "\"64GiB\"", "line 9: \"64GiB\" is not a limit of output"),
        ("\"normal\"", "\"low\"", "line 10: \"low\" is not a risk"),
        ("# risk", "# danger", "line 10: unknown field `danger`"),
        ("[parameters.service]", "[parameters.Service]", "line 12: \"Service\" is not a parameter name"),
        ("[parameters.service]", "[parameters.PATH]", "line 12"),
        ("[parameters.service]", "[parameters.\"a b\"]", "line 12"),
        ("[parameters.service]", "[parameters.mode]", "line 18"),
        ("type = \"string\"", "type = \"text\"", "line 13: \"text\" is not a type"),
        ("[a-z0-9@._-]+", "(a|b)", "line 15: \"(a|b)\" is not a pattern, as [a-z0-9-]+"),
        ("required = true", "required = \"yes\"", "line 16"),
        (
            "required = true",
            "required = true\n# default = \"cups\"",
            "line 17: the parameter service is required and has a default",
        ),
        ("type = \"choice\"", "type = \"string\"", "line 20: `choices` are for the type choice"),
        ("[\"restart\", \"reload\"]", "[]", "line 19: the type choice needs `choices`"),
        ("[\"restart\", \"reload\"]", "[\"restart\", \"restart\"]", "line 20: `choices` has \"restart\" twice"),
        ("[\"restart\", \"reload\"]", "[\"restart\", \"\"]", "line 20: a choice is empty"),
        ("default = \"restart\"", "default = \"stop\"", "line 21: the default: \"stop\" is none of restart, reload"),
        ("default = 10", "default = \"10\"", "line 25: the default: is not a whole number without quotes"),
        ("default = 10", "default = 1.5", "line 25"),
        ("default = 10", "pattern = \"[0-9]+\"", "line 25: `pattern` is for strings"),
        (
            "type = \"boolean\"",
            "type = \"boolean\"\n# default = 1",
            "line 29: the default: is not true or false without quotes",
        ),
        ("# ///\nset", "set", "line 29: the declaration from line 2 is not closed: end it with `# ///`"),
        ("set -eu", "# /// belay", "line 30: a second declaration begins"),
        ("# /// belay", "# /// script", "line 2: there is no declaration: begin one"),
        ("# /// belay", "# ///belay", "line 2: there is no declaration"),
        ("#!/bin/sh", "# /bin/sh", "line 1: the script does not begin with #!"),
        ("#!/bin/sh", "#!sh", "line 1: the interpreter is not an absolute path"),
        ("#!/bin/sh", "#!/bin/sh\u{e9}", "line 1: what follows #! is not plain ASCII"),
        ("#!/bin/sh", "#!/usr/bin/env", "line 1: behind env stands one name"),
        ("#!/bin/sh", "#!/usr/bin/env -S sh -e", "line 1: behind env stands one name"),
        ("#!/bin/sh", "\u{feff}#!/bin/sh", "byte order mark"),
        ("\n# risk", "\r\n# risk", "CR at line 9"),
    ] {
        assert!(EXAMPLE.contains(old), "{old}");
        let said = sentence(&EXAMPLE.replacen(old, new, 1));
        assert!(said.starts_with("the runbook: ") && said.contains(hint), "{old} -> {new}: {said}");
        assert!(!said.contains(char::is_control), "{said:?}");
    }
    assert!(sentence("").contains("line 1"));
    assert!(sentence("#!/bin/sh").contains("there is no declaration"));
    assert!(sentence("#!/bin/sh\n# /// belay").contains("line 2: the declaration from line 2 is not closed"));
    assert_eq!(Runbook::parse(b"#!/bin/sh\n\xff").unwrap_err().fault, Fault::Malformed);
}

#[test]
fn comments_of_other_languages_hold_a_declaration_too_and_pep_723_beside_it() {
    for (shebang, comment) in [("/usr/bin/env node", "//"), ("/usr/bin/lua", "--"), ("/usr/bin/env guile", ";")] {
        let lines: String = HEAD.lines().map(|line| format!("{comment} {line}\n")).collect();
        let text = format!("#!{shebang}\n{comment} /// belay\n{lines}{comment} ///\n");
        assert_eq!(read(&text).unwrap().name.as_str(), "x");
        let mixed = text.replacen(&format!("{comment} desc"), "# desc", 1);
        assert!(sentence(&mixed).contains("line 4: the declaration from line 2 is not closed"), "{mixed}");
    }
    let python =
        script(HEAD).replace("#!/bin/sh\n", "#!/usr/bin/env python3\n# /// script\n# dependencies = []\n# ///\n\n");
    let runbook = read(&python).unwrap();
    assert_eq!(runbook.interpreter.searched(), Some("python3"));
    assert!(sentence(&python.replace("name = \"x\"", "name = 1")).contains("line 7"));
    assert_eq!(read(EXAMPLE).unwrap().interpreter.searched(), None);
}

#[test]
fn an_interpreter_may_have_one_argument() {
    let text = script(HEAD).replace("#!/bin/sh", "#! /usr/bin/awk  -f ");
    let interpreter = read(&text).unwrap().interpreter;
    assert_eq!((interpreter.program.as_str(), interpreter.argument.as_deref()), ("/usr/bin/awk", Some("-f")));
    let long = script(HEAD).replace("#!/bin/sh", &format!("#!/{}", "x".repeat(300)));
    assert!(sentence(&long).contains("line 1: what follows #! is longer than 253 bytes"));
}

#[test]
fn a_runbook_has_limits() {
    use crate::limits::{DESCRIPTION_BYTES_MAX, PARAMETERS_MAX, RUNBOOK_BYTES_MAX};
    let padded = |bytes: usize| EXAMPLE.to_owned() + &"#".repeat(bytes - EXAMPLE.len());
    assert!(read(&padded(RUNBOOK_BYTES_MAX)).is_ok());
    assert_eq!(read(&padded(RUNBOOK_BYTES_MAX + 1)).unwrap_err().fault, Fault::TooLarge);
    let many = |count: usize| {
        let parameters: String = (0..count).map(|n| format!("[parameters.p{n}]\ntype = \"boolean\"\n")).collect();
        script(&format!("{HEAD}{parameters}"))
    };
    assert_eq!(read(&many(PARAMETERS_MAX)).unwrap().parameters.len(), PARAMETERS_MAX);
    assert!(sentence(&many(PARAMETERS_MAX + 1)).contains("more than 64 parameters"));
    let described = |bytes: usize| script(&HEAD.replace("\"y\"", &format!("\"{}\"", "y".repeat(bytes))));
    assert!(read(&described(DESCRIPTION_BYTES_MAX)).is_ok() && read(&described(DESCRIPTION_BYTES_MAX + 1)).is_err());
    // Deep nesting ends in a refusal, not in a stack.
    assert!(read(&script(&format!("{HEAD}platforms = {}", "[".repeat(100_000)))).is_err());
}

#[test]
fn a_platform_that_it_is_not_for_is_named() {
    let refused = read(EXAMPLE).unwrap().check_platform("freebsd").unwrap_err();
    assert_eq!(refused.fault, Fault::Mismatch);
    assert_eq!(
        refused.sentence,
        "the runbook restart-service is for linux, and this machine runs freebsd: choose devices it is for"
    );
}

fn signed(text: &str, namespace: Namespace, key: &str) -> Signed {
    let signature = sign(namespace, text.as_bytes(), &private(key)).unwrap();
    Signed { bytes: text.as_bytes().to_vec(), signatures: vec![signature] }
}

#[test]
fn only_a_signer_of_the_newest_policy_makes_a_runbook_valid() {
    let body = "[[people]]\nname = \"ada\"\nkeys = [{KEY ada}]\nteams = [\"authors\"]\n\n\
                [[people]]\nname = \"ole\"\nkeys = [{KEY ole}]\n\n[runbooks]\nsigners = [\"authors\"]\n";
    let chain = Draft::new("acme", body).begin();
    let policies = Policies { tenant: &chain, imports: Vec::new() };
    let check = |signed: &Signed| check_signed(&policies, signed, monday());
    let good = signed(EXAMPLE, Namespace::Runbook, "ada");
    let (runbook, author) = check(&good).unwrap();
    assert_eq!((runbook, author.to_string().as_str()), (read(EXAMPLE).unwrap(), "ada"));

    for key in ["ole", "stranger"] {
        let refused = check(&signed(EXAMPLE, Namespace::Runbook, key)).unwrap_err();
        assert_eq!(refused.fault, Fault::WrongSigner, "{refused}");
    }
    let refused = check(&signed(EXAMPLE, Namespace::Runbook, "ole")).unwrap_err();
    assert!(
        refused.sentence.contains(&public("ole").fingerprint()) && refused.sentence.contains("`signers`"),
        "{refused}"
    );
    for namespace in [Namespace::Order, Namespace::Policy, Namespace::Token] {
        assert_eq!(check(&signed(EXAMPLE, namespace, "ada")).unwrap_err().fault, Fault::BadSignature);
    }
    let changed = Signed { bytes: EXAMPLE.replace("-eu", "-e").into_bytes(), ..good.clone() };
    assert_eq!(check(&changed).unwrap_err().fault, Fault::BadSignature);
    assert_eq!(check(&Signed { signatures: Vec::new(), ..good.clone() }).unwrap_err().fault, Fault::Unsigned);
    let twice = Signed { signatures: [good.signatures.clone(), good.signatures.clone()].concat(), ..good.clone() };
    assert!(check(&twice).is_err());
    let future = signed(&EXAMPLE.replace("2026-11-21", "2026-11-24"), Namespace::Runbook, "ada");
    assert_eq!(check(&future).unwrap_err().fault, Fault::Clock);
    let late = check_signed(&policies, &good, "2027-02-19T09:00:00Z".parse().unwrap()).unwrap_err();
    assert_eq!(late.fault, Fault::Expired, "{late}");

    let withdrawn = format!("{body}withdrawn = [\"{}\"]\n", Digest::of(EXAMPLE.as_bytes()));
    let chain = Draft::new("acme", &withdrawn).begin();
    let refused = check_signed(&Policies { tenant: &chain, imports: Vec::new() }, &good, monday()).unwrap_err();
    assert_eq!(refused.fault, Fault::Spent);
    let newer = signed(&EXAMPLE.replace("-eu", "-e"), Namespace::Runbook, "ada");
    assert!(check_signed(&Policies { tenant: &chain, imports: Vec::new() }, &newer, monday()).is_ok());
}
