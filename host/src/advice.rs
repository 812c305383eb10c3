//! What would have to change on this machine for a wall to stand that does not.
//!
//! Each sentence is about what was found here: a kernel, the user that this process is, and what it runs in.

mod namespaces;

use std::fs;
use std::path::Path;

use rustix::io::Errno;
use stockade_wire::sys::landlock;

use crate::Wall;

/// What was found.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// Of the kernel, such as `6.18.4-arch`.
    release: String,
    /// This process's `/proc/self/status`.
    status: String,
    /// Which users it knows, as `/proc/self/uid_map` has it.
    uid_map: String,
    /// What the kernel says when it is asked for Landlock.
    landlock: Result<u32, Errno>,
    /// The kernel's list of security modules, if it is shown.
    modules: Option<String>,
    granted: namespaces::Granted,
    place: Place,
}

/// What this process runs in, which says where its settings are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Kubernetes,
    Container,
    Service,
    Plain,
}

impl Place {
    fn here() -> Self {
        let is_set = |name| std::env::var_os(name).is_some();
        let exists = |path| Path::new(path).exists();
        if is_set("KUBERNETES_SERVICE_HOST") {
            Self::Kubernetes
        } else if exists("/.dockerenv") || exists("/run/.containerenv") || is_set("container") {
            Self::Container
        } else if is_set("INVOCATION_ID") {
            Self::Service
        } else {
            Self::Plain
        }
    }

    /// Where a list of forbidden system calls comes from.
    fn filter_setting(self) -> &'static str {
        match self {
            Self::Kubernetes => {
                "allow them in the profile that the pod's `securityContext.seccompProfile` names"
            }
            Self::Container => {
                "allow them in the container's profile (`--security-opt seccomp=PROFILE.json`), or update the \
                 container's runtime: those of today allow them by default"
            }
            Self::Service => "add them to the unit's `SystemCallFilter=`",
            Self::Plain => "allow them in the seccomp filter that this process was started under",
        }
    }

    /// What gives a process of root's the capabilities with which it can become another user.
    fn capabilities_setting(self) -> &'static str {
        match self {
            Self::Kubernetes => "add SETUID, SETGID and KILL to `securityContext.capabilities.add`",
            Self::Container => {
                "start the container with `--cap-add SETUID --cap-add SETGID --cap-add KILL`"
            }
            Self::Service => {
                "let the unit's `CapabilityBoundingSet=` have CAP_SETUID, CAP_SETGID and CAP_KILL"
            }
            Self::Plain => "start the server with CAP_SETUID, CAP_SETGID and CAP_KILL",
        }
    }

    /// What makes a server run as root.
    fn root_setting(self) -> &'static str {
        match self {
            Self::Kubernetes => "`securityContext.runAsUser: 0`",
            Self::Container => "`--user 0`",
            Self::Service => "without `User=` and `DynamicUser=` in its unit",
            Self::Plain => "as with `sudo`",
        }
    }
}

