//! The walls of the first worker that a host starts, which makes namespaces, and of later ones, which enter those.

use std::os::fd::{BorrowedFd, OwnedFd};

use stockade_wire::message::StopBy;
use stockade_wire::namespaces::{Handed, Namespace, Namespaces, Outcome};

use super::super::{Landlock, Sealing, Surroundings, namespaces};
use super::{LIMITS, fds, finish_worker, worker_of};

/// What the calling process has of its host's namespaces.
#[derive(Debug)]
pub struct Kept(Surroundings);

impl Kept {
    /// Nothing: it is the first.
    #[must_use]
    pub fn nothing() -> Self {
        Self(Surroundings::default())
    }

    /// What an earlier one handed over.
    ///
    /// # Errors
    /// When these are not the descriptors that it spoke of.
    pub fn new(said: Handed, fds: Vec<OwnedFd>) -> Result<Self, String> {
        Surroundings::new(said, fds).map(Self)
    }

    /// Enters these namespaces, or makes all of them if there are none, and builds no other wall.
    ///
    /// # Errors
    /// When one is neither entered nor made.
    pub fn build_namespaces(
        self,
        hand_over: impl FnOnce(&Handed, &[OwnedFd]),
    ) -> Result<(), String> {
        let Self(kept) = self;
        let expected = expected(&kept);
        let kind = namespaces::Kind::Alone;
        let made = namespaces::Making::begin(kind, Some(kept)).finish();
        if made.is_astray {
            return Err("it has no root directory of its own".to_owned());
        }
        check(made.namespaces, expected)?;
        if let Some(Surroundings { said, fds }) = made.handed {
            hand_over(&said, &fds);
        }
        Ok(())
    }

    /// After [`super::begin`]: gives up what a worker gives up that is sent this, in its order, up to the moment in which
    /// guest code runs.
    ///
    /// # Errors
    /// When a wall cannot be built, or a namespace is neither entered nor made.
    pub fn seal_worker(
        self,
        host: u32,
        eventfd: BorrowedFd<'_>,
        hand_over: impl FnOnce(&Handed, &[OwnedFd]),
    ) -> Result<(), String> {
        let Self(kept) = self;
        let expected = expected(&kept);
        let (assignment, landlock) = (worker_of(host), Landlock::Required);
        let begun = Sealing::worker(
            assignment,
            LIMITS,
            StopBy::Epoch,
            fds(eventfd),
            None,
            landlock,
            Some(kept),
        );
        finish_worker(begun.map_err(|breach| breach.to_string())?, |sealing| {
            check(sealing.namespaces(), expected)?;
            if let Some(Surroundings { said, fds }) = sealing.hand_over() {
                hand_over(&said, &fds);
            }
            Ok(())
        })
    }
}

/// What is to become of each namespace that is handed over.
fn expected(kept: &Surroundings) -> Outcome {
    match kept.said.namespaces.is_empty() {
        true => Outcome::Made,
        false => Outcome::Entered,
    }
}

fn check(namespaces: Namespaces, expected: Outcome) -> Result<(), String> {
    let is_as_expected = |one: &Namespace| match one {
        // Whoever became another user may not enter it, and makes one.
        Namespace::User => namespaces.has(*one),
        one => namespaces.of(*one) == expected,
    };
    let mut all = Namespace::HANDED.into_iter();
    match all.find(|one| !is_as_expected(one)) {
        None => Ok(()),
        Some(other) => Err(format!("{other:?} is {:?}", namespaces.of(other))),
    }
}
