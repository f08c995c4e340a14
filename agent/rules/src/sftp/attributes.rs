//! The attributes of a file, as they travel (section 5 of the draft).

use super::{Malformed, request::Fields};

const SIZE: u32 = 1;
const UID_GID: u32 = 2;
const PERMISSIONS: u32 = 4;
const TIMES: u32 = 8;
const EXTENDED: u32 = 0x8000_0000;

/// What is said of a file; what is not said is not to be changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Bytes.
    pub size: Option<u64>,
    /// User and group, by number.
    pub owner: Option<(u32, u32)>,
    /// Type and permissions, as `st_mode` has them.
    pub mode: Option<u32>,
    /// Last access and last change, in seconds since 1970.
    pub times: Option<(u32, u32)>,
}

impl Attributes {
    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let flags = fields.u32()?;
        let has = |flag| flags & flag != 0;
        let attributes = Self {
            size: has(SIZE).then(|| fields.u64()).transpose()?,
            owner: has(UID_GID).then(|| Ok((fields.u32()?, fields.u32()?))).transpose()?,
            mode: has(PERMISSIONS).then(|| fields.u32()).transpose()?,
            times: has(TIMES).then(|| Ok((fields.u32()?, fields.u32()?))).transpose()?,
        };
        if has(EXTENDED) {
            // Pairs nobody here knows: read over, each as long as it says.
            for _ in 0..fields.u32()? {
                fields.bytes()?;
                fields.bytes()?;
            }
        }
        Ok(attributes)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut flags = 0;
        for (said, flag) in [
            (self.size.is_some(), SIZE),
            (self.owner.is_some(), UID_GID),
            (self.mode.is_some(), PERMISSIONS),
            (self.times.is_some(), TIMES),
        ] {
            flags |= if said { flag } else { 0 };
        }
        out.extend_from_slice(&flags.to_be_bytes());
        if let Some(size) = self.size {
            out.extend_from_slice(&size.to_be_bytes());
        }
        if let Some((user, group)) = self.owner {
            out.extend_from_slice(&user.to_be_bytes());
            out.extend_from_slice(&group.to_be_bytes());
        }
        if let Some(mode) = self.mode {
            out.extend_from_slice(&mode.to_be_bytes());
        }
        if let Some((accessed, changed)) = self.times {
            out.extend_from_slice(&accessed.to_be_bytes());
            out.extend_from_slice(&changed.to_be_bytes());
        }
    }
}
