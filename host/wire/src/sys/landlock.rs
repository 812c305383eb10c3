//! Whether this kernel has Landlock.
#![expect(unsafe_code, reason = "the system call has no safe wrapper here")]

use std::io;

/// From this version on (Linux 6.2) it also says whether a file may be cut.
pub const ABI_TRUNCATE: u32 = 3;

/// The version of the kernel's Landlock interface; `None` when it has none, or it is not switched on.
#[must_use]
pub fn abi() -> Option<u32> {
    query().ok()
}

/// The same, with what the kernel says where there is none.
///
/// # Errors
/// `ENOSYS` of a kernel that was built without, or of a filter that plays one; `EOPNOTSUPP` of one where it is
/// switched off; `EPERM` of a filter that forbids it.
pub fn query() -> io::Result<u32> {
    /// `LANDLOCK_CREATE_RULESET_VERSION`: no ruleset is made.
    const VERSION: libc::c_uint = 1;
    let none = std::ptr::null::<libc::c_void>();
    // SAFETY: with this flag the kernel reads no attributes, and the call makes nothing.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0usize, VERSION) };
    match u32::try_from(version) {
        Ok(0) => Err(io::ErrorKind::Unsupported.into()),
        Ok(version) => Ok(version),
        Err(_) => Err(io::Error::last_os_error()),
    }
}
