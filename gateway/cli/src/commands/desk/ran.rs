//! What one run printed, as its recording: held against what its device signed, opened, and as an asciicast.
//!
//! Not here: how the job is proved (`job`), and what is done with it (`replay`, `recording`).

use super::{
    super::jobs,
    job::{JobCase, Run},
    printed::{self, Printed},
};
use crate::{
    failure::{Outcome, refused},
    gateway::Gateway,
    home::Home,
    runs::{job::Job, readers::Keys},
    screen::note,
    trusted::Trusted,
};
use belay_certs::{
    DeviceAddress, DeviceName, Id, Timestamp,
    output::Read,
    recording::cast::{About, Header, Kind},
};
use std::{path::Path, str::FromStr};

/// What is to be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A session.
    Session(Id),
    /// One device's part of a job.
    Run(Id, DeviceName),
}

impl FromStr for What {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sentence = |invalid: belay_certs::Invalid| invalid.sentence;
        let Some((job, device)) = text.split_once('/') else {
            return text.parse().map(Self::Session).map_err(sentence);
        };
        let short = device.split_once('.').map_or(device, |(device, _)| device);
        Ok(Self::Run(job.parse().map_err(sentence)?, short.parse().map_err(sentence)?))
    }
}

/// The recording of a run.
#[derive(Debug)]
pub struct Ran {
    /// Who, what and when.
    pub header: Header,
    /// What was printed, open.
    pub output: Read,
    /// What proves that the machine printed it; or why nothing does.
    pub proof: Result<String, String>,
}

impl Ran {
    /// Fetches it, and tells what proves it, or that nothing does.
    ///
    /// # Errors
    /// It cannot be had, is altered, or no key here opens it: then nothing of it was shown.
    pub fn fetch(
        home: &Home,
        trusted: &Trusted,
        (job, device): (&Id, &DeviceName),
        age_identity: Option<&Path>,
    ) -> Outcome<Self> {
        let ran = Self::of(home, trusted, jobs::find(home, trusted, job)?, device, age_identity)?;
        let (Ok(told) | Err(told)) = &ran.proof;
        note(&format!("belay: {told}"));
        Ok(ran)
    }

    /// The same of a job that its gateway has shown, without a word.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub fn of(
        home: &Home,
        trusted: &Trusted,
        shown: (Gateway<'_>, Job),
        device: &DeviceName,
        age_identity: Option<&Path>,
    ) -> Outcome<Self> {
        let case = JobCase::of(home, trusted, shown, Some(device))?;
        let tenant = case.ordered.order.tenant.clone();
        let address = DeviceAddress { device: device.clone(), tenant };
        let run = case.said.runs.get(device);
        let run =
            run.ok_or_else(|| refused(format!("{address} has signed nothing about its run: it has none to show")))?;
        let (file, proof) = printed_by(&case, &address, run)?;
        let keys = Keys::of(home, age_identity.map(Path::to_owned));
        let output = keys.read(&address, &file)?;
        Ok(Self { header: header(&case, address, run.begun), output, proof })
    }
}

fn header(case: &JobCase<'_>, device: DeviceAddress, begun: Option<Timestamp>) -> Header {
    let order = &case.ordered.order;
    let about = About {
        session: order.id,
        tenant: order.tenant.clone(),
        device,
        person: case.said.person.clone(),
        account: order.account.to_string(),
        kind: Kind::Run,
        command: Some(order.runbook.to_string()),
        ticket: order.ticket.clone(),
    };
    Header::new(about, begun.unwrap_or(order.issued).seconds())
}

/// What a run printed, held against what its device signed; and what that proves.
fn printed_by(case: &JobCase<'_>, address: &DeviceAddress, run: &Run) -> Outcome<(Vec<u8>, Result<String, String>)> {
    let job = &case.ordered.order.id;
    if let Some(reason) = &run.refused {
        return Err(refused(format!("{address} refused the run: {reason}")));
    }
    let Some(end) = &run.end else {
        let why = format!("{address}: this is not proved: the device signs what it printed when the run has ended");
        return Ok((printed::any(&case.gateway, job, address)?, Err(why)));
    };
    let Some(digest) = end.output else {
        return Err(refused(format!("{address} signed that the run printed nothing: {}", end.outcome)));
    };
    match printed::fetch(&case.gateway, job, address, (end, digest, run.end_index))? {
        Printed::Proved(file) => {
            let told = format!(
                "{address}: all {} bytes of output are what the device signed: {digest}, entry {} of the log",
                file.len(),
                run.end_index
            );
            Ok((file, Ok(told)))
        }
        Printed::Beginning { file, missing } => {
            let why = format!("{address}: this is not all, and not proved: {missing} bytes are still with the device");
            Ok((file, Err(why)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_or_a_run_is_named() {
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(id.parse(), Ok(What::Session(id.parse().unwrap())));
        for run in ["/web1", "/web1.acme"] {
            assert_eq!(format!("{id}{run}").parse(), Ok(What::Run(id.parse().unwrap(), "web1".parse().unwrap())));
        }
        assert!("web1".parse::<What>().is_err() && format!("{id}/").parse::<What>().is_err());
    }
}
