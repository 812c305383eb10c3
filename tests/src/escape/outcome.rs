//! How an attack ended, as it crosses from the attacker to the table: by exit code or signal, which no wall can
//! keep back.

use std::fmt;
use std::io;

/// An error number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

impl Errno {
    pub(crate) fn last() -> Self {
        io::Error::last_os_error().into()
    }
}

impl From<io::Error> for Errno {
    fn from(error: io::Error) -> Self {
        // What is no error of the kernel's is one of this program's.
        Self(error.raw_os_error().unwrap_or(libc::EPROTO))
    }
}

/// What an attack makes of itself.
pub(crate) type Attempt = Result<(), Errno>;

/// Something else than was looked for: the attack had no effect.
pub(crate) const NOTHING_THERE: Errno = Errno(libc::ENOENT);

/// The exit code of a process that could not be sealed. No error number is so large.
pub(crate) const NOT_SEALED: i32 = 200;

/// What is added to the number of the signal by which a process ended whose parent says so by its exit code.
const BY_SIGNAL: i32 = NOT_SEALED + 1;

/// The exit code of a process that says how its child ended.
pub(crate) fn relayed(status: i32) -> i32 {
    match libc::WIFSIGNALED(status) {
        true => BY_SIGNAL + libc::WTERMSIG(status),
        false => libc::WEXITSTATUS(status),
    }
}

/// What became of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Succeeded,
    Refused(i32),
    Killed(i32),
    /// A wall could not be built, so nothing was tried.
    NotSealed,
}

impl Outcome {
    pub(crate) fn of_status(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            return Self::Killed(libc::WTERMSIG(status));
        }
        match libc::WEXITSTATUS(status) {
            0 => Self::Succeeded,
            NOT_SEALED => Self::NotSealed,
            code if code > BY_SIGNAL => Self::Killed(code - BY_SIGNAL),
            errno => Self::Refused(errno),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Succeeded => f.write_str("."),
            Self::NotSealed => f.write_str("NOT-SEALED"),
            Self::Refused(errno) => match errno_name(errno) {
                Some(name) => f.write_str(name),
                None => write!(f, "exit-{errno}"),
            },
            Self::Killed(libc::SIGSYS) => f.write_str("SIGSYS"),
            Self::Killed(libc::SIGKILL) => f.write_str("SIGKILL"),
            Self::Killed(libc::SIGXFSZ) => f.write_str("SIGXFSZ"),
            Self::Killed(libc::SIGALRM) => f.write_str("TOO-SLOW"),
            Self::Killed(signal) => write!(f, "signal-{signal}"),
        }
    }
}

fn errno_name(errno: i32) -> Option<&'static str> {
    Some(match errno {
        libc::EPERM => "EPERM",
        libc::ENOENT => "ENOENT",
        libc::EIO => "EIO",
        libc::EBADF => "EBADF",
        libc::EAGAIN => "EAGAIN",
        libc::ENOMEM => "ENOMEM",
        libc::EACCES => "EACCES",
        libc::EXDEV => "EXDEV",
        libc::EINVAL => "EINVAL",
        libc::EMFILE => "EMFILE",
        libc::EFBIG => "EFBIG",
        libc::ENOSYS => "ENOSYS",
        libc::EPROTO => "EPROTO",
        libc::ENOTSUP => "ENOTSUP",
        libc::ENETUNREACH => "ENETUNREACH",
        libc::ECONNREFUSED => "ECONNREFUSED",
        _ => return None,
    })
}
