//! The CPU time of another process.
#![expect(unsafe_code, reason = "rustix has no clock of another process")]

use std::time::Duration;

/// The CPU time that all threads of a process have used. Only for a child that has not been reaped: the
/// number must still be its own.
#[must_use]
pub fn process_cpu_time(pid: u32) -> Option<Duration> {
    let mut clock = 0;
    let pid = libc::pid_t::try_from(pid).ok()?;
    // SAFETY: `clock` is valid for one `clockid_t`.
    if unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) } != 0 {
        return None;
    }
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is valid for one `timespec`.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return None;
    }
    Some(Duration::new(
        time.tv_sec.try_into().ok()?,
        time.tv_nsec.try_into().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_time_grows() {
        let before = process_cpu_time(std::process::id()).unwrap();
        while process_cpu_time(std::process::id()).unwrap() == before {}
    }
}
