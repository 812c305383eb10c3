//! The error numbers of preview 1 that are used.

pub(super) const SUCCESS: i32 = 0;
pub(super) const BADF: i32 = 8;
pub(super) const FAULT: i32 = 21;
pub(super) const INVAL: i32 = 28;
pub(super) const NOSYS: i32 = 52;
pub(super) const SPIPE: i32 = 70;
