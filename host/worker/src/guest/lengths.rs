//! How long an instance's next request will be, going by its last ones: it can be asked for room before there is one.
//!
//! A guess, on which nothing but time depends: a request of another length gets room of its own.

/// Room for a longer request is not worth holding on to.
const MAX: u32 = 256;

/// How long requests have been.
#[derive(Debug, Default)]
pub(super) struct Lengths {
    last: u32,
    /// Whether the one before was as long.
    steady: bool,
}

impl Lengths {
    /// There is a request of this length.
    #[inline]
    pub(super) fn seen(&mut self, len: u32) {
        self.steady = self.last == len;
        self.last = len;
    }

    /// How long the next one will be, if anything says so.
    #[inline]
    pub(super) fn next(&self) -> Option<u32> {
        (self.steady && self.last <= MAX).then_some(self.last)
    }
}
