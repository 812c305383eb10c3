//! Which artifacts can be exchanged.

use std::hash::{Hash, Hasher};

use stockade_wire::message::StopBy;
use wasmtime::Engine;

/// The same for two processes only if one may load what the other compiled, and both describe a module in
/// the same way.
pub(super) fn of(engine: &Engine, stop: StopBy) -> [u8; 32] {
    let mut folded = Folded(blake3::Hasher::new());
    stockade_wire::VERSION.hash(&mut folded);
    env!("CARGO_PKG_VERSION").hash(&mut folded);
    engine.precompile_compatibility_hash().hash(&mut folded);
    stop.hash(&mut folded);
    *folded.0.finalize().as_bytes()
}

/// A hash that is the same in every run, unlike the standard library's, and too wide to collide.
struct Folded(blake3::Hasher);

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let hash = self.0.finalize();
        let (first, _) = hash.as_bytes().split_at(8);
        first
            .iter()
            .fold(0, |all, &byte| all << 8 | u64::from(byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::for_compiler;

    #[test]
    fn an_identity_is_stable_and_tells_how_calls_are_stopped() {
        let of = |stop| of(&Engine::new(&for_compiler(stop)).unwrap(), stop);
        assert_eq!(of(StopBy::Epoch), of(StopBy::Epoch));
        assert_ne!(of(StopBy::Epoch), of(StopBy::Kill));
        // Their engines are alike.
        assert_ne!(of(StopBy::Signal), of(StopBy::Kill));
    }
}
