//! `belay run`: a runbook on devices. Everything is resolved and judged here, shown, asked once, signed once for each tenant.
//!
//! `belay retry` makes its orders here too. Following them is `runs/follow.rs`.

use super::{
    device::known::{self, Unmet},
    now, token,
};
use crate::{
    failure::{Failure, Outcome},
    gateway::{Gateway, Route},
    home::Home,
    keygen,
    runs::{
        follow::{Followed, Outputs, follow},
        job::End,
        library::{Library, Wanted},
        plan::{Plan, Wish, check_all},
        progress::Screen,
        readers::{self, Keys, Make},
        submit::Ready,
        told::Told,
    },
    screen::{confirm, json, note, say},
    selector::Selector,
    trusted::Trusted,
};
use belay_certs::{
    AccountName, TenantName, Timestamp,
    order::Share,
    runbook::{ParameterName, Timeout},
};
use serde_json::Value;
use std::collections::BTreeSet;

/// `belay run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The runbook: the newest version of a name, or sha256:… for one version
    runbook: Wanted,
    /// What it is told, as NAME=VALUE; a secret as NAME=@FILE, or not at all: then it is asked for
    #[arg(value_name = "NAME=VALUE", value_parser = argument)]
    arguments: Vec<(ParameterName, String)>,
    /// Which devices: web1.acme, 'acme/web*', acme/tag:LABEL, 'acme/*'; commas and further --on add more
    #[arg(long, value_name = "SELECTOR", required = true, value_delimiter = ',')]
    on: Vec<Selector>,
    /// The account it runs as [default: the runbook's]
    #[arg(long = "as", value_name = "ACCOUNT")]
    account: Option<AccountName>,
    /// For which ticket, where your grant wants one
    #[arg(long)]
    ticket: Option<String>,
    /// An age recipient that may read what it prints, where the gateway may not; this home's own always may
    #[arg(long, value_name = "RECIPIENT")]
    output_to: Vec<String>,
    #[command(flatten)]
    window: Window,
    #[command(flatten)]
    how: How,
}

/// When devices may begin, and how many.
#[derive(Debug, Clone, clap::Args)]
pub struct Window {
    /// How long devices may begin: 15m, 4h, 7d at most. Whoever comes online within that time runs it then
    #[arg(long = "for", value_name = "TIME", default_value = "15m", value_parser = token::parse_span)]
    span: i64,
    /// From when on, in UTC: 2026-11-21T09:00:00Z [default: now]
    #[arg(long, value_name = "MOMENT")]
    from: Option<Timestamp>,
    /// How many devices may have begun before how many are done: 1,10%,100% [default: all at once]
    #[arg(long = "wave", value_name = "SHARES", value_delimiter = ',')]
    waves: Vec<Share>,
    /// Begin no further device when more than this share of a wave did not succeed: 5%, 3
    #[arg(long, value_name = "SHARE")]
    stop_above: Option<Share>,
    /// How long it may take on a device: 60s, 10m [default: the runbook's]
    #[arg(long, value_name = "TIME")]
    timeout: Option<Timeout>,
}

/// What is done with the orders.
#[derive(Debug, Clone, clap::Args)]
pub struct How {
    /// Show what each device would say, and sign nothing
    #[arg(long)]
    dry_run: bool,
    /// Sign without asking
    #[arg(long)]
    yes: bool,
    /// Print what each device prints, as it comes
    #[arg(long, conflicts_with_all = ["json", "detach", "dry_run"])]
    output: bool,
    /// Do not wait for the end
    #[arg(long, conflicts_with = "dry_run")]
    detach: bool,
    /// Print one line of JSON for each change, and the whole job at the end
    #[arg(long)]
    json: bool,
}

impl How {
    /// Whether a key of the home's own is made.
    pub fn make(&self) -> Make {
        if self.dry_run { Make::Nothing } else { Make::Missing }
    }
}

impl Window {
    /// Puts what was given into a wish.
    pub fn put_into(&self, wish: &mut Wish) {
        (wish.from, wish.span) = (self.from, self.span);
        if !self.waves.is_empty() {
            wish.waves.clone_from(&self.waves);
        }
        wish.stop_above = self.stop_above.or(wish.stop_above);
        wish.timeout = self.timeout.or(wish.timeout);
    }
}

/// `service=cups`.
pub fn argument(text: &str) -> Result<(ParameterName, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, as service=cups")?;
    Ok((name.parse().map_err(|invalid: belay_certs::Invalid| invalid.to_string())?, value.to_owned()))
}

