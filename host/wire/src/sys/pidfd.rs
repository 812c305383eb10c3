//! What the kernel tells about a process by its pidfd.
#![expect(
    unsafe_code,
    reason = "a request that returns a descriptor, for which rustix has no form"
)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::namespaces::Namespace;

/// `PID_FS_MAGIC`: what pidfds are files of since Linux 6.9.
const FILE_SYSTEM: u32 = 0x5049_4446;

/// `PIDFS_IOCTL_MAGIC`.
const REQUESTS: u8 = 0xff;

/// The number by which the links in `/proc/PID/ns` name this namespace of a process. `None` from kernels before 6.11, of
/// what is no pidfd, and for whoever may not look into the process.
///
/// To look a link up there has the kernel make a directory entry, and forget it when the process ends.
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
    // To other files the same number may mean anything.
    if !rustix::fs::fstatfs(pidfd).is_ok_and(|of| of.f_type as u32 == FILE_SYSTEM) {
        return None;
    }
    let request = rustix::ioctl::opcode::none(REQUESTS, number);
    // SAFETY: this is a pidfd, of which the request takes a zero, and changes nothing but that there is one descriptor
    // more, or which does not know it.
    let opened = unsafe { libc::ioctl(pidfd.as_raw_fd(), request as _, 0) };
    if opened < 0 {
        return None;
    }
    // SAFETY: a pidfd answers it with a new descriptor, which is nobody else's.
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
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut numbers = release
            .split(['.', '-'])
            .map_while(|part| part.parse().ok());
        let kernel: (u32, u32) = (numbers.next().unwrap(), numbers.next().unwrap());
        let own = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
        for each in Namespace::ALL {
            let link = std::fs::read_link(format!("/proc/self/ns/{}", each.link())).unwrap();
            match namespace(own.as_fd(), each) {
                Some(number) => assert_eq!(
                    link.to_str().unwrap(),
                    format!("{}:[{number}]", each.link())
                ),
                None => assert!(kernel < (6, 11), "{each:?}"),
            }
        }
        let file = std::fs::File::open("/proc/self/status").unwrap();
        assert_eq!(namespace(file.as_fd(), Namespace::User), None);
    }
}
