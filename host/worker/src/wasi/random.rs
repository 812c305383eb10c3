//! Randomness: the kernel's, or the same for every instance.
#![expect(
    unsafe_code,
    reason = "getrandom(2) has no safe wrapper in the crates we use"
)]

use std::io;

/// Where an instance's randomness comes from.
#[derive(Debug)]
pub(super) enum Random {
    System,
    Seeded(Box<blake3::OutputReader>),
}

impl Random {
    pub(super) fn new(seed: Option<u64>) -> Self {
        match seed {
            None => Self::System,
            Some(seed) => {
                let mut hasher = blake3::Hasher::new_derive_key("stockade seeded randomness v1");
                hasher.update(&seed.to_le_bytes());
                Self::Seeded(Box::new(hasher.finalize_xof()))
            }
        }
    }

    /// Fills `to` with the next bytes.
    pub(super) fn fill(&mut self, to: &mut [u8]) -> io::Result<()> {
        match self {
            Self::System => fill_from_system(to),
            Self::Seeded(reader) => {
                reader.fill(to);
                Ok(())
            }
        }
    }
}

/// Fills `to` from the kernel. Called once before a process seals itself: a C library may prepare for it.
pub(crate) fn fill_from_system(mut to: &mut [u8]) -> io::Result<()> {
    while !to.is_empty() {
        // SAFETY: the pointer and length are those of one live slice.
        let filled = unsafe { libc::getrandom(to.as_mut_ptr().cast(), to.len(), 0) };
        match usize::try_from(filled) {
            Ok(filled) => to = &mut to[filled..],
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_every_instance_the_same_bytes() {
        let draw = |seed, parts: &[usize]| {
            let mut random = Random::new(seed);
            let mut all = Vec::new();
            for &len in parts {
                let mut part = vec![0; len];
                random.fill(&mut part).unwrap();
                all.extend(part);
            }
            all
        };
        assert_eq!(draw(Some(1), &[100]), draw(Some(1), &[1, 64, 35]));
        assert_ne!(draw(Some(1), &[32]), draw(Some(2), &[32]));
        assert_ne!(draw(None, &[32]), draw(None, &[32]));
    }
}
