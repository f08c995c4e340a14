//! The order's text: written, read back, refused by name, and made by a shell script with nothing but `ssh-keygen`.

pub(crate) mod fixture;
mod judged;
mod script;
mod sealed;

use super::*;
use fixture::{Case, arguments};

fn text() -> String {
    let mut order = Case::new().order;
    order.ticket = Some("INC-42".to_owned());
    order.waves = Waves::of(["1", "50%", "100%"].iter().map(|share| share.parse().unwrap()).collect(), 3).unwrap();
    order.stop_above = Some("5%".parse().unwrap());
    order.timeout = Some("90s".parse().unwrap());
    order.to_text()
}

#[test]
fn an_order_is_written_in_one_order_and_read_back() {
    let order = Order::parse(text().as_bytes()).unwrap();
    assert_eq!(order.to_text(), text());
    let names: Vec<String> = text().lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(
        names.join(" "),
        "tenant id runbook version account ticket issued not_before not_after policy_version policy devices devices_root \
         waves stop_above timeout  [arguments] service"
    );
    let least = Case::new().order;
    assert_eq!(Order::parse(least.to_text().as_bytes()).unwrap(), least);
    assert_eq!((least.waves.gates(3), least.stop_above, least.timeout), (vec![3], None, None));
}

#[test]
fn what_arguments_hold_comes_back_whatever_it_looks_like() {
    let mut order = Case::new().order;
    for value in ["", "'", "\"", "\\", "'''", "a\"\nb", "]]", "# no comment", "日本", "$(x)", "%", "1", "true"] {
        order.arguments = arguments(&[("service", value)]);
        let read = Order::parse(order.to_text().as_bytes());
        if value.contains('\n') {
            assert!(read.unwrap_err().sentence.contains("the argument service"));
        } else {
            assert_eq!(read.unwrap(), order, "{value}");
        }
    }
}

#[test]
fn a_wrong_order_is_refused_with_the_line_or_the_field() {
    for (old, new, hint) in [
        ("tenant = \"acme\"", "tenant = \"Acme\"", "line 1: \"Acme\" is not a tenant name"),
        ("runbook = ", "script = ", "line 3: unknown field `script`"),
        ("restart-service", "restart service", "line 3: \"restart service\" is not a name for a runbook"),
        ("version = \"sha256:", "version = \"md5:", "line 4"),
        ("account = \"root\"", "account = \"root,deploy\"", "line 5: \"root,deploy\" is not an account name"),
        ("account = \"root\"\n", "", "missing field `account`"),
        ("INC-42", "INC 42", "ticket must be 1 to 128 visible"),
        ("INC-42", "", "ticket must be 1 to 128 visible"),
        ("not_before = 2026-11-23T10:00:00Z", "not_before = \"2026-11-23T10:00:00Z\"", "line 8"),
        ("not_before = 2026-11-23T10:00:00Z", "not_before = 2026-11-23T11:00:00+01:00", "line 8"),
        ("not_after = 2026-11-23T10:15:00Z", "not_after = 2026-11-23T10:00:00Z", "not_after must be after not_before"),
        ("not_after = 2026-11-23T10:15:00Z", "not_after = 2026-11-30T10:00:01Z", "by at most 7 days"),
        ("issued = 2026-11-23T10:00:00Z", "issued = 2026-11-23T10:15:00Z", "its window ended at 2026-11-23T10:15:00Z"),
        ("devices = 3", "devices = 0", "devices is 0, but must be 1 to 10000"),
        ("devices = 3", "devices = 10001", "devices is 10001"),
        ("devices = 3", "devices = -1", "line 12"),
        ("\"100%\"]", "\"99%\"]", "the last of waves must be \"100%\""),
        ("\"50%\"", "\"50\"", ""),
        ("\"50%\"", "\"0%\"", "0% in waves is no device"),
        ("stop_above = \"5%\"", "stop_above = \"105%\"", "line 15: \"105%\" is not a share"),
        ("stop_above = \"5%\"", "stop_above = 5", "line 15"),
        ("timeout = \"90s\"", "timeout = \"2d\"", "line 16: \"2d\" is not a timeout"),
        ("service = \"cups\"", "Service = \"cups\"", "\"Service\" is not a parameter name"),
        ("service = \"cups\"", "service = 3", "line 19"),
        ("service = \"cups\"", "service = \"cups\"\nservice = \"x\"", "line 20"),
        ("service = \"cups\"", "service = \"a\\u202eb\"", "the argument service: "),
        ("[arguments]", "[args]", "line 18: unknown field `args`"),
    ] {
        assert!(text().contains(old), "{old}");
        let read = Order::parse(text().replacen(old, new, 1).as_bytes());
        match hint {
            "" => assert!(read.is_ok(), "{new}: a wave of 50 devices of 3 is all of them"),
            hint => {
                let said = read.unwrap_err().sentence;
                assert!(said.starts_with("the order: ") && said.contains(hint), "{old} -> {new}: {said}");
            }
        }
    }
}

#[test]
fn an_order_is_small_and_plain_text() {
    let long = text() + &format!("x = \"{}\"\n", "y".repeat(DOCUMENT_BYTES_MAX));
    assert_eq!(Order::parse(long.as_bytes()).unwrap_err().fault, Fault::TooLarge);
    assert!(Order::parse(text().replace('\n', "\r\n").as_bytes()).unwrap_err().sentence.contains("CR"));
    assert!(Order::parse(&text().encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()).is_err());
    let mut order = Case::new().order;
    order.arguments = (0..=PARAMETERS_MAX).map(|n| (format!("p{n}").parse().unwrap(), String::new())).collect();
    assert_eq!(Order::parse(order.to_text().as_bytes()).unwrap_err().fault, Fault::TooLarge);
}

#[test]
fn outcomes_have_one_word_each_and_what_is_unknown_is_never_retried() {
    for outcome in Outcome::ALL {
        assert_eq!(outcome.to_string().parse::<Outcome>().unwrap(), outcome);
    }
    assert!("done".parse::<Outcome>().is_err());
    let never: Vec<Outcome> = Outcome::ALL.into_iter().filter(|outcome| !outcome.is_retried()).collect();
    assert_eq!(never, [Outcome::Succeeded, Outcome::Cancelled, Outcome::Interrupted]);
}
