//! What is written is read back exactly, and what is wrong is named with its line.

use super::*;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    name: String,
    count: u64,
    #[serde(deserialize_with = "moment")]
    at: Timestamp,
    words: Vec<String>,
    text: String,
}

fn sample(text: &str) -> (Sample, String) {
    let value = Sample {
        name: "a \"b\" \\ c\u{7f}".to_owned(),
        count: u64::MAX,
        at: "2026-11-21T09:00:00.000005Z".parse().unwrap(),
        words: vec!["x, y".to_owned(), "it's \t".to_owned()],
        text: text.to_owned(),
    };
    let written = Document::default()
        .comment("hello")
        .quoted("name", &value.name)
        .bare("count", value.count)
        .bare("at", value.at)
        .list("words", &value.words)
        .block("text", &value.text)
        .finish();
    (value, written)
}

#[test]
fn whatever_a_field_holds_is_read_back_exactly() {
    for text in ["one\ntwo\n", "", "\n", "no end", "'''\n", "a\u{1}b\n", "it's\n''\n", "\ttab \"q\" \\\n", "\n\nx\n"] {
        let (value, written) = sample(text);
        assert_eq!(read::<Sample>(written.as_bytes(), 1000).unwrap(), value, "{written}");
    }
    assert!(sample("one\ntwo\n").1.ends_with("text = '''\none\ntwo\n'''\n"));
}

#[test]
fn every_error_names_the_line_in_one_sentence() {
    let (_, good) = sample("x");
    let cases = [
        (good.replace("count = ", "count = -"), "line 3"),
        (good.replace("05Z", "05+01:00"), "line 4: \"2026-11-21T09:00:00.000005+01:00\" is not a moment"),
        (good.replace("words", "wards"), "line 5: unknown field `wards`"),
        (good.replace("count = ", "count "), "line 3"),
        (good.clone() + "name = \"again\"\n", "line 7"),
        (good.replace("count", "# count"), "missing field `count`"),
    ];
    for (text, hint) in cases {
        let refused = read::<Sample>(text.as_bytes(), 1000).unwrap_err();
        assert!(refused.sentence.contains(hint), "{text}\n{refused}");
        assert!(!refused.sentence.contains('\n'), "{refused}");
    }
}

#[test]
fn long_lists_and_repeated_values_are_refused() {
    check_list("labels", &["a", "b"], 2).unwrap();
    assert_eq!(check_list("labels", &["a", "b"], 1).unwrap_err().fault, Fault::TooLarge);
    assert!(check_list("labels", &["a", "b", "a"], 9).unwrap_err().sentence.contains("a twice"));
}
