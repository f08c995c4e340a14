//! Which events a door may note as they are. All others change something that must be judged first.

use crate::draft::Draft;
use crate::event::What;
use crate::refusal::Refusal;

/// May this event be noted without a judge?
///
/// # Errors
/// When its kind has an ask of its own, or an access has no device or person.
pub fn check(draft: &Draft) -> Result<(), Refusal> {
    match &draft.what {
        What::GatewayStopped { .. }
        | What::StrangersRefused { .. }
        | What::PolicyRefused { .. }
        | What::DeviceRefused { .. }
        | What::AccessRefused { .. }
        | What::CommandRan { .. } => Ok(()),
        What::AccessOpened { .. }
        | What::AccessEnded { .. }
        | What::RecordingRead(_)
        | What::OutputRead(_)
        | What::SessionKilled(_)
            if draft.device.is_some() && draft.person.is_some() =>
        {
            Ok(())
        }
        What::AccessOpened { .. }
        | What::AccessEnded { .. }
        | What::RecordingRead(_)
        | What::OutputRead(_)
        | What::SessionKilled(_) => Err(refused(draft, "names a device and a person")),
        What::LogStarted { .. }
        | What::LogRestarted { .. }
        | What::GatewayStarted { .. }
        | What::TenantAdded { .. }
        | What::PolicyAdopted { .. }
        | What::TokenIssued { .. }
        | What::DevicePending { .. }
        | What::DeviceApproved { .. }
        | What::DeviceCarried { .. }
        | What::DeviceReplaced { .. }
        | What::DeviceRecertified { .. }
        | What::PolicyRestarted { .. }
        | What::DeviceConnected { .. }
        | What::DeviceDisconnected { .. }
        | What::DeviceSuperseded { .. }
        | What::SessionOpened(_)
        | What::SessionRefused { .. }
        | What::SessionEnded { .. }
        | What::SessionWithheld { .. }
        | What::FreezeBegun(_)
        | What::FreezeLifted(_)
        | What::ReviewGiven(_)
        | What::RunbookPushed(_)
        | What::JobSubmitted(_)
        | What::JobOffered(_)
        | What::JobCancelled { .. }
        | What::JobStopped(_)
        | What::JobEnded(_)
        | What::RunDeclined { .. }
        | What::RunStarted(_)
        | What::RunRefused { .. }
        | What::RunEnded(_)
        | What::RunWithheld { .. }
        | What::RecordingCut(_)
        | What::RecordingDeleted(_)
        | What::RecordingHeld(_)
        | What::RecordingReleased(_)
        | What::OutputDeleted(_)
        | What::OutputHeld(_)
        | What::OutputReleased(_)
        | What::StatementRejected { .. } => {
            Err(refused(draft, "is judged before it is recorded, and never just noted"))
        }
    }
}

fn refused(draft: &Draft, rule: &str) -> Refusal {
    Refusal::EntryInvalid(format!("{} {rule}", draft.what.type_name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_name::LogName;
    use belay_certs::Id;

    #[test]
    fn what_has_a_judge_is_never_just_noted() {
        let acme = LogName::Tenant("acme".parse().unwrap());
        let added = What::TenantAdded { name: "acme".parse().unwrap(), origin: "gw.example/acme".to_owned() };
        assert!(check(&Draft::new(LogName::System, added)).is_err());
        let ran = What::CommandRan { words: vec!["devices".to_owned()] };
        assert_eq!(check(&Draft::new(acme, ran)), Ok(()));
    }

    #[test]
    fn an_access_names_who_and_where_to() {
        let opened =
            What::AccessOpened { access: Id([1; 16]), key: "SHA256:x".to_owned(), address: "192.0.2.1:1".to_owned() };
        let draft = Draft::new(LogName::Tenant("acme".parse().unwrap()), opened);
        assert!(check(&draft).is_err());
        assert_eq!(check(&draft.on("web1".parse().unwrap()).by("ann".parse().unwrap())), Ok(()));
    }
}
