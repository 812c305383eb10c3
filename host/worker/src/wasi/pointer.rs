//! Reading and writing guest memory at addresses that the guest chose: every access is checked, and none
//! can overflow.

use super::errno::{FAULT, SUCCESS};

/// A guest pointer that does not lie in its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault;

/// What an import returns to the guest.
pub(super) fn errno(result: Result<(), Fault>) -> i32 {
    match result {
        Ok(()) => SUCCESS,
        Err(Fault) => FAULT,
    }
}

/// `len` bytes at `at`.
pub(crate) fn bytes(memory: &[u8], at: u32, len: u32) -> Result<&[u8], Fault> {
    memory
        .get(at as usize..)
        .and_then(|rest| rest.get(..len as usize))
        .ok_or(Fault)
}

/// As [`bytes`], to be written.
pub(crate) fn bytes_mut(memory: &mut [u8], at: u32, len: u32) -> Result<&mut [u8], Fault> {
    memory
        .get_mut(at as usize..)
        .and_then(|rest| rest.get_mut(..len as usize))
        .ok_or(Fault)
}

/// `N` bytes at `at + offset`, for reading one field of a structure.
pub(super) fn field<const N: usize>(memory: &[u8], at: u32, offset: u32) -> Result<[u8; N], Fault> {
    let at = at.checked_add(offset).ok_or(Fault)? as usize;
    memory
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .ok_or(Fault)
}

/// Writes a value's little-endian bytes.
pub(super) fn put<const N: usize>(memory: &mut [u8], at: u32, value: [u8; N]) -> Result<(), Fault> {
    *memory
        .get_mut(at as usize..)
        .and_then(|rest| rest.first_chunk_mut())
        .ok_or(Fault)? = value;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_reaches_outside_the_memory() {
        let mut memory = [7; 16];
        for (at, len) in [
            (0, 17),
            (16, 1),
            (17, 0),
            (u32::MAX, u32::MAX),
            (1, u32::MAX),
        ] {
            assert_eq!(bytes(&memory, at, len), Err(Fault), "{at} {len}");
            assert!(bytes_mut(&mut memory, at, len).is_err());
        }
        assert_eq!(bytes(&memory, 16, 0), Ok(&[][..]));
        assert_eq!(field::<4>(&memory, 12, 0), Ok([7; 4]));
        for (at, offset) in [(12, 1), (13, 0), (u32::MAX, 1), (u32::MAX, u32::MAX)] {
            assert_eq!(field::<4>(&memory, at, offset), Err(Fault));
        }
        assert_eq!(put(&mut memory, 13, [0; 4]), Err(Fault));
        assert_eq!(put(&mut memory, 12, [1; 4]), Ok(()));
        assert_eq!(memory[11..], [7, 1, 1, 1, 1]);
    }
}
