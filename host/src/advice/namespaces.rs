//! Why the kernel may grant no namespaces here.

use std::fs;
use std::path::Path;

use stockade_wire::namespaces::Namespace;

use super::{Machine, Place};

/// What the machine says of them.
#[derive(Debug, Clone)]
pub(super) struct Granted {
    /// Those that the kernel knows.
    known: Vec<Namespace>,
    /// Those of which there may be none, whoever wants to make one.
    none_of: Vec<Namespace>,
    /// Ordinary users may make user namespaces, as far as the kernel's own setting goes.
    to_users: bool,
    /// The same, of AppArmor's.
    by_apparmor: bool,
}

impl Granted {
    pub(super) fn here() -> Self {
        let setting = |path: String| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        let all = Namespace::ALL.into_iter();
        let exists = |one: &Namespace| Path::new("/proc/self/ns").join(one.link()).exists();
        let is_none = |one: &Namespace| {
            let limit = format!("/proc/sys/user/max_{}_namespaces", one.link());
            setting(limit) == Some(0)
        };
        let kernel = |name| setting(format!("/proc/sys/kernel/{name}"));
        Self {
            known: all.clone().filter(exists).collect(),
            none_of: all.filter(is_none).collect(),
            to_users: kernel("unprivileged_userns_clone") != Some(0),
            by_apparmor: kernel("apparmor_restrict_unprivileged_userns").is_none_or(|on| on == 0),
        }
    }

    #[cfg(test)]
    pub(super) fn everything() -> Self {
        Self {
            known: Namespace::ALL.to_vec(),
            none_of: Vec::new(),
            to_users: true,
            by_apparmor: true,
        }
    }
}

impl Place {
    /// What keeps a process from making namespaces there.
    fn namespaces_setting(self) -> &'static str {
        match self {
            Self::Kubernetes => {
                "the pod's seccomp profile forbids `unshare` or `setns`: allow both in the one that \
                 `securityContext.seccompProfile` names, and give the pod no capability for that"
            }
            Self::Container => {
                "the container's seccomp profile forbids `unshare` or `setns`: allow both there \
                 (`--security-opt seccomp=PROFILE.json`), and give the container no capability for that"
            }
            Self::Service => {
                "let the unit have no `RestrictNamespaces=`, and its `SystemCallFilter=` have `unshare` and `setns`"
            }
            Self::Plain => {
                "the kernel does not say why: under a changed root directory, some security modules and some seccomp \
                 filters it grants none"
            }
        }
    }
}

impl Machine {
    /// What stands in the way of one. Without it the filter denies what it would hide.
    pub(super) fn namespace(&self, namespace: Namespace) -> String {
        let granted = &self.granted;
        // They come in a user namespace, but to root.
        let both = [namespace, Namespace::User];
        if let Some(unknown) = both.iter().find(|one| !granted.known.contains(one)) {
            let name = unknown.link();
            return format!(
                "the kernel, {}, was built without {name} namespaces",
                self.release
            );
        }
        if let Some(none) = both.iter().find(|one| granted.none_of.contains(one)) {
            let name = none.link();
            return format!(
                "the limit of {name} namespaces is 0: `sysctl user.max_{name}_namespaces` takes the number of \
                 workers, and more"
            );
        }
        if !granted.to_users {
            return "ordinary users may make no user namespace, and so none at all: \
                    `sysctl kernel.unprivileged_userns_clone=1`"
                .to_owned();
        }
        if !granted.by_apparmor {
            return "AppArmor keeps ordinary users from it: load a profile for the server's program that has the rule \
                    `userns,`, or set `sysctl kernel.apparmor_restrict_unprivileged_userns=0`"
                .to_owned();
        }
        self.place.namespaces_setting().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::super::tests::machine;
    use super::*;

    fn says(namespace: Namespace, place: Place, granted: Granted, expected: Expect) {
        let machine = Machine {
            granted,
            place,
            ..machine()
        };
        expected.assert_eq(&machine.namespace(namespace));
    }

    #[test]
    fn a_namespace_is_missing_for_the_kernel_or_one_of_its_settings() {
        use Namespace::{Ipc, Network, User, Uts};
        let everything = Granted::everything;
        let without_users = Granted {
            known: vec![Network],
            ..everything()
        };
        says(
            Network,
            Place::Plain,
            without_users,
            expect!["the kernel, 6.18.4-arch1, was built without user namespaces"],
        );
        let none_of = |one| Granted {
            none_of: vec![one],
            ..everything()
        };
        says(
            Network,
            Place::Plain,
            none_of(Network),
            expect![
                "the limit of net namespaces is 0: `sysctl user.max_net_namespaces` takes the number of workers, and more"
            ],
        );
        says(
            Ipc,
            Place::Container,
            none_of(User),
            expect![
                "the limit of user namespaces is 0: `sysctl user.max_user_namespaces` takes the number of workers, and more"
            ],
        );
        let not_to_users = Granted {
            to_users: false,
            ..everything()
        };
        says(
            Uts,
            Place::Plain,
            not_to_users,
            expect![
                "ordinary users may make no user namespace, and so none at all: `sysctl kernel.unprivileged_userns_clone=1`"
            ],
        );
        let apparmor = Granted {
            by_apparmor: false,
            ..everything()
        };
        says(
            User,
            Place::Plain,
            apparmor,
            expect![
                "AppArmor keeps ordinary users from it: load a profile for the server's program that has the rule `userns,`, or set `sysctl kernel.apparmor_restrict_unprivileged_userns=0`"
            ],
        );
    }

    #[test]
    fn a_namespace_is_missing_for_a_filter_around() {
        let says = |place, expected| says(Namespace::Mount, place, Granted::everything(), expected);
        says(
            Place::Kubernetes,
            expect![
                "the pod's seccomp profile forbids `unshare` or `setns`: allow both in the one that `securityContext.seccompProfile` names, and give the pod no capability for that"
            ],
        );
        says(
            Place::Container,
            expect![
                "the container's seccomp profile forbids `unshare` or `setns`: allow both there (`--security-opt seccomp=PROFILE.json`), and give the container no capability for that"
            ],
        );
        says(
            Place::Service,
            expect![
                "let the unit have no `RestrictNamespaces=`, and its `SystemCallFilter=` have `unshare` and `setns`"
            ],
        );
    }

    #[test]
    fn this_machines_settings_are_read() {
        let here = Granted::here();
        assert!(here.known.contains(&Namespace::Mount), "{here:?}");
    }
}
