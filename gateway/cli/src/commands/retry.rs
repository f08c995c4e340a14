//! `belay retry`: a new order with the inputs of an old one, for those of its devices that failed or never began.
//!
//! The inputs are read from the old order's signed text. Which devices did not succeed is the gateway's word: it can leave some
//! out or name more, but only of those that were signed for.

use super::{
    device::known::{self, Unmet},
    jobs, now,
    run::{How, Window, argument, order},
};
use crate::{
    failure::{Outcome, refused, usage},
    home::Home,
    keygen,
    runs::{
        job::{Job, Run, State},
        library::Library,
        plan::{Plan, Wish},
        readers,
        told::Told,
    },
    screen::{note, table},
    selector::Selector,
    trusted::Trusted,
};
use belay_certs::{
    Id, Namespace, Signed,
    order::{DeviceList, Order, Waves},
    policy::Policies,
    runbook::ParameterName,
    secrets::Secrets,
};
use std::collections::BTreeSet;

/// `belay retry`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The job's id
    id: Id,
    /// Its secrets, as NAME=@FILE: they were not kept [default: ask]
    #[arg(value_name = "NAME=@FILE", value_parser = argument)]
    secrets: Vec<(ParameterName, String)>,
    /// A further age recipient that may read what it prints: those of the old order and this home's own may
    #[arg(long, value_name = "RECIPIENT")]
    output_to: Vec<String>,
    #[command(flatten)]
    window: Window,
    #[command(flatten)]
    how: How,
}

/// Orders it again.
///
/// # Errors
/// The job is not over, its order does not verify, there is nothing to do again; or as `belay run`.
pub fn run(home: &Home, args: &Args) -> Outcome {
    let identity = home.signing_identity()?;
    let me = keygen::public(identity)?;
    let (gateway, job) = jobs::find(home, &Trusted::load(home)?, &args.id)?;
    let trusted = Trusted::refresh_only(home, &BTreeSet::from([job.head.tenant.clone()]))?;
    let tenant = &job.head.tenant;
    let policies = trusted.policies(tenant)?;
    let old = old_order(&policies, &job)?;
    let again = again(&job)?;
    let mut wish = wish(old.clone());
    args.window.put_into(&mut wish);
    let library = Library { gateway, tenant, policies: &policies, now: now() };
    let runbook = library.version(&old.version)?;
    // They are kept nowhere.
    readers::check_wanted(&policies, &args.output_to)?;
    let readers: Vec<String> = old.output_to.iter().chain(&args.output_to).cloned().collect();
    wish.output_to = readers::of_order(home, &policies, &readers, args.how.make())?;
    wish.secrets = Told::of(args.secrets.iter().cloned())?.again(&old.secrets)?;
    let selectors = again
        .iter()
        .map(|run| format!("{tenant}/{}", run.device).parse::<Selector>().map_err(refused))
        .collect::<Outcome<Vec<_>>>()?;
    let devices = known::select(home, &trusted, tenant, &selectors, Unmet::Told)?;
    let plan = Plan::of(&policies, wish, runbook, &devices, &me, now())?;
    order(home, &trusted, &[plan], &args.how)
}

/// The old order, if a person of the tenant signed it, for this job and exactly the devices that the gateway lists.
fn old_order(policies: &Policies<'_>, job: &Job) -> Outcome<Order> {
    let (Some(text), Some(signature)) = (&job.head.order, &job.head.signature) else {
        return Err(refused("the gateway does not show the order of the job: it cannot be ordered again"));
    };
    let signed = Signed { bytes: text.clone().into_bytes(), signatures: vec![signature.clone()] };
    let signer = signed.only_signer(Namespace::Order).map_err(|invalid| invalid.of("the old order"))?;
    if policies.person(&signer).is_none() {
        return Err(refused(format!(
            "the old order is signed by {}, who is nobody in the policy of {}: order it anew with `belay run`",
            signer.fingerprint(),
            job.head.tenant
        )));
    }
    let order = Order::parse(&signed.bytes)?;
    if order.id != job.id || order.tenant != job.head.tenant {
        return Err(refused(format!(
            "the gateway shows the order {} of {} for the job {}",
            order.id, order.tenant, job.id
        )));
    }
    let list = DeviceList::of(job.runs.values().map(Run::line).collect())?;
    if list.count() != order.devices || list.root() != order.devices_root {
        return Err(refused("the gateway lists other devices than the old order was signed for: it is not believed"));
    }
    Ok(order)
}

/// The parts to be done again. The others that did not succeed are told: what they did is not known.
fn again(job: &Job) -> Outcome<Vec<&Run>> {
    if !job.over {
        return Err(refused(format!(
            "the job {0} is not over: wait for its end, or end it with `belay cancel {0}`",
            job.id
        )));
    }
    let is_again = |run: &&Run| matches!(run.state, State::Ended(outcome) if outcome.is_retried());
    let succeeded = State::Ended(belay_certs::order::Outcome::Succeeded);
    let (again, rest): (Vec<&Run>, Vec<&Run>) = job.runs.values().partition(is_again);
    let left: Vec<Vec<String>> = rest
        .iter()
        .filter(|run| run.state != succeeded)
        .map(|run| vec![format!("{}.{}", run.device, job.head.tenant), run.state.to_string()])
        .collect();
    if !left.is_empty() {
        note(&format!(
            "these are not ordered again, for nobody knows how far they came; look, and name them with `belay run --on`:\n{}",
            table(&["DEVICE", "STATE"], &left).trim_end()
        ));
    }
    match again.is_empty() {
        true => Err(usage(format!("no device of the job {} is to be ordered again", job.id))),
        false => Ok(again),
    }
}

/// The same inputs.
fn wish(old: Order) -> Wish {
    let waves = if old.waves == Waves::default() { Vec::new() } else { old.waves.shares().to_vec() };
    Wish {
        account: Some(old.account),
        ticket: old.ticket,
        from: None,
        span: 0,
        waves,
        stop_above: old.stop_above,
        timeout: old.timeout,
        arguments: old.arguments,
        secrets: Secrets::default(),
        output_to: Vec::new(),
    }
}
