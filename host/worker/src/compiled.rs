//! Code that this very process compiled, which is why it may be loaded without another word.

use stockade_wire::module_info::ModuleInfo;

/// A compiled module. Only the compiler makes these.
#[derive(Debug)]
pub struct Compiled {
    code: Vec<u8>,
    info: ModuleInfo,
}

impl Compiled {
    pub(crate) fn new(code: Vec<u8>, info: ModuleInfo) -> Self {
        Self { code, info }
    }

    /// What a worker loads.
    #[must_use]
    pub fn code(&self) -> &[u8] {
        &self.code
    }

    /// What a host knows.
    #[must_use]
    pub fn info(&self) -> &ModuleInfo {
        &self.info
    }
}
