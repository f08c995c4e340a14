//! Secret parameters: how they are declared, and that no argument and no sentence has their value.

use super::*;

const SECRET: &str = "[parameters.token]\ntype = \"string\"\nsecret = true\nrequired = true\n\
                      [parameters.pin]\ntype = \"string\"\nsecret = true\npattern = \"[0-9]+\"\n\
                      [parameters.word]\ntype = \"string\"\nsecret = false\n";

fn secrets(pairs: &[(&str, &str)]) -> Secrets {
    let mut secrets = Secrets::default();
    for (name, value) in pairs {
        secrets.add(name.parse().unwrap(), (*value).to_owned()).unwrap();
    }
    secrets
}

fn runbook() -> Runbook {
    read(&script(&format!("{HEAD}{SECRET}"))).unwrap()
}

#[test]
fn a_string_may_be_secret_and_is_then_no_argument() {
    let runbook = runbook();
    let names: Vec<&str> = runbook.secrets().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["pin", "token"]);
    assert!(runbook.environment(&arguments(&[("word", "x")])).is_ok(), "what is secret is no argument");
    let refused = runbook.environment(&arguments(&[("token", "hunter2-hunter2")])).unwrap_err();
    assert!(refused.sentence.contains("token") && refused.sentence.contains("=@FILE"), "{refused}");
    assert!(!refused.sentence.contains("hunter2"), "{refused}");
}

#[test]
fn an_order_names_the_secrets_that_are_required_and_none_that_is_not_there() {
    let runbook = runbook();
    let check = |names: &[&str]| {
        let names: Vec<ParameterName> = names.iter().map(|name| name.parse().unwrap()).collect();
        runbook.check_secrets(&names).map_err(|invalid| invalid.sentence)
    };
    assert!(check(&["token"]).is_ok() && check(&["pin", "token"]).is_ok());
    assert!(check(&["pin"]).unwrap_err().contains("the secret token is missing"));
    assert!(check(&["token", "word"]).unwrap_err().contains("word is none of its secret parameters"));
    assert!(check(&["other", "token"]).unwrap_err().contains("other is none"));
}

#[test]
fn a_value_outside_its_pattern_is_refused_without_it() {
    let runbook = runbook();
    assert!(runbook.check_secret_values(&secrets(&[("token", "any\nthing-else"), ("pin", "12345678")])).is_ok());
    let refused = runbook.check_secret_values(&secrets(&[("token", "hunter2-x"), ("pin", "hunter2-y")])).unwrap_err();
    assert!(refused.sentence.contains("the secret pin does not fit its pattern [0-9]+"), "{refused}");
    assert!(!refused.sentence.contains("hunter2"), "{refused}");
    assert!(runbook.check_secret_values(&Secrets::default()).unwrap_err().sentence.contains("token is missing"));
}

#[test]
fn only_a_string_without_default_is_secret() {
    let wrong = |member: &str| sentence(&script(&format!("{HEAD}[parameters.token]\n{member}")));
    for kind in ["integer", "boolean"] {
        let said = wrong(&format!("type = \"{kind}\"\nsecret = true\n"));
        assert!(said.contains("line 8: `secret` is for strings"), "{said}");
    }
    let said = wrong("type = \"choice\"\nchoices = [\"a\"]\nsecret = true\n");
    assert!(said.contains("line 9: `secret` is for strings"), "{said}");
    let said = wrong("type = \"string\"\nsecret = true\ndefault = \"hunter2-hunter2\"\n");
    assert!(said.contains("line 9: the parameter token is secret and has a default") && !said.contains("hunter2"));
    assert!(wrong("type = \"string\"\nsecret = \"yes\"\n").contains("line 8"));
}
