//! `belay token`: makes a join key on this machine, signs the token document, and writes the file for the device.
//!
//! The gateway gets the document with the public half only.

use super::now;
use crate::{
    failure::{Outcome, usage},
    gateway::{Gateway, Route},
    home::{Home, write_new, write_whole},
    keygen,
    screen::{note, say},
    trusted::Trusted,
};
use belay_certs::{
    Id, Namespace, PrivateKey, Signed, TenantName, envelope,
    policy::Glob,
    time::{DAY, SECOND},
    token::{Token, TokenFile, check_issued},
};
use std::{collections::BTreeSet, path::PathBuf};

/// `belay token`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The tenant that machines join
    tenant: TenantName,
    /// How many machines may use it
    #[arg(long, value_name = "N", default_value_t = 1)]
    uses: u64,
    /// How long it lasts: 90m, 24h, 7d
    #[arg(long = "for", value_name = "TIME", default_value = "24h", value_parser = parse_span)]
    span: i64,
    /// A label of the machines; may be given again
    #[arg(long = "label", value_name = "L", value_delimiter = ',')]
    labels: Vec<String>,
    /// The names that machines may ask for
    #[arg(long = "name", value_name = "PATTERN", default_value = "*")]
    name_pattern: Glob,
    /// The token file to write: a secret
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// Makes it.
///
/// # Errors
/// The person may not, the gateway refuses, or the file is there already.
pub fn run(home: &Home, args: &Args) -> Outcome {
    let identity = home.signing_identity()?;
    if args.output.exists() {
        return Err(usage(format!("{} exists: choose another file", args.output.display())));
    }
    let trusted = Trusted::refresh_only(home, &BTreeSet::from([args.tenant.clone()]))?;
    let held = trusted.tenant(&args.tenant)?;
    let join_key = PrivateKey::generate_ed25519("belay-join")?;
    let issued = now().whole_second();
    let gateway = &held.policy().gateway;
    let token = Token {
        tenant: args.tenant.clone(),
        id: Id::random()?,
        join_key: join_key.public().clone(),
        policy0: held.chain.policy0(),
        policy_version: held.chain.version(),
        policy: held.chain.digest(),
        uses: args.uses,
        issued,
        expires: issued.plus(args.span),
        labels: args.labels.clone(),
        name_pattern: args.name_pattern.clone(),
        addresses: gateway.addresses.clone(),
        transport_ca: gateway.transport_ca.clone(),
    };
    let text = token.to_text();
    Token::parse(text.as_bytes())?;
    note(&format!("{text}\nThis is signed with {}.", identity.display()));
    let signature = keygen::sign(identity, Namespace::Token, text.as_bytes())?;
    let signed = Signed { bytes: text.into_bytes(), signatures: vec![signature] };
    check_issued(&trusted.policies(&args.tenant)?, &signed, now())?;
    let file = TokenFile { token: signed.clone(), join_key }.to_text()?;
    // The file first: a token that the gateway counts and nobody holds would only confuse.
    write_new(&args.output, file.as_bytes(), 0o600)?;
    let answer = Gateway::new(home, Route::of(held.policy())?)
        .run(&["token", args.tenant.as_str()], &envelope::join(&signed))
        .inspect_err(|_| drop(std::fs::remove_file(&args.output)))?;
    // For `belay approve --token ID`: what it says is shown there before the person says yes.
    write_whole(&home.token(&token.id), &envelope::join(&signed), 0o600)?;
    say(String::from_utf8_lossy(&answer).trim_end());
    say(&format!("{} is a secret; on each machine: belay-agent join --token-file FILE", args.output.display()));
    Ok(())
}

/// `90m`, `24h`, `7d` in microseconds.
pub(super) fn parse_span(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is not a time: write 90m, 24h or 7d");
    let (digits, unit) = match text.char_indices().next_back() {
        Some((at, 'm')) => (text.get(..at), 60 * SECOND),
        Some((at, 'h')) => (text.get(..at), 3600 * SECOND),
        Some((at, 'd')) => (text.get(..at), DAY),
        _ => return Err(wrong()),
    };
    let count: i64 = digits.and_then(|digits| digits.parse().ok()).filter(|count| *count > 0).ok_or_else(wrong)?;
    count.checked_mul(unit).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_minutes_hours_and_days() {
        assert_eq!(parse_span("90m"), Ok(90 * 60 * SECOND));
        assert_eq!(parse_span("24h"), Ok(DAY));
        assert_eq!(parse_span("7d"), Ok(7 * DAY));
        for text in ["", "h", "24", "-1h", "0d", "1w", "1h2m", "9999999999999d", "é"] {
            assert!(parse_span(text).is_err(), "{text}");
        }
    }
}
