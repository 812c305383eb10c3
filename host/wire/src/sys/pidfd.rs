//! What the kernel tells about a process by its pidfd.
#![expect(
    unsafe_code,
    reason = "a request that returns a descriptor, for which rustix has no form"
)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::namespaces::Namespace;

/// `PIDFS_IOCTL_MAGIC`.
const MAGIC: u8 = 0xff;

/// The number by which the links in `/proc/PID/ns` name this namespace of a process. `None` from kernels before 6.11, and
/// for whoever may not look into the process.
///
/// To look a link up there has the kernel make a directory entry, and forget it when the process ends: five times the
/// work.
#[must_use]
pub fn namespace(pidfd: BorrowedFd<'_>, namespace: Namespace) -> Option<u64> {
    let number = match namespace {
        Namespace::Cgroup => 1,
        Namespace::Ipc => 2,
        Namespace::Mount => 3,
        Namespace::Network => 4,
        Namespace::Pid => 5,
        Namespace::User => 9,
        Namespace::Uts => 10,
    };
    let request = rustix::ioctl::opcode::none(MAGIC, number);
    // SAFETY: the request takes a zero, and changes nothing but that there is one descriptor more.
    let opened = unsafe { libc::ioctl(pidfd.as_raw_fd(), request as _, 0) };
    if opened < 0 {
        return None;
    }
    // SAFETY: it is new, and nobody else's.
    let opened = unsafe { OwnedFd::from_raw_fd(opened) };
    rustix::fs::fstat(&opened).ok().map(|of| of.st_ino)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::process::{PidfdFlags, getpid, pidfd_open};

    use super::*;

    #[test]
    fn it_is_the_number_in_the_link() {
        let own = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
        for each in Namespace::ALL {
            let link = std::fs::read_link(format!("/proc/self/ns/{}", each.link())).unwrap();
            if let Some(number) = namespace(own.as_fd(), each) {
                assert_eq!(
                    link.to_str().unwrap(),
                    format!("{}:[{number}]", each.link())
                );
            }
        }
        let file = std::fs::File::open("/proc/self/status").unwrap();
        assert_eq!(namespace(file.as_fd(), Namespace::User), None);
    }
}