impl Machine {
    /// The one that this is.
    pub(crate) fn here() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let errno =
            |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::OPNOTSUPP);
        Self {
            release: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            status: read("/proc/self/status"),
            uid_map: read("/proc/self/uid_map"),
            landlock: landlock::query().map_err(errno),
            modules: fs::read_to_string("/sys/kernel/security/lsm")
                .ok()
                .map(|list| list.trim().to_owned()),
            granted: namespaces::Granted::here(),
            place: Place::here(),
        }
    }

    /// In one sentence.
    pub(crate) fn advice(&self, wall: Wall) -> String {
        match wall {
            Wall::Landlock => self.landlock(),
            Wall::OwnUser => self.own_user(),
            Wall::SystemCallFilter | Wall::NoNewPrivileges => self.filter(),
            Wall::Cgroup => {
                "workers are counted with the server: bound them together, with `MemoryMax=` and `TasksMax=` of its \
                 unit or the limits of its container"
                    .to_owned()
            }
            _ => match wall.namespace() {
                Some(namespace) => self.namespace(namespace),
                None => self.unusual(),
            },
        }
    }

    /// The kernel's version, as far as that can be compared.
    fn version(&self) -> Option<(u32, u32)> {
        let mut numbers = self.release.split(|c: char| !c.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }

    fn is_older_than(&self, version: (u32, u32)) -> bool {
        self.version().is_some_and(|found| found < version)
    }

    /// Whether this process, and so its workers, live under somebody's filter.
    fn is_filtered(&self) -> bool {
        self.value("Seccomp:") == Some("2")
    }

    fn value(&self, name: &str) -> Option<&str> {
        let line = self.status.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::trim)
    }

    fn landlock(&self) -> String {
        const CALLS: &str =
            "`landlock_create_ruleset`, `landlock_add_rule` and `landlock_restrict_self`";
        let release = &self.release;
        let listed = self.modules.as_deref();
        let is_listed = listed.is_some_and(|list| list.split(',').any(|one| one == "landlock"));
        match self.landlock {
            Ok(_) => self.unusual(),
            // The kernel itself never says so.
            Err(Errno::PERM | Errno::ACCESS) => {
                format!(
                    "a seccomp filter around this process forbids {CALLS}: {}",
                    self.place.filter_setting()
                )
            }
            Err(Errno::NOSYS) if is_listed => {
                format!(
                    "a seccomp filter around this process hides {CALLS}: {}",
                    self.place.filter_setting()
                )
            }
            Err(Errno::OPNOTSUPP) => {
                let list =
                    listed.map_or("landlock,…".to_owned(), |list| format!("landlock,{list}"));
                format!(
                    "the kernel has Landlock, but it was not switched on when it started: add `lsm={list}` to its \
                     command line and restart the machine"
                )
            }
            Err(_) if self.is_older_than((5, 13)) => {
                format!("Linux 5.13 or newer is needed, and this is {release}")
            }
            Err(_) if self.is_filtered() => format!(
                "either a seccomp filter around this process hides {CALLS} ({}), or the kernel, {release}, was built \
                 without CONFIG_SECURITY_LANDLOCK",
                self.place.filter_setting()
            ),
            Err(_) => format!(
                "the kernel, {release}, was built without Landlock: one with CONFIG_SECURITY_LANDLOCK=y is needed"
            ),
        }
    }

    fn own_user(&self) -> String {
        /// CAP_KILL, CAP_SETGID and CAP_SETUID.
        const NEEDED: u64 = 1 << 5 | 1 << 6 | 1 << 7;
        let words = self.value("Uid:").unwrap_or_default();
        // The effective one.
        let uid = words.split_whitespace().nth(1).unwrap_or_default();
        let capabilities = self
            .value("CapEff:")
            .and_then(|bits| u64::from_str_radix(bits, 16).ok());
        if uid != "0" {
            let root = self.place.root_setting();
            return format!(
                "only a server that runs as root ({root}) gives each worker a user of its own, and this one runs as \
                 user {uid}; the other walls hold without it"
            );
        }
        if capabilities.is_some_and(|found| found & NEEDED != NEEDED) {
            let setting = self.place.capabilities_setting();
            return format!("root here lacks the capabilities to become another user: {setting}");
        }
        if self.knows_one_user() {
            return "the user namespace around this process knows no user but root: map a range of users into it \
                    (`/etc/subuid`; `PrivateUsers=no` in a unit)"
                .to_owned();
        }
        "grant no directories to be written: with them workers run as the user who owns those"
            .to_owned()
    }

    fn knows_one_user(&self) -> bool {
        let mut ranges = self.uid_map.lines();
        let lengths = ranges.next().map(|line| line.split_whitespace().nth(2));
        lengths == Some(Some("1")) && ranges.next().is_none()
    }

    fn filter(&self) -> String {
        format!(
            "the kernel, {}, does not do what it was asked for: one with CONFIG_SECCOMP_FILTER=y is needed; where \
             another program plays the kernel, as gVisor does, there is none",
            self.release
        )
    }

    fn unusual(&self) -> String {
        format!(
            "no machine is known on which this does not stand; this is Linux {} on {}",
            self.release,
            std::env::consts::ARCH
        )
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    const ROOT: &str = "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\nSeccomp:\t0\n";

    pub(super) fn machine() -> Machine {
        Machine {
            release: "6.18.4-arch1".to_owned(),
            status: ROOT.to_owned(),
            uid_map: "         0          0 4294967295\n".to_owned(),
            landlock: Ok(7),
            modules: Some("capability,yama,bpf".to_owned()),
            granted: namespaces::Granted::everything(),
            place: Place::Plain,
        }
    }

    fn says(wall: Wall, machine: Machine, expected: Expect) {
        expected.assert_eq(&machine.advice(wall));
    }

    #[test]
    fn landlock_is_missing_for_the_kernel_its_start_or_a_filter_around() {
        let without = |errno| Machine {
            landlock: Err(errno),
            ..machine()
        };
        says(
            Wall::Landlock,
            without(Errno::NOSYS),
            expect![
                "the kernel, 6.18.4-arch1, was built without Landlock: one with CONFIG_SECURITY_LANDLOCK=y is needed"
            ],
        );
        says(
            Wall::Landlock,
            without(Errno::OPNOTSUPP),
            expect![
                "the kernel has Landlock, but it was not switched on when it started: add `lsm=landlock,capability,yama,bpf` to its command line and restart the machine"
            ],
        );
        let old = Machine {
            release: "5.10.0-35-cloud-amd64".to_owned(),
            ..without(Errno::NOSYS)
        };
        says(
            Wall::Landlock,
            old,
            expect!["Linux 5.13 or newer is needed, and this is 5.10.0-35-cloud-amd64"],
        );
        let filtered = |place| Machine {
            place,
            ..without(Errno::PERM)
        };
        says(
            Wall::Landlock,
            filtered(Place::Kubernetes),
            expect![
                "a seccomp filter around this process forbids `landlock_create_ruleset`, `landlock_add_rule` and `landlock_restrict_self`: allow them in the profile that the pod's `securityContext.seccompProfile` names"
            ],
        );
        says(
            Wall::Landlock,
            filtered(Place::Container),
            expect![
                "a seccomp filter around this process forbids `landlock_create_ruleset`, `landlock_add_rule` and `landlock_restrict_self`: allow them in the container's profile (`--security-opt seccomp=PROFILE.json`), or update the container's runtime: those of today allow them by default"
            ],
        );
        says(
            Wall::Landlock,
            filtered(Place::Service),
            expect![
                "a seccomp filter around this process forbids `landlock_create_ruleset`, `landlock_add_rule` and `landlock_restrict_self`: add them to the unit's `SystemCallFilter=`"
            ],
        );
        let hidden = Machine {
            modules: Some("landlock,yama".to_owned()),
            ..without(Errno::NOSYS)
        };
        says(
            Wall::Landlock,
            hidden,
            expect![
                "a seccomp filter around this process hides `landlock_create_ruleset`, `landlock_add_rule` and `landlock_restrict_self`: allow them in the seccomp filter that this process was started under"
            ],
        );
        let unknown = Machine {
            modules: None,
            status: "Seccomp:\t2\n".to_owned(),
            ..without(Errno::NOSYS)
        };
        says(
            Wall::Landlock,
            unknown,
            expect![
                "either a seccomp filter around this process hides `landlock_create_ruleset`, `landlock_add_rule` and `landlock_restrict_self` (allow them in the seccomp filter that this process was started under), or the kernel, 6.18.4-arch1, was built without CONFIG_SECURITY_LANDLOCK"
            ],
        );
    }

    #[test]
    fn a_user_of_its_own_takes_root_with_its_capabilities_and_other_users() {
        let user = Machine {
            status: "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n".to_owned(),
            place: Place::Service,
            ..machine()
        };
        says(
            Wall::OwnUser,
            user,
            expect![
                "only a server that runs as root (without `User=` and `DynamicUser=` in its unit) gives each worker a user of its own, and this one runs as user 1000; the other walls hold without it"
            ],
        );
        let strict = |place| Machine {
            status: "Uid:\t0\t0\t0\t0\nCapEff:\t0000000000000000\n".to_owned(),
            place,
            ..machine()
        };
        says(
            Wall::OwnUser,
            strict(Place::Container),
            expect![
                "root here lacks the capabilities to become another user: start the container with `--cap-add SETUID --cap-add SETGID --cap-add KILL`"
            ],
        );
        says(
            Wall::OwnUser,
            strict(Place::Kubernetes),
            expect![
                "root here lacks the capabilities to become another user: add SETUID, SETGID and KILL to `securityContext.capabilities.add`"
            ],
        );
        let alone = Machine {
            uid_map: "         0       1000          1\n".to_owned(),
            ..machine()
        };
        says(
            Wall::OwnUser,
            alone,
            expect![
                "the user namespace around this process knows no user but root: map a range of users into it (`/etc/subuid`; `PrivateUsers=no` in a unit)"
            ],
        );
        says(
            Wall::OwnUser,
            machine(),
            expect![
                "grant no directories to be written: with them workers run as the user who owns those"
            ],
        );
    }

    #[test]
    fn every_wall_has_advice() {
        says(
            Wall::SystemCallFilter,
            machine(),
            expect![
                "the kernel, 6.18.4-arch1, does not do what it was asked for: one with CONFIG_SECCOMP_FILTER=y is needed; where another program plays the kernel, as gVisor does, there is none"
            ],
        );
        says(
            Wall::Cgroup,
            machine(),
            expect![
                "workers are counted with the server: bound them together, with `MemoryMax=` and `TasksMax=` of its unit or the limits of its container"
            ],
        );
        says(
            Wall::NotDumpable,
            machine(),
            expect![
                "no machine is known on which this does not stand; this is Linux 6.18.4-arch1 on x86_64"
            ],
        );
    }

    #[test]
    fn this_machine_is_read() {
        let here = Machine::here();
        assert!(here.version() >= Some((5, 9)), "{}", here.release);
        assert!(here.value("Uid:").is_some() && !here.uid_map.is_empty());
    }
}
