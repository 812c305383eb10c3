//! What a pool has seen of its workers' walls, and the namespaces that they share.

use std::sync::{Arc, MutexGuard, PoisonError};

use stockade_wire::namespaces::Namespaces;

use super::{Pool, Worker};
use crate::Walls;
use crate::process::HandedNamespaces;
use crate::trials::Trials;
use crate::walls::ShownNamespaces;

impl Pool {
    /// Looks at the walls of a worker that says that it is ready; the error is why it is refused.
    pub(crate) fn inspect_walls(
        &self,
        worker: &Worker,
        namespaces: &Namespaces,
        shown: &ShownNamespaces,
    ) -> Result<Walls, String> {
        let known = self.known_walls();
        let walls = self.walls_of(worker.pid(), namespaces, shown, known.as_ref());
        drop(known);
        walls.breach().map_or(Ok(walls), Err)
    }

    /// A worker with these walls is ready.
    pub(crate) fn note_walls(&self, walls: Walls) {
        match &mut *self.known_walls() {
            Some(known) => known.weaken(&walls),
            none => *none = Some(walls),
        }
    }

    pub(crate) fn walls(&self) -> Walls {
        let known = self.known_walls().clone();
        // A host has had a worker that was ready, or it would not have been built.
        let walls = known.unwrap_or_else(|| {
            self.walls_of(0, &Namespaces::default(), &ShownNamespaces::default(), None)
        });
        match self.trials.get() {
            Some(trials) => walls.with(trials, &self.recipe.directories, self.forks()),
            None => walls,
        }
    }

    /// A probe of the worker program has answered; the error is which required wall does not stand.
    pub(crate) fn add_trials(&self, trials: Arc<Trials>) -> Result<(), String> {
        let _ = self.trials.set(trials);
        self.walls().breach().map_or(Ok(()), Err)
    }

    fn known_walls(&self) -> MutexGuard<'_, Option<Walls>> {
        self.walls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn walls_of(
        &self,
        pid: u32,
        namespaces: &Namespaces,
        shown: &ShownNamespaces,
        known: Option<&Walls>,
    ) -> Walls {
        Walls::of(
            pid,
            self.recipe.program.path(),
            self.config.hardening,
            &self.recipe.directories,
            &self.config.required,
            namespaces,
            shown,
            known,
        )
    }

    /// A worker whose walls stand, and that was started by this user, has handed these over.
    pub(crate) fn keep_namespaces(&self, user: u32, handed: HandedNamespaces) {
        if handed.can_be_entered() && self.kept_namespaces(user).is_none() {
            *self.kept() = Some((user, Arc::new(handed)));
        }
    }

    /// What a worker may enter that is started by this user. What another one's worker has made it may be kept out of,
    /// or, worse, let into: who owns a user namespace has all capabilities in what belongs to that.
    pub(crate) fn kept_namespaces(&self, user: u32) -> Option<Arc<HandedNamespaces>> {
        let kept = self.kept();
        let (maker, kept) = kept.as_ref()?;
        (*maker == user).then(|| Arc::clone(kept))
    }

    fn kept(&self) -> MutexGuard<'_, Option<(u32, Arc<HandedNamespaces>)>> {
        self.namespaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
