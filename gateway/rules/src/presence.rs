//! The judge of devices coming and going: the newest connection of a device wins.

use crate::device::DeviceState;
use crate::draft::Draft;
use crate::event::What;
use crate::refusal::Refusal;
use belay_certs::{DeviceName, Id, TenantName};

/// Who called, as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The join id of its transport certificate.
    pub join: Id,
    /// Whose device it is.
    pub tenant: TenantName,
    /// Its name.
    pub name: DeviceName,
    /// Where it is in its life.
    pub state: DeviceState,
    /// Its device records, the newest first; what it said under the older ones may still be on its way.
    pub records: Vec<RecordNamed>,
    /// The connection it has.
    pub line: Option<Line>,
}

/// One device record, as far as statements name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordNamed {
    /// Its serial.
    pub serial: u64,
    /// The name it gives.
    pub name: DeviceName,
}

impl Caller {
    /// Whether this is its name, or was under an earlier record.
    pub fn was_called(&self, name: &DeviceName) -> bool {
        self.name == *name || self.records.iter().any(|record| record.name == *name)
    }

    /// Whether what it says is recorded: one that was revoked or replaced still says how its sessions ended.
    pub(crate) fn may_speak(&self) -> bool {
        match self.state {
            DeviceState::Approved | DeviceState::Revoked => true,
            DeviceState::Replaced => !self.records.is_empty(),
            DeviceState::Pending => false,
        }
    }
}

/// A device's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its id.
    pub connection: Id,
    /// Where it comes from.
    pub address: String,
    /// The agent's version.
    pub version: String,
}

/// May this device be connected? The events: the new connection, after the end of the one it takes the place of.
///
/// # Errors
/// When the device was revoked or replaced.
pub fn connect(caller: &Caller, line: &Line) -> Result<Vec<Draft>, Refusal> {
    match caller.state {
        DeviceState::Pending | DeviceState::Approved => {}
        state @ (DeviceState::Revoked | DeviceState::Replaced) => {
            return Err(Refusal::DeviceGone { name: caller.name.clone(), state });
        }
    }
    let superseded = caller.line.as_ref().map(|old| What::DeviceSuperseded {
        join: caller.join,
        connection: old.connection,
        address: old.address.clone(),
    });
    let connected = What::DeviceConnected {
        join: caller.join,
        connection: line.connection,
        address: line.address.clone(),
        version: line.version.clone(),
    };
    Ok(superseded.into_iter().chain([connected]).map(|what| about(caller, what)).collect())
}

/// The event of a connection's end.
///
/// # Errors
/// When it was superseded or has ended before: that has been said.
pub fn disconnect(caller: &Caller, connection: Id, reason: &str) -> Result<Draft, Refusal> {
    if caller.line.as_ref().is_none_or(|line| line.connection != connection) {
        return Err(Refusal::NotConnected { name: caller.name.clone(), connection });
    }
    let what = What::DeviceDisconnected { join: caller.join, connection, reason: reason.to_owned() };
    Ok(about(caller, what))
}

fn about(caller: &Caller, what: What) -> Draft {
    Draft::new(caller.tenant.clone().into(), what).on(caller.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: u8) -> Line {
        Line { connection: Id([number; 16]), address: format!("192.0.2.{number}:1"), version: "0.1.0".to_owned() }
    }

    fn caller(state: DeviceState, line: Option<Line>) -> Caller {
        Caller {
            join: Id([9; 16]),
            tenant: "acme".parse().unwrap(),
            name: "web1".parse().unwrap(),
            state,
            records: vec![RecordNamed { serial: 7, name: "web1".parse().unwrap() }],
            line,
        }
    }

    fn types(drafts: &[Draft]) -> Vec<&'static str> {
        drafts.iter().map(|draft| draft.what.type_name()).collect()
    }

    #[test]
    fn pending_and_approved_devices_connect() {
        for state in [DeviceState::Pending, DeviceState::Approved] {
            let drafts = connect(&caller(state, None), &line(1)).unwrap();
            assert_eq!(types(&drafts), ["device.connected"]);
        }
    }

    #[test]
    fn a_revoked_or_replaced_device_is_turned_away() {
        for state in [DeviceState::Revoked, DeviceState::Replaced] {
            let refusal = connect(&caller(state, None), &line(1)).unwrap_err();
            assert_eq!(refusal, Refusal::DeviceGone { name: "web1".parse().unwrap(), state });
        }
    }

    #[test]
    fn the_newest_connection_wins_and_the_old_ones_end_says_nothing_more() {
        let drafts = connect(&caller(DeviceState::Approved, Some(line(1))), &line(2)).unwrap();
        assert_eq!(types(&drafts), ["device.superseded", "device.connected"]);
        let now = caller(DeviceState::Approved, Some(line(2)));
        let refusal = disconnect(&now, line(1).connection, "timed out").unwrap_err();
        assert_eq!(refusal, Refusal::NotConnected { name: "web1".parse().unwrap(), connection: line(1).connection });
        assert_eq!(disconnect(&now, line(2).connection, "timed out").unwrap().what.type_name(), "device.disconnected");
    }
}