/// Runs it.
///
/// # Errors
/// What was refused, and why; or how the jobs ended when not all succeeded.
pub fn run(home: &Home, args: &Args) -> Outcome {
    let identity = home.signing_identity()?;
    let me = keygen::public(identity)?;
    let mut wish = Wish { account: args.account.clone(), ticket: args.ticket.clone(), ..Wish::default() };
    let mut told = Told::of(args.arguments.iter().cloned())?;
    args.window.put_into(&mut wish);
    let tenants: BTreeSet<TenantName> = args.on.iter().map(|selector| selector.tenant.clone()).collect();
    let trusted = Trusted::refresh_only(home, &tenants)?;
    let mut plans = Vec::new();
    for tenant in &tenants {
        let policies = trusted.policies(tenant)?;
        readers::check_wanted(&policies, &args.output_to)?;
        wish.output_to = readers::of_order(home, &policies, &args.output_to, args.how.make())?;
        let gateway = gateway(home, &trusted, tenant)?;
        let library = Library { gateway, tenant, policies: &policies, now: now() };
        let runbook = library.find(&args.runbook).map_err(|failure| failure.of(tenant))?;
        // What it is told is judged before ten thousand records are asked for.
        (wish.arguments, wish.secrets) = told.to(&runbook.runbook)?;
        runbook.runbook.environment(&wish.arguments)?;
        runbook.runbook.check_secret_values(&wish.secrets)?;
        let devices = known::select(home, &trusted, tenant, &args.on, Unmet::Refused)?;
        plans.push(Plan::of(&policies, wish.clone(), runbook, &devices, &me, now())?);
    }
    order(home, &trusted, &plans, &args.how)
}

fn gateway<'h>(home: &'h Home, trusted: &Trusted, tenant: &TenantName) -> Outcome<Gateway<'h>> {
    Ok(Gateway::new(home, Route::of(trusted.tenant(tenant)?.policy())?))
}

/// Shows plans, asks, signs, sends and follows.
///
/// # Errors
/// As [`run`].
pub fn order(home: &Home, trusted: &Trusted, plans: &[Plan], how: &How) -> Outcome {
    match (how.dry_run, how.json) {
        (true, true) => json(&Value::Array(plans.iter().map(Plan::json).collect())),
        // Standard output is for the program that reads the changes.
        (false, true) => plans.iter().for_each(|plan| note(&plan.page())),
        (_, false) => plans.iter().for_each(|plan| say(&plan.page())),
    }
    check_all(plans)?;
    if how.dry_run {
        note("nothing was signed and nothing was sent");
        return Ok(());
    }
    confirm(&question(plans), how.yes)?;
    let identity = home.signing_identity()?;
    let mut ready = Vec::new();
    for plan in plans {
        ready.push(Ready::sign(plan, &trusted.policies(&plan.order.tenant)?, identity, now())?);
    }
    let (mut jobs, mut failure) = (Vec::new(), None);
    for order in ready {
        let gateway = gateway(home, trusted, &order.tenant)?;
        match order.submit(&gateway) {
            Ok(()) => jobs.push(Followed { gateway, id: order.id }),
            Err(why) => {
                note(&format!("belay: {}", why.sentence()));
                failure = Some(why);
            }
        }
    }
    // What one gateway refuses does not undo what another has taken.
    if let Some(why) = failure.take_if(|_| jobs.is_empty()) {
        return Err(why);
    }
    settle(home, &jobs, how, failure)
}

fn question(plans: &[Plan]) -> String {
    let devices: u64 = plans.iter().map(|plan| plan.order.devices).sum();
    let until = plans.iter().map(|plan| plan.order.not_after).max();
    let until = until.map_or_else(String::new, |until| format!(", until {until}"));
    let what = if devices == 1 { "this device".to_owned() } else { format!("these {devices} devices") };
    format!("Sign the order for {what}{until}?")
}

fn settle(home: &Home, jobs: &[Followed<'_>], how: &How, failure: Option<Failure>) -> Outcome {
    for job in jobs {
        note(&format!("job {}", job.id));
    }
    let end = match (how.detach, how.json) {
        (true, _) => End::Open,
        (false, json) => {
            let screen = if json { Screen::Json } else { Screen::for_people() };
            let outputs = if how.output { Outputs::Shown(Keys::of(home, None)) } else { Outputs::Left };
            follow(jobs, screen, &outputs)?
        }
    };
    match failure {
        None => end.verdict(),
        Some(_) => end.and(End::Partly).verdict(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_runbook_is_told_is_a_name_and_a_value() {
        let text = |text: &str| argument(text).map(|(name, value)| format!("{name}:{value}"));
        assert_eq!(text("service=cups=1").unwrap(), "service:cups=1");
        assert_eq!(text("empty=").unwrap(), "empty:");
        assert!(text("service").unwrap_err().contains("NAME=VALUE"));
        assert!(text("Service=x").unwrap_err().contains("parameter name"));
    }
}
