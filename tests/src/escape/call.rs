//! System calls as an attacker makes them: by number, with whatever arguments.
#![expect(
    unsafe_code,
    reason = "raw system calls, which is what escaped code makes"
)]

use std::ffi::{CStr, CString, c_long};

use crate::escape::outcome::Errno;

/// Makes a system call.
///
/// Arguments that are addresses come from [`address`]: of objects that live until the call returns, and that
/// nothing in Rust looks at while the kernel may write to them.
pub(crate) fn call<const N: usize>(number: c_long, arguments: [usize; N]) -> Result<usize, Errno> {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&arguments);
    let [a, b, c, d, e, f] = all;
    // SAFETY: this process is a child that makes one attack and ends. The calls that attacks make write only to
    // objects that they name, as is said above.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    usize::try_from(result).map_err(|_| Errno::last())
}

/// The address of what a call reads or writes.
pub(crate) fn address<T: ?Sized>(object: &mut T) -> usize {
    std::ptr::from_mut(object).addr_exposed()
}

/// The same of a text.
pub(crate) fn text(text: &CStr) -> usize {
    text.as_ptr().expose_provenance()
}

/// A number that may be negative, as the register that the kernel gets.
pub(crate) fn signed(number: impl Into<i64>) -> usize {
    number.into() as usize
}

pub(crate) fn c_string(text: &str) -> CString {
    CString::new(text).expect("paths of ours hold no zero byte")
}

trait Exposed {
    fn addr_exposed(self) -> usize;
}

impl<T: ?Sized> Exposed for *mut T {
    fn addr_exposed(self) -> usize {
        self.cast::<u8>().expose_provenance()
    }
}
