//! `belay runbook`: scripts that are signed as they are. Checked, signed and pushed here; listed and shown as verified here.

use super::now;
use crate::{
    chain,
    failure::{Outcome, refused, usage},
    gateway::{Gateway, Route, at_once},
    home::{self, Home},
    keygen,
    runs::library::{Library, Newest, Verified, Wanted},
    screen::{document, escape, json, note, say, table},
    trusted::Trusted,
};
use belay_certs::{
    Invalid, Namespace, RunbookName, Signed, TenantName, envelope,
    runbook::{self, Kind, Parameter, Runbook},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// `belay runbook …`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Say what is wrong with runbooks, or what an order for them is asked for
    Check {
        /// The scripts
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Write the moment into a runbook and sign it: FILE.sig
    Sign {
        /// The script
        file: PathBuf,
        /// The author's key, or the .pub of one that your ssh-agent holds [default: yours]
        #[arg(long, value_name = "KEY")]
        key: Option<PathBuf>,
    },
    /// Bring a signed runbook, with FILE.sig beside it, into the libraries of tenants
    Push {
        /// The script
        file: PathBuf,
        /// A tenant; may be given again
        #[arg(long = "tenant", value_name = "T", required_unless_present = "all")]
        tenants: Vec<TenantName>,
        /// Every tenant that is trusted here and whose policy has the signer among `signers`
        #[arg(long, conflicts_with = "tenants")]
        all: bool,
    },
    /// List the runbooks of tenants, each verified
    List {
        /// Only this tenant's
        tenant: Option<TenantName>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a runbook, verified, and who signed it
    Show {
        /// The newest version of a name, or sha256:… for one version
        runbook: Wanted,
        /// Whose [default: the only tenant that is trusted here]
        #[arg(long, value_name = "T")]
        tenant: Option<TenantName>,
    },
}

/// Does it.
///
/// # Errors
/// What was refused, and why.
pub fn run(home: &Home, command: Command) -> Outcome {
    match command {
        Command::Check { files } => check(&files),
        Command::Sign { file, key } => sign(home, &file, key.as_deref()),
        Command::Push { file, tenants, all } => push(home, &file, tenants, all),
        Command::List { tenant, json } => list(home, tenant.as_ref(), json),
        Command::Show { runbook, tenant } => show(home, &runbook, tenant),
    }
}

/// `FILE:3: what is wrong`, as editors understand it.
fn at(file: &Path, invalid: &Invalid) -> String {
    let sentence = invalid.sentence.strip_prefix("the runbook: ").unwrap_or(&invalid.sentence);
    let line = sentence.strip_prefix("line ").and_then(|rest| rest.split_once(": "));
    match line.filter(|(number, _)| number.bytes().all(|byte| byte.is_ascii_digit())) {
        Some((number, why)) => format!("{}:{number}: {why}", file.display()),
        None => format!("{}: {sentence}", file.display()),
    }
}

fn check(files: &[PathBuf]) -> Outcome {
    let mut wrong = 0;
    for file in files {
        let script = home::read(file)?;
        let mistakes = Runbook::mistakes(&script);
        if mistakes.is_empty() {
            say(&page(&Runbook::parse(&script)?));
            continue;
        }
        mistakes.iter().for_each(|invalid| note(&at(file, invalid)));
        wrong += 1;
    }
    match wrong {
        0 => Ok(()),
        _ => Err(refused(format!("{wrong} of {} files are not valid", files.len()))),
    }
}

/// What an order for a runbook is asked for.
fn page(runbook: &Runbook) -> String {
    let platforms: Vec<&str> = runbook.platforms.iter().map(|platform| platform.as_str()).collect();
    let account = runbook.account.as_ref().map_or_else(|| "none: an order says one".to_owned(), ToString::to_string);
    let platforms = if platforms.is_empty() { "any".to_owned() } else { platforms.join(", ") };
    let lines = [
        format!("{}: {}", runbook.name, runbook.description),
        format!("  version    {}", runbook.version),
        format!("  issued     {}", runbook.issued),
        format!("  risk       {}", runbook.risk),
        format!("  platforms  {platforms}"),
        format!("  account    {account}"),
        format!("  timeout    {}", runbook.timeout),
        format!("  output     {}", runbook.output),
    ];
    let rows: Vec<Vec<String>> = runbook
        .parameters
        .iter()
        .map(|(name, parameter)| {
            let Parameter { description, required, default, .. } = parameter;
            let default = match (default, required) {
                (Some(default), _) => default.clone(),
                (None, true) => "required".to_owned(),
                (None, false) => "not set".to_owned(),
            };
            vec![name.to_string(), kind(&parameter.kind), default, description.clone()]
        })
        .collect();
    let mut text = lines.join("\n");
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(table(&["PARAMETER", "VALUES", "DEFAULT", "WHAT"], &rows).trim_end());
    }
    text
}

fn kind(kind: &Kind) -> String {
    match kind {
        Kind::String { pattern: Some(pattern) } => format!("text like {pattern}"),
        Kind::String { pattern: None } => "text".to_owned(),
        Kind::Secret { pattern: Some(pattern) } => format!("a secret like {pattern}"),
        Kind::Secret { pattern: None } => "a secret".to_owned(),
        Kind::Integer => "a whole number".to_owned(),
        Kind::Boolean => "true or false".to_owned(),
        Kind::Choice(words) => words.join(" or "),
    }
}

fn sign(home: &Home, file: &Path, key: Option<&Path>) -> Outcome {
    let script = home::read(file)?;
    let issued = runbook::issue(&script, now()).map_err(|invalid| refused(at(file, &invalid)))?;
    let runbook = Runbook::parse(&issued)?;
    say(&page(&runbook));
    let key = match key {
        Some(key) => key,
        None => home.signing_identity()?,
    };
    // Signed before it is written: a file without its signature is worse than none, an old pair still counts.
    let signature = keygen::sign(key, Namespace::Runbook, &issued)?;
    let mode = fs::metadata(file).map_or(0o755, |facts| facts.permissions().mode() & 0o777);
    home::write_whole(file, &issued, mode)?;
    let sig = chain::signature_path(file);
    let signed = Signed { bytes: issued, signatures: vec![signature] };
    home::write_whole(&sig, envelope::armor(&signed).as_bytes(), 0o644)?;
    say(&format!(
        "{}: signed with {}\nnext: belay runbook push {} --all",
        sig.display(),
        key.display(),
        file.display()
    ));
    Ok(())
}

fn push(home: &Home, file: &Path, tenants: Vec<TenantName>, all: bool) -> Outcome {
    let bytes = home::read(file)?;
    let sig = chain::signature_path(file);
    let missing = || usage(format!("{} is not there: `belay runbook sign {}` first", sig.display(), file.display()));
    let armored = if sig.exists() { home::read_text(&sig)? } else { return Err(missing()) };
    let signed = Signed { bytes, signatures: envelope::signatures(&armored)? };
    let runbook = Runbook::parse(&signed.bytes).map_err(|invalid| refused(at(file, &invalid)))?;
    let author = signed.only_signer(Namespace::Runbook).map_err(|invalid| invalid.of(sig.display()))?;
    let trusted = match all {
        true => Trusted::refresh(home)?,
        false => Trusted::refresh_only(home, &tenants.iter().cloned().collect())?,
    };
    let tenants: BTreeSet<TenantName> = match all {
        true => trusted.reached().map(|held| held.chain.tenant().clone()).collect(),
        false => tenants.into_iter().collect(),
    };
    let tenants: Vec<TenantName> = tenants.into_iter().collect();
    let answers = at_once(&tenants, |tenant| {
        runbook::check_signed(&trusted.policies(tenant)?, &signed, now())?;
        bring(home, &trusted, tenant, &signed)
    });
    let (mut pushed, mut failed) = (0, 0);
    for (tenant, answer) in tenants.iter().zip(answers) {
        match answer {
            Ok(answer) => {
                say(&format!("{tenant}: {answer}"));
                pushed += 1;
            }
            // With --all, tenants that do not trust the author are not meant.
            Err(failure) if all && !trusts(&trusted, tenant, &author) => {
                note(&format!("{tenant}: left out: {}", failure.sentence()));
            }
            Err(failure) => {
                note(&format!("belay: {tenant}: {}", failure.sentence()));
                failed += 1;
            }
        }
    }
    match (pushed, failed) {
        (0, 0) => Err(refused(format!(
            "no policy here has {} among `signers` under [runbooks]: {} was brought nowhere",
            author.fingerprint(),
            runbook.name
        ))),
        (_, 0) => Ok(()),
        (_, failed) => Err(refused(format!("{failed} of {} tenants did not take it; see above", tenants.len()))),
    }
}

fn trusts(trusted: &Trusted, tenant: &TenantName, author: &belay_certs::PublicKey) -> bool {
    let Ok(policies) = trusted.policies(tenant) else { return false };
    belay_certs::policy::runbook_signer(&policies, author, now()).is_ok_and(|person| person.is_some())
}

fn bring(home: &Home, trusted: &Trusted, tenant: &TenantName, signed: &Signed) -> Outcome<String> {
    let gateway = Gateway::new(home, Route::of(trusted.tenant(tenant)?.policy())?);
    let answer = gateway.run(&["runbook", "push", tenant.as_str()], &envelope::join(signed))?;
    Ok(String::from_utf8_lossy(&answer).trim_end().to_owned())
}

fn list(home: &Home, tenant: Option<&TenantName>, as_json: bool) -> Outcome {
    let trusted = match tenant {
        Some(tenant) => Trusted::refresh_only(home, &BTreeSet::from([tenant.clone()]))?,
        None => Trusted::refresh(home)?,
    };
    let tenants: Vec<TenantName> = match tenant {
        Some(tenant) => vec![tenant.clone()],
        None => trusted.reached().map(|held| held.chain.tenant().clone()).collect(),
    };
    let (mut rows, mut values, mut outcome) = (Vec::new(), Vec::new(), Ok(()));
    for tenant in &tenants {
        let policies = trusted.policies(tenant)?;
        let gateway = Gateway::new(home, Route::of(trusted.tenant(tenant)?.policy())?);
        match (Library { gateway, tenant, policies: &policies, now: now() }).all() {
            Ok(found) => {
                for (name, newest) in found {
                    rows.extend(table_rows(tenant, &name, &newest));
                    values.extend(json_rows(tenant, &name, &newest));
                }
            }
            Err(failure) => {
                note(&format!("belay: {tenant}: {}", failure.sentence()));
                outcome = Err(failure);
            }
        }
    }
    if as_json {
        json(&Value::Array(values));
    } else if !rows.is_empty() {
        say(table(&["TENANT", "NAME", "ISSUED", "RISK", "AUTHOR", "VERSION", "VALID"], &rows).trim_end());
    }
    outcome
}

fn table_rows(tenant: &TenantName, name: &RunbookName, newest: &Newest) -> Vec<Vec<String>> {
    let valid = newest.valid.iter().map(|one| {
        let Runbook { issued, risk, version, .. } = &one.runbook;
        let authors: Vec<String> = one.signed.iter().map(|(author, _)| author.to_string()).collect();
        let is = if newest.valid.len() > 1 { "yes, but not alone: name it by its hash" } else { "yes" };
        [issued.to_string(), risk.to_string(), authors.join(","), version.to_string(), is.to_owned()]
    });
    let invalid = newest.invalid.iter().map(|(version, why)| {
        let dash = || "-".to_owned();
        [dash(), dash(), dash(), version.to_string(), format!("no: {}", escape(why))]
    });
    let head = [tenant.to_string(), name.to_string()];
    valid.chain(invalid).map(|cells| head.iter().cloned().chain(cells).collect()).collect()
}

fn json_rows(tenant: &TenantName, name: &RunbookName, newest: &Newest) -> Vec<Value> {
    let valid = newest.valid.iter().map(|one| {
        let Runbook { issued, risk, version, description, .. } = &one.runbook;
        let authors: Vec<String> = one.signed.iter().map(|(author, _)| author.to_string()).collect();
        json!({
            "tenant": tenant, "name": name, "version": version, "issued": issued, "risk": risk.as_str(),
            "description": description, "authors": authors, "invalid": null,
        })
    });
    let invalid = newest
        .invalid
        .iter()
        .map(|(version, why)| json!({"tenant": tenant, "name": name, "version": version, "invalid": why}));
    valid.chain(invalid).collect()
}

fn show(home: &Home, wanted: &Wanted, tenant: Option<TenantName>) -> Outcome {
    let tenant = match tenant {
        Some(tenant) => tenant,
        None => only_tenant(&Trusted::load(home)?)?,
    };
    let trusted = Trusted::refresh_only(home, &BTreeSet::from([tenant.clone()]))?;
    let policies = trusted.policies(&tenant)?;
    let gateway = Gateway::new(home, Route::of(trusted.tenant(&tenant)?.policy())?);
    let found: Verified = Library { gateway, tenant: &tenant, policies: &policies, now: now() }.find(wanted)?;
    note(&format!("{} {} of {tenant}, signed by {}", found.runbook.name, found.runbook.version, found.authors()));
    document(&String::from_utf8_lossy(found.bytes()));
    Ok(())
}

fn only_tenant(trusted: &Trusted) -> Outcome<TenantName> {
    let mut tenants = trusted.reached().map(|held| held.chain.tenant().clone());
    match (tenants.next(), tenants.next()) {
        (Some(only), None) => Ok(only),
        _ => Err(usage("whose runbook? give --tenant T")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::stage::script;

    #[test]
    fn a_mistake_stands_behind_its_file_and_line_as_editors_understand_it() {
        let text = script(1).replacen("timeout = \"60s\"", "timeout = \"1w\"", 1);
        let mistakes = Runbook::mistakes(text.as_bytes());
        let said: Vec<String> = mistakes.iter().map(|one| at(Path::new("a/b.sh"), one)).collect();
        assert!(said.len() == 1 && said[0].starts_with("a/b.sh:8: \"1w\" is not a timeout"), "{said:?}");
        let parsed = Runbook::parse(text.as_bytes()).unwrap_err();
        assert_eq!(at(Path::new("a/b.sh"), &parsed), said[0]);
        assert!(at(Path::new("b.sh"), &Runbook::parse(b"\xff").unwrap_err()).starts_with("b.sh: "));
    }

    #[test]
    fn what_an_order_is_asked_for_is_one_page() {
        let page = page(&Runbook::parse(script(1).as_bytes()).unwrap());
        for line in
            ["risk       normal", "timeout    1m", "platforms  linux", "text like [a-z0-9@._-]+", "restart or reload"]
        {
            assert!(page.contains(line), "{line}: {page}");
        }
    }
}
